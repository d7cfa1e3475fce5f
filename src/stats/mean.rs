//! The interval of a mean that holds from five rows on: of rows, of rows with weights, and of clusters of rows.
//!
//! Values within a range. Most rows of a good model are at one end of the scale, so that few rows show how far it may
//! fall, and Student's interval is far too narrow: with 0.95 right of 20 it holds in 63 % of all cases, and a bootstrap is
//! no better. Two pseudo-rows, one at each end of the range, mend that. Where every value is at an end this is the
//! interval that Agresti and Coull (1998) recommend for shares and Bonett and Price (2012, doi:10.3102/1076998611411915)
//! for differences, with Student's quantile in place of the normal one. Values in between differ by less, and there the
//! pseudo-rows stand half way to the ends. From 5 to 1,000 rows at least 93 % of such intervals hold.
//!
//! Values without a range. Nothing bounds how far a value that was not yet seen may lie (Bahadur & Savage 1956), so no
//! interval holds for every distribution. Student's is widened by Hall's (1992, doi:10.1214/aos/1176348654), which follows
//! the skewness; and if few values are very skewed, the end towards the long tail is open.

use std::collections::BTreeMap;

use super::distribution::{student_p, student_quantile};
use super::interval::Interval;

/// Sums over independent units, from which the mean and its interval follow. A unit is a row or a cluster of rows: the
/// sum of its values and its size, which is the number of its rows or their weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanSums {
    units: f64,
    size: f64,
    size_squares: f64,
    size_cubes: f64,
    sum: f64,
    squares: f64,
    cubes: f64,
    sum_size: f64,
    sum_size_squares: f64,
    squares_size: f64,
}

/// What is known of values beside themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The least and the greatest value that there can be; none if there are no bounds.
    pub range: Option<(f64, f64)>,
    /// Every value is at an end of the range, as 0 and 1 are.
    pub is_all_or_nothing: bool,
    /// The units are clusters of rows.
    pub is_clustered: bool,
}

impl MeanSums {
    /// Adds a unit.
    pub fn add(&mut self, sum: f64, size: f64) {
        self.units += 1.0;
        self.size += size;
        self.size_squares += size * size;
        self.size_cubes += size * size * size;
        self.sum += sum;
        self.squares += sum * sum;
        self.cubes += sum * sum * sum;
        self.sum_size += sum * size;
        self.sum_size_squares += sum * size * size;
        self.squares_size += sum * sum * size;
    }

    /// Adds so many rows of one value; the number may be fractional.
    pub fn add_many(&mut self, value: f64, count: f64) {
        self.units += count;
        self.size += count;
        self.size_squares += count;
        self.size_cubes += count;
        self.sum += value * count;
        self.squares += value * value * count;
        self.cubes += value * value * value * count;
        self.sum_size += value * count;
        self.sum_size_squares += value * count;
        self.squares_size += value * value * count;
    }

    /// Returns how many independent units of equal size would say as much (Kish 1965).
    pub fn effective(&self) -> f64 {
        if self.size_squares > 0.0 { self.size * self.size / self.size_squares } else { 0.0 }
    }

    fn mean(&self) -> f64 {
        self.sum / self.size
    }

    /// Returns the standard error of the mean (linearised, Cameron & Miller 2015); `count` is the number of units.
    fn error(&self, count: f64) -> f64 {
        let mean = self.mean();
        let squares = self.squares - 2.0 * mean * self.sum_size + mean * mean * self.size_squares;
        (squares.max(0.0) * count / (count - 1.0)).sqrt() / self.size
    }

    /// Returns the skewness of the units' differences from the mean; 0 if they do not differ.
    fn skewness(&self) -> f64 {
        let m = self.mean();
        let squares = self.squares - 2.0 * m * self.sum_size + m * m * self.size_squares;
        let cubes = self.cubes - 3.0 * m * self.squares_size + 3.0 * m * m * self.sum_size_squares
            - m * m * m * self.size_cubes;
        let spread = (squares / self.units).max(0.0).sqrt();
        if spread > 1e-9 * m.abs() { cubes / self.units / spread.powi(3) } else { 0.0 }
    }

