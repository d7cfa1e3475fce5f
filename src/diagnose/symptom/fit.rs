//! Over- and underfitting, from values over training rows and from the log of training.

use super::{Evidence, Figure, remedies};
use crate::diagnose::{Confidence, Finding, ROWS, weakest};
use crate::score::{Direction, Estimate, Rank};
use crate::spec::RowsRole;
use crate::stats::CurveStatus;

/// A gap between training and held-out rows that matters, and a gain over the base, as a share of the range.
const GAP: f64 = 0.05;
/// What is attained on training rows at least where a model overfits, as a share of the target.
const LEARNED: f64 = 0.9;
/// What counts as bad, as a share of the target.
const BAD: f64 = 0.6;

/// The names of values that say how well an answer fits, which both kinds of stages have.
fn qualities(evidence: &Evidence, rows: RowsRole) -> Vec<Figure> {
    let is_quality = |figure: &Figure| {
        figure.reading.rank <= Rank::Detail
            && figure.reading.direction == Direction::Higher
            && matches!(evidence.kind(&figure.stage), "metric" | "judge")
            && !matches!(
                figure.last(),
                "coverage" | "win_rate" | "elo" | "agreement" | "kappa" | "mean" | "worst" | "best"
            )
    };
    evidence.figures(&evidence.candidate, rows).into_iter().filter(is_quality).collect()
}

/// Returns the least and the greatest difference between two values of different rows (Newcombe 1998).
fn difference(before: &Estimate, after: &Estimate) -> Option<(f64, f64, f64)> {
    let (a, b) = before.value.zip(after.value)?;
    let side = |own: f64, end: Option<f64>| end.map(|end| (own - end).powi(2));
    let low = (b - a) - (side(b, after.low)? + side(a, before.high)?).sqrt();
    let high = (b - a) + (side(b, after.high)? + side(a, before.low)?).sqrt();
    Some((b - a, low, high))
}

pub(super) fn overfit(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let remedy = |first: &str| {
        let mut all = vec![first.to_owned()];
        all.extend(remedies(&[
            "more, and more diverse, training data; leave out duplicates",
            "a lower learning rate or rank, or some dropout",
        ]));
        all
    };
    let mut findings = Vec::new();
    for (stage, curve) in &evidence.curves {
        let Some(found) = curve.evaluation.filter(|_| curve.status == CurveStatus::Overfitting) else { continue };
        findings.push(Finding {
            code: "D-OVERFIT",
            title: "the loss on evaluation rows rises while that of training falls".to_owned(),
            evidence: format!(
                "{stage}: lowest {:.4} at step {}, {:.4} at the end (+{:.1} %), after {} evaluations",
                found.best,
                found.best_step,
                found.last,
                100.0 * found.rise,
                curve.evaluations
            ),
            rows: Vec::new(),
            confidence: Confidence::High,
            remedy: remedy(&format!("fewer epochs: take the checkpoint of step {}", found.best_step)),
        });
    }
    let training = qualities(evidence, RowsRole::Training);
    if training.is_empty() && evidence.curves.is_empty() {
        return Err(
            "the training: stages over a dataset of `role: training`, or its log (`format: trainer_state`)".to_owned()
        );
    }
    let (mut gaps, mut rows, mut n) = (Vec::new(), Vec::new(), u64::MAX);
    for heldout in qualities(evidence, RowsRole::Heldout) {
        let Some(trained) = training.iter().find(|known| known.value == heldout.value) else { continue };
        let Some((low, high)) = evidence.range(&heldout) else { continue };
        let Some((gap, least, _)) = difference(&heldout.estimate, &trained.estimate) else { continue };
        let least = gap - super::SURE * (gap - least);
        let target = evidence.target(&heldout).map_or(high, |(target, _)| target);
        let is_learned = trained.estimate.value.is_some_and(|value| value - low >= LEARNED * (target - low));
        if gap < GAP * (high - low) || least <= 0.0 || !is_learned {
            continue;
        }
        gaps.push(format!(
            "{} {:.3} on training rows, {} {:.3} on held-out ones; the gap is at least {least:.3} (99 %)",
            trained.name(),
            trained.estimate.value.unwrap_or_default(),
            heldout.name(),
            heldout.estimate.value.unwrap_or_default()
        ));
        rows.extend(evidence.worst(&heldout, ROWS).into_iter().filter(|id| !rows.contains(id)).collect::<Vec<_>>());
        n = n.min(heldout.estimate.n).min(trained.estimate.n);
    }
    if !gaps.is_empty() {
        rows.truncate(ROWS);
        findings.push(Finding {
            code: "D-OVERFIT",
            title: "good on training rows, worse on held-out ones".to_owned(),
            evidence: gaps.join("; "),
            rows,
            confidence: if n >= 50 { Confidence::High } else { Confidence::Medium },
            remedy: remedy("fewer epochs: take an earlier checkpoint"),
        });
    }
    Ok(findings)
}

