//! Classification: what a table of gold and predicted labels says about a classifier.
//!
//! Values and text follow scikit-learn 1.9's `classification_report`, `balanced_accuracy_score` and
//! `matthews_corrcoef`. A row has a set of gold labels and a set of predicted ones; mostly each has one label. A
//! prediction that is none of the labels is wrong, and not a class of its own.

mod interval;
mod report;

use std::collections::{BTreeMap, HashMap};

use indexmap::{IndexMap, IndexSet};

pub use interval::Intervals;
pub use report::{LabelScores, Report};

use super::interval::Interval;

/// The number that stands for a prediction that is none of the labels.
const INVALID: u32 = u32::MAX;

/// Weights of (gold labels, predicted labels).
#[derive(Clone, Debug, Default)]
pub struct Confusion {
    names: IndexSet<String>,
    /// Sets of labels, each sorted.
    sets: IndexMap<Box<[u32]>, ()>,
    cells: HashMap<(u32, u32), f64>,
    is_multilabel: bool,
    is_weighted: bool,
}

impl Confusion {
    /// Counts one row with one gold label; returns true if it is right.
    pub fn add(&mut self, gold: &str, predicted: Option<&str>, weight: f64) -> bool {
        let (gold, predicted) = (self.number(gold), predicted.map_or(INVALID, |label| self.number(label)));
        let cell = (self.set(&[gold]), self.set(&[predicted]));
        self.count(cell, weight)
    }

    /// Counts one row with a set of gold labels and a set of predicted ones; none for a prediction that is not a set of
    /// labels. Returns true if both sets are the same.
    pub fn add_sets<'a>(
        &mut self,
        gold: impl IntoIterator<Item = &'a str>,
        predicted: Option<impl IntoIterator<Item = &'a str>>,
        weight: f64,
    ) -> bool {
        let mut sorted = |labels: &mut dyn Iterator<Item = &'a str>| {
            let mut numbers: Vec<u32> = labels.map(|label| self.number(label)).collect();
            numbers.sort_unstable();
            numbers.dedup();
            self.set(&numbers)
        };
        let gold = sorted(&mut gold.into_iter());
        let predicted = match predicted {
            Some(predicted) => sorted(&mut predicted.into_iter()),
            None => self.set(&[INVALID]),
        };
        self.is_multilabel = true;
        self.count((gold, predicted), weight)
    }

    fn count(&mut self, cell: (u32, u32), weight: f64) -> bool {
        self.is_weighted |= weight != 1.0;
        *self.cells.entry(cell).or_default() += weight;
        cell.0 == cell.1
    }

    fn number(&mut self, label: &str) -> u32 {
        match self.names.get_index_of(label) {
            Some(index) => index as u32,
            None => self.names.insert_full(label.to_owned()).0 as u32,
        }
    }

    fn set(&mut self, labels: &[u32]) -> u32 {
        match self.sets.get_index_of(labels) {
            Some(index) => index as u32,
            None => self.sets.insert_full(labels.into(), ()).0 as u32,
        }
    }

    /// Returns the total weight.
    pub fn total(&self) -> f64 {
        self.sorted().iter().map(|(_, _, weight)| weight).sum()
    }

    /// Returns the labels that occur, gold or predicted, sorted: by value if all are numbers, else by code points.
    pub fn labels(&self) -> Vec<String> {
        sorted_labels(self.names.iter().cloned())
    }

    /// Returns how often each gold label (rows) was predicted as each label (columns), over `labels`; a last column
    /// counts the predictions that are none of them. For tables with one label per row.
    pub fn matrix(&self, labels: &[String]) -> Vec<Vec<f64>> {
        let places = Places::new(self, labels);
        let mut matrix = vec![vec![0.0; labels.len() + 1]; labels.len()];
        for (gold, predicted, weight) in self.sorted() {
            if let Some(row) = places.of(gold).next() {
                matrix[row][places.of(predicted).next().unwrap_or(labels.len())] += weight;
            }
        }
        matrix
    }

    /// Returns the cells in an order that does not depend on that of the rows.
    fn sorted(&self) -> Vec<(&[u32], &[u32], f64)> {
        let names = |set: &[u32]| -> Vec<Option<&String>> {
            set.iter().map(|label| self.names.get_index(*label as usize)).collect()
        };
        let set = |index: u32| self.sets.get_index(index as usize).map_or(&[][..], |(set, ())| set);
        let mut cells: Vec<_> = self.cells.iter().map(|((a, b), weight)| (set(*a), set(*b), *weight)).collect();
        cells.sort_by_cached_key(|(gold, predicted, _)| (names(gold), names(predicted)));
        cells
    }

    /// Returns the report over `labels`, in that order. `zero_division` (0, 1 or NaN) is the result of a division by
    /// zero. None for an empty table.
    pub fn report(&self, labels: &[String], zero_division: f64) -> Option<Report> {
        let table = Table::new(self, labels);
        table.report(&table.weights, zero_division)
    }

    /// Returns the 95 % intervals of the numbers of the report over `labels`. `rows` is how many independent rows all
    /// weights together are worth; `accuracy` is the interval of the accuracy. None for an empty table.
    pub fn intervals(
        &self,
        labels: &[String],
        zero_division: f64,
        rows: f64,
        accuracy: Option<Interval>,
    ) -> Option<Intervals> {
        let table = Table::new(self, labels);
        let report = table.report(&table.weights, zero_division)?;
        Some(table.intervals(&report, rows, accuracy))
    }
}

