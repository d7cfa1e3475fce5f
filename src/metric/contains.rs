//! `contains`: the share of predictions that contain a text.
//!
//! `text` is what to look for: one text or a list of them; without it, the reference of the row (one text or a list).
//! `match: all` (the default) demands every one of them, `any` only one; `ignore_case: true` ignores case.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::fold;
use super::{Entry, Made, Make, MeanTally, Metric, Score, Scored, Tally, Written, share, text};
use crate::spec::{OneOrMany, Scalar};

pub(super) const ENTRY: Entry =
    Entry { name: "contains", about: "Share of predictions that contain a text.", ..share::<Settings>() };

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What to look for: a text or a list of them; the reference unless given.
    #[schemars(example = ["sorry", "apologise"])]
    text: Option<OneOrMany<Scalar, 1>>,
    /// Whether every text must be there (unless said) or one of them.
    #[schemars(example = Match::Any)]
    r#match: Match,
    /// Does without regard to case.
    #[schemars(example = true)]
    ignore_case: bool,
}

#[derive(Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Match {
    #[default]
    All,
    Any,
}

struct Contains {
    /// None: the reference is looked for.
    texts: Option<Vec<String>>,
    wants_all: bool,
    ignores_case: bool,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let texts: Option<Vec<String>> =
            self.text.map(|texts| texts.into_vec().into_iter().map(String::from).collect());
        if texts.as_ref().is_some_and(|texts| texts.iter().any(String::is_empty)) {
            return Err(written.wrong("text", "`text` is empty: every prediction contains that"));
        }
        let (wants_all, ignores_case) = (self.r#match == Match::All, self.ignore_case);
        Ok(Box::new(Contains { texts, wants_all, ignores_case }))
    }
}

/// Returns the texts of one value or of a list.
fn wanted(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        other => vec![text(other)],
    }
}

impl Metric for Contains {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let of_row;
        let texts = match &self.texts {
            Some(texts) => texts,
            None => {
                let Some(reference) = scored.reference.filter(|reference| !reference.is_null()) else {
                    return Ok(None);
                };
                of_row = wanted(reference);
                &of_row
            }
        };
        // An empty list or text is contained in any prediction, so such a row has no score.
        if texts.is_empty() || texts.iter().any(String::is_empty) {
            return Ok(None);
        }
        let case = |text: &str| if self.ignores_case { fold(text) } else { text.to_owned() };
        let is_met = scored.prediction.map(text).is_some_and(|prediction| {
            let prediction = case(&prediction);
            let mut found = texts.iter().map(|text| prediction.contains(&case(text)));
            if self.wants_all { found.all(|is_found| is_found) } else { found.any(|is_found| is_found) }
        });
        Ok(Some(Value::from(u8::from(is_met))))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share())
    }

    fn needs_reference(&self) -> bool {
        self.texts.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn score(settings: Value, prediction: Option<Value>, reference: Value) -> Option<u64> {
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).unwrap();
        let scored = Scored { prediction: prediction.as_ref(), reference: Some(&reference), ..Scored::default() };
        metric.score(&scored).unwrap().map(|score| score.as_u64().unwrap())
    }

    #[test]
    fn texts_of_the_settings_or_of_the_row() {
        let said = || Some(json!("We are Sorry, Zoë."));
        assert_eq!(score(json!({"text": "Sorry"}), said(), json!(null)), Some(1));
        assert_eq!(score(json!({"text": "sorry"}), said(), json!(null)), Some(0));
        assert_eq!(score(json!({"text": "zOË", "ignore_case": true}), said(), json!(null)), Some(1));
        assert_eq!(score(json!({"text": ["Sorry", "refund"]}), said(), json!(null)), Some(0));
        assert_eq!(score(json!({"text": ["Sorry", "refund"], "match": "any"}), said(), json!(null)), Some(1));
        assert_eq!(score(json!({}), said(), json!(["Sorry", "Zoë"])), Some(1));
        assert_eq!(score(json!({}), Some(json!(1234)), json!(23)), Some(1));
    }

    #[test]
    fn nothing_is_contained_in_nothing() {
        assert_eq!(score(json!({"text": "a"}), None, json!(null)), Some(0));
        assert_eq!(score(json!({}), Some(json!("a")), json!(null)), None);
        assert_eq!(score(json!({}), Some(json!("a")), json!("")), None);
        assert_eq!(score(json!({}), Some(json!("a")), json!([])), None);
        for settings in [json!({"text": ""}), json!({"text": []}), json!({"match": "one"}), json!({"ignore_case": 1})] {
            assert!(ENTRY.make(settings.as_object().unwrap(), Path::new(".")).is_err(), "{settings}");
        }
    }
}
