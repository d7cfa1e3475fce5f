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
        "one in twenty misses its truth",
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
    // A schema that stands in the pipeline counts, also where it refers to a file.
    let inline = "{ properties: { n: { $ref: data/n.json } } }";
    workspace.edit("pipelines/p.yaml", "data/other.json", inline);
    workspace.run(&[]).code(0);
    workspace.edit("pipelines/p.yaml", inline, "{ required: [zzz], properties: { n: { $ref: data/n.json } } }");
    let run = workspace.run(&[]).code(0);
    assert_eq!(run.ran(), ["found.tuned"]);
    assert_eq!(run.json()["summary"]["found"]["tuned"]["reply_ok"]["value"], 0.0);
    workspace.edit(
        "pipelines/p.yaml",
        "{ required: [zzz], properties: { n: { $ref: data/n.json } } }",
        "data/nothing.json",
    );
    let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
    assert!(stderr.contains("failed to read data/nothing.json"), "{stderr}");
}

#[test]
fn a_file_is_scored_without_a_pipeline() {
    let workspace = Workspace::new();
    workspace
        .write("p.csv", "output,gold,lang,n\nyes,yes,en,1\nno,yes,de,2.05\n,yes,en,3\n")
        .write("p.jsonl", "{\"prediction\": {\"a\": 1}, \"reference\": 3}\nbroken\n{\"prediction\": null}\n{\"prediction\": \"x 3\", \"reference\": 3}\n");
    let text = workspace
        .etalon(&["score", "p.csv", "--metric", "exact_match", "--metric", "length", "--by", "lang"])
        .code(0)
        .stdout;
    assert!(text.contains("exact_match ") && text.contains("exact_match · lang=de"), "{text}");
    let json = workspace
        .etalon(&[
            "score",
            "p.csv",
            "--metric",
            "numeric:tolerance=0.1",
            "--prediction",
            "n",
            "--reference",
            "{{ row.n | float + 0.05 }}",
            "--format",
            "json",
        ])
        .code(0)
        .json();
    assert_eq!((json["rows"].as_u64(), json["summary"]["numeric"]["value"].as_f64()), (Some(3), Some(1.0)));
    // Rows that cannot be read stop it, or are counted.
    let arguments = ["score", "p.jsonl", "--metric", "json_valid", "--metric", "numeric:extract=last"];
    let ran = workspace.etalon(&arguments).code(3);
    assert!(ran.stderr.contains("p.jsonl:2: not JSON"), "{}", ran.stderr);
    let ran = workspace.etalon(&[&arguments[..], &["--skip-bad-rows", "--format", "json"]].concat()).code(0);
    assert!(ran.stderr.contains("1 bad rows skipped"), "{}", ran.stderr);
    let summary = &ran.json()["summary"];
    assert_eq!((summary["json_valid"]["n"].as_u64(), summary["json_valid"]["missing"].as_u64()), (Some(2), Some(1)));
    assert_eq!(summary["coverage"]["missing"], 2);
    let rows = workspace.etalon(&[&arguments[..], &["--skip-bad-rows", "--rows"]].concat()).code(0).stdout;
    assert_eq!(
        rows.lines().last(),
        Some(
            r#"{"line":4,"scores":{"json_valid":{"duplicate_keys":null,"fenced":0,"strict":0},"numeric":{"equal":1,"error":0.0}}}"#
        )
    );
    // Settings with commas, and mistakes.
    let json = workspace
        .etalon(&["score", "p.csv", "--metric", "regex:pattern=^(yes|n{1,2}o)$,ignore_case=true", "--format", "json"])
        .code(0)
        .json();
    assert_eq!(json["summary"]["regex"]["value"], 0.6666666666666666);
    for (arguments, message) in [
        (&["--metric", "exact_mach"][..], "did you mean `exact_match`?"),
        (&["--metric", "exact_match:mode=loose"], "`mode` is strict, trim, casefold or squad"),
        (&["--metric", "exact_match", "--reference", "glod"], "did you mean `gold`?"),
        (&["--metric", "exact_match", "--by", "language"], "did you mean `lang`?"),
        (&["--metric", "numeric:0.1"], "setting=value"),
    ] {
        let stderr = workspace.etalon(&[&["score", "p.csv"], arguments].concat()).code(2).stderr;
        assert!(stderr.contains(message), "{stderr}");
    }
    assert!(
        workspace
            .etalon(&["score", "none.csv", "--metric", "length"])
            .code(2)
            .stderr
            .contains("there is no file none.csv")
    );
    assert!(!workspace.path("cache").exists(), "nothing is left behind");
}
