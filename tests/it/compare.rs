//! Two runs side by side: rows that changed, verdicts, what cannot be compared, and runs whose cache is gone.

use std::fs;

use serde_json::Value;

use super::support::Workspace;

/// A model is right on the rows below a number of ten; a judge likes answers that say yes.
const SPEC: &str = r#"
etalon: 1
name: p
params: { tuned: 7 }
models:
  base: { provider: scripted, reply: "{{ 'yes' if (prompt | int) % 10 < 5 else 'no' }}", role: baseline }
  tuned: { provider: scripted, reply: "{{ 'yes' if (prompt | int) % 10 < ${params.tuned} else 'no' }}", role: candidate }
  grader: { provider: scripted, reply: "{\"good\": {{ 5 if 'REPLY yes' in prompt else 2 }}, \"reason\": \"so\"}" }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key }
  answers: { kind: inference, input: rows, models: [base, tuned], prompt: "{{ row.key }}" }
  exact: { kind: metric, input: answers, reference: "yes", metrics: [exact_match, length] }
  quality:
    kind: judge
    input: answers
    model: grader
    prompt: "Is it good? REPLY {{ completion }}"
    rubric: { criteria: { good: Is it good? } }
"#;

fn workspace(rows: usize) -> Workspace {
    let workspace = Workspace::new();
    let lines: Vec<String> = (0..rows).map(|row| format!("{{\"key\": {row}, \"topic\": \"t{}\"}}", row % 3)).collect();
    workspace.write("pipelines/p.yaml", SPEC).write("data/rows.jsonl", lines.join("\n"));
    workspace
}

fn compared(workspace: &Workspace, arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["compare"].iter().chain(arguments).chain(&["--format", "json"]).copied().collect();
    workspace.etalon(&all).json()
}

fn line<'a>(document: &'a Value, stage: &str, model: &str, value: &str) -> &'a Value {
    let lines = document["values"].as_array().unwrap();
    let is_it = |line: &&Value| line["stage"] == stage && line["model"] == model && line["value"] == value;
    lines.iter().find(is_it).unwrap_or_else(|| panic!("no {stage}.{model}.{value} in {document}"))
}

#[test]
fn runs_are_compared_row_by_row_from_their_files_alone() {
    let workspace = workspace(100);
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "two", "--set", "tuned=9"]).code(0);
    fs::remove_dir_all(workspace.path("cache")).unwrap();
    let found = compared(&workspace, &["one", "two"]);
    let exact = line(&found, "exact", "tuned", "exact_match");
    assert_eq!((exact["verdict"].as_str(), exact["unpaired"].is_null()), (Some("IMPROVED"), true));
    assert_eq!((exact["fixed"].as_u64(), exact["broken"].as_u64()), (Some(20), Some(0)));
    assert_eq!(exact["shared"], serde_json::json!([0.7, 0.9]));
    // 20 rows of which all became better: 2 · 0.5^20.
    assert!((exact["p"].as_f64().unwrap() - 2.0 * 0.5_f64.powi(20)).abs() < 1e-12, "{exact}");
    let (low, high) = (exact["difference"]["low"].as_f64().unwrap(), exact["difference"]["high"].as_f64().unwrap());
    assert!(0.1 < low && low < 0.2 && 0.2 < high && high < 0.3, "{exact}");
    let flips: Vec<&str> = exact["flips"].as_array().unwrap().iter().map(|flip| flip["id"].as_str().unwrap()).collect();
    assert_eq!(flips.len(), 5);
    assert!(flips.iter().all(|id| id.ends_with(['7', '8'])), "{flips:?}");
    // What did not change is the same, and not "not significant".
    let base = line(&found, "exact", "base", "exact_match");
    assert_eq!((base["verdict"].as_str(), base["identical"].as_bool()), (Some("SAME"), Some(true)));
    let quality = line(&found, "quality", "tuned", "overall");
    assert_eq!((quality["verdict"].as_str(), quality["fixed"].as_u64()), (Some("IMPROVED"), Some(20)));
    // A rubric's mean is the same rows on another scale.
    assert_eq!(line(&found, "quality", "tuned", "mean")["p"], quality["p"]);
    assert!(found["differs"].to_string().contains("param tuned"), "{}", found["differs"]);
    let text = workspace.etalon(&["compare", "one", "two"]).code(0);
    assert!(text.stdout.starts_with("IMPROVED exact.tuned.exact_match"), "{}", text.stdout);
}

