//! Proportions: intervals, tests against a fixed share, and the difference of two independent proportions.

use super::distribution::{beta_quantile, binomial_lower, binomial_mass, binomial_upper, ln_choose, normal_p, z_of};
use super::interval::{Interval, wilson};

/// Returns the exact interval of Clopper and Pearson (1934; statsmodels `method="beta"`). At least a share of 1 −
/// `alpha` of such intervals holds the truth, whatever it is. None for n = 0.
pub fn clopper_pearson(successes: u64, n: u64, alpha: f64) -> Option<Interval> {
    let (k, size) = (successes as f64, n as f64);
    (n > 0 && successes <= n).then(|| Interval {
        low: if successes == 0 { 0.0 } else { beta_quantile(alpha / 2.0, k, size - k + 1.0) },
        high: if successes == n { 1.0 } else { beta_quantile(1.0 - alpha / 2.0, k + 1.0, size - k) },
    })
}

/// Returns the interval of Agresti and Coull (1998; statsmodels `method="agresti_coull"`), cut to
/// 0..=1. None for n = 0.
pub fn agresti_coull(successes: f64, n: f64, alpha: f64) -> Option<Interval> {
    if n <= 0.0 {
        return None;
    }
    let z = z_of(alpha);
    let size = n + z * z;
    let p = (successes + z * z / 2.0) / size;
    Some(around(p, z * (p * (1.0 - p) / size).sqrt()))
}

/// Returns the equal-tailed interval under Jeffreys' prior (Brown, Cai & DasGupta 2001; statsmodels
/// `method="jeffreys"`). None for n = 0.
pub fn jeffreys(successes: f64, n: f64, alpha: f64) -> Option<Interval> {
    (n > 0.0).then(|| {
        let (a, b) = (successes + 0.5, n - successes + 0.5);
        Interval { low: beta_quantile(alpha / 2.0, a, b), high: beta_quantile(1.0 - alpha / 2.0, a, b) }
    })
}

/// Returns Wald's interval, cut to 0..=1. It has no width at 0 and at n, so etalon never reports it; it is here for
/// comparisons with tools that do. None for n = 0.
pub fn wald(successes: f64, n: f64, alpha: f64) -> Option<Interval> {
    if n <= 0.0 {
        return None;
    }
    let p = successes / n;
    Some(around(p, z_of(alpha) * (p * (1.0 - p) / n).sqrt()))
}

fn around(p: f64, half: f64) -> Interval {
    Interval { low: (p - half).max(0.0), high: (p + half).min(1.0) }
}

/// Returns the two-sided exact p of k successes of n against a fair coin (the sign test; SciPy
/// `binomtest`). 1 for n = 0.
pub fn sign_test(k: u64, n: u64) -> f64 {
    let tail = k.min(n.saturating_sub(k));
    if 2 * tail == n { 1.0 } else { (2.0 * binomial_lower(tail as i64, n, 0.5)).min(1.0) }
}

/// Returns the exact p of at least k successes among n, if each has the probability `p` (SciPy
/// `binomtest(alternative="greater")`).
pub fn binomial_greater(k: u64, n: u64, p: f64) -> f64 {
    binomial_upper(k, n, p)
}

/// The difference of two independent proportions, first minus second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoProportions {
    /// The pooled z; none if all or none succeeded on both sides.
    pub z: Option<f64>,
    /// The two-sided p of z.
    pub p: Option<f64>,
    /// Newcombe's hybrid score interval of the difference (1998, method 10).
    pub difference: Interval,
    /// Fisher's exact two-sided p.
    pub fisher: f64,
}

