//! JSON: a list of objects. Read whole; `line` is the ordinal of the object in the list.

use serde_json::Value;

use super::jsonl::sort;
use super::{BadRow, Input, Record, Records};

pub(super) fn open(mut input: Input) -> std::io::Result<Records> {
    let mut bytes = Vec::new();
    let bad = |message: String| -> Records { Box::new(std::iter::once(Err(BadRow { line: 1, message }))) };
    if let Err(error) = input.read_to_end(&mut bytes) {
        return Ok(bad(format!("failed to read: {error}")));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii();
    if text.is_empty() {
        return Ok(Box::new(std::iter::empty()));
    }
    let items = match serde_json::from_slice(text) {
        Ok(Value::Array(items)) => items,
        Ok(other) => return Ok(bad(format!("{} instead of a list of objects", sort(&other)))),
        Err(error) => {
            let hint = if error.to_string().starts_with("trailing characters") {
                "; if every line is an object, call the file .jsonl"
            } else {
                ""
            };
            return Ok(bad(format!("not JSON: {error}{hint}")));
        }
    };
    Ok(Box::new(items.into_iter().zip(1..).map(|(item, line)| match item {
        Value::Object(columns) => Ok(Record::new(line, columns)),
        other => Err(BadRow { line, message: format!("{} instead of an object", sort(&other)) }),
    })))
}
