//! Length control: what a model's win rate would be if its completions were as long as those of the other model.

use super::Z95;
use super::correction::mean_variance;
use super::distribution::normal_p;
use super::interval::{Interval, below, expanded_interval};
use super::ranking::sigmoid;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// One comparison: its outcome and both lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// 1 if the model won, 0 if the baseline won, 0.5 for a tie.
    pub outcome: f64,
    pub length: f64,
    pub baseline_length: f64,
}

/// The logistic model of outcomes by length (AlpacaEval 2, arXiv 2404.04475, without terms per
/// instruction): logit P(win) = θ + φ · tanh(Δ/sd).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthModel {
    /// θ: above 0, the model wins more often than not at equal lengths.
    pub theta: f64,
    /// If it is above 0, longer completions win more often.
    pub phi: f64,
    pub phi_se: Option<f64>,
    pub theta_se: Option<f64>,
    pub phi_p: Option<f64>,
    /// 1 / (1 + e^−θ): the win rate at equal lengths.
    pub win_rate: f64,
}

/// How length and winning are related.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthControl {
    /// The raw win rate, with ties as halves.
    pub win_rate: f64,
    pub standard_error: f64,
    pub mean_length: f64,
    pub mean_baseline_length: f64,
    /// Standard deviation (n − 1) of the differences in length.
    pub sd_delta: f64,
    /// Comparisons with a winner and different lengths: how many the longer one won, and how many there are.
    pub longer_wins: (u64, u64),
    /// The maximum-likelihood fit; none if the outcomes are separated by length, or if lengths do not vary.
    pub fit: Option<LengthModel>,
}

/// If a coefficient grows beyond this, the likelihood is taken to have no maximum.
const MOST: f64 = 15.0;
/// How many resamples the interval uses.
const RESAMPLES: usize = 1_000;
/// The penalty of the fit that is used where a resample has no maximum.
const RIDGE: f64 = 1e-3;

impl LengthModel {
    /// Returns Wald's 95 % interval of the win rate at equal lengths, meant for many comparisons; none for a penalised
    /// fit.
    pub fn interval(&self) -> Option<Interval> {
        let half = Z95 * self.theta_se?;
        Some(Interval { low: sigmoid(self.theta - half), high: sigmoid(self.theta + half) })
    }
}

/// Fits the length model. None for fewer than two comparisons.
pub fn length_control(comparisons: &[Comparison]) -> Option<LengthControl> {
    if comparisons.len() < 2 {
        return None;
    }
    let column = |value: fn(&Comparison) -> f64| comparisons.iter().map(value).collect::<Vec<f64>>();
    let (win_rate, variance) = mean_variance(&column(|c| c.outcome));
    let (x, sd_delta) = predictors(comparisons);
    let differs = |c: &&Comparison| c.outcome != 0.5 && c.length != c.baseline_length;
    let decisive: Vec<&Comparison> = comparisons.iter().filter(differs).collect();
    let longer = decisive.iter().filter(|c| (c.outcome > 0.5) == (c.length > c.baseline_length)).count();
    let y = column(|c| c.outcome);
    Some(LengthControl {
        win_rate,
        standard_error: (variance / y.len() as f64).sqrt(),
        mean_length: mean_variance(&column(|c| c.length)).0,
        mean_baseline_length: mean_variance(&column(|c| c.baseline_length)).0,
        sd_delta,
        longer_wins: (longer as u64, decisive.len() as u64),
        fit: (sd_delta > 0.0).then(|| fit(&y, &x, 0.0)).flatten(),
    })
}

/// Returns the penalised fit, which minimises −log likelihood + `penalty`/2 · (θ² + φ²). It exists for any outcomes.
/// None for fewer than two comparisons.
pub fn length_ridge(comparisons: &[Comparison], penalty: f64) -> Option<LengthModel> {
    if comparisons.len() < 2 {
        return None;
    }
    let y: Vec<f64> = comparisons.iter().map(|c| c.outcome).collect();
    fit(&y, &predictors(comparisons).0, penalty)
}

/// Returns the expanded percentile bootstrap 95 % interval of the length-controlled win rate: comparisons are
/// drawn and the model fitted anew 1,000 times. None below two comparisons.
pub fn length_interval(comparisons: &[Comparison], seed: u64) -> Option<Interval> {
    if comparisons.len() < 2 {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let n = comparisons.len();
    let mut drawn = Vec::with_capacity(n);
    let mut rates: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            drawn.clear();
            drawn.extend((0..n).map(|_| comparisons[below(&mut random, n)]));
            let y: Vec<f64> = drawn.iter().map(|c| c.outcome).collect();
            let (x, _) = predictors(&drawn);
            Some(fit(&y, &x, 0.0).or_else(|| fit(&y, &x, RIDGE))?.win_rate)
        })
        .collect();
    expanded_interval(&mut rates, n)
}

/// Returns tanh(Δ/sd) of each comparison, and the sd; all are 0 if lengths do not vary.
fn predictors(comparisons: &[Comparison]) -> (Vec<f64>, f64) {
    let deltas: Vec<f64> = comparisons.iter().map(|c| c.length - c.baseline_length).collect();
    let sd = mean_variance(&deltas).1.sqrt();
    let scaled = |delta: &f64| if sd > 0.0 { (delta / sd).tanh() } else { 0.0 };
    (deltas.iter().map(scaled).collect(), sd)
}

/// Fits by Newton's method; none if a coefficient runs away.
fn fit(y: &[f64], x: &[f64], penalty: f64) -> Option<LengthModel> {
    let (mut theta, mut phi) = (0.0, 0.0);
    for _ in 0..200 {
        let (mut g0, mut g1) = (penalty * theta, penalty * phi);
        let (mut h00, mut h01, mut h11) = (penalty, 0.0, penalty);
        for (y, x) in y.iter().zip(x) {
            let p = sigmoid(theta + phi * x);
            let weight = p * (1.0 - p);
            g0 += p - y;
            g1 += (p - y) * x;
            h00 += weight;
            h01 += weight * x;
            h11 += weight * x * x;
        }
        let determinant = h00 * h11 - h01 * h01;
        if determinant.is_nan() || determinant <= 0.0 || (penalty == 0.0 && (theta.abs() > MOST || phi.abs() > MOST)) {
            return None;
        }
        if g0.abs() < 1e-10 && g1.abs() < 1e-10 {
            let phi_se = (h00 / determinant).sqrt();
            let theta_se = (h11 / determinant).sqrt();
            let known = penalty == 0.0;
            return Some(LengthModel {
                theta,
                phi,
                phi_se: known.then_some(phi_se),
                theta_se: known.then_some(theta_se),
                phi_p: known.then(|| normal_p(phi / phi_se)),
                win_rate: sigmoid(theta),
            });
        }
        // Steps are limited to 2, so that they do not overshoot where outcomes are nearly separated.
        let (s0, s1) = ((h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant);
        let scale = (2.0 / s0.abs().max(s1.abs())).min(1.0);
        theta -= scale * s0;
        phi -= scale * s1;
    }
    None
}
