//! `chrf` and `chrf++`: n-grams of characters (and of words) that prediction and reference share, over the whole
//! corpus, with an interval from resampled rows, and the mean of sentence scores.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{
    Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, SumsTally, Tally, Written, borrowed, pair, share,
};
use crate::score::Unit;
use crate::spec::Amount;
use crate::text::{Chrf, ChrfCounts};

const fn base<T: Make>() -> Entry {
    Entry {
        range: "0 to 100",
        score: "`{ sentence, counts }`: n-grams of the prediction, of the reference and of both, by order",
        parts: &[("sentence", "mean of the sentence scores")],
        unit: |_| Unit::Points,
        ..share::<T>()
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "chrf",
    about: "Corpus chrF2: characters in common with the reference, up to runs of six; a good default outside of English.",
    source: "Popović 2015; equal to sacreBLEU 2.6.0",
    ..base::<Settings<0>>()
};

pub(super) const ENTRY_WORDS: Entry = Entry {
    name: "chrf++",
    about: "Corpus chrF2++: as `chrf`, with words and pairs of words as well.",
    source: "Popović 2017; equal to sacreBLEU 2.6.0",
    ..base::<Settings<2>>()
};

/// Settings; words in runs of up to so many count as well.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "chrf")]
#[serde(deny_unknown_fields)]
struct Settings<const WORDS: usize> {
    /// Weight of recall against precision.
    #[serde(default = "two")]
    #[schemars(example = 1)]
    beta: Amount,
    /// Does without regard to case.
    #[serde(default)]
    #[schemars(example = true)]
    lowercase: bool,
    /// Counts orders that a text is too short for as next to nothing, as NLTK and Moses do.
    #[serde(default)]
    #[schemars(example = true)]
    eps_smoothing: bool,
}

fn two() -> Amount {
    Amount(2.0)
}

struct ChrfMetric(Chrf);

impl<const WORDS: usize> Make for Settings<WORDS> {
    fn make(self, _written: &Written<'_>) -> Made {
        let (beta, lowercase, epsilon) = (self.beta.0, self.lowercase, self.eps_smoothing);
        Ok(Box::new(ChrfMetric(Chrf { word_order: WORDS, beta, lowercase, epsilon })))
    }
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
            ("sentence", "sentence", Box::new(MeanTally::within(0.0, 100.0))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
