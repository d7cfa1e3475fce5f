//! The common tallies: shares and means, spreads, sums over a corpus, several tallies at once.

use std::collections::HashMap;

use serde_json::Value;

use super::{RowScores, Tally, TallySummary};
use crate::score::Estimate;
use crate::stats::{Interval, Known, MeanSums, estimate, quantile, quantile_interval, resampled_sums, sums_interval};

/// The mean over rows, or over clusters of rows where rows have one; with weights where rows have one. It holds sums only.
#[derive(Clone, Debug, Default)]
pub struct MeanTally {
    range: Option<(f64, f64)>,
    n: u64,
    missing: u64,
    sum: f64,
    weight: f64,
    /// Welford's running mean.
    mean: f64,
    /// The sums of rows, or at the end of clusters.
    rows: MeanSums,
    /// How many values lie between the ends of the range.
    between: u64,
    clusters: HashMap<u64, (f64, f64)>,
}

impl MeanTally {
    /// Returns a tally of values without a range.
    pub fn new() -> MeanTally {
        MeanTally::default()
    }

    /// Returns a tally of a share: values from 0 to 1.
    pub fn share() -> MeanTally {
        MeanTally::within(0.0, 1.0)
    }

    /// Returns a tally of values within a range; its interval always has a width.
    pub fn within(low: f64, high: f64) -> MeanTally {
        MeanTally { range: Some((low, high)), ..MeanTally::default() }
    }

    /// Adds the value of a row; none if it is missing.
    pub fn add_value(&mut self, value: Option<f64>) {
        self.add_clustered(value, None);
    }

    /// Adds the value of a row that belongs to a cluster.
    pub fn add_clustered(&mut self, value: Option<f64>, cluster: Option<u64>) {
        match value {
            Some(value) => self.add_weighted(value, 1.0, cluster),
            None => self.missing += 1,
        }
    }

    /// Adds the value of a row with a weight; only the ratios of weights count.
    pub fn add_weighted(&mut self, value: f64, weight: f64, cluster: Option<u64>) {
        self.n += 1;
        self.sum += weight * value;
        self.weight += weight;
        if self.weight > 0.0 {
            self.mean += (value - self.mean) * weight / self.weight;
        }
        self.between += u64::from(self.range.is_none_or(|(low, high)| value != low && value != high));
        match cluster {
            _ if weight <= 0.0 => {}
            Some(cluster) => {
                let unit = self.clusters.entry(cluster).or_default();
                unit.0 += weight * value;
                unit.1 += weight;
            }
            None => self.rows.add(weight * value, weight),
        }
    }

    /// Returns how many rows have a value.
    pub fn rows(&self) -> u64 {
        self.n
    }

    /// Returns how many independent observations there are: rows, or clusters of rows.
    pub fn independent(&self) -> u64 {
        if self.clusters.is_empty() { self.n } else { self.clusters.len() as u64 }
    }

    /// Returns the interval of the mean.
    pub fn interval(&self) -> Option<Interval> {
        let known =
            Known { range: self.range, is_all_or_nothing: self.between == 0, is_clustered: !self.clusters.is_empty() };
        let mut sums = self.rows;
        // Sorted, so that the order of the clusters rounds nothing differently.
        let mut clusters: Vec<(f64, f64)> = self.clusters.values().copied().collect();
        clusters.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        clusters.into_iter().for_each(|(sum, size)| sums.add(sum, size));
        sums.interval(&known)
    }

    /// Returns the mean with its interval.
    pub fn estimate(&self) -> Estimate {
        // A share is computed by one division of exact counts, so that it has no rounding error of a running mean.
        let mean = if self.range == Some((0.0, 1.0)) { self.sum / self.weight } else { self.mean };
        let value = (self.n > 0 && self.weight > 0.0).then_some(mean);
        estimate(value, value.and_then(|_| self.interval()), self.n, self.missing)
    }
}

impl Tally for MeanTally {
    fn add(&mut self, row: &RowScores<'_>) {
        self.add_clustered(row.mean(), row.cluster);
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        summary.parts.push((String::new(), self.estimate()));
    }
}

/// How values are spread: their mean over rows, and `p50` and `p95` with distribution-free intervals.
#[derive(Default)]
pub struct SpreadTally {
    mean: MeanTally,
    values: Vec<f64>,
}

impl SpreadTally {
    /// Returns an empty tally.
    pub fn new() -> SpreadTally {
        SpreadTally::default()
    }
}

impl Tally for SpreadTally {
    fn add(&mut self, row: &RowScores<'_>) {
        self.mean.add(row);
        self.values.extend(row.scores.iter().flatten().filter_map(|score| score.as_f64()));
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let mean = self.mean.estimate();
        summary.parts.push((String::new(), mean));
        self.values.sort_unstable_by(f64::total_cmp);
        for (name, q) in [("p50", 0.5), ("p95", 0.95)] {
            let interval = quantile_interval(&self.values, q, self.mean.independent());
            let value = (!self.values.is_empty()).then(|| quantile(&self.values, q));
            summary.parts.push((name.to_owned(), estimate(value, interval, mean.n, mean.missing)));
        }
    }
}

