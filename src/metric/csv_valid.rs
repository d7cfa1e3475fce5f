//! `csv_valid`: the share of predictions that are CSV with rows of one width.
//!
//! A surrounding Markdown fence counts against it; its part `fenced` is the share once that is removed.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Entry, MeanTally, Metric, MetricError, PartsTally, SHARE, Score, Scored, Setting, Takes, Tally, text};
use crate::text::{csv_shape, unfenced};

pub(super) const ENTRY: Entry = Entry {
    name: "csv_valid",
    about: "Share of predictions that are CSV, all records as wide as the first; with `header`, under the right one.",
    source: "equal to Python's csv.reader(strict=True)",
    score: "`{ valid, parses, fenced }`, each 0 or 1",
    settings: &[
        Setting {
            name: "header",
            takes: Takes::Texts,
            example: "header: [name, price]",
            default: "",
            about: "Names that the first record must have, in this order.",
        },
        Setting {
            name: "delimiter",
            takes: Takes::Text,
            example: "delimiter: \";\"",
            default: ",",
            about: "What stands between fields, one character.",
        },
    ],
    parts: &[
        ("parses", "share that is CSV, whatever its shape"),
        ("fenced", "share that is valid once a surrounding Markdown fence is removed"),
    ],
    build,
    ..SHARE
};

struct CsvValid {
    header: Option<Vec<String>>,
    delimiter: char,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    let mut delimiter = settings.get("delimiter").and_then(Value::as_str).unwrap_or(",").chars();
    let (Some(delimiter), None) = (delimiter.next(), delimiter.next()) else {
        return Err(ENTRY.error("delimiter", "`delimiter` is one character"));
    };
    Ok(Box::new(CsvValid { header: super::texts(settings.get("header")), delimiter }))
}

impl CsvValid {
    /// Returns whether it is CSV, and whether it has the right shape.
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

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        let share = || Box::new(MeanTally::share(seed)) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![
            ("", "valid", share()),
            ("parses", "parses", share()),
            ("fenced", "fenced", share()),
        ]))
    }
}
