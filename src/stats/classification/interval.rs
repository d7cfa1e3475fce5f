//! Intervals of what a table of labels says, also where a label is rare or absent.
//!
//! A bootstrap of the table knows no rows but those drawn: with a label of three rows in a hundred, 31 to 60 % of its
//! intervals of the macro F1 hold below 50 rows. Here each label is a share of its own: recall of its gold rows, precision of
//! its predictions, and F1 = 2J / (1 + J) with J, the share of hits among the rows in which the label occurs. A share has the
//! interval of [`share_interval`]; that of a label without rows is 0 to 1. An average puts the labels' intervals together by
//! MOVER (Zou & Donner 2008, doi:10.1002/sim.3095), with correlations from the table (delta method); labels of at most two
//! rows add up instead, as they err to the same side. Matthews' coefficient has Fisher's z with the delta method, after two
//! pseudo-rows that are spread evenly over the table. Simulated, from five rows on at least 93 % of the intervals hold.

use super::{LabelScores, Report, Table};
use crate::stats::distribution::student_quantile;
use crate::stats::interval::Interval;
use crate::stats::mean::{Known, MeanSums, share_interval};

/// Labels in at most so many rows are thin: their F1 is as good as unknown.
const THIN: f64 = 2.0;

/// With more labels, pseudo-rows stand on the diagonal of the table alone.
const SPREAD: usize = 500;

/// The intervals of a report. None where a number is undefined.
#[derive(Clone, Debug, Default)]
pub struct Intervals {
    pub balanced_accuracy: Option<Interval>,
    pub mcc: Option<Interval>,
    pub macro_avg: [Option<Interval>; 3],
    pub micro_avg: [Option<Interval>; 3],
    pub weighted_avg: [Option<Interval>; 3],
    /// Only for rows with sets of labels.
    pub samples_avg: [Option<Interval>; 3],
    /// For each label of the report.
    pub labels: Vec<[Option<Interval>; 3]>,
}

/// The ratios that a label has, in the order of the arrays of [`Intervals`].
const RATIOS: [Ratio; 3] = [Ratio::F1, Ratio::Precision, Ratio::Recall];

#[derive(Clone, Copy, PartialEq)]
enum Ratio {
    F1,
    Precision,
    Recall,
}

impl Ratio {
    fn of(self, scores: &LabelScores) -> f64 {
        match self {
            Ratio::F1 => scores.f1,
            Ratio::Precision => scores.precision,
            Ratio::Recall => scores.recall,
        }
    }

    /// Returns what a row adds to the upper and to the lower part of a label's ratio.
    fn parts(self, is_gold: bool, is_predicted: bool) -> [f64; 2] {
        let (gold, predicted) = (f64::from(u8::from(is_gold)), f64::from(u8::from(is_predicted)));
        match self {
            Ratio::F1 => [2.0 * gold * predicted, gold + predicted],
            Ratio::Precision => [gold * predicted, predicted],
            Ratio::Recall => [gold * predicted, gold],
        }
    }

    /// Returns the interval of a ratio from its parts, and the number of rows that it rests on.
    fn interval(self, [upper, lower]: [f64; 2]) -> (Interval, f64) {
        let rows = if self == Ratio::F1 { lower - upper / 2.0 } else { lower };
        let hits = if self == Ratio::F1 { upper / 2.0 } else { upper };
        let put = |share: f64| if self == Ratio::F1 { 2.0 * share / (1.0 + share) } else { share };
        let found = if rows > 1e-9 { share_interval(hits, rows) } else { None };
        let found = found.unwrap_or(Interval { low: 0.0, high: 1.0 });
        (Interval { low: put(found.low), high: put(found.high) }, rows)
    }
}

/// One ratio of all labels.
struct Labels<'a> {
    ratio: Ratio,
    table: &'a Table<'a>,
    weights: &'a [f64],
    /// What a pseudo-row adds to a cell.
    pseudo: f64,
    /// For each label, the upper and the lower part of the ratio; without and with pseudo-rows.
    parts: Vec<[f64; 2]>,
    smooth: Vec<[f64; 2]>,
}

