//! Gates through the command line: at equality, with missing rows, and two models compared row by row.

use serde_json::{Value, json};

use super::support::{Ran, Reply, Server, Workspace, prompt, standard};

/// Rows with what the base and the tuned model answer; gold is `x`.
fn answered(rows: impl IntoIterator<Item = (&'static str, &'static str)>, more: &str, gates: &[&str]) -> Workspace {
    let workspace = Workspace::new();
    let line = |(at, (base, tuned)): (usize, (&str, &str))| {
        json!({ "id": format!("r{at:03}"), "base": base, "tuned": tuned, "gold": "x", "group": at / 10 }).to_string()
            + "\n"
    };
    let gates: String = gates.iter().map(|gate| format!("  - {gate}\n")).collect();
    workspace.write("data/rows.jsonl", rows.into_iter().enumerate().map(line).collect::<String>()).write(
        "pipelines/p.yaml",
        format!("etalon: 1\nname: p\nmodels:\n  base: {{ provider: scripted, reply: \"{{{{ prompt.split('|')[0] }}}}\", role: baseline }}\n  tuned: {{ provider: scripted, reply: \"{{{{ prompt.split('|')[1] }}}}\" }}\nstages:\n  rows: {{ kind: dataset, path: data/rows.jsonl, id: id }}\n  answers: {{ kind: inference, input: rows, models: [base, tuned], prompt: \"{{{{ row.base }}}}|{{{{ row.tuned }}}}\" }}\n  exact: {{ kind: metric, input: answers, reference: \"{{{{ row.gold }}}}\", metrics: [exact_match, squad_f1, classification, length]{more} }}\ngates:\n{gates}"),
    );
    workspace
}

/// Returns the gates of a run.
fn gates(ran: &Ran) -> Vec<Value> {
    ran.json()["gates"].as_array().unwrap().clone()
}

fn verdict(gate: &Value) -> &str {
    gate["verdict"].as_str().unwrap()
}

#[test]
fn rounding_decides_no_gate() {
    let rows = |rotated: usize| (0..10).map(move |at| ("x", if (at + rotated) % 10 < 8 { "x" } else { "y" }));
    for rotated in 0..10 {
        let bounds = [
            "exact.tuned.squad_f1 >= 0.8",
            "exact.tuned.squad_f1 <= 0.8",
            "exact.tuned.exact_match >= 0.8",
            "exact.tuned.exact_match * 3 >= 2.4",
            "exact.tuned.squad_f1 > 0.8",
        ];
        let ran = answered(rows(rotated), "", &bounds).run(&[]).code(1);
        let verdicts: Vec<Value> = gates(&ran);
        let holds: Vec<bool> = verdicts.iter().map(|gate| verdict(gate) != "FAIL").collect();
        assert_eq!(holds, [true, true, true, true, false], "{rotated}: {verdicts:?}");
    }
}

/// 140 against 120 right of 200: 20 fixed and none broken.
#[test]
fn two_models_are_compared_row_by_row() {
    let rows = || {
        (0..200).map(|at| match at {
            0..120 => ("x", "x"),
            120..140 => ("y", "x"),
            _ => ("y", "z"),
        })
    };
    let all = [
        "exact.tuned.exact_match > exact.base.exact_match",
        "exact.tuned.exact_match >= exact.base.exact_match + 0.05",
        "exact.tuned.exact_match - exact.base.exact_match >= 0.05",
        "exact.tuned.exact_match / exact.base.exact_match >= 1.05",
        "exact.base.exact_match < exact.tuned.squad_f1",
        "exact.tuned.exact_match >= exact.base.exact_match + 0.09",
        "exact.tuned.classification.accuracy > exact.base.classification.accuracy",
    ];
    let ran = answered(rows(), "", &all).run(&[]).code(0);
    let found = gates(&ran);
    let verdicts: Vec<&str> = found.iter().map(verdict).collect();
    assert_eq!(verdicts, ["PASS", "PASS", "PASS", "PASS", "PASS", "UNPROVEN", "UNPROVEN"], "{found:#?}");
    let difference = &found[0]["difference"];
    assert!((difference["value"].as_f64().unwrap() - 0.1).abs() < 1e-12 && difference["n"] == 200, "{difference}");
    assert!(difference["low"].as_f64().unwrap() > 0.05 && difference["high"].as_f64().unwrap() < 0.15, "{difference}");
    assert!(found[6]["difference"].is_null(), "a confusion table has no value for each row");
    let text = answered(rows(), "", &all[..1]).etalon(&["run", "p"]).code(0).stdout;
    assert!(text.contains("(0.700 against 0.600; by row +0.100 [+0.05"), "{text}");

    // The second run reads what the first one kept.
    let workspace = answered(rows(), "", &all);
    let first = gates(&workspace.run(&[]).code(0));
    assert_eq!(gates(&workspace.run(&[]).code(0)), first);
}