/// A deficit from which on more training may be needed.
const DEFICIT: f64 = 0.1;

pub(super) fn underfit(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    // A loss that still falls is no fault of a model that is good enough.
    let falls_short = || weakest(evidence).first().is_some_and(|dimension| dimension.deficit >= DEFICIT);
    let mut findings = Vec::new();
    for (stage, curve) in &evidence.curves {
        let (title, first) = match curve.status {
            CurveStatus::Diverged => (
                "training diverged: a loss is not finite",
                "a lower learning rate, gradient clipping, bf16 in place of fp16",
            ),
            CurveStatus::StillImproving if falls_short() => {
                ("training ended while the loss still fell", "more epochs or steps")
            }
            _ => continue,
        };
        let last =
            curve.evaluation.map_or_else(String::new, |found| format!("; the last evaluation has {:.4}", found.last));
        findings.push(Finding {
            code: "D-UNDERFIT",
            title: title.to_owned(),
            evidence: format!("{stage}: {} losses, {} evaluations{last}", curve.training_logs, curve.evaluations),
            rows: Vec::new(),
            confidence: Confidence::High,
            remedy: remedies(&[first]),
        });
    }
    let heldout = qualities(evidence, RowsRole::Heldout);
    let Some(baseline) = evidence.baseline.as_ref() else {
        return match findings.is_empty() {
            true => Err("a model of `role: baseline`".to_owned()),
            false => Ok(findings),
        };
    };
    // Of each value: whether it is bad, and whether more than a margin may have been gained over the base.
    let mut words = Vec::new();
    let (mut are_bad, mut count) = (true, 0);
    for figure in &heldout {
        let Some((low, high)) = evidence.range(figure) else { continue };
        let Some(base) = evidence.of_model(figure, Some(baseline)) else { continue };
        let Some(value) = figure.estimate.value else { continue };
        let target = evidence.target(figure).map_or(high, |(target, _)| target);
        let by_row = evidence.difference((figure, &evidence.candidate), (figure, baseline)).map(|it| it.high);
        let most =
            by_row.unwrap_or_else(|| difference(&base, &figure.estimate).map_or(1.0, |(.., most)| most / (high - low)));
        count += 1;
        are_bad &= value - low < BAD * (target - low) && most < GAP;
        words.push(format!("{} {value:.3} (base {:.3})", figure.name(), base.value.unwrap_or_default()));
    }
    let trained = qualities(evidence, RowsRole::Training);
    let is_bad_there = |figure: &Figure| {
        let range = evidence.range(figure);
        range.zip(figure.estimate.value).is_none_or(|((low, high), value)| value - low < BAD * (high - low))
    };
    // Refusals, and one answer to everything, are bad on everything, too, and training has brought them.
    let is_explained = || {
        [super::refusal::look, super::collapse::look].iter().any(|look| look(evidence).is_ok_and(|it| !it.is_empty()))
    };
    if count > 0 && are_bad && trained.iter().all(is_bad_there) && !is_explained() {
        findings.push(Finding {
            code: "D-UNDERFIT",
            title: "bad on everything: training has not taken".to_owned(),
            evidence: words.join(", "),
            rows: heldout.first().map_or_else(Vec::new, |figure| evidence.worst(figure, ROWS)),
            confidence: if trained.is_empty() { Confidence::Medium } else { Confidence::High },
            remedy: remedies(&[
                "check the chat template and the labels first: contradicting duplicates, wrong answers",
                "then a higher learning rate, more epochs, a higher rank",
                "then a larger base model, or more data",
            ]),
        });
    }
    Ok(findings)
}
