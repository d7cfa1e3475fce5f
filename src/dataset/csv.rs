//! CSV and TSV with a header. Every value stays text and no type is guessed, so ids keep their leading zeros.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::{BadRow, Input, Record, Records, bad_file};

pub(super) fn open(input: Input) -> std::io::Result<Records> {
    let mut input = BufReader::with_capacity(1 << 18, input);
    // Spreadsheets separate fields by semicolons where the comma is the decimal mark.
    let first = match input.fill_buf() {
        Ok(first) => first,
        Err(error) => return Ok(bad_file(1, format!("failed to read: {error}"))),
    };
    let header = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_crlf = header.ends_with(b"\r");
    let delimiter = if !header.contains(&b',') && header.contains(&b';') { b';' } else { b',' };
    open_delimited(Box::new(input), delimiter, is_crlf)
}

pub(super) fn open_tabs(input: Input) -> std::io::Result<Records> {
    let mut input = BufReader::with_capacity(1 << 18, input);
    let is_crlf = match input.fill_buf() {
        Ok(first) => first.split(|byte| *byte == b'\n').next().unwrap_or_default().ends_with(b"\r"),
        Err(error) => return Ok(bad_file(1, format!("failed to read: {error}"))),
    };
    open_delimited(Box::new(input), b'\t', is_crlf)
}

fn open_delimited(input: Input, delimiter: u8, is_crlf: bool) -> std::io::Result<Records> {
    let quotes = Arc::new(AtomicU64::new(0));
    let input = Quotes { input, count: quotes.clone() };
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).flexible(true).buffer_capacity(1 << 18).from_reader(input);
    let header = match reader.byte_headers() {
        Ok(header) => header.clone(),
        Err(error) => return Ok(bad_file(1, format!("failed to read the header: {error}"))),
    };
    let mut names = Vec::new();
    for (index, name) in header.iter().enumerate() {
        let name = if index == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
        match std::str::from_utf8(name) {
            Ok(name) => names.push(name.trim().to_owned()),
            Err(_) => {
                return Ok(bad_file(1, format!("the name of column {} is not UTF-8", index + 1)));
            }
        }
    }
    let mut seen = HashSet::new();
    if let Some(repeated) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Ok(bad_file(1, format!("two columns are called `{repeated}`")));
    }
    // The reader ends a record at `\r` and counts the line at the `\n` behind it, so with CRLF its count is one too
    // low.
    let late = u64::from(is_crlf);
    let mut records = reader.into_byte_records();
    // The line of the last row, if that row spans several lines.
    let mut spans = None;
    Ok(Box::new(std::iter::from_fn(move || match records.next() {
        Some(Ok(record)) => {
            let line = record.position().map_or(0, csv::Position::line) + late;
            spans = record.iter().any(|field| field.contains(&b'\n')).then_some(line);
            Some(parse(&record, &names, line))
        }
        Some(Err(error)) => {
            let line = error.position().map_or(0, csv::Position::line);
            Some(Err(BadRow::end(line, format!("failed to read: {error}"))))
        }
        // The reader takes the rest of a file behind an open quote as one field, without an error; so quotes are
        // counted.
        None => spans
            .take()
            .filter(|_| quotes.load(Ordering::Relaxed) % 2 == 1)
            .map(|line| Err(BadRow::end(line, "a quote opens in this row and is never closed"))),
    })))
}

/// Counts the quotes of a file while it is read.
struct Quotes {
    input: Input,
    count: Arc<AtomicU64>,
}

impl Read for Quotes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        let quotes = buffer[..read].iter().filter(|byte| **byte == b'"').count();
        self.count.fetch_add(quotes as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn parse(record: &ByteRecord, names: &[String], line: u64) -> Result<Record, BadRow> {
    if record.len() != names.len() {
        let message = format!("{} fields, the header has {}", record.len(), names.len());
        return Err(BadRow::new(line, message));
    }
    let mut columns = Map::new();
    for (name, field) in names.iter().zip(record) {
        let text = std::str::from_utf8(field).map_err(|_| {
            BadRow::new(
                line,
                format!("column `{name}` is not UTF-8 (`iconv -f cp1252 -t utf-8` converts what Windows writes)"),
            )
        })?;
        columns.insert(name.clone(), Value::from(text));
    }
    Ok(Record::new(line, columns))
}
