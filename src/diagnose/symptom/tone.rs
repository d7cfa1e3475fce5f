//! Right answers in the wrong tone: facts come from examples, and style from preferences.

use super::{Difference, Evidence, Figure, remedies};
use crate::diagnose::{Confidence, Finding, ROWS};
use crate::score::{Direction, Rank};
use crate::spec::RowsRole;

/// Words in the names of criteria and metrics that speak of tone, and of truth.
const TONE: &[&str] =
    &["tone", "style", "polite", "friendl", "empath", "warm", "voice", "brand", "calm", "human", "formality"];
const TRUTH: &[&str] =
    &["accura", "correct", "factual", "faithful", "truth", "exact_match", "squad_f1", "f1_macro", "right"];

/// What right answers attain at least, and answers of the wrong tone at most, from 0 to 1: 4 and 3 of 5.
const RIGHT: f64 = 0.75;
const WRONG: f64 = 0.5;
/// By how much tone lies behind at least, surely: half a point of 1 to 5.
const BEHIND: f64 = 0.125;

pub(super) fn look(evidence: &Evidence) -> Result<Vec<Finding>, String> {
    let figures = evidence.figures(&evidence.candidate, RowsRole::Heldout);
    let of = |words: &[&str]| -> Vec<&Figure> {
        let is_it = |figure: &&Figure| {
            let name = figure.value.to_lowercase();
            figure.reading.rank <= Rank::Detail
                && figure.reading.direction == Direction::Higher
                && !name.ends_with(".pass_rate")
                && words.iter().any(|word| name.contains(word))
        };
        figures.iter().filter(is_it).collect()
    };
    let (tones, truths) = (of(TONE), of(TRUTH));
    if tones.is_empty() || truths.is_empty() {
        return Err(
            "a criterion of tone beside one of truth, told by their names: `criteria: { accuracy: …, tone: … }`"
                .to_owned(),
        );
    }
    let attained = |figure: &Figure| -> Option<f64> {
        let (low, high) = evidence.range(figure)?;
        Some((figure.estimate.value? - low) / (high - low))
    };
    let mut findings = Vec::new();
    for tone in tones {
        let Some(level) = attained(tone).filter(|level| *level < WRONG) else { continue };
        let Some(truth) = truths.iter().find(|truth| attained(truth).is_some_and(|level| level >= RIGHT)) else {
            continue;
        };
        let behind = evidence.difference((truth, &evidence.candidate), (tone, &evidence.candidate));
        // Without rows in common the levels alone decide, and less surely.
        if behind.is_some_and(|behind| behind.low <= BEHIND) {
            continue;
        }
        let gap = behind.map_or_else(String::new, |Difference { low, high, .. }| {
            format!("; tone lies behind by {low:.2} to {high:.2} of the scale (95 %)")
        });
        findings.push(Finding {
            code: "D-TONE",
            title: "right answers in the wrong tone".to_owned(),
            evidence: format!(
                "{} {:.2} beside {} {:.2}, that is {level:.2} of the scale{gap}",
                tone.name(),
                tone.estimate.value.unwrap_or_default(),
                truth.name(),
                truth.estimate.value.unwrap_or_default()
            ),
            rows: evidence.worst(tone, ROWS),
            confidence: match behind {
                Some(_) if tone.estimate.n >= 50 => Confidence::High,
                Some(_) => Confidence::Medium,
                None => Confidence::Low,
            },
            remedy: remedies(&[
                "preference pairs: `etalon export PIPELINE STAGE --to dpo` writes them from answers, references and comparisons; more examples of the old kind teach facts, not tone",
                "examples in the right tone, and a system prompt that asks for it",
            ]),
        });
    }
    Ok(findings)
}
