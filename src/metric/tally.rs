//! Tallies of the common kinds: shares and means, spreads, sums over a corpus, several at once.

use std::collections::HashMap;

use serde_json::Value;

use super::{RowScores, Tally, TallySummary};
use crate::score::Estimate;
use crate::stats::{
    Interval, Z95, bootstrap_mean, clustered_mean, estimate, normal_mean, quantile, quantile_interval, resampled_sums,
    sums_interval, wilson,
};

/// Rows from which only sums are kept.
const KEPT: usize = 1_000;

/// What the interval of a mean is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Wilson's: every value is 0 to 1, and mostly either.
    Share,
    /// Percentile bootstrap below 1,000 rows, normal from there; where all values agree, Wilson's of
    /// the rescaled mean, which no spread within the range can exceed.
    Within(f64, f64),
    /// As before, of values without a range.
    Free,
}

/// A mean over rows, or over clusters of rows where these are told. Holds at most 1,000 values.
#[derive(Clone, Debug)]
pub struct MeanTally {
    seed: u64,
    kind: Kind,
    values: Vec<f64>,
    n: u64,
    missing: u64,
    sum: f64,
    /// Welford's running mean and sum of squares around it.
    mean: f64,
    squares: f64,
    clusters: HashMap<u64, usize>,
    /// Sum and count of each cluster.
    sums: Vec<f64>,
}

impl MeanTally {
    /// Values without a range.
    pub fn new(seed: u64) -> MeanTally {
        MeanTally::of(seed, Kind::Free)
    }

    /// Shares: Wilson's interval.
    pub fn share(seed: u64) -> MeanTally {
        MeanTally::of(seed, Kind::Share)
    }

    /// Values within a range: their interval always has width.
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

    /// Adds a row's value; none: it is missing.
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

    /// Returns how many rows, or clusters of them, are independent of each other.
    pub fn independent(&self) -> u64 {
        if self.clusters.is_empty() { self.n } else { self.clusters.len() as u64 }
    }

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
        // Counts add up without error, so a share is what division makes of them.
        let mean = if self.kind == Kind::Share { self.sum / self.n as f64 } else { self.mean };
        estimate((self.n > 0).then_some(mean), interval, self.n, self.missing)
    }

    /// Gives an interval without width that of Wilson.
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

/// How values are spread: their mean over rows, then `p50` and `p95` with distribution-free intervals.
pub struct SpreadTally {
    mean: MeanTally,
    values: Vec<f64>,
}

impl SpreadTally {
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

/// Units of resampling that are kept apart; beyond, rows are put together in turn.
const UNITS: usize = 1_000;
/// Resamples of a corpus, as many as sacreBLEU takes.
const RESAMPLES: usize = 1_000;

/// Makes a number of the sums over a corpus; none where it is undefined.
type Statistic = Box<dyn Fn(&[f64]) -> Option<f64> + Send + Sync>;

/// Numbers made of sums over the whole corpus, with a bootstrap of its rows: corpus BLEU and such.
pub struct SumsTally {
    seed: u64,
    /// Sums of each unit, one unit after the other.
    units: Vec<f64>,
    /// Units by cluster.
    clusters: HashMap<u64, usize>,
    width: usize,
    n: u64,
    missing: u64,
    statistics: Vec<(&'static str, Statistic)>,
}

impl SumsTally {
    /// `width` is how many numbers a score lists; each part is made of their sums.
    pub fn new(seed: u64, width: usize, statistics: Vec<(&'static str, Statistic)>) -> SumsTally {
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
        // One row says nothing about how rows differ.
        let has_several = self.units.len() > self.width;
        let resampled =
            if has_several { resampled_sums(&self.units, self.width, RESAMPLES, self.seed) } else { Vec::new() };
        for (part, statistic) in &self.statistics {
            let interval = sums_interval(&resampled, self.width, statistic);
            let estimate = estimate(if self.n > 0 { statistic(&sums) } else { None }, interval, self.n, self.missing);
            summary.parts.push(((*part).to_owned(), estimate));
        }
    }
}

/// Tallies side by side, each of one field of a score.
pub struct PartsTally {
    parts: Vec<(&'static str, &'static str, Box<dyn Tally>)>,
}

impl PartsTally {
    /// By part: its name, the field of the score that it sums up (the empty one: the score itself), and
    /// what sums it up.
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
