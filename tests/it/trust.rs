//! Keys that stay where they are, answers that stay what they are, results that are whole, a terminal that nobody drives.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::support::{Reply, Server, Workspace, default_reply, files, standard};

const CANARY: &str = "sk-canary/Q7w-99+zz01";

/// Returns the files of a workspace that hold any of these texts.
fn holding(workspace: &Workspace, needles: &[String]) -> Vec<String> {
    let holds = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        needles.iter().any(|needle| text.contains(needle.as_str()))
    };
    let paths = files(&workspace.path(".")).into_iter();
    paths
        .filter(|path| {
            let bytes = std::fs::read(path).unwrap();
            holds(&bytes) || zstd::decode_all(&*bytes).is_ok_and(|plain| holds(&plain))
        })
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn a_key_leaves_the_environment_in_no_writing() {
    let escaped = CANARY.replace('-', "\\u002d").replace('/', "\\/");
    let percent = CANARY.replace('/', "%2F").replace('+', "%2B");
    let coded = "c2stY2FuYXJ5L1E3dy05OSt6ejAx".to_owned();
    let needles = [
        CANARY.to_owned(),
        CANARY.replace('/', "\\/"),
        "canary".to_owned(),
        "u002dcanary".to_owned(),
        coded.clone(),
        percent.clone(),
    ];
    type Answer = (u16, Vec<(&'static str, String)>, String);
    let said = |text: &str| format!(r#"{{"error": {{"message": "wrong key {text}"}}}}"#);
    let answers: Vec<Answer> = vec![
        (401, vec![], said(CANARY)),
        (400, vec![], said(&escaped)),
        (400, vec![], format!("<html>{}</html>", CANARY.replace('-', "&#45;").replace('/', "&#x2f;"))),
        (403, vec![], said(&coded)),
        (302, vec![("location", format!("https://login.example/?k={percent}"))], String::new()),
        (302, vec![("location", format!("https://login.example/{CANARY}"))], String::new()),
        (429, vec![("x-key", CANARY.to_owned())], said(&escaped.replace('\\', "\\\\"))),
        (200, vec![], format!(r#"{{"choices": [], "error": "key {escaped}"}}"#)),
        (
            200,
            vec![],
            format!(r#"{{"choices": [{{"finish_reason": "stop", "message": {{"content": "you are {escaped}"}}}}]}}"#),
        ),
    ];
    for (status, headers, body) in answers {
        let reply = (status, headers.clone(), body.clone());
        let server = Server::start(move |_, _, _: &HeaderMap| Reply::Raw(reply.0, reply.1.clone(), reply.2.clone()));
        let workspace = standard(&server, 2);
        workspace.edit(
            "pipelines/p.yaml",
            "provider: openai",
            "provider: openai, api_key_env: CANARY_KEY, patience: 0.2, retry_seconds: 0.2",
        );
        let ran =
            workspace.etalon_with(&["run", "pipelines/p.yaml", "--format", "json", "-v"], &[("CANARY_KEY", CANARY)]);
        let shown = format!("{}{}", ran.stdout, ran.stderr);
        let leaked: Vec<&String> = needles.iter().filter(|needle| shown.contains(needle.as_str())).collect();
        assert!(leaked.is_empty(), "{status} {body}: {leaked:?} in {shown}");
        assert_eq!(holding(&workspace, &needles), Vec::<String>::new(), "{status} {body}");
    }
}

#[test]
fn a_placeholder_is_a_word() {
    let server = Server::start(|_, body, _| Reply::Text(format!("none of {}", default_reply(body))));
    let workspace = standard(&server, 2);
    workspace.edit("pipelines/p.yaml", "provider: openai", "provider: openai, api_key_env: PLACEHOLDER_KEY");
    workspace.etalon_with(&["run", "pipelines/p.yaml"], &[("PLACEHOLDER_KEY", "none")]).code(0);
    let shown = workspace.etalon(&["show", "pipelines/p.yaml", "answers", "--format", "json"]).code(0).stdout;
    assert!(shown.contains("none of") && !shown.contains("[key]"), "{shown}");
}

#[test]
fn a_key_in_the_spec_is_refused_and_not_repeated() {
    let key = "sk-proj-Abcd1234Efgh5678";
    for field in [
        format!("api_key_env: {key}"),
        format!("headers: {{ X-Auth-Token: {key} }}"),
        format!("headers: {{ X-Goog-Api-Key: {key} }}"),
        format!("headers: {{ X-Team: {key} }}"),
        format!("options: {{ api_key: {key} }}"),
        format!("options: {{ extra: {{ auth: {{ token: {key} }} }} }}"),
        format!("base_url: 'http://127.0.0.1:1/v1?api_key={key}'"),
        format!("base_url: 'http://u:{key}@127.0.0.1:1/v1'"),
        format!("base_url: 'htp://u:{key}@127.0.0.1:1/v1'"),
        format!("token: {key}"),
        format!("api_keyy: {key}"),
    ] {
        let workspace = Workspace::new();
        workspace.write("data/rows.jsonl", "{\"id\": 1, \"q\": \"x\"}\n").write(
            "pipelines/p.yaml",
            format!("etalon: 1\nname: p\nmodels:\n  base: {{ provider: openai, model: m, {field} }}\nstages:\n  rows: {{ kind: dataset, path: data/rows.jsonl, id: id }}\n  a: {{ kind: inference, input: rows, model: base, prompt: \"{{{{ row.q }}}}\" }}\n"),
        );
        for command in [
            &["check", "pipelines/p.yaml"][..],
            &["run", "pipelines/p.yaml"],
            &["check", "pipelines/p.yaml", "--format", "json"],
        ] {
            let ran = workspace.etalon(command);
            let shown = format!("{}{}", ran.stdout, ran.stderr);
            let is_told = ["credential", "secret-in-spec", "unknown-field"].iter().any(|word| shown.contains(word));
            assert!(is_told, "{field}: {shown}");
            assert!(!shown.contains(key), "{field}: {shown}");
            ran.code(2);
        }
        let kept = files(&workspace.path(".")).into_iter().filter(|path| !path.ends_with("p.yaml"));
        assert!(
            kept.into_iter().all(|path| !std::fs::read_to_string(path).unwrap_or_default().contains(key)),
            "{field}"
        );
    }
}

#[test]
fn a_damaged_result_is_not_shown_in_part() {
    let server = Server::plain();
    let workspace = standard(&server, 200);
    let run = workspace.run(&[]).code(0).json();
    let node = run["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "answers.tuned").unwrap();
    let digest = node["artifact"].as_str().unwrap();
    let path = workspace.path(&format!("cache/artifacts/{}/{digest}.jsonl.zst", &digest[..2]));
    let whole = std::fs::read(&path).unwrap();
    let clean = workspace.etalon(&["export", "pipelines/p.yaml", "answers", "--to", "jsonl"]).code(0).stdout;
    for at in [whole.len() / 3, whole.len() / 2, whole.len() - 3] {
        let mut torn = whole.clone();
        torn[at] ^= 0x10;
        for command in [
            &["export", "pipelines/p.yaml", "answers", "--to", "jsonl"][..],
            &["export", "pipelines/p.yaml", "answers", "--to", "csv"],
            &["show", "pipelines/p.yaml", "answers", "--model", "tuned", "--limit", "2"],
        ] {
            std::fs::write(&path, &torn).unwrap();
            let ran = workspace.etalon(command);
            assert_eq!(ran.stdout, "", "{command:?}, byte {at}");
            assert!(ran.stderr.contains("etalon run"), "{}", ran.stderr);
            ran.code(3);
            // The next run makes it again from the log, without a call.
            server.count();
            workspace.run(&[]).code(0);
            assert_eq!(server.count(), 0);
            assert_eq!(
                workspace.etalon(&["export", "pipelines/p.yaml", "answers", "--to", "jsonl"]).code(0).stdout,
                clean
            );
        }
    }
}

#[test]
fn a_spreadsheet_runs_nothing() {
    let workspace = Workspace::new();
    workspace.write("data/rows.jsonl", "{\"id\": \"a\", \"q\": \"=1+1\", \"@n\": -5, \"t\": \"-12.5\"}\n{\"id\": \"b\", \"q\": \"-cmd|x\", \"@n\": 2, \"t\": \"plain\"}\n").write(
        "pipelines/p.yaml",
        "etalon: 1\nname: p\nstages:\n  rows: { kind: dataset, path: data/rows.jsonl, id: id }\n",
    );
    workspace.run(&[]).code(0);
    let csv = workspace.etalon(&["export", "pipelines/p.yaml", "rows", "--to", "csv"]).code(0).stdout;
    for cell in ["'=1+1", "'-cmd|x", ",-5", "-12.5"] {
        assert!(csv.contains(cell), "{cell}: {csv}");
    }
    assert!(!csv.contains("'-12.5") && !csv.contains("'-5"), "{csv}");
    let raw = workspace.etalon(&["export", "pipelines/p.yaml", "rows", "--to", "csv", "--raw"]).code(0).stdout;
    assert!(raw.contains(",=1+1") && !raw.contains('\''), "{raw}");
}

#[test]
fn what_comes_from_outside_does_not_drive_the_terminal() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    let is_tame = |text: &str| !text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\r']);
    let body = json!({ "error": { "message": hostile } }).to_string();
    let server = Server::start(move |_, _, _| Reply::Raw(400, vec![], body.clone()));
    let workspace = standard(&server, 2);
    let ran = workspace.etalon(&["run", "pipelines/p.yaml"]);
    assert!(is_tame(&ran.stderr) && is_tame(&ran.stdout), "{:?}", ran.stderr);
    let answering = Server::start(move |_, body, _| Reply::Text(format!("{hostile}{}", default_reply(body))));
    let workspace = standard(&answering, 2);
    workspace.run(&[]).code(0);
    for format in ["text", "json"] {
        let ran = workspace.etalon(&["show", "pipelines/p.yaml", "answers", "--format", format]).code(0);
        assert!(is_tame(&ran.stderr) && is_tame(&ran.stdout), "{format}: {:?}", ran.stdout);
        if format == "json" {
            let first: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
            assert!(first.to_string().contains(&json!(hostile).to_string()[1..20]), "the text itself is kept: {first}");
        }
    }
    let workspace = Workspace::new();
    workspace.write("data/rows.csv", format!("id,q{hostile}\na,x\na,y\n")).write(
        "pipelines/p.yaml",
        "etalon: 1\nname: p\nstages:\n  rows: { kind: dataset, path: data/rows.csv, id: id, columns: { question: nope } }\n",
    );
    for command in [&["check", "pipelines/p.yaml"][..], &["run", "pipelines/p.yaml"]] {
        let ran = workspace.etalon(command);
        assert!(is_tame(&ran.stderr) && is_tame(&ran.stdout), "{:?}", ran.stderr);
    }
}

#[test]
fn an_endless_answer_ends_at_its_bound() {
    let long = "a".repeat(70 << 20);
    let server = Server::start(move |_, _, _| Reply::Raw(200, vec![], long.clone()));
    let workspace = standard(&server, 1);
    let ran = workspace.etalon(&["run", "pipelines/p.yaml"]);
    assert!(ran.stderr.contains("more than 64 MB"), "{}", ran.stderr);
}

#[test]
fn programs_see_no_key_of_a_model() {
    let server = Server::plain();
    let workspace = standard(&server, 2);
    workspace.edit("pipelines/p.yaml", "provider: openai", "provider: openai, api_key_env: CANARY_KEY");
    workspace.edit(
        "pipelines/p.yaml",
        "metrics: [exact_match]",
        "metrics: { exact_match: {}, spy: { metric: command, command: 'env > seen.txt; sed s/.*/0/', files: [] } }",
    );
    let keys = [("CANARY_KEY", CANARY), ("OPENAI_API_KEY", "sk-other-0123456789abc"), ("HARMLESS", "yes")];
    workspace.etalon_with(&["run", "pipelines/p.yaml"], &keys);
    let seen = workspace.read("seen.txt");
    assert!(seen.contains("HARMLESS=yes") && !seen.contains(CANARY) && !seen.contains("sk-other"), "{seen}");
}

#[test]
fn labels_without_bound_are_told() {
    let of = |golds: Vec<String>| {
        let workspace = Workspace::new();
        let line = |(at, gold): (usize, String)| json!({ "id": at, "out": gold, "gold": gold }).to_string() + "\n";
        workspace.write("data/rows.jsonl", golds.into_iter().enumerate().map(line).collect::<String>()).write(
            "pipelines/p.yaml",
            "etalon: 1\nname: p\nmodels:\n  m: { provider: scripted, reply: \"{{ prompt }}\" }\nstages:\n  rows: { kind: dataset, path: data/rows.jsonl, id: id }\n  answers: { kind: inference, input: rows, model: m, prompt: \"{{ row.out }}\" }\n  cls: { kind: metric, input: answers, reference: \"{{ row.gold }}\", metrics: [classification] }\n",
        );
        let ran = workspace.run(&[]).code(0);
        let size: u64 = files(&workspace.path("runs")).iter().map(|path| path.metadata().unwrap().len()).sum();
        (ran, size)
    };
    let (ran, _) = of(vec!["y".repeat(70_000), "a".to_owned()]);
    assert_eq!(ran.json()["summary"]["cls"]["m"]["classification.accuracy"]["value"], 1.0);
    let (ran, size) = of((0..600).map(|at| format!("label {at}")).collect());
    assert_eq!(ran.json()["summary"]["cls"]["m"]["classification.accuracy"]["value"], 1.0);
    assert!(ran.stdout.contains("600 different labels, more than 500"), "{}", ran.stderr);
    assert!(size < 100_000, "{size} bytes");
}

#[test]
fn a_program_of_a_pipeline_without_models_sees_no_key_either() {
    let workspace = Workspace::new();
    workspace.write(
        "pipelines/p.yaml",
        "etalon: 1\nname: p\nstages:\n  rows: { kind: dataset, command: \"env > seen.txt; echo '{\\\"id\\\": 1}'\", format: jsonl, files: [], id: id }\n",
    );
    let keys = [("OPENAI_API_KEY", CANARY), ("ANTHROPIC_API_KEY", CANARY), ("HARMLESS", "yes")];
    workspace.etalon_with(&["run", "pipelines/p.yaml"], &keys).code(0);
    let seen = workspace.read("seen.txt");
    assert!(seen.contains("HARMLESS=yes") && !seen.contains(CANARY), "{seen}");
}
