//! `bleu`: BLEU over the whole corpus, with a bootstrap of its rows, and the mean of sentence scores.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    Entry, MeanTally, Metric, MetricError, PartsTally, SHARE, Score, Scored, Setting, SumsTally, Takes, Tally,
    borrowed, choice, flag, pair,
};
use crate::score::Unit;
use crate::text::{Bleu, BleuCounts, Smoothing, Tokenizer};

pub(super) const ENTRY: Entry = Entry {
    name: "bleu",
    about: "Corpus BLEU: n-grams in common with the references, over all rows at once.",
    source: "Papineni et al. 2002; equal to sacreBLEU 2.6.0",
    range: "0 to 100",
    score: "`{ sentence, counts }`: matches and n-grams by order, lengths",
    settings: &[
        Setting {
            name: "tokenize",
            takes: Takes::Choice(&["13a", "intl", "zh", "char", "none"]),
            example: "tokenize: intl",
            default: "13a",
            about: "How text is cut into tokens; zh for Chinese, char for languages without spaces.",
        },
        Setting {
            name: "smooth",
            takes: Takes::Choice(&["exp", "floor", "add-k", "none"]),
            example: "smooth: floor",
            default: "exp",
            about: "What stands for the precision of an order without a match.",
        },
        Setting {
            name: "smooth_value",
            takes: Takes::Number,
            example: "smooth_value: 0.1",
            default: "",
            about: "Of floor (0.1 unless said) and add-k (1 unless said).",
        },
        Setting {
            name: "lowercase",
            takes: Takes::Flag,
            example: "lowercase: true",
            default: "false",
            about: "Does without regard to case.",
        },
        Setting {
            name: "max_ngram_order",
            takes: Takes::Whole,
            example: "max_ngram_order: 2",
            default: "4",
            about: "The longest n-grams that count, 1 to 4.",
        },
        Setting {
            name: "effective_order",
            takes: Takes::Flag,
            example: "effective_order: true",
            default: "false",
            about: "Leaves out orders that the corpus is too short for. Sentence scores always do.",
        },
    ],
    parts: &[
        ("sentence", "mean of the sentence scores"),
        ("brevity_penalty", "1, or less where predictions are shorter"),
    ],
    build,
    unit: |part| if part == "brevity_penalty" { Unit::Rate } else { Unit::Points },
    ..SHARE
};

struct BleuMetric {
    corpus: Bleu,
    sentence: Bleu,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    let tokenizer = match choice(settings, "tokenize") {
        Some("intl") => Tokenizer::International,
        Some("zh") => Tokenizer::Chinese,
        Some("char") => Tokenizer::Characters,
        Some("none") => Tokenizer::Words,
        _ => Tokenizer::V13a,
    };
    let value = settings.get("smooth_value").and_then(Value::as_f64);
    let smoothing = match choice(settings, "smooth") {
        Some("floor") => Smoothing::Floor(value.unwrap_or(0.1)),
        Some("add-k") => Smoothing::AddK(value.unwrap_or(1.0)),
        other if value.is_some() => {
            let name = other.unwrap_or("exp");
            return Err(ENTRY.error("smooth_value", format!("`smooth: {name}` takes no value")));
        }
        Some("none") => Smoothing::Nothing,
        _ => Smoothing::Exponential,
    };
    let order = settings.get("max_ngram_order").and_then(Value::as_u64).unwrap_or(4) as usize;
    if !(1..=4).contains(&order) {
        return Err(ENTRY.error("max_ngram_order", "`max_ngram_order` is 1 to 4"));
    }
    let effective_order = flag(settings, "effective_order");
    let corpus = Bleu { tokenizer, smoothing, lowercase: flag(settings, "lowercase"), effective_order, order };
    Ok(Box::new(BleuMetric { corpus, sentence: Bleu { effective_order: true, ..corpus } }))
}

/// Numbers in a list of counts.
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
            ("sentence", "sentence", Box::new(MeanTally::within(seed, 0.0, 100.0))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
