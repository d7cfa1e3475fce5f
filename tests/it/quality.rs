//! What a held-out dataset should not contain, samples that cover it, and metrics with and without leaked rows.

use serde_json::{Value, json};

use super::support::Workspace;

const SPEC: &str = r#"
etalon: 1
name: p
models: { m: { } }
stages:
  rows:
    kind: dataset
    path: data/held.jsonl
    id: key
    dedupe: { by: q, near: 0.7 }
    leakage: { against: data/train.jsonl, column: q, against_column: "{{ row.messages[0].content }}", label: gold }
  answers: { kind: inference, input: rows, model: m, completions: "{{ row.said }}" }
  found: { kind: metric, input: answers, reference: "{{ row.gold }}", metrics: [exact_match] }
gates:
  - rows.leaked <= 0.01
"#;

fn workspace(spec: &str) -> Workspace {
    let long = "my parcel was to come on the third of May and it has not arrived at my door until this day";
    let held = [
        json!({"key": "a", "q": "How do I reset my password?", "gold": "login", "said": "login"}),
        json!({"key": "b", "q": long, "gold": "shipping", "said": "shipping"}),
        json!({"key": "c", "q": format!("{long}!"), "gold": "shipping", "said": "billing"}),
        json!({"key": "d", "q": "Where is the invoice of last month, please?", "gold": "billing", "said": "login"}),
    ];
    let train = [
        json!({"messages": [{"content": "how do i reset my password"}], "gold": "account"}),
        json!({"messages": [{"content": "an entirely different thing"}], "gold": "other"}),
        json!({"messages": []}),
    ];
    let lines = |rows: &[Value]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let workspace = Workspace::new();
    workspace
        .write("pipelines/p.yaml", spec)
        .write("data/held.jsonl", lines(&held))
        .write("data/train.jsonl", lines(&train));
    workspace
}

#[test]
fn metrics_stand_with_and_without_leaked_rows() {
    let workspace = workspace(SPEC);
    let run = workspace.run(&[]).code(1);
    for line in [
        "`dedupe` leaves out 1 of 4 rows: c (as b)",
        "leakage: 1 of 3 rows (33.3 %) stand in data/train.jsonl, marked in the column `leakage`: 1 exact; a (data/train.jsonl:1)",
        "1 of them have another `gold` in training",
        "leakage: 1 rows of data/train.jsonl have no text to compare",
    ] {
        assert!(run.stderr.contains(line), "{line}\n{}", run.stderr);
    }
    let document = run.json();
    assert_eq!(document["summary"]["rows"]["_"]["leaked"]["value"], 1.0 / 3.0);
    assert_eq!(document["gates"][0]["verdict"], "FAIL");
    let slices = &document["summary"]["found"]["m"]["slices"]["leakage"];
    assert_eq!(
        (&slices["leaked"]["exact_match"]["value"], &slices["clean"]["exact_match"]["value"]),
        (&json!(1.0), &json!(0.5))
    );
    assert_eq!(document["tables"]["rows"]["_"]["leakage"][0]["training"], "data/train.jsonl:1");
    // Other training data change the key; without leaked rows there are no slices by leakage.
    workspace.write("data/train.jsonl", "{\"messages\": [{\"content\": \"nothing of it\"}]}\n");
    let run = workspace.run(&[]).code(0);
    assert_eq!(run.ran(), ["rows", "found.m"]);
    assert!(run.json()["summary"]["found"]["m"].get("slices").is_none());
}

#[test]
fn leaked_rows_can_be_dropped_and_order_decides_nothing() {
    let workspace = workspace(&SPEC.replace("label: gold }", "action: drop }"));
    let run = workspace.run(&[]).code(1);
    assert!(run.stderr.contains("left out: 1 exact"), "{}", run.stderr);
    assert_eq!(run.json()["nodes"][0]["rows"], 2);
    let lines = workspace.read("data/held.jsonl");
    let turned: Vec<&str> = lines.lines().rev().collect();
    workspace.write("data/held.jsonl", turned.join("\n"));
    assert_eq!(workspace.run(&[]).code(1).ran(), ["rows"]);
}

#[test]
fn a_diverse_sample_covers_the_topics() {
    let topics = ["refund of a broken lamp", "password reset mail", "delivery to another address", "invoice for taxes"];
    let rows: String = (0..80)
        .map(|i| {
            let topic = if i < 74 { topics[0] } else { topics[1 + i % 3] };
            format!("{}\n", json!({"key": i, "q": format!("{topic} number {i}"), "half": i % 2}))
        })
        .collect();
    let spec = r#"
etalon: 1
name: p
models: { m: { } }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key, sample: { size: 8, strategy: diverse, by: q, strata: half } }
  answers: { kind: inference, input: rows, model: m, completions: "{{ row.q }}" }
  found: { kind: metric, input: answers, metrics: [length] }
"#;
    let workspace = Workspace::new();
    workspace.write("pipelines/p.yaml", spec).write("data/rows.jsonl", &rows);
    let document = workspace.run(&[]).code(0).json();
    assert!(document["summary"]["rows"]["_"]["covering_radius"]["value"].as_f64().unwrap() < 1.0);
    assert_eq!(
        document["tables"]["rows"]["_"]["strata"],
        json!([{"stratum": "0,", "rows": 40, "chosen": 4}, {"stratum": "1,", "rows": 40, "chosen": 4}])
    );
    let shown = workspace.etalon(&["show", "p", "rows", "--format", "json"]).code(0).stdout;
    let chosen = topics.iter().filter(|topic| shown.contains(**topic)).count();
    assert_eq!(chosen, 4, "{shown}");
    // The order of the file does not matter; nor does the seed, since nothing is drawn at random.
    let turned: Vec<&str> = rows.lines().rev().collect();
    workspace.write("data/rows.jsonl", turned.join("\n"));
    assert_eq!(workspace.run(&[]).code(0).ran(), ["rows"]);
}

#[test]
fn wrong_settings_are_told_at_their_place() {
    for (from, to, message) in [
        ("near: 0.7", "near: 7", "`dedupe.near` is 7, expected a number above 0, at most 1"),
        ("data/train.jsonl", "data/trian.jsonl", "there is no file data/trian.jsonl"),
    ] {
        let workspace = workspace(&SPEC.replace(from, to).replace("label: gold", "label: glod"));
        let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
        assert!(stderr.contains(message), "{stderr}");
    }
}
