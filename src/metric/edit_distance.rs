//! `edit_distance`: how many characters must be inserted, deleted or replaced (Levenshtein 1966); of
//! several references the nearest counts.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    Direction, Entry, MeanTally, Metric, MetricError, PartsTally, SHARE, Score, Scored, Setting, Takes, Tally, choice,
    pair,
};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "edit_distance",
    about: "Characters to insert, delete or replace: the mean.",
    source: "Levenshtein 1966; equal to RapidFuzz",
    range: "0 and up",
    direction: Direction::Lower,
    score: "`{ distance, similarity }`",
    settings: &[Setting {
        name: "unit",
        takes: Takes::Choice(&["characters", "words"]),
        example: "unit: words",
        default: "characters",
        about: "What is inserted, deleted or replaced.",
    }],
    parts: &[("similarity", "1 less the distance over the length of the longer text, 0 to 1, more is better")],
    build,
    unit: |part| if part == "similarity" { Unit::Fraction } else { Unit::Amount },
    ..SHARE
};

/// Characters on a side beyond which no distance is computed: its time grows with their product.
const MAX_LENGTH: usize = 200_000;

struct EditDistance {
    counts_words: bool,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    Ok(Box::new(EditDistance { counts_words: choice(settings, "unit") == Some("words") }))
}

impl EditDistance {
    /// Returns the distance, and the length of the longer side.
    fn distance(&self, prediction: &str, reference: &str) -> (usize, usize) {
        if self.counts_words {
            let mut numbers: HashMap<&str, u32> = HashMap::new();
            let mut words = |text| -> Vec<u32> {
                let number = |word| {
                    let next = numbers.len() as u32;
                    *numbers.entry(word).or_insert(next)
                };
                str::split_whitespace(text).map(number).collect()
            };
            let (a, b) = (words(prediction), words(reference));
            let distance = rapidfuzz::distance::levenshtein::distance(a.iter().copied(), b.iter().copied());
            return (distance, a.len().max(b.len()));
        }
        let distance = rapidfuzz::distance::levenshtein::distance(prediction.chars(), reference.chars());
        (distance, prediction.chars().count().max(reference.chars().count()))
    }
}

impl Metric for EditDistance {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some((prediction, references)) = pair(scored) else {
            return Ok(None);
        };
        if references
            .iter()
            .chain([&prediction])
            .any(|text| text.len() > MAX_LENGTH && text.chars().count() > MAX_LENGTH)
        {
            return Err(format!("a text has more than {MAX_LENGTH} characters"));
        }
        let nearest = references.iter().map(|reference| self.distance(&prediction, reference)).min();
        Ok(nearest.map(|(distance, longest)| {
            let similarity = if longest == 0 { 1.0 } else { 1.0 - distance as f64 / longest as f64 };
            json!({ "distance": distance, "similarity": similarity })
        }))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(PartsTally::new(vec![
            ("", "distance", Box::new(MeanTally::new(seed))),
            ("similarity", "similarity", Box::new(MeanTally::within(seed, 0.0, 1.0))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
