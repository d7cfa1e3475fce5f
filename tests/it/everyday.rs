//! What people meet every day: slips in options, empty files, a part of the models, rows for a colleague.

use super::support::{Server, Workspace, standard};

const SPEC: &str = "pipelines/p.yaml";

#[test]
fn slips_in_options_are_told_where_they_stand() {
    let server = Server::plain();
    let workspace = standard(&server, 3);
    workspace.edit(
        SPEC,
        "options: { temperature: 0 }",
        "options: { max_tokens: lots, temperatur: 0, my_servers_own: x }",
    );
    workspace.edit(SPEC, "role: baseline", "role: baseline, options: { top_p: 7 }");
    let checked = workspace.etalon(&["check", "p"]).code(0);
    for told in [
        "stage answers: `max_tokens` is a whole number above 0, and here it is `\"lots\"`",
        "did you mean `temperature`?",
        "model base: `top_p` is a number, 0 to 1, and here it is `7`",
    ] {
        assert!(checked.stderr.contains(told), "{told}: {}", checked.stderr);
    }
    assert_eq!(checked.stderr.matches("`top_p` is").count(), 1, "an inherited option is told once, with its excerpt");
    assert!(!checked.stderr.contains("my_servers_own` is no option"), "servers know more options than we do");
}

#[test]
fn a_file_without_rows_does_not_pass() {
    let server = Server::plain();
    for (name, text) in [("data/rows.csv", ""), ("data/rows.csv", "key,question,gold\n"), ("data/rows.jsonl", "")] {
        let workspace = standard(&server, 3);
        workspace.write(name, text).edit(SPEC, "data/rows.jsonl", name);
        let checked = workspace.etalon(&["check", "p", "--format", "json"]).code(2).json();
        let problems = checked["problems"].as_array().unwrap();
        assert!(problems.iter().any(|problem| problem["code"] == "no-rows"), "{text:?}: {checked}");
    }
}

#[test]
fn a_comparison_may_be_of_some_models() {
    let server = Server::plain();
    let workspace = standard(&server, 4);
    workspace
        .edit(SPEC, "  grader:", "  other: { extends: base, model: m-other, revision: d }\n  grader:")
        .edit(SPEC, "models: [base, tuned]", "models: [base, tuned, other]")
        .edit(SPEC, "compare: { baseline: base }", "compare: { baseline: base, models: [tuned] }");
    let nodes = workspace.plan(&[]).code(0).outcomes();
    assert!(nodes.iter().any(|node| node.starts_with("duel.tuned")), "{nodes:?}");
    assert!(!nodes.iter().any(|node| node.starts_with("duel.other")), "{nodes:?}");
    workspace.edit(SPEC, "baseline: base, models: [tuned]", "pairs: all, models: [tuned, other]");
    let ran = workspace.run(&[]).code(0).json();
    let ranked = ran["summary"]["duel"]["_"].as_object().unwrap();
    assert!(ranked.contains_key("other.win_rate") && !ranked.contains_key("base.win_rate"), "{ranked:?}");
    workspace.edit(SPEC, "models: [tuned, other]", "models: [tuned, othr]");
    let wrong = workspace.etalon(&["check", "p"]).code(2);
    assert!(wrong.stderr.contains("did you mean `other`?"), "{}", wrong.stderr);
}

#[test]
fn rows_are_exported_by_an_expression() {
    let server = Server::plain();
    let workspace = standard(&server, 6);
    workspace.run(&[]).code(0);
    let exported = workspace.etalon(&["export", "p", "answers.base", "--to", "jsonl", "--where", "row.key > 'r0003'"]);
    assert_eq!(exported.code(0).stdout.lines().count(), 2);
    let csv = workspace.etalon(&["export", "p", "exact", "--to", "csv", "--where", "scores.exact_match == 1"]).code(0);
    assert!(csv.stdout.lines().count() <= 1, "no row is right: {}", csv.stdout);
    let wrong = workspace.etalon(&["export", "p", "exact", "--to", "jsonl", "--where", "scors == 1"]).code(2);
    assert!(wrong.stderr.contains("scors"), "{}", wrong.stderr);
}

#[test]
fn messages_speak_of_what_the_user_has() {
    let workspace = Workspace::new();
    workspace.write("out.csv", "prediction\na\n");
    let scored = workspace.etalon(&["score", "out.csv", "--metric", "rougeL"]).code(2);
    assert!(scored.stderr.contains("--reference COLUMN") && !scored.stderr.contains("stage"), "{}", scored.stderr);
    for shell in ["bash", "zsh", "fish"] {
        let script = workspace.etalon(&["shell-completions", shell]).code(0).stdout;
        assert!(script.contains("etalon") && script.contains("budget"), "{shell}");
    }
    workspace.write("etalon.toml", "cash = \"x\"\n").write("p.yaml", "etalon: 1\n");
    let told = workspace.etalon(&["check", "p.yaml"]).code(2);
    assert!(told.stdout.contains("models") || told.stderr.contains("models"), "{}{}", told.stdout, told.stderr);
    workspace.write("etalon.toml", "cache = \"\"\n");
    let told = workspace.etalon(&["check", "p.yaml"]).code(2);
    assert!(format!("{}{}", told.stdout, told.stderr).contains("a directory of its own"));
}
