//! Classification: what a confusion table says of a classifier.
//!
//! Values follow scikit-learn's `classification_report` with `labels` = the known labels: a
//! prediction outside them counts as wrong for its gold label and is a class of its own nowhere.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::interval::{Interval, percentile_interval};

/// Resamples of the table for the intervals.
const RESAMPLES: usize = 1_000;

/// Counts of (gold label, predicted label); weights may be fractional.
///
/// A prediction of `None` is one outside the labels.
#[derive(Clone, Debug, Default)]
pub struct Confusion {
    cells: BTreeMap<(String, Option<String>), f64>,
}

/// Precision, recall and F1 of one label, each 0 where its denominator is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LabelScores {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// Weight of the rows whose gold label this is.
    pub support: f64,
}

/// The three averages over labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Average {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// What a confusion table says.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub labels: Vec<(String, LabelScores)>,
    pub accuracy: f64,
    /// Unweighted mean over labels.
    pub macro_avg: Average,
    /// Mean over labels weighted by support.
    pub weighted_avg: Average,
    /// From the sums of true positives, false positives and false negatives.
    pub micro_avg: Average,
}

impl Confusion {
    /// Counts one row.
    pub fn add(&mut self, gold: &str, predicted: Option<&str>, weight: f64) {
        *self.cells.entry((gold.to_owned(), predicted.map(str::to_owned))).or_default() += weight;
    }

    /// Returns the total weight.
    pub fn total(&self) -> f64 {
        self.cells.values().sum()
    }

    /// Returns the cells: gold label, predicted label, weight.
    pub fn cells(&self) -> impl Iterator<Item = (&str, Option<&str>, f64)> {
        self.cells.iter().map(|((gold, predicted), weight)| (gold.as_str(), predicted.as_deref(), *weight))
    }

    /// Returns the report over `labels`, in that order. None for an empty table.
    pub fn report(&self, labels: &[String]) -> Option<Report> {
        let indexed = Indexed::new(self, labels);
        let weights: Vec<f64> = self.cells.values().copied().collect();
        indexed.report(labels, &weights)
    }

    /// Returns the report's 95 % intervals by a seeded multinomial bootstrap of the table: as many
    /// rows drawn as there are, 1,000 times. `pick` reads the numbers of interest off a report.
    ///
    /// A label that a resample happens not to hold, as gold or as prediction, is left out of it: small
    /// classes would else pull the whole distribution below the estimate. `pick` gets NaN for it.
    pub fn intervals(&self, labels: &[String], seed: u64, pick: impl Fn(&Report) -> Vec<f64>) -> Vec<Option<Interval>> {
        let indexed = Indexed::new(self, labels);
        let weights: Vec<f64> = self.cells.values().copied().collect();
        let total: f64 = weights.iter().sum();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for _ in 0..RESAMPLES {
            let drawn = multinomial(&weights, total, &mut random);
            let Some(report) = indexed.resampled(labels, &drawn, &weights) else {
                continue;
            };
            for (index, value) in pick(&report).into_iter().enumerate() {
                if columns.len() <= index {
                    columns.push(Vec::new());
                }
                if !value.is_nan() {
                    columns[index].push(value);
                }
            }
        }
        columns.iter_mut().map(|column| (!column.is_empty()).then(|| percentile_interval(column))).collect()
    }
}

/// The table with labels as indices, so that a bootstrap does not compare texts.
struct Indexed {
    cells: Vec<(Option<usize>, Option<usize>)>,
}

impl Indexed {
    fn new(confusion: &Confusion, labels: &[String]) -> Indexed {
        let index: BTreeMap<&str, usize> = labels.iter().enumerate().map(|(i, label)| (label.as_str(), i)).collect();
        let cells = confusion
            .cells
            .keys()
            .map(|(gold, predicted)| {
                (index.get(gold.as_str()).copied(), predicted.as_deref().and_then(|label| index.get(label).copied()))
            })
            .collect();
        Indexed { cells }
    }

    /// Returns the report of a resample; labels that it lost are NaN, and left out of the averages.
    fn resampled(&self, labels: &[String], drawn: &[f64], original: &[f64]) -> Option<Report> {
        let mut report = self.report(labels, drawn)?;
        let (had, has) = (self.present(labels, original), self.present(labels, drawn));
        let mut kept = Vec::new();
        for (index, (_, scores)) in report.labels.iter_mut().enumerate() {
            if had[index] && !has[index] {
                *scores = LabelScores { precision: f64::NAN, recall: f64::NAN, f1: f64::NAN, support: 0.0 };
            } else {
                kept.push(*scores);
            }
        }
        report.macro_avg = average(&kept, |_| 1.0);
        report.weighted_avg = average(&kept, |score| score.support);
        Some(report)
    }

    /// Returns which labels occur, as gold or as prediction.
    fn present(&self, labels: &[String], weights: &[f64]) -> Vec<bool> {
        let mut present = vec![false; labels.len()];
        for ((gold, predicted), weight) in self.cells.iter().zip(weights) {
            for label in [gold, predicted].into_iter().flatten().filter(|_| *weight > 0.0) {
                present[*label] = true;
            }
        }
        present
    }

