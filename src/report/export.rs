//! Rows of nodes as files that other tools read: JSON lines, CSV, Parquet.
//!
//! JSON lines hold the documents that `show` prints. The other two formats are flat: nested fields have dotted names
//! (`row.question`, `scores.exact_match`), and whatever is nested deeper is JSON text. Columns and their types come
//! from a first pass over the rows.

use std::borrow::Cow;
use std::io::{self, Write};

use indexmap::IndexMap;
use serde_json::{Map, Value};

/// What the values of a column are, over all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColumnKind {
    /// All values so far are null.
    #[default]
    Null,
    Boolean,
    Integer,
    Number,
    Text,
}

/// Columns in the order in which they were first seen.
#[derive(Clone, Debug, Default)]
pub struct Columns(pub IndexMap<String, ColumnKind>);

impl ColumnKind {
    fn of(value: &Value) -> ColumnKind {
        match value {
            Value::Null => ColumnKind::Null,
            Value::Bool(_) => ColumnKind::Boolean,
            Value::Number(number) if number.as_i64().is_some() => ColumnKind::Integer,
            // An integer beyond 64 bits becomes text, so that it keeps its digits.
            Value::Number(number) if number.as_str().bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => {
                ColumnKind::Text
            }
            Value::Number(_) => ColumnKind::Number,
            Value::String(_) | Value::Array(_) | Value::Object(_) => ColumnKind::Text,
        }
    }

    fn or(self, other: ColumnKind) -> ColumnKind {
        match (self, other) {
            (same, other) if same == other => same,
            (ColumnKind::Null, other) => other,
            (one, ColumnKind::Null) => one,
            (ColumnKind::Integer, ColumnKind::Number) | (ColumnKind::Number, ColumnKind::Integer) => ColumnKind::Number,
            _ => ColumnKind::Text,
        }
    }
}

impl Columns {
    /// Adds the columns of a document.
    pub fn add(&mut self, document: &Map<String, Value>) {
        for (name, value) in flat(document) {
            let kind = self.0.entry(name).or_default();
            *kind = kind.or(ColumnKind::of(value));
        }
    }
}

