//! Answers that end in mid-sentence, and whether a limit of the server or of training cut them.

use super::{Evidence, Said, Signs, answers, remedies};
use crate::diagnose::{Confidence, Finding};
use crate::row::{Status, is_cut};
use crate::text::{is_truncated, repetition};

/// The share of cut answers that decides what cut them.
const MOST: f64 = 0.5;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for answers in answers(evidence)? {
        let by_limit = |said: &Said| said.status == Status::Cut || is_cut(said.finish_reason.as_deref());
        let at_limit = Signs::of(evidence, answers, by_limit);
        if at_limit.is_shown() {
            let cut: Vec<&Said> = answers.said.values().filter(|said| by_limit(said)).collect();
            let loops = cut.iter().filter(|said| repetition(&said.text).is_loop).count();
            let is_endless =
                loops as f64 > MOST * cut.len() as f64 && (at_limit.is_new || at_limit.of_baseline.is_none());
            let (title, remedy) = if is_endless {
                (
                    "answers do not end: they loop until the limit",
                    remedies(&[
                        "train the end of an answer: the end-of-sequence token belongs into the labels, and padding must be another token",
                        "check that the chat template of training is that of the server",
                    ]),
                )
            } else {
                (
                    "answers are cut off by max_tokens",
                    remedies(&["raise `options: { max_tokens: … }`: the server stopped these answers, not the model"]),
                )
            };
            let loops = if loops > 0 { format!("; {loops} of them loop") } else { String::new() };
            findings.push(Finding {
                code: "D-TRUNC",
                title: title.to_owned(),
                evidence: format!("{}: {} stopped at the limit{loops}", answers.stage, at_limit.words(evidence)),
                rows: at_limit.rows(),
                confidence: at_limit.confidence(),
                remedy,
            });
            continue;
        }
        // The model says that it ended, and its text says that it did not. A rule of thumb tells, so it must do so much
        // more often than of the baseline.
        let by_text =
            |said: &Said| !by_limit(said) && is_truncated(&said.text, None) && !repetition(&said.text).is_loop;
        let at_end = Signs::of(evidence, answers, by_text);
        let is_known = if at_end.of_baseline.is_some() { at_end.is_new } else { at_end.low > 0.2 };
        if at_end.is_shown() && is_known {
            findings.push(Finding {
                code: "D-TRUNC",
                title: "answers end in mid-sentence, though no limit cut them: max_seq_length in training".to_owned(),
                evidence: format!("{}: {} end without an end", answers.stage, at_end.words(evidence)),
                rows: at_end.rows(),
                // A rule of thumb.
                confidence: Confidence::Medium,
                remedy: remedies(&[
                    "raise max_seq_length in training, or drop and split the rows that are longer: the model learned to stop where they were cut",
                    "look at the last words of the training outputs",
                ]),
            });
        }
    }
    Ok(findings)
}
