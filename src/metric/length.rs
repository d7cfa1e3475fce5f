//! `length`: how long predictions are.
//!
//! `unit: characters` (the default; Unicode scalar values) or `words` (runs without white space). Its
//! value is the mean over rows, its parts are `p50` and `p95`. `min` and `max` (inclusive, either
//! alone) add `within`, the share inside them.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    Direction, Entry, MeanTally, Metric, MetricError, RowScores, SHARE, Score, Scored, Setting, SpreadTally, Takes,
    Tally, TallySummary, choice, text,
};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "length",
    about: "Length of predictions: the mean.",
    settings: &[
        Setting {
            name: "unit",
            takes: Takes::Choice(&["characters", "words"]),
            example: "unit: words",
            default: "characters",
            about: "What is counted; characters unless said.",
        },
        Setting {
            name: "min",
            takes: Takes::Whole,
            example: "min: 20, max: 400",
            default: "",
            about: "Adds the share `within`: at least so long.",
        },
        Setting {
            name: "max",
            takes: Takes::Whole,
            example: "min: 20, max: 400",
            default: "",
            about: "Adds the share `within`: at most so long.",
        },
    ],
    parts: &[("p50", "median"), ("p95", "95th percentile"), ("within", "share between `min` and `max`")],
    build,
    range: "0 and up",
    direction: Direction::Neither,
    score: "the length",
    unit: |part| if part == "within" { Unit::Fraction } else { Unit::Amount },
    ..SHARE
};

#[derive(Clone, Copy)]
struct Length {
    counts_words: bool,
    /// None: no `within`.
    range: Option<(u64, u64)>,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    let limit = |name: &str| settings.get(name).and_then(Value::as_u64);
    let (min, max) = (limit("min"), limit("max"));
    let range = (min.is_some() || max.is_some()).then_some((min.unwrap_or(0), max.unwrap_or(u64::MAX)));
    if range.is_some_and(|(min, max)| min > max) {
        return Err(ENTRY.error("min", "`min` is above `max`"));
    }
    let counts_words = choice(settings, "unit") == Some("words");
    Ok(Box::new(Length { counts_words, range }))
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

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(LengthTally { length: *self, spread: SpreadTally::new(seed), within: MeanTally::share(seed) })
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
    use serde_json::json;

    use super::*;

    #[test]
    fn characters_words_and_a_range() {
        let settings = json!({"unit": "words", "min": 2, "max": 3});
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).map_err(|error| error.message).unwrap();
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
        let metric = ENTRY.make(&Map::new(), Path::new(".")).map_err(|error| error.message).unwrap();
        let prediction = Value::from("Zoë \u{1F600}");
        let scored = Scored { prediction: Some(&prediction), ..Scored::default() };
        assert_eq!(metric.score(&scored).unwrap(), Some(json!(5)));
        for settings in [json!({"unit": "tokens"}), json!({"min": 3, "max": 2}), json!({"max": -1})] {
            assert!(ENTRY.make(settings.as_object().unwrap(), Path::new(".")).is_err(), "{settings}");
        }
    }
}
