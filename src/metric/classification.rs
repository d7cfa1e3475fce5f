//! `classification`: precision, recall and F1 per label and averaged, with the confusion matrix.
//!
//! Labels are the gold labels and those that `labels` declares. Out-of-vocabulary predictions are
//! `__invalid__`: wrong for their gold label, and no class. Intervals by multinomial bootstrap of the
//! confusion table. Values follow scikit-learn's `classification_report` over those labels.

use std::collections::BTreeSet;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Entry, Metric, MetricError, Scored, Setting, Takes, Tally, TallySummary, text};
use crate::score::{Estimate, Unit};
use crate::stats::{Confusion, Interval, Report, Z95, wilson};

/// How a prediction outside the labels is shown.
const INVALID: &str = "__invalid__";

const AVERAGES: &[&str] = &[
    "accuracy",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "precision_macro",
    "precision_micro",
    "precision_weighted",
    "recall_macro",
    "recall_micro",
    "recall_weighted",
];

pub(super) const ENTRY: Entry = Entry {
    name: "classification",
    about: "Precision, recall and F1 of a label, per label and averaged, as in scikit-learn's classification_report.",
    settings: &[Setting {
        name: "labels",
        takes: Takes::List,
        example: "labels: [billing, shipping]",
        about: "Labels there are beside those of the references; output outside of them is wrong, and no class.",
    }],
    parts: &[
        ("accuracy", "share of right labels"),
        ("f1_macro", "mean F1 of the labels; also `f1_micro`, `f1_weighted`"),
        ("precision_macro", "also `_micro`, `_weighted`"),
        ("recall_macro", "also `_micro`, `_weighted`"),
        ("f1.<label>", "of one label; also `precision.<label>`, `recall.<label>`"),
    ],
    build,
    has_part: |part| {
        AVERAGES.contains(&part) || ["f1.", "precision.", "recall."].iter().any(|head| part.starts_with(head))
    },
    has_value: false,
    unit: |_| Unit::Fraction,
};

struct Classification {
    labels: Vec<String>,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    let labels = settings.get("labels").and_then(Value::as_array).into_iter().flatten().map(text).collect();
    Ok(Box::new(Classification { labels }))
}

impl Metric for Classification {
    fn score(&self, scored: &Scored<'_>) -> Result<Option<Value>, String> {
        let Some(reference) = scored.reference.filter(|reference| !reference.is_null()) else {
            return Ok(None);
        };
        let gold = text(reference);
        let predicted = scored.prediction.filter(|prediction| !prediction.is_null()).map(text);
        Ok(Some(json!([gold, predicted])))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        let labels = self.labels.iter().cloned().collect();
        Box::new(ClassificationTally { seed, labels, confusion: Confusion::default(), n: 0, missing: 0 })
    }

    fn needs_reference(&self) -> bool {
        true
    }
}

struct ClassificationTally {
    seed: u64,
    /// Declared labels, then gold ones as they come.
    labels: BTreeSet<String>,
    confusion: Confusion,
    n: u64,
    missing: u64,
}