impl<'a> Labels<'a> {
    fn new(ratio: Ratio, table: &'a Table<'a>, weights: &'a [f64]) -> Labels<'a> {
        let k = table.labels.len();
        let is_spread = k <= SPREAD;
        let pseudo = 2.0 / if is_spread { (k * k) as f64 } else { k as f64 };
        let mut labels = Labels { ratio, table, weights, pseudo, parts: vec![[0.0; 2]; k], smooth: vec![[0.0; 2]; k] };
        let mut parts = vec![[0.0; 2]; k];
        labels.each(false, |weight, touched| {
            for (label, [upper, lower]) in touched {
                parts[*label][0] += weight * upper;
                parts[*label][1] += weight * lower;
            }
        });
        labels.smooth.clone_from(&parts);
        let others = if is_spread { k as f64 - 1.0 } else { 0.0 };
        let sides = if ratio == Ratio::F1 { 2.0 } else { 1.0 };
        for part in &mut labels.smooth {
            part[0] += pseudo * ratio.parts(true, true)[0];
            part[1] += pseudo * (ratio.parts(true, true)[1] + sides * others);
        }
        labels.parts = parts;
        labels
    }

    /// Calls `each` with the weight of each cell and the parts of the labels in it; also for pseudo-rows if wanted.
    fn each(&self, with_pseudo: bool, mut each: impl FnMut(f64, &[(usize, [f64; 2])])) {
        let mut touched = Vec::new();
        for (cell, weight) in self.table.cells.iter().zip(self.weights).filter(|(_, weight)| **weight > 0.0) {
            touched.clear();
            for label in &cell.gold {
                touched.push((*label, self.ratio.parts(true, cell.predicted.contains(label))));
            }
            for label in cell.predicted.iter().filter(|label| !cell.gold.contains(label)) {
                touched.push((*label, self.ratio.parts(false, true)));
            }
            each(*weight, &touched);
        }
        let k = if with_pseudo { self.table.labels.len() } else { 0 };
        for gold in 0..k {
            each(self.pseudo, &[(gold, self.ratio.parts(true, true))]);
            for predicted in (0..k).filter(|label| k <= SPREAD && *label != gold) {
                let parts = [(gold, self.ratio.parts(true, false)), (predicted, self.ratio.parts(false, true))];
                each(self.pseudo, &parts);
            }
        }
    }

    /// Returns by how much a row of these parts moves a label's ratio.
    fn pull(&self, label: usize, [upper, lower]: [f64; 2]) -> f64 {
        let [all_upper, all_lower] = self.smooth[label];
        if all_lower > 0.0 { (upper - all_upper / all_lower * lower) / all_lower } else { 0.0 }
    }

    /// Returns the interval of the weighted mean of the labels' ratios; `shares` sum to 1, and a share of 0 leaves a label
    /// out. `of_weights` is the variance that the shares add, since they are those of the rows drawn.
    fn mean(&self, values: &[f64], shares: &[f64], of_weights: f64) -> Option<Interval> {
        let value: f64 = values.iter().zip(shares).filter(|(_, share)| **share > 0.0).map(|(v, share)| v * share).sum();
        if !value.is_finite() || shares.iter().all(|share| *share <= 0.0) {
            return None;
        }
        let mut squares = vec![0.0; values.len()];
        self.each(true, |weight, touched| {
            for (label, parts) in touched {
                squares[*label] += weight * self.pull(*label, *parts).powi(2);
            }
        });
        // How far each label reaches down and up, as multiples of its standard error.
        let mut reach = vec![[0.0; 2]; values.len()];
        let mut thin = [0.0; 2];
        for (label, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let (interval, rows) = self.ratio.interval(self.parts[label]);
            let ends = [share * (values[label] - interval.low), share * (interval.high - values[label])];
            let is_thin = if self.ratio == Ratio::F1 { rows <= THIN } else { rows <= 0.0 };
            let error = squares[label].sqrt();
            for side in 0..2 {
                match is_thin || error <= 0.0 {
                    true => thin[side] += ends[side].max(0.0),
                    false => reach[label][side] = ends[side].max(0.0) / error,
                }
            }
        }
        let mut sums = [of_weights; 2];
        self.each(true, |weight, touched| {
            for (side, sum) in sums.iter_mut().enumerate() {
                let pull: f64 =
                    touched.iter().map(|(label, parts)| reach[*label][side] * self.pull(*label, *parts)).sum();
                *sum += weight * pull * pull;
            }
        });
        Some(Interval {
            low: (value - thin[0] - sums[0].sqrt()).max(0.0),
            high: (value + thin[1] + sums[1].sqrt()).min(1.0),
        })
    }

    /// Returns the interval of the ratio over all labels together.
    fn pooled(&self) -> Option<Interval> {
        let add = |all: [f64; 2], part: &[f64; 2]| [all[0] + part[0], all[1] + part[1]];
        let all = self.parts.iter().fold([0.0; 2], add);
        if all[1] <= 0.0 {
            return None;
        }
        if !self.table.is_multilabel {
            return Some(self.ratio.interval(all).0);
        }
        // The labels of a row are not independent of each other: the rows are.
        let mut sums = MeanSums::default();
        let share = all[0] / all[1];
        self.each(false, |weight, touched| {
            let row = touched.iter().map(|(_, part)| part).fold([0.0; 2], add);
            sums.add_many(row[0] - share * row[1], weight);
        });
        let spread = sums.interval(&Known::default());
        let (plain, _) = self.ratio.interval(all);
        let rows = self.weights.iter().sum::<f64>() / all[1];
        let of_rows =
            spread.map_or(plain, |found| Interval { low: share + found.low * rows, high: share + found.high * rows });
        Some(Interval { low: plain.low.min(of_rows.low).max(0.0), high: plain.high.max(of_rows.high).min(1.0) })
    }
}

impl Table<'_> {
    /// Returns the intervals of a report of this table. `rows` is how many independent rows all weights together are
    /// worth; `accuracy` is the interval of the accuracy, which other numbers share where they are the same.
    pub(super) fn intervals(&self, report: &Report, rows: f64, accuracy: Option<Interval>) -> Intervals {
        let total: f64 = self.weights.iter().sum();
        let weights: Vec<f64> = self.weights.iter().map(|weight| weight * rows / total).collect();
        let scores: Vec<LabelScores> = report.labels.iter().map(|(_, scores)| *scores).collect();
        let support: f64 = scores.iter().map(|scores| scores.support).sum();
        let mut found = Intervals { mcc: self.mcc_interval(&weights, report.mcc), ..Intervals::default() };
        found.labels = vec![[None; 3]; scores.len()];
        // Each row has one gold label of those asked for, so that recall over all of them is the accuracy.
        let is_whole = !self.is_multilabel && (support - total).abs() <= 1e-9 * total;
        let t = student_quantile(0.975, (rows - 1.0).max(1.0));
        for (index, ratio) in RATIOS.into_iter().enumerate() {
            let labels = Labels::new(ratio, self, &weights);
            let values: Vec<f64> = scores.iter().map(|scores| ratio.of(scores)).collect();
            for (label, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                found.labels[label][index] = Some(holding(labels.ratio.interval(labels.parts[label]).0, *value));
            }
            let kept = values.iter().filter(|value| value.is_finite()).count().max(1) as f64;
            let equal: Vec<f64> = values.iter().map(|v| if v.is_finite() { 1.0 / kept } else { 0.0 }).collect();
            found.macro_avg[index] = labels.mean(&values, &equal, 0.0);
            if ratio == Ratio::Recall {
                let had = scores.iter().filter(|scores| scores.support > 0.0).count().max(1) as f64;
                let of_gold: Vec<f64> = scores.iter().map(|s| if s.support > 0.0 { 1.0 / had } else { 0.0 }).collect();
                found.balanced_accuracy = labels.mean(&values, &of_gold, 0.0).filter(|_| !self.is_multilabel);
            }
            let kept: f64 = values.iter().zip(&scores).filter(|(v, _)| v.is_finite()).map(|(_, s)| s.support).sum();
            let shares: Vec<f64> = values
                .iter()
                .zip(&scores)
                .map(|(v, s)| if v.is_finite() && kept > 0.0 { s.support / kept } else { 0.0 })
                .collect();
            let moment = |power: i32| {
                let kept = values.iter().zip(&shares).filter(|(_, share)| **share > 0.0);
                kept.map(|(value, share)| share * value.powi(power)).sum::<f64>()
            };
            let of_weights = t * t * (moment(2) - moment(1).powi(2)).max(0.0) / rows;
            found.weighted_avg[index] = labels.mean(&values, &shares, of_weights);
            found.micro_avg[index] = labels.pooled();
            let predicted: f64 =
                self.cells.iter().zip(&self.weights).map(|(cell, weight)| weight * cell.predicted.len() as f64).sum();
            // Precision, recall and F1 over all labels are the accuracy, put on another scale.
            let scale = match ratio {
                Ratio::F1 => 2.0 * total / (total + predicted),
                Ratio::Precision => total / predicted,
                Ratio::Recall => 1.0,
            };
            if is_whole && let Some(accuracy) = accuracy.filter(|_| scale.is_finite()) {
                let scaled = Interval { low: scale * accuracy.low, high: (scale * accuracy.high).min(1.0) };
                found.micro_avg[index] = Some(scaled);
                if ratio == Ratio::Recall {
                    found.weighted_avg[index] = Some(scaled);
                }
            }
        }
        found.samples_avg = self.samples_intervals(&weights);
        found
    }

