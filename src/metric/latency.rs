//! `latency`: seconds from sending to the complete answer, as measured when it was bought.
//!
//! The value is the mean; the parts are `p50` and `p95`, with distribution-free intervals.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::{Direction, Entry, Made, Make, Metric, Score, Scored, SpreadTally, Tally, Written, share};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "latency",
    about: "Seconds from sending to the complete answer, as measured when it was bought: the mean.",
    range: "0 and up, seconds",
    direction: Direction::Lower,
    score: "seconds",
    parts: &[("p50", "median"), ("p95", "95th percentile")],
    unit: |_| Unit::Seconds,
    ..share::<Latency>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Latency {}

impl Make for Latency {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for Latency {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let latency = scored.meta.and_then(|meta| meta.latency);
        Ok(latency.and_then(Number::from_f64).map(Value::Number))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(SpreadTally::new())
    }

    fn needs_meta(&self) -> bool {
        true
    }
}
