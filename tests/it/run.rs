//! The command line: exit codes, documents, the table, and showing rows.

use super::support::{Reply, Server, Workspace, default_reply, standard};

#[test]
fn gates_decide_the_exit_code() {
    let server = Server::plain();
    let workspace = standard(&server, 10);
    let spec = workspace.read("pipelines/p.yaml");
    let with = |gate: &str| workspace.write("pipelines/p.yaml", format!("{spec}gates:\n  - {gate}\n"));
    let verdict = |code: i32| {
        let run = workspace.run(&[]).code(code).json();
        run["gates"][0]["verdict"].as_str().unwrap().to_owned()
    };
    with("quality.tuned.accuracy >= 3.5");
    assert_eq!(verdict(0), "UNPROVEN");
    with("quality.tuned.accuracy >= 2");
    assert_eq!(verdict(0), "PASS");
    with("quality.tuned.accuracy >= 4.5");
    assert_eq!(verdict(1), "FAIL");
    with("quality.tuned.coverage == 1");
    assert_eq!(verdict(0), "PASS");
    with("exact.tuned.exact_match.n >= 10");
    assert_eq!(verdict(0), "PASS");
    with("quality.tuned.accuracy - quality.base.accuracy >= 0");
    assert_eq!(verdict(0), "UNPROVEN");
    with("quality.tuned.accuracy / exact.tuned.exact_match >= 1");
    assert_eq!(verdict(1), "NO_DATA");
}

#[test]
fn documents_have_the_promised_fields() {
    let server = Server::plain();
    let workspace = standard(&server, 5);
    let plan = workspace.plan(&[]).code(0).json();
    assert_eq!(plan["etalon"], 1);
    for field in ["node", "kind", "state", "reason", "rows", "calls", "reused", "tokens", "cost_usd"] {
        assert!(plan["nodes"][1].get(field).is_some(), "plan: {field}");
    }
    assert_eq!(plan["total"]["calls"], 5 * 6, "an upper bound before anything is bought");
    let run = workspace.run(&["--label", "iter-1"]).code(0).json();
    for field in ["etalon", "run", "pipeline", "label", "nodes", "summary", "gates"] {
        assert!(run.get(field).is_some(), "run: {field}");
    }
    for field in [
        "node", "kind", "outcome", "reason", "rows", "failed", "missing", "calls", "reused", "cost_usd", "seconds",
        "key", "artifact",
    ] {
        assert!(run["nodes"][1].get(field).is_some(), "node: {field}");
    }
    for field in ["value", "low", "high", "n", "missing"] {
        assert!(run["summary"]["exact"]["base"]["exact_match"].get(field).is_some(), "estimate: {field}");
    }
    let id = run["run"].as_str().unwrap();
    let kept: serde_json::Value = serde_json::from_str(&workspace.read(&format!("runs/{id}.json"))).unwrap();
    assert_eq!(kept["summary"], run["summary"]);
    // A run with a label is kept although it changed nothing.
    workspace.run(&["--label", "iter-2"]).code(0);
    let files = std::fs::read_dir(workspace.path("runs")).unwrap();
    assert_eq!(files.count(), 4, "two documents, each with the scores of its rows");
}

#[test]
fn set_overrides_params_and_checks_them() {
    let server = Server::plain();
    let workspace = standard(&server, 10);
    workspace
        .edit("pipelines/p.yaml", "name: p\n", "name: p\nparams: { size: 3, tail: \"\" }\n")
        .edit("pipelines/p.yaml", "id: key", "id: key\n    sample: { size: \"${params.size}\" }")
        .edit("templates/ask.j2", "{{ row.question }}", "{{ row.question }}{{ params.tail }}");
    assert_eq!(workspace.run(&[]).code(0).json()["nodes"][0]["rows"], 3);
    assert_eq!(workspace.run(&["--set", "size=4"]).code(0).json()["nodes"][0]["rows"], 4);
    assert!(workspace.run(&["--set", "size=many"]).code(2).stdout.contains("a value of that type is expected"));
    assert!(workspace.run(&["--set", "sise=4"]).code(2).stdout.contains("did you mean `size`?"));
    server.count();
    // A param that a template reads is in the key; other params are not.
    workspace.run(&["--set", "tail=!"]).code(0);
    assert!(server.take().iter().any(|call| super::support::prompt(call).ends_with('!')));
}

