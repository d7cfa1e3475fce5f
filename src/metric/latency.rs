//! `latency`: seconds from sending to the complete answer, as measured when it was bought.
//!
//! Its value is the mean; its parts are `p50` and `p95`, with distribution-free intervals.

use serde_json::{Map, Number, Value};

use super::{Entry, MeanTally, Metric, MetricError, Scored, Tally, TallySummary, only};
use crate::score::{Estimate, Unit};
use crate::stats::{quantile, quantile_interval};

pub(super) const ENTRY: Entry = Entry {
    name: "latency",
    build,
    has_part: |part| matches!(part, "p50" | "p95"),
    has_value: true,
    unit: Unit::Seconds,
};

struct Latency;

fn build(settings: &Map<String, Value>) -> Result<Box<dyn Metric>, MetricError> {
    only(settings, &[])?;
    Ok(Box::new(Latency))
}

impl Metric for Latency {
    fn score(&self, scored: &Scored<'_>) -> Result<Option<Value>, String> {
        Ok(scored.latency.and_then(Number::from_f64).map(Value::Number))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(LatencyTally { mean: MeanTally::new(seed), values: Vec::new() })
    }

    fn needs_meta(&self) -> bool {
        true
    }
}

struct LatencyTally {
    mean: MeanTally,
    values: Vec<f64>,
}

impl Tally for LatencyTally {
    fn add(&mut self, scores: &[Option<&Value>]) {
        let values: Vec<f64> = scores.iter().flatten().filter_map(|score| score.as_f64()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        self.mean.add_value((!values.is_empty()).then_some(mean));
        self.values.extend(values);
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
