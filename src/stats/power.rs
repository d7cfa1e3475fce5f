//! Power: how many rows show a difference, and which difference rows can show.

use super::distribution::{binomial_upper, normal_quantile, z_of};

/// Returns how many rows show a paired difference of `effect` where differences have the standard
/// deviation `sd`, as an exact number to be rounded up: ((z₁₋ₐ/₂ + z_power) · sd / effect)².
///
/// `alpha` is two-sided, 0.05 as a rule; `power` 0.8.
pub fn rows_needed(sd: f64, effect: f64, alpha: f64, power: f64) -> f64 {
    ((z_of(alpha) + normal_quantile(power)) * sd / effect).powi(2)
}

/// Returns the smallest paired difference that n rows show with the given power.
pub fn detectable_effect(sd: f64, n: f64, alpha: f64, power: f64) -> f64 {
    (z_of(alpha) + normal_quantile(power)) * sd / n.sqrt()
}

/// Returns how many rows show a difference of `effect` between two models sampled several times a row
/// (Miller 2024, arXiv 2411.00640, equation 9): `between` is the variance of the rows' true
/// differences, `within_a` and `within_b` those of repeated samples of one row, `samples` how many each.
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

/// Returns the fewest wins of n decisive pairs that show more than a coin at `alpha`/2, one-sided and
/// exact, and the power to get there where the true share of wins is `rate`. None where no number does.
pub fn win_rate_power(n: u64, rate: f64, alpha: f64) -> Option<(u64, f64)> {
    let wins = (0..=n).find(|wins| binomial_upper(*wins, n, 0.5) <= alpha / 2.0)?;
    Some((wins, binomial_upper(wins, n, rate)))
}
