//! Refusals of what others answer.

use super::{Evidence, Said, Signs, answers, remedies};
use crate::diagnose::Finding;
use crate::row::Status;
use crate::text::is_refusal;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for answers in answers(evidence)? {
        let ceiling = evidence.beside(answers, evidence.ceiling.as_ref());
        let refuses = |said: &Said| said.status == Status::Refused || is_refusal(&said.text);
        // What the ceiling refuses, too, should perhaps not be answered.
        let should = |id: &String| ceiling.and_then(|ceiling| ceiling.said.get(id)).is_none_or(|said| !refuses(said));
        let asked = super::Answers {
            stage: answers.stage.clone(),
            model: answers.model.clone(),
            rows: answers.rows,
            said: answers
                .said
                .iter()
                .filter(|(id, _)| should(id))
                .map(|(id, said)| (id.clone(), said.clone()))
                .collect(),
        };
        let signs = Signs::of(evidence, &asked, refuses);
        if !signs.is_shown() {
            continue;
        }
        let like_base = signs.of_baseline.is_some_and(|share| share >= signs.low) && !signs.is_new;
        findings.push(Finding {
            code: "D-REFUSAL",
            title: if like_base { "it refuses, as the base does" } else { "it refuses what should be answered" }
                .to_owned(),
            evidence: format!("{}: {} refuse", answers.stage, signs.words(evidence)),
            rows: signs.rows(),
            confidence: signs.confidence(),
            remedy: match like_base {
                true => remedies(&[
                    "look at the prompt first: the base refuses as often, so training did not bring it",
                    "add answered examples of such requests to the training data",
                ]),
                false => remedies(&[
                    "take refusals out of the training data (`refusal` as a metric over training rows finds them)",
                    "add answered examples of such requests",
                ]),
            },
        });
    }
    Ok(findings)
}
