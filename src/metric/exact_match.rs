//! `exact_match`: the share of predictions that equal the reference, or one of several references.
//!
//! `mode: strict` compares texts as they are; `trim` (the default) ignores white space around them, `casefold` also
//! case; `squad` compares as SQuAD does, without case, punctuation and articles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Entry, Made, Make, MeanTally, Metric, Score, Scored, Tally, Written, share, text, texts};
use crate::text::squad_normal;

pub(super) const ENTRY: Entry = Entry {
    name: "exact_match",
    about: "Share of predictions that equal the reference; of a list of references, one of them.",
    source: "`squad`: evaluate-v2.0.py (Rajpurkar et al. 2018)",
    ..share::<Settings>()
};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// How texts are compared: as they are, without white space around them, without regard to case as
    /// well, or without case, punctuation and articles.
    #[schemars(example = Mode::Strict)]
    mode: Mode,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Strict,
    #[default]
    Trim,
    Casefold,
    Squad,
}

struct ExactMatch {
    mode: Mode,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(ExactMatch { mode: self.mode }))
    }
}

impl ExactMatch {
    fn normal(&self, text: &str) -> String {
        match self.mode {
            Mode::Strict => text.to_owned(),
            Mode::Trim => text.trim().to_owned(),
            Mode::Casefold => text.trim().to_lowercase(),
            Mode::Squad => squad_normal(text),
        }
    }
}

impl Metric for ExactMatch {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some(references) = texts(scored.reference) else {
            return Ok(None);
        };
        let is_equal = scored.prediction.is_some_and(|prediction| {
            // A list may be several references, or itself the right answer.
            let prediction_text = self.normal(&text(prediction));
            scored.reference == Some(prediction)
                || references.iter().any(|reference| self.normal(reference) == prediction_text)
        });
        Ok(Some(Value::from(u8::from(is_equal))))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share(seed))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

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
        assert_eq!(score(json!({"mode": "squad"}), json!("The answer!"), json!("answer")), json!(1));
        assert_eq!(score(json!({}), json!(12), json!("12")), json!(1));
        assert_eq!(score(json!({}), json!("b"), json!(["a", "b"])), json!(1));
        assert_eq!(score(json!({}), json!(["a", "b"]), json!(["a", "b"])), json!(1));
        assert!(ENTRY.make(json!({"mode": "x"}).as_object().unwrap(), Path::new(".")).is_err());
        assert!(ENTRY.make(json!({"mod": "x"}).as_object().unwrap(), Path::new(".")).is_err());
    }
}
