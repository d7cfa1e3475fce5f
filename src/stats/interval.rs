//! Intervals: how far an estimate from n rows may lie from the truth by chance.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::distribution::{binomial_lower, binomial_upper, normal_upper, student_quantile};
use crate::score::Estimate;

/// A lower and an upper end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Returns an estimate from its value and interval; an infinite end is open.
pub fn estimate(value: Option<f64>, interval: Option<Interval>, n: u64, missing: u64) -> Estimate {
    Estimate {
        value,
        low: interval.map(|interval| interval.low).filter(|low| low.is_finite()),
        high: interval.map(|interval| interval.high).filter(|high| high.is_finite()),
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

/// Returns the expanded percentile 95 % interval of a number that is computed from resampled sums of `units` units. The
/// percentiles are those that make up for the few units (Hesterberg 2015, doi:10.1080/00031305.2015.1089789): a bootstrap
/// divides by n, and the normal distribution stands in for Student's. Resamples for which the number is undefined are left
/// out; none if they are more than half.
pub fn sums_interval(
    sums: &[f64],
    width: usize,
    units: usize,
    statistic: impl Fn(&[f64]) -> Option<f64>,
) -> Option<Interval> {
    let values = sums.chunks_exact(width).filter_map(statistic).filter(|value| value.is_finite());
    let mut found: Vec<f64> = values.collect();
    if found.len() > sums.len() / width / 2 { expanded_interval(&mut found, units) } else { None }
}

/// Sorts estimates that were resampled from `units` units; returns their expanded percentiles. None for fewer than two
/// units, and where all estimates are the same: other rows could have come out otherwise.
pub(crate) fn expanded_interval(estimates: &mut [f64], units: usize) -> Option<Interval> {
    if units < 2 || estimates.is_empty() {
        return None;
    }
    estimates.sort_unstable_by(f64::total_cmp);
    let n = units as f64;
    let tail = normal_upper((n / (n - 1.0)).sqrt() * student_quantile(0.975, n - 1.0));
    let interval = Interval { low: quantile(estimates, tail), high: quantile(estimates, 1.0 - tail) };
    (interval.high > interval.low).then_some(interval)
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

/// Returns the distribution-free 95 % interval of a quantile from order statistics, with exact binomial ranks (Hahn &
/// Meeker 1991). Each end misses in at most 2.5 % of all cases; where no value is far enough out for that, the end is open,
/// that is, infinite: the largest of 20 values is below the 95th percentile in 36 % of all cases.
///
/// `n` is how many of the sorted values are independent: several samples of one row count once. None without values.
pub fn quantile_interval(sorted: &[f64], q: f64, n: u64) -> Option<Interval> {
    if n == 0 || sorted.is_empty() {
        return None;
    }
    // The greatest rank that at most 2.5 % of all samples have above the quantile, and the least for the other side.
    let low = last_that(n, |rank| binomial_lower(rank as i64 - 1, n, q) <= TAIL);
    let high = n + 1 - last_that(n, |rank| binomial_upper(n + 1 - rank, n, q) <= TAIL);
    let place = |rank: u64| (rank - 1) as f64 / n as f64 * sorted.len() as f64;
    let low = if low == 0 { f64::NEG_INFINITY } else { sorted[place(low).floor() as usize] };
    let high = if high > n { f64::INFINITY } else { sorted[place(high + 1).ceil() as usize - 1] };
    Some(Interval { low, high })
}

/// How often each end of an interval may miss.
const TAIL: f64 = 0.025;

/// Returns the last of the ranks 1 to n for which a condition holds that holds for the first ones; 0 if for none.
fn last_that(n: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut below, mut above) = (0, n + 1);
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if holds(middle) { below = middle } else { above = middle }
    }
    below
}

/// Returns a number in `0..n`; probabilities differ by at most 2⁻³² (Lemire's multiplication without rejection).
pub(crate) fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::Z95;
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
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&[1.0], 0.95), 1.0);
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let of = |q: f64, n: usize| quantile_interval(&values[..n], q, n as u64).unwrap();
        // SciPy `binom(n, q)`: P(X ≤ k) and P(X ≥ k) of at most 0.025.
        assert_eq!(of(0.5, 100), Interval { low: 40.0, high: 61.0 });
        assert_eq!(of(0.5, 6), Interval { low: 1.0, high: 6.0 });
        assert_eq!(of(0.5, 5), Interval { low: f64::NEG_INFINITY, high: f64::INFINITY });
        assert_eq!(of(0.95, 20), Interval { low: 17.0, high: f64::INFINITY });
        assert_eq!(of(0.95, 100), Interval { low: 90.0, high: 100.0 });
        // Two samples of a row are one row.
        assert_eq!(quantile_interval(&values[..12], 0.5, 6), Some(Interval { low: 1.0, high: 12.0 }));
    }
}
