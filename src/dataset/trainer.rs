//! `trainer_state.json` of the usual trainer: each entry of its `log_history` is a row.
//!
//! Python writes bare `NaN` and `Infinity` there, which are not JSON; they become the texts `"NaN"`,
//! `"Infinity"` and `"-Infinity"`, so that a diverged loss stays visible.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Input, Records, bad_file, json};

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    log_history: Vec<&'a RawValue>,
}

pub(super) fn open(mut input: Input) -> std::io::Result<Records> {
    let mut text = String::new();
    if let Err(error) = input.read_to_string(&mut text) {
        return Ok(bad_file(1, format!("failed to read: {error}")));
    }
    let text = quoted(&text);
    match serde_json::from_str::<State<'_>>(&text) {
        Ok(state) => Ok(json::records(&text, &state.log_history)),
        Err(error) => Ok(bad_file(error.line() as u64, format!("no trainer state with a `log_history`: {error}"))),
    }
}

/// Puts bare NaN and infinities outside of texts into quotes.
fn quoted(text: &str) -> Cow<'_, str> {
    const BARE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut out = String::new();
    let mut kept = 0;
    let (mut in_text, mut is_escaped) = (false, false);
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'-' | b'I' | b'N' if !in_text => {
                if let Some(word) = BARE.iter().find(|word| bytes[at..].starts_with(word.as_bytes())) {
                    out.push_str(&text[kept..at]);
                    out.push_str(&format!("\"{word}\""));
                    at += word.len();
                    kept = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}