/// Compares two independent proportions (statsmodels `proportions_ztest`,
/// `confint_proportions_2indep(method="newcomb")`; SciPy `fisher_exact`). None if one side is empty.
pub fn two_proportions(k1: u64, n1: u64, k2: u64, n2: u64, alpha: f64) -> Option<TwoProportions> {
    let (x1, m1, x2, m2) = (k1 as f64, n1 as f64, k2 as f64, n2 as f64);
    let level = z_of(alpha);
    let (first, second) = (wilson(x1, m1, level)?, wilson(x2, m2, level)?);
    let (p1, p2) = (x1 / m1, x2 / m2);
    let pooled = (x1 + x2) / (m1 + m2);
    let variance = pooled * (1.0 - pooled) * (1.0 / m1 + 1.0 / m2);
    let z = (variance > 0.0).then(|| (p1 - p2) / variance.sqrt());
    let difference = Interval {
        low: p1 - p2 - (p1 - first.low).hypot(second.high - p2),
        high: p1 - p2 + (first.high - p1).hypot(p2 - second.low),
    };
    Some(TwoProportions { z, p: z.map(normal_p), difference, fisher: fisher(k1, n1, k2, n2) })
}

/// Returns Fisher's two-sided p: the probability of all tables with the same margins that are no likelier than this
/// one.
fn fisher(k1: u64, n1: u64, k2: u64, n2: u64) -> f64 {
    let successes = k1 + k2;
    let mass = |k: u64| (ln_choose(n1, k) + ln_choose(n2, successes - k) - ln_choose(n1 + n2, successes)).exp();
    let observed = mass(k1) * (1.0 + 1e-7);
    let range = successes.saturating_sub(n2)..=successes.min(n1);
    range.map(mass).filter(|p| *p <= observed).sum::<f64>().min(1.0)
}

/// How two raters, models or judges differ in a paired yes-or-no comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// Exact two-sided p (Dixon & Mood 1946).
    pub exact: f64,
    /// The exact p minus the probability of the observed table (Fagerland et al. 2013); less conservative.
    pub mid_p: f64,
    /// (b − c)² / (b + c) and its p; none without discordant pairs. b and c count the pairs that only one side has
    /// right.
    pub chi_squared: Option<(f64, f64)>,
    /// The same with Edwards' continuity correction; infinite if there are no discordant pairs, as in statsmodels.
    pub corrected: (f64, f64),
    /// The share of pairs that only the first has right minus the share that only the second has right.
    pub difference: f64,
    pub difference_se: f64,
    /// Normal 95 % interval of the difference.
    pub interval: Interval,
}

impl McNemar {
    /// Returns the p to report: the exact one below 25 discordant pairs, that of the corrected chi-squared from there
    /// on.
    pub fn p(&self, discordant: u64) -> f64 {
        if discordant < 25 { self.exact } else { self.corrected.1 }
    }
}

/// Compares paired yes-or-no outcomes (McNemar 1947; statsmodels `mcnemar`): of `n` pairs, only the first side is right
/// in `only_first`, and only the second in `only_second`. None for n = 0.
pub fn mcnemar(only_first: u64, only_second: u64, n: u64) -> Option<McNemar> {
    if n == 0 || only_first + only_second > n {
        return None;
    }
    let discordant = only_first + only_second;
    let least = only_first.min(only_second);
    let exact = sign_test(only_first, discordant);
    let mass = binomial_mass(least, discordant, 0.5);
    let mid_p = if discordant == 0 { 1.0 } else { exact - mass };
    let (b, c, size) = (only_first as f64, only_second as f64, n as f64);
    let chi_squared = (discordant > 0).then(|| {
        let value = (b - c).powi(2) / (b + c);
        (value, super::distribution::chi_squared_upper(value))
    });
    let value = ((b - c).abs() - 1.0).powi(2) / (b + c);
    let corrected = (value, super::distribution::chi_squared_upper(value));
    let difference = (b - c) / size;
    let difference_se = (b + c - (b - c).powi(2) / size).max(0.0).sqrt() / size;
    let half = super::Z95 * difference_se;
    let interval = Interval { low: difference - half, high: difference + half };
    Some(McNemar { exact, mid_p, chi_squared, corrected, difference, difference_se, interval })
}
