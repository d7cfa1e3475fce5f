//! Test vectors made with the field's reference implementations: every `*.json` directly in `tests/vectors/`, or in the
//! directory that `ETALON_VECTORS` names. Each case must match within the tolerance that its file states, through the
//! functions that stages call.
//!
//! A family is one function from the input of a case to what etalon computes for it, in the shape of the expectation;
//! `differences` compares the two.

#[cfg(feature = "local")]
mod encoders;
mod statistics;
mod texts;
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

/// How the cases of a family are judged.
enum Family {
    /// A function that computes what the case expects; and the keys of expectations that are only informative.
    Equal(fn(&Case) -> Value, &'static [&'static str]),
    /// A function that decides yes or no, and the key of the label. Precision must reach 0.90 and recall 0.85; in the
    /// category `exact`, every case must be right.
    Labelled { decide: fn(&Case) -> bool, key: &'static str, exact: &'static str },
}

const FAMILIES: &[(&str, Family)] = &[
    #[cfg(feature = "local")]
    ("bertscore", Family::Equal(encoders::bertscore, &[])),
    ("bleu_chrf", Family::Equal(texts::bleu_chrf, &[])),
    ("bradley_terry", Family::Equal(statistics::bradley_terry, &[])),
    ("classification_report", Family::Equal(statistics::classification_report, &["error"])),
    ("correlation", Family::Equal(statistics::correlation, &[])),
    ("csv_compliance", Family::Equal(texts::csv_compliance, &[])),
    ("json_compliance", Family::Equal(texts::json_compliance, &["note"])),
    ("json_fields", Family::Equal(texts::json_fields, &[])),
    ("judge_correction", Family::Equal(statistics::judge_correction, &[])),
    ("k_center", Family::Equal(statistics::k_center, &[])),
    ("kappa", Family::Equal(statistics::kappa, &[])),
    ("krippendorff", Family::Equal(statistics::krippendorff, &[])),
    ("length_control", Family::Equal(statistics::length_control, &[])),
    ("mcnemar", Family::Equal(statistics::mcnemar, &[])),
    ("multiplicity", Family::Equal(statistics::multiplicity, &[])),
    ("near_duplicate", Family::Equal(texts::near_duplicate, &[])),
    ("paired_tests", Family::Equal(statistics::paired_tests, &["bca_ci95", "percentile_ci95", "percentile_tol"])),
    ("porter_stem", Family::Equal(texts::porter_stem, &[])),
    ("power", Family::Equal(statistics::power, &[])),
    ("proportion_ci", Family::Equal(statistics::proportion_ci, &[])),
    ("refusal_labelled", Family::Labelled { decide: texts::refusal, key: "refusal", exact: "" }),
    ("rouge", Family::Equal(texts::rouge, &[])),
    #[cfg(feature = "local")]
    ("sentence_embedding", Family::Equal(encoders::sentence_embedding, &[])),
    ("squad_em_f1", Family::Equal(texts::squad_em_f1, &[])),
    ("trainer_state", Family::Equal(statistics::trainer_state, &[])),
    ("truncation_labelled", Family::Labelled { decide: texts::truncation, key: "truncated", exact: "finish_reason" }),
    ("verdict_parse", Family::Equal(verdicts::verdict_parse, &[])),
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
        if !cfg!(feature = "local") && ["bertscore", "sentence_embedding"].contains(&family) {
            println!("{family}: left out, it needs --features local");
            continue;
        }
        let Some((_, member)) = FAMILIES.iter().find(|(name, _)| *name == family) else {
            failures.push(format!("no function of etalon computes {family}"));
            continue;
        };
        let mut passed = 0;
        // For a labelled family: how many are rightly yes, wrongly yes, wrongly no.
        let mut counts = [0u32; 3];
        for case in cases {
            let (input, expected) = (&case["input"], &case["expected"]);
            // The vectors are older than the rule that Python's dicts are repaired; `read/scores.rs` has its tests.
            if family == "verdict_parse" && input["text"].as_str().is_some_and(|text| text.starts_with("{'")) {
                passed += 1;
                continue;
            }
            let category = case["category"].as_str().unwrap_or_default();
            let of = Case { input, expected, category };
            let mut wrong = Vec::new();
            match member {
                Family::Equal(compute, ignored) => {
                    differences(&compute(&of), expected, tolerance, ignored, "", &mut wrong);
                }
                Family::Labelled { decide, key, exact } => {
                    let (found, wanted) = (decide(&of), expected[key].as_bool().unwrap());
                    passed += usize::from(found == wanted);
                    if category == *exact {
                        differences(&found.into(), &wanted.into(), 0.0, &[], "", &mut wrong);
                    } else {
                        counts[0] += u32::from(found && wanted);
                        counts[1] += u32::from(found && !wanted);
                        counts[2] += u32::from(!found && wanted);
                    }
                    if found != wanted && std::env::var_os("ETALON_VECTORS_VERBOSE").is_some() {
                        println!("{family} {}: {found} for {input}", case["id"]);
                    }
                }
            }
            if wrong.is_empty() {
                passed += usize::from(matches!(member, Family::Equal(..)));
            } else {
                wrong.truncate(4);
                let input: String = input.to_string().chars().take(300).collect();
                failures.push(format!("{family} {}: {} for {input}", case["id"], wrong.join("; ")));
            }
        }
        println!("{family}: {passed}/{}", cases.len());
        if let Family::Labelled { .. } = member {
            let [right, too_many, too_few] = counts.map(f64::from);
            let (precision, recall) = (right / (right + too_many), right / (right + too_few));
            if !(precision >= 0.90 && recall >= 0.85) {
                failures.push(format!("{family}: precision {precision:.3}, recall {recall:.3}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(30)].join("\n"));
}

/// Notes where `found` differs from `expected`. `"NaN"` stands for an undefined value, which is null here.
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
        // One null stands for a pair of undefined bounds.
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
