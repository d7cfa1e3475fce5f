//! Judges, calls and checks that cannot be trusted: everything behind them is doubtful.

use super::{Evidence, INSTRUMENT, prefix_of, remedies};
use crate::diagnose::{Confidence, Finding};

const COVERAGE: f64 = 0.95;
const CONSISTENCY: f64 = 0.6;
const KAPPA: f64 = 0.4;
const FAILED: f64 = 0.02;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let run = evidence.run.as_ref().ok_or("a run")?;
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for (stage, models) in &run.summary {
        let is_judge = evidence.kind(stage) == "judge";
        let is_meant = |model: &str| model == "_" || prefix_of(model, &evidence.candidate).is_some();
        for (model, summary) in models.iter().filter(|(model, _)| is_meant(model)) {
            let value = |name: &str| summary.values.get(name).and_then(|estimate| estimate.value);
            let high = |name: &str| summary.values.get(name).and_then(|estimate| estimate.high).unwrap_or(1.0);
            let mut add = |evidence: String, remedy: &str| found.push((evidence, vec![remedy.to_owned()]));
            if let Some(coverage) = value("coverage").filter(|coverage| *coverage < COVERAGE) {
                add(
                    format!("{stage}.{model}: only {coverage:.3} of the rows have a valid result"),
                    "mend the failed rows first: `etalon show … --failed`",
                );
            }
            if !is_judge {
                continue;
            }
            if let Some(consistency) =
                value("position_consistency").filter(|_| high("position_consistency") < CONSISTENCY)
            {
                add(
                    format!(
                        "{stage}: the judge keeps its verdict in {consistency:.3} of the pairs when the order is turned"
                    ),
                    "take a stronger judge, or `order: both`, which counts such pairs as ties",
                );
            }
            if let Some(canaries) = value("canaries").filter(|_| high("canaries") < 1.0) {
                add(
                    format!("{stage}: the judge noticed {canaries:.3} of the canaries"),
                    "do not use this judge: it likes answers that are no answers",
                );
            }
            if let Some(kappa) = value("kappa").filter(|_| high("kappa") < KAPPA) {
                add(
                    format!("{stage}: the judge hardly agrees with people (kappa {kappa:.2})"),
                    "mend the judge's prompt, or take another one, before believing its numbers",
                );
            }
        }
    }
    // Calls of other models say nothing of this one.
    let is_of_candidate = |name: &str| name.split_once('.').is_none_or(|(_, model)| model == evidence.candidate);
    for node in run.nodes.iter().filter(|node| matches!(node.kind.as_str(), "inference" | "judge")) {
        if !is_of_candidate(&node.node) {
            continue;
        }
        let share = node.failed as f64 / node.rows.max(1) as f64;
        if share > FAILED {
            found.push((
                format!("{}: {} of {} calls failed", node.node, node.failed, node.rows),
                remedies(&["mend the server or the limits first, and run again: what succeeded is kept"]),
            ));
        }
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let (evidence, remedy): (Vec<String>, Vec<Vec<String>>) = found.into_iter().unzip();
    let mut remedy: Vec<String> = remedy.into_iter().flatten().collect();
    let mut seen = std::collections::BTreeSet::new();
    remedy.retain(|text| seen.insert(text.clone()));
    Ok(vec![Finding {
        code: INSTRUMENT,
        title: "what measures cannot be trusted".to_owned(),
        evidence: evidence.join("; "),
        rows: Vec::new(),
        confidence: Confidence::High,
        remedy,
    }])
}