    /// Returns the 95 % interval of the mean; an open end is infinite. None without units, for a single cluster, and
    /// without a range for fewer than two units or for units that do not differ.
    pub fn interval(&self, known: &Known) -> Option<Interval> {
        if self.units < 1.0 || self.size <= 0.0 || known.is_clustered && self.units < 2.0 {
            return None;
        }
        match known.range.filter(|(low, high)| low.is_finite() && high.is_finite()) {
            Some(range) => Some(self.within(range, known)),
            None => self.unbounded(),
        }
    }

    /// Returns the two-sided p of a mean of 0, by the same statistic as the interval, so that it is below 0.05 where the
    /// interval leaves 0 out. None where there is no interval, or an open one.
    pub fn p(&self, known: &Known) -> Option<f64> {
        let interval = self.interval(known).filter(|found| found.low.is_finite() && found.high.is_finite())?;
        let range = known.range.filter(|(low, high)| low.is_finite() && high.is_finite());
        let (sums, degrees) = match range {
            Some(range) => self.with_pseudo_units(range, known),
            None => (*self, self.effective() - 1.0),
        };
        let error = sums.error(sums.units);
        let t = if error > 0.0 { sums.mean() / error } else { f64::INFINITY };
        let p = student_p(t, degrees);
        // Hall's interval may be wider than Student's.
        let holds_zero = interval.low <= 0.0 && 0.0 <= interval.high;
        Some(if holds_zero { p.max(0.05) } else { p })
    }

    /// Returns the mean; none without units.
    pub fn value(&self) -> Option<f64> {
        (self.size > 0.0).then(|| self.mean())
    }

    /// Returns the standard error by which rows are planned: that of the units themselves, and where these are clusters,
    /// which may be few and cancel out, with the pseudo-units of the interval. None for fewer than two units.
    pub fn planning_error(&self, known: &Known) -> Option<f64> {
        let range = known.range.filter(|(low, high)| known.is_clustered && low.is_finite() && high.is_finite());
        let sums = range.map_or(*self, |range| self.with_pseudo_units(range, known).0);
        (self.units >= 2.0).then(|| sums.error(sums.units))
    }

    /// Adds a pseudo-unit at each end; returns the sums, and the degrees of freedom.
    fn with_pseudo_units(&self, (low, high): (f64, f64), known: &Known) -> (MeanSums, f64) {
        let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
        let reach = if known.is_all_or_nothing { half } else { half / 2.0 };
        // A pseudo-unit is as large as units are.
        let size = self.size / self.effective();
        let mut all = *self;
        for end in [middle - reach, middle + reach] {
            all.add(end * size, size);
        }
        (all, if known.is_clustered { self.units - 1.0 } else { all.effective() - 1.0 })
    }

    fn within(&self, (low, high): (f64, f64), known: &Known) -> Interval {
        let (all, degrees) = self.with_pseudo_units((low, high), known);
        let half = student_quantile(0.975, degrees) * all.error(all.units);
        let mean = all.mean();
        let own = self.mean();
        Interval { low: (mean - half).max(low).min(own), high: (mean + half).min(high).max(own) }
    }