/// Returns the fields of a document with dotted names: one level deep below `row`, `scores` and `meta`, and flat
/// elsewhere.
fn flat(document: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut fields = Vec::new();
    for (name, value) in document {
        match value {
            Value::Object(inner) if matches!(name.as_str(), "row" | "scores" | "meta") => {
                fields.extend(inner.iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
            }
            _ => fields.push((name.clone(), value)),
        }
    }
    fields
}

/// Returns a value as text: text as it is, null as none, anything else as JSON.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Writes rows in some format.
pub trait RowWriter {
    fn write(&mut self, document: &Map<String, Value>) -> io::Result<()>;

    /// Writes what is still held back, and ends the file.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// JSON lines: one document per line.
pub struct JsonLines<W: Write>(pub W);

impl<W: Write> RowWriter for JsonLines<W> {
    fn write(&mut self, document: &Map<String, Value>) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, document)?;
        self.0.write_all(b"\n")
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns the error of the file below, so that a reader that went away can be told from a full disk.
fn cause(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Keeps a spreadsheet from running a text as a formula: a quote is put before it. Numbers are none.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if is_formula && text.trim_start_matches(['+', '-']).parse::<f64>().is_err() {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// CSV with a header.
pub struct Csv<W: Write> {
    writer: csv::Writer<W>,
    columns: Columns,
    is_raw: bool,
}

impl<W: Write> Csv<W> {
    /// Starts a CSV file by writing its header. Unless it is raw, texts that a spreadsheet would run are made harmless.
    pub fn new(out: W, columns: Columns, is_raw: bool) -> io::Result<Csv<W>> {
        let mut csv = Csv { writer: csv::Writer::from_writer(out), columns, is_raw };
        let names: Vec<String> = csv.columns.0.keys().map(|name| csv.cell(name).into_owned()).collect();
        csv.writer.write_record(names).map_err(cause)?;
        Ok(csv)
    }

    fn cell<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_raw { Cow::Borrowed(text) } else { harmless(text) }
    }
}

impl<W: Write> RowWriter for Csv<W> {
    fn write(&mut self, document: &Map<String, Value>) -> io::Result<()> {
        let fields: IndexMap<String, &Value> = flat(document).into_iter().collect();
        let record: Vec<String> = self
            .columns
            .0
            .keys()
            .map(|name| fields.get(name).and_then(|value| text(value)).unwrap_or_default())
            .map(|text| self.cell(&text).into_owned())
            .collect();
        self.writer.write_record(record).map_err(cause)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(feature = "parquet")]
pub use self::columnar::Parquet;

#[cfg(feature = "parquet")]
mod columnar {
    //! Parquet: rows are gathered into groups, and each column of a group is written at once.

    use std::io::{self, Write};
    use std::sync::Arc;

    use indexmap::IndexMap;
    use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical, ZstdLevel};
    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
    use parquet::errors::ParquetError;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
    use parquet::schema::types::Type;
    use serde_json::{Map, Value};

    use super::{ColumnKind, Columns, RowWriter, flat, text};

    /// How many rows a group has.
    const GROUP: usize = 20_000;

    /// A Parquet file.
    pub struct Parquet<W: Write + Send> {
        writer: SerializedFileWriter<W>,
        columns: Columns,
        group: Vec<Map<String, Value>>,
    }

    fn failed(error: ParquetError) -> io::Error {
        io::Error::other(error.to_string())
    }

    impl<W: Write + Send> Parquet<W> {
        /// Starts a Parquet file with these columns.
        pub fn new(out: W, columns: Columns) -> io::Result<Parquet<W>> {
            let field = |(name, kind): (&String, &ColumnKind)| {
                let (physical, converted) = match kind {
                    ColumnKind::Boolean => (Physical::BOOLEAN, ConvertedType::NONE),
                    ColumnKind::Integer => (Physical::INT64, ConvertedType::NONE),
                    ColumnKind::Number => (Physical::DOUBLE, ConvertedType::NONE),
                    ColumnKind::Text | ColumnKind::Null => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
                };
                let built = Type::primitive_type_builder(name, physical)
                    .with_repetition(Repetition::OPTIONAL)
                    .with_converted_type(converted)
                    .build();
                built.map(Arc::new)
            };
            let fields = columns.0.iter().map(field).collect::<Result<Vec<_>, _>>().map_err(failed)?;
            let schema = Type::group_type_builder("rows").with_fields(fields).build().map_err(failed)?;
            let properties =
                WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
            let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
            Ok(Parquet { writer, columns, group: Vec::new() })
        }

        fn flush(&mut self) -> io::Result<()> {
            let rows = std::mem::take(&mut self.group);
            let rows: Vec<IndexMap<String, &Value>> = rows.iter().map(|row| flat(row).into_iter().collect()).collect();
            let mut group = self.writer.next_row_group().map_err(failed)?;
            for (name, kind) in &self.columns.0 {
                let values = rows.iter().map(|row| row.get(name).copied().filter(|value| !value.is_null()));
                let Some(column) = group.next_column().map_err(failed)? else { break };
                match kind {
                    ColumnKind::Boolean => write::<BoolType>(column, values, |value| value.as_bool()),
                    ColumnKind::Integer => write::<Int64Type>(column, values, |value| value.as_i64()),
                    ColumnKind::Number => write::<DoubleType>(column, values, |value| value.as_f64()),
                    ColumnKind::Text | ColumnKind::Null => write::<ByteArrayType>(column, values, |value| {
                        text(value).map(|text| ByteArray::from(text.into_bytes()))
                    }),
                }
                .map_err(failed)?;
            }
            group.close().map_err(failed)?;
            Ok(())
        }
    }

    fn write<'a, T: DataType>(
        mut column: SerializedColumnWriter<'_>,
        values: impl Iterator<Item = Option<&'a Value>>,
        typed: impl Fn(&Value) -> Option<T::T>,
    ) -> Result<(), ParquetError> {
        let (mut kept, mut levels) = (Vec::new(), Vec::new());
        for value in values {
            let value = value.and_then(&typed);
            levels.push(i16::from(value.is_some()));
            kept.extend(value);
        }
        column.typed::<T>().write_batch(&kept, Some(&levels), None)?;
        column.close()
    }

    impl<W: Write + Send> RowWriter for Parquet<W> {
        fn write(&mut self, document: &Map<String, Value>) -> io::Result<()> {
            self.group.push(document.clone());
            if self.group.len() >= GROUP { self.flush() } else { Ok(()) }
        }

        fn finish(mut self: Box<Self>) -> io::Result<()> {
            if !self.group.is_empty() {
                self.flush()?;
            }
            self.writer.close().map_err(failed)?;
            Ok(())
        }
    }
}
