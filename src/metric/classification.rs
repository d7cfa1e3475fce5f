//! `classification`: precision, recall and F1 per label and averaged, with the confusion matrix.
//!
//! The labels are the gold labels and those that `labels` declares. Any other prediction is `__invalid__`: wrong for
//! its gold label, and not a class of its own. A reference that is a list is a set of labels (multilabel); a prediction
//! that is not a list is then `__invalid__`. Intervals come from the table, see `stats::classification`.

use std::collections::{BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::value::{Empty, RULE, typed_label, typed_text};
use super::{
    Entry, Made, Make, MeanTally, Metric, RowScores, Score, Scored, Tally, TallySummary, Written, share, text,
};
use crate::score::{Estimate, Unit};
use crate::spec::{Scalar, Template, Whole};
use crate::stats::{Confusion, Interval, Intervals, MeanSums, Report, estimate, share_interval, sorted_labels};

/// The label of null.
const NULL: &str = "null";
/// How tables show a prediction that is none of the labels.
const INVALID: &str = "__invalid__";

const AVERAGES: &[&str] = &[
    "accuracy",
    "balanced_accuracy",
    "mcc",
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
/// Parts that only sets of labels have.
const SAMPLES: &[&str] = &["f1_samples", "precision_samples", "recall_samples"];

pub(super) const ENTRY: Entry = Entry {
    name: "classification",
    about: "Precision, recall and F1 of labels, per label and averaged, with the confusion matrix and the report as text. A reference that is a list is a set of labels.",
    source: "equal to scikit-learn 1.9's classification_report, balanced_accuracy_score, matthews_corrcoef",
    range: "0 to 1; mcc −1 to 1",
    score: "`[gold, predicted, weight]`, the last where `sample_weight` is given",
    parts: &[
        ("accuracy", "share of right labels; of sets, those that are right as a whole"),
        ("balanced_accuracy", "mean recall of the labels"),
        ("mcc", "Matthews' correlation coefficient"),
        ("f1_macro", "mean F1 of the labels"),
        ("f1_micro", "F1 of all decisions together"),
        ("f1_weighted", "mean F1 weighted by how often a label is gold"),
        ("precision_macro", "as for F1"),
        ("precision_micro", "as for F1"),
        ("precision_weighted", "as for F1"),
        ("recall_macro", "as for F1"),
        ("recall_micro", "as for F1"),
        ("recall_weighted", "as for F1"),
        ("f1_samples", "mean over rows, of sets of labels; also `precision_samples`, `recall_samples`"),
        ("f1.<label>", "of one label; also `precision.<label>`, `recall.<label>`"),
    ],
    more_parts: |part| {
        SAMPLES.contains(&part) || ["f1.", "precision.", "recall."].iter().any(|head| part.starts_with(head))
    },
    main: "f1_macro",
    equality: RULE,
    unit: |part| if part == "mcc" { Unit::Rate } else { Unit::Fraction },
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Labels there are beside those of the references; output outside of them is wrong, and no class.
    #[schemars(example = ["billing", "shipping"])]
    labels: Vec<Scalar>,
    /// What stands where there is nothing to divide by; `nan` leaves the label out of the averages.
    #[serde(deserialize_with = "number_or_text")]
    #[schemars(example = ZeroDivision::Nan)]
    zero_division: ZeroDivision,
    /// How much a row weighs: a number, 0 or more.
    #[serde(rename = "sample_weight")]
    #[schemars(example = &"{{ row.weight }}")]
    _sample_weight: Option<Template>,
    /// Digits of the report as text.
    #[schemars(example = 3)]
    digits: Whole,
    /// What an empty reference stands for: `null` where a CSV file cannot say null otherwise.
    #[schemars(example = Empty::Null)]
    empty: Empty,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(inline, extend("type" = ["string", "integer"], "enum" = ["0", "1", "nan", 0, 1]))]
enum ZeroDivision {
    #[serde(rename = "0")]
    Zero,
    #[serde(rename = "1")]
    One,
    #[serde(rename = "nan")]
    Nan,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            labels: Vec::new(),
            zero_division: ZeroDivision::Zero,
            _sample_weight: None,
            digits: Whole(2),
            empty: Empty::Text,
        }
    }
}

