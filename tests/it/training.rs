//! Rows as training data: which are refused, which make examples, and in which columns; everything about a row side by side.

use serde_json::{Value, json};

use super::support::Workspace;

/// A tuned model is wrong from row 6 on; the ceiling is always right; a judge prefers right answers.
const SPEC: &str = r#"
etalon: 1
name: p
models:
  base: { provider: scripted, reply: "no", role: baseline }
  tuned: { provider: scripted, reply: "{{ 'yes, it is' if (prompt | int) < 6 else 'no' }}", role: candidate }
  ceiling: { provider: scripted, reply: "yes, it is", role: ceiling }
  grader: { provider: scripted, reply: "{% set ab = prompt.split('|') %}[[{{ 'TIE' if ab[0] == ab[1] else 'A' if 'yes' in ab[0] else 'B' }}]]" }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key, role: training }
  answers: { kind: inference, input: rows, models: [base, tuned, ceiling], system: Be brief., prompt: "{{ row.key }}" }
  exact: { kind: metric, input: answers, reference: "yes, it is", metrics: [exact_match] }
  duel: { kind: judge, input: answers, model: grader, prompt: "{{ a }}|{{ b }}", compare: { baseline: base } }
"#;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    let rows: Vec<String> =
        (0..10).map(|row| json!({ "key": row, "gold": format!("gold {row}") }).to_string()).collect();
    workspace.write("pipelines/p.yaml", SPEC).write("data/rows.jsonl", rows.join("\n"));
    workspace
}

fn lines(workspace: &Workspace, arguments: &[&str]) -> (Vec<Value>, String) {
    let all: Vec<&str> = ["export", "p"].iter().chain(arguments).copied().collect();
    let ran = workspace.etalon(&all).code(0);
    (ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), ran.stderr)
}

fn ids(lines: &[Value]) -> String {
    lines.iter().map(|line| line["id"].as_str().unwrap()).collect()
}

#[test]
fn held_out_rows_are_no_training_data() {
    let workspace = workspace();
    workspace.edit("pipelines/p.yaml", ", role: training", "");
    workspace.run(&[]).code(0);
    for to in ["sft", "dpo"] {
        let ran = workspace.etalon(&["export", "p", "answers", "--to", to]).code(2);
        assert!(ran.stderr.contains("the rows of rows are held out"), "{}", ran.stderr);
        assert!(ran.stderr.contains("role: training") && ran.stdout.is_empty(), "{}", ran.stderr);
    }
    let (found, _) = lines(&workspace, &["answers", "--to", "sft", "--from-heldout-anyway"]);
    assert_eq!(found.len(), 10);
    // Rows as they are may be looked at.
    lines(&workspace, &["answers", "--to", "jsonl"]);
    // What a dataset is for changes no result.
    workspace.edit("pipelines/p.yaml", "id: key }", "id: key, role: training }");
    let again = workspace.run(&[]).code(0);
    assert!(!again.stdout.contains(" ran"), "{}", again.stdout);
}

#[test]
fn answers_to_learn_are_the_ceilings_or_written_by_a_template() {
    let workspace = workspace();
    workspace.run(&[]).code(0);
    let (found, _) = lines(&workspace, &["answers", "--to", "sft"]);
    let expected = json!({ "id": "0", "messages": [
        { "role": "system", "content": "Be brief." }, { "role": "user", "content": "0" },
        { "role": "assistant", "content": "yes, it is" },
    ] });
    assert_eq!((found.len(), &found[0]), (10, &expected));
    // Where the tuned model fails, with the answer that the row has.
    let (found, _) = lines(&workspace, &["exact", "--to", "sft", "--answer", "{{ row.gold }}", "--rows", "failed"]);
    assert_eq!(ids(&found), "6789");
    assert_eq!(found[0]["messages"][2]["content"], "gold 6");
    let (found, _) =
        lines(&workspace, &["exact", "--to", "sft", "--answer", "{{ row.gold }}", "--where", "row.key > 7"]);
    assert_eq!(ids(&found), "89");
    let ran = workspace.etalon(&["export", "p", "answers", "--to", "sft", "--answer", "{{ row.nope.x }}"]).code(2);
    assert!(ran.stderr.contains("--answer: "), "{}", ran.stderr);
    // Of a comparison it is the preferred answer.
    let (found, told) = lines(&workspace, &["duel.tuned", "--to", "sft"]);
    assert_eq!((ids(&found).as_str(), found[0]["messages"][2]["content"].as_str()), ("012345", Some("yes, it is")));
    assert!(told.contains("left out: 4 tied"), "{told}");
    let ran = workspace.etalon(&["export", "p", "rows", "--to", "sft"]).code(2);
    assert!(ran.stderr.contains("rows has rows and no answers"), "{}", ran.stderr);
}

