//! `json_valid`: the share of predictions that are JSON (RFC 8259) as they stand.
//!
//! The part `fenced` is the share that is JSON after a surrounding Markdown fence is removed; `duplicate_keys` is the
//! share of those in which an object has a key twice.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, share};
use crate::text::{JsonForm, json_form};

pub(super) const ENTRY: Entry = Entry {
    name: "json_valid",
    about: "Share of predictions that are JSON (RFC 8259) as they stand.",
    source: "RFC 8259; equal to Python's json without NaN",
    score: "`{ strict, fenced, duplicate_keys }`, each 0 or 1",
    parts: &[
        ("fenced", "share once a surrounding Markdown fence is removed"),
        ("duplicate_keys", "share of the valid ones with a key that stands twice; less is better"),
    ],
    ..share::<JsonValid>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JsonValid {}

impl Make for JsonValid {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for JsonValid {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let form = match scored.prediction {
            None => json_form(""),
            Some(Value::String(text)) => json_form(text),
            // A prediction that is not text was parsed by a template, so it was JSON.
            Some(_) => JsonForm { is_strict: true, is_fenced: false, is_valid: true, has_duplicate_keys: Some(false) },
        };
        Ok(Some(json!({
            "strict": u8::from(form.is_strict),
            "fenced": u8::from(form.is_valid),
            "duplicate_keys": form.has_duplicate_keys.map(u8::from),
        })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let share = || Box::new(MeanTally::share()) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![
            ("", "strict", share()),
            ("fenced", "fenced", share()),
            ("duplicate_keys", "duplicate_keys", share()),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_and_fenced_are_told_apart() {
        for (text, strict, fenced) in [
            ("{\"a\": 1}", 1, 1),
            ("```json\n{\"a\": 1}\n```", 0, 1),
            ("Here: {\"a\": 1}", 0, 0),
            ("{\"a\": NaN}", 0, 0),
            ("", 0, 0),
            ("\"text\"", 1, 1),
        ] {
            let prediction = Value::from(text);
            let scored = Scored { prediction: Some(&prediction), ..Scored::default() };
            let score = JsonValid {}.score(&scored).unwrap().unwrap();
            assert_eq!((&score["strict"], &score["fenced"]), (&json!(strict), &json!(fenced)), "{text}");
        }
    }
}
