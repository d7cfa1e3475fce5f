//! JSON lines: one object per line. Blank lines are skipped, a byte order mark too.

use std::io::{BufRead, BufReader};

use serde_json::{Map, Value};

use super::{BadRow, Content, Input, Record, Records};

/// The longest line, in bytes: beyond it the file is hardly JSON lines.
const MAX_LINE: usize = 256 * 1024 * 1024;

pub(super) fn open(input: Input) -> std::io::Result<Records> {
    let reader = BufReader::with_capacity(1 << 18, input);
    Ok(Box::new(Lines { reader, line: 0, buffer: Vec::new(), ended: false }))
}

struct Lines {
    reader: BufReader<Input>,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl Iterator for Lines {
    type Item = Result<Record, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.buffer.clear();
            self.line += 1;
            match self.reader.read_until(b'\n', &mut self.buffer) {
                Ok(0) => self.ended = true,
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
                    return Some(Err(BadRow { line: self.line, message: format!("failed to read: {error}") }));
                }
            }
        }
        None
    }
}

pub(super) fn parse(text: &[u8], line: u64) -> Result<Map<String, Value>, BadRow> {
    let bad = |message: String| BadRow { line, message };
    if text.len() > MAX_LINE {
        return Err(bad(format!("the line has {} bytes, {MAX_LINE} are allowed", text.len())));
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| bad(format!("not UTF-8 (byte {} of the line)", error.valid_up_to())))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(columns)) => Ok(columns),
        Ok(other) => Err(bad(format!("{} instead of an object", sort(&other)))),
        Err(error) => {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            Err(bad(format!("not JSON: {message} (column {})", error.column())))
        }
    }
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
