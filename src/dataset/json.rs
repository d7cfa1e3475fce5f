//! JSON: a file with a list of objects. The file is held in memory whole; each record has the line on which its object
//! begins.

use serde_json::value::RawValue;

use super::{Content, Input, Record, Records, bad_file};

pub(super) fn open(mut input: Input) -> std::io::Result<Records> {
    let mut text = String::new();
    if let Err(error) = input.read_to_string(&mut text) {
        return Ok(bad_file(1, format!("failed to read: {error}")));
    }
    let list = text.strip_prefix('\u{feff}').unwrap_or(&text);
    if list.trim().is_empty() {
        return Ok(Box::new(std::iter::empty()));
    }
    match serde_json::from_str::<Vec<&RawValue>>(list) {
        Ok(items) => Ok(records(list, &items)),
        Err(error) => {
            let hint = if list.contains("\"log_history\"") {
                "`format: trainer_state` reads the log of a trainer"
            } else {
                "`[{…}, {…}]` is expected, or .jsonl with one object per line"
            };
            Ok(bad_file(error.line() as u64, format!("no list of objects: {error}; {hint}")))
        }
    }
}

/// Returns the records of several parts of a text, in order, each with the line on which it begins.
pub(super) fn records(text: &str, items: &[&RawValue]) -> Records {
    let (mut line, mut counted_to) = (1, 0);
    let records: Vec<Record> = items
        .iter()
        .map(|item| {
            let start = item.get().as_ptr() as usize - text.as_ptr() as usize;
            line += text[counted_to..start].bytes().filter(|byte| *byte == b'\n').count() as u64;
            counted_to = start;
            Record { line, content: Content::Json(item.get().as_bytes().to_vec()) }
        })
        .collect();
    Box::new(records.into_iter().map(Ok))
}
