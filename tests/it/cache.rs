//! What reruns and what is bought: the promises of the cache, counted at the server.

use std::time::Duration;

use super::support::{Reply, Server, Workspace, default_reply, finish, prompt, rows, standard, standard_spec};

const ALL: &[&str] =
    &["answers.base", "answers.tuned", "exact.base", "exact.tuned", "quality.base", "quality.tuned", "duel.tuned"];

/// Returns a standard workspace that has run once. Its 10 rows make 2 × 10 completions, 2 × 10 grades and 20
/// comparisons.
fn ready(n: usize) -> (Server, Workspace) {
    let server = Server::plain();
    let workspace = standard(&server, n);
    workspace.run(&[]).code(0);
    assert_eq!(server.count(), n * 6);
    (server, workspace)
}

#[track_caller]
fn assert_ran(workspace: &Workspace, expected: &[&str]) {
    let mut ran = workspace.run(&[]).code(0).ran();
    ran.sort();
    let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(ran, expected);
}

#[test]
fn a_second_run_calls_nothing_and_prints_the_same_table() {
    let (server, workspace) = ready(10);
    let first = workspace.run(&[]).code(0);
    assert!(first.ran().is_empty());
    assert_eq!(server.count(), 0);
    assert_eq!(first.json()["summary"]["duel"]["tuned"]["win_rate"]["n"], 10);
    let plan = workspace.plan(&[]).code(0);
    assert!(plan.outcomes().iter().all(|line| line.ends_with(" hit")), "{:?}", plan.outcomes());
    assert_eq!(
        std::fs::read_dir(workspace.path("runs")).unwrap().count(),
        1,
        "a run that changed nothing writes no file"
    );
}

#[test]
fn an_edited_rubric_template_calls_the_judge_only() {
    let (server, workspace) = ready(10);
    workspace.edit("templates/grade.j2", "GRADE", "GRADE with care");
    let plan = workspace.plan(&[]).code(0).json();
    let node = plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "quality.tuned").unwrap().clone();
    assert_eq!(node["reason"], "template grade.j2 changed");
    assert_eq!((node["state"].as_str(), node["calls"].as_u64()), (Some("run"), Some(10)));
    assert_eq!(server.count(), 0, "a plan buys nothing");
    assert_ran(&workspace, &["quality.base", "quality.tuned"]);
    let calls = server.take();
    assert_eq!(calls.len(), 20);
    assert!(calls.iter().all(|call| prompt(call).contains("GRADE with care")));
}

#[test]
fn form_changes_nothing() {
    let (server, workspace) = ready(10);
    workspace
        .edit("pipelines/p.yaml", "etalon: 1", "# a comment\netalon: 1")
        .edit(
            "pipelines/p.yaml",
            "    path: data/rows.jsonl\n    id: key\n",
            "    id:   \"key\"\n\n    path: 'data/rows.jsonl'\n",
        )
        .edit("pipelines/p.yaml", "quality:", "grades:")
        .edit("pipelines/p.yaml", "{ temperature: 0 }", "{ temperature:   0 } # as before");
    assert_ran(&workspace, &[]);
    // The text moves into an include that renders the same: the judge's node is made again, but nothing is bought.
    let text = workspace.read("templates/grade.j2");
    workspace.write("templates/parts/body.j2", text).write("templates/grade.j2", "{% include 'parts/body.j2' %}");
    assert_ran(&workspace, &["grades.base", "grades.tuned"]);
    assert_eq!(server.count(), 0);
}

#[test]
fn ten_new_rows_cost_ten_rows_and_their_order_nothing() {
    let (server, workspace) = ready(100);
    workspace.write("data/rows.jsonl", rows(110));
    let plan = workspace.plan(&[]).code(0).json();
    let node = |name: &str| plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap().clone();
    assert_eq!(node("answers.tuned")["reason"], "10 of 110 rows added");
    assert_eq!(
        (node("answers.tuned")["calls"].as_u64(), node("answers.tuned")["reused"].as_u64()),
        (Some(10), Some(100))
    );
    assert_eq!(
        (
            node("quality.tuned")["state"].as_str(),
            node("quality.tuned")["calls"].as_u64(),
            node("quality.tuned")["reused"].as_u64()
        ),
        (Some("maybe"), Some(10), Some(100))
    );
    workspace.run(&[]).code(0);
    assert_eq!(server.count(), 60);
    let mut reversed: Vec<String> = rows(110).lines().map(str::to_owned).collect();
    reversed.reverse();
    workspace.write("data/rows.jsonl", reversed.join("\n"));
    assert_ran(&workspace, &["rows"]);
    assert_eq!(server.count(), 0);
}