    fn unbounded(&self) -> Option<Interval> {
        let units = self.effective();
        if self.units < 2.0 || units - 1.0 < 0.1 {
            return None;
        }
        let (mean, error, skewness) = (self.mean(), self.error(self.units), self.skewness());
        // A spread of rounding errors alone is none, and values that do not differ do not say how far others may.
        if error <= 1e-12 * mean.abs() {
            return None;
        }
        let t = student_quantile(0.975, units - 1.0);
        let skew = skewness / units.sqrt();
        let hall = |t: f64| match skew.abs() < 1e-6 {
            true => t,
            false => 3.0 / skew * ((1.0 + skew * (t - skew / 6.0)).cbrt() - 1.0),
        };
        let low = mean - error * t.max(hall(t));
        let high = mean - error * (-t).min(hall(-t));
        let too_skewed = match units {
            units if units < 10.0 => 0.8,
            units if units < 20.0 => 1.0,
            units if units < 50.0 => 2.0,
            _ => f64::INFINITY,
        };
        Some(Interval {
            low: if skewness < -too_skewed { f64::NEG_INFINITY } else { low },
            high: if skewness > too_skewed { f64::INFINITY } else { high },
        })
    }
}

/// Sums up values; `clusters` has the cluster of each, and is empty where they are independent.
pub fn mean_sums(values: &[f64], clusters: &[u64]) -> MeanSums {
    let mut sums = MeanSums::default();
    if clusters.is_empty() {
        values.iter().for_each(|value| sums.add(*value, 1.0));
        return sums;
    }
    let mut units: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for (value, cluster) in values.iter().zip(clusters) {
        let unit = units.entry(*cluster).or_default();
        unit.0 += value;
        unit.1 += 1.0;
    }
    units.values().for_each(|(sum, size)| sums.add(*sum, *size));
    sums
}

/// Returns the 95 % interval of a mean; `clusters` has the cluster of each value, and is empty where they are independent.
pub fn mean_interval(values: &[f64], clusters: &[u64], known: &Known) -> Option<Interval> {
    mean_sums(values, clusters).interval(&Known { is_clustered: !clusters.is_empty(), ..*known })
}

