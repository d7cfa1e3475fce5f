//! `repetition`: the share of completions that end in a loop, and how varied their words are.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Direction, Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, share, text};
use crate::score::Unit;
use crate::text::repetition;

pub(super) const ENTRY: Entry = Entry {
    name: "repetition",
    about: "Share of completions that end in a loop: a run of six words covers 30 % of the last 200, or the end compresses to an eighth.",
    source: "etalon's rules; distinct-n: Li et al. 2016",
    direction: Direction::Lower,
    score: "`{ loop, distinct_1, distinct_2 }`",
    parts: &[
        ("distinct_1", "different words over all words of a completion, more is more varied"),
        ("distinct_2", "the same of pairs of words"),
    ],
    unit: |_| Unit::Rate,
    ..share::<RepetitionMetric>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RepetitionMetric {}

impl Make for RepetitionMetric {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for RepetitionMetric {
    fn score(&self, scored: &Scored<'_>) -> Score {
        Ok(scored.prediction.map(|prediction| {
            let found = repetition(&text(prediction));
            let [one, two] = found.distinct;
            json!({ "loop": u8::from(found.is_loop), "distinct_1": one, "distinct_2": two })
        }))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let mean = || Box::new(MeanTally::within(0.0, 1.0)) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![
            ("", "loop", Box::new(MeanTally::share())),
            ("distinct_1", "distinct_1", mean()),
            ("distinct_2", "distinct_2", mean()),
        ]))
    }
}
