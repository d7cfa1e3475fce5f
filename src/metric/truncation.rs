//! `truncation`: the share of completions that were cut off, told by the server's finish reason, or, without one, by
//! how they end.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Direction, Entry, Made, Make, MeanTally, Metric, Score, Scored, Tally, Written, share, text};
use crate::score::Unit;
use crate::text::is_truncated;

pub(super) const ENTRY: Entry = Entry {
    name: "truncation",
    about: "Share of completions that were cut off: by the finish reason, or where there is none by how they end.",
    source: "etalon's rules; precision 1.0, recall 0.94 on 93 labelled texts without a finish reason",
    direction: Direction::Lower,
    unit: |_| Unit::Rate,
    ..share::<Truncation>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Truncation {}

impl Make for Truncation {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for Truncation {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let is_cut = |prediction: &Value| is_truncated(&text(prediction), scored.finish_reason);
        Ok(scored.prediction.map(|prediction| u8::from(is_cut(prediction)).into()))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share())
    }

    fn needs_finish_reason(&self) -> bool {
        true
    }
}
