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
    // A schema written in the pipeline enters the key, also if it refers to a file.
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
    // Rows that cannot be read end the command, or are counted.
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
    // Settings with commas; and mistakes in settings.
    let json = workspace
        .etalon(&["score", "p.csv", "--metric", "regex:pattern=^(yes|n{1,2}o)$,ignore_case=true", "--format", "json"])
        .code(0)
        .json();
    assert_eq!(json["summary"]["regex"]["value"], 0.6666666666666666);
    for (arguments, message) in [
        (&["--metric", "exact_mach"][..], "did you mean `exact_match`?"),
        (&["--metric", "exact_match:mode=loose"], "`mode` cannot be `loose`"),
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

const OWN: &str = r#"
import json, sys
for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps({"score": case["prediction"] == case["reference"], "length": len(case["prediction"])}))
"#;

const COMMAND: &str = r#"
etalon: 1
name: p
models: { m: { } }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key }
  answers: { kind: inference, input: rows, model: m, completions: "{{ row.said }}" }
  found:
    kind: metric
    input: answers
    reference: "{{ row.gold }}"
    metrics: { own: { metric: command, command: python3 metrics/own.py, batch: 2 } }
"#;

/// Returns a workspace with six rows; the first is right, and every second one of the others.
fn pairs() -> Workspace {
    let workspace = Workspace::new();
    let row = |i: usize| {
        format!(
            "{{\"key\": {i}, \"said\": \"{}\", \"gold\": \"a\", \"talk\": {}, \"w\": {i}}}\n",
            ["a", "bb"][i % 2],
            i / 3
        )
    };
    workspace.write("data/rows.jsonl", (0..6).map(row).collect::<String>()).write("metrics/own.py", OWN);
    workspace
}

#[test]
fn a_program_scores_and_its_content_counts() {
    let workspace = pairs();
    workspace.write("pipelines/p.yaml", COMMAND);
    let run = workspace.run(&[]).code(0).json();
    let found = &run["summary"]["found"]["m"];
    assert_eq!((found["own"]["value"].as_f64(), found["own.length"]["value"].as_f64()), (Some(0.5), Some(1.5)));
    assert!(found["own"]["low"].as_f64().unwrap() > 0.0, "true and false are a share: {found}");
    workspace.edit("pipelines/p.yaml", "batch: 2", "batch: 100");
    assert!(workspace.run(&[]).code(0).ran().is_empty(), "how it is called does not count");
    workspace.edit("metrics/own.py", "== case", "!= case");
    assert_eq!(workspace.run(&[]).code(0).ran(), ["found.m"]);
    for (from, to, message) in [
        ("    print", "    if case[\"id\"] != \"3\": print", "it got 6 lines and printed 5"),
        ("print(json.dumps", "print(str", "is not JSON"),
        ("import json", "import jsn", "No module named"),
    ] {
        let before = workspace.read("metrics/own.py");
        workspace.edit("metrics/own.py", from, to);
        let stderr = workspace.etalon(&["run", "p"]).code(3).stderr;
        assert!(stderr.contains(message), "{stderr}");
        workspace.write("metrics/own.py", before);
    }
}

#[test]
fn what_was_sampled_several_times_passes_at_k() {
    let workspace = Workspace::new();
    workspace.write(
        "pipelines/p.yaml",
        r#"
etalon: 1
name: p
models: { m: { provider: scripted, reply: "{{ 'right' if sample < 2 else 'wrong' }}" } }
stages:
  rows: { kind: dataset, rows: [{ q: a }, { q: b }] }
  answers: { kind: inference, input: rows, model: m, prompt: "{{ row.q }}", samples: 4 }
  found:
    kind: metric
    input: answers
    reference: right
    metrics: { pass_at_k: { k: [1, 2, 5] } }
"#,
    );
    let run = workspace.run(&[]).code(0);
    let found = &run.json()["summary"]["found"]["m"];
    assert_eq!(found["pass_at_k"]["value"], 0.5);
    assert!((found["pass_at_k.at_2"]["value"].as_f64().unwrap() - 5.0 / 6.0).abs() < 1e-12);
    assert_eq!(
        (&found["pass_at_k.at_5"]["value"], &found["pass_at_k.at_5"]["missing"]),
        (&serde_json::Value::Null, &2.into())
    );
    assert!(run.stderr.contains("pass@5 needs 5 samples"), "{}", run.stderr);
}