#[test]
fn few_rows_that_differ_prove_what_the_exact_test_proves() {
    // Five fixed and none broken: p = 0.0625. Six: 0.03125. Nineteen against eight: 0.052.
    for (fixed, broken, expected) in
        [(5, 0, "UNPROVEN"), (6, 0, "PASS"), (19, 8, "UNPROVEN"), (20, 8, "PASS"), (3, 3, "FAIL")]
    {
        let rows = (0..100).map(|at| match at {
            _ if at < fixed => ("y", "x"),
            _ if at < fixed + broken => ("x", "y"),
            _ => ("x", "x"),
        });
        let ran = answered(rows, "", &["exact.tuned.exact_match > exact.base.exact_match"]).run(&[]);
        assert_eq!(verdict(&gates(&ran)[0]), expected, "{fixed} {broken}: {}", ran.stdout);
    }
}

#[test]
fn rows_that_depend_on_each_other_count_as_clusters() {
    // Twenty fixed rows, all in two of twenty groups.
    let rows = || (0..200).map(|at| if at < 20 { ("y", "x") } else { ("x", "x") });
    let gate = ["exact.tuned.exact_match > exact.base.exact_match"];
    assert_eq!(verdict(&gates(&answered(rows(), "", &gate).run(&[]))[0]), "PASS");
    let clustered = answered(rows(), ", cluster: group", &gate);
    assert_eq!(verdict(&gates(&clustered.run(&[]))[0]), "UNPROVEN");
}

/// Model `tuned` answers 400 on five of a hundred rows; on the others both are equal.
#[test]
fn missing_rows_are_not_missing_at_random() {
    let server = Server::start(|_, body, _| {
        let asked = prompt(body);
        let number: usize = asked.trim_start_matches('r').parse().unwrap();
        match body["model"].as_str() {
            Some("tuned") if number < 5 => Reply::Raw(400, vec![], "{\"error\": {\"message\": \"no\"}}".to_owned()),
            _ if number < 6 => Reply::Text("y".to_owned()),
            _ => Reply::Text("x".to_owned()),
        }
    });
    let workspace = Workspace::new();
    let rows: String = (0..100).map(|at| format!("{{\"id\": \"r{at:03}\", \"gold\": \"x\"}}\n")).collect();
    let spec = |gates: &str| {
        format!(
            "etalon: 1\nname: p\nmodels:\n  base: {{ provider: openai, base_url: {0}, model: base, revision: a }}\n  tuned: {{ provider: openai, base_url: {0}, model: tuned, revision: a }}\nstages:\n  rows: {{ kind: dataset, path: data/rows.jsonl, id: id }}\n  answers: {{ kind: inference, input: rows, models: [base, tuned], prompt: \"{{{{ row.id }}}}\", max_failures: 5 }}\n  exact: {{ kind: metric, input: answers, reference: \"{{{{ row.gold }}}}\", metrics: [exact_match, latency] }}\ngates:\n{gates}",
            server.url
        )
    };
    workspace.write("data/rows.jsonl", rows).write(
        "pipelines/p.yaml",
        spec("  - exact.tuned.exact_match > exact.base.exact_match\n  - exact.tuned.exact_match >= exact.base.exact_match - 0.01\n  - exact.tuned.exact_match >= 0.93\n  - exact.tuned.exact_match.low >= 0.93\n  - exact.tuned.exact_match >= 0.85\n  - exact.base.exact_match >= 0.85\n  - exact.tuned.latency <= 100\n  - exact.tuned.exact_match.missing <= 5\n  - exact.tuned.coverage >= 0.9\n"),
    );
    let ran = workspace.run(&[]).code(1);
    let found = gates(&ran);
    let verdicts: Vec<&str> = found.iter().map(verdict).collect();
    assert_eq!(
        verdicts,
        ["FAIL", "UNPROVEN", "UNPROVEN", "UNPROVEN", "PASS", "PASS", "UNPROVEN", "PASS", "PASS"],
        "{found:#?}"
    );
    assert_eq!((&found[0]["left"], &found[0]["right"]), (&found[0]["right"], &found[0]["left"]));
    let because = found[0]["because"].as_str().unwrap();
    assert!(because.contains("on the 95 rows that both have; only one has r000"), "{because}");
    let because = found[3]["because"].as_str().unwrap();
    assert!(because.contains("5 rows are missing"), "{because}");
}

