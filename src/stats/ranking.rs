//! Ranking of two or more models by their games: Bradley–Terry strengths, also as Elo points.

use super::linear::{inverse_diagonal, solve};

/// The strengths of models, computed from games between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// Log-odds, centred at 0: P(i beats j) = 1 / (1 + exp(θⱼ − θᵢ)).
    pub strengths: Vec<f64>,
    /// Standard errors under the sum-to-zero constraint; none for a ridge estimate.
    pub errors: Option<Vec<f64>>,
    /// True if the games do not bound the strengths (some group of models never lost to the rest), so that only a
    /// penalised estimate exists.
    pub is_separated: bool,
}

impl Ranking {
    /// Returns the strengths in Elo points, centred at 0: 400 points are odds of 10 to 1.
    pub fn elo(&self) -> Vec<f64> {
        self.strengths.iter().map(|theta| theta * 400.0 / std::f64::consts::LN_10).collect()
    }

    /// Returns the probability that i beats j.
    pub fn win_probability(&self, i: usize, j: usize) -> f64 {
        sigmoid(self.strengths[i] - self.strengths[j])
    }
}

/// The penalty of the estimate that is used if the maximum does not exist.
pub const RIDGE: f64 = 0.5;

/// Returns Bradley–Terry strengths (1952). `wins[i][j]` is how often i beat j; a tie is half a win for each. The result
/// is the maximum-likelihood estimate if the win graph is strongly connected (Ford 1957), else the ridge estimate with
/// [`RIDGE`].
///
/// None for fewer than two models. A model that played no game makes the graph unconnected.
pub fn bradley_terry(wins: &[Vec<f64>]) -> Option<Ranking> {
    let n = wins.len();
    if n < 2 {
        return None;
    }
    if !is_strongly_connected(wins) {
        return Some(Ranking { strengths: ridge(wins, RIDGE), errors: None, is_separated: true });
    }
    let strengths = newton(wins, 0.0);
    // The pseudo-inverse under the sum-to-zero constraint: the constant direction is added to the Hessian, which is
    // then inverted, and removed again.
    let mut hessian = hessian(wins, &strengths, 0.0);
    hessian.iter_mut().flatten().for_each(|cell| *cell += 1.0 / n as f64);
    let errors = inverse_diagonal(&hessian)?.into_iter().map(|v| (v - 1.0 / n as f64).max(0.0).sqrt()).collect();
    Some(Ranking { strengths, errors: Some(errors), is_separated: false })
}

/// Returns the centred strengths that minimise −log likelihood + `penalty` · Σ θ² (the convention of the Python package
/// choix). They exist for any games.
pub fn ridge(wins: &[Vec<f64>], penalty: f64) -> Vec<f64> {
    newton(wins, penalty)
}

/// Returns true if every model can be reached from every other one along wins.
pub fn is_strongly_connected(wins: &[Vec<f64>]) -> bool {
    let n = wins.len();
    let reaches_all = |beats: &dyn Fn(usize, usize) -> bool| {
        let mut seen = vec![false; n];
        let mut open = vec![0];
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut seen[i], true) {
                open.extend((0..n).filter(|j| beats(i, *j)));
            }
        }
        seen.iter().all(|seen| *seen)
    };
    n > 0 && reaches_all(&|i, j| wins[i][j] > 0.0) && reaches_all(&|i, j| wins[j][i] > 0.0)
}

fn newton(wins: &[Vec<f64>], penalty: f64) -> Vec<f64> {
    let n = wins.len();
    let mut theta = vec![0.0; n];
    let loss = |theta: &[f64]| {
        let mut sum = penalty * theta.iter().map(|t| t * t).sum::<f64>();
        for i in 0..n {
            for j in (0..n).filter(|j| *j != i && wins[i][*j] > 0.0) {
                // ln(1 + e^−d) without overflow.
                let d = theta[i] - theta[j];
                sum += wins[i][j] * ((-d.abs()).exp().ln_1p() + (-d).max(0.0));
            }
        }
        sum
    };
    for _ in 0..200 {
        let gradient: Vec<f64> = (0..n)
            .map(|i| {
                let games = (0..n).filter(|j| *j != i);
                let pull: f64 = games
                    .map(|j| wins[j][i] * sigmoid(theta[i] - theta[j]) - wins[i][j] * sigmoid(theta[j] - theta[i]))
                    .sum();
                pull + 2.0 * penalty * theta[i]
            })
            .collect();
        if gradient.iter().all(|g| g.abs() < 1e-11) {
            break;
        }
        let mut hessian = hessian(wins, &theta, penalty);
        // Strengths are determined up to a constant, so their sum is fixed.
        hessian.iter_mut().flatten().for_each(|cell| *cell += 1.0 / n as f64);
        let Some(step) = solve(&hessian, &gradient) else { break };
        let before = loss(&theta);
        let mut scale = 1.0;
        loop {
            let next: Vec<f64> = theta.iter().zip(&step).map(|(t, s)| t - scale * s).collect();
            if loss(&next) <= before + 1e-12 * before.abs() || scale < 1e-9 {
                theta = next;
                break;
            }
            scale /= 2.0;
        }
    }
    let mean = theta.iter().sum::<f64>() / n as f64;
    theta.into_iter().map(|t| t - mean).collect()
}

fn hessian(wins: &[Vec<f64>], theta: &[f64], penalty: f64) -> Vec<Vec<f64>> {
    let n = theta.len();
    let mut hessian = vec![vec![0.0; n]; n];
    for i in 0..n {
        hessian[i][i] += 2.0 * penalty;
        for j in (0..n).filter(|j| *j != i) {
            let p = sigmoid(theta[i] - theta[j]);
            let weight = (wins[i][j] + wins[j][i]) * p * (1.0 - p);
            hessian[i][i] += weight;
            hessian[i][j] -= weight;
        }
    }
    hessian
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
