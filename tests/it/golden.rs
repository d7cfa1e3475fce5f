//! The results of each kind on a fixture, by revision. If a digest changes, the meaning of the kind has changed: then
//! its revision in `src/stage` and the line here must be bumped, so that old results are not reused.

use etalon::digest::Digest;
use serde_json::{Value, json};

use super::support::Workspace;

/// Kind and revision, a node of the fixture, and the digest of its rows and its summary.
const GOLDEN: &[(&str, u64, &str, &str)] = &[
    ("dataset", 1, "rows", "73f963f9fb26dc415b0dfb114fac9769dc465ca5ad9a66e977e0ceb52f050ee4"),
    ("inference", 2, "answers.tuned", "b6196eccd3053177e15eb6fa214e65a765f2bc9eb1b36e2768d1af716f12c099"),
    ("metric", 3, "scores.tuned", "515e9637971f7d5097c7c231ccf50e2d91ffdc5a289261d43e7e44b8e244d829"),
    ("judge", 5, "quality.tuned", "567b16525c5cf6b9b66061fbbccf71ace3f1bed37bcb051ab708707fbb83b3fb"),
    ("judge", 5, "watched.tuned", "a73c49355eaab944a6b6152b432fa64b8930617268f1ce59cca06c745cfc9ffa"),
    ("judge", 5, "ranked", "0b6fca56798e48a0cb98d46548012ace46d91f0a6adb546b468701831f02a55c"),
    ("judge", 5, "duel.tuned", "450fb65fafb8d119406f86c2617f370bd16965e64264eb07966ba5714d939782"),
];

const SPEC: &str = r#"
etalon: 1
name: p
models:
  base: { provider: scripted, reply: "{{ prompt | upper }} {{ random() < 0.5 }}" }
  tuned: { provider: scripted, reply: "{{ prompt }} {{ (random() * 1000) | int }}", seed: 3 }
  grader: { provider: scripted, reply: "{% if 'PAIR' in prompt %}[[{{ 'A' if random() < 0.5 else 'B' }}]]{% else %}{\"x\": {{ (random() * 5) | int + 1 }}, \"reason\": \"r\"}{% endif %}" }
  second: { extends: grader, seed: 5 }
stages:
  rows:
    kind: dataset
    rows:
      - { key: 2, text: "é \U0001F600", n: 1.0, big: 9007199254740993, none: ~, list: [1, { b: 2, a: 1 }] }
      - { key: a, text: "line\nbreak", n: -0.5 }
      - { key: "10", text: "" }
    id: key
  answers: { kind: inference, input: rows, models: [base, tuned], prompt: "T: {{ row.text }}", samples: 2 }
  scores:
    kind: metric
    input: answers
    reference: "T: {{ row.text }}"
    metrics: { exact_match: , json_valid: , label: { metric: classification, prediction: "{{ completion[:4] }}" } }
  quality: { kind: judge, input: answers, model: grader, prompt: "{{ completion }}", rubric: { criteria: { x: Is it? } } }
  duel: { kind: judge, input: answers, model: grader, prompt: "PAIR {{ a }} {{ b }}", compare: { baseline: base, identity_pairs: 2 } }
  watched: { kind: judge, input: answers, panel: [grader, second], canaries: 2, reference: "R", prompt: "{{ completion }}", rubric: { criteria: { x: Is it? } } }
  ranked: { kind: judge, input: answers, model: grader, prompt: "PAIR {{ a }} {{ b }}", compare: { pairs: all } }
"#;

/// Rounds to nine digits, so that the last bits of a logarithm do not matter.
fn round(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = format!("{:.9e}", number.as_f64().unwrap()).into(),
        Value::Array(items) => items.iter_mut().for_each(round),
        Value::Object(map) => map.values_mut().for_each(round),
        _ => {}
    }
}

#[test]
fn revisions_name_what_kinds_mean() {
    let workspace = Workspace::new();
    workspace.write("pipelines/p.yaml", SPEC);
    let run = workspace.run(&[]).code(0).json();
    let mut problems = Vec::new();
    for (kind, revision, name, digest) in GOLDEN {
        let node = run["nodes"].as_array().unwrap().iter().find(|node| node["node"] == *name).unwrap();
        let key = node["key"].as_str().unwrap();
        let manifest: Value =
            serde_json::from_str(&workspace.read(&format!("cache/manifests/{}/{key}.json", &key[..2]))).unwrap();
        let fingerprint = &manifest["manifest"]["fingerprint"];
        assert_eq!(
            (fingerprint["kind"].as_str(), fingerprint["revision"].as_u64()),
            (Some(*kind), Some(*revision)),
            "{name}"
        );
        let mut made = json!({ "rows": node["artifact"], "summary": manifest["manifest"]["summary"] });
        round(&mut made);
        let made = Digest::of_json("golden", &made).to_string();
        if made != *digest {
            problems.push(format!("{kind} revision {revision}, {name}: {made} instead of {digest}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