#[test]
fn the_rows_that_changed_are_shown_with_both_answers() {
    let workspace = workspace(40);
    workspace.run(&[]).code(0);
    workspace.run(&["--set", "tuned=6"]).code(0);
    // Runs without a label have no files of scores unless the workspace asks for them: the cache has the rows.
    let kept = || {
        fs::read_dir(workspace.path("runs"))
            .unwrap()
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".scores.zst"))
            .count()
    };
    assert_eq!(kept(), 0);
    let ran = workspace.etalon(&["compare", "last~1", "last", "--rows", "broken", "--limit", "2"]).code(0);
    assert!(ran.stdout.contains("exact.tuned.exact_match: 0 fixed, 4 broken"), "{}", ran.stdout);
    for text in ["── 16  1.000 → 0.000", "prompt: 16", "before: yes", "after: no", "before reason: so"] {
        assert!(ran.stdout.contains(text), "{text}\n{}", ran.stdout);
    }
    let fixed = workspace.etalon(&["compare", "last~1", "last", "--rows", "fixed"]).code(0);
    assert!(!fixed.stdout.contains("── 16"), "{}", fixed.stdout);
    workspace.write("etalon.toml", "scores = true\n");
    workspace.run(&["--set", "tuned=3"]).code(0);
    assert_eq!(kept(), 1);
}

#[test]
fn two_models_of_a_run_are_compared() {
    let workspace = workspace(100);
    workspace.run(&["--label", "one"]).code(0);
    let found = compared(&workspace, &["one:base", "one:tuned"]);
    let exact = line(&found, "exact", "tuned", "exact_match");
    assert_eq!((exact["model_before"].as_str(), exact["fixed"].as_u64()), (Some("base"), Some(20)));
    for (arguments, said) in [
        (&["one:base", "one"][..], "name a model on both sides, or on none"),
        (&["one:bass", "one:tuned"], "has no model bass"),
        (&["none", "one"], "there is no run none"),
        (&["one", "one", "--margin", "2"], "a margin is a number from 0 to 1"),
    ] {
        let all: Vec<&str> = ["compare"].iter().chain(arguments).copied().collect();
        let ran = workspace.etalon(&all).code(2);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

#[test]
fn a_gate_on_what_got_worse_decides_the_exit_code() {
    let workspace = workspace(300);
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "worse", "--set", "tuned=6"]).code(0);
    workspace.run(&["--label", "better", "--set", "tuned=8"]).code(0);
    workspace.etalon(&["compare", "one", "better", "--fail-if-worse"]).code(0);
    workspace.etalon(&["compare", "one", "one", "--fail-if-worse"]).code(0);
    workspace.etalon(&["compare", "one", "worse"]).code(0);
    let ran = workspace.etalon(&["compare", "one", "worse", "--fail-if-worse"]).code(1);
    assert!(ran.stdout.starts_with("REGRESSED"), "{}", ran.stdout);
    workspace.etalon(&["compare", "one", "worse", "--fail-if-worse", "0.2"]).code(0);
}

#[test]
fn rows_that_are_not_the_same_are_left_out() {
    let workspace = workspace(100);
    workspace.run(&["--label", "one"]).code(0);
    let mut lines: Vec<String> = workspace.read("data/rows.jsonl").lines().map(str::to_owned).collect();
    lines[0] = lines[0].replace("t0", "t9");
    lines.pop();
    lines.push("{\"key\": 500, \"topic\": \"t0\"}".to_owned());
    workspace.write("data/rows.jsonl", lines.join("\n"));
    workspace.run(&["--label", "two"]).code(0);
    let found = compared(&workspace, &["one", "two"]);
    let exact = line(&found, "exact", "tuned", "exact_match");
    assert_eq!((exact["changed"].as_u64(), exact["alone"].as_u64()), (Some(1), Some(2)));
    assert_eq!(exact["difference"]["n"], 98);
    let text = workspace.etalon(&["compare", "one", "two"]).code(0);
    assert!(text.stdout.contains("1 row have another content") || text.stdout.contains("another content than before"));
}