#[test]
fn what_has_no_interval_is_not_proven() {
    let gates_of = |rows: usize, gate: &str| {
        let rows = (0..rows).map(|_| ("x", "x"));
        gates(&answered(rows, "", &[gate]).run(&[]))
    };
    // A single row says nothing about how rows differ.
    let found = gates_of(1, "exact.tuned.length >= 0");
    assert_eq!(verdict(&found[0]), "UNPROVEN", "{found:?}");
    let found = gates_of(40, "1 / exact.tuned.exact_match <= 2");
    assert_eq!(verdict(&found[0]), "PASS", "{found:?}");
}

/// Shares of the ceiling, on the scale and as a whole, are compared row by row as well.
#[test]
fn judged_models_are_compared_row_by_row() {
    // Every row is worth 1 to 5 by itself, and the tuned model gets one more on every other row.
    let server = Server::start(|_, body, _| {
        let asked = prompt(body);
        if let Some(number) = asked.strip_prefix("Q: question ") {
            let number: usize = number.parse().unwrap();
            let more = usize::from(body["model"] == "m-tuned" && number.is_multiple_of(2));
            return Reply::Text(format!("worth {}", 1 + number % 4 + more));
        }
        let worth = asked.split("worth ").nth(1).and_then(|rest| rest.chars().next()).unwrap();
        Reply::Text(format!("{{\"reason\": \"\", \"accuracy\": {worth}, \"tone\": {worth}}}"))
    });
    let workspace = standard(&server, 60);
    let spec = workspace.read("pipelines/p.yaml");
    let spec = spec.split("  duel:").next().unwrap();
    workspace.write(
        "pipelines/p.yaml",
        format!("{spec}gates:\n  - quality.tuned.overall > quality.base.overall\n  - quality.tuned.tone >= quality.base.tone + 0.25\n  - quality.base.overall >= 0.6 * quality.tuned.overall\n  - quality.tuned.tone >= quality.base.tone + 0.45\n"),
    );
    let found = gates(&workspace.run(&[]).code(0));
    let verdicts: Vec<&str> = found.iter().map(verdict).collect();
    assert_eq!(verdicts, ["PASS", "PASS", "PASS", "UNPROVEN"], "{found:#?}");
    let value = |at: usize| found[at]["difference"]["value"].as_f64().unwrap();
    assert!((value(0) - 0.125).abs() < 1e-9 && (value(1) - 0.25).abs() < 1e-9, "{found:#?}");
}

/// Without any difference, a fortieth of such gates pass at most.
#[test]
fn chance_passes_few_gates() {
    let mut passed = 0;
    let mut state = 7u64;
    let mut draw = |share: f64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f64 / f64::from(1u32 << 31)) < share
    };
    for _ in 0..20 {
        let rows: Vec<(&str, &str)> =
            (0..60).map(|_| (if draw(0.7) { "x" } else { "y" }, if draw(0.7) { "x" } else { "y" })).collect();
        let ran = answered(rows, "", &["exact.tuned.exact_match > exact.base.exact_match"]).run(&[]);
        passed += usize::from(verdict(&gates(&ran)[0]) == "PASS");
    }
    assert!(passed <= 2, "{passed}");
}