#[test]
fn options_of_one_model_touch_its_nodes_only() {
    let (server, workspace) = ready(10);
    workspace.edit("pipelines/p.yaml", "role: candidate", "role: candidate, options: { top_p: 0.5 }");
    let plan = workspace.plan(&[]).code(0).json();
    assert_eq!(
        plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "answers.tuned").unwrap()["reason"],
        "options of tuned changed"
    );
    // The server answers the same, so the nodes behind stay hits.
    assert_ran(&workspace, &["answers.tuned"]);
    let calls = server.take();
    assert_eq!(calls.len(), 10);
    assert!(calls.iter().all(|call| call["model"] == "m-tuned" && call["top_p"] == 0.5));
}

#[test]
fn other_weights_behind_the_same_name_run_again() {
    let server = Server::plain();
    let workspace = standard(&server, 10);
    workspace.write("out/tuned/model.safetensors", "weights 1").edit(
        "pipelines/p.yaml",
        "model: m-tuned, revision: b",
        "model: m-tuned, weights: out/tuned",
    );
    workspace.run(&[]).code(0);
    server.count();
    workspace.write("out/tuned/trainer_state.json", "{}").write("out/tuned/README.md", "x");
    assert_ran(&workspace, &[]);
    workspace.write("out/tuned/model.safetensors", "weights 2");
    let plan = workspace.plan(&[]).code(0).json();
    assert_eq!(
        plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "answers.tuned").unwrap()["reason"],
        "weights of tuned changed"
    );
    assert_ran(&workspace, &["answers.tuned"]);
    assert_eq!(server.count(), 10);
    std::fs::remove_dir_all(workspace.path("out")).unwrap();
    let ran = workspace.run(&[]).code(2);
    assert!(ran.stdout.contains("names no file or folder"), "{}", ran.stdout);
}

#[test]
fn columns_count_where_they_are_read() {
    let (server, workspace) = ready(10);
    workspace.edit("data/rows.jsonl", "note 3", "another note");
    assert_ran(&workspace, &["rows"]);
    workspace.edit("data/rows.jsonl", "gold 3", "m-base says Q: question 3");
    let plan = workspace.plan(&[]).code(0).json();
    assert_eq!(
        plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "exact.tuned").unwrap()["reason"],
        "1 of 10 rows changed"
    );
    // The plan has read the dataset, and kept nothing of it.
    assert_ran(&workspace, &["rows", "exact.base", "exact.tuned"]);
    assert_eq!(server.count(), 0);
    let run = workspace.run(&[]).json();
    assert_eq!(run["summary"]["exact"]["base"]["exact_match"]["value"], 0.1);
    assert_eq!(run["summary"]["exact"]["tuned"]["exact_match"]["value"], 0.0);
}

#[test]
fn a_changed_question_buys_its_row_everywhere() {
    let (server, workspace) = ready(10);
    workspace.edit("data/rows.jsonl", "question 3", "question three");
    workspace.run(&[]).code(0);
    assert_eq!(server.count(), 6);
}

#[test]
fn a_rotated_key_buys_nothing() {
    let server = Server::plain();
    let workspace = standard(&server, 5);
    let run = |key: &str| {
        let output = workspace.command(&["run", "pipelines/p.yaml"]).env("OPENAI_API_KEY", key).output().unwrap();
        assert!(output.status.success());
        server.count()
    };
    assert_eq!(run("sk-one"), 30);
    assert_eq!(run("sk-two"), 0);
}

