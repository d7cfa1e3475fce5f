//! Metrics from the command line: schemas, numbers, slices.

use super::support::Workspace;

const SPEC: &str = r#"
etalon: 1
name: p
models: { tuned: { } }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key }
  answers: { kind: inference, input: rows, model: tuned, completions: "{{ row.said }}" }
  found:
    kind: metric
    input: answers
    by: [topic, level]
    metrics:
      reply_ok: { metric: json_schema, schema: data/reply.schema.json }
      numeric: { prediction: "{{ completion | json('n') }}", reference: "{{ row.n }}", tolerance: 1 }
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace
        .write("pipelines/p.yaml", SPEC)
        .write(
            "data/rows.jsonl",
            r#"{"key": 1, "topic": "a", "n": 3, "said": "{\"n\": 3}", "level": 1}
{"key": 2, "topic": "a", "n": 3, "said": "{\"n\": \"many\"}"}
{"key": 3, "topic": "b", "n": 3, "said": "{\"m\": 9}", "level": null}
{"key": 4, "topic": "b", "n": 3, "said": "{\"n\": 9}", "level": [2]}
"#,
        )
        .write("data/reply.schema.json", r#"{"required": ["n"], "properties": {"n": {"$ref": "n.json"}}}"#)
        .write("data/n.json", r#"{"type": "integer"}"#);
    workspace
}

#[test]
fn slices_stand_beside_the_whole() {
    let workspace = workspace();
    let run = workspace.run(&[]).code(0).json();
    let found = &run["summary"]["found"]["tuned"];
    assert_eq!(found["reply_ok"]["value"], 0.5);
    assert_eq!((found["numeric"]["value"].as_f64(), found["numeric.error"]["n"].as_u64()), (Some(0.25), Some(2)));
    let slices = &found["slices"];
    assert_eq!(
        (slices["topic"]["a"]["reply_ok"]["value"].as_f64(), slices["topic"]["a"]["reply_ok"]["n"].as_u64()),
        (Some(0.5), Some(2))
    );
    let levels: Vec<&String> = slices["level"].as_object().unwrap().keys().collect();
    assert_eq!(levels, ["(none)", "1", "[2]"]);
    assert_eq!(
        run["tables"]["found"]["tuned"]["reply_ok.failures"],
        serde_json::json!({"/n required": 1, "/n type": 1})
    );
    let text = workspace.etalon(&["run", "p"]).code(0).stdout;
    for line in [
        "by topic",
        "found.reply_ok · a",
        "found.tuned.reply_ok fails: 1 × /n required, 1 × /n type",
        "miss their truth by chance",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    workspace.edit("pipelines/p.yaml", "level]", "levle]");
    assert!(workspace.etalon(&["check", "p"]).code(2).stderr.contains("did you mean `level`?"));
    workspace.edit("pipelines/p.yaml", "levle]", "key]");
    let many: String =
        (0..300).map(|key| format!("{{\"key\": {key}, \"topic\": \"a\", \"n\": 1, \"said\": \"1\"}}\n")).collect();
    workspace.write("data/rows.jsonl", many);
    assert!(workspace.run(&[]).code(3).stderr.contains("more than 200 values"));
}

#[test]
fn a_schema_counts_by_its_content() {
    let workspace = workspace();
    workspace.run(&[]).code(0);
    std::fs::rename(workspace.path("data/reply.schema.json"), workspace.path("data/other.json")).unwrap();
    workspace.edit("pipelines/p.yaml", "data/reply.schema.json", "data/other.json");
    assert!(workspace.run(&[]).code(0).ran().is_empty(), "its name does not count");
    workspace.write("data/n.json", r#"{"type": "string"}"#);
    let plan = workspace.plan(&[]).code(0).json();
    assert_eq!(plan["nodes"][2]["reason"], "data/n.json changed");
    assert_eq!(workspace.run(&[]).code(0).ran(), ["found.tuned"]);
    workspace.edit("pipelines/p.yaml", "data/other.json", "data/nothing.json");
    let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
    assert!(stderr.contains("failed to read data/nothing.json"), "{stderr}");
}
