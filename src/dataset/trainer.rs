//! `trainer_state.json`, which the usual trainer writes: each entry of its `log_history` is a row.
//!
//! Python writes bare `NaN` and `Infinity` there, which are not JSON; they become the texts `"NaN"`,
//! `"Infinity"` and `"-Infinity"`, so that a diverged loss stays visible.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Input, Records, bad_file, json};
use crate::text::quoted_nan;

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
    let text = quoted_nan(&text);
    match serde_json::from_str::<State<'_>>(&text) {
        Ok(state) => Ok(json::records(&text, &state.log_history)),
        Err(error) => Ok(bad_file(error.line() as u64, format!("no trainer state with a `log_history`: {error}"))),
    }
}