#[test]
fn numbers_of_different_instruments_are_refused() {
    let workspace = workspace(30);
    workspace.run(&["--label", "one"]).code(0);
    workspace.edit("pipelines/p.yaml", "Is it good? REPLY", "Is this good? REPLY");
    workspace.edit("pipelines/p.yaml", "[exact_match, length]", "{ exact_match: { mode: casefold }, length: }");
    workspace.run(&["--label", "two"]).code(0);
    let found = compared(&workspace, &["one", "two"]);
    let refused = found["refused"].to_string();
    assert!(refused.contains("quality.tuned") && refused.contains("the judge is not the same"), "{refused}");
    assert!(refused.contains("exact.tuned.exact_match") && refused.contains("other settings"), "{refused}");
    assert!(found["values"].as_array().unwrap().iter().all(|line| line["stage"] != "quality"));
    line(&found, "exact", "tuned", "length");
    let found = compared(&workspace, &["one", "two", "--allow", "judge", "--allow", "metric"]);
    assert_eq!(line(&found, "quality", "tuned", "overall")["unpaired"], Value::Null);
    line(&found, "exact", "tuned", "exact_match");
}

#[test]
fn without_rows_the_summaries_are_compared_and_that_is_said() {
    let workspace = workspace(100);
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "two", "--set", "tuned=9"]).code(0);
    let scores: Vec<_> = fs::read_dir(workspace.path("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".scores.zst"))
        .collect();
    assert_eq!(scores.len(), 2);
    // A damaged file is told, and the cache still has the rows.
    let mut bytes = fs::read(&scores[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&scores[0], &bytes).unwrap();
    let ran = workspace.etalon(&["compare", "one", "two", "--format", "json"]).code(0);
    assert!(ran.stderr.contains("its scores are damaged"), "{}", ran.stderr);
    assert_eq!(line(&ran.json(), "exact", "tuned", "exact_match")["fixed"], 20);
    fs::remove_dir_all(workspace.path("cache")).unwrap();
    let ran = workspace.etalon(&["compare", "one", "two", "--format", "json"]).code(0);
    let document = ran.json();
    let exact = line(&document, "exact", "tuned", "exact_match");
    assert_eq!((exact["unpaired"].as_str(), exact["p"].is_null()), (Some("no_scores"), true));
    assert!((exact["difference"]["value"].as_f64().unwrap() - 0.2).abs() < 1e-12);
    let text = workspace.etalon(&["compare", "one", "two"]).code(0);
    assert!(text.stdout.contains("unpaired"), "{}", text.stdout);
}

#[test]
fn a_history_says_whether_to_go_on() {
    let workspace = workspace(300);
    let run = |label: &str, tuned: &str| workspace.run(&["--label", label, "--set", &format!("tuned={tuned}")]).code(0);
    run("one", "5");
    run("two", "7");
    run("three", "9");
    // What another seed says is asked anew, and comes out the same.
    workspace.edit("pipelines/p.yaml", "role: candidate", "role: candidate, seed: 1");
    run("four", "9");
    workspace.edit("pipelines/p.yaml", "seed: 1", "seed: 2");
    run("five", "9");
    let document = workspace.etalon(&["history", "p", "--format", "json"]).code(0).json();
    let trails = document["trails"].as_array().unwrap();
    let names: Vec<String> = trails
        .iter()
        .map(|trail| format!("{}.{}.{}", trail["stage"], trail["model"], trail["value"]).replace('"', ""))
        .collect();
    assert_eq!(names, ["exact.tuned.exact_match", "exact.tuned.length", "quality.tuned.mean", "quality.tuned.overall"]);
    let states: Vec<&str> =
        trails[0]["points"].as_array().unwrap().iter().map(|point| point["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["FIRST", "IMPROVED", "IMPROVED", "PLATEAU", "PLATEAU"]);
    assert_eq!(trails[0]["best"], 2);
    let advice = document["advice"].to_string();
    assert!(advice.contains("exact.tuned.exact_match is on a plateau"), "{advice}");
    assert!(advice.contains("typical loops end after two to four iterations"), "{advice}");
    assert!(advice.contains("looked at in 5 runs"), "{advice}");
    run("six", "6");
    let text = workspace.etalon(&["history", "p", "--value", "exact_match"]).code(0).stdout;
    assert!(text.contains("exact.tuned.exact_match  ▁▄███▃  best three 0.900"), "{text}");
    assert!(text.contains("got worse than in three: `etalon compare three last --rows broken` shows where"), "{text}");
    assert!(!text.contains("quality.tuned.overall  "), "{text}");
    let ran = workspace.etalon(&["history", "other"]).code(2);
    assert!(ran.stderr.contains("no whole run of other is kept"), "{}", ran.stderr);
}

#[test]
fn a_pull_request_gets_a_table_and_ci_gets_tests() {
    let workspace = workspace(100);
    let gates = "gates:\n  - exact.tuned.exact_match >= 0.85\n  - exact.tuned.coverage >= 0.9\n";
    workspace.write("pipelines/p.yaml", format!("{SPEC}{gates}"));
    workspace.run(&["--label", "one"]).code(1);
    workspace.run(&["--label", "two", "--set", "tuned=9"]).code(0);
    let ran = workspace.etalon(&["report", "two", "--markdown", "--against", "one", "--junit", "out.xml"]).code(0);
    for text in [
        "<!-- etalon:p -->\n## ⚠️ not all gates are proven in p",
        "| exact.tuned.exact\\_match | 0.700 \\[0.605, 0.787\\] | 0.900 \\[0.831, 0.953\\] |",
        "| 20 | 0 | ✅ IMPROVED |",
        "<details><summary>exact.tuned.exact_match: 20 fixed, 0 broken</summary>",
        "before\n<pre>no</pre>",
    ] {
        assert!(ran.stdout.contains(text), "{text}\n{}", ran.stdout);
    }
    let xml = workspace.read("out.xml");
    assert!(xml.contains("tests=\"2\" failures=\"0\""), "{xml}");
    workspace.etalon(&["report", "two", "--markdown", "--strict"]).code(1);
    let ran = workspace.etalon(&["report", "one", "--markdown"]).code(1);
    assert!(ran.stdout.contains("one:base → one:tuned"), "{}", ran.stdout);
    workspace.etalon(&["report", "one", "--junit", "out.xml"]).code(1);
    assert!(workspace.read("out.xml").contains("<failure type=\"FAIL\" message=\"FAIL: 0.700 against 0.850\">"));
    workspace.etalon(&["report", "one", "--against", "two"]).code(2);
}

#[test]
fn runs_are_listed_and_a_label_is_given_once() {
    let workspace = workspace(10);
    let listed = || workspace.etalon(&["runs", "--format", "json"]).code(0).json();
    assert_eq!(listed()["runs"].as_array().unwrap().len(), 0);
    workspace.write(".git/HEAD", "0123456789abcdef0123456789abcdef01234567\n");
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "again"]).code(0);
    workspace.run(&["--only", "exact", "--limit", "2"]).code(0);
    let document = listed();
    let runs = document["runs"].as_array().unwrap();
    let labels: Vec<&str> = runs.iter().map(|run| run["label"].as_str().unwrap_or("-")).collect();
    assert_eq!(labels, ["again", "one"]);
    assert_eq!(runs[0]["commit"], "0123456789abcdef0123456789abcdef01234567");
    assert_eq!(runs[0]["params"], serde_json::json!({ "tuned": 7 }));
    let text = workspace.etalon(&["runs", "p", "--all"]).code(0);
    assert!(text.stdout.contains("01234567") && text.stdout.contains("partial"), "{}", text.stdout);
    assert_eq!(workspace.etalon(&["runs", "other"]).code(0).stdout, "");
}

/// Returns the pipeline with a tuned model that has no answer for rows from a number on.
fn losing(from: usize) -> String {
    let spec = SPEC.replace("models: [base, tuned],", "models: [base, tuned], max_failures: 100%,");
    spec.replace(
        "% 10 < ${params.tuned} else 'no' }}",
        &format!("% 10 < 7 else 'no' if (prompt | int) < {from} else prompt.a.b }}}}"),
    )
    .replace(
        "{{ 'yes' if (prompt | int) % 10 < 7 else",
        &format!("{{{{ 'yes' if (prompt | int) % 10 < 7 and (prompt | int) < {from} else"),
    )
}

#[test]
fn rows_that_have_no_result_any_more_are_no_proof_that_nothing_is_worse() {
    let workspace = workspace(1_000);
    workspace.run(&["--label", "one"]).code(0);
    workspace.write("pipelines/p.yaml", losing(200));
    workspace.run(&["--label", "two"]);
    let ran = workspace.etalon(&["compare", "one", "two", "--fail-if-worse", "0.1"]).code(1);
    let first = ran.stdout.lines().next().unwrap();
    assert!(first.starts_with("LOST exact.tuned.exact_match (800 rows without a result)"), "{first}");
    assert!(!ran.stdout.contains("SAME exact.tuned"), "{}", ran.stdout);
    assert!(ran.stderr.contains("by no more than 0.1: exact.tuned.exact_match, "), "{}", ran.stderr);
    let found = compared(&workspace, &["one", "two", "--rows", "broken", "--limit", "3"]);
    let exact = line(&found, "exact", "tuned", "exact_match");
    assert_eq!((exact["verdict"].as_str(), exact["lost"].as_u64()), (Some("UNCLEAR"), Some(800)));
    assert_eq!((exact["broken"].as_u64(), exact["difference"]["n"].as_u64()), (Some(0), Some(200)));
    assert_eq!((exact["flips"][0]["turn"].as_str(), exact["flips"][0]["after"].is_null()), (Some("lost"), true));
    let ran = workspace.etalon(&["compare", "one", "two", "--rows", "broken", "--limit", "1"]).code(0);
    assert!(ran.stdout.contains("0 fixed, 0 broken, 800 without a valid result any more"), "{}", ran.stdout);
    assert!(ran.stdout.contains("── 200  1.000 → no valid result"), "{}", ran.stdout);
    let history = workspace.etalon(&["history", "p", "--value", "exact_match", "--format", "json"]).code(0).json();
    assert_eq!(history["trails"][0]["points"][1]["state"], "UNCLEAR");
}

#[test]
fn a_run_without_data_is_not_the_best() {
    let workspace = workspace(100);
    workspace.write("pipelines/p.yaml", losing(0));
    workspace.run(&["--label", "none"]);
    workspace.write("pipelines/p.yaml", SPEC);
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "two", "--set", "tuned=9"]).code(0);
    let document = workspace.etalon(&["history", "p", "--value", "exact_match", "--format", "json"]).code(0).json();
    let trail = &document["trails"][0];
    let states: Vec<&str> =
        trail["points"].as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!((states.as_slice(), trail["best"].as_u64()), (&["NODATA", "FIRST", "IMPROVED"][..], Some(2)));
}

