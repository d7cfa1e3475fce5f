//! Power: how many rows it takes to show a difference, and which difference a number of rows can show.

use super::distribution::{binomial_upper, normal_quantile, z_of};

/// Returns how many rows it takes to show a paired difference of `effect`, if differences have the standard deviation
/// `sd`. The number is exact and to be rounded up: ((z₁₋ₐ/₂ + z_power) · sd / effect)².
///
/// `alpha` is two-sided, usually 0.05; `power` is usually 0.8.
///
/// ```
/// // A difference of 5 points in accuracy, where models differ on about a fifth of the rows.
/// let rows = etalon::stats::rows_needed(0.45, 0.05, 0.05, 0.8);
/// assert_eq!(rows.ceil(), 636.0);
/// ```
pub fn rows_needed(sd: f64, effect: f64, alpha: f64, power: f64) -> f64 {
    ((z_of(alpha) + normal_quantile(power)) * sd / effect).powi(2)
}

/// Returns the smallest paired difference that n rows can show with the given power.
pub fn detectable_effect(sd: f64, n: f64, alpha: f64, power: f64) -> f64 {
    (z_of(alpha) + normal_quantile(power)) * sd / n.sqrt()
}

/// Returns how many rows it takes to show a difference of `effect` between two models that are sampled several times
/// per row (Miller 2024, arXiv 2411.00640, equation 9). `between` is the variance of the rows' true differences,
/// `within_a` and `within_b` are those of repeated samples of one row, and `samples` is how many samples each row has.
pub fn rows_needed_sampled(
    between: f64,
    (within_a, within_b): (f64, f64),
    samples: f64,
    effect: f64,
    alpha: f64,
    power: f64,
) -> f64 {
    let z = z_of(alpha) + normal_quantile(power);
    z * z * (between + within_a / samples + within_b / samples) / (effect * effect)
}

/// Returns the fewest wins among n decisive pairs that show more than a coin would at `alpha`/2, one-sided and exact;
/// and the power to reach them if the true share of wins is `rate`. None if no number of wins shows it.
pub fn win_rate_power(n: u64, rate: f64, alpha: f64) -> Option<(u64, f64)> {
    let wins = (0..=n).find(|wins| binomial_upper(*wins, n, 0.5) <= alpha / 2.0)?;
    Some((wins, binomial_upper(wins, n, rate)))
}