#[test]
fn show_joins_what_led_to_a_row() {
    let server = Server::plain();
    let workspace = standard(&server, 5);
    assert!(workspace.etalon(&["show", "p", "answers"]).code(3).stderr.contains("has not run yet"));
    workspace.run(&[]).code(0);
    let rows: Vec<serde_json::Value> =
        workspace.show("answers.tuned").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0]["id"], "r0000");
    assert_eq!(rows[0]["row"]["note"], "note 0");
    assert_eq!(rows[0]["prompt"][0]["content"], "Q: question 0");
    assert_eq!(rows[0]["completion"], "m-tuned says Q: question 0");
    assert!(rows[0].get("meta").is_none());
    let filtered = workspace
        .etalon(&[
            "show",
            "p",
            "quality",
            "--model",
            "tuned",
            "--where",
            "row.key == 'r0002' and scores.accuracy == 4",
            "--format",
            "json",
        ])
        .code(0);
    assert_eq!(filtered.stdout.lines().count(), 1);
    let text = workspace.etalon(&["show", "p", "duel", "--limit", "1"]).code(0).stdout;
    assert!(text.contains("verdict: tie") && text.contains("baseline: m-base says"), "{text}");
    assert!(workspace.etalon(&["show", "p", "qualty"]).code(2).stderr.contains("did you mean `quality`?"));
    assert!(
        workspace.etalon(&["show", "p", "quality", "--where", "scores.accuracy ="]).code(2).stderr.contains("--where")
    );
    workspace.edit("templates/ask.j2", "Q:", "Question:");
    let stale = workspace.etalon(&["show", "p", "answers.base"]).code(0);
    assert!(stale.stderr.contains("have changed") && !stale.stdout.contains("Question:"));
}

#[test]
fn big_ids_stay_apart_and_repeats_are_refused() {
    let server = Server::plain();
    let workspace = standard(&server, 1);
    workspace.write(
        "data/rows.jsonl",
        "{\"key\": 9007199254740993, \"question\": \"a\", \"gold\": \"\"}\n{\"key\": 9007199254740992, \"question\": \"b\", \"gold\": \"\"}\n",
    );
    workspace.run(&[]).code(0);
    let ids: Vec<String> = workspace
        .show("rows")
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].to_string())
        .collect();
    assert_eq!(ids, ["\"9007199254740992\"", "\"9007199254740993\""]);
    workspace.write(
        "data/rows.jsonl",
        "{\"key\": 1, \"question\": \"a\", \"gold\": \"\"}\n{\"key\": \"1\", \"question\": \"b\", \"gold\": \"\"}\n",
    );
    let ran = workspace.run(&[]).code(3);
    assert!(ran.stderr.contains("two rows have the id `1`: data/rows.jsonl:1 and data/rows.jsonl:2"), "{}", ran.stderr);
    workspace.write("data/rows.jsonl", "{\"key\": 1}\n{\"key\": 2,}\nnot json\n{\"question\": 3}\n");
    let ran = workspace.run(&[]).code(3);
    for line in ["data/rows.jsonl:2:", "data/rows.jsonl:3:", "data/rows.jsonl:4:"] {
        assert!(ran.stderr.contains(line), "{}", ran.stderr);
    }
}

