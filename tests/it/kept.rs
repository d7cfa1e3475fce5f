//! Rows that did not change are taken over from an earlier result: nothing is bought, rendered or looked up for them,
//! and what comes of it is what a run from nothing gives, byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::support::{Reply, Server, Workspace, default_reply, prompt, rows, standard, standard_spec};

/// Everything that calls a judge or a model in every way, over one dataset.
fn spec(url: &str) -> String {
    let more = "
  twice: { kind: inference, input: rows, models: [base, tuned], prompt: ask.j2, samples: 2 }
  spread: { kind: metric, input: twice, reference: \"{{ row.gold }}\", metrics: [exact_match, length, rougeL] }
  ranked: { kind: judge, input: answers, model: grader, prompt: compare.j2, compare: { pairs: all } }
";
    let spec = standard_spec(url);
    let gates = spec.find("gates:").unwrap_or(spec.len());
    format!("{}{more}{}", &spec[..gates], &spec[gates..])
}

fn ready(server: &Server, data: &str) -> Workspace {
    let workspace = standard(server, 1);
    workspace.write("pipelines/p.yaml", spec(&server.url));
    workspace.write("data/rows.jsonl", data);
    workspace
}

/// Artifacts and numbers by node.
fn made(run: &Value) -> BTreeMap<String, Value> {
    let nodes = run["nodes"].as_array().unwrap().iter();
    nodes
        .map(|node| {
            let name = node["node"].as_str().unwrap();
            let (stage, model) = name.split_once('.').unwrap_or((name, "_"));
            (
                name.to_owned(),
                json!([node["artifact"], node["failed"], node["missing"], node["notes"], run["summary"][stage][model]]),
            )
        })
        .collect()
}

/// Removes the completion log, so that what is looked up there must be bought.
fn forget_completions(workspace: &Workspace) {
    std::fs::remove_dir_all(workspace.path("cache/completions")).unwrap();
}

#[track_caller]
fn is_as_from_nothing(server: &Server, workspace: &Workspace, data: &str) {
    let run = workspace.run(&[]).code(0).json();
    let fresh = ready(server, data);
    let undisturbed = fresh.run(&[]).code(0).json();
    assert_eq!(made(&run), made(&undisturbed));
}

/// The rows with one changed, one gone and one new.
fn changed(n: usize) -> String {
    let mut lines: Vec<String> =
        rows(n).lines().map(|line| line.replace("question 3\"", "another question\"")).collect();
    lines.remove(7);
    lines.push(r#"{"key": 0.5, "question": "new", "gold": "new", "note": "n"}"#.to_owned());
    lines.join("\n")
}

#[test]
fn only_rows_that_changed_are_bought_even_without_a_log() {
    let server = Server::plain();
    let workspace = ready(&server, &rows(40));
    workspace.run(&[]).code(0);
    server.take();
    forget_completions(&workspace);
    workspace.write("data/rows.jsonl", changed(40));
    let run = workspace.run(&[]).code(0).json();
    // A changed row and a new one: 2 models asked once and twice, 2 grades, a comparison in two orders, which two
    // stages share.
    assert_eq!(server.count(), 2 * (2 + 4 + 2 + 2));
    let node = |name: &str| run["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap().clone();
    assert_eq!(
        (node("answers.tuned")["calls"].as_u64(), node("answers.tuned")["reused"].as_u64()),
        (Some(2), Some(38))
    );
    let fresh = ready(&server, &changed(40));
    assert_eq!(made(&run), made(&fresh.run(&[]).code(0).json()));
}

#[test]
fn a_changed_gold_touches_no_model_and_gives_the_same_numbers() {
    let server = Server::plain();
    let workspace = ready(&server, &rows(40));
    workspace.run(&[]).code(0);
    server.take();
    forget_completions(&workspace);
    let data = rows(40).replace("gold 5", "m-tuned says Q: question 5");
    workspace.write("data/rows.jsonl", &data);
    let run = workspace.run(&[]).code(0);
    assert_eq!(server.count(), 0);
    assert!(run.ran().iter().any(|node| node == "exact.tuned"));
    let fresh = ready(&server, &data);
    assert_eq!(made(&run.json()), made(&fresh.run(&[]).code(0).json()));
}

/// Damages the artifact of a node near its end. It stays as long as it is, so that only reading it tells.
fn damage(workspace: &Workspace, run: &Value, name: &str) {
    let node = run["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap();
    let artifact = node["artifact"].as_str().unwrap();
    let path = format!("cache/artifacts/{}/{artifact}.jsonl.zst", &artifact[..2]);
    let mut bytes = std::fs::read(workspace.path(&path)).unwrap();
    let late = bytes.len() * 9 / 10;
    bytes[late] ^= 0x55;
    std::fs::write(workspace.path(&path), bytes).unwrap();
}

#[test]
fn a_damaged_earlier_result_is_not_used() {
    let server = Server::plain();
    for part in ["answers.tuned", "exact.tuned", "quality.tuned"] {
        let workspace = ready(&server, &rows(20));
        let run = workspace.run(&[]).code(0).json();
        damage(&workspace, &run, part);
        let data = rows(20).replace("question 3\"", "another question\"");
        workspace.write("data/rows.jsonl", &data);
        is_as_from_nothing(&server, &workspace, &data);
    }
}

#[test]
fn a_plan_counts_the_calls_of_rows_that_changed_and_leaves_nothing() {
    let server = Server::plain();
    let workspace = ready(&server, &rows(40));
    workspace.run(&[]).code(0);
    let files = || super::support::files(&workspace.path("cache")).len();
    let before = files();
    workspace.write("data/rows.jsonl", rows(40).replace("question 3\"", "another question\""));
    let plan = workspace.plan(&[]).code(0).json();
    let node = |name: &str| plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap().clone();
    assert_eq!(
        (node("answers.tuned")["calls"].as_u64(), node("answers.tuned")["state"].as_str()),
        (Some(1), Some("run"))
    );
    assert_eq!(node("answers.tuned")["miss"], json!({ "why": "changed", "changes": ["1 of 40 rows changed"] }));
    assert_eq!(node("quality.tuned")["calls"].as_u64(), Some(1));
    assert_eq!(files(), before, "a plan leaves no artifact");
}

#[test]
fn a_plan_over_a_damaged_earlier_result_counts_as_over_a_sound_one() {
    let server = Server::plain();
    let plan = |damaged: &[&str]| {
        // So long that the damage is met only after a changed row has been asked for.
        let data = rows(300).replace("question ", &format!("question {} ", "long ".repeat(300)));
        let workspace = ready(&server, &data);
        let run = workspace.run(&[]).code(0).json();
        damaged.iter().for_each(|name| damage(&workspace, &run, name));
        workspace.write("data/rows.jsonl", data.replace(" 3\", \"gold", " another\", \"gold"));
        let plan = workspace.plan(&[]).code(0).json();
        let nodes = plan["nodes"].as_array().unwrap().iter();
        let of = |node: &Value| ["node", "state", "calls", "reused", "error"].map(|name| node[name].clone());
        nodes.map(of).collect::<Vec<_>>()
    };
    let sound = plan(&[]);
    let one = |name: &str| sound.iter().find(|node| node[0] == name).unwrap();
    assert_eq!(one("answers.tuned")[1..], [json!("run"), json!(1), json!(299), Value::Null]);
    assert_eq!(plan(&["answers.tuned", "quality.tuned"]), sound);
}

#[test]
fn a_failed_call_of_a_panel_is_owed_though_the_others_were_enough() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let server = Server::start({
        let is_broken = is_broken.clone();
        move |_, body, _| {
            let fails = body["model"] == "m-second" && prompt(body).contains("question 2\n");
            if fails && is_broken.load(Ordering::Relaxed) {
                return Reply::Raw(400, Vec::new(), "{\"error\": {\"message\": \"no\"}}".to_owned());
            }
            Reply::Text(default_reply(body))
        }
    });
    let spec = standard_spec(&server.url)
        .replace("stages:", "  second: { extends: base, model: m-second, revision: d }\nstages:")
        .replace("    model: grader\n    prompt: grade.j2", "    panel: [grader, second]\n    prompt: grade.j2");
    let data = rows(40).replace("question 9\"", "another question\"");
    let ready = |data: &str| {
        let workspace = standard(&server, 1);
        workspace.write("pipelines/p.yaml", &spec).write("data/rows.jsonl", data);
        workspace
    };
    let workspace = ready(&rows(40));
    let first = workspace.run(&[]).code(0).json();
    assert_eq!(made(&first)["quality.tuned"][1], 1, "{first}");
    is_broken.store(false, Ordering::Relaxed);
    server.take();
    workspace.write("data/rows.jsonl", &data);
    let run = workspace.run(&[]).code(0).json();
    let asked = server.take();
    let owed = asked.iter().filter(|body| body["model"] == "m-second" && prompt(body).contains("question 2\n"));
    assert_eq!(owed.count(), 2, "once for each model");
    assert_eq!(made(&run), made(&ready(&data).run(&[]).code(0).json()));
}

#[test]
fn prices_of_one_result_are_of_one_list() {
    let server = Server::plain();
    let spec = format!("{}  spent: {{ kind: metric, input: answers, metrics: [cost] }}\n", standard_spec(&server.url));
    let data = rows(20).replace("question 9\"", "another question\"");
    let priced = spec.replace("role: baseline", "role: baseline, price: { input: 1, output: 2 }");
    let workspace = standard(&server, 20);
    workspace.write("pipelines/p.yaml", &spec);
    workspace.run(&[]).code(0);
    workspace.write("pipelines/p.yaml", &priced).write("data/rows.jsonl", &data);
    let run = workspace.run(&[]).code(0).json();
    let fresh = standard(&server, 1);
    fresh.write("pipelines/p.yaml", &priced).write("data/rows.jsonl", &data);
    let undisturbed = fresh.run(&[]).code(0).json();
    assert!(made(&run)["spent.tuned"][4]["cost"]["value"].as_f64().is_some_and(|cost| cost > 0.0), "{run}");
    assert_eq!(made(&run), made(&undisturbed));
}

#[test]
fn what_a_dataset_does_not_have_is_said_again() {
    let server = Server::plain();
    let spec = "
etalon: 1
name: p
models: { m: }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key }
  given: { kind: inference, input: rows, model: m, completions: \"{{ row.note }}\" }
  exact: { kind: metric, input: given, reference: \"{{ row.gold }}\", metrics: [exact_match] }
";
    let data = rows(40).replace("\"note\": \"note 5\"", "\"note\": null");
    let changed = data.replace("note 9", "gold 9");
    let ready = |data: &str| {
        let workspace = standard(&server, 1);
        workspace.write("pipelines/p.yaml", spec).write("data/rows.jsonl", data);
        workspace
    };
    let workspace = ready(&data);
    let first = workspace.run(&[]).code(0).json();
    assert!(made(&first)["given.m"][3].to_string().contains("1 of 40 rows failed"), "{first}");
    workspace.write("data/rows.jsonl", &changed);
    assert_eq!(made(&workspace.run(&[]).code(0).json()), made(&ready(&changed).run(&[]).code(0).json()));
}