#[test]
fn two_runs_at_once_buy_everything_once() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(20), default_reply(body)));
    let workspace = standard(&server, 40);
    // A second pipeline has the same requests, but other keys of nodes.
    workspace.write(
        "pipelines/q.yaml",
        standard_spec(&server.url)
            .replace("name: p", "name: q")
            .replace("id: key", "id: key\n    sample: { size: 30 }"),
    );
    let children = [
        workspace.spawn(&["run", "pipelines/p.yaml", "--format", "json"]),
        workspace.spawn(&["run", "pipelines/q.yaml", "--format", "json"]),
        workspace.spawn(&["run", "pipelines/p.yaml", "--format", "json"]),
    ];
    for child in children {
        finish(child).code(0);
    }
    assert_eq!(server.count(), 40 * 6);
}

#[test]
fn killed_in_the_middle_it_loses_and_repeats_nothing() {
    let server = Server::start(|_, body, _| Reply::Slow(Duration::from_millis(15), default_reply(body)));
    let undisturbed = standard(&server, 60);
    undisturbed.run(&[]).code(0);
    server.count();
    let workspace = standard(&server, 60);
    let (mut bought, mut in_flight) = (0, 0);
    for round in 0..6 {
        let mut child = workspace.spawn(&["run", "pipelines/p.yaml"]);
        let wanted = bought + 20 + 7 * round;
        while server.seen() < wanted && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Added: the calls that the server still works on, and those that may sit in a socket.
        in_flight += server.in_flight() + 16;
        bought = server.seen();
    }
    workspace.run(&[]).code(0);
    let calls = server.count();
    let lost = calls - 360;
    assert!(lost <= in_flight, "{lost} calls were bought again, {in_flight} were in flight");
    for stage in ["answers", "exact", "quality", "duel"] {
        assert_eq!(workspace.show(stage), undisturbed.show(stage), "{stage}");
    }
    assert_eq!(server.count(), 0);
}

#[test]
fn refresh_buys_anew_once() {
    let (server, workspace) = ready(5);
    let refreshed = workspace.run(&["--refresh", "answers.tuned"]).code(0);
    assert_eq!(refreshed.ran(), ["answers.tuned"], "equal answers leave everything after them cached");
    assert_eq!(server.count(), 5);
    assert_ran(&workspace, &[]);
    assert_eq!(server.count(), 0);
}

#[test]
fn more_samples_buy_the_missing_ones() {
    let (server, workspace) = ready(5);
    workspace.edit(
        "pipelines/p.yaml",
        "    options: { temperature: 0 }",
        "    options: { temperature: 0 }\n    samples: 3",
    );
    workspace.run(&["--only", "answers"]).code(0);
    let calls = server.take();
    assert_eq!(calls.len(), 2 * 5 * 2);
    assert!(calls.iter().all(|call| call["seed"] == 1 || call["seed"] == 2));
}

#[test]
fn the_same_request_in_two_stages_is_bought_once() {
    let (server, workspace) = ready(5);
    let spec = workspace.read("pipelines/p.yaml");
    let again = "  again:\n    kind: inference\n    input: rows\n    model: tuned\n    prompt: \"Q: {{ row.question }}\"\n    options: { temperature: 0 }\n";
    workspace.write("pipelines/p.yaml", spec + again);
    assert_ran(&workspace, &["again.tuned"]);
    assert_eq!(server.count(), 0);
}

#[test]
fn damaged_artifacts_are_made_again_without_a_call() {
    let (server, workspace) = ready(10);
    let artifacts = super::support::files(&workspace.path("cache/artifacts"));
    assert!(artifacts.len() >= ALL.len());
    for artifact in &artifacts {
        std::fs::remove_file(artifact).unwrap();
    }
    workspace.run(&[]).code(0);
    // The bytes change and the size does not, so only reading can show it.
    for artifact in super::support::files(&workspace.path("cache/artifacts")) {
        let mut bytes = std::fs::read(&artifact).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&artifact, bytes).unwrap();
    }
    workspace.edit("templates/grade.j2", "GRADE", "GRADE it");
    let ran = workspace.run(&[]).code(0);
    assert!(ran.ran().contains(&"answers.base".to_owned()), "{:?}", ran.outcomes());
    assert_eq!(ran.json()["summary"]["quality"]["tuned"]["accuracy"]["n"], 10);
    assert_eq!(server.count(), 20, "only the edited judge's calls");
}

