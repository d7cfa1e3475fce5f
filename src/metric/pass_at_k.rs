//! `pass_at_k`: how likely one of k completions of a row passes, estimated from all its samples.
//!
//! Whether a completion passes is told by another metric: `of`, with its settings in `with`, at least
//! `at_least`. With n samples of which c pass, a row has 1 − C(n − c, k) / C(n, k), which is unbiased.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    Entry, MeanTally, Metric, MetricError, RowScores, SHARE, Score, Scored, Setting, Takes, Tally, TallySummary, find,
};
use crate::digest::Digest;
use crate::problem::suggest;

pub(super) const ENTRY: Entry = Entry {
    name: "pass_at_k",
    about: "How likely at least one of k completions of a row passes another metric; needs `samples: n` of at least k.",
    source: "Chen et al. 2021 (arXiv 2107.03374), unbiased estimator",
    score: "what the other metric makes of the completion, 0 or 1",
    settings: &[
        Setting {
            name: "of",
            takes: Takes::Text,
            example: "of: exact_match",
            default: "exact_match",
            about: "The metric that tells whether a completion passes.",
        },
        Setting {
            name: "with",
            takes: Takes::Any,
            example: "with: { mode: casefold }",
            default: "",
            about: "Settings of that metric.",
        },
        Setting {
            name: "at_least",
            takes: Takes::Number,
            example: "at_least: 0.5",
            default: "1",
            about: "Its score from which a completion passes.",
        },
        Setting {
            name: "k",
            takes: Takes::Any,
            example: "k: [1, 5]",
            default: "1",
            about: "Completions that may be tried: a number, or a list of them.",
        },
    ],
    parts: &[],
    build,
    more_parts: |part| part.strip_prefix("at_").is_some_and(|k| k.parse::<u64>().is_ok()),
    ..SHARE
};

struct PassAtK {
    of: Box<dyn Metric>,
    at_least: f64,
    ks: Vec<u64>,
}

fn build(settings: &Map<String, Value>, root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    let name = settings.get("of").and_then(Value::as_str).unwrap_or("exact_match");
    let entry = match find(name) {
        Some(entry) if entry.name != ENTRY.name => entry,
        _ => {
            let known = super::METRICS.iter().map(|entry| entry.name).filter(|name| *name != ENTRY.name);
            let help = suggest(name, "metrics there are", known);
            return Err(MetricError { help, ..ENTRY.error("of", format!("there is no metric `{name}` to pass")) });
        }
    };
    let own = match settings.get("with") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(own)) => own.clone(),
        Some(_) => return Err(ENTRY.error("with", "`with` is a map of settings")),
    };
    let of = entry.make(&own, root).map_err(|error| {
        let message = format!("`{name}`: {}", error.message);
        MetricError { field: Some("with".to_owned()), message, help: error.help }
    })?;
    let at_least = settings.get("at_least").and_then(Value::as_f64).unwrap_or(1.0);
    let ks: Option<Vec<u64>> = match settings.get("k") {
        None => Some(vec![1]),
        Some(Value::Array(items)) => items.iter().map(Value::as_u64).collect(),
        Some(one) => one.as_u64().map(|k| vec![k]),
    };
    match ks {
        Some(ks) if !ks.is_empty() && !ks.contains(&0) => Ok(Box::new(PassAtK { of, at_least, ks })),
        _ => Err(ENTRY.error("k", "`k` is a whole number from 1, or a list of them")),
    }
}

impl PassAtK {
    /// Returns whether a score passes: a number, or the first number of a score of several.
    fn passes(&self, score: &Value) -> Option<bool> {
        let number = match score {
            Value::Object(fields) => fields.values().find_map(Value::as_f64),
            Value::Array(items) => items.iter().find_map(Value::as_f64),
            other => other.as_f64(),
        };
        number.map(|number| number >= self.at_least)
    }

    fn passed(&self, score: Score) -> Score {
        Ok(score?.as_ref().and_then(|score| self.passes(score)).map(|passes| u8::from(passes).into()))
    }
}

impl Metric for PassAtK {
    fn score(&self, scored: &Scored<'_>) -> Score {
        self.passed(self.of.score(scored))
    }

    fn score_all(&self, scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        Ok(self.of.score_all(scored)?.into_iter().map(|score| self.passed(score)).collect())
    }

    fn batch(&self) -> usize {
        self.of.batch()
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        let tallies = self.ks.iter().map(|k| (*k, MeanTally::within(seed, 0.0, 1.0))).collect();
        Box::new(PassTally { tallies, fewest: u64::MAX })
    }

    fn needs_reference(&self) -> bool {
        self.of.needs_reference()
    }

    fn wants_reference(&self) -> bool {
        self.of.wants_reference()
    }

    fn has_part(&self, part: &str) -> bool {
        part.is_empty() || self.ks.iter().any(|k| part == format!("at_{k}"))
    }

    fn files(&self) -> Vec<(&'static str, Vec<(String, Digest)>)> {
        self.of.files().into_iter().map(|(_, files)| ("with", files)).collect()
    }

    fn weights(&self) -> Vec<(String, PathBuf)> {
        self.of.weights()
    }

    fn keep_in(&mut self, cache: &Path) {
        self.of.keep_in(cache);
    }

    fn needs_meta(&self) -> bool {
        self.of.needs_meta()
    }

    fn needs_finish_reason(&self) -> bool {
        self.of.needs_finish_reason()
    }
}

/// Returns the unbiased estimate of pass@k from n samples of which c pass; none for fewer than k.
pub fn pass_at_k(n: u64, c: u64, k: u64) -> Option<f64> {
    if n < k {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    // The probability that none of k passes, as a product of ratios.
    let none: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - none)
}

struct PassTally {
    tallies: Vec<(u64, MeanTally)>,
    /// Samples with a score that a row has at least.
    fewest: u64,
}

impl Tally for PassTally {
    fn add(&mut self, row: &RowScores<'_>) {
        let passed: Vec<bool> = row.scores.iter().flatten().map(|score| score.as_u64() == Some(1)).collect();
        let (n, c) = (passed.len() as u64, passed.iter().filter(|passed| **passed).count() as u64);
        if n > 0 {
            self.fewest = self.fewest.min(n);
        }
        for (k, tally) in &mut self.tallies {
            tally.add_clustered(pass_at_k(n, c, *k), row.cluster);
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        for (index, (k, tally)) in self.tallies.iter().enumerate() {
            if index == 0 {
                summary.parts.push((String::new(), tally.estimate()));
            }
            summary.parts.push((format!("at_{k}"), tally.estimate()));
            if self.fewest < *k {
                summary.notes.push(format!(
                    "pass@{k} needs {k} samples of every row, and there are rows with {}: `samples: {k}` on the inference stage",
                    self.fewest
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_that_of_the_paper() {
        // By counting: of 4 samples 2 pass, and 1 of 6 pairs has none of them.
        assert!((pass_at_k(4, 2, 2).unwrap() - 5.0 / 6.0).abs() < 1e-12);
        assert!((pass_at_k(10, 3, 1).unwrap() - 0.3).abs() < 1e-12);
        assert_eq!(pass_at_k(5, 5, 3), Some(1.0));
        assert_eq!(pass_at_k(5, 0, 3), Some(0.0));
        assert_eq!(pass_at_k(2, 1, 3), None);
    }
}