/// Returns the 95 % interval of a share of `n` independent rows that are each 0 or 1, as [`mean_interval`] returns it of
/// the rows. `successes` and `n` may be fractional. None for n = 0.
///
/// ```
/// let interval = etalon::stats::share_interval(86.0, 120.0).expect("there are rows");
/// assert_eq!(format!("{:.3} to {:.3}", interval.low, interval.high), "0.632 to 0.795");
/// ```
pub fn share_interval(successes: f64, n: f64) -> Option<Interval> {
    if n <= 0.0 {
        return None;
    }
    let p = (successes + 1.0) / (n + 2.0);
    let half = student_quantile(0.975, n + 1.0) * (p * (1.0 - p) / (n + 1.0)).sqrt();
    let own = successes / n;
    Some(Interval { low: (p - half).max(0.0).min(own), high: (p + half).min(1.0).max(own) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::interval::below;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    const DIFFERENCES: Known = Known { range: Some((-1.0, 1.0)), is_all_or_nothing: true, is_clustered: false };

    #[test]
    fn it_is_that_of_bonett_and_price() {
        // 20 fixed, none broken, of 200.
        let d: Vec<f64> = (0..200).map(|row| f64::from(u8::from(row < 20))).collect();
        let interval = mean_interval(&d, &[], &DIFFERENCES).unwrap();
        let p = 20.0 / 202.0;
        let sd = ((22.0 - 202.0 * p * p) / 201.0f64).sqrt();
        let half = student_quantile(0.975, 201.0) * sd / 202.0f64.sqrt();
        assert!((interval.low - (p - half)).abs() < 1e-12 && interval.low > 0.05, "{interval:?}");
        assert!(mean_interval(&[], &[], &DIFFERENCES).is_none());
        assert!(mean_interval(&[1.0], &[], &Known::default()).is_none());
        assert!(mean_interval(&[1.0, 0.0], &[1, 1], &DIFFERENCES).is_none());
    }

    #[test]
    fn a_share_is_a_mean_and_weights_have_no_scale() {
        let known = Known { range: Some((0.0, 1.0)), is_all_or_nothing: true, is_clustered: false };
        for (passed, n) in [(0, 5), (3, 5), (5, 5), (49, 50), (700, 1_000)] {
            let values: Vec<f64> = (0..n).map(|row| f64::from(u8::from(row < passed))).collect();
            let of_rows = mean_interval(&values, &[], &known).unwrap();
            let of_share = share_interval(f64::from(passed), f64::from(n)).unwrap();
            assert!((of_rows.low - of_share.low).abs() < 1e-12 && (of_rows.high - of_share.high).abs() < 1e-12);
            for weight in [0.1, 10.0] {
                let mut sums = MeanSums::default();
                values.iter().for_each(|value| sums.add(weight * value, weight));
                let weighted = sums.interval(&known).unwrap();
                assert!((of_rows.low - weighted.low).abs() < 1e-9 && (of_rows.high - weighted.high).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn without_a_range_an_end_may_be_open() {
        let known = Known::default();
        assert!(mean_interval(&[3.0; 9], &[], &known).is_none(), "values that do not differ say nothing of others");
        let even = mean_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], &[], &known).unwrap();
        assert!((even.low - (3.0 - 1.963_243_9)).abs() < 1e-6 && (even.high - 4.963_243_9).abs() < 1e-6, "{even:?}");
        let skewed = mean_interval(&[1.0, 1.1, 1.2, 1.0, 9.0], &[], &known).unwrap();
        assert!(skewed.low.is_finite() && skewed.high == f64::INFINITY, "{skewed:?}");
    }

    /// Draws data sets and returns how many of a thousand intervals hold.
    fn held(n: usize, truth: f64, known: &Known, size: usize, mut draw: impl FnMut() -> f64) -> u32 {
        let clusters: Vec<u64> =
            if size > 1 { (0..n as u64).map(|row| row / size as u64).collect() } else { Vec::new() };
        let mut held = 0;
        for _ in 0..1_000 {
            let values: Vec<f64> = (0..n).map(|_| draw()).collect();
            let known = Known { is_all_or_nothing: values.iter().all(|value| value.fract() == 0.0), ..*known };
            let Interval { low, high } = mean_interval(&values, &clusters, &known).unwrap();
            held += u32::from(low <= truth && truth <= high);
        }
        held
    }

    #[test]
    fn differences_are_covered() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut unit = move || below(&mut random, 1 << 30) as f64 / f64::from(1 << 30);
        // The share of rows that differ, of those the share that is better, and whether a difference is 0 or 1.
        for (differ, better, is_binary) in
            [(0.25, 0.8, true), (0.05, 1.0, true), (0.02, 0.5, true), (0.1, 0.8, false), (0.03, 1.0, false)]
        {
            let size = if is_binary { 1.0 } else { 0.5 };
            let truth = differ * (2.0 * better - 1.0) * size;
            for n in [5, 10, 20, 50, 200] {
                let held = held(n, truth, &DIFFERENCES, 1, || {
                    let sign = if unit() < better { 1.0 } else { -1.0 };
                    let size = if is_binary { 1.0 } else { unit() };
                    if unit() < differ { sign * size } else { 0.0 }
                });
                assert!(held >= 920, "{differ} {better} {is_binary} n={n}: {held}");
            }
        }
    }

    #[test]
    fn shares_and_rubrics_are_covered() {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let mut unit = move || below(&mut random, 1 << 30) as f64 / f64::from(1 << 30);
        let known = Known { range: Some((0.0, 1.0)), ..Known::default() };
        for n in [5, 10, 20, 50, 200] {
            for p in [0.5, 0.9, 0.98] {
                let held = held(n, p, &known, 1, || f64::from(u8::from(unit() < p)));
                assert!(held >= 920, "share {p} n={n}: {held}");
            }
            // A rubric near its ceiling: 4.67 of 5.
            let held = held(n, 0.92, &known, 1, || match unit() {
                u if u < 0.80 => 1.0,
                u if u < 0.93 => 0.75,
                u if u < 0.97 => 0.5,
                u if u < 0.98 => 0.25,
                _ => 0.0,
            });
            assert!(held >= 940, "rubric n={n}: {held}");
        }
    }
}
