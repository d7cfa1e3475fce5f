//! `cost`: dollars per completion, by the price of its model. A completion whose server does not tell its tokens is
//! missing, not free.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::{
    Direction, Entry, Made, Make, MeanTally, Metric, RowScores, Score, Scored, Tally, TallySummary, Written, share,
};
use crate::score::{Estimate, Unit};

pub(super) const ENTRY: Entry = Entry {
    name: "cost",
    about: "Dollars per completion, by the price of the model: the mean.",
    range: "0 and up, dollars",
    direction: Direction::Lower,
    score: "dollars",
    parts: &[
        ("total", "of all completions that have a price, dollars"),
        ("per_1k", "of a thousand completions, dollars"),
    ],
    unit: |_| Unit::Dollars,
    ..share::<Cost>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cost {}

impl Make for Cost {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for Cost {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let cost = scored.price.zip(scored.meta).and_then(|(price, meta)| price.cost(&meta.usage()));
        Ok(cost.and_then(Number::from_f64).map(Value::Number))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(CostTally { mean: MeanTally::new(), total: 0.0 })
    }

    fn needs_meta(&self) -> bool {
        true
    }

    fn needs_price(&self) -> bool {
        true
    }
}

struct CostTally {
    mean: MeanTally,
    total: f64,
}

impl Tally for CostTally {
    fn add(&mut self, row: &RowScores<'_>) {
        self.mean.add(row);
        self.total += row.scores.iter().flatten().filter_map(|score| score.as_f64()).sum::<f64>();
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let mean = self.mean.estimate();
        let thousand = |value: Option<f64>| value.map(|value| 1_000.0 * value);
        summary.parts.push((String::new(), mean));
        // The total is a plain sum, so it has no interval.
        let total = Estimate { value: mean.value.map(|_| self.total), low: None, high: None, ..mean };
        summary.parts.push(("total".to_owned(), total));
        let per_1k =
            Estimate { value: thousand(mean.value), low: thousand(mean.low), high: thousand(mean.high), ..mean };
        summary.parts.push(("per_1k".to_owned(), per_1k));
    }
}
