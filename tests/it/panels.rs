//! Panels, repeated verdicts, one call per criterion, labels, five-way verdicts, what sways judges, and how far they
//! agree with people.

use serde_json::{Value, json};

use super::support::Workspace;

/// Twelve rows; the completions of `tuned` are good except on every third row, those of `base` are plain.
const HEAD: &str = r#"
etalon: 1
name: p
models:
  base: { provider: scripted, reply: "plain answer to {{ prompt }}", role: baseline }
  tuned: { provider: scripted, reply: "{{ 'good' if (prompt | int) % 3 else 'plain' }} answer to {{ prompt }}" }
  strict: { provider: scripted, reply: "{% if 'good' in prompt %}4{% else %}2{% endif %}" }
  mild: { provider: scripted, reply: "{% if 'good' in prompt %}5{% else %}3{% endif %}" }
  broken: { provider: scripted, reply: "I cannot say." }
stages:
  rows: { kind: dataset, rows: [ROWS], id: q }
  answers: { kind: inference, input: rows, models: [base, tuned], prompt: "{{ row.q }}" }
"#;

fn workspace(stages: &str) -> Workspace {
    let rows: Vec<String> = (0..12).map(|i| format!("{{ q: {i} }}")).collect();
    let workspace = Workspace::new();
    workspace.write("pipelines/p.yaml", format!("{}{stages}", HEAD.replace("ROWS", &rows.join(", "))));
    workspace
}

fn calls(document: &Value, node: &str) -> u64 {
    let nodes = document["nodes"].as_array().unwrap();
    let node = nodes.iter().find(|known| known["node"] == node).unwrap();
    node["calls"].as_u64().unwrap() + node["reused"].as_u64().unwrap()
}

const RUBRIC: &str = r#"
  quality:
    kind: judge
    input: answers
    JUDGE
    prompt: "{{ completion }}"
    rubric: { criteria: { help: Does it help? } }
"#;

/// Returns a workspace with a rubric; the bare scores in the scripts of its judges are rewritten as JSON.
fn rubric(judge: &str) -> Workspace {
    let workspace = workspace(&RUBRIC.replace("JUDGE", judge));
    for score in ["4", "2", "5", "3"] {
        let spec = workspace.read("pipelines/p.yaml");
        let (bare, json) = (format!("%}}{score}{{%"), format!("%}}{{\\\"help\\\": {score}}}{{%"));
        workspace.write("pipelines/p.yaml", spec.replace(&bare, &json));
    }
    workspace
}

#[test]
fn a_panel_counts_what_its_judges_say_together() {
    let workspace = rubric("panel: [strict, mild]");
    let plan = workspace.etalon(&["plan", "p", "--format", "json"]).code(0).json();
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    // 8 good rows at (4 + 5) / 2, and 4 plain rows at (2 + 3) / 2.
    let mean = document["summary"]["quality"]["tuned"]["mean"]["value"].as_f64().unwrap();
    assert!((mean - (8.0 * 4.5 + 4.0 * 2.5) / 12.0).abs() < 1e-12, "{mean}");
    assert_eq!(calls(&document, "quality.tuned"), 24);
    assert!(plan["total"]["calls"].as_u64().is_some());
    let shown = workspace.etalon(&["show", "p", "quality.tuned", "--format", "json", "--limit", "1"]).code(0).stdout;
    let row: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&row["votes"][0]["scores"]["help"], &row["votes"][1]["scores"]["help"]),
        (&json!(2), &json!(3)),
        "{shown}"
    );
    assert!(workspace.run(&[]).code(0).ran().is_empty());
}

#[test]
fn a_panel_does_not_shrink_unseen() {
    let workspace = rubric("panel: [strict, mild, broken]");
    let run = workspace.run(&[]).code(0);
    assert!(run.stderr.contains("valid votes: strict 12/12, mild 12/12, broken 0/12"), "{}", run.stderr);
    assert_eq!(run.json()["tables"]["quality"]["tuned"]["votes"][2], json!({"judge": 3, "valid": 0, "votes": 12}));
    assert_eq!(run.json()["summary"]["quality"]["tuned"]["coverage"]["value"], 1.0);
    // One judge of three is not enough.
    let spec = workspace
        .read("pipelines/p.yaml")
        .replace("mild: { provider: scripted, reply: \"{% if", "mild: { provider: scripted, reply: \"no {% if");
    workspace.write("pipelines/p.yaml", spec.replace("{\\\"help\\\": 5}", "x").replace("{\\\"help\\\": 3}", "x"));
    let document = workspace.run(&[]).code(0).json();
    assert_eq!(document["summary"]["quality"]["tuned"]["coverage"]["value"], 0.0);
    assert_eq!(document["summary"]["quality"]["tuned"]["mean"]["value"], Value::Null);
}

