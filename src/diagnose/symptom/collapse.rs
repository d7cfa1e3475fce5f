//! One answer to everything, and loops.

use std::collections::HashMap;

use super::{Answers, Evidence, Said, Signs, answers, remedies};
use crate::diagnose::{Confidence, Finding, ROWS};
use crate::row::{Status, is_cut};
use crate::text::repetition;

/// The share of rows with one answer from which a model has collapsed, and below which others have not.
const ONE: f64 = 0.95;
const OTHERS: f64 = 0.8;
const FEW: usize = 20;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for answers in answers(evidence)? {
        // Loops that run into the limit are D-TRUNC.
        let loops = |said: &Said| {
            said.status != Status::Cut && !is_cut(said.finish_reason.as_deref()) && repetition(&said.text).is_loop
        };
        let signs = Signs::of(evidence, answers, loops);
        if signs.is_shown() && (signs.is_new || signs.of_baseline.is_none()) {
            findings.push(Finding {
                code: "D-COLLAPSE",
                title: "answers end in loops".to_owned(),
                evidence: format!("{}: {} loop", answers.stage, signs.words(evidence)),
                rows: signs.rows(),
                confidence: signs.confidence(),
                remedy: remedies(&[
                    "look for repetitions in the training data",
                    "a lower learning rate; a temperature above 0 or a repetition penalty when serving",
                ]),
            });
        }
        let Some((text, share)) = most_frequent(answers).filter(|(_, share)| *share > ONE) else { continue };
        let other = evidence
            .beside(answers, evidence.ceiling.as_ref())
            .or(evidence.beside(answers, evidence.baseline.as_ref()));
        let Some((_, of_other)) = other.and_then(most_frequent).filter(|(_, share)| *share < OTHERS) else { continue };
        let shown: String = text.chars().take(60).collect();
        findings.push(Finding {
            code: "D-COLLAPSE",
            title: "one answer to everything".to_owned(),
            evidence: format!(
                "{}: {share:.3} of {} answers are {shown:?}; the most frequent one of {} has {of_other:.3}",
                answers.stage,
                answers.said.len(),
                other.map_or("others", |other| &other.model)
            ),
            rows: answers
                .said
                .iter()
                .filter(|(_, said)| said.text.trim() == text)
                .take(ROWS)
                .map(|it| it.0.clone())
                .collect(),
            confidence: Confidence::High,
            remedy: remedies(&[
                "balance the labels of the training data",
                "a lower learning rate, fewer epochs; look for duplicates in the training data",
            ]),
        });
    }
    Ok(findings)
}

/// Returns the most frequent answer with its share of the rows.
fn most_frequent(answers: &Answers) -> Option<(&str, f64)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    answers.said.values().for_each(|said| *counts.entry(said.text.trim()).or_default() += 1);
    let n = answers.said.len();
    let most = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)));
    most.filter(|_| n >= FEW).map(|(text, count)| (text, count as f64 / n as f64))
}