#[test]
fn data_of_every_sort_work() {
    let server = Server::plain();
    let workspace = standard(&server, 1);
    // The dataset has no rows at all.
    workspace.write("data/rows.jsonl", "");
    let run = workspace.run(&[]).code(0);
    assert!(run.stderr.contains("has no rows"), "{}", run.stderr);
    assert!(run.json()["summary"]["exact"]["base"]["exact_match"]["value"].is_null());
    // CSV, Unicode, completions that the dataset has, and `messages`.
    workspace
        .write("data/rows.csv", "key,question,gold,base_out,tuned_out\n007,\"é \u{1F600}\nüber\",x,x,\n008,b,y,z,y\n");
    workspace.write(
        "pipelines/p.yaml",
        format!(
            "etalon: 1\nname: p\nmodels:\n  base: {{}}\n  tuned:\n  asked: {{ provider: openai, model: m, base_url: {} , revision: a}}\nstages:\n  rows: {{ kind: dataset, path: data/rows.csv, id: key }}\n  given:\n    kind: inference\n    input: rows\n    models: [base, tuned]\n    completions: \"{{{{ row[model ~ '_out'] or none }}}}\"\n  exact: {{ kind: metric, input: given, reference: \"{{{{ row.gold }}}}\", metrics: [exact_match] }}\n  chat:\n    kind: inference\n    input: rows\n    model: asked\n    messages:\n      - {{ role: system, content: Be brief. }}\n      - {{ role: user, content: \"{{{{ row.question }}}}\" }}\n",
            server.url
        ),
    );
    let run = workspace.run(&[]).code(0).json();
    let exact = &run["summary"]["exact"];
    assert_eq!(
        (exact["base"]["exact_match"]["value"].as_f64(), exact["base"]["exact_match"]["n"].as_u64()),
        (Some(0.5), Some(2))
    );
    assert_eq!(
        (exact["tuned"]["exact_match"]["value"].as_f64(), exact["tuned"]["exact_match"]["missing"].as_u64()),
        (Some(1.0), Some(1))
    );
    let calls = server.take();
    assert_eq!(calls.len(), 2);
    assert!(
        calls.iter().any(
            |call| call["messages"][1]["content"] == "é \u{1F600}\nüber" && call["messages"][0]["role"] == "system"
        )
    );
    // The same rows as compressed TSV: the dataset is read again, but nothing is bought.
    let mut tsv = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let text = "key\tquestion\tgold\tbase_out\ttuned_out\n007\t\"é \u{1F600}\nüber\"\tx\tx\t\n008\tb\ty\tz\ty\n";
    std::io::Write::write_all(&mut tsv, text.as_bytes()).unwrap();
    workspace.write("data/rows.tsv.gz", tsv.finish().unwrap());
    workspace.edit("pipelines/p.yaml", "data/rows.csv", "data/rows.tsv.gz");
    let run = workspace.run(&[]).code(0).json();
    let ran = run["nodes"].as_array().unwrap().iter().filter(|node| node["outcome"] == "ran");
    assert_eq!(ran.map(|node| node["node"].as_str().unwrap()).collect::<Vec<_>>(), ["rows"]);
    assert_eq!(server.take().len(), 0);
}

#[test]
fn samples_of_a_row_are_averaged_first() {
    let server = Server::start(|_, body, _| {
        Reply::Text(if body["seed"] == 1 { "gold 0".to_owned() } else { default_reply(body) })
    });
    let workspace = standard(&server, 1);
    workspace.edit("pipelines/p.yaml", "    options: { temperature: 0 }", "    samples: 2");
    let run = workspace.run(&["--only", "exact"]).code(0).json();
    let exact = &run["summary"]["exact"]["tuned"]["exact_match"];
    assert_eq!((exact["value"].as_f64(), exact["n"].as_u64()), (Some(0.5), Some(1)));
}

#[test]
fn texts_and_patterns_are_found_in_completions() {
    let workspace = Workspace::new();
    workspace
        .write("data/rows.jsonl", "{\"key\": 1, \"names\": [\"Ada\", \"Zoë\"]}\n{\"key\": 2, \"names\": \"Bob\"}\n");
    workspace.write(
        "pipelines/p.yaml",
        r#"
etalon: 1
name: p
models: { tuned: { provider: scripted, reply: "Dear Ada and Zoë, order 12." } }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key }
  answers: { kind: inference, input: rows, model: tuned, prompt: "{{ row.key }}" }
  found:
    kind: metric
    input: answers
    reference: "{{ row.names }}"
    metrics:
      contains:
      polite: { metric: contains, text: [dear, sincerely], match: any, ignore_case: true }
      regex: { pattern: 'order (?=\d+)' }
      whole: { metric: regex, pattern: 'Dear .*', full: true }
      length: { unit: words, max: 6 }
"#,
    );
    let run = workspace.run(&[]).code(0).json();
    let value = |name: &str| run["summary"]["found"]["tuned"][name]["value"].as_f64();
    assert_eq!(value("contains"), Some(0.5));
    assert_eq!((value("length"), value("length.p95"), value("length.within")), (Some(6.0), Some(6.0), Some(1.0)));
    assert_eq!((value("polite"), value("regex"), value("whole")), (Some(1.0), Some(1.0), Some(1.0)));
}

