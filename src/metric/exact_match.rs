//! `exact_match`: the share of predictions that equal the reference, or one of several references.
//!
//! `mode: strict` compares texts as they are; `trim` (the default) ignores white space around them, `casefold` also
//! case; `squad` compares as SQuAD does, without case, punctuation and articles. Numbers and truth values are compared
//! by what they are, also with text (`value`); null equals null.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::value::{Empty, Equality, Mode, RULE};
use super::{Entry, Made, Make, MeanTally, Metric, Score, Scored, Tally, Written, share};

pub(super) const ENTRY: Entry = Entry {
    name: "exact_match",
    about: "Share of predictions that equal the reference; of a list of references, one of them.",
    source: "`squad`: evaluate-v2.0.py (Rajpurkar et al. 2018)",
    equality: RULE,
    ..share::<Settings>()
};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// How texts are compared: as they are, without white space around them, without regard to case as
    /// well, or without case, punctuation and articles.
    #[schemars(example = Mode::Strict)]
    mode: Mode,
    /// What an empty reference stands for: `null` where a CSV file cannot say null otherwise.
    #[schemars(example = Empty::Null)]
    empty: Empty,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for Settings {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some(reference) = scored.reference.map(|reference| self.empty.of(reference)) else {
            return Ok(None);
        };
        let equality = Equality { mode: self.mode, ..Equality::default() };
        let is_equal = scored.prediction.is_some_and(|prediction| match reference {
            // A list may be several references, or itself the right answer.
            Value::Array(several) if several.iter().any(|one| equality.holds(one, prediction)) => true,
            reference => equality.holds(reference, prediction),
        });
        match reference {
            // SQuAD 2 has questions without an answer: what is right is to say nothing.
            Value::Array(none) if none.is_empty() && self.mode == Mode::Squad => {
                let says_nothing = scored.prediction.is_some_and(|said| equality.holds(&Value::from(""), said));
                Ok(Some(Value::from(u8::from(says_nothing || is_equal))))
            }
            Value::Array(none) if none.is_empty() && !is_equal => Err("the row has no reference".to_owned()),
            _ => Ok(Some(Value::from(u8::from(is_equal)))),
        }
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share())
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn knows_null(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Map, json};

    use super::*;

    fn score(settings: Value, prediction: Value, reference: Value) -> Value {
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).unwrap();
        let scored = Scored { prediction: Some(&prediction), reference: Some(&reference), ..Scored::default() };
        metric.score(&scored).unwrap().unwrap()
    }

    #[test]
    fn modes_differ() {
        assert_eq!(score(json!({}), json!(" a\n"), json!("a")), json!(1));
        assert_eq!(score(json!({"mode": "strict"}), json!(" a"), json!("a")), json!(0));
        assert_eq!(score(json!({"mode": "casefold"}), json!("STRASSE Ä"), json!("strasse ä")), json!(1));
        for (a, b) in [("Straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("ﬁn", "FIN"), ("İ", "i̇")] {
            assert_eq!(score(json!({"mode": "casefold"}), json!(a), json!(b)), json!(1), "{a} {b}");
        }
        assert_eq!(score(json!({"mode": "casefold"}), json!("ı"), json!("I")), json!(0));
        assert_eq!(score(json!({"mode": "squad"}), json!("The answer!"), json!("answer")), json!(1));
        assert_eq!(score(json!({}), json!(12), json!("12")), json!(1));
        assert_eq!(score(json!({}), json!("b"), json!(["a", "b"])), json!(1));
        assert_eq!(score(json!({}), json!(["a", "b"]), json!(["a", "b"])), json!(1));
        assert_eq!(score(json!({}), json!(3), json!(3.0)), json!(1));
        assert_eq!(score(json!({}), json!("3"), json!(3.0)), json!(1));
        assert_eq!(score(json!({}), json!(true), json!("True")), json!(1));
        assert_eq!(score(json!({}), json!(null), json!(null)), json!(1));
        assert_eq!(score(json!({}), json!("B"), json!(null)), json!(0));
        assert_eq!(score(json!({}), json!("null"), json!(null)), json!(0));
        assert_eq!(score(json!({}), json!(null), json!("")), json!(0));
        assert_eq!(score(json!({"mode": "squad"}), json!("the"), json!([])), json!(1));
        assert_eq!(score(json!({"mode": "squad"}), json!("Paris"), json!([])), json!(0));
        assert_eq!(score(json!({"empty": null}), json!(null), json!("")), json!(1));
        assert_eq!(score(json!({"empty": "null"}), json!(""), json!("")), json!(0));
        assert_eq!(ENTRY.signature(&Map::new()), "exact_match|mode:trim|empty:text|types:value");
        assert!(ENTRY.make(json!({"mode": "x"}).as_object().unwrap(), Path::new(".")).is_err());
        assert!(ENTRY.make(json!({"mod": "x"}).as_object().unwrap(), Path::new(".")).is_err());
    }
}