/// Reads a choice that may be written as a number or as text.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ZeroDivision, D::Error> {
    let Scalar(text) = Scalar::deserialize(deserializer)?;
    ZeroDivision::deserialize(text.into_deserializer())
}

struct Classification {
    labels: Vec<String>,
    zero_division: f64,
    digits: usize,
    empty: Empty,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        let zero_division = match self.zero_division {
            ZeroDivision::Zero => 0.0,
            ZeroDivision::One => 1.0,
            ZeroDivision::Nan => f64::NAN,
        };
        let labels = self.labels.into_iter().map(String::from).collect();
        Ok(Box::new(Classification { labels, zero_division, digits: self.digits.size().min(17), empty: self.empty }))
    }
}

impl Classification {
    /// Returns the spellings of the declared labels.
    fn spellings(&self) -> Spellings {
        let mut spellings = Spellings::default();
        for label in &self.labels {
            spellings.label(&Value::from(label.as_str()));
        }
        spellings
    }
}

impl Metric for Classification {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some(reference) = scored.reference.map(|reference| self.empty.of(reference)) else {
            return Ok(None);
        };
        let label = |value: &Value| match value {
            // Typed labels stay what they are, so that they are found among those that are text.
            Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::Null => Value::from(NULL),
            // As `exact_match` does: white space around a label is none of it.
            other => Value::from(text(other).trim()),
        };
        let is_reserved = |value: &Value| value.as_str().is_some_and(|text| text.trim() == INVALID);
        if is_reserved(reference) || reference.as_array().is_some_and(|items| items.iter().any(is_reserved)) {
            return Err(format!(
                "the reference is `{INVALID}`, which stands for predictions that are no label: name it otherwise"
            ));
        }
        let labels = |items: &Vec<Value>| items.iter().map(label).collect::<Vec<Value>>();
        let mut score = match reference {
            Value::Array(gold) => {
                vec![json!(labels(gold)), json!(scored.prediction.and_then(Value::as_array).map(labels))]
            }
            gold => vec![label(gold), scored.prediction.map(label).into()],
        };
        if let Some(weight) = scored.weight {
            let number = match weight {
                Value::String(text) => text.trim().parse().ok(),
                other => other.as_f64(),
            };
            match number.filter(|number: &f64| number.is_finite() && *number >= 0.0) {
                Some(number) => score.push(json!(number)),
                None => return Err(format!("`sample_weight` is {}, no number from 0", text(weight))),
            }
        }
        Ok(Some(Value::Array(score)))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(ClassificationTally {
            zero_division: self.zero_division,
            digits: self.digits,
            labels: self.labels.iter().cloned().collect(),
            spellings: self.spellings(),
            confusion: Confusion::default(),
            right: MeanTally::share(),
            weights: MeanSums::default(),
            missing: 0,
        })
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn knows_null(&self) -> bool {
        true
    }
}

struct ClassificationTally {
    zero_division: f64,
    digits: usize,
    /// The declared labels, and the gold labels met so far.
    labels: BTreeSet<String>,
    spellings: Spellings,
    confusion: Confusion,
    /// The share of right samples of each row.
    right: MeanTally,
    /// The rows' weights.
    weights: MeanSums,
    missing: u64,
}

/// Labels whose values are typed in some rows and text in others, such as `True` in a CSV file and true in an answer.
#[derive(Default)]
struct Spellings {
    /// By typed value, as `typed_label` writes it: the text that was met first.
    texts: HashMap<String, String>,
    /// By typed value that was met: the label that stands for it.
    chosen: HashMap<String, String>,
}

