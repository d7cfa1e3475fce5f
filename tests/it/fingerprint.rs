//! Each fact of the key has two tests: changing it causes a rerun, and a change that only looks like it does not.

use super::support::{Server, Workspace, standard};

/// Runs, makes a change, runs again, and compares what ran with `expected`.
#[track_caller]
fn check(change: impl Fn(&Workspace), expected: &[&str]) {
    let server = Server::plain();
    let workspace = standard(&server, 6);
    workspace
        .edit("pipelines/p.yaml", "name: p\n", "name: p\nparams: { tone: kind, unused: 1 }\n")
        .edit("templates/ask.j2", "Q:", "Q ({{ params.tone }}):")
        .edit(
            "pipelines/p.yaml",
            "input: answers\n    reference",
            "input: answers\n    prediction: \"{{ completion }}\"\n    reference",
        )
        .write("out/model.safetensors", "1")
        .edit("pipelines/p.yaml", "model: m-tuned, revision: b", "model: m-tuned, weights: out");
    workspace.run(&[]).code(0);
    change(&workspace);
    let mut ran = workspace.run(&[]).code(0).ran();
    ran.sort();
    assert_eq!(ran, expected);
}

fn edit(path: &'static str, from: &'static str, to: &'static str) -> impl Fn(&Workspace) {
    move |workspace| {
        workspace.edit(path, from, to);
    }
}

const SPEC: &str = "pipelines/p.yaml";
const JUDGES: &[&str] = &["duel.tuned", "quality.base", "quality.tuned"];

#[test]
fn dataset_content() {
    check(edit("data/rows.jsonl", "note 1", "note one"), &["rows"]);
    check(edit("data/rows.jsonl", "\"note\": \"note 1\"}", "\"note\":   \"note 1\" }\n"), &["rows"]);
}

#[test]
fn dataset_settings() {
    check(
        edit(SPEC, "id: key", "id: key\n    sample: { size: 5 }"),
        &[
            "answers.base",
            "answers.tuned",
            "duel.tuned",
            "exact.base",
            "exact.tuned",
            "quality.base",
            "quality.tuned",
            "rows",
        ],
    );
    check(edit(SPEC, "id: key", "id: key\n    description: rows"), &[]);
}

#[test]
fn templates() {
    check(
        edit("templates/ask.j2", "Q", "Question"),
        &["answers.base", "answers.tuned", "duel.tuned", "exact.base", "exact.tuned", "quality.base", "quality.tuned"],
    );
    check(
        |workspace| {
            workspace.write("templates/unused.j2", "x");
        },
        &[],
    );
}

#[test]
fn params() {
    check(
        edit(SPEC, "tone: kind", "tone: short"),
        &["answers.base", "answers.tuned", "duel.tuned", "exact.base", "exact.tuned", "quality.base", "quality.tuned"],
    );
    check(edit(SPEC, "unused: 1", "unused: 2"), &[]);
}

#[test]
fn model_id_and_its_name_in_the_spec() {
    check(edit(SPEC, "model: m-grader", "model: m-other"), JUDGES);
    check(
        |workspace| {
            workspace.edit(SPEC, "grader:", "referee:").edit(SPEC, "model: grader", "model: referee");
        },
        &[],
    );
}

#[test]
fn revision_and_address() {
    check(edit(SPEC, "revision: c", "revision: d"), JUDGES);
    let other = Server::plain();
    let url = other.url.clone();
    let moved = move |workspace: &Workspace| {
        let spec = workspace.read(SPEC);
        let line = spec.lines().find(|line| line.contains("provider: openai")).unwrap().to_owned();
        let address = line.split("base_url: ").nth(1).unwrap().split(',').next().unwrap().to_owned();
        workspace.edit(SPEC, &address, &url);
    };
    // A revision that someone may move proves nothing at another address; weights do.
    check(&moved, &["answers.base", "duel.tuned", "quality.base", "quality.tuned"]);
    // A full commit hash does, too.
    let server = Server::plain();
    let workspace = standard(&server, 6);
    for (revision, digit) in [("revision: a", 'a'), ("revision: b", 'b'), ("revision: c", 'c')] {
        workspace.edit(SPEC, revision, &format!("revision: {}", String::from(digit).repeat(40)));
    }
    workspace.run(&[]).code(0);
    moved(&workspace);
    assert_eq!(workspace.run(&[]).code(0).ran(), Vec::<String>::new());
}

#[test]
fn weights() {
    check(
        |workspace| {
            workspace.write("out/model.safetensors", "2");
        },
        &["answers.tuned"],
    );
    check(
        |workspace| {
            workspace.write("out/optimizer.pt", "2");
        },
        &[],
    );
}

#[test]
fn options_and_limits() {
    check(edit(SPEC, "temperature: 0 }", "temperature: 0.5 }"), &["answers.base", "answers.tuned"]);
    check(
        edit(
            SPEC,
            "role: baseline",
            "role: baseline, concurrency: 3, timeout: 9, max_attempts: 2, requests_per_minute: 60000",
        ),
        &[],
    );
}

#[test]
fn roles_and_headers() {
    check(edit(SPEC, "role: candidate", "role: candidate, headers: { X-Route: b }"), &["answers.tuned"]);
    check(edit(SPEC, "role: candidate", "role: ceiling, family: other"), &[]);
}

#[test]
fn metric_settings() {
    check(
        edit(SPEC, "metrics: [exact_match]", "metrics: { exact_match: { mode: casefold } }"),
        &["exact.base", "exact.tuned"],
    );
    check(edit(SPEC, "metrics: [exact_match]", "metrics: { exact_match: }"), &[]);
}

#[test]
fn metric_templates() {
    check(
        edit(SPEC, "prediction: \"{{ completion }}\"", "prediction: \"{{ completion | upper }}\""),
        &["exact.base", "exact.tuned"],
    );
    check(edit(SPEC, "prediction: \"{{ completion }}\"", "prediction: '{{ completion }}'"), &[]);
}

#[test]
fn rubric() {
    check(edit(SPEC, "Is it kind?", "Is it friendly?"), &["quality.base", "quality.tuned"]);
    check(edit(SPEC, "rubric: { criteria", "rubric: { scale: [1, 5], criteria"), &[]);
    check(edit(SPEC, "rubric: { criteria", "rubric: { scale: [1, 7], criteria"), &["quality.base", "quality.tuned"]);
}

#[test]
fn comparison() {
    check(edit(SPEC, "baseline: base }", "baseline: base, order: random }"), &["duel.tuned"]);
    check(edit(SPEC, "baseline: base }", "baseline: base, order: both, tie_rule: mtbench }"), &[]);
}

#[test]
fn retries_and_failures_allowed() {
    check(
        edit(SPEC, "    prompt: grade.j2", "    prompt: grade.j2\n    retries: 2"),
        &["quality.base", "quality.tuned"],
    );
    check(edit(SPEC, "    prompt: grade.j2", "    prompt: grade.j2\n    max_failures: 3%"), &[]);
}