    /// Returns the intervals of the averages over rows, for rows with sets of labels.
    fn samples_intervals(&self, weights: &[f64]) -> [Option<Interval>; 3] {
        if !self.is_multilabel {
            return [None; 3];
        }
        let known = Known { range: Some((0.0, 1.0)), ..Known::default() };
        RATIOS.map(|ratio| {
            let mut sums = MeanSums::default();
            let mut is_all_or_nothing = true;
            for (cell, weight) in self.cells.iter().zip(weights) {
                let both = cell.gold.iter().filter(|label| cell.predicted.contains(label)).count() as f64;
                let (gold, predicted) = (cell.gold.len() as f64, cell.predicted.len() as f64);
                let value = ratio.of(&super::scores(both, predicted, gold, 0.0));
                is_all_or_nothing &= value == 0.0 || value == 1.0;
                sums.add_many(value, *weight);
            }
            sums.interval(&Known { is_all_or_nothing, ..known })
        })
    }

    /// Returns the interval of Matthews' coefficient.
    fn mcc_interval(&self, weights: &[f64], value: f64) -> Option<Interval> {
        let k = self.names + 1;
        let index = |label: u32| (label as usize).min(self.names);
        let singles: Option<Vec<(usize, usize)>> =
            self.cells.iter().map(|cell| cell.single.map(|(gold, said)| (index(gold), index(said)))).collect();
        let mut cells: Vec<((usize, usize), f64)> = singles?.into_iter().zip(weights.iter().copied()).collect();
        let labels = self.names;
        let anything = Some(Interval { low: -1.0, high: 1.0 });
        if labels < 2 {
            return anything;
        }
        let pseudo = 2.0 / if labels <= SPREAD { (labels * labels) as f64 } else { labels as f64 };
        for gold in 0..labels {
            let others = if labels <= SPREAD { 0..labels } else { gold..gold + 1 };
            cells.extend(others.map(|said| ((gold, said), pseudo)));
        }
        let (mut golds, mut said, mut hits, mut n) = (vec![0.0; k], vec![0.0; k], 0.0, 0.0);
        for ((gold, predicted), weight) in &cells {
            golds[*gold] += weight;
            said[*predicted] += weight;
            n += weight;
            hits += if gold == predicted { *weight } else { 0.0 };
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let covariance = hits * n - dot(&golds, &said);
        let (of_said, of_gold) = (n * n - dot(&said, &said), n * n - dot(&golds, &golds));
        let root = (of_said * of_gold).sqrt();
        if root <= 0.0 {
            return anything;
        }
        let mcc = covariance / root;
        let pull = |(gold, predicted): (usize, usize)| {
            let hit = if gold == predicted { n } else { 0.0 };
            let slope = hit + hits - said[gold] - golds[predicted];
            slope / root - mcc * ((n - said[predicted]) / of_said + (n - golds[gold]) / of_gold)
        };
        let variance: f64 = cells.iter().map(|(cell, weight)| weight * pull(*cell).powi(2)).sum();
        let half = student_quantile(0.975, n - 1.0) * variance.sqrt() / (1.0 - mcc * mcc).max(1e-12);
        // Pseudo-rows pull towards 0, which few rows with many labels do not make up for.
        let put = |mcc: f64| mcc.clamp(-1.0 + 1e-12, 1.0 - 1e-12).atanh();
        let (low, high) = (put(mcc.min(value)) - half, put(mcc.max(value)) + half);
        Some(holding(Interval { low: low.tanh(), high: high.tanh() }, value))
    }
}

/// Returns an interval widened so that it holds a value.
fn holding(interval: Interval, value: f64) -> Interval {
    Interval { low: interval.low.min(value), high: interval.high.max(value) }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::super::Confusion;
    use super::*;
    use crate::stats::interval::below;

    /// A world of labels: how common each is, how often it is found, and as what else it is taken (the next one).
    struct World {
        common: &'static [f64],
        found: &'static [f64],
    }

    impl World {
        fn labels(&self) -> Vec<String> {
            (0..self.common.len()).map(|label| label.to_string()).collect()
        }

        /// Returns the table of all rows that there could be, each cell with its share times `rows`.
        fn truth(&self, rows: f64) -> Confusion {
            let labels = self.labels();
            let mut confusion = Confusion::default();
            for (gold, (common, found)) in self.common.iter().zip(self.found).enumerate() {
                confusion.add(&labels[gold], Some(&labels[gold]), rows * common * found);
                let other = &labels[(gold + 1) % labels.len()];
                confusion.add(&labels[gold], Some(other), rows * common * (1.0 - found));
            }
            confusion
        }

        fn draw(&self, n: usize, unit: &mut impl FnMut() -> f64) -> Confusion {
            let labels = self.labels();
            let mut confusion = Confusion::default();
            for _ in 0..n {
                let mut left = unit();
                let gold = self.common.iter().position(|common| {
                    left -= common;
                    left < 0.0
                });
                let gold = gold.unwrap_or(labels.len() - 1);
                let said = if unit() < self.found[gold] { gold } else { (gold + 1) % labels.len() };
                confusion.add(&labels[gold], Some(&labels[said]), 1.0);
            }
            confusion
        }
    }

    /// The numbers whose intervals are looked at, by name.
    fn picked(report: &Report, found: &Intervals) -> Vec<(&'static str, f64, Option<Interval>)> {
        vec![
            ("balanced accuracy", report.balanced_accuracy, found.balanced_accuracy),
            ("mcc", report.mcc, found.mcc),
            ("macro F1", report.macro_avg.f1, found.macro_avg[0]),
            ("macro precision", report.macro_avg.precision, found.macro_avg[1]),
            ("macro recall", report.macro_avg.recall, found.macro_avg[2]),
            ("weighted F1", report.weighted_avg.f1, found.weighted_avg[0]),
            ("F1 of the last", report.labels[report.labels.len() - 1].1.f1, found.labels[report.labels.len() - 1][0]),
        ]
    }

    #[test]
    fn rare_labels_are_covered() {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        let mut unit = move || below(&mut random, 1 << 30) as f64 / f64::from(1 << 30);
        let worlds = [
            World { common: &[0.8, 0.15, 0.05], found: &[0.9, 0.7, 0.6] },
            World { common: &[0.97, 0.03], found: &[0.97, 0.6] },
            World { common: &[0.5, 0.5], found: &[0.85, 0.85] },
            World { common: &[0.4, 0.3, 0.2, 0.1], found: &[0.95, 0.95, 0.9, 0.9] },
        ];
        for world in &worlds {
            let labels = world.labels();
            let truth = world.truth(1.0);
            let report = truth.report(&labels, 0.0).unwrap();
            let truths = picked(&report, &Intervals { labels: vec![[None; 3]; labels.len()], ..Intervals::default() });
            for n in [5, 20, 50] {
                let mut held = vec![0; truths.len()];
                let trials = 100;
                for _ in 0..trials {
                    let drawn = world.draw(n, &mut unit);
                    let report = drawn.report(&labels, 0.0).unwrap();
                    let found = drawn.intervals(&labels, 0.0, n as f64, None).unwrap();
                    for (index, (name, value, interval)) in picked(&report, &found).into_iter().enumerate() {
                        let Some(interval) = interval else { continue };
                        assert!(interval.low <= value && value <= interval.high, "{name}: {value} {interval:?}");
                        held[index] += u32::from(interval.low <= truths[index].1 && truths[index].1 <= interval.high);
                    }
                }
                for ((name, ..), held) in truths.iter().zip(held) {
                    // The balanced accuracy of drawn rows leaves out labels that were not drawn.
                    let is_known = *name != "balanced accuracy";
                    let share = f64::from(held) / f64::from(trials);
                    assert!(!is_known || share >= 0.91, "{:?}, {n} rows, {name}: {share}", world.common);
                }
            }
        }
    }

    #[test]
    fn a_label_that_nobody_has_is_anything() {
        let mut confusion = Confusion::default();
        confusion.add("a", Some("a"), 20.0);
        let labels = ["a", "b"].map(str::to_owned);
        let found = confusion.intervals(&labels, 0.0, 20.0, None).unwrap();
        assert_eq!(found.labels[1][0], Some(Interval { low: 0.0, high: 1.0 }));
        let of_macro = found.macro_avg[0].unwrap();
        assert!(of_macro.low < 0.5 && of_macro.high == 1.0, "{of_macro:?}");
    }
}