/// Sorts labels: by value if all are whole numbers, else by code points.
pub fn sorted_labels(labels: impl Iterator<Item = String>) -> Vec<String> {
    let mut labels: Vec<String> = labels.collect();
    labels.sort();
    labels.dedup();
    let numbers: Option<Vec<i64>> = labels.iter().map(|label| label.parse().ok()).collect();
    if let Some(numbers) = numbers {
        let mut paired: Vec<(i64, String)> = numbers.into_iter().zip(labels).collect();
        paired.sort();
        return paired.into_iter().map(|(_, label)| label).collect();
    }
    labels
}

/// For each label by its number in the table: its place among the labels asked for.
struct Places(Vec<Option<usize>>);

impl Places {
    fn new(confusion: &Confusion, labels: &[String]) -> Places {
        let by_name: BTreeMap<&str, usize> = labels.iter().enumerate().map(|(i, label)| (label.as_str(), i)).collect();
        Places(confusion.names.iter().map(|name| by_name.get(name.as_str()).copied()).collect())
    }

    fn of(&self, set: &[u32]) -> impl Iterator<Item = usize> {
        set.iter().filter_map(|label| self.0.get(*label as usize).copied().flatten())
    }
}

/// The cells, with labels as places, so that sums need not compare texts.
struct Table<'a> {
    labels: &'a [String],
    cells: Vec<Cell>,
    weights: Vec<f64>,
    /// How many labels there are in all.
    names: usize,
    is_multilabel: bool,
    is_complete: bool,
    is_weighted: bool,
}

struct Cell {
    gold: Vec<usize>,
    predicted: Vec<usize>,
    /// For a row with one gold and one predicted label: both by their numbers in the table.
    single: Option<(u32, u32)>,
    is_hit: bool,
}

