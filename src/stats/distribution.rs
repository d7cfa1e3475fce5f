//! Tails and quantiles of distributions, on top of `statrs`, as exact as the reference implementations print them.

use statrs::distribution::{ChiSquared, ContinuousCDF, StudentsT};
use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::ln_gamma;

/// Returns the two-sided standard normal quantile of a level: 1.96 for `alpha` = 0.05.
///
/// `alpha` lies in (0, 1).
pub fn z_of(alpha: f64) -> f64 {
    normal_quantile(1.0 - alpha / 2.0)
}

/// Returns P(Z > z) of the standard normal.
pub(super) fn normal_upper(z: f64) -> f64 {
    erfc(z / std::f64::consts::SQRT_2) / 2.0
}

/// Returns the quantile of the standard normal; one Halley step polishes it to the last digits.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let z = -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p);
    let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let error = (1.0 - normal_upper(z) - p) / density;
    if error.is_finite() { z - error / (1.0 + z * error / 2.0) } else { z }
}

/// Returns the two-sided p of a standard normal statistic.
pub(super) fn normal_p(z: f64) -> f64 {
    (2.0 * normal_upper(z.abs())).min(1.0)
}

/// Returns the two-sided p of Student's t.
pub(super) fn student_p(t: f64, freedom: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    beta_reg(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// Returns the quantile of Student's t.
pub(super) fn student_quantile(p: f64, freedom: f64) -> f64 {
    let Ok(student) = StudentsT::new(0.0, 1.0, freedom) else { return f64::NAN };
    // Bisection on the exact tail, until the bracket holds no number between its ends.
    let (mut low, mut high) = (0.0, 1.0);
    let upper = if p >= 0.5 { p } else { 1.0 - p };
    while student.cdf(high) < upper && high < 1e300 {
        high *= 2.0;
    }
    loop {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if student.cdf(middle) < upper {
            low = middle;
        } else {
            high = middle;
        }
    }
    if p >= 0.5 { high } else { -high }
}

/// Returns P(X > x) of chi-squared with one degree of freedom.
pub(super) fn chi_squared_upper(x: f64) -> f64 {
    if x.is_infinite() {
        return 0.0;
    }
    ChiSquared::new(1.0).map_or(f64::NAN, |chi| chi.sf(x))
}

/// Returns P(X ≤ k) of a binomial.
pub(super) fn binomial_lower(k: i64, n: u64, p: f64) -> f64 {
    if k < 0 {
        return 0.0;
    }
    let k = k as u64;
    if k >= n {
        return 1.0;
    }
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    beta_reg((n - k) as f64, k as f64 + 1.0, 1.0 - p)
}

/// Returns P(X ≥ k) of a binomial.
pub(super) fn binomial_upper(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    beta_reg(k as f64, (n - k) as f64 + 1.0, p)
}

/// Returns P(X = k) of a binomial.
pub(super) fn binomial_mass(k: u64, n: u64, p: f64) -> f64 {
    (ln_choose(n, k) + k as f64 * p.ln() + (n - k) as f64 * (1.0 - p).ln()).exp()
}

/// Returns the logarithm of the number of ways to choose k of n.
pub(super) fn ln_choose(n: u64, k: u64) -> f64 {
    ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
}

/// Returns the quantile of a beta distribution, by bisection on its exact tail.
pub(super) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if beta_reg(a, b, middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}
