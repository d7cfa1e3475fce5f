//! Held-out rows that stand in training data: what is measured by them is memory.

use super::{Evidence, remedies};
use crate::diagnose::{Confidence, Finding, ROWS};
use crate::spec::RowsRole;

const SHARE: f64 = 0.01;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let run = evidence.run.as_ref().ok_or("a run")?;
    let looked = || evidence.leakage.iter().filter(|(stage, _)| run.rows_role(stage) == RowsRole::Heldout);
    if looked().count() == 0 {
        return Err(
            "the training data: `leakage: { against: data/train.jsonl, column: question }` at the dataset".to_owned()
        );
    }
    let mut findings = Vec::new();
    for (stage, rows) in looked() {
        let leaked: Vec<&String> = rows.iter().filter(|(_, leaked)| **leaked).map(|(id, _)| id).collect();
        let share = leaked.len() as f64 / rows.len().max(1) as f64;
        if share <= SHARE {
            continue;
        }
        findings.push(Finding {
            code: "D-LEAK",
            title: "held-out rows stand in training data".to_owned(),
            evidence: format!("{stage}: {} of {} rows ({share:.3})", leaked.len(), rows.len()),
            rows: leaked.into_iter().take(ROWS).cloned().collect(),
            confidence: Confidence::High,
            remedy: remedies(&[
                "take these rows out of training, or drop them here (`leakage: { action: drop }`), and run again",
                "split by customer, conversation or document rather than by row",
            ]),
        });
    }
    Ok(findings)
}