#[test]
fn rows_that_belong_together_widen_the_interval() {
    let workspace = Workspace::new();
    let row = |i: usize| format!("{},{},{}\n", if (i / 10).is_multiple_of(2) { "a" } else { "b" }, "a", i / 10);
    let rows: String = (0..200).map(row).collect();
    workspace.write("p.csv", format!("pred,gold,talk\n{rows}"));
    let score = |cluster: &[&str]| {
        let metrics = ["score", "p.csv", "--metric", "exact_match", "--metric", "classification", "--metric", "bleu"];
        workspace.etalon(&[&metrics[..], cluster, &["--format", "json"]].concat()).code(0).json()
    };
    let (plain, clustered) = (score(&[]), score(&["--cluster", "talk"]));
    for metric in ["exact_match", "classification.accuracy", "bleu.brevity_penalty"] {
        let of = |document: &serde_json::Value| document["summary"][metric].clone();
        let width =
            |estimate: &serde_json::Value| estimate["high"].as_f64().unwrap() - estimate["low"].as_f64().unwrap();
        let (plain, clustered) = (of(&plain), of(&clustered));
        assert_eq!(plain["value"], clustered["value"], "{metric}");
        if metric != "bleu.brevity_penalty" {
            assert!(width(&clustered) > 2.0 * width(&plain), "{metric}: {plain} {clustered}");
        }
    }
    assert_eq!(plain["signatures"]["exact_match"], "exact_match|mode:trim|empty:text|types:value");
}

#[test]
fn weights_of_rows_count_and_rouge_warns_of_other_scripts() {
    let workspace = pairs();
    workspace.write(
        "pipelines/p.yaml",
        COMMAND
            .replace("own: { metric: command, command: python3 metrics/own.py, batch: 2 }", "classification: { sample_weight: \"{{ row.w }}\" }, rougeL: { prediction: \"Здравствуй, мир\", reference: \"Здравствуй, мир\" }, uni: { metric: rougeL, tokenizer: unicode, prediction: \"Здравствуй, мир\", reference: \"Здравствуй, мир\" }"),
    );
    let run = workspace.run(&[]).code(0);
    let found = &run.json()["summary"]["found"]["m"];
    assert_eq!(found["classification.accuracy"]["value"], 6.0 / 15.0);
    assert_eq!((&found["rougeL"]["value"], &found["uni"]["value"]), (&0.0.into(), &1.0.into()));
    assert!(run.stderr.contains("rougeL: of 100 % the text is mostly outside of [a-z0-9]"), "{}", run.stderr);
    assert!(!run.stderr.contains("uni: of"), "{}", run.stderr);
}

#[cfg(feature = "local")]
#[test]
fn encoders_run_in_process_and_their_weights_count() {
    super::support::set_up("weights");
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models/all-MiniLM-L6-v2");
    let workspace = pairs();
    let folder = workspace.path("models/minilm");
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(model.join(file), folder.join(file)).unwrap();
    }
    let metrics = "bertscore: { model: models/minilm, idf: true }, embedding_similarity: { model: models/minilm }";
    let spec = COMMAND.replace("own: { metric: command, command: python3 metrics/own.py, batch: 2 }", metrics);
    workspace.write("pipelines/p.yaml", spec.replace("{{ row.gold }}", "{{ row.gold }} {{ row.key }}"));
    let found = workspace.run(&[]).code(0).json()["summary"]["found"]["m"].clone();
    let value = |name: &str| found[name]["value"].as_f64().unwrap();
    assert!(value("bertscore") > value("bertscore.baseline") - 0.2 && value("bertscore") < 1.0, "{found}");
    assert!(value("embedding_similarity") > 0.0 && value("embedding_similarity") < 1.0, "{found}");
    let vectors = std::fs::read_dir(workspace.path("cache/embeddings")).unwrap().count();
    assert_eq!(vectors, 1);
    assert!(workspace.run(&[]).code(0).ran().is_empty());
    // Weights come from all references, and a baseline from another row's: a change of one row is felt by the others.
    let edited = workspace.read("data/rows.jsonl").replacen("\"gold\": \"", "\"gold\": \"quite another ", 1);
    workspace.write("data/rows.jsonl", edited);
    let changed = workspace.run(&[]).code(0).json();
    std::fs::remove_dir_all(workspace.path("cache")).unwrap();
    let fresh = workspace.run(&[]).code(0).json();
    assert_ne!(changed["summary"]["found"]["m"], found);
    assert_eq!(changed["summary"]["found"]["m"], fresh["summary"]["found"]["m"]);
    // A tokenizer that works otherwise gives other vectors.
    let tokenizer = workspace.read("models/minilm/tokenizer.json").replace("\"lowercase\":true", "\"lowercase\":false");
    workspace.write("models/minilm/tokenizer.json", tokenizer);
    assert_eq!(workspace.run(&[]).code(0).ran(), ["found.m"]);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
    assert!(stderr.contains("models/minilm has no *.safetensors"), "{stderr}");
}