impl Spellings {
    /// Returns the label that a stored value stands for.
    fn label(&mut self, value: &Value) -> String {
        if let Some(typed) = typed_label(value) {
            let spelling = self.texts.get(&typed).unwrap_or(&typed).clone();
            return self.chosen.entry(typed).or_insert(spelling).clone();
        }
        let text = value.as_str().unwrap_or_default();
        let Some(typed) = typed_text(text) else { return text.to_owned() };
        if let Some(chosen) = self.chosen.get(&typed) {
            return chosen.clone();
        }
        self.texts.entry(typed).or_insert_with(|| text.to_owned());
        text.to_owned()
    }

    fn labels(&mut self, values: &[Value]) -> Vec<String> {
        values.iter().map(|value| self.label(value)).collect()
    }
}

impl ClassificationTally {
    fn insert(&mut self, label: &str) {
        if !self.labels.contains(label) {
            self.labels.insert(label.to_owned());
        }
    }
}

impl Tally for ClassificationTally {
    fn add(&mut self, row: &RowScores<'_>) {
        let scores: Vec<(&Value, &Value, f64)> = row
            .scores
            .iter()
            .flatten()
            .filter_map(|score| Some((score.get(0)?, score.get(1)?, score.get(2).map_or(Some(1.0), Value::as_f64)?)))
            .collect();
        if scores.is_empty() {
            self.missing += 1;
            return;
        }
        let share = 1.0 / scores.len() as f64;
        let (mut all, mut right) = (0.0, 0.0);
        for (gold, predicted, weight) in scores {
            let is_right = match gold {
                Value::Array(gold) => {
                    let gold = self.spellings.labels(gold);
                    let predicted = predicted.as_array().map(|items| self.spellings.labels(items));
                    gold.iter().for_each(|label| self.insert(label));
                    let predicted = predicted.as_ref().map(|labels| labels.iter().map(String::as_str));
                    self.confusion.add_sets(
                        gold.iter().map(String::as_str).collect::<Vec<_>>(),
                        predicted,
                        weight * share,
                    )
                }
                gold => {
                    let gold = self.spellings.label(gold);
                    let predicted = (!predicted.is_null()).then(|| self.spellings.label(predicted));
                    self.insert(&gold);
                    self.confusion.add(&gold, predicted.as_deref(), weight * share)
                }
            };
            all += weight * share;
            right += if is_right { weight * share } else { 0.0 };
        }
        self.right.add_weighted(if all > 0.0 { right / all } else { 0.0 }, all, row.cluster);
        self.weights.add(all, all);
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let labels = sorted_labels(self.labels.iter().cloned());
        let Some(report) = self.confusion.report(&labels, self.zero_division) else {
            for part in AVERAGES {
                summary.parts.push(((*part).to_owned(), Estimate::none(self.missing)));
            }
            return;
        };
        let is_multilabel = report.samples_avg.is_some();
        let averages = AVERAGES.iter().chain(if is_multilabel { SAMPLES } else { &[] });
        let shown = shown(&labels);
        let names: Vec<String> = averages
            .map(|part| (*part).to_owned())
            .chain(shown.iter().flat_map(|label| ["f1", "precision", "recall"].map(|part| format!("{part}.{label}"))))
            .collect();
        let values = numbers(&report);
        let accuracy = self.right.interval();
        let found = self.confusion.intervals(&labels, self.zero_division, self.independent(), accuracy);
        let intervals = intervals(accuracy, &found.unwrap_or_default(), is_multilabel, shown.len());
        let n = self.right.rows();
        for ((name, value), interval) in names.into_iter().zip(values).zip(intervals) {
            let value = Some(value).filter(|value| value.is_finite());
            summary.parts.push((name, estimate(value, interval.filter(|_| value.is_some()), n, self.missing)));
        }
        if shown.len() < labels.len() {
            summary.notes.push(format!(
                "{} different labels, more than {MOST_LABELS}: averages only, no values by label, no confusion matrix; is the reference a class?",
                labels.len()
            ));
            return;
        }
        if !is_multilabel {
            let columns: Vec<&str> = labels.iter().map(String::as_str).chain([INVALID]).collect();
            let counts = self.confusion.matrix(&labels);
            summary
                .tables
                .push(("confusion".to_owned(), json!({ "gold": labels, "predicted": columns, "counts": counts })));
        }
        summary.tables.push(("report".to_owned(), report.text(None, self.digits).into()));
    }
}