#[test]
fn criteria_asked_one_by_one_are_bought_one_by_one() {
    let judge = r#"
  quality:
    kind: judge
    input: answers
    model: strict
    prompt: "{{ criteria[0].name }} {{ completion }}"
    rubric: { calls: per_criterion, criteria: { help: Does it help? } }
"#;
    let reply = "{\\\"{{ prompt.split(' ')[0] }}\\\": {{ 4 if 'good' in prompt else 2 }}}";
    let workspace = workspace(judge);
    let spec = workspace.read("pipelines/p.yaml").replace("{% if 'good' in prompt %}4{% else %}2{% endif %}", reply);
    workspace.write("pipelines/p.yaml", spec);
    assert_eq!(calls(&workspace.run(&[]).code(0).json(), "quality.tuned"), 12);
    workspace.edit("pipelines/p.yaml", "{ help: Does it help? }", "{ help: Does it help?, tone: Is it polite? }");
    let document = workspace.run(&[]).code(0).json();
    let node = document["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "quality.tuned").unwrap();
    // Both models give the same completion on four rows, whose verdicts are bought once.
    assert_eq!(
        (node["calls"].as_u64().unwrap() + node["reused"].as_u64().unwrap(), calls(&document, "quality.base")),
        (24, 24)
    );
    let bought: u64 = document["nodes"].as_array().unwrap().iter().map(|node| node["calls"].as_u64().unwrap()).sum();
    assert_eq!(bought, 20, "the new criterion's calls alone");
    let found = &document["summary"]["quality"]["tuned"];
    assert_eq!((&found["help"]["n"], &found["tone"]["n"]), (&json!(12), &json!(12)));
    assert_eq!(found["halo"]["value"], 1.0);
    // Changed weights and pass marks buy nothing.
    workspace.edit("pipelines/p.yaml", "tone: Is it polite?", "tone: { ask: Is it polite?, weight: 3, pass_at: 4 }");
    let run = workspace.run(&[]).code(0);
    assert_eq!(run.ran(), ["quality.base", "quality.tuned"]);
    assert!(run.json()["nodes"].as_array().unwrap().iter().all(|node| node["calls"] == 0));
}

#[test]
fn a_judge_picks_labels_that_carry_scores() {
    let judge = r#"
  topic:
    kind: judge
    input: answers
    panel: [strict, mild, broken]
    samples: 2
    prompt: judge/classify.j2
    classify: { labels: { right: 1, partly: 0.5, wrong: 0 } }
"#;
    let workspace = workspace(judge);
    let tag = "{% set tag = prompt.split('VERDICT-')[-1][:32] %}";
    let spec = workspace
        .read("pipelines/p.yaml")
        .replace(
            "\"{% if 'good' in prompt %}4{% else %}2{% endif %}\"",
            &format!(
                "\"{tag}Well.\\nVERDICT-{{{{ tag }}}}: {{{{ 'right' if 'good answer' in prompt else 'wrong' }}}}\""
            ),
        )
        .replace(
            "\"{% if 'good' in prompt %}5{% else %}3{% endif %}\"",
            &format!("\"{tag}VERDICT-00000000: wrong\\n**VERDICT-{{{{ tag }}}}: Right.**\""),
        );
    workspace.write("pipelines/p.yaml", spec);
    let document = workspace.run(&[]).code(0).json();
    let found = &document["summary"]["topic"]["tuned"];
    // Where both judges agree, they are right; where they do not, there is no majority and the row is missing.
    assert_eq!(
        (&found["share.right"]["value"], &found["share.right"]["n"], &found["share.right"]["missing"]),
        (&json!(1.0), &json!(8), &json!(4))
    );
    assert_eq!(found["score"]["value"], 1.0);
    assert_eq!(document["tables"]["topic"]["tuned"]["votes"][2]["valid"], 0);
    assert_eq!(document["tables"]["topic"]["tuned"]["votes"][0], json!({"judge": 1, "valid": 24, "votes": 24}));
    for (from, to, message) in [
        ("right: 1, partly: 0.5, wrong: 0", "right: 1", "two labels or more"),
        ("right: 1, partly: 0.5, wrong: 0", "right: 1, Right: 0", "differ in nothing but case"),
        ("right: 1, partly: 0.5, wrong: 0", "right: much, wrong: 0", "the score of a label is a number"),
        ("panel: [strict, mild, broken]", "panel: [strict, strict]", "stands in the panel twice"),
        ("panel: [strict, mild, broken]", "panel: [strict]", "has two to 9 judges"),
        ("samples: 2", "samples: 0", "`samples` is at least 1"),
    ] {
        let before = workspace.read("pipelines/p.yaml");
        workspace.edit("pipelines/p.yaml", from, to);
        let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
        assert!(stderr.contains(message), "{message}\n{stderr}");
        workspace.write("pipelines/p.yaml", before);
    }
}

#[test]
fn five_verdicts_and_what_sways_a_judge_are_reported() {
    // One judge prefers whatever stands first, the other whatever is longer.
    let judge = |name: &str| {
        format!(
            "  {name}: {{ kind: judge, input: answers, model: {name}, prompt: \"{{{{ a }}}}|{{{{ b }}}}\", compare: {{ baseline: base, verdicts: 5 }} }}\n"
        )
    };
    let workspace = workspace(&(judge("first") + &judge("longer")));
    let models = r#"models:
  first: { provider: scripted, reply: "[[A>>B]]" }
  longer: { provider: scripted, reply: "{% set ab = prompt.split('|') %}[[{{ 'A>B' if ab[0] | length > ab[1] | length else 'B>A' if ab[1] | length > ab[0] | length else 'A=B' }}]]" }
"#;
    workspace.edit("pipelines/p.yaml", "models:\n", models);
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let first = &document["summary"]["first"]["tuned"];
    assert_eq!((&first["position_consistency"]["value"], &first["primacy"]["value"]), (&json!(0.0), &json!(1.0)));
    assert_eq!((&first["win_rate"]["value"], &first["strong"]["value"]), (&json!(0.5), &json!(1.0)));
    assert_eq!(document["tables"]["first"]["tuned"]["position"]["flips_to_first"], 12);
    for note in ["the two orders agree on 0 % of 12 rows", "the first place wins 12 of 12"] {
        assert!(run.stderr.contains(note), "{note}\n{}", run.stderr);
    }
    // "good" is one letter shorter than "plain": where the two differ, the baseline wins, and is longer.
    let longer = &document["summary"]["longer"]["tuned"];
    assert_eq!((&longer["longer_wins"]["value"], &longer["longer_wins"]["n"]), (&json!(1.0), &json!(8)));
    assert_eq!((&longer["ties"]["value"], &longer["losses"]["value"]), (&json!(4.0), &json!(8.0)));
    assert_eq!(longer["strong"]["value"], 0.0);
    assert_eq!(longer["position_consistency"]["value"], 1.0);
}

/// Returns a workspace with a judge that finds every third completion worse, and labels of people.
fn labelled(labels: &[Value]) -> Workspace {
    let judge = r#"
  duel: { kind: judge, input: answers, model: duelist, prompt: "{{ a }}|{{ b }}", human: labels/duel.jsonl, compare: { baseline: base } }
gates: [duel.tuned.agreement >= 0.8]
"#;
    let workspace = workspace(judge);
    let rows: Vec<String> = (0..30).map(|i| format!("{{ q: {i} }}")).collect();
    let spec = workspace.read("pipelines/p.yaml");
    let start = spec.find("rows: [").unwrap();
    let end = spec[start..].find(']').unwrap() + start;
    let spec = format!("{}rows: [{}{}", &spec[..start], rows.join(", "), &spec[end..]);
    let duelist = "models:\n  duelist: { provider: scripted, reply: \"[[{{ 'A' if 'good' in prompt.split('|')[0] else 'B' if 'good' in prompt else 'TIE' }}]]\" }\n";
    workspace.write("pipelines/p.yaml", spec.replacen("models:\n", duelist, 1));
    let lines: String = labels.iter().map(|label| format!("{label}\n")).collect();
    workspace.write("labels/duel.jsonl", lines);
    workspace
}

#[test]
fn a_judge_is_held_against_people() {
    // The judge says win except on rows 0, 3, 6, …; people do not say win on those, nor on rows 1, 2, 4 and 5.
    let label = |row: usize, rater: &str| {
        let is_win = !row.is_multiple_of(3) && row > 5;
        json!({"row": row, "model": "tuned", "label": if is_win { "win" } else { "tie" }, "rater": rater})
    };
    let mut labels: Vec<Value> = (0..20).map(|row| label(row, "ann")).collect();
    labels.extend((0..10).map(|row| label(row, "bob")));
    let workspace = labelled(&labels);
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let found = &document["summary"]["duel"]["tuned"];
    assert_eq!((&found["agreement"]["value"], &found["agreement"]["n"]), (&json!(0.8), &json!(20)));
    let low = found["agreement"]["low"].as_f64().unwrap();
    assert!((low - 0.584).abs() < 0.001, "{low}");
    assert_eq!(document["gates"][0]["verdict"], "UNPROVEN");
    let message = "PROVISIONAL: the judge agrees with people on 16 of 20 labels, 80 % [58, 92]; people agree with each other on 10 of 10";
    assert!(run.stderr.contains(message), "{}", run.stderr);
    let table = &document["tables"]["duel"]["tuned"]["calibration"];
    assert_eq!(table["counts"], json!([[9.0, 0.0, 0.0], [4.0, 7.0, 0.0], [0.0, 0.0, 0.0]]));
    assert_eq!(table["disagreements"].as_array().unwrap().len(), 4);
    assert!(
        found["kappa"]["value"].as_f64().unwrap() > 0.5 && found["kappa"]["low"].as_f64().unwrap() > 0.0,
        "{found}"
    );
    // Other labels rerun the stage, but buy nothing.
    let all: Vec<Value> =
        (0..30).map(|row| json!({"row": row, "label": if row % 3 == 0 { "tie" } else { "win" }})).collect();
    workspace.write("labels/duel.jsonl", all.iter().map(|label| format!("{label}\n")).collect::<String>());
    let run = workspace.run(&[]).code(0);
    assert_eq!(run.ran(), ["duel.tuned"]);
    assert!(
        run.stderr.contains("CALIBRATED: the judge agrees with people on 30 of 30") && !run.stderr.contains("NOT CAL"),
        "{}",
        run.stderr
    );
    assert!(run.json()["nodes"].as_array().unwrap().iter().all(|node| node["calls"] == 0));
    workspace.write("labels/duel.jsonl", "{\"row\": 1, \"label\": \"wim\"}\n{\"label\": \"win\"}\nno\n");
    let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
    for message in [
        "labels/duel.jsonl:1: there is no label `wim`",
        "labels/duel.jsonl:2: there is no `row`",
        "labels/duel.jsonl:3:",
    ] {
        assert!(stderr.contains(message), "{message}\n{stderr}");
    }
}

#[test]
fn scores_are_held_against_those_of_people() {
    let workspace = rubric("model: mild\n    human: labels/help.csv");
    // The judge gives 5 and 3, people give 4 and 3; row 99 does not exist.
    let lines: String = (0..12).map(|row| format!("{row},help,{}\n", if row % 3 == 0 { 3 } else { 4 })).collect();
    workspace.write("labels/help.csv", format!("row,criterion,label\n{lines}99,help,1\n"));
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let table = &document["tables"]["quality"]["tuned"]["calibration"];
    assert_eq!(table["criteria"]["help"]["n"], 12);
    assert!((table["criteria"]["help"]["bias"].as_f64().unwrap() - 8.0 / 12.0).abs() < 1e-12);
    assert!((table["criteria"]["help"]["spearman"].as_f64().unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(table["verdict"], "NOT CALIBRATED");
    assert_eq!(document["summary"]["quality"]["tuned"]["agreement"]["value"], 4.0 / 12.0);
    workspace.write("labels/help.csv", "row,criterion,label\n1,hlep,3\n2,help,9\n");
    let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
    for message in ["there is no criterion `hlep`", "did you mean `help`?", "`9` is no score from 1 to 5"] {
        assert!(stderr.contains(message), "{message}\n{stderr}");
    }
}