impl<'a> Table<'a> {
    fn new(confusion: &Confusion, labels: &'a [String]) -> Table<'a> {
        let places = Places::new(confusion, labels);
        let sorted = confusion.sorted();
        let cells = sorted.iter().map(|(gold, predicted, _)| Cell {
            gold: places.of(gold).collect(),
            predicted: places.of(predicted).collect(),
            single: if let ([gold], [predicted]) = (gold, predicted) { Some((*gold, *predicted)) } else { None },
            is_hit: gold == predicted,
        });
        Table {
            labels,
            cells: cells.collect(),
            weights: sorted.iter().map(|(_, _, weight)| *weight).collect(),
            names: confusion.names.len(),
            is_multilabel: confusion.is_multilabel,
            is_complete: !confusion.is_multilabel
                && places.0.iter().all(Option::is_some)
                && sorted.iter().all(|(_, predicted, _)| !predicted.contains(&INVALID)),
            is_weighted: confusion.is_weighted,
        }
    }

    fn report(&self, weights: &[f64], zero_division: f64) -> Option<Report> {
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let n = self.labels.len();
        let (mut hits, mut golds, mut predictions) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let mut right = 0.0;
        // For sets of labels: the sum and the weight of each number, over the rows that have it.
        let mut samples = [[0.0; 2]; 3];
        for (cell, weight) in self.cells.iter().zip(weights) {
            let mut both = 0.0;
            for label in &cell.gold {
                golds[*label] += weight;
                if cell.predicted.contains(label) {
                    hits[*label] += weight;
                    both += 1.0;
                }
            }
            cell.predicted.iter().for_each(|label| predictions[*label] += weight);
            if cell.is_hit {
                right += weight;
            }
            if self.is_multilabel {
                let row = scores(both, cell.predicted.len() as f64, cell.gold.len() as f64, zero_division);
                for (sums, value) in samples.iter_mut().zip([row.precision, row.recall, row.f1]) {
                    if !value.is_nan() {
                        sums[0] += weight * value;
                        sums[1] += weight;
                    }
                }
            }
        }
        let of_label = |label: usize| scores(hits[label], predictions[label], golds[label], zero_division);
        let labels: Vec<LabelScores> = (0..n).map(of_label).collect();
        let support: f64 = golds.iter().sum();
        let micro = scores(hits.iter().sum(), predictions.iter().sum(), support, zero_division);
        let [precision, recall, f1] = samples.map(|[sum, weight]| sum / weight);
        let samples_avg = self.is_multilabel.then_some(LabelScores { precision, recall, f1, support });
        let (balanced_accuracy, mcc) = self.overall(weights, total);
        let has_hit = hits.iter().any(|hit| *hit > 0.0) || self.is_multilabel;
        Some(Report {
            accuracy: right / total,
            macro_avg: average(&labels, support, |_| 1.0),
            weighted_avg: average(&labels, support, |scores| scores.support),
            micro_avg: micro,
            samples_avg,
            balanced_accuracy,
            mcc,
            is_complete: self.is_complete,
            is_whole: has_hit && !self.is_weighted,
            labels: self.labels.iter().cloned().zip(labels).collect(),
        })
    }

    /// Returns balanced accuracy and Matthews' coefficient over all labels. NaN for rows with sets of labels.
    fn overall(&self, weights: &[f64], total: f64) -> (f64, f64) {
        let (mut hits, mut golds, mut predictions) =
            (vec![0.0; self.names], vec![0.0; self.names], vec![0.0; self.names]);
        for (cell, weight) in self.cells.iter().zip(weights) {
            let Some((gold, predicted)) = cell.single else {
                return (f64::NAN, f64::NAN);
            };
            golds[gold as usize] += weight;
            if let Some(sum) = predictions.get_mut(predicted as usize) {
                *sum += weight;
            }
            if gold == predicted {
                hits[gold as usize] += weight;
            }
        }
        let recalls: Vec<f64> =
            hits.iter().zip(&golds).filter(|(_, gold)| **gold > 0.0).map(|(hit, gold)| hit / gold).collect();
        let balanced = recalls.iter().sum::<f64>() / recalls.len() as f64;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let covariance = hits.iter().sum::<f64>() * total - dot(&golds, &predictions);
        // Here, predictions that are none of the labels are a class of their own.
        let invalid = total - predictions.iter().sum::<f64>();
        let spread_predicted = total * total - dot(&predictions, &predictions) - invalid * invalid;
        let spread_gold = total * total - dot(&golds, &golds);
        let spread = spread_predicted * spread_gold;
        (balanced, if spread > 0.0 { covariance / spread.sqrt() } else { 0.0 })
    }
}

fn scores(hits: f64, predicted: f64, gold: f64, zero_division: f64) -> LabelScores {
    let ratio = |top: f64, bottom: f64| if bottom > 0.0 { top / bottom } else { zero_division };
    LabelScores {
        precision: ratio(hits, predicted),
        recall: ratio(hits, gold),
        f1: ratio(2.0 * hits, predicted + gold),
        support: gold,
    }
}

/// Averages over labels; each number is averaged over the labels that have it. If all weights are 0, all labels weigh
/// the same.
fn average(scores: &[LabelScores], support: f64, weight: impl Fn(&LabelScores) -> f64) -> LabelScores {
    let mean = |value: fn(&LabelScores) -> f64| {
        let kept = || scores.iter().filter(|scores| !value(scores).is_nan());
        let total: f64 = kept().map(&weight).sum();
        if total > 0.0 {
            kept().map(|scores| weight(scores) * value(scores)).sum::<f64>() / total
        } else {
            kept().map(value).sum::<f64>() / kept().count() as f64
        }
    };
    LabelScores { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1), support }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn out_of_vocabulary_is_wrong_and_no_class() {
        let mut confusion = Confusion::default();
        confusion.add("a", Some("a"), 1.0);
        confusion.add("a", None, 1.0);
        confusion.add("b", Some("b"), 1.0);
        let report = confusion.report(&labels(&["a", "b"]), 0.0).unwrap();
        assert_eq!(report.labels[0].1.recall, 0.5);
        assert_eq!(report.labels[0].1.precision, 1.0);
        assert!((report.accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert!((report.macro_avg.f1 - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
        assert!(Confusion::default().report(&labels(&["a"]), 0.0).is_none());
        assert_eq!(confusion.matrix(&labels(&["a", "b"])), [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]);
    }

    #[test]
    fn an_unreadable_set_is_not_the_empty_set() {
        let mut confusion = Confusion::default();
        confusion.add_sets([], Some([]), 1.0);
        confusion.add_sets([], None::<[&str; 0]>, 1.0);
        assert_eq!(confusion.report(&labels(&["a"]), 0.0).unwrap().accuracy, 0.5);
    }
}
