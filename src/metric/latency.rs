//! `latency`: seconds from sending to the complete answer, as measured when it was bought.
//!
//! Its value is the mean; its parts are `p50` and `p95`, with distribution-free intervals.

use std::path::Path;

use serde_json::{Map, Number, Value};

use super::{Direction, Entry, Metric, MetricError, SHARE, Score, Scored, SpreadTally, Tally};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "latency",
    about: "Seconds from sending to the complete answer, as measured when it was bought: the mean.",
    range: "0 and up, seconds",
    direction: Direction::Lower,
    score: "seconds",
    parts: &[("p50", "median"), ("p95", "95th percentile")],
    build,
    unit: |_| Unit::Seconds,
    ..SHARE
};

struct Latency;

fn build(_settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    Ok(Box::new(Latency))
}

impl Metric for Latency {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let latency = scored.meta.and_then(|meta| meta.latency);
        Ok(latency.and_then(Number::from_f64).map(Value::Number))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(SpreadTally::new(seed))
    }

    fn needs_meta(&self) -> bool {
        true
    }
}
