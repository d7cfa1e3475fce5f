//! How the numbers of two raters correlate and differ: a judge and people, or a metric and a judge.

use super::distribution::{normal_quantile, student_p};
use super::interval::Interval;
use statrs::function::beta::beta_reg;

/// How two lists of numbers relate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// Correlation of ranks (Spearman 1904), with ties at their mean rank; none if one side is constant.
    pub spearman: Option<f64>,
    pub spearman_p: Option<f64>,
    pub pearson: Option<f64>,
    pub pearson_p: Option<f64>,
    /// Fisher's (1921) 95 % interval of Pearson's r; none with fewer than four rows, and for |r| = 1.
    pub pearson_interval: Option<Interval>,
    /// Kendall's tau-b (1945).
    pub kendall: Option<f64>,
    /// Mean absolute difference.
    pub mae: f64,
    /// Root of the mean squared difference.
    pub rmse: f64,
    /// The mean of second minus first: how much more the second rater gives.
    pub bias: f64,
    /// Standard deviation of the differences (n − 1).
    pub bias_sd: f64,
    /// Limits of agreement (Bland & Altman 1986): bias ± 1.96 standard deviations.
    pub limits: Interval,
    /// Share of equal numbers.
    pub exact: f64,
    /// Share of numbers at most 1 apart.
    pub within_one: f64,
}

/// Compares two lists of the same length (SciPy `spearmanr`, `pearsonr`, `kendalltau`). None with fewer than two rows,
/// or if the lengths differ.
pub fn correlation(first: &[f64], second: &[f64]) -> Option<Correlation> {
    if first.len() != second.len() || first.len() < 2 {
        return None;
    }
    let n = first.len() as f64;
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| b - a).collect();
    let bias = differences.iter().sum::<f64>() / n;
    let bias_sd = (differences.iter().map(|d| (d - bias).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let share = |holds: fn(f64) -> bool| differences.iter().filter(|d| holds(d.abs())).count() as f64 / n;
    let pearson = pearson(first, second);
    let spearman = self::pearson(&ranks(first), &ranks(second));
    Some(Correlation {
        spearman,
        spearman_p: spearman.filter(|_| n > 2.0).map(|r| {
            let freedom = n - 2.0;
            if (1.0 - r) * (1.0 + r) <= 1e-15 {
                0.0
            } else {
                student_p(r * (freedom / ((1.0 + r) * (1.0 - r))).sqrt(), freedom)
            }
        }),
        pearson,
        pearson_p: pearson.map(|r| pearson_p(r, n)),
        pearson_interval: pearson.filter(|r| n > 3.0 && r.abs() < 1.0).map(|r| {
            let half = normal_quantile(0.975) / (n - 3.0).sqrt();
            Interval { low: (r.atanh() - half).tanh(), high: (r.atanh() + half).tanh() }
        }),
        kendall: kendall(first, second),
        mae: differences.iter().map(|d| d.abs()).sum::<f64>() / n,
        rmse: (differences.iter().map(|d| d * d).sum::<f64>() / n).sqrt(),
        bias,
        bias_sd,
        limits: Interval { low: bias - 1.96 * bias_sd, high: bias + 1.96 * bias_sd },
        exact: share(|d| d == 0.0),
        within_one: share(|d| d <= 1.0),
    })
}

/// Returns Pearson's r; none if one side is constant.
pub fn pearson(first: &[f64], second: &[f64]) -> Option<f64> {
    let unit = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let norm = centred.iter().map(|value| value * value).sum::<f64>().sqrt();
        let is_constant = values.iter().all(|value| *value == values[0]);
        (!is_constant && norm > 0.0).then(|| centred.into_iter().map(|value| value / norm).collect::<Vec<_>>())
    };
    let (first, second) = (unit(first)?, unit(second)?);
    Some(first.iter().zip(&second).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0))
}

/// Returns the two-sided p of r if the two are independent: r then has a beta distribution on −1..1.
fn pearson_p(r: f64, n: f64) -> f64 {
    if n <= 2.0 {
        return 1.0;
    }
    let shape = n / 2.0 - 1.0;
    (2.0 * beta_reg(shape, shape, (1.0 - r.abs()) / 2.0)).min(1.0)
}

/// Returns ranks from 1, with ties at their mean rank.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let tied = order[start..].iter().take_while(|i| values[**i] == values[order[start]]).count();
        for index in &order[start..start + tied] {
            ranks[*index] = start as f64 + (tied as f64 + 1.0) / 2.0;
        }
        start += tied;
    }
    ranks
}

/// Returns Kendall's tau-b: concordant minus discordant pairs, divided by the pairs that are not tied. None if one side
/// is constant. It sorts and merges, in time n log n (Knight 1966).
fn kendall(first: &[f64], second: &[f64]) -> Option<f64> {
    let mut order: Vec<usize> = (0..first.len()).collect();
    order.sort_by(|a, b| first[*a].total_cmp(&first[*b]).then(second[*a].total_cmp(&second[*b])));
    let runs = |same: &dyn Fn(usize, usize) -> bool, order: &[usize]| -> f64 {
        let (mut sum, mut length) = (0.0, 1.0);
        for pair in order.windows(2) {
            if same(pair[0], pair[1]) {
                length += 1.0;
            } else {
                sum += length * (length - 1.0) / 2.0;
                length = 1.0;
            }
        }
        sum + length * (length - 1.0) / 2.0
    };
    let tied_first = runs(&|a, b| first[a] == first[b], &order);
    let tied_both = runs(&|a, b| first[a] == first[b] && second[a] == second[b], &order);
    let mut by_second: Vec<f64> = order.iter().map(|index| second[*index]).collect();
    let swaps = inversions(&mut by_second);
    let mut sorted: Vec<usize> = (0..second.len()).collect();
    sorted.sort_by(|a, b| second[*a].total_cmp(&second[*b]));
    let tied_second = runs(&|a, b| second[a] == second[b], &sorted);
    let n = first.len() as f64;
    let pairs = n * (n - 1.0) / 2.0;
    let difference = pairs - tied_first - tied_second + tied_both - 2.0 * swaps;
    let (left, right) = (pairs - tied_first, pairs - tied_second);
    (left > 0.0 && right > 0.0).then(|| (difference / left.sqrt() / right.sqrt()).clamp(-1.0, 1.0))
}

/// Sorts the values; returns how many pairs were in the wrong order.
fn inversions(values: &mut [f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = values.len() / 2;
    let (left, right) = values.split_at_mut(middle);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if j == right.len() || i < left.len() && left[i] <= right[j] {
            merged.push(left[i]);
            i += 1;
        } else {
            count += (left.len() - i) as f64;
            merged.push(right[j]);
            j += 1;
        }
    }
    values.copy_from_slice(&merged);
    count
}