#[test]
fn a_headline_that_is_gone_or_refused_is_no_proof_either() {
    let workspace = workspace(100);
    workspace.run(&["--label", "one"]).code(0);
    workspace.edit("pipelines/p.yaml", "models: [base, tuned]", "models: [base]");
    workspace.run(&["--label", "less"]).code(0);
    let ran = workspace.etalon(&["compare", "one", "less", "--fail-if-worse", "1"]).code(1);
    assert!(ran.stdout.starts_with("GONE exact.tuned, quality.tuned"), "{}", ran.stdout);
    assert!(ran.stdout.contains("not compared: exact.tuned: the run after has no exact.tuned"), "{}", ran.stdout);
    assert!(ran.stderr.contains("exact.tuned, quality.tuned"), "{}", ran.stderr);
    // A new model is nothing lost.
    let ran = workspace.etalon(&["compare", "less", "one", "--fail-if-worse", "0"]).code(0);
    assert!(ran.stdout.contains("not compared: exact.tuned: the run before has no exact.tuned"), "{}", ran.stdout);
    workspace.write("pipelines/p.yaml", SPEC.replace("exact_match, length", "length"));
    workspace.run(&["--label", "short"]).code(0);
    let ran = workspace.etalon(&["compare", "one", "short", "--fail-if-worse", "1"]).code(1);
    assert!(ran.stdout.starts_with("GONE exact.base.exact_match, exact.tuned.exact_match"), "{}", ran.stdout);
    workspace.write("pipelines/p.yaml", SPEC.replace("Is it good? REPLY", "Is this good? REPLY"));
    workspace.run(&["--label", "judged"]).code(0);
    workspace.etalon(&["compare", "one", "judged", "--fail-if-worse", "1"]).code(1);
    workspace.etalon(&["compare", "one", "judged", "--fail-if-worse", "1", "--allow", "judge"]).code(0);
    workspace.write("pipelines/p.yaml", SPEC.replace("exact_match, length", "length"));
    workspace.run(&["--label", "shorter"]).code(0);
    let text = workspace.etalon(&["history", "p"]).code(0).stdout;
    assert!(text.contains("the last run has no exact.base.exact_match, exact.tuned.exact_match, which"), "{text}");
}

