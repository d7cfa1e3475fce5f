//! `bleu`: BLEU over the whole corpus, with an interval from resampled rows, and the mean of sentence scores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, SumsTally, Tally, Written, borrowed, pair, share,
};
use crate::score::Unit;
use crate::spec::{Amount, Whole};
use crate::text::{Bleu, BleuCounts, Smoothing, Tokenizer};

pub(super) const ENTRY: Entry = Entry {
    name: "bleu",
    about: "Corpus BLEU: n-grams in common with the references, over all rows at once.",
    source: "Papineni et al. 2002; equal to sacreBLEU 2.6.0",
    range: "0 to 100",
    score: "`{ sentence, counts }`: matches and n-grams by order, lengths",
    parts: &[
        ("sentence", "mean of the sentence scores"),
        ("brevity_penalty", "1, or less where predictions are shorter"),
    ],
    unit: |part| if part == "brevity_penalty" { Unit::Rate } else { Unit::Points },
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// How text is cut into tokens; zh for Chinese, char for languages without spaces.
    #[schemars(example = Tokenize::Intl)]
    tokenize: Tokenize,
    /// What stands for the precision of an order without a match.
    #[schemars(example = Smooth::Floor)]
    smooth: Smooth,
    /// Of floor (0.1 unless said) and add-k (1 unless said).
    #[schemars(example = 0.1)]
    smooth_value: Option<Amount>,
    /// Does without regard to case.
    #[schemars(example = true)]
    lowercase: bool,
    /// The longest n-grams that count, 1 to 4.
    #[schemars(example = 2)]
    max_ngram_order: Whole<1, 4>,
    /// Leaves out orders that the corpus is too short for. Sentence scores always do.
    #[schemars(example = true)]
    effective_order: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Tokenize {
    #[serde(rename = "13a")]
    V13a,
    Intl,
    Zh,
    Char,
    None,
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "kebab-case")]
enum Smooth {
    Exp,
    Floor,
    AddK,
    None,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tokenize: Tokenize::V13a,
            smooth: Smooth::Exp,
            smooth_value: None,
            lowercase: false,
            max_ngram_order: Whole(4),
            effective_order: false,
        }
    }
}

struct BleuMetric {
    corpus: Bleu,
    sentence: Bleu,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let tokenizer = match self.tokenize {
            Tokenize::V13a => Tokenizer::V13a,
            Tokenize::Intl => Tokenizer::International,
            Tokenize::Zh => Tokenizer::Chinese,
            Tokenize::Char => Tokenizer::Characters,
            Tokenize::None => Tokenizer::Words,
        };
        let value = self.smooth_value.map(|value| value.0);
        let unsmoothed = |name: &str, smoothing| match value {
            Some(_) => Err(written.wrong("smooth_value", format!("`smooth: {name}` takes no value"))),
            None => Ok(smoothing),
        };
        let smoothing = match self.smooth {
            Smooth::Floor => Smoothing::Floor(value.unwrap_or(0.1)),
            Smooth::AddK => Smoothing::AddK(value.unwrap_or(1.0)),
            Smooth::Exp => unsmoothed("exp", Smoothing::Exponential)?,
            Smooth::None => unsmoothed("none", Smoothing::Nothing)?,
        };
        let (lowercase, effective_order) = (self.lowercase, self.effective_order);
        let corpus = Bleu { tokenizer, smoothing, lowercase, effective_order, order: self.max_ngram_order.size() };
        Ok(Box::new(BleuMetric { corpus, sentence: Bleu { effective_order: true, ..corpus } }))
    }
}

/// How many numbers the counts of a sentence are.
const WIDTH: usize = 10;

fn flat(counts: &BleuCounts) -> Vec<f64> {
    [&counts.correct[..], &counts.total[..], &[counts.length, counts.reference_length]].concat()
}

fn counts(values: &[f64]) -> BleuCounts {
    let mut counts = BleuCounts::default();
    counts.correct.copy_from_slice(&values[..4]);
    counts.total.copy_from_slice(&values[4..8]);
    (counts.length, counts.reference_length) = (values[8], values[9]);
    counts
}

impl Metric for BleuMetric {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some((prediction, references)) = pair(scored) else {
            return Ok(None);
        };
        let counts = self.corpus.counts(&prediction, &borrowed(&references));
        Ok(Some(json!({ "sentence": self.sentence.score(&counts).score, "counts": flat(&counts) })))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        let bleu = self.corpus;
        let corpus = SumsTally::new(
            seed,
            WIDTH,
            vec![
                ("", Box::new(move |sums| Some(bleu.score(&counts(sums)).score))),
                ("brevity_penalty", Box::new(move |sums| Some(bleu.score(&counts(sums)).brevity_penalty))),
            ],
        );
        Box::new(PartsTally::new(vec![
            ("", "counts", Box::new(corpus)),
            ("sentence", "sentence", Box::new(MeanTally::within(0.0, 100.0))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