#[test]
fn preference_pairs_come_from_comparisons_the_ceiling_and_references() {
    let workspace = workspace();
    workspace.run(&[]).code(0);
    let (found, told) = lines(&workspace, &["duel.tuned", "--to", "dpo"]);
    assert_eq!(ids(&found), "012345");
    assert_eq!(found[0]["prompt"][1], json!({ "role": "user", "content": "0" }));
    assert_eq!(found[0]["chosen"], json!([{ "role": "assistant", "content": "yes, it is" }]));
    assert_eq!(found[0]["rejected"], json!([{ "role": "assistant", "content": "no" }]));
    assert!(told.contains("left out: 4 tied"), "{told}");
    let (found, told) = lines(&workspace, &["exact", "--to", "dpo"]);
    assert_eq!(ids(&found), "6789");
    assert!(told.contains("left out: 6 where the answer to prefer was scored no better"), "{told}");
    let (found, told) =
        lines(&workspace, &["answers", "--to", "dpo", "--chosen", "{{ row.gold }}", "--match-length", "2"]);
    assert_eq!((ids(&found).as_str(), found[0]["chosen"][0]["content"].as_str()), ("012345", Some("gold 0")));
    assert!(told.contains("left out: 4 whose answers differ too much in length"), "{told}");
    let ran = workspace.etalon(&["export", "p", "duel", "--to", "dpo", "--output", "pairs.jsonl"]).code(0);
    assert!(ran.stderr.contains("16 examples → pairs.jsonl"), "{}", ran.stderr);
}

#[test]
fn what_people_said_counts_more_than_the_judge() {
    let workspace = workspace();
    workspace.edit(
        "pipelines/p.yaml",
        "compare: { baseline: base } }",
        "compare: { baseline: base }, human: labels/duel.jsonl }",
    );
    let label = |row: usize, completion: &str, label: &str, rater: &str| {
        json!({ "row": row.to_string(), "model": "tuned", "completion": completion, "baseline": "no", "label": label, "rater": rater }).to_string()
    };
    let labels = [
        label(0, "yes, it is", "loss", "ann"),
        label(0, "yes, it is", "loss", "bob"),
        label(1, "yes, it is", "tie", "ann"),
    ];
    workspace.write("labels/duel.jsonl", labels.join("\n"));
    workspace.run(&[]).code(0);
    let (found, _) = lines(&workspace, &["duel.tuned", "--to", "dpo"]);
    assert_eq!(ids(&found), "02345");
    assert_eq!(found[0]["chosen"][0]["content"], "no");
}

