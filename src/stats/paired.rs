//! Paired comparisons of two models on the same rows.

use std::collections::BTreeMap;

use super::Z95;
use super::correction::mean_variance;
use super::correlation::ranks;
use super::distribution::{normal_p, student_p, student_quantile};
use super::interval::{Interval, percentile_interval, resampled_means};
use super::proportion::sign_test;

/// The differences of two models on the same rows, second minus first, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    pub mean_a: f64,
    pub mean_b: f64,
    pub difference: f64,
    /// Standard error of the mean difference: sd / √n, never that of unpaired samples.
    pub se: f64,
    /// What the standard error would be if the rows were not the same.
    pub se_unpaired: f64,
    /// Student's t and its two-sided p; none if all differences are equal.
    pub t: Option<(f64, f64)>,
    pub t_interval: Interval,
    pub normal_interval: Interval,
    /// The standard error to which a bootstrap of rows converges: it divides by n, not by n − 1.
    pub bootstrap_se: f64,
    /// Mean difference in standard deviations of the differences (Cohen 1988).
    pub cohens_dz: Option<f64>,
    /// Wilcoxon's signed-rank statistic (1945) and its p; none if all differences are 0.
    pub wilcoxon: Option<(f64, f64)>,
    pub wins: u64,
    pub losses: u64,
    pub ties: u64,
    /// The exact p of the sign test: wins against losses.
    pub sign_p: f64,
}

/// Compares two models on the same rows (SciPy `ttest_rel`, `wilcoxon(zero_method="wilcox", correction=False,
/// method="approx")`, `binomtest`). None with fewer than two rows, or if the numbers of rows differ.
pub fn paired(a: &[f64], b: &[f64]) -> Option<Paired> {
    if a.len() != b.len() || a.len() < 2 {
        return None;
    }
    let differences = differences(a, b);
    let n = differences.len() as f64;
    let (mean_a, variance_a) = mean_variance(a);
    let (mean_b, variance_b) = mean_variance(b);
    let (difference, variance) = mean_variance(&differences);
    let se = (variance / n).sqrt();
    let around = |half: f64| Interval { low: difference - half, high: difference + half };
    let count = |holds: fn(&f64) -> bool| differences.iter().filter(|d| holds(d)).count() as u64;
    let (wins, losses) = (count(|d| *d > 0.0), count(|d| *d < 0.0));
    Some(Paired {
        mean_a,
        mean_b,
        difference,
        se,
        se_unpaired: ((variance_a + variance_b) / n).sqrt(),
        t: (se > 0.0).then(|| (difference / se, student_p(difference / se, n - 1.0))),
        t_interval: around(if se > 0.0 { student_quantile(0.975, n - 1.0) * se } else { 0.0 }),
        normal_interval: around(Z95 * se),
        bootstrap_se: (variance * (n - 1.0) / n / n).sqrt(),
        cohens_dz: (variance > 0.0).then(|| difference / variance.sqrt()),
        wilcoxon: wilcoxon(&differences),
        wins,
        losses,
        ties: differences.len() as u64 - wins - losses,
        sign_p: sign_test(wins, wins + losses),
    })
}

/// Returns b − a of each row.
fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| b - a).collect()
}

/// Returns the smaller sum of signed ranks and its two-sided normal p, corrected for ties. Differences of 0 are
/// dropped; none if nothing is left.
fn wilcoxon(differences: &[f64]) -> Option<(f64, f64)> {
    let kept: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    if kept.is_empty() {
        return None;
    }
    let sizes: Vec<f64> = kept.iter().map(|d| d.abs()).collect();
    let ranks = ranks(&sizes);
    let signed =
        |keep: fn(f64) -> bool| kept.iter().zip(&ranks).filter(|(d, _)| keep(**d)).map(|(_, r)| r).sum::<f64>();
    let (up, down) = (signed(|d| d > 0.0), signed(|d| d < 0.0));
    let n = kept.len() as f64;
    let mut sorted = sizes;
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|run| (run.len() as f64).powi(3) - run.len() as f64).sum();
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let statistic = up.min(down);
    let z = (statistic - n * (n + 1.0) / 4.0) / variance.sqrt();
    Some((statistic, normal_p(z)))
}

/// The most rows for which all ways of flipping signs are counted: 2²⁰ ways.
pub const MOST_FLIPPED: usize = 20;