#[cfg(feature = "local")]
#[test]
fn a_vector_depends_on_its_text_alone_and_models_are_found_in_the_hubs_cache() {
    use etalon::encoder::{Encoder, ModelFolder};

    super::support::set_up("weights");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let encoder = Encoder::load(&ModelFolder::find("target/models/all-MiniLM-L6-v2", root).unwrap(), None).unwrap();
    let long = "a long text of many words ".repeat(60);
    let texts = ["short", long.as_str(), "Zoë 東京", "", "short text of several words"];
    let together = encoder.sentence_vectors(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        let alone = encoder.sentence_vectors(&[text]).unwrap().remove(0);
        assert!(alone.iter().zip(vector).all(|(a, b)| (a - b).abs() < 1e-6), "{text}");
    }
    let workspace = pairs();
    let folder = workspace.path("hub/models--org--mini");
    std::fs::create_dir_all(folder.join("snapshots")).unwrap();
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    std::fs::write(folder.join("refs/main"), "0123456789").unwrap();
    std::os::unix::fs::symlink(root.join("target/models/all-MiniLM-L6-v2"), folder.join("snapshots/0123456789"))
        .unwrap();
    let score = |model: &str| {
        let metric = format!("embedding_similarity:model={model}");
        let hub = workspace.path("hub");
        let environment = [("HF_HUB_CACHE", hub.to_str().unwrap())];
        workspace.etalon_with(&["score", "data/rows.jsonl", "--metric", &metric, "--prediction", "said"], &environment)
    };
    assert!(score("org/mini").code(0).stdout.contains("embedding_similarity.baseline"));
    let stderr = score("org/other").code(2).stderr;
    assert!(stderr.contains("`hf download org/other` fetches it"), "{stderr}");
}

#[cfg(not(feature = "local"))]
#[test]
fn without_local_a_message_says_how_to_get_it() {
    let workspace = pairs();
    let stderr =
        workspace.etalon(&["score", "data/rows.jsonl", "--metric", "bertscore", "--prediction", "said"]).code(2).stderr;
    assert!(
        stderr.contains("this etalon was built without `local`") && stderr.contains("--features local"),
        "{stderr}"
    );
}

#[test]
fn a_gate_on_an_interval_is_not_taken_for_a_label_or_a_field() {
    let workspace = Workspace::new();
    workspace
        .write(
            "pipelines/p.yaml",
            r#"
etalon: 1
name: p
models: { m: }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key }
  answers: { kind: inference, input: rows, model: m, completions: "{{ row.said }}" }
  found:
    kind: metric
    input: answers
    reference: "{{ row.gold }}"
    metrics:
      classification:
      own: { metric: command, command: python3 own.py }
gates:
  - found.m.classification.f1.b >= 0.5
  - found.m.classification.f1.b.low >= 0
  - found.m.classification.f1.b.n >= 2
  - found.m.classification.f1.c.high <= 0.1
  - found.m.own.low >= 0
  - found.m.own.n == 6
  - found.m.own.missing == 0
"#,
        )
        .write(
            "own.py",
            "import json, sys\nfor at, line in enumerate(sys.stdin): print(json.dumps((3 + at % 3) / 10))\n",
        )
        .write(
            "data/rows.jsonl",
            r#"{"key": 1, "gold": "b", "said": "b"}
{"key": 2, "gold": "b", "said": "b"}
{"key": 3, "gold": "b", "said": "c"}
{"key": 4, "gold": "c.high", "said": "b"}
{"key": 5, "gold": "c", "said": "c"}
{"key": 6, "gold": "c", "said": "c"}
"#,
        );
    let run = workspace.run(&[]).json();
    let verdicts: Vec<(&str, bool)> = run["gates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gate| (gate["gate"].as_str().unwrap(), ["PASS", "UNPROVEN"].contains(&gate["verdict"].as_str().unwrap())))
        .collect();
    assert_eq!(verdicts.len(), 7);
    // There is a label `c.high`, of which no row is right: the path means its score.
    assert!(verdicts.iter().all(|(_, holds)| *holds), "{}", run["gates"]);
}
