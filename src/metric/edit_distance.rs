//! `edit_distance`: how many characters must be inserted, deleted or replaced (Levenshtein 1966). Of several references
//! the nearest counts.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::length::LengthUnit;
use super::{Direction, Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, pair, share};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "edit_distance",
    about: "Characters to insert, delete or replace: the mean.",
    source: "Levenshtein 1966; equal to RapidFuzz",
    range: "0 and up",
    direction: Direction::Lower,
    score: "`{ distance, similarity }`",
    parts: &[("similarity", "1 less the distance over the length of the longer text, 0 to 1, more is better")],
    unit: |part| if part == "similarity" { Unit::Fraction } else { Unit::Amount },
    ..share::<Settings>()
};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What is inserted, deleted or replaced.
    #[schemars(example = LengthUnit::Words)]
    unit: LengthUnit,
}

/// Longer texts have no distance, since the time grows with the product of both lengths.
const MAX_LENGTH: usize = 200_000;

struct EditDistance {
    counts_words: bool,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(EditDistance { counts_words: self.unit == LengthUnit::Words }))
    }
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
        let found: Vec<(usize, usize)> =
            references.iter().map(|reference| self.distance(&prediction, reference)).collect();
        let similarity = |(distance, longest): &(usize, usize)| {
            if *longest == 0 { 1.0 } else { 1.0 - *distance as f64 / *longest as f64 }
        };
        // The nearest reference need not be the most similar one: a long one may differ by more, and by a smaller share.
        let most = found.iter().map(similarity).fold(0.0, f64::max);
        let nearest = found.iter().map(|(distance, _)| distance).min();
        Ok(nearest.map(|distance| json!({ "distance": distance, "similarity": most })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(PartsTally::new(vec![
            ("", "distance", Box::new(MeanTally::new())),
            ("similarity", "similarity", Box::new(MeanTally::within(0.0, 1.0))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