#[test]
fn rows_are_chosen_by_their_score() {
    let workspace = workspace();
    workspace.run(&["--label", "one"]).code(0);
    let (found, _) = lines(&workspace, &["exact.tuned", "--to", "jsonl", "--rows", "weakest"]);
    assert_eq!(ids(&found), "6789");
    workspace.edit("pipelines/p.yaml", "< 6 else", "< 4 else");
    workspace.run(&["--label", "two"]).code(0);
    let (found, _) = lines(&workspace, &["exact.tuned", "--to", "jsonl", "--rows", "broken", "--against", "one"]);
    assert_eq!(ids(&found), "45");
    // A row with another content is another row.
    workspace.edit("data/rows.jsonl", "gold 4", "silver 4");
    workspace.run(&["--label", "three"]).code(0);
    let (found, _) = lines(&workspace, &["exact.tuned", "--to", "jsonl", "--rows", "broken", "--against", "one"]);
    assert_eq!(ids(&found), "5");
    let (found, _) = lines(&workspace, &["duel.tuned", "--to", "jsonl", "--rows", "failed", "--value", "win_rate"]);
    assert_eq!(ids(&found), "");
    for (arguments, said) in [
        (
            &["answers.tuned", "--to", "jsonl", "--rows", "failed"][..],
            "the rows of answers.tuned do not have any score",
        ),
        (&["exact.tuned", "--to", "jsonl", "--rows", "failed", "--value", "exact_mach"], "did you mean `exact_match`?"),
        (&["exact.tuned", "--to", "jsonl", "--rows", "broken", "--against", "nine"], "there is no run nine"),
        (&["exact", "duel", "--to", "jsonl"], "add --wide"),
        (&["exact.tuned", "--to", "sft", "--rows", "failed"], "they are none to learn"),
        (&["exact", "--to", "csv", "--chosen", "x"], "--chosen is for `--to dpo`"),
        (&["exact", "--to", "dpo", "--match-length", "0.5"], "a number of 1 or more"),
    ] {
        let all: Vec<&str> = ["export", "p"].iter().chain(arguments).copied().collect();
        let ran = workspace.etalon(&all).code(2);
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
    }
}

#[test]
fn everything_about_a_row_stands_side_by_side() {
    let workspace = workspace();
    workspace.run(&[]).code(0);
    let (found, _) = lines(&workspace, &["answers", "exact", "duel", "--wide", "--to", "jsonl"]);
    assert_eq!(found.len(), 10);
    let row = &found[7];
    assert_eq!(
        (row["answers.tuned.completion"].as_str(), row["answers.ceiling.completion"].as_str()),
        (Some("no"), Some("yes, it is"))
    );
    assert_eq!(
        (row["exact.tuned.exact_match"].as_u64(), row["exact.ceiling.exact_match"].as_u64()),
        (Some(0), Some(1))
    );
    assert_eq!((row["duel.tuned.verdict"].as_str(), row["row"]["gold"].as_str()), (Some("tie"), Some("gold 7")));
    assert!(row.get("exact.tuned.completion").is_none(), "{row}");
    let csv = workspace
        .etalon(&["export", "p", "answers", "exact", "--wide", "--to", "csv", "--model", "tuned"])
        .code(0)
        .stdout;
    let head = csv.lines().next().unwrap();
    assert!(
        head.contains("answers.tuned.completion") && !head.contains("ceiling") && head.contains("row.gold"),
        "{head}"
    );
    assert_eq!(csv.lines().count(), 11);
}

#[test]
fn the_same_rows_held_out_elsewhere_are_left_out() {
    let workspace = workspace();
    let rows: Vec<String> =
        (3..6).map(|row| json!({ "key": row, "gold": format!("gold {row}") }).to_string()).collect();
    // Row 7 is asked the same, whatever else it has.
    workspace.write("data/held.jsonl", format!("{}\n{}", rows.join("\n"), json!({ "key": 7, "gold": "other" })));
    let stages = "  held: { kind: dataset, path: data/held.jsonl, id: key }\n  held_answers: { kind: inference, input: held, models: [tuned], prompt: \"{{ row.key }}\" }\n";
    workspace.write("pipelines/p.yaml", format!("{SPEC}{stages}"));
    workspace.run(&[]).code(0);
    let (found, told) = lines(&workspace, &["answers", "--to", "sft"]);
    assert_eq!(ids(&found), "012689");
    assert!(told.contains("left out: 4 that are held out by another dataset"), "{told}");
    let (found, _) = lines(&workspace, &["answers", "--to", "sft", "--from-heldout-anyway"]);
    assert_eq!(found.len(), 10);
    // Two datasets have the same ids for different rows.
    let ran = workspace.etalon(&["export", "p", "answers", "held_answers", "--wide", "--to", "jsonl"]).code(2);
    assert!(ran.stderr.contains("rows of different datasets cannot stand side by side: held, rows"), "{}", ran.stderr);
    workspace.edit("pipelines/p.yaml", "Be brief.", "Be short.");
    let ran = workspace.etalon(&["export", "p", "answers", "--to", "sft"]).code(2);
    assert!(ran.stderr.contains("is to be run again before one can train with it"), "{}", ran.stderr);
}
