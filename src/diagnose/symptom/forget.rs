//! What the base could do and the tuned model no longer can.

use super::{Evidence, remedies};
use crate::diagnose::{Confidence, Finding, ROWS};
use crate::score::{Direction, Rank};
use crate::spec::RowsRole;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let Some(baseline) = evidence.baseline.as_ref() else { return Err("a model of `role: baseline`".to_owned()) };
    let general = evidence.figures(&evidence.candidate, RowsRole::General);
    if general.is_empty() {
        return Err(
            "rows that ask for what was not trained: a dataset of `role: general` with stages of its own".to_owned()
        );
    }
    let (mut losses, mut rows) = (Vec::new(), Vec::new());
    for figure in general {
        let is_meant = figure.reading.rank <= Rank::Detail
            && figure.reading.direction == Direction::Higher
            && !matches!(figure.value.as_str(), "overall" | "mean");
        let before = evidence.by_row(&figure.stage, Some(baseline), &figure.value).filter(|_| is_meant);
        let after = evidence.by_row(&figure.stage, Some(&evidence.candidate), &figure.value);
        let Some((before, after)) = before.zip(after) else { continue };
        let differences: Vec<f64> = after.iter().filter_map(|(id, after)| Some(after - before.get(id)?)).collect();
        let mean = differences.iter().sum::<f64>() / differences.len().max(1) as f64;
        let wide = |end: f64| mean + super::SURE * (end - mean);
        let interval =
            super::tone::interval(evidence, &figure, &differences).map(|(low, high)| (wide(low), wide(high)));
        let Some((low, high)) = interval.filter(|(_, high)| *high < 0.0) else { continue };
        losses.push(format!(
            "{} differs from {baseline}'s by {low:.3} to {high:.3} (99 %) over {} rows",
            figure.name(),
            differences.len()
        ));
        rows.extend(evidence.worst(&figure, ROWS).into_iter().filter(|id| !rows.contains(id)).collect::<Vec<_>>());
    }
    if losses.is_empty() {
        return Ok(Vec::new());
    }
    rows.truncate(ROWS);
    Ok(vec![Finding {
        code: "D-FORGET",
        title: "it has forgotten what the base could do".to_owned(),
        evidence: losses.join("; "),
        rows,
        confidence: Confidence::High,
        remedy: remedies(&["mix general data into training", "a lower learning rate, fewer epochs, a lower rank"]),
    }])
}