#[test]
fn a_stage_of_all_pairs_is_compared_by_model() {
    let workspace = workspace(60);
    let pairs = "  ranked: { kind: judge, input: answers, model: liker, prompt: \"{{ a }}|{{ b }}\", compare: { pairs: all } }\n";
    let liker =
        "  liker: { provider: scripted, reply: \"{{ '[[B]]' if 'no|yes' in prompt else '[[A]]' }}\" }\nstages:\n";
    workspace.write("pipelines/p.yaml", format!("{}{pairs}", SPEC.replace("stages:\n", liker)));
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "two", "--set", "tuned=9"]).code(0);
    let found = compared(&workspace, &["one", "two"]);
    let rate = line(&found, "ranked", "tuned", "win_rate");
    assert!(rate["difference"]["value"].is_number(), "{rate}");
    line(&found, "ranked", "tuned", "beats.base");
    let history = workspace.etalon(&["history", "p", "--format", "json"]).code(0).json();
    assert!(history["trails"].to_string().contains("\"win_rate\""), "{history}");
}

#[test]
fn runs_that_share_no_row_say_so() {
    let workspace = workspace(50);
    workspace.run(&["--label", "one"]).code(0);
    let lines: Vec<String> = (100..150).map(|row| format!("{{\"key\": {row}}}")).collect();
    workspace.write("data/rows.jsonl", lines.join("\n"));
    workspace.run(&["--label", "two"]).code(0);
    let found = compared(&workspace, &["one", "two"]);
    let exact = line(&found, "exact", "tuned", "exact_match");
    assert_eq!((exact["unpaired"].as_str(), exact["alone"].as_u64()), (Some("no_shared_row"), Some(100)));
    let text = workspace.etalon(&["compare", "one", "two"]).code(0).stdout;
    assert!(text.contains("no row stands in both runs") && text.contains("100 rows stand in one run only"), "{text}");
}