#[test]
fn a_dataset_of_many_batches_is_one_dataset() {
    let workspace = Workspace::new();
    let mut lines: Vec<String> =
        (0..20_000).map(|i| format!("{{\"n\": {}, \"text\": \"{}\"}}", i % 15_000, "x".repeat(100))).collect();
    let spec = "etalon: 1\nname: p\nstages:\n  rows: { kind: dataset, path: rows.jsonl }\n";
    workspace.write("pipelines/p.yaml", spec).write("rows.jsonl", lines.join("\n"));
    let artifact = |ran: super::support::Ran| ran.code(0).json()["nodes"][0]["artifact"].as_str().unwrap().to_owned();
    let before = artifact(workspace.run(&[]));
    lines.reverse();
    workspace.write("rows.jsonl", lines.join("\n"));
    let run = workspace.run(&[]);
    assert_eq!(run.ran(), ["rows"]);
    assert_eq!(artifact(run), before, "order is not content");
    let shown = workspace.show("rows");
    assert_eq!((shown.len(), shown.iter().filter(|row| row.contains("~2\"")).count()), (20_000, 5_000));
    lines[15_000] = "{\"n\": ".to_owned();
    workspace.write("rows.jsonl", lines.join("\n"));
    let stderr = workspace.run(&[]).code(3).stderr;
    assert!(stderr.contains("rows.jsonl:15001: not JSON"), "{stderr}");
}

#[test]
fn random_samples_do_not_depend_on_the_order_of_the_file() {
    let server = Server::plain();
    let workspace = standard(&server, 50);
    workspace.edit("pipelines/p.yaml", "id: key", "id: key\n    sample: { size: 10, strategy: random, seed: 3 }");
    workspace.run(&["--only", "rows"]).code(0);
    let before = workspace.show("rows");
    let mut lines: Vec<String> = workspace.read("data/rows.jsonl").lines().map(str::to_owned).collect();
    lines.reverse();
    workspace.write("data/rows.jsonl", lines.join("\n"));
    workspace.run(&["--only", "rows"]).code(0);
    assert_eq!(workspace.show("rows"), before);
    assert_eq!(before.len(), 10);
    workspace.edit("pipelines/p.yaml", "seed: 3", "seed: 4");
    workspace.run(&["--only", "rows"]).code(0);
    assert_ne!(workspace.show("rows"), before, "another seed draws other rows");
}

#[test]
fn the_command_line_says_what_is_wrong() {
    let workspace = Workspace::new();
    assert!(workspace.etalon(&["run", "nope.yaml"]).code(2).stderr.contains("there is no pipeline nope.yaml"));
    assert!(workspace.etalon(&["run"]).code(2).stderr.contains("PIPELINE"));
    assert!(workspace.etalon(&["check"]).code(2).stderr.contains("there is no pipeline"));
    assert!(workspace.etalon(&["--version"]).code(0).stdout.starts_with("etalon 0."));
    assert!(
        workspace
            .etalon(&["run", "x", "--workspace", "/nowhere/at/all"])
            .code(2)
            .stderr
            .contains("there is no directory")
    );
    let server = Server::plain();
    let workspace = standard(&server, 2);
    assert!(workspace.run(&["--only", "anwsers"]).code(2).stderr.contains("did you mean `answers`?"));
    assert!(workspace.run(&["--refresh", "nothing"]).code(2).stderr.contains("there is no such stage"));
}

#[test]
fn watch_runs_again_what_a_change_touches() {
    use std::io::{BufRead, BufReader};
    let server = Server::plain();
    let workspace = standard(&server, 4);
    let mut child = workspace.spawn(&["run", "p", "--watch", "--format", "json"]);
    let mut documents = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&documents.next().unwrap().unwrap()).unwrap() };
    let ran = |run: &serde_json::Value| -> Vec<String> {
        let ran = run["nodes"].as_array().unwrap().iter().filter(|node| node["outcome"] == "ran");
        ran.map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ran(&next()).len(), 8);
    workspace.edit("templates/grade.j2", "GRADE", "GRADE well");
    assert_eq!(ran(&next()), ["quality.base", "quality.tuned"]);
    // A broken spec is reported, and then mended.
    workspace.edit("pipelines/p.yaml", "kind: metric", "kind: metrik");
    assert_eq!(next()["problems"][0]["code"], "unknown-kind");
    workspace.edit("pipelines/p.yaml", "kind: metrik", "kind: metric");
    assert!(ran(&next()).is_empty());
    workspace.edit("data/rows.jsonl", "question 3", "another question");
    assert!(ran(&next()).contains(&"answers.base".to_owned()));
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "idle, an interrupt ends it with what the last run said");
}
