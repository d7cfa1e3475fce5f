//! Tallies of the common kinds: proportions and means.

use serde_json::Value;

use super::{Tally, TallySummary};
use crate::score::Estimate;
use crate::stats::{Z95, bootstrap_mean, normal_mean, quantile, quantile_interval, wilson};

/// Returns a row's mean over the samples that have a score.
fn row_mean(scores: &[Option<&Value>]) -> Option<f64> {
    let values: Vec<f64> = scores.iter().flatten().filter_map(|score| score.as_f64()).collect();
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// A share of rows, each 0 to 1: Wilson interval.
#[derive(Default)]
pub struct ProportionTally {
    sum: f64,
    n: u64,
    missing: u64,
}

impl Tally for ProportionTally {
    fn add(&mut self, scores: &[Option<&Value>]) {
        match row_mean(scores) {
            Some(value) => {
                self.sum += value;
                self.n += 1;
            }
            None => self.missing += 1,
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let interval = wilson(self.sum, self.n as f64, Z95);
        let estimate = Estimate {
            value: (self.n > 0).then(|| self.sum / self.n as f64),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            n: self.n,
            missing: self.missing,
        };
        summary.parts.push((String::new(), estimate));
    }
}

/// Rows from which only sums are kept.
const KEPT: usize = 1_000;

/// A mean over rows: percentile bootstrap below 1,000 rows, normal interval from there. Holds at most
/// 1,000 values.
pub struct MeanTally {
    seed: u64,
    values: Vec<f64>,
    n: u64,
    missing: u64,
    /// Welford's running mean and sum of squares around it.
    mean: f64,
    squares: f64,
}

impl MeanTally {
    pub fn new(seed: u64) -> MeanTally {
        MeanTally { seed, values: Vec::new(), n: 0, missing: 0, mean: 0.0, squares: 0.0 }
    }

    /// Adds a row's value; none: it is missing.
    pub fn add_value(&mut self, value: Option<f64>) {
        let Some(value) = value else {
            self.missing += 1;
            return;
        };
        self.n += 1;
        let delta = value - self.mean;
        self.mean += delta / self.n as f64;
        self.squares += delta * (value - self.mean);
        if self.values.len() < KEPT {
            self.values.push(value);
        }
    }

    pub fn estimate(&self) -> Estimate {
        let interval = if self.n < KEPT as u64 {
            bootstrap_mean(&self.values, self.seed)
        } else {
            normal_mean(self.mean, self.squares, self.n)
        };
        Estimate {
            value: (self.n > 0).then_some(self.mean),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            n: self.n,
            missing: self.missing,
        }
    }
}

impl MeanTally {
    /// Returns the estimate of values that lie within a range. Where all values agree a bootstrap has
    /// no width; then it is the Wilson interval of the rescaled mean, which no spread within the
    /// range can exceed.
    pub fn estimate_within(&self, (low, high): (f64, f64)) -> Estimate {
        let estimate = self.estimate();
        let has_width = matches!((estimate.low, estimate.high), (Some(low), Some(high)) if high > low);
        let Some(mean) = estimate.value.filter(|_| !has_width) else {
            return estimate;
        };
        let span = high - low;
        let interval = wilson((mean - low) / span * self.n as f64, self.n as f64, Z95);
        Estimate {
            low: interval.map(|interval| low + span * interval.low),
            high: interval.map(|interval| low + span * interval.high),
            ..estimate
        }
    }
}

impl Tally for MeanTally {
    fn add(&mut self, scores: &[Option<&Value>]) {
        self.add_value(row_mean(scores));
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        summary.parts.push((String::new(), self.estimate()));
    }
}

/// How values are spread: their mean over rows, then `p50` and `p95` with distribution-free intervals.
pub struct SpreadTally {
    mean: MeanTally,
    values: Vec<f64>,
}

impl SpreadTally {
    pub fn new(seed: u64) -> SpreadTally {
        SpreadTally { mean: MeanTally::new(seed), values: Vec::new() }
    }
}

impl Tally for SpreadTally {
    fn add(&mut self, scores: &[Option<&Value>]) {
        self.mean.add(scores);
        self.values.extend(scores.iter().flatten().filter_map(|score| score.as_f64()));
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let mean = self.mean.estimate();
        summary.parts.push((String::new(), mean));
        self.values.sort_unstable_by(f64::total_cmp);
        for (name, q) in [("p50", 0.5), ("p95", 0.95)] {
            let interval = quantile_interval(&self.values, q, mean.n);
            let estimate = Estimate {
                value: (!self.values.is_empty()).then(|| quantile(&self.values, q)),
                low: interval.map(|interval| interval.low),
                high: interval.map(|interval| interval.high),
                ..mean
            };
            summary.parts.push((name.to_owned(), estimate));
        }
    }
}
