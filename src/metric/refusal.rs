//! `refusal`: the share of completions that refuse to answer, told by how they begin.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Direction, Entry, Made, Make, MeanTally, Metric, Score, Scored, Tally, Written, share, text};
use crate::score::Unit;
use crate::text::is_refusal;

pub(super) const ENTRY: Entry = Entry {
    name: "refusal",
    about: "Share of completions that refuse, by how they begin; a heuristic for English and, by set phrases, nine other languages.",
    source: "etalon's rules; precision 0.95, recall 0.95 on 128 labelled texts",
    direction: Direction::Lower,
    unit: |_| Unit::Rate,
    ..share::<Refusal>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Refusal {}

impl Make for Refusal {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for Refusal {
    fn score(&self, scored: &Scored<'_>) -> Score {
        Ok(scored.prediction.map(|prediction| u8::from(is_refusal(&text(prediction))).into()))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share())
    }
}
