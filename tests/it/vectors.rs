//! Test vectors made with the field's reference implementations: every `*.json` directly in
//! `tests/vectors/` (or in the directory that `ETALON_VECTORS` names), each case held to the
//! tolerance written in its file, through the functions that stages call.

use std::path::PathBuf;

use serde_json::{Value, json};

use etalon::stage::verdict::{Scale, read_pair, read_rubric};
use etalon::stats::wilson;

#[test]
fn vectors() {
    let directory = std::env::var_os("ETALON_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from);
    let mut failures = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let vectors: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let family = vectors["family"].as_str().unwrap();
        let tolerance = vectors["tolerance"]["abs"].as_f64().unwrap_or(0.0);
        let cases = vectors["cases"].as_array().unwrap();
        let mut passed = 0;
        for case in cases {
            let result = match family {
                "verdict_parse" => verdict_parse(case),
                "proportion_ci" => proportion_ci(case, tolerance),
                _ => Err(format!("no function of etalon computes {family} yet")),
            };
            match result {
                Ok(Held::Yes) => passed += 1,
                // Shown as not passed, and no failure: no function computes it yet.
                Ok(Held::NotYet) => {}
                Err(message) => failures.push(format!("{family} {}: {message}", case["id"])),
            }
        }
        println!("{family}: {passed}/{}", cases.len());
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

/// Whether a case was held to its expectation.
enum Held {
    Yes,
    NotYet,
}

fn verdict_parse(case: &Value) -> Result<Held, String> {
    let (input, expected) = (&case["input"], &case["expected"]);
    let text = input["text"].as_str().unwrap_or_default();
    let finish_reason = input["finish_reason"].as_str();
    let status = |status| serde_json::to_value(status).unwrap();
    let found = if input["mode"] == "pairwise" {
        let reading = read_pair(text, input["allow_tie"].as_bool().unwrap_or(true), finish_reason, None);
        json!({
            "status": status(reading.status), "verdict": reading.verdict.map(|verdict| verdict.label()),
            "conflict": reading.conflict, "notes": reading.notes,
        })
    } else {
        let criteria: Vec<String> =
            input["criteria"].as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect();
        let number = |name: &str, default: f64| input[name].as_f64().unwrap_or(default);
        let scale = Scale {
            low: number("lo", 1.0),
            high: number("hi", 5.0),
            fractional: input["fractional"].as_bool().unwrap_or(false),
        };
        let reading = read_rubric(text, &criteria, scale, finish_reason, None);
        let scores: serde_json::Map<String, Value> =
            reading
                .scores
                .into_iter()
                .map(|(name, score)| {
                    (
                        name,
                        score.map_or(Value::Null, |score| {
                            if score.fract() == 0.0 { json!(score as i64) } else { json!(score) }
                        }),
                    )
                })
                .collect();
        json!({ "status": status(reading.status), "scores": scores, "errors": reading.errors, "notes": reading.notes })
    };
    if found == *expected { Ok(Held::Yes) } else { Err(format!("{found} instead of {expected} for {input}")) }
}

fn proportion_ci(case: &Value, tolerance: f64) -> Result<Held, String> {
    let (input, expected) = (&case["input"], &case["expected"]);
    let z = match input["alpha"].as_f64() {
        Some(alpha) if (alpha - 0.05).abs() < 1e-12 => etalon::stats::Z95,
        // Other levels come with the statistics of the whole family.
        _ => return Ok(Held::NotYet),
    };
    let (Some(successes), Some(n)) = (input["successes"].as_f64(), input["n"].as_f64()) else {
        return Ok(Held::NotYet);
    };
    let Some(wanted) = expected["wilson"].as_array() else {
        return Ok(Held::NotYet);
    };
    let interval = wilson(successes, n, z).ok_or("no interval")?;
    for (found, wanted) in [interval.low, interval.high].into_iter().zip(wanted) {
        let wanted = wanted.as_f64().unwrap();
        if (found - wanted).abs() > tolerance {
            return Err(format!("{found} instead of {wanted}"));
        }
    }
    Ok(Held::Yes)
}