    fn report(&self, labels: &[String], weights: &[f64]) -> Option<Report> {
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let mut hits = vec![0.0; labels.len()];
        let mut gold_sums = vec![0.0; labels.len()];
        let mut predicted_sums = vec![0.0; labels.len()];
        for ((gold, predicted), weight) in self.cells.iter().zip(weights) {
            if let Some(gold) = gold {
                gold_sums[*gold] += weight;
                if predicted == &Some(*gold) {
                    hits[*gold] += weight;
                }
            }
            if let Some(predicted) = predicted {
                predicted_sums[*predicted] += weight;
            }
        }
        let scores: Vec<LabelScores> =
            (0..labels.len()).map(|label| label_scores(hits[label], predicted_sums[label], gold_sums[label])).collect();
        let hit_sum: f64 = hits.iter().sum();
        let gold_sum: f64 = gold_sums.iter().sum();
        let micro = label_scores(hit_sum, predicted_sums.iter().sum(), gold_sum);
        Some(Report {
            accuracy: hit_sum / total,
            macro_avg: average(&scores, |_| 1.0),
            weighted_avg: average(&scores, |score| score.support),
            micro_avg: Average { precision: micro.precision, recall: micro.recall, f1: micro.f1 },
            labels: labels.iter().cloned().zip(scores).collect(),
        })
    }
}

fn label_scores(hits: f64, predicted: f64, gold: f64) -> LabelScores {
    let ratio = |top: f64, bottom: f64| if bottom > 0.0 { top / bottom } else { 0.0 };
    LabelScores {
        precision: ratio(hits, predicted),
        recall: ratio(hits, gold),
        f1: ratio(2.0 * hits, predicted + gold),
        support: gold,
    }
}

fn average(scores: &[LabelScores], weight: impl Fn(&LabelScores) -> f64) -> Average {
    let total: f64 = scores.iter().map(&weight).sum();
    if total <= 0.0 {
        return Average::default();
    }
    let mean = |value: fn(&LabelScores) -> f64| scores.iter().map(|s| weight(s) * value(s)).sum::<f64>() / total;
    Average { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1) }
}

/// Draws `total` (rounded) rows over the cells, each with its weight's probability.
fn multinomial(weights: &[f64], total: f64, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut left = total.round().max(1.0) as u64;
    let mut weight_left = total;
    weights
        .iter()
        .map(|weight| {
            let p = if weight_left > 0.0 { (weight / weight_left).clamp(0.0, 1.0) } else { 0.0 };
            let drawn = binomial(left, p, random);
            left -= drawn;
            weight_left -= weight;
            drawn as f64
        })
        .collect()
}

/// Draws from a binomial: by counting up to 1,000 trials, by the normal approximation beyond, where
/// both tails hold enough trials.
fn binomial(n: u64, p: f64, random: &mut ChaCha8Rng) -> u64 {
    if p >= 1.0 {
        return n;
    }
    let mean = n as f64 * p;
    if n > 1_000 && mean > 30.0 && n as f64 - mean > 30.0 {
        let draw = (mean + (mean * (1.0 - p)).sqrt() * standard_normal(random)).round();
        return draw.clamp(0.0, n as f64) as u64;
    }
    // Skips from success to success (geometric gaps), so that rare cells cost little.
    if p <= 0.0 {
        return 0;
    }
    let log_miss = (1.0 - p).ln();
    let (mut position, mut successes) = (0.0, 0);
    loop {
        position += (unit(random).ln() / log_miss).floor() + 1.0;
        if position > n as f64 {
            return successes;
        }
        successes += 1;
    }
}

/// Returns a uniform number in (0, 1].
fn unit(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Returns a standard normal number (Box & Muller 1958).
fn standard_normal(random: &mut ChaCha8Rng) -> f64 {
    (-2.0 * unit(random).ln()).sqrt() * (std::f64::consts::TAU * unit(random)).cos()
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
        let report = confusion.report(&labels(&["a", "b"])).unwrap();
        assert_eq!(report.labels[0].1.recall, 0.5);
        assert_eq!(report.labels[0].1.precision, 1.0);
        assert!((report.accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert!((report.macro_avg.f1 - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
        assert!(Confusion::default().report(&labels(&["a"])).is_none());
    }

    #[test]
    fn bootstrap_covers_a_known_accuracy() {
        let mut confusion = Confusion::default();
        confusion.add("a", Some("a"), 80.0);
        confusion.add("a", Some("b"), 20.0);
        confusion.add("b", Some("b"), 100.0);
        let interval = confusion.intervals(&labels(&["a", "b"]), 3, |report| vec![report.accuracy])[0].unwrap();
        assert!(interval.low > 0.84 && interval.low < 0.88, "{interval:?}");
        assert!(interval.high > 0.92 && interval.high < 0.96, "{interval:?}");
    }
}
