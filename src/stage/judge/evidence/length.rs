//! Length: how often the longer completion wins, the win rate at equal length (Dubois et al. 2024, arXiv 2404.04475, in
//! its minimal form), and how scores correlate with length.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::row::Judgement;
use crate::score::{Estimate, Summary};
use crate::stats::{Comparison, Z95, correlation, estimate, length_control, length_interval, share_interval};

/// The name under which the whole judgement stands beside its criteria.
const WHOLE: &str = "overall";

/// Below this p an effect of length counts as real.
const SIGNIFICANT: f64 = 0.01;

/// From this difference between the raw and the length-controlled win rate on, a warning is given.
const LENGTH_GAP: f64 = 0.10;

/// Up to so many comparisons the interval of the length-controlled win rate is a bootstrap.
const FITTED: usize = 5_000;

/// How many rows correlations with length need at least, and how many they use at most.
const ROWS: std::ops::RangeInclusive<usize> = 10..=100_000;

/// Outcomes of comparisons, with the lengths of the compared texts.
#[derive(Default)]
pub(crate) struct Lengths {
    comparisons: Vec<Comparison>,
}

impl Lengths {
    /// Adds a comparison: the points of the node's model, 0 to 1, and both lengths in characters.
    pub fn add(&mut self, outcome: f64, length: f64, baseline_length: f64) {
        self.comparisons.push(Comparison { outcome, length, baseline_length });
    }

    /// Writes the values and notes.
    pub fn finish(&self, seed: u64, summary: &mut Summary, notes: &mut Vec<String>) {
        let Some(found) = length_control(&self.comparisons) else {
            return;
        };
        let n = self.comparisons.len() as u64;
        let (longer, decisive) = found.longer_wins;
        summary.values.insert("longer_wins".to_owned(), longer_wins(longer, decisive));
        let interval = found.fit.and_then(|fit| {
            // Each resample needs a fit of its own, which is too slow for many comparisons.
            if self.comparisons.len() <= FITTED { length_interval(&self.comparisons, seed) } else { fit.interval() }
        });
        let controlled = estimate(found.fit.map(|fit| fit.win_rate), interval, n, 0);
        summary.values.insert("length_controlled_win_rate".to_owned(), controlled);
        summary.tables.insert(
            "length".to_owned(),
            json!({
                "mean_characters": found.mean_length, "mean_characters_baseline": found.mean_baseline_length,
                "effect_of_length": found.fit.map(|fit| fit.phi), "p": found.fit.and_then(|fit| fit.phi_p),
            }),
        );
        if let Some(fit) = found.fit {
            let (raw, even) = (found.win_rate, fit.win_rate);
            let is_swayed = fit.phi_p.is_some_and(|p| p < SIGNIFICANT);
            if is_swayed && ((raw - 0.5) * (even - 0.5) < 0.0 || (raw - even).abs() > LENGTH_GAP) {
                notes.push(format!(
                    "length: the win rate is {raw:.3}, at equal length {even:.3}: the longer response wins {longer} of {decisive}"
                ));
            }
        }
    }
}

/// Verdicts on single completions, with the lengths of those.
#[derive(Default)]
pub(crate) struct Verbosity {
    /// By criterion, and `overall` for the whole: the lengths, and the scores.
    said: BTreeMap<String, (Vec<f64>, Vec<f64>)>,
}

impl Verbosity {
    /// Adds the judgements of a row, one per sample: each with its worth, and the length of the judged text in
    /// characters.
    pub fn add_row<'a>(&mut self, row: impl Iterator<Item = (&'a Judgement, Option<f64>, usize)>) {
        let mut sums: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
        for (judgement, worth, length) in row {
            let scores = judgement.scores.iter().flatten();
            let scores = scores.filter_map(|(name, score)| Some((name.as_str(), score.as_f64()?)));
            for (name, value) in scores.chain(worth.map(|worth| (WHOLE, worth))) {
                let sum = sums.entry(name).or_default();
                *sum = [sum[0] + length as f64, sum[1] + value, sum[2] + 1.0];
            }
        }
        for (name, [length, value, n]) in sums {
            let (lengths, said) = self.said.entry(name.to_owned()).or_default();
            if said.len() < *ROWS.end() {
                lengths.push(length / n);
                said.push(value / n);
            }
        }
    }

    /// Writes Spearman's correlation of each score with length; the interval of the correlation of the whole is that of
    /// Fieller et al. (1957).
    pub fn finish(&self, summary: &mut Summary) {
        let mut table = Map::new();
        for (name, (lengths, said)) in &self.said {
            if said.len() < *ROWS.start() {
                continue;
            }
            let found = correlation(lengths, said).and_then(|found| found.spearman);
            table.insert(name.clone(), json!(found));
            if name == WHOLE {
                let half = Z95 * (1.06 / (said.len() as f64 - 3.0)).sqrt();
                let end = |half: f64| found.filter(|r| r.abs() < 1.0).map(|r| (r.atanh() + half).tanh());
                let estimate =
                    Estimate { value: found, low: end(-half), high: end(half), n: said.len() as u64, missing: 0 };
                summary.values.insert("length_correlation".to_owned(), estimate);
            }
        }
        if !table.is_empty() {
            summary.tables.insert("length".to_owned(), Value::Object(table));
        }
    }
}

pub(crate) fn longer_wins(longer: u64, decisive: u64) -> Estimate {
    let share = share_interval(longer as f64, decisive as f64);
    estimate((decisive > 0).then(|| longer as f64 / decisive as f64), share, decisive, 0)
}
