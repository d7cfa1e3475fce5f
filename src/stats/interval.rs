//! Intervals: how far an estimate from n rows may lie from the truth by chance.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Z95;
use crate::score::Estimate;

/// A lower and an upper end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Returns an estimate from its value and interval.
pub fn estimate(value: Option<f64>, interval: Option<Interval>, n: u64, missing: u64) -> Estimate {
    Estimate {
        value,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        n,
        missing,
    }
}

/// Returns the Wilson score interval of a proportion (Wilson 1927; statsmodels
/// `proportion_confint(method="wilson")`).
///
/// `successes` may be fractional (ties count as halves); `z` is the normal quantile of the level. The interval has a
/// width even at 0 and at n. None for n = 0.
///
/// ```
/// use etalon::stats::{wilson, z_of};
///
/// let interval = wilson(86.0, 120.0, z_of(0.05)).expect("there are rows");
/// assert_eq!(format!("{:.3} to {:.3}", interval.low, interval.high), "0.630 to 0.790");
/// ```
pub fn wilson(successes: f64, n: f64, z: f64) -> Option<Interval> {
    if n <= 0.0 {
        return None;
    }
    let p = successes / n;
    let z2 = z * z;
    let denominator = 1.0 + z2 / n;
    let center = (p + z2 / (2.0 * n)) / denominator;
    let half = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / denominator;
    // The ends are set exactly if nothing or everything succeeded, since a rounding error must not decide a gate.
    let low = if successes <= 0.0 { 0.0 } else { (center - half).max(0.0) };
    let high = if successes >= n { 1.0 } else { (center + half).min(1.0) };
    Some(Interval { low, high })
}

/// Returns the normal 95 % interval of a mean; `squares` is the sum of squared differences of n values from `mean`.
pub fn normal_mean(mean: f64, squares: f64, n: u64) -> Option<Interval> {
    if n < 2 {
        return None;
    }
    let n = n as f64;
    let half = Z95 * (squares / (n - 1.0) / n).sqrt();
    Some(Interval { low: mean - half, high: mean + half })
}

/// How many resamples a percentile bootstrap takes.
pub const RESAMPLES: usize = 2_000;

/// Returns the percentile bootstrap 95 % interval of a mean (Efron 1979), [`RESAMPLES`] resamples.
///
/// None for fewer than two values, since one value says nothing about its spread.
pub fn bootstrap_mean(values: &[f64], seed: u64) -> Option<Interval> {
    if values.len() < 2 {
        return None;
    }
    Some(percentile_interval(&mut resampled_means(values, RESAMPLES, seed)))
}

/// How many resamples share a stream of random numbers.
const BLOCK: usize = 32;

/// Returns the means of resamples of at least one value, computed on all cores. The result depends on the seed, but not
/// on the number of cores.
///
/// A value is drawn with 32 random bits, so the probabilities of two values differ by at most n / 2³².
pub fn resampled_means(values: &[f64], resamples: usize, seed: u64) -> Vec<f64> {
    use rayon::prelude::*;

    let n = values.len();
    let mut means = vec![0.0; resamples];
    means.par_chunks_mut(BLOCK).enumerate().for_each(|(block, means)| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(block as u64);
        let mut bytes = [0; 1_024];
        let mut used = bytes.len();
        for mean in means {
            let mut sums = [0.0; 4];
            let mut left = n;
            while left > 0 {
                if used == bytes.len() {
                    random.fill_bytes(&mut bytes);
                    used = 0;
                }
                let count = left.min((bytes.len() - used) / 4);
                let mut draws = bytes[used..used + 4 * count].chunks_exact(4).map(|four| {
                    let draw = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
                    values[((u64::from(draw) * n as u64) >> 32) as usize]
                });
                for _ in 0..count / 4 {
                    for sum in &mut sums {
                        *sum += draws.next().unwrap_or_default();
                    }
                }
                sums[0] += draws.sum::<f64>();
                used += 4 * count;
                left -= count;
            }
            *mean = sums.iter().sum::<f64>() / n as f64;
        }
    });
    means
}

/// Returns the sums over resamples of units, one resample after the other, on all cores.
///
/// `units` holds `width` numbers for each unit, one unit after the other, and at least one unit.
pub fn resampled_sums(units: &[f64], width: usize, resamples: usize, seed: u64) -> Vec<f64> {
    use rayon::prelude::*;

    let n = units.len() / width;
    let mut all = vec![0.0; resamples * width];
    all.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, sums)| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(block as u64);
        for sums in sums.chunks_exact_mut(width) {
            for _ in 0..n {
                let start = below(&mut random, n) * width;
                sums.iter_mut().zip(&units[start..]).for_each(|(sum, value)| *sum += value);
            }
        }
    });
    all
}

