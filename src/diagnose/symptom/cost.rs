//! Answers that are slower or dearer than the ceiling's, which the tune was to replace.

use super::{Evidence, remedies};
use crate::diagnose::{Confidence, Finding};
use crate::spec::RowsRole;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    if evidence.ceiling.is_none() {
        return Err("a model of `role: ceiling`".to_owned());
    }
    let figures = evidence.figures(&evidence.candidate, RowsRole::Heldout);
    let is_meant = |value: &str| matches!(value, "latency" | "latency.p95" | "cost");
    let mut words = Vec::new();
    let mut has_any = false;
    for figure in figures.iter().filter(|figure| is_meant(&figure.value)) {
        let Some(ceiling) = evidence.of_model(figure, evidence.ceiling.as_ref()) else { continue };
        has_any = true;
        // Two intervals at 95 % that do not touch differ at more than 99 %.
        let is_more = figure.estimate.low.zip(ceiling.high).is_some_and(|(low, high)| low > high);
        if let (true, Some(own), Some(other)) = (is_more, figure.estimate.value, ceiling.value) {
            words.push(format!("{} {own:.4} beside {other:.4}", figure.name()));
        }
    }
    if !has_any {
        return Err("the metrics `latency` or `cost`, with prices of the models".to_owned());
    }
    if words.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Finding {
        code: "D-COST",
        title: "slower or dearer than the ceiling".to_owned(),
        evidence: words.join("; "),
        rows: Vec::new(),
        confidence: Confidence::High,
        remedy: remedies(&["a smaller base, quantisation, a shorter prompt; batch what need not be answered at once"]),
    }])
}
