//! `ter`: how many edits and shifts of words a prediction needs, per word of the references, over the whole corpus.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Direction, Entry, Made, Make, Metric, PartsTally, Score, Scored, SpreadTally, SumsTally, Tally, Written, borrowed,
    pair, share,
};
use crate::score::Unit;
use crate::text::{Ter, TerCounts};

pub(super) const ENTRY: Entry = Entry {
    name: "ter",
    about: "Corpus translation edit rate: edits and shifts per hundred words of the reference.",
    source: "Snover et al. 2006; equal to sacreBLEU 2.6.0",
    range: "0 and up",
    direction: Direction::Lower,
    score: "`{ sentence, counts }`: edits, words of the reference",
    parts: &[
        ("sentence", "mean of the sentence rates"),
        ("sentence.p50", "median of them"),
        ("sentence.p95", "their 95th percentile"),
    ],
    unit: |_| Unit::Amount,
    ..share::<Settings>()
};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Regards case.
    #[schemars(example = true)]
    case_sensitive: bool,
    /// Sets Western punctuation apart from words.
    #[schemars(example = true)]
    normalized: bool,
    /// Takes punctuation out.
    #[schemars(example = true)]
    no_punct: bool,
}

/// Texts with more words are compared without searching for shifts.
const MAX_WORDS: usize = 20_000;

struct TerMetric(Ter);

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        let Settings { case_sensitive, normalized, no_punct } = self;
        Ok(Box::new(TerMetric(Ter { case_sensitive, normalized, no_punctuation: no_punct })))
    }
}

impl Metric for TerMetric {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some((prediction, references)) = pair(scored) else {
            return Ok(None);
        };
        let longest = references.iter().chain([&prediction]).map(|text| text.split_whitespace().count()).max();
        if longest.is_some_and(|words| words > MAX_WORDS) {
            return Err(format!("a text has more than {MAX_WORDS} words"));
        }
        let counts = self.0.counts(&prediction, &borrowed(&references));
        Ok(Some(json!({ "sentence": counts.score(), "counts": [counts.edits, counts.reference_words] })))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        let score = |sums: &[f64]| Some(TerCounts { edits: sums[0], reference_words: sums[1] }.score());
        Box::new(PartsTally::new(vec![
            ("", "counts", Box::new(SumsTally::new(seed, 2, vec![("", Box::new(score))]))),
            ("sentence", "sentence", Box::new(SpreadTally::new())),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
