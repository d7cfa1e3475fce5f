//! Parquet, behind the cargo feature `parquet`. The line of a record is the number of its row.

use std::fs::File;

use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use serde_json::Value;

use super::{BadRow, Record, Records, bad_file};

pub(super) fn open(file: File) -> std::io::Result<Records> {
    let reader = match SerializedFileReader::new(file) {
        Ok(reader) => reader,
        Err(error) => return Ok(bad_file(1, format!("no Parquet file: {error}"))),
    };
    let rows = RowIter::from_file_into(Box::new(reader));
    Ok(Box::new(rows.zip(1..).map(|(row, line)| match row.map(|row| row.to_json_value()) {
        Ok(Value::Object(columns)) => Ok(Record::new(line, columns)),
        Ok(_) => Err(BadRow::new(line, "no columns")),
        Err(error) => Err(BadRow::end(line, format!("failed to read: {error}"))),
    })))
}
