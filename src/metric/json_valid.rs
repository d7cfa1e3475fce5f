//! `json_valid`: the share of predictions that are JSON (RFC 8259) as they stand.
//!
//! Its part `fenced` is the share that is JSON once a surrounding Markdown fence is removed.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Entry, Metric, MetricError, ProportionTally, Scored, Tally, TallySummary};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "json_valid",
    about: "Share of predictions that are JSON (RFC 8259) as they stand.",
    settings: &[],
    parts: &[("fenced", "share once a surrounding Markdown fence is removed")],
    build,
    has_part: |part| part == "fenced",
    has_value: true,
    unit: |_| Unit::Fraction,
};

struct JsonValid;

fn build(_settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    Ok(Box::new(JsonValid))
}

/// Returns the inside of a text that is one Markdown fence.
pub(super) fn unfenced(text: &str) -> &str {
    let trimmed = text.trim();
    let inside = trimmed.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inside.and_then(|inside| inside.split_once('\n')) {
        Some((language, body)) if language.trim().chars().all(char::is_alphanumeric) => body,
        _ => trimmed,
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

impl Metric for JsonValid {
    fn score(&self, scored: &Scored<'_>) -> Result<Option<Value>, String> {
        let (strict, fenced) = match scored.prediction {
            None => (false, false),
            Some(Value::String(text)) => (is_json(text), is_json(text) || is_json(unfenced(text))),
            // A prediction that was already parsed was JSON.
            Some(_) => (true, true),
        };
        Ok(Some(json!([u8::from(strict), u8::from(fenced)])))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(JsonTally::default())
    }
}

#[derive(Default)]
struct JsonTally {
    strict: ProportionTally,
    fenced: ProportionTally,
}

impl Tally for JsonTally {
    fn add(&mut self, scores: &[Option<&Value>]) {
        let part =
            |index: usize| scores.iter().map(|score| score.and_then(|score| score.get(index))).collect::<Vec<_>>();
        self.strict.add(&part(0));
        self.fenced.add(&part(1));
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        self.strict.finish(summary);
        self.fenced.finish(summary);
        summary.parts[1].0 = "fenced".to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_and_fenced_are_told_apart() {
        for (text, expected) in [
            ("{\"a\": 1}", json!([1, 1])),
            ("```json\n{\"a\": 1}\n```", json!([0, 1])),
            ("Here: {\"a\": 1}", json!([0, 0])),
            ("{\"a\": NaN}", json!([0, 0])),
            ("", json!([0, 0])),
            ("\"text\"", json!([1, 1])),
        ] {
            let prediction = Value::from(text);
            let scored = Scored { prediction: Some(&prediction), reference: None, latency: None };
            assert_eq!(JsonValid.score(&scored).unwrap(), Some(expected), "{text}");
        }
    }
}