#[test]
fn names_of_runs_are_checked_and_nothing_to_compare_is_said_once() {
    let workspace = workspace(10);
    for (label, said) in [("last", "already names a run"), (" ", "a label is not empty"), ("a\nb", "no line breaks")] {
        let ran = workspace.run(&["--label", label]).code(2);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    workspace.run(&["--label", "one"]).code(0);
    workspace.run(&["--label", "two", "--set", "tuned=9"]).code(0);
    let ran = workspace.etalon(&["compare", "20", "one"]).code(2);
    assert!(ran.stderr.contains("2 runs begin with 20"), "{}", ran.stderr);
    workspace.write(
        "pipelines/q.yaml",
        SPEC.replace("name: p", "name: q").replace("exact:", "other:").replace("quality:", "fine:"),
    );
    workspace.etalon(&["run", "q", "--label", "q"]).code(0);
    let ran = workspace.etalon(&["compare", "one", "q", "--format", "json"]).code(2);
    assert!(ran.json()["refused"].as_array().unwrap().len() > 1);
    assert!(ran.stderr.contains("nothing can be compared, for the reasons above"), "{}", ran.stderr);
    for (arguments, said) in [
        (&["runs", "--limit", "0"][..], "0 is not in 1.."),
        (&["history", "p", "--limit", "0"], "0 is not in 1.."),
        (&["compare", "one", "two", "--margin", "2"], "a margin is a number from 0 to 1"),
    ] {
        let ran = workspace.etalon(arguments).code(2);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    let ran = workspace.etalon(&["runs", "nope"]).code(0);
    assert!(ran.stderr.contains("no run of nope is kept under runs/; there are runs of: p, q"), "{}", ran.stderr);
    fs::remove_dir_all(workspace.path("cache")).unwrap();
    let ran = workspace.etalon(&["compare", "one", "two", "--rows", "fixed"]).code(0);
    assert!(ran.stderr.contains("the cache here has the rows of neither run"), "{}", ran.stderr);
}
