//! Vectors for reading the replies of judges.

use serde_json::{Value, json};

use etalon::stage::read::{Choice, Scale, read_pair, read_rubric};

use super::{Case, texts};

pub fn verdict_parse(case: &Case) -> Value {
    let input = case.input;
    let text = input["text"].as_str().unwrap_or_default();
    let finish_reason = input["finish_reason"].as_str();
    if input["mode"] == "pairwise" {
        let reading = read_pair(text, input["allow_tie"].as_bool().unwrap_or(true), finish_reason, None);
        return json!({
            "status": reading.status, "verdict": reading.verdict.map(label),
            "conflict": reading.conflict, "notes": reading.notes,
        });
    }
    let number = |name: &str, default: f64| input[name].as_f64().unwrap_or(default);
    let scale = Scale {
        low: number("lo", 1.0),
        high: number("hi", 5.0),
        fractional: input["fractional"].as_bool().unwrap_or(false),
    };
    let reading = read_rubric(text, &texts(&input["criteria"]), scale, finish_reason, None);
    let scores: serde_json::Map<String, Value> =
        reading.scores.into_iter().map(|(name, score)| (name, json!(score))).collect();
    json!({ "status": reading.status, "scores": scores, "errors": reading.errors, "notes": reading.notes })
}

/// Returns a choice in the words of the vectors.
fn label(choice: Choice) -> &'static str {
    match choice {
        Choice::A => "A",
        Choice::AStrong => "A+",
        Choice::B => "B",
        Choice::BStrong => "B+",
        Choice::Tie => "tie",
    }
}
