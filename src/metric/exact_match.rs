//! `exact_match`: the share of predictions that equal the reference.
//!
//! `mode: strict` compares the texts as they are, `trim` (the default) without surrounding
//! whitespace, `casefold` without regard to case as well.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Entry, Metric, MetricError, ProportionTally, Scored, Setting, Takes, Tally, choice, text};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "exact_match",
    about: "Share of predictions that equal the reference.",
    settings: &[Setting {
        name: "mode",
        takes: Takes::Choice(&["strict", "trim", "casefold"]),
        example: "mode: strict",
        about: "How texts are compared: as they are, without white space around them (unless said), or without regard to case as well.",
    }],
    parts: &[],
    build,
    has_part: |_| false,
    has_value: true,
    unit: |_| Unit::Fraction,
};

#[derive(Clone, Copy)]
enum Mode {
    Strict,
    Trim,
    Casefold,
}

struct ExactMatch {
    mode: Mode,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    let mode = match choice(settings, "mode") {
        Some("strict") => Mode::Strict,
        Some("casefold") => Mode::Casefold,
        _ => Mode::Trim,
    };
    Ok(Box::new(ExactMatch { mode }))
}

impl ExactMatch {
    fn normal(&self, value: &Value) -> String {
        let text = text(value);
        match self.mode {
            Mode::Strict => text,
            Mode::Trim => text.trim().to_owned(),
            Mode::Casefold => text.trim().to_lowercase(),
        }
    }
}

impl Metric for ExactMatch {
    fn score(&self, scored: &Scored<'_>) -> Result<Option<Value>, String> {
        let Some(reference) = scored.reference.filter(|reference| !reference.is_null()) else {
            return Ok(None);
        };
        let is_equal = scored.prediction.is_some_and(|prediction| self.normal(prediction) == self.normal(reference));
        Ok(Some(Value::from(u8::from(is_equal))))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(ProportionTally::default())
    }

    fn needs_reference(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn score(settings: Value, prediction: Value, reference: Value) -> Value {
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).map_err(|error| error.message).unwrap();
        let scored = Scored { prediction: Some(&prediction), reference: Some(&reference), latency: None };
        metric.score(&scored).unwrap().unwrap()
    }

    #[test]
    fn modes_differ() {
        assert_eq!(score(json!({}), json!(" a\n"), json!("a")), json!(1));
        assert_eq!(score(json!({"mode": "strict"}), json!(" a"), json!("a")), json!(0));
        assert_eq!(score(json!({"mode": "casefold"}), json!("STRASSE Ä"), json!("strasse ä")), json!(1));
        assert_eq!(score(json!({}), json!(12), json!("12")), json!(1));
        assert!(ENTRY.make(json!({"mode": "x"}).as_object().unwrap(), Path::new(".")).is_err());
        assert!(ENTRY.make(json!({"mod": "x"}).as_object().unwrap(), Path::new(".")).is_err());
    }
}