impl ClassificationTally {
    /// Returns how many independent rows the table is worth. Weights make it fewer, and so do clusters: by as much as they
    /// make the interval of the accuracy wider.
    fn independent(&self) -> f64 {
        let rows = self.weights.effective();
        let width = |interval: Option<Interval>| interval.map(|interval| interval.high - interval.low);
        let accuracy = self.right.estimate().value.unwrap_or(0.0);
        match (width(self.right.interval()), width(share_interval(accuracy * rows, rows))) {
            (Some(clustered), Some(plain)) if clustered > plain => (rows * (plain / clustered).powi(2)).max(1e-3),
            (None, _) => 1e-3,
            _ => rows,
        }
    }
}

/// From more labels than these, values by label and a matrix with a cell for each pair of them help nobody.
const MOST_LABELS: usize = 500;

/// Returns the labels that have values of their own: all, or none if there are too many.
fn shown<T>(labels: &[T]) -> &[T] {
    if labels.len() > MOST_LABELS { &[] } else { labels }
}

/// Returns the numbers of a report: the averages in their order, then f1, precision and recall of each label.
fn numbers(report: &Report) -> Vec<f64> {
    let averages = [report.macro_avg, report.micro_avg, report.weighted_avg];
    let mut numbers = vec![report.accuracy, report.balanced_accuracy, report.mcc];
    numbers.extend(averages.iter().map(|average| average.f1));
    numbers.extend(averages.iter().map(|average| average.precision));
    numbers.extend(averages.iter().map(|average| average.recall));
    if let Some(samples) = report.samples_avg {
        numbers.extend([samples.f1, samples.precision, samples.recall]);
    }
    for (_, scores) in shown(&report.labels) {
        numbers.extend([scores.f1, scores.precision, scores.recall]);
    }
    numbers
}

/// Returns the intervals of a report in the order of [`numbers`].
fn intervals(
    accuracy: Option<Interval>,
    found: &Intervals,
    is_multilabel: bool,
    labels: usize,
) -> Vec<Option<Interval>> {
    let averages = [&found.macro_avg, &found.micro_avg, &found.weighted_avg];
    let mut intervals = vec![accuracy, found.balanced_accuracy, found.mcc];
    (0..3).for_each(|ratio| intervals.extend(averages.map(|average| average[ratio])));
    if is_multilabel {
        intervals.extend(found.samples_avg);
    }
    intervals.extend(found.labels.iter().take(labels).flatten());
    intervals
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn summed(pairs: &[(String, &str)]) -> Vec<(String, Estimate)> {
        let metric = Classification { labels: Vec::new(), zero_division: 0.0, digits: 2, empty: Empty::Text };
        let mut tally = metric.tally(7);
        for (gold, predicted) in pairs {
            tally.add(&RowScores { scores: &[Some(&json!([gold, predicted]))], cluster: None });
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

    #[test]
    fn sets_of_labels_and_weights_are_read() {
        let metric = ENTRY.make(&serde_json::Map::new(), Path::new(".")).unwrap();
        let mut tally = metric.tally(7);
        for (gold, predicted) in [(json!(["a", "b"]), json!(["a"])), (json!([]), json!([])), (json!(["b"]), json!("b"))]
        {
            let scored = Scored { prediction: Some(&predicted), reference: Some(&gold), ..Scored::default() };
            tally.add(&RowScores { scores: &[metric.score(&scored).unwrap().as_ref()], cluster: None });
        }
        let mut summary = TallySummary::default();
        tally.finish(&mut summary);
        let value = |name: &str| summary.parts.iter().find(|(part, _)| part == name).unwrap().1.value;
        assert_eq!((value("accuracy"), value("f1.a"), value("recall.b")), (Some(1.0 / 3.0), Some(1.0), Some(0.0)));
        let weight = json!("-1");
        let gold = json!("a");
        let scored = Scored { reference: Some(&gold), weight: Some(&weight), ..Scored::default() };
        assert!(metric.score(&scored).is_err());
    }
}