/// Returns the percentile 95 % interval of a number that is computed from resampled sums. Resamples for which it is
/// undefined are left out; none if they are more than half.
pub fn sums_interval(sums: &[f64], width: usize, statistic: impl Fn(&[f64]) -> Option<f64>) -> Option<Interval> {
    let values = sums.chunks_exact(width).filter_map(statistic).filter(|value| value.is_finite());
    let mut found: Vec<f64> = values.collect();
    (found.len() > sums.len() / width / 2).then(|| percentile_interval(&mut found))
}

/// Returns the 95 % interval of a mean over rows in clusters, from the sum and the count of each cluster. Below 1,000
/// clusters it is a bootstrap of the clusters, from there on the normal interval with clustered errors (Miller 2024,
/// arXiv 2411.00640).
pub fn clustered_mean(sums: &[f64], seed: u64) -> Option<Interval> {
    let ratio = |sums: &[f64]| (sums[1] > 0.0).then(|| sums[0] / sums[1]);
    if sums.len() / 2 < NORMAL_FROM {
        // A single cluster says nothing about how clusters differ.
        return (sums.len() > 2).then(|| sums_interval(&resampled_sums(sums, 2, RESAMPLES, seed), 2, ratio))?;
    }
    let total = sums.chunks_exact(2).fold([0.0, 0.0], |total, unit| [total[0] + unit[0], total[1] + unit[1]]);
    let mean = ratio(&total)?;
    let squares: f64 = sums.chunks_exact(2).map(|unit| (unit[0] - mean * unit[1]).powi(2)).sum();
    let half = Z95 * squares.sqrt() / total[1];
    Some(Interval { low: mean - half, high: mean + half })
}

/// From so many rows on, a mean gets a normal interval instead of a bootstrap.
const NORMAL_FROM: usize = 1_000;

/// Returns the 95 % interval of a mean: percentile bootstrap below 1,000 values, normal from there.
pub fn mean_interval(values: &[f64], seed: u64) -> Option<Interval> {
    if values.len() < NORMAL_FROM {
        return bootstrap_mean(values, seed);
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum();
    normal_mean(mean, squares, values.len() as u64)
}

/// Sorts resampled estimates; returns their 2.5 % and 97.5 % percentiles.
pub(crate) fn percentile_interval(estimates: &mut [f64]) -> Interval {
    estimates.sort_unstable_by(f64::total_cmp);
    Interval { low: quantile(estimates, 0.025), high: quantile(estimates, 0.975) }
}

/// Returns the quantile of sorted values, interpolated linearly (NumPy's default, Hyndman–Fan 7).
///
/// The values must not be empty; `q` lies in 0..=1.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// Returns the distribution-free 95 % interval of a quantile from order statistics (normal
/// approximation to the binomial ranks; Hahn & Meeker 1991).
///
/// `n` is how many of the sorted values are independent: several samples of one row count once. None for n below ten.
pub fn quantile_interval(sorted: &[f64], q: f64, n: u64) -> Option<Interval> {
    if n < 10 || sorted.is_empty() {
        return None;
    }
    let half = Z95 * (q * (1.0 - q) / n as f64).sqrt();
    let rank = |share: f64| share * sorted.len() as f64;
    let low = rank((q - half).max(0.0)).floor() as usize;
    let high = rank((q + half).min(1.0)).ceil() as usize;
    let last = sorted.len() - 1;
    Some(Interval { low: sorted[low.min(last)], high: sorted[high.min(last)] })
}

/// Returns a number in `0..n`; probabilities differ by at most 2⁻³² (Lemire's multiplication without rejection).
pub(crate) fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_has_width_at_the_ends() {
        let all = wilson(20.0, 20.0, Z95).unwrap();
        assert!(all.low > 0.83 && all.low < 0.84 && all.high == 1.0);
        assert!(wilson(0.0, 0.0, Z95).is_none());
        for n in 1..2_000 {
            assert_eq!(wilson(0.0, f64::from(n), Z95).unwrap().low, 0.0);
            assert_eq!(wilson(f64::from(n), f64::from(n), Z95).unwrap().high, 1.0);
        }
    }

    #[test]
    fn bootstrap_is_seeded_and_covers_the_mean() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let a = bootstrap_mean(&values, 7).unwrap();
        assert_eq!(Some(a), bootstrap_mean(&values, 7));
        assert!(a.low < 49.5 && 49.5 < a.high && a.high - a.low < 14.0);
        assert!(bootstrap_mean(&[1.0], 7).is_none());
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&[1.0], 0.95), 1.0);
        assert!(quantile_interval(&[1.0; 9], 0.5, 9).is_none());
    }
}
