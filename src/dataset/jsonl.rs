//! JSON lines: one object per line. Blank lines and a byte order mark are skipped.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::{BadRow, Content, Input, Record, Records};

/// The longest line, in bytes. A file with a longer one is hardly JSON lines.
const MAX_LINE: usize = 256 * 1024 * 1024;

pub(super) fn open(input: Input) -> io::Result<Records> {
    let reader = BufReader::with_capacity(1 << 18, input);
    Ok(Box::new(Lines { reader, line: 0, buffer: Vec::new(), ended: false }))
}

struct Lines {
    reader: BufReader<Input>,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// Reads a line; returns how many bytes it has. The rest of a line that is too long is skipped.
    fn read_line(&mut self) -> io::Result<usize> {
        self.buffer.clear();
        let read = (&mut self.reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if read > MAX_LINE {
            self.reader.skip_until(b'\n')?;
        }
        Ok(read)
    }
}

impl Iterator for Lines {
    type Item = Result<Record, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.line += 1;
            match self.read_line() {
                Ok(0) => self.ended = true,
                Ok(read) if read > MAX_LINE => {
                    let message = format!("the line has more than {} MB", MAX_LINE >> 20);
                    return Some(Err(BadRow::new(self.line, message)));
                }
                Ok(_) => {
                    let mut text = self.buffer.as_slice();
                    if self.line == 1 {
                        text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
                    }
                    let text = text.trim_ascii();
                    if !text.is_empty() {
                        return Some(Ok(Record { line: self.line, content: Content::Json(text.to_vec()) }));
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(BadRow::end(self.line, format!("failed to read: {error}"))));
                }
            }
        }
        None
    }
}

pub(super) fn parse(text: &[u8], line: u64) -> Result<Map<String, Value>, BadRow> {
    let bad = |message: String| BadRow::new(line, message);
    let text = std::str::from_utf8(text)
        .map_err(|error| bad(format!("not UTF-8 (byte {} of the line)", error.valid_up_to())))?;
    match serde_json::from_str(text) {
        Ok(Columns(columns)) => Ok(columns),
        Err(error) => {
            if error.is_data() {
                // The line is whole JSON: either not an object, or an object with a key twice.
                return Err(match serde_json::from_str::<Value>(text) {
                    Ok(other) if !other.is_object() => bad(format!("{} instead of an object", sort(&other))),
                    _ => bad(error.to_string().split(" at line ").next().unwrap_or_default().to_owned()),
                });
            }
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            let rest = text.get(error.column().saturating_sub(1)..).unwrap_or_default();
            let hint = if rest.starts_with(['N', 'I']) || rest.starts_with("-I") {
                "; bare NaN and Infinity are not JSON: write null"
            } else {
                ""
            };
            Err(bad(format!("not JSON: {message} (column {}){hint}", error.column())))
        }
    }
}

/// An object without repeated keys. JSON does not say which of two values would count, so they are an error.
struct Columns(Map<String, Value>);

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Columns, D::Error> {
        struct ColumnsVisitor;
        impl<'de> Visitor<'de> for ColumnsVisitor {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Columns, A::Error> {
                let mut columns = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    match columns.entry(name) {
                        Entry::Vacant(vacant) => vacant.insert(value),
                        Entry::Occupied(known) => {
                            return Err(Error::custom(format!("column `{}` stands twice", known.key())));
                        }
                    };
                }
                Ok(Columns(columns))
            }
        }
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

/// Returns what sort of value this is, in a user's words.
pub fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
