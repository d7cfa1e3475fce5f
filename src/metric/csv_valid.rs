//! `csv_valid`: the share of predictions that are CSV with rows of one width.
//!
//! A surrounding Markdown fence makes a prediction invalid; the part `fenced` is the share after the fence is removed.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, share, text};
use crate::spec::{OneOrMany, Scalar};
use crate::text::{csv_shape, unfenced};

pub(super) const ENTRY: Entry = Entry {
    name: "csv_valid",
    about: "Share of predictions that are CSV, all records as wide as the first; with `header`, under the right one.",
    source: "equal to Python's csv.reader(strict=True)",
    score: "`{ valid, parses, fenced }`, each 0 or 1",
    parts: &[
        ("parses", "share that is CSV, whatever its shape"),
        ("fenced", "share that is valid once a surrounding Markdown fence is removed"),
    ],
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Names that the first record must have, in this order.
    #[schemars(example = ["name", "price"])]
    header: OneOrMany<Scalar>,
    /// What stands between fields, one character.
    #[schemars(example = ';')]
    delimiter: char,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { header: OneOrMany::default(), delimiter: ',' }
    }
}

struct CsvValid {
    header: Option<Vec<String>>,
    delimiter: char,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        let header: Vec<String> = self.header.into_vec().into_iter().map(String::from).collect();
        Ok(Box::new(CsvValid { header: (!header.is_empty()).then_some(header), delimiter: self.delimiter }))
    }
}

impl CsvValid {
    /// Returns whether a text is CSV, and whether it has the right shape.
    fn check(&self, text: &str) -> (bool, bool) {
        let Some(shape) = csv_shape(text, self.delimiter) else {
            return (false, false);
        };
        let has_header = self.header.is_none() || self.header == shape.header;
        (true, shape.is_rectangular() && has_header)
    }
}

impl Metric for CsvValid {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let prediction = scored.prediction.map(text).unwrap_or_default();
        let (parses, valid) = self.check(&prediction);
        let fenced = valid || unfenced(&prediction).is_some_and(|inside| self.check(inside).1);
        let is_there = scored.prediction.is_some();
        let flag = |flag: bool| u8::from(flag && is_there);
        Ok(Some(json!({ "valid": flag(valid), "parses": flag(parses), "fenced": flag(fenced) })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let share = || Box::new(MeanTally::share()) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![
            ("", "valid", share()),
            ("parses", "parses", share()),
            ("fenced", "fenced", share()),
        ]))
    }
}
