//! The common tallies: shares and means, spreads, sums over a corpus, several tallies at once.

use std::collections::HashMap;

use serde_json::Value;

use super::{RowScores, Tally, TallySummary};
use crate::score::Estimate;
use crate::stats::{
    Interval, Z95, bootstrap_mean, clustered_mean, estimate, normal_mean, quantile, quantile_interval, resampled_sums,
    sums_interval, wilson,
};

/// From so many rows on, only sums are kept, not single values.
const KEPT: usize = 1_000;

/// Which interval a mean gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Wilson's interval: every value lies in 0 to 1, and most are 0 or 1.
    Share,
    /// For values within a range: percentile bootstrap below 1,000 rows, normal from there. If all values are equal,
    /// Wilson's interval of the mean scaled to 0 to 1, since no spread within the range can exceed it.
    Within(f64, f64),
    /// For values without a range: as before, without the last rule.
    Free,
}

/// The mean over rows, or over clusters of rows where rows have one. It holds at most 1,000 values.
#[derive(Clone, Debug)]
pub struct MeanTally {
    seed: u64,
    kind: Kind,
    values: Vec<f64>,
    n: u64,
    missing: u64,
    sum: f64,
    /// Welford's running mean, and the sum of squared differences from it.
    mean: f64,
    squares: f64,
    clusters: HashMap<u64, usize>,
    /// For each cluster: the sum of its values, and their count.
    sums: Vec<f64>,
}

impl MeanTally {
    /// Returns a tally of values without a range.
    pub fn new(seed: u64) -> MeanTally {
        MeanTally::of(seed, Kind::Free)
    }

    /// Returns a tally of a share, with Wilson's interval.
    pub fn share(seed: u64) -> MeanTally {
        MeanTally::of(seed, Kind::Share)
    }

    /// Returns a tally of values within a range; its interval always has a width.
    pub fn within(seed: u64, low: f64, high: f64) -> MeanTally {
        MeanTally::of(seed, Kind::Within(low, high))
    }

    fn of(seed: u64, kind: Kind) -> MeanTally {
        MeanTally {
            seed,
            kind,
            values: Vec::new(),
            n: 0,
            missing: 0,
            sum: 0.0,
            mean: 0.0,
            squares: 0.0,
            clusters: HashMap::new(),
            sums: Vec::new(),
        }
    }

    /// Adds the value of a row; none if it is missing.
    pub fn add_value(&mut self, value: Option<f64>) {
        self.add_clustered(value, None);
    }

    /// Adds the value of a row that belongs to a cluster.
    pub fn add_clustered(&mut self, value: Option<f64>, cluster: Option<u64>) {
        let Some(value) = value else {
            self.missing += 1;
            return;
        };
        self.n += 1;
        self.sum += value;
        let delta = value - self.mean;
        self.mean += delta / self.n as f64;
        self.squares += delta * (value - self.mean);
        if let Some(cluster) = cluster {
            let next = self.clusters.len();
            let place = *self.clusters.entry(cluster).or_insert(next);
            if place == next {
                self.sums.extend([0.0, 0.0]);
            }
            self.sums[2 * place] += value;
            self.sums[2 * place + 1] += 1.0;
        } else if self.kind != Kind::Share && self.values.len() < KEPT {
            self.values.push(value);
        }
    }

    /// Returns how many independent observations there are: rows, or clusters of rows.
    pub fn independent(&self) -> u64 {
        if self.clusters.is_empty() { self.n } else { self.clusters.len() as u64 }
    }

    /// Returns the mean with its interval.
    pub fn estimate(&self) -> Estimate {
        let interval = match self.kind {
            _ if !self.clusters.is_empty() => clustered_mean(&self.sums, self.seed),
            Kind::Share => None,
            _ if self.n < KEPT as u64 => bootstrap_mean(&self.values, self.seed),
            _ => normal_mean(self.mean, self.squares, self.n),
        };
        let estimate = self.with(interval);
        match self.kind {
            Kind::Free => estimate,
            Kind::Share => self.widened(estimate, (0.0, 1.0)),
            Kind::Within(low, high) => self.widened(estimate, (low, high)),
        }
    }

    /// Returns the estimate of values that lie within a range.
    pub fn estimate_within(&self, range: (f64, f64)) -> Estimate {
        self.widened(self.estimate(), range)
    }

    fn with(&self, interval: Option<Interval>) -> Estimate {
        // A share is computed by one division of exact counts, so that it has no rounding error of a running mean.
        let mean = if self.kind == Kind::Share { self.sum / self.n as f64 } else { self.mean };
        estimate((self.n > 0).then_some(mean), interval, self.n, self.missing)
    }

    /// Gives Wilson's interval to an estimate whose own interval has no width.
    fn widened(&self, estimate: Estimate, (low, high): (f64, f64)) -> Estimate {
        let has_width = matches!((estimate.low, estimate.high), (Some(low), Some(high)) if high > low);
        let Some(mean) = estimate.value.filter(|_| !has_width) else {
            return estimate;
        };
        let (span, n) = (high - low, self.independent() as f64);
        let interval = wilson((mean - low) / span * n, n, Z95);
        Estimate {
            low: interval.map(|interval| low + span * interval.low),
            high: interval.map(|interval| low + span * interval.high),
            ..estimate
        }
    }
}

impl Default for MeanTally {
    fn default() -> MeanTally {
        MeanTally::new(0)
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
pub struct SpreadTally {
    mean: MeanTally,
    values: Vec<f64>,
}

impl SpreadTally {
    /// Returns an empty tally; `seed` is the seed of its bootstrap.
    pub fn new(seed: u64) -> SpreadTally {
        SpreadTally { mean: MeanTally::new(seed), values: Vec::new() }
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
            let estimate = Estimate {
                value: (!self.values.is_empty()).then(|| quantile(&self.values, q)),
                low: interval.map(|interval| interval.low),
                high: interval.map(|interval| interval.high),
                ..mean
            };
            summary.parts.push((name.to_owned(), estimate));
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
            let interval = sums_interval(&resampled, self.width, statistic);
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
