//! `pass_at_k`: how likely one of k completions of a row passes, estimated from all its samples.
//!
//! Another metric decides whether a completion passes: `of`, with its settings in `with`, must score `at_least`. If c
//! of n samples pass, the row's value is 1 − C(n − c, k) / C(n, k), which is unbiased.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Entry, METRICS, Made, Make, MeanTally, Metric, MetricName, RowScores, Score, Scored, Tally, TallySummary, Written,
    find, share,
};
use crate::digest::Digest;
use crate::problem::suggest;
use crate::process::Launch;
use crate::spec::{Amount, Node, NodeValue, OneOrMany, Whole};

pub(super) const ENTRY: Entry = Entry {
    name: "pass_at_k",
    about: "How likely at least one of k completions of a row passes another metric; needs `samples: n` of at least k.",
    source: "Chen et al. 2021 (arXiv 2107.03374), unbiased estimator",
    score: "what the other metric makes of the completion, 0 or 1",
    parts: &[],
    more_parts: |part| part.strip_prefix("at_").is_some_and(|k| k.parse::<u64>().is_ok()),
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The metric that tells whether a completion passes.
    #[schemars(schema_with = "others", example = &"exact_match")]
    of: MetricName,
    /// Settings of that metric.
    #[serde(rename = "with")]
    #[schemars(example = Map::from_iter([("mode".to_owned(), Value::from("casefold"))]))]
    _with: Option<Map<String, Value>>,
    /// Its score from which a completion passes.
    #[schemars(example = 0.5)]
    at_least: Amount,
    /// Completions that may be tried: a number, or a list of them.
    #[schemars(example = [1, 5])]
    k: OneOrMany<Whole<1>, 1>,
}

impl Default for Settings {
    fn default() -> Settings {
        let of = MetricName("exact_match".to_owned());
        Settings { of, _with: None, at_least: Amount(1.0), k: OneOrMany::One(Whole(1)) }
    }
}

/// Returns the schema of the metrics that may decide whether a completion passes.
fn others(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = METRICS.iter().map(|entry| entry.name).filter(|name| *name != ENTRY.name).collect();
    json_schema!({ "type": "string", "enum": names })
}

struct PassAtK {
    of: Box<dyn Metric>,
    at_least: f64,
    ks: Vec<u64>,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let MetricName(name) = &self.of;
        let Some(entry) = find(name).filter(|entry| entry.name != ENTRY.name) else {
            let known = METRICS.iter().map(|entry| entry.name).filter(|name| *name != ENTRY.name);
            let help = suggest(name, "metrics there are", known);
            let mut problems = written.wrong("of", format!("there is no metric `{name}` to pass"));
            problems.iter_mut().for_each(|problem| problem.help = help.clone());
            return Err(problems);
        };
        let nothing = Node { value: NodeValue::Map(Vec::new()), place: written.node.place.clone() };
        let own = written.node.get("with").filter(|node| !node.is_null()).unwrap_or(&nothing);
        let of = entry.read(own, &format!("{}: `{name}`", written.what), written.root)?;
        let ks = self.k.iter().map(|k| k.0).collect();
        Ok(Box::new(PassAtK { of, at_least: self.at_least.0, ks }))
    }
}

impl PassAtK {
    /// Returns whether a score passes: the number itself, or the first number of a map.
    fn passes(&self, score: &Value) -> Option<bool> {
        let number = match score {
            Value::Object(fields) => fields.values().find_map(Value::as_f64),
            // Labels are no score, though they may be numbers.
            Value::Array(_) => None,
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

    fn is_by_row(&self) -> bool {
        self.of.is_by_row()
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let tallies = self.ks.iter().map(|k| (*k, MeanTally::within(0.0, 1.0))).collect();
        Box::new(PassTally { tallies, fewest: u64::MAX })
    }

    fn needs_reference(&self) -> bool {
        self.of.needs_reference()
    }

    fn wants_reference(&self) -> bool {
        self.of.wants_reference()
    }

    fn knows_null(&self) -> bool {
        self.of.knows_null()
    }

    fn own_prediction(&self) -> Option<&str> {
        self.of.own_prediction()
    }

    fn own_reference(&self) -> Option<&str> {
        self.of.own_reference()
    }

    fn has_part(&self, part: &str) -> bool {
        part.is_empty() || self.ks.iter().any(|k| part == format!("at_{k}"))
    }

    fn files(&self) -> Vec<(&'static str, Vec<(String, Digest)>)> {
        self.of.files().into_iter().map(|(_, files)| ("with", files)).collect()
    }

    fn launch(&self) -> Option<Launch> {
        self.of.launch()
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
    // The probability that none of k samples passes, as a product of ratios.
    let none: f64 = (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - none)
}

struct PassTally {
    tallies: Vec<(u64, MeanTally)>,
    /// The smallest number of samples with a score that some row has.
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
        // By counting: 2 of 4 samples pass, and 1 of the 6 pairs has neither of them.
        assert!((pass_at_k(4, 2, 2).unwrap() - 5.0 / 6.0).abs() < 1e-12);
        assert!((pass_at_k(10, 3, 1).unwrap() - 0.3).abs() < 1e-12);
        assert_eq!(pass_at_k(5, 5, 3), Some(1.0));
        assert_eq!(pass_at_k(5, 0, 3), Some(0.0));
        assert_eq!(pass_at_k(2, 1, 3), None);
    }
}
