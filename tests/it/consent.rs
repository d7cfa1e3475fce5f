//! Foreign pipelines: programs start only with consent, files outside of the workspace are not read, and the first call
//! that carries a key to a host is told.

use std::os::unix::fs::symlink;

use serde_json::Value;

use super::support::{Ran, Server, Workspace, standard};

/// A user who has consented to nothing yet.
struct Stranger(tempfile::TempDir);

impl Stranger {
    fn new() -> Stranger {
        Stranger(tempfile::tempdir().unwrap())
    }

    fn etalon(&self, workspace: &Workspace, arguments: &[&str]) -> Ran {
        workspace.etalon_with(arguments, &[("XDG_CONFIG_HOME", self.0.path().to_str().unwrap())])
    }

    fn allow(&self, folder: &std::path::Path) {
        std::fs::create_dir_all(self.0.path().join("etalon")).unwrap();
        std::fs::write(self.0.path().join("etalon/settings.toml"), format!("allow = [{folder:?}]\n")).unwrap();
    }
}

/// Returns the codes of the problems that a command reports.
fn codes(ran: &Ran) -> Vec<String> {
    let problems = ran.json()["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
}

/// A pipeline with a program in each of the three places where one can stand. Each leaves a trace.
fn with_programs() -> Workspace {
    let workspace = Workspace::new();
    workspace
        .write("rows.sh", "touch ran.rows; echo '{\"id\": 1, \"q\": \"a\"}'")
        .write("score.sh", "touch ran.score; sed s/.*/1/")
        .write("model.sh", "touch ran.model; while read line; do n=$(echo \"$line\" | grep -o '\"id\":[0-9]*' | grep -o '[0-9]*$'); echo \"{\\\"id\\\": $n, \\\"completion\\\": \\\"x\\\"}\"; done")
        .write(
            "pipelines/p.yaml",
            "etalon: 1\nname: another\nmodels:\n  m: { provider: command, command: sh model.sh }\nstages:\n  rows: { kind: dataset, command: sh rows.sh, id: id }\n  answers: { kind: inference, input: rows, model: m, prompt: \"{{ row.q }}\" }\n  scores: { kind: metric, input: answers, metrics: { mine: { metric: command, command: sh score.sh } } }\n",
        );
    workspace
}

fn traces(workspace: &Workspace) -> usize {
    ["ran.rows", "ran.score", "ran.model"].iter().filter(|name| workspace.path(name).exists()).count()
}

#[test]
fn programs_start_only_with_consent() {
    let (user, workspace) = (Stranger::new(), with_programs());
    let run = ["run", "pipelines/p.yaml", "--format", "json"];
    user.etalon(&workspace, &["check"]).code(0);
    let plan = user.etalon(&workspace, &["plan", "pipelines/p.yaml"]).code(0);
    assert!(plan.stdout.contains("rows not known") && plan.stdout.contains("run --only rows"), "{}", plan.stdout);
    for command in ["why", "show", "export"] {
        user.etalon(&workspace, &[command, "pipelines/p.yaml", "rows"]);
    }
    let refused = user.etalon(&workspace, &run).code(2);
    assert_eq!(codes(&refused), ["untrusted-program"; 3]);
    for said in ["rows.sh", "score.sh", "model.sh", "\"line\":4", "etalon trust pipelines/p.yaml"] {
        assert!(refused.stdout.contains(said) || refused.stderr.contains(said), "{said}: {}", refused.stdout);
    }
    let listed = user.etalon(&workspace, &["trust", "pipelines/p.yaml", "--list", "--format", "json"]).code(0).json();
    let programs = listed["programs"].as_array().unwrap();
    assert!(programs.len() == 3 && programs.iter().all(|program| program["trusted"] == false), "{listed}");
    assert_eq!(traces(&workspace), 0);

    // By digest, as in CI: one that is missing keeps all from starting.
    let digest = |program: &Value| program["digest"].as_str().unwrap().to_owned();
    let two = format!("--allow-commands={},{}", digest(&programs[0]), digest(&programs[1]));
    assert_eq!(codes(&user.etalon(&workspace, &[&run[..], &[&two]].concat()).code(2)), ["untrusted-program"]);
    assert_eq!(traces(&workspace), 0);
    let three = format!("{two},{}", digest(&programs[2]));
    user.etalon(&workspace, &[&run[..], &[&three]].concat()).code(0);
    assert_eq!(traces(&workspace), 3);
    user.etalon(&workspace, &[&run[..], &["--allow-commands=abc"]].concat()).code(2);
    user.etalon(&workspace, &[&run[..], &["--allow-commands"]].concat()).code(0);
    user.etalon(&workspace, &run).code(2);
    // A plan knows the rows that a run has made.
    let plan = user.etalon(&workspace, &["plan", "pipelines/p.yaml"]).code(0);
    assert!(!plan.stdout.contains("not known"), "{}", plan.stdout);

    let trusted = user.etalon(&workspace, &["trust", "pipelines/p.yaml"]).code(0);
    assert!(trusted.stdout.contains("new     stage rows: sh rows.sh"), "{}", trusted.stdout);
    user.etalon(&workspace, &run).code(0);
    user.etalon(&workspace, &["run", "pipelines/p.yaml"]).code(0);

    // What was trusted is a program as it was, in its workspace.
    workspace.write("score.sh", "touch ran.other; sed s/.*/0/");
    assert_eq!(codes(&user.etalon(&workspace, &run).code(2)), ["untrusted-program"]);
    assert!(!workspace.path("ran.other").exists());
    user.etalon(&with_programs(), &run).code(2);

    user.etalon(&workspace, &["trust", "--workspace-is-mine"]).code(0);
    user.etalon(&workspace, &run).code(0);
    assert!(workspace.path("ran.other").exists());
    user.etalon(&with_programs(), &run).code(2);
}

#[test]
fn consent_never_comes_from_the_workspace() {
    let (user, workspace) = (Stranger::new(), with_programs());
    workspace
        .write("etalon.toml", "allow = [\"/\"]\n")
        .write(".config/etalon/settings.toml", "trusted = [\"/\"]\n")
        .write("etalon/settings.toml", "trusted = [\"/\"]\n");
    let ran = user.etalon(&workspace, &["run", "pipelines/p.yaml"]).code(2);
    assert!(ran.stderr.contains("etalon.toml"), "{}", ran.stderr);
    workspace.write("etalon.toml", "");
    user.etalon(&workspace, &["run", "pipelines/p.yaml"]).code(2);
    // A relative folder of settings would be one of the workspace.
    let ran = workspace.etalon_with(&["run", "pipelines/p.yaml"], &[("XDG_CONFIG_HOME", "."), ("HOME", "/nowhere")]);
    ran.code(2);
    assert_eq!(traces(&workspace), 0);
}

#[test]
fn files_outside_of_the_workspace_are_not_read() {
    let outside = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(outside.path().join(name), text).unwrap();
    put("rows.jsonl", "{\"id\": 1, \"q\": \"a secret\", \"gold\": \"x\"}\n");
    put("ask.j2", "a secret {{ row.q }}");
    put("labels.jsonl", "{\"row\": \"1\", \"criterion\": \"tone\", \"label\": 3}\n");
    put("recorded.jsonl", "{\"prompt\": \"a\", \"completion\": \"a secret\"}\n");
    put("schema.json", "{}");
    let spec = "etalon: 1\nname: p\nmodels:\n  m: { provider: scripted, reply: \"{\\\"tone\\\": 3}\" }\nstages:\n  rows: { kind: dataset, path: data/rows.jsonl, id: id }\n  answers: { kind: inference, input: rows, model: m, prompt: \"{{ row.q }}\" }\n";
    let judge = "  quality: { kind: judge, allow_self: true, input: answers, model: m, rubric: { criteria: { tone: Is it kind? } }, human: labels.jsonl }\n";
    let metric = "  valid: { kind: metric, input: answers, metrics: { json_schema: { schema: schema.json } } }\n";
    let link = |name: &str, at: &str, workspace: &Workspace| {
        std::fs::create_dir_all(workspace.path(at).parent().unwrap()).unwrap();
        symlink(outside.path().join(name), workspace.path(at)).unwrap();
    };
    let fresh = || {
        let workspace = Workspace::new();
        workspace
            .write("data/rows.jsonl", "{\"id\": 1, \"q\": \"a\", \"gold\": \"x\"}\n")
            .write("pipelines/p.yaml", spec);
        workspace
    };
    let absolute = fresh();
    absolute.edit("pipelines/p.yaml", "data/rows.jsonl", outside.path().join("rows.jsonl").to_str().unwrap());
    let upward = fresh();
    let up = format!("../{}/rows.jsonl", outside.path().file_name().unwrap().to_str().unwrap());
    upward.edit("pipelines/p.yaml", "data/rows.jsonl", &up);
    let linked = fresh();
    std::fs::remove_file(linked.path("data/rows.jsonl")).unwrap();
    link("rows.jsonl", "data/rows.jsonl", &linked);
    let globbed = fresh();
    link("rows.jsonl", "data/more.jsonl", &globbed);
    globbed.edit("pipelines/p.yaml", "data/rows.jsonl", "data/*.jsonl");
    let folder = fresh();
    symlink(outside.path(), folder.path("linked")).unwrap();
    folder.edit("pipelines/p.yaml", "data/rows.jsonl", "linked/rows.jsonl");
    let template = fresh();
    link("ask.j2", "templates/ask.j2", &template);
    template.edit("pipelines/p.yaml", "\"{{ row.q }}\"", "ask.j2");
    let included = fresh();
    link("ask.j2", "templates/ask.j2", &included);
    included.edit("pipelines/p.yaml", "\"{{ row.q }}\"", "\"{% include 'ask.j2' %}\"");
    let labels = fresh();
    link("labels.jsonl", "labels.jsonl", &labels);
    labels.write("pipelines/p.yaml", format!("{spec}{judge}"));
    let replay = fresh();
    link("recorded.jsonl", "recorded.jsonl", &replay);
    replay.edit(
        "pipelines/p.yaml",
        "provider: scripted, reply: \"{\\\"tone\\\": 3}\"",
        "provider: replay, file: recorded.jsonl",
    );
    let schema = fresh();
    link("schema.json", "schema.json", &schema);
    schema.write("pipelines/p.yaml", format!("{spec}{metric}"));
    let leakage = fresh();
    link("rows.jsonl", "data/train.jsonl", &leakage);
    leakage.edit("pipelines/p.yaml", "id: id }", "id: id, leakage: { against: data/train.jsonl, column: q } }");
    for (name, workspace) in [
        ("absolute", absolute),
        ("upward", upward),
        ("linked", linked),
        ("globbed", globbed),
        ("folder", folder),
        ("template", template),
        ("included", included),
        ("labels", labels),
        ("replay", replay),
        ("schema", schema),
        ("leakage", leakage),
    ] {
        let user = Stranger::new();
        for command in ["check", "plan", "run"] {
            let ran = user.etalon(&workspace, &[command, "pipelines/p.yaml"]).code(2);
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains("outside of the workspace") && said.contains("allow"), "{name} {command}: {said}");
            assert!(!said.contains("a secret"), "{name} {command}: {said}");
        }
        user.allow(outside.path());
        let ran = user.etalon(&workspace, &["check", "pipelines/p.yaml"]);
        assert!(!ran.stderr.contains("outside"), "{name}: {}", ran.stderr);
        // Ids come twice in the glob; all others run.
        let ran = user.etalon(&workspace, &["run", "pipelines/p.yaml"]);
        assert_eq!(ran.code, if name == "globbed" { 3 } else { 0 }, "{name}: {}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_host_that_a_key_goes_to_for_the_first_time_is_named() {
    let (user, server) = (Stranger::new(), Server::plain());
    let workspace = standard(&server, 2);
    workspace.edit("pipelines/p.yaml", "provider: openai", "provider: openai, api_key_env: TEAM_KEY");
    let home = user.0.path().to_str().unwrap();
    let run = |key: &str| {
        workspace.etalon_with(&["run", "pipelines/p.yaml"], &[("XDG_CONFIG_HOME", home), ("TEAM_KEY", key)])
    };
    let host = server.url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let first = run("sk-0123456789abcdef01").code(0);
    assert_eq!(first.stderr.matches(&format!("the key TEAM_KEY goes to {host}")).count(), 1, "{}", first.stderr);
    assert!(!run("sk-0123456789abcdef01").code(0).stderr.contains("goes to"));
}