/// How many units of resampling are kept; further rows are added to these units in turn.
const UNITS: usize = 1_000;
/// How many resamples of a corpus are drawn, as in sacreBLEU.
const RESAMPLES: usize = 1_000;

/// Computes a number from sums over a corpus; none where it is undefined.
type Statistic = Box<dyn Fn(&[f64]) -> Option<f64> + Send + Sync>;

/// Numbers that are computed from sums over the whole corpus, such as corpus BLEU, with intervals from resampled rows.
pub struct SumsTally {
    seed: u64,
    /// The sums of each unit, one unit after the other.
    units: Vec<f64>,
    /// The unit of each cluster.
    clusters: HashMap<u64, usize>,
    width: usize,
    n: u64,
    missing: u64,
    statistics: Vec<(String, Statistic)>,
}

impl SumsTally {
    /// Returns an empty tally. `width` is how many numbers a score lists; each statistic computes a part from their
    /// sums.
    pub fn new(seed: u64, width: usize, statistics: Vec<(&'static str, Statistic)>) -> SumsTally {
        let named = statistics.into_iter().map(|(part, statistic)| (part.to_owned(), statistic));
        SumsTally::named(seed, width, named.collect())
    }

    /// Returns an empty tally whose parts have names of the user's own.
    pub fn named(seed: u64, width: usize, statistics: Vec<(String, Statistic)>) -> SumsTally {
        SumsTally { seed, units: Vec::new(), clusters: HashMap::new(), width, n: 0, missing: 0, statistics }
    }

    fn sums(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for unit in self.units.chunks_exact(self.width) {
            sums.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
        }
        sums
    }
}

impl Tally for SumsTally {
    fn add(&mut self, row: &RowScores<'_>) {
        let scores: Vec<Vec<f64>> = row
            .scores
            .iter()
            .flatten()
            .filter_map(|score| Some(score.as_array()?.iter().filter_map(Value::as_f64).collect()))
            .filter(|values: &Vec<f64>| values.len() == self.width)
            .collect();
        if scores.is_empty() {
            self.missing += 1;
            return;
        }
        let next = self.units.len() / self.width;
        let unit = match row.cluster {
            Some(cluster) => *self.clusters.entry(cluster).or_insert(next),
            None if next < UNITS => next,
            None => self.n as usize % UNITS,
        };
        self.n += 1;
        if unit == next {
            self.units.resize(self.units.len() + self.width, 0.0);
        }
        for values in &scores {
            for (sum, value) in self.units[unit * self.width..].iter_mut().zip(values) {
                *sum += value / scores.len() as f64;
            }
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        let sums = self.sums();
        // A single row says nothing about how rows differ.
        let has_several = self.units.len() > self.width;
        let resampled =
            if has_several { resampled_sums(&self.units, self.width, RESAMPLES, self.seed) } else { Vec::new() };
        for (part, statistic) in &self.statistics {
            let interval = sums_interval(&resampled, self.width, self.units.len() / self.width, statistic);
            let estimate = estimate(if self.n > 0 { statistic(&sums) } else { None }, interval, self.n, self.missing);
            summary.parts.push((part.clone(), estimate));
        }
    }
}

/// Several tallies, each over one field of a score.
pub struct PartsTally {
    parts: Vec<(&'static str, &'static str, Box<dyn Tally>)>,
}

impl PartsTally {
    /// Returns the tallies together. Each part has its name, the field of the score that it sums up (the empty one: the
    /// score itself), and its tally.
    pub fn new(parts: Vec<(&'static str, &'static str, Box<dyn Tally>)>) -> PartsTally {
        PartsTally { parts }
    }
}

impl Tally for PartsTally {
    fn add(&mut self, row: &RowScores<'_>) {
        for (_, field, tally) in &mut self.parts {
            if field.is_empty() {
                tally.add(row);
            } else {
                tally.add(&RowScores { scores: &row.field(field), ..*row });
            }
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        for (name, _, tally) in &mut self.parts {
            let mut own = TallySummary::default();
            tally.finish(&mut own);
            let full = |part: &str| match (name.is_empty(), part.is_empty()) {
                (true, _) => part.to_owned(),
                (_, true) => (*name).to_owned(),
                _ => format!("{name}.{part}"),
            };
            summary.parts.extend(own.parts.into_iter().map(|(part, estimate)| (full(&part), estimate)));
            summary.tables.extend(own.tables.into_iter().map(|(part, table)| (full(&part), table)));
            summary.notes.extend(own.notes);
        }
    }
}