impl Tally for ClassificationTally {
    fn add(&mut self, scores: &[Option<&Value>]) {
        let pairs: Vec<(&str, Option<&str>)> = scores
            .iter()
            .flatten()
            .filter_map(|score| Some((score.get(0)?.as_str()?, score.get(1)?.as_str())))
            .collect();
        if pairs.is_empty() {
            self.missing += 1;
            return;
        }
        self.n += 1;
        for (gold, predicted) in &pairs {
            self.labels.insert((*gold).to_owned());
            self.confusion.add(gold, *predicted, 1.0 / pairs.len() as f64);
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let labels: Vec<String> = self.labels.iter().cloned().collect();
        let Some(report) = self.confusion.report(&labels) else {
            for part in AVERAGES {
                summary.parts.push(((*part).to_owned(), Estimate::none(self.missing)));
            }
            return;
        };
        let values = numbers(&report);
        let intervals = self.confusion.intervals(&labels, self.seed, numbers);
        let bases = self.bases(&report);
        let names = AVERAGES
            .iter()
            .map(|part| (*part).to_owned())
            .chain(labels.iter().flat_map(|label| ["f1", "precision", "recall"].map(|part| format!("{part}.{label}"))));
        for (index, name) in names.enumerate() {
            let value = values[index];
            let interval = interval(value, intervals.get(index).copied().flatten(), bases[index]);
            let estimate = Estimate {
                value: Some(value),
                low: interval.map(|interval| interval.low),
                high: interval.map(|interval| interval.high),
                n: self.n,
                missing: self.missing,
            };
            summary.parts.push((name, estimate));
        }
        summary.tables.push(("confusion".to_owned(), self.table(&labels)));
    }
}

/// Returns the interval of a number between 0 and 1 that rests on `rows` rows.
///
/// Where the resamples agree, as they do at 0 and at 1, their interval has no width: then it is
/// Wilson's. It always holds the estimate.
fn interval(value: f64, bootstrap: Option<Interval>, rows: f64) -> Option<Interval> {
    let interval = match bootstrap {
        Some(interval) if interval.high > interval.low => interval,
        _ => wilson(value * rows, rows, Z95)?,
    };
    Some(Interval { low: interval.low.min(value), high: interval.high.max(value) })
}

impl ClassificationTally {
    /// Returns how many rows each number rests on, in the order of [`numbers`]: all of them, or those
    /// of the label.
    fn bases(&self, report: &Report) -> Vec<f64> {
        let total = self.confusion.total();
        let of_labels = report.labels.iter().flat_map(|(_, scores)| [scores.support.max(1.0); 3]);
        vec![total; AVERAGES.len()].into_iter().chain(of_labels).collect()
    }

    fn table(&self, labels: &[String]) -> Value {
        let columns: Vec<&str> = labels.iter().map(String::as_str).chain([INVALID]).collect();
        let mut matrix = vec![vec![0.0; columns.len()]; labels.len()];
        for (gold, predicted, weight) in self.confusion.cells() {
            let row = labels.iter().position(|label| label == gold);
            let column =
                predicted.and_then(|label| labels.iter().position(|known| known == label)).unwrap_or(labels.len());
            if let Some(row) = row {
                matrix[row][column] += weight;
            }
        }
        json!({ "gold": labels, "predicted": columns, "counts": matrix })
    }
}

/// The report's numbers: the averages in their order, then f1, precision and recall per label.
fn numbers(report: &Report) -> Vec<f64> {
    let averages = [report.macro_avg, report.micro_avg, report.weighted_avg];
    let mut numbers = vec![report.accuracy];
    numbers.extend(averages.iter().map(|average| average.f1));
    numbers.extend(averages.iter().map(|average| average.precision));
    numbers.extend(averages.iter().map(|average| average.recall));
    for (_, scores) in &report.labels {
        numbers.extend([scores.f1, scores.precision, scores.recall]);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summed(pairs: &[(String, &str)]) -> Vec<(String, Estimate)> {
        let metric = Classification { labels: Vec::new() };
        let mut tally = metric.tally(7);
        for (gold, predicted) in pairs {
            tally.add(&[Some(&json!([gold, predicted]))]);
        }
        let mut summary = TallySummary::default();
        tally.finish(&mut summary);
        summary.parts
    }

    #[test]
    fn an_interval_holds_its_estimate_and_has_width() {
        let perfect: Vec<(String, String)> = (0..80).map(|i| (format!("l{}", i / 2), format!("l{}", i / 2))).collect();
        let perfect: Vec<(String, &str)> =
            perfect.iter().map(|(gold, predicted)| (gold.clone(), predicted.as_str())).collect();
        let single = vec![("a".to_owned(), "a")];
        let mixed = vec![("a".to_owned(), "a"), ("b".to_owned(), "a"), ("b".to_owned(), "b"), ("c".to_owned(), "?")];
        for pairs in [perfect, single, mixed] {
            for (name, estimate) in summed(&pairs) {
                let (value, low, high) = (estimate.value.unwrap(), estimate.low.unwrap(), estimate.high.unwrap());
                assert!(low <= value && value <= high && low < high, "{name}: {value} [{low}, {high}]");
            }
        }
    }
}
