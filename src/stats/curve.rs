//! Training curves: what the losses of a training run show.
//!
//! The rules are etalon's own. The training loss of a window is the mean of the losses logged since the previous
//! evaluation.

use serde_json::Value;

/// A logged loss; infinite ones and NaN are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Logged {
    Training { step: f64, loss: f64 },
    Evaluation { step: f64, loss: f64 },
}

/// How a training run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CurveStatus {
    /// A loss was not finite.
    Diverged,
    NoEvaluation,
    TooFewEvaluations,
    /// The best evaluation is not the last one, the evaluation loss has risen since, and the training loss fell.
    Overfitting,
    StillImproving,
    Converged,
}

impl CurveStatus {
    /// Returns the word that summaries use.
    pub fn name(self) -> &'static str {
        match self {
            CurveStatus::Diverged => "diverged",
            CurveStatus::NoEvaluation => "no_eval",
            CurveStatus::TooFewEvaluations => "too_few_evals",
            CurveStatus::Overfitting => "overfitting",
            CurveStatus::StillImproving => "still_improving",
            CurveStatus::Converged => "converged",
        }
    }
}

/// What a curve shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    pub status: CurveStatus,
    pub training_logs: usize,
    pub evaluations: usize,
    /// None if the run diverged, or if nothing was evaluated.
    pub evaluation: Option<CurveEvaluation>,
}

/// What the evaluations of a curve show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurveEvaluation {
    /// The step of the lowest evaluation loss; of equal losses, the first.
    pub best_step: f64,
    /// The lowest evaluation loss.
    pub best: f64,
    /// The last evaluation loss.
    pub last: f64,
    pub evaluations_after_best: usize,
    /// How much the loss rose from the best to the last evaluation: (last − best) / best.
    pub rise: f64,
    /// The training loss of the window that ends with the best evaluation.
    pub training_at_best: Option<f64>,
    /// The training loss of the window that ends with the last evaluation.
    pub training_at_last: Option<f64>,
    /// The last evaluation loss minus the training loss of the last window.
    pub gap: Option<f64>,
}

/// From this rise of the evaluation loss on, the run overfits.
const RISE: f64 = 0.02;
/// From this fall over the last three evaluations on, the run is still improving.
const FALL: f64 = 0.01;

/// Reads the `log_history` of a `trainer_state.json`, where a loss that is not finite is the text `"NaN"` or
/// `"Infinity"`. The summary at its end is not part of the curve.
pub fn logged(history: &[Value]) -> Vec<Logged> {
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    let entry = |entry: &Value| {
        let step = entry.get("step").and_then(number).unwrap_or(f64::NAN);
        if entry.get("train_loss").is_some() {
            return None;
        }
        match (entry.get("eval_loss").and_then(number), entry.get("loss").and_then(number)) {
            (Some(loss), _) => Some(Logged::Evaluation { step, loss }),
            (None, Some(loss)) => Some(Logged::Training { step, loss }),
            (None, None) => None,
        }
    };
    history.iter().filter_map(entry).collect()
}

/// Returns what a curve shows; entries stand in the order in which they were logged.
pub fn curve(logged: &[Logged]) -> Curve {
    let mut window: Vec<f64> = Vec::new();
    let mut evaluations: Vec<(f64, f64, Option<f64>)> = Vec::new();
    let (mut training_logs, mut is_finite) = (0, true);
    for entry in logged {
        match *entry {
            Logged::Training { loss, .. } => {
                training_logs += 1;
                is_finite &= loss.is_finite();
                window.push(loss);
            }
            Logged::Evaluation { step, loss } => {
                is_finite &= loss.is_finite();
                let mean = (!window.is_empty()).then(|| window.iter().sum::<f64>() / window.len() as f64);
                evaluations.push((step, loss, mean));
                window.clear();
            }
        }
    }
    let of = |status, evaluation| Curve { status, training_logs, evaluations: evaluations.len(), evaluation };
    if !is_finite {
        return of(CurveStatus::Diverged, None);
    }
    let Some((_, last, training_at_last)) = evaluations.last().copied() else {
        return of(CurveStatus::NoEvaluation, None);
    };
    let best = (0..evaluations.len()).fold(0, |best, i| if evaluations[i].1 < evaluations[best].1 { i } else { best });
    let (best_step, lowest, training_at_best) = evaluations[best];
    let evaluation = CurveEvaluation {
        best_step,
        best: lowest,
        last,
        evaluations_after_best: evaluations.len() - 1 - best,
        rise: (last - lowest) / lowest,
        training_at_best,
        training_at_last,
        gap: training_at_last.map(|training| last - training),
    };
    let fell = |from: Option<f64>, to: Option<f64>| matches!((from, to), (Some(from), Some(to)) if to < from);
    let status = match evaluations.as_slice() {
        [_] => CurveStatus::TooFewEvaluations,
        _ if evaluation.rise >= RISE && fell(training_at_best, training_at_last) => CurveStatus::Overfitting,
        [.., (_, a, _), (_, b, _), (_, c, _)] if a > b && b > c && (a - c) / a >= FALL => CurveStatus::StillImproving,
        _ => CurveStatus::Converged,
    };
    of(status, Some(evaluation))
}
