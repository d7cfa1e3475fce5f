//! Answers that are not in the format that was asked for, with what is wrong with them.

use std::collections::BTreeMap;

use super::{Evidence, Figure, named, remedies};
use crate::diagnose::{Confidence, Finding, ROWS};
use crate::row::Status;
use crate::spec::RowsRole;
use crate::stats::sign_test;
use crate::text::{NoJson, find_json};

/// The metrics of formats.
const FORMATS: &[&str] = &["json_valid", "json_schema", "csv_valid", "tool_call"];
/// What a format should reach where no gate says it.
const TARGET: f64 = 0.95;
/// Marks of chat templates, which no answer should have.
const MARKS: &[&str] =
    &["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "### Response", "<|assistant|>", "<|eot_id|>"];

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let figures = named(evidence, FORMATS);
    if figures.is_empty() {
        return Err(format!("a metric of the format: {}", FORMATS.join(", ")));
    }
    let mut findings = Vec::new();
    for figure in &figures {
        let target = target(evidence, figure);
        let Some(value) = figure.estimate.value.filter(|_| figure.estimate.high.is_some_and(|high| high < target))
        else {
            continue;
        };
        let failed = failed(evidence, figure);
        let causes = causes(evidence, figure, &failed);
        let says = |cause: &str| causes.iter().any(|(known, _)| *known == cause);
        let mut remedy = Vec::new();
        if says("marks of a chat template") {
            remedy.push("use the same chat template in training and serving".to_owned());
        }
        if says("cut off") {
            remedy.push("see D-TRUNC: these answers were cut off".to_owned());
        }
        remedy.extend(remedies(&[
            "constrain decoding to the format (`response_format`, a grammar of the server)",
            "add training examples that are nothing but the format, of the kinds of rows that fail",
        ]));
        let words: Vec<String> = causes.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let words = if words.is_empty() { String::new() } else { format!("; {}", words.join(", ")) };
        findings.push(Finding {
            code: "D-FORMAT",
            title: "answers are not in the format".to_owned(),
            evidence: format!(
                "{}: {value:.3} (95 %: {:.3} to {:.3}), should be {target:.3}{words}",
                figure.name(),
                figure.estimate.low.unwrap_or(0.0),
                figure.estimate.high.unwrap_or(1.0)
            ),
            rows: failed.into_iter().take(ROWS).collect(),
            confidence: if figure.estimate.n >= 50 { Confidence::High } else { Confidence::Medium },
            remedy,
        });
    }
    Ok(findings)
}

fn target(evidence: &Evidence, figure: &Figure) -> f64 {
    // What a ceiling reaches is no more than asked for.
    evidence.target(figure).filter(|(_, of)| *of == "gate").map_or(TARGET, |(target, _)| target)
}

/// Returns the rows that are not in the format.
fn failed(evidence: &Evidence, figure: &Figure) -> Vec<String> {
    let rows = evidence.by_row(figure, Some(&evidence.candidate)).unwrap_or_default();
    rows.into_iter().filter(|(_, score)| *score < 1.0).map(|(id, _)| id.to_owned()).collect()
}

/// Counts what is wrong with the answers to some rows, the most frequent first.
fn causes(evidence: &Evidence, figure: &Figure, ids: &[String]) -> Vec<(&'static str, usize)> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let is_json = figure.value.starts_with("json");
    for answers in evidence.answers_of(&evidence.candidate, RowsRole::Heldout) {
        if !evidence.is_of(figure, answers) {
            continue;
        }
        for said in ids.iter().filter_map(|id| answers.said.get(id)) {
            let text = said.text.trim();
            let cause = match () {
                () if said.status == Status::Cut => "cut off",
                () if text.is_empty() => "empty",
                () if MARKS.iter().any(|mark| text.contains(mark)) => "marks of a chat template",
                () if text.starts_with("```") => "in a code fence",
                () if !is_json => "malformed",
                () => match find_json(text, &|_| true) {
                    Err(NoJson::None | NoJson::Empty) => "without any JSON",
                    Err(NoJson::Unended) => "of which the JSON never ends",
                    Err(NoJson::Duplicate) => "with a key twice",
                    Ok(_) if !text.starts_with(['{', '[']) => "with prose around it",
                    Ok(_) => "malformed, or against the schema",
                },
            };
            *counts.entry(cause).or_default() += 1;
        }
    }
    let mut counts: Vec<(&'static str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// Returns which formats training has brought, with the rows that are left.
pub(in crate::diagnose) fn works(evidence: &Evidence) -> Vec<String> {
    let mut works = Vec::new();
    for figure in named(evidence, FORMATS) {
        let before = evidence.by_row(&figure, evidence.baseline.as_ref()).unwrap_or_default();
        let after = evidence.by_row(&figure, Some(&evidence.candidate)).unwrap_or_default();
        let both: Vec<(f64, f64)> = after.iter().filter_map(|(id, after)| Some((*before.get(id)?, *after))).collect();
        let (more, less) = both.iter().fold((0, 0), |(more, less), (before, after)| {
            (more + u64::from(after > before), less + u64::from(after < before))
        });
        if more <= less || sign_test(more, more + less) > super::ALPHA {
            continue;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| both.iter().map(of).sum::<f64>() / both.len() as f64;
        let left = failed(evidence, &figure);
        let some = left.iter().take(ROWS).cloned().collect::<Vec<_>>().join(", ");
        let left = if left.is_empty() { String::new() } else { format!("; left: {some}") };
        works.push(format!("{}: from {:.3} to {:.3}{left}", figure.name(), mean(|row| row.0), mean(|row| row.1)));
    }
    works
}
