//! Answers that are much longer than the ceiling's.

use super::{Evidence, answers, remedies};
use crate::diagnose::{Confidence, Finding, ROWS};
use crate::stats::{Known, mean_interval};

/// How many times as long answers surely are.
const LONGER: f64 = 1.5;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    if evidence.ceiling.is_none() {
        return Err("a model of `role: ceiling`, whose length is the measure".to_owned());
    }
    let mut findings = Vec::new();
    for answers in answers(evidence)? {
        let Some(ceiling) = evidence.beside(answers, evidence.ceiling.as_ref()) else { continue };
        let length = |text: &str| (text.chars().count() as f64).max(1.0);
        let ratios: Vec<(&String, f64)> = answers
            .said
            .iter()
            .filter_map(|(id, said)| Some((id, (length(&said.text) / length(&ceiling.said.get(id)?.text)).ln())))
            .collect();
        let logs: Vec<f64> = ratios.iter().map(|(_, ratio)| *ratio).collect();
        let Some(interval) = mean_interval(&logs, &[], &Known::default()) else { continue };
        if logs.len() < super::FEW || interval.low <= LONGER.ln() {
            continue;
        }
        let mut longest = ratios;
        longest.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        findings.push(Finding {
            code: "D-VERBOSE",
            title: "answers are much longer than the ceiling's".to_owned(),
            evidence: format!(
                "{}: {:.2} times as long as {}'s (geometric mean of {} rows; 95 %: {:.2} to {:.2})",
                answers.stage,
                mean.exp(),
                ceiling.model,
                logs.len(),
                interval.low.exp(),
                interval.high.exp()
            ),
            rows: longest.into_iter().take(ROWS).map(|(id, _)| id.clone()).collect(),
            confidence: if logs.len() >= 50 { Confidence::High } else { Confidence::Medium },
            remedy: remedies(&[
                "shorten the answers of the training data",
                "ask the judge for brevity, too, or read the length-controlled win rate",
            ]),
        });
    }
    Ok(findings)
}
