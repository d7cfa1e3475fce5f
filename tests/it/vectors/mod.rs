//! Test vectors made with the field's reference implementations: every `*.json` directly in
//! `tests/vectors/` (or in the directory that `ETALON_VECTORS` names), each case held to the
//! tolerance written in its file, through the functions that stages call.
//!
//! A family is one function from a case's input to what etalon computes for it, shaped as the
//! expectation; `differences` compares the two.

mod statistics;
mod verdicts;

use std::path::PathBuf;

use serde_json::Value;

use etalon::stats::Interval;

/// A case of a family: its input, what the reference computed, and its category.
struct Case<'a> {
    input: &'a Value,
    expected: &'a Value,
    category: &'a str,
}

/// Computes what `expected` of a case holds.
type Compute = fn(&Case) -> Value;

/// Families, with the keys of expectations that only inform.
const FAMILIES: &[(&str, Compute, &[&str])] = &[
    ("bradley_terry", statistics::bradley_terry, &[]),
    ("correlation", statistics::correlation, &[]),
    ("judge_correction", statistics::judge_correction, &[]),
    ("kappa", statistics::kappa, &[]),
    ("krippendorff", statistics::krippendorff, &[]),
    ("length_control", statistics::length_control, &[]),
    ("mcnemar", statistics::mcnemar, &[]),
    ("multiplicity", statistics::multiplicity, &[]),
    ("paired_tests", statistics::paired_tests, &["bca_ci95", "percentile_ci95", "percentile_tol"]),
    ("power", statistics::power, &[]),
    ("proportion_ci", statistics::proportion_ci, &[]),
    ("verdict_parse", verdicts::verdict_parse, &[]),
];

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
        let Some((_, compute, ignored)) = FAMILIES.iter().find(|(name, ..)| *name == family) else {
            failures.push(format!("no function of etalon computes {family}"));
            continue;
        };
        let mut passed = 0;
        for case in cases {
            let (input, expected) = (&case["input"], &case["expected"]);
            let found = compute(&Case { input, expected, category: case["category"].as_str().unwrap_or_default() });
            let mut wrong = Vec::new();
            differences(&found, expected, tolerance, ignored, "", &mut wrong);
            if wrong.is_empty() {
                passed += 1;
            } else {
                wrong.truncate(4);
                let input: String = input.to_string().chars().take(300).collect();
                failures.push(format!("{family} {}: {} for {input}", case["id"], wrong.join("; ")));
            }
        }
        println!("{family}: {passed}/{}", cases.len());
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(30)].join("\n"));
}

/// Notes where `found` is not `expected`. `"NaN"` stands for what is not defined: null here.
fn differences(found: &Value, expected: &Value, tolerance: f64, ignored: &[&str], at: &str, wrong: &mut Vec<String>) {
    let same = match (found, expected) {
        (_, Value::Object(wanted)) => {
            for (key, wanted) in wanted.iter().filter(|(key, _)| !ignored.contains(&key.as_str())) {
                differences(&found[key], wanted, tolerance, ignored, &format!("{at}.{key}"), wrong);
            }
            return;
        }
        (Value::Array(values), Value::Array(wanted)) if values.len() == wanted.len() => {
            for (i, (value, wanted)) in values.iter().zip(wanted).enumerate() {
                differences(value, wanted, tolerance, ignored, &format!("{at}[{i}]"), wrong);
            }
            return;
        }
        // One null for a pair of undefined bounds.
        (Value::Null, Value::Array(wanted)) => wanted.iter().all(|wanted| wanted == "NaN"),
        (Value::Null, Value::String(wanted)) => wanted == "NaN",
        (Value::Number(value), Value::Number(wanted)) => {
            let (value, wanted) = (value.as_f64().unwrap(), wanted.as_f64().unwrap());
            (value - wanted).abs() <= tolerance + 1e-9 * wanted.abs()
        }
        _ => found == expected,
    };
    if !same {
        let short = |value: &Value| value.to_string().chars().take(400).collect::<String>();
        wrong.push(format!("{at} is {} instead of {}", short(found), short(expected)));
    }
}

fn bounds(interval: Option<Interval>) -> Option<[f64; 2]> {
    interval.map(|interval| [interval.low, interval.high])
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn matrix(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}
