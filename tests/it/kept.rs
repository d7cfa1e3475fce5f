//! Rows that did not change are taken over from an earlier result: nothing is bought, rendered or looked up for them,
//! and what comes of it is what a run from nothing gives, byte for byte.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::{Server, Workspace, rows, standard, standard_spec};

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
            (name.to_owned(), json!([node["artifact"], node["failed"], node["missing"], run["summary"][stage][model]]))
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

#[test]
fn a_damaged_earlier_result_is_not_used() {
    let server = Server::plain();
    for part in ["answers.tuned", "exact.tuned", "quality.tuned"] {
        let workspace = ready(&server, &rows(20));
        let run = workspace.run(&[]).code(0).json();
        let node = run["nodes"].as_array().unwrap().iter().find(|node| node["node"] == part).unwrap();
        let artifact = node["artifact"].as_str().unwrap();
        let path = format!("cache/artifacts/{}/{artifact}.jsonl.zst", &artifact[..2]);
        // As long as before, so that only reading it tells.
        let mut bytes = std::fs::read(workspace.path(&path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(workspace.path(&path), bytes).unwrap();
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
