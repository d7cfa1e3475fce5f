//! `ter`: edits and shifts of words that a prediction needs, per word of the references, over the whole
//! corpus.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    Direction, Entry, Metric, MetricError, PartsTally, SHARE, Score, Scored, Setting, SpreadTally, SumsTally, Takes,
    Tally, borrowed, flag, pair,
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
    settings: &[
        Setting {
            name: "case_sensitive",
            takes: Takes::Flag,
            example: "case_sensitive: true",
            default: "false",
            about: "Regards case.",
        },
        Setting {
            name: "normalized",
            takes: Takes::Flag,
            example: "normalized: true",
            default: "false",
            about: "Sets Western punctuation apart from words.",
        },
        Setting {
            name: "no_punct",
            takes: Takes::Flag,
            example: "no_punct: true",
            default: "false",
            about: "Takes punctuation out.",
        },
    ],
    parts: &[
        ("sentence", "mean of the sentence rates"),
        ("sentence.p50", "median of them"),
        ("sentence.p95", "their 95th percentile"),
    ],
    build,
    unit: |_| Unit::Amount,
    ..SHARE
};

/// Words on a side beyond which shifts are not searched for.
const MAX_WORDS: usize = 20_000;

struct TerMetric(Ter);

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    Ok(Box::new(TerMetric(Ter {
        case_sensitive: flag(settings, "case_sensitive"),
        normalized: flag(settings, "normalized"),
        no_punctuation: flag(settings, "no_punct"),
    })))
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
            ("sentence", "sentence", Box::new(SpreadTally::new(seed))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
