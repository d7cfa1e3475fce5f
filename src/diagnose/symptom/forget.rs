//! What the base could do and the tuned model no longer can.

use super::{Difference, Evidence, remedies};
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
        if !is_meant {
            continue;
        }
        let found = evidence.difference((&figure, &evidence.candidate), (&figure, baseline));
        let Some(Difference { n, mean, low, high }) = found else { continue };
        let wide = |end: f64| mean + super::SURE * (end - mean);
        let (low, high) = (wide(low), wide(high));
        if high >= 0.0 {
            continue;
        }
        losses.push(format!(
            "{} differs from {baseline}'s by {low:.3} to {high:.3} of its range (99 %) over {n} rows",
            figure.name()
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
