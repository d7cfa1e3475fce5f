//! Classifications: the scores of each label, and which labels were predicted as which others.

use serde::Deserialize;
use serde_json::Value;

use crate::record::{NodeSummary, Run};
use crate::score::Estimate;

/// One classification of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    /// Whose classification it is: `stage.model.metric`.
    pub of: String,
    pub labels: Vec<LabelScores>,
    pub averages: Vec<LabelScores>,
    pub accuracy: Option<f64>,
    /// None where rows have sets of labels.
    pub confusion: Option<Confusion>,
}

/// The scores of a label, or an average of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelScores {
    pub name: String,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    /// How many rows have this gold label; none if that is not known.
    pub support: Option<f64>,
}

/// How often a gold label (row) was predicted as which label (column).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Confusion {
    pub gold: Vec<String>,
    /// The gold labels; the last column is for predictions that are none of them.
    pub predicted: Vec<String>,
    /// One row per gold label, one cell per column of `predicted`; weights and samples may make fractions.
    pub counts: Vec<Vec<f64>>,
}

impl Confusion {
    /// Returns the most confused pairs first: the gold label, the predicted one, how often, and out of how many rows.
    pub fn pairs(&self) -> Vec<(&str, &str, f64, f64)> {
        let mut pairs = Vec::new();
        for (gold, counts) in self.gold.iter().zip(&self.counts) {
            let support: f64 = counts.iter().sum();
            for (predicted, count) in self.predicted.iter().zip(counts) {
                if predicted != gold && *count > 0.0 {
                    pairs.push((gold.as_str(), predicted.as_str(), *count, support));
                }
            }
        }
        pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
        pairs
    }

    /// Returns true if each row of the matrix has a cell per column.
    fn is_whole(&self) -> bool {
        self.counts.len() == self.gold.len() && self.counts.iter().all(|counts| counts.len() == self.predicted.len())
    }
}

/// Returns the classifications of a run, in the order of its tables.
pub(super) fn classes(run: &Run) -> Vec<Classes> {
    let mut found = Vec::new();
    for (stage, models) in &run.tables {
        for (model, tables) in models {
            let Some(summary) = run.summary.get(stage).and_then(|summaries| summaries.get(model)) else { continue };
            // Every classification has a report table; only one with a single label per row has a matrix.
            for metric in tables.keys().filter_map(|name| name.strip_suffix(".report")) {
                let confusion = tables.get(&format!("{metric}.confusion"));
                found.push(of_metric(&format!("{stage}.{model}.{metric}"), metric, summary, confusion));
            }
        }
    }
    found
}

fn of_metric(of: &str, metric: &str, summary: &NodeSummary, confusion: Option<&Value>) -> Classes {
    let confusion = confusion.and_then(|table| Confusion::deserialize(table).ok()).filter(Confusion::is_whole);
    let value = |part: &str| -> Option<f64> {
        summary.values.get(&format!("{metric}.{part}")).and_then(|estimate: &Estimate| estimate.value)
    };
    let head = format!("{metric}.f1.");
    let names: Vec<&str> = match &confusion {
        Some(confusion) => confusion.gold.iter().map(String::as_str).collect(),
        None => summary.values.keys().filter_map(|name| name.strip_prefix(&head)).collect(),
    };
    let support = |index: usize| Some(confusion.as_ref()?.counts.get(index)?.iter().sum());
    let labels = names.iter().enumerate().map(|(index, name)| LabelScores {
        name: (*name).to_owned(),
        precision: value(&format!("precision.{name}")),
        recall: value(&format!("recall.{name}")),
        f1: value(&format!("f1.{name}")),
        support: support(index),
    });
    let labels: Vec<LabelScores> = labels.collect();
    let all: Option<f64> = labels.iter().map(|label| label.support).sum();
    let averages = ["micro", "macro", "weighted", "samples"].into_iter().filter(|average| {
        // With single labels, micro averages equal the accuracy, so they are left out.
        let is_shown = *average != "micro" || confusion.is_none();
        is_shown && value(&format!("f1_{average}")).is_some()
    });
    let averages = averages.map(|average| LabelScores {
        name: format!("{average} average"),
        precision: value(&format!("precision_{average}")),
        recall: value(&format!("recall_{average}")),
        f1: value(&format!("f1_{average}")),
        support: all,
    });
    Classes { of: of.to_owned(), averages: averages.collect(), labels, accuracy: value("accuracy"), confusion }
}