#[test]
fn a_lost_cache_manifest_is_rebuilt_from_the_log() {
    let (server, workspace) = ready(10);
    std::fs::remove_dir_all(workspace.path("cache/manifests")).unwrap();
    std::fs::remove_dir_all(workspace.path("cache/artifacts")).unwrap();
    std::fs::write(workspace.path("cache/memo.json"), "not json").unwrap();
    workspace.run(&[]).code(0);
    assert_eq!(server.count(), 0);
}

#[test]
fn only_and_limit_are_partial() {
    let server = Server::plain();
    let workspace = standard(&server, 10);
    workspace.edit(
        "pipelines/p.yaml",
        "    compare: { baseline: base }\n",
        "    compare: { baseline: base }\ngates: [\"quality.tuned.mean >= 1\", \"exact.base.exact_match >= 0\"]\n",
    );
    let run = workspace.run(&["--only", "exact", "--limit", "4"]).code(0).json();
    assert_eq!(run["partial"], true);
    assert_eq!(run["gates"][0]["verdict"], "NOT_RUN");
    assert_eq!(run["gates"][1]["verdict"], "PASS");
    assert_eq!(run["summary"]["exact"]["base"]["exact_match"]["n"], 4);
    assert_eq!(server.count(), 8);
    workspace.run(&[]).code(0);
    assert_eq!(server.count(), 60 - 8, "what the partial run bought is reused");
}

#[test]
fn offline_uses_what_there_is_and_calls_nothing() {
    let (server, workspace) = ready(5);
    workspace.run(&["--offline"]).code(0);
    workspace.write("data/rows.jsonl", rows(6));
    let ran = workspace.run(&["--offline"]).code(3);
    assert!(ran.stderr.contains("offline"), "{}", ran.stderr);
    assert_eq!(server.count(), 0);
}

#[test]
fn a_probed_server_is_known_by_what_it_serves() {
    let server = Server::plain();
    let workspace = standard(&server, 3);
    workspace.edit("pipelines/p.yaml", "model: m-base, revision: a", "model: m-base, probe: true");
    let stderr = workspace.run(&["--only", "answers.base"]).code(3).stderr;
    assert!(stderr.contains("does not say what it serves as `m-base`"), "{stderr}");
    let models = |created: u64, root: &str| serde_json::json!({"data": [{"id": "m-base", "created": created, "root": root, "max_model_len": 4096}]});
    server.page("/v1/models", &models(1, "out/iter-1"));
    workspace.run(&["--only", "answers.base"]).code(0);
    assert_eq!(server.count(), 3);
    server.page("/v1/models", &models(2, "out/iter-1"));
    assert!(workspace.run(&["--only", "answers.base"]).code(0).ran().is_empty(), "times do not count");
    server.page("/v1/models", &models(3, "out/iter-2"));
    let plan = workspace.plan(&["--only", "answers.base"]).code(0).json();
    assert_eq!(plan["nodes"][1]["reason"], "probe of base changed");
    workspace.run(&["--only", "answers.base"]).code(0);
    assert_eq!(server.count(), 3);
    // A server that knows a digest of its weights is asked for it.
    let tags = serde_json::json!({"models": [{"name": "m-base:latest", "digest": "d1", "modified_at": "today"}]});
    server.page("/api/tags", &tags);
    workspace.run(&["--only", "answers.base"]).code(0);
    assert_eq!(workspace.show("answers.base").len(), 3);
    assert_eq!(server.count(), 3);
    // Without the server, its completions can still be shown, and cached results hold offline.
    drop(server);
    assert_eq!(workspace.show("answers.base").len(), 3);
    assert!(workspace.run(&["--only", "answers.base", "--offline"]).code(0).ran().is_empty());
}

#[test]
fn weights_of_one_name_in_two_folders_all_count() {
    let server = Server::plain();
    let workspace = standard(&server, 2);
    workspace.write("base/model.safetensors", "a").write("lora/model.safetensors", "b");
    workspace.edit("pipelines/p.yaml", "model: m-base, revision: a", "model: m-base, weights: [base, lora]");
    workspace.run(&["--only", "answers.base"]).code(0);
    for folder in ["base", "lora"] {
        workspace.write(&format!("{folder}/model.safetensors"), "c");
        assert_eq!(workspace.run(&["--only", "answers.base"]).code(0).ran(), ["answers.base"], "{folder}");
    }
}
