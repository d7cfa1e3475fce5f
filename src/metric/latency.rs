//! `latency`: seconds from sending to the complete answer, as measured when it was bought.
//!
//! Its value is the mean; its parts are `p50` and `p95`, with distribution-free intervals.

use std::path::Path;

use serde_json::{Map, Number, Value};

use super::{Entry, Metric, MetricError, Scored, SpreadTally, Tally};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "latency",
    about: "Seconds from sending to the complete answer, as measured when it was bought: the mean.",
    settings: &[],
    parts: &[("p50", "median"), ("p95", "95th percentile")],
    build,
    has_part: |part| matches!(part, "p50" | "p95"),
    has_value: true,
    unit: |_| Unit::Seconds,
};

struct Latency;

fn build(_settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    Ok(Box::new(Latency))
}

impl Metric for Latency {
    fn score(&self, scored: &Scored<'_>) -> Result<Option<Value>, String> {
        Ok(scored.latency.and_then(Number::from_f64).map(Value::Number))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(SpreadTally::new(seed))
    }

    fn needs_meta(&self) -> bool {
        true
    }
}
