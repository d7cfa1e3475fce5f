//! The results of each kind on a fixture, by revision. If a digest changes, the meaning of the kind has changed: then
//! its revision in `src/stage` and the line here must be bumped, so that old results are not reused.

use etalon::digest::Digest;
use serde_json::{Value, json};

use super::support::Workspace;

/// Kind and revision, a node of the fixture, and the digest of its rows and its summary.
const GOLDEN: &[(&str, u64, &str, &str)] = &[
    ("dataset", 1, "rows", "73f963f9fb26dc415b0dfb114fac9769dc465ca5ad9a66e977e0ceb52f050ee4"),
    ("inference", 3, "answers.tuned", "b6196eccd3053177e15eb6fa214e65a765f2bc9eb1b36e2768d1af716f12c099"),
    ("metric", 4, "scores.tuned", "3c95d032870a49077de719f1c79ede9b4ec2d72651b5bf0beffa7ae9a15f24a4"),
    ("judge", 6, "quality.tuned", "6bdf7dca81bdc2d8ac93f9d8a1ec65d4ee9a768a8fcd8f5d5c8fd19193b7d91d"),
    ("judge", 6, "watched.tuned", "f2c8a6f30dd4eecd3f5ea88fdec022af7c7d432823aacafc1ded7e657f71c00a"),
    ("judge", 6, "ranked", "4aea12561db4c3aa9b857140c2cf8339591bf6c3acaafa992acd7ef05fa5c556"),
    ("judge", 6, "duel.tuned", "e5feb4afc2b547ccdb79c00713222ad1501a9e819c58511a6dd3e095171ba8cf"),
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