/// Returns the exact two-sided p of the mean difference under flips of signs (Fisher 1935): the share of the 2ⁿ ways
/// whose mean lies at least as far from 0. None for no rows, and for more than [`MOST_FLIPPED`].
pub fn exact_sign_flip(a: &[f64], b: &[f64]) -> Option<f64> {
    let differences = differences(a, b);
    let n = differences.len();
    if n == 0 || n > MOST_FLIPPED {
        return None;
    }
    let observed = differences.iter().sum::<f64>().abs();
    let slack = 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>().max(1e-300);
    let ways = 1u64 << n;
    let is_as_far = |flips: &u64| {
        let sum: f64 = differences.iter().enumerate().map(|(i, d)| if flips >> i & 1 == 1 { -d } else { *d }).sum();
        sum.abs() >= observed - slack
    };
    Some((0..ways).filter(is_as_far).count() as f64 / ways as f64)
}

/// The mean difference over all nⁿ resamples of a few rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExactBootstrap {
    /// The smallest means for which at least 2.5 % and 97.5 % of the resamples lie at or below them.
    pub interval: Interval,
    /// The share of resamples whose mean is 0 or less.
    pub at_most_zero: f64,
}

/// The most rows for which all resamples are counted.
const MOST_COUNTED: usize = 8;

/// Enumerates the bootstrap of the mean difference. None for no rows, and for more than eight.
pub fn exact_bootstrap(a: &[f64], b: &[f64]) -> Option<ExactBootstrap> {
    let differences = differences(a, b);
    let n = differences.len();
    if n == 0 || n > MOST_COUNTED {
        return None;
    }
    // Each way to draw the rows (how often each), with the number of orders in which it can happen.
    let mut means: Vec<(f64, f64)> = Vec::new();
    let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
    let mut open = vec![(0, n, 0.0, factorial(n))];
    while let Some((index, left, sum, ways)) = open.pop() {
        if index + 1 == n {
            means.push(((sum + differences[index] * left as f64) / n as f64, ways / factorial(left)));
            continue;
        }
        for times in 0..=left {
            open.push((index + 1, left - times, sum + differences[index] * times as f64, ways / factorial(times)));
        }
    }
    means.sort_by(|x, y| x.0.total_cmp(&y.0));
    let total: f64 = means.iter().map(|(_, ways)| ways).sum();
    let slack = 1e-9;
    let quantile = |p: f64| {
        let mut below = 0.0;
        means
            .iter()
            .find(|(_, ways)| {
                below += ways;
                below >= p * total - slack
            })
            .map_or(f64::NAN, |(mean, _)| *mean)
    };
    let zero: f64 = means.iter().filter(|(mean, _)| *mean <= 1e-12).map(|(_, ways)| ways).sum();
    let interval = Interval { low: quantile(0.025), high: quantile(0.975) };
    Some(ExactBootstrap { interval, at_most_zero: zero / total })
}

/// Returns the percentile bootstrap interval (Efron 1979) of the mean difference; rows are drawn anew `resamples`
/// times. None with fewer than two rows.
pub fn paired_bootstrap(a: &[f64], b: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    let differences = differences(a, b);
    (differences.len() > 1).then(|| percentile_interval(&mut resampled_means(&differences, resamples, seed)))
}

/// Standard errors of a mean over rows that are not independent: turns of one conversation, paraphrases of one
/// question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clustered {
    pub mean: f64,
    /// The standard error if all rows were independent.
    pub naive: f64,
    /// √(Σ over clusters (Σ within (d − mean))²) / n (Miller 2024, arXiv 2411.00640, equation 4).
    pub se: f64,
    /// The same times √(G/(G−1)) for few clusters.
    pub se_small_sample: f64,
    pub clusters: usize,
}

/// Returns standard errors of the mean of `values`; `clusters` names the cluster of each. None with fewer than two
/// clusters.
pub fn clustered<K: Ord>(values: &[f64], clusters: &[K]) -> Option<Clustered> {
    if values.len() != clusters.len() || values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let (mean, variance) = mean_variance(values);
    let mut sums: BTreeMap<&K, f64> = BTreeMap::new();
    for (value, cluster) in values.iter().zip(clusters) {
        *sums.entry(cluster).or_default() += value - mean;
    }
    let count = sums.len();
    if count < 2 {
        return None;
    }
    let se = sums.values().map(|sum| sum * sum).sum::<f64>().sqrt() / n;
    let groups = count as f64;
    let naive = (variance / n).sqrt();
    Some(Clustered { mean, naive, se, se_small_sample: se * (groups / (groups - 1.0)).sqrt(), clusters: count })
}
