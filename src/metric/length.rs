//! `length`: how long predictions are.
//!
//! `unit: characters` (the default) counts Unicode scalar values, `words` counts runs without white space. The value is
//! the mean over rows, the parts are `p50` and `p95`. With `min`, `max` or both (inclusive) there is also `within`, the
//! share of predictions inside the bounds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Direction, Entry, Made, Make, MeanTally, Metric, RowScores, Score, Scored, SpreadTally, Tally, TallySummary,
    Written, share, text,
};
use crate::score::Unit;
use crate::spec::Whole;

pub(super) const ENTRY: Entry = Entry {
    name: "length",
    about: "Length of predictions: the mean.",
    parts: &[("p50", "median"), ("p95", "95th percentile"), ("within", "share between `min` and `max`")],
    range: "0 and up",
    direction: Direction::Neither,
    score: "the length",
    unit: |part| if part == "within" { Unit::Fraction } else { Unit::Amount },
    ..share::<Settings>()
};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What is counted; characters unless said.
    #[schemars(example = LengthUnit::Words)]
    unit: LengthUnit,
    /// Adds the share `within`: at least so long.
    #[schemars(example = 20)]
    min: Option<Whole>,
    /// Adds the share `within`: at most so long.
    #[schemars(example = 400)]
    max: Option<Whole>,
}

/// What lengths are counted in.
#[derive(Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
pub(super) enum LengthUnit {
    #[default]
    Characters,
    Words,
}

#[derive(Clone, Copy)]
struct Length {
    counts_words: bool,
    /// The bounds of `within`; none if there is no such part.
    range: Option<(u64, u64)>,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let (min, max) = (self.min.map(|min| min.0), self.max.map(|max| max.0));
        let range = (min.is_some() || max.is_some()).then_some((min.unwrap_or(0), max.unwrap_or(u64::MAX)));
        if range.is_some_and(|(min, max)| min > max) {
            return Err(written.wrong("min", "`min` is above `max`"));
        }
        Ok(Box::new(Length { counts_words: self.unit == LengthUnit::Words, range }))
    }
}

impl Metric for Length {
    fn score(&self, scored: &Scored<'_>) -> Score {
        Ok(scored.prediction.map(|prediction| {
            let text = text(prediction);
            Value::from(if self.counts_words { text.split_whitespace().count() } else { text.chars().count() })
        }))
    }

    fn has_part(&self, part: &str) -> bool {
        part != "within" || self.range.is_some()
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(LengthTally { length: *self, spread: SpreadTally::new(), within: MeanTally::share() })
    }
}

struct LengthTally {
    length: Length,
    spread: SpreadTally,
    within: MeanTally,
}

impl Tally for LengthTally {
    fn add(&mut self, row: &RowScores<'_>) {
        self.spread.add(row);
        if let Some((min, max)) = self.length.range {
            let is_within: Vec<Option<Value>> = row
                .scores
                .iter()
                .map(|score| Some(Value::from(u8::from((min..=max).contains(&score.and_then(Value::as_u64)?)))))
                .collect();
            let scores: Vec<Option<&Value>> = is_within.iter().map(Option::as_ref).collect();
            self.within.add(&RowScores { scores: &scores, ..*row });
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        self.spread.finish(summary);
        if self.length.range.is_some() {
            summary.parts.push(("within".to_owned(), self.within.estimate()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn characters_words_and_a_range() {
        let settings = json!({"unit": "words", "min": 2, "max": 3});
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).unwrap();
        let mut tally = metric.tally(0);
        for text in ["one", "one two", " one  two\nthree ", "1 2 3 4", ""] {
            let prediction = Value::from(text);
            let scored = Scored { prediction: Some(&prediction), ..Scored::default() };
            tally.add(&RowScores { scores: &[metric.score(&scored).unwrap().as_ref()], cluster: None });
        }
        tally.add(&RowScores { scores: &[None], cluster: None });
        let mut summary = TallySummary::default();
        tally.finish(&mut summary);
        let value = |name: &str| summary.parts.iter().find(|(part, _)| part == name).unwrap().1;
        assert_eq!((value("").value, value("").n, value("").missing), (Some(2.0), 5, 1));
        assert_eq!((value("p50").value, value("within").value), (Some(2.0), Some(0.4)));
        assert_eq!((value("within").n, value("within").missing), (5, 1));
        let metric = ENTRY.make(&serde_json::Map::new(), Path::new(".")).unwrap();
        let prediction = Value::from("Zoë \u{1F600}");
        let scored = Scored { prediction: Some(&prediction), ..Scored::default() };
        assert_eq!(metric.score(&scored).unwrap(), Some(json!(5)));
        for settings in [json!({"unit": "tokens"}), json!({"min": 3, "max": 2}), json!({"max": -1})] {
            assert!(ENTRY.make(settings.as_object().unwrap(), Path::new(".")).is_err(), "{settings}");
        }
    }
}
