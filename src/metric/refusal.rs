//! `refusal`: the share of completions that refuse, by how they begin.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Direction, Entry, MeanTally, Metric, MetricError, SHARE, Score, Scored, Tally, text};
use crate::score::Unit;
use crate::text::is_refusal;

pub(super) const ENTRY: Entry = Entry {
    name: "refusal",
    about: "Share of completions that refuse, by how they begin; a heuristic for English and, by set phrases, nine other languages.",
    source: "etalon's rules; precision 0.95, recall 0.95 on 128 labelled texts",
    direction: Direction::Lower,
    build,
    unit: |_| Unit::Rate,
    ..SHARE
};

struct Refusal;

fn build(_settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    Ok(Box::new(Refusal))
}

impl Metric for Refusal {
    fn score(&self, scored: &Scored<'_>) -> Score {
        Ok(scored.prediction.map(|prediction| u8::from(is_refusal(&text(prediction))).into()))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share(seed))
    }
}
