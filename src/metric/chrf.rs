//! `chrf` and `chrf++`: n-grams of characters (and words) in common with the references, over the whole
//! corpus, with a bootstrap of its rows, and the mean of sentence scores.

use serde_json::{Map, Value, json};

use super::{
    Entry, MeanTally, Metric, MetricError, PartsTally, SHARE, Score, Scored, Setting, SumsTally, Takes, Tally,
    borrowed, flag, pair,
};
use crate::score::Unit;
use crate::text::{Chrf, ChrfCounts};

const BETA: Setting = Setting {
    name: "beta",
    takes: Takes::Number,
    example: "beta: 1",
    default: "2",
    about: "Weight of recall against precision.",
};
const LOWERCASE: Setting = Setting {
    name: "lowercase",
    takes: Takes::Flag,
    example: "lowercase: true",
    default: "false",
    about: "Does without regard to case.",
};
const EPSILON: Setting = Setting {
    name: "eps_smoothing",
    takes: Takes::Flag,
    example: "eps_smoothing: true",
    default: "false",
    about: "Counts orders that a text is too short for as next to nothing, as NLTK and Moses do.",
};

const BASE: Entry = Entry {
    range: "0 to 100",
    score: "`{ sentence, counts }`: n-grams of the prediction, of the reference and of both, by order",
    settings: &[BETA, LOWERCASE, EPSILON],
    parts: &[("sentence", "mean of the sentence scores")],
    unit: |_| Unit::Points,
    ..SHARE
};

pub(super) const ENTRY: Entry = Entry {
    name: "chrf",
    about: "Corpus chrF2: characters in common with the reference, up to runs of six; a good default outside of English.",
    source: "Popović 2015; equal to sacreBLEU 2.6.0",
    build: |settings, _| build(settings, 0),
    ..BASE
};

pub(super) const ENTRY_WORDS: Entry = Entry {
    name: "chrf++",
    about: "Corpus chrF2++: as `chrf`, with words and pairs of words as well.",
    source: "Popović 2017; equal to sacreBLEU 2.6.0",
    build: |settings, _| build(settings, 2),
    ..BASE
};

struct ChrfMetric(Chrf);

fn build(settings: &Map<String, Value>, word_order: usize) -> Result<Box<dyn Metric>, MetricError> {
    let beta = settings.get("beta").and_then(Value::as_f64).unwrap_or(2.0);
    let (lowercase, epsilon) = (flag(settings, "lowercase"), flag(settings, "eps_smoothing"));
    Ok(Box::new(ChrfMetric(Chrf { word_order, beta, lowercase, epsilon })))
}

impl Metric for ChrfMetric {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some((prediction, references)) = pair(scored) else {
            return Ok(None);
        };
        let counts = self.0.counts(&prediction, &borrowed(&references));
        Ok(Some(json!({ "sentence": self.0.score(&counts), "counts": counts.values() })))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        let chrf = self.0;
        let score = move |sums: &[f64]| Some(chrf.score(&ChrfCounts::from_values(sums)?));
        let corpus = SumsTally::new(seed, ChrfCounts::default().values().len(), vec![("", Box::new(score))]);
        Box::new(PartsTally::new(vec![
            ("", "counts", Box::new(corpus)),
            ("sentence", "sentence", Box::new(MeanTally::within(seed, 0.0, 100.0))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
