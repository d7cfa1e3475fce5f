//! Judging that can be defended: all pairs, canaries, lineage, labels, shares of the ceiling, drift.

use serde_json::{Value, json};

use super::support::{Server, Workspace, standard};

/// Completions are `good`, `fair` or `poor`, depending on the model, and the judge can see which.
const HEAD: &str = r#"
etalon: 1
name: p
models:
  base: { provider: scripted, reply: "poor answer to {{ prompt }}", role: baseline }
  tuned: { provider: scripted, reply: "{{ 'good' if (prompt | int) % 4 else 'poor' }} answer to {{ prompt }}", role: candidate }
  best: { provider: scripted, reply: "{{ 'good' if (prompt | int) % 5 else 'fair' }} answer to {{ prompt }}", role: ceiling }
  duelist: { provider: scripted, reply: "{% set ab = prompt.split('|') %}{% macro worth(t) %}{{ 2 if t == 'REF' else 1 if 'fair' in t else 2 if 'good' in t else 0 if 'poor' in t else -1 }}{% endmacro %}{% set a = worth(ab[0]) | int %}{% set b = worth(ab[1]) | int %}[[{{ 'A' if a > b else 'B' if b > a else 'TIE' }}]]" }
  grader: { provider: scripted, reply: "{\"reason\": \"r\", \"help\": {{ 5 if 'good' in prompt or prompt == 'REF' else 3 if 'fair' in prompt else 2 if 'poor' in prompt else 1 }}}" }
stages:
  rows: { kind: dataset, rows: [ROWS], id: q }
  answers: { kind: inference, input: rows, models: [base, tuned, best], prompt: "{{ row.q }}" }
"#;

fn workspace(rows: usize, stages: &str) -> Workspace {
    let rows: Vec<String> = (0..rows).map(|i| format!("{{ q: {i} }}")).collect();
    let workspace = Workspace::new();
    workspace.write("pipelines/p.yaml", format!("{}{stages}", HEAD.replace("ROWS", &rows.join(", "))));
    workspace
}

fn value(document: &Value, node: (&str, &str), name: &str) -> f64 {
    let found = &document["summary"][node.0][node.1][name]["value"];
    found.as_f64().unwrap_or_else(|| panic!("{node:?} {name}: {found}"))
}

const RANKED: &str = r#"
  duel: { kind: judge, input: answers, model: duelist, prompt: "{{ a }}|{{ b }}", compare: { pairs: all } }
gates: [duel.tuned.win_rate > 0.5, duel.best.beats.base >= 0.8, duel.best.elo > duel.base.elo]
"#;

#[test]
fn all_pairs_are_judged_by_one_node_and_ranked() {
    let workspace = workspace(40, RANKED);
    let plan = workspace.etalon(&["plan", "p", "--format", "json"]).code(0).json();
    let planned = plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "duel").unwrap().clone();
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let node = document["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "duel").unwrap();
    // Three pairs in two orders; equal completions make equal requests.
    assert_eq!(node["rows"], 120);
    assert_eq!(node["calls"].as_u64().unwrap() + node["reused"].as_u64().unwrap(), 240);
    assert!(
        planned["calls"].as_u64().unwrap() >= node["calls"].as_u64().unwrap(),
        "an upper bound while answers are unknown"
    );
    let of = |name: &str| value(&document, ("duel", "_"), name);
    // tuned is good on 30 of 40 rows; best is good on 32 and fair on 8.
    assert_eq!(of("tuned.beats.base"), (30.0 + 5.0) / 40.0);
    assert_eq!(of("best.beats.base"), 1.0);
    assert_eq!(of("base.beats.best"), 0.0);
    let total: f64 = ["base", "tuned", "best"].iter().map(|model| of(&format!("{model}.elo"))).sum();
    assert!(total.abs() < 1e-6, "{total}");
    assert!(of("best.elo") > of("tuned.elo") && of("tuned.elo") > of("base.elo"));
    let ranking = &document["tables"]["duel"]["_"]["ranking"];
    let order: Vec<&str> =
        ranking["models"].as_array().unwrap().iter().map(|row| row["model"].as_str().unwrap()).collect();
    assert_eq!(order, ["best", "tuned", "base"]);
    // base never beats best, but it ties with tuned, and tuned beats best; so the games are connected.
    assert!(
        document["gates"].as_array().unwrap().iter().all(|gate| gate["verdict"] != "FAIL"),
        "{}",
        document["gates"]
    );
    let shown = workspace.etalon(&["show", "p", "duel", "--format", "json", "--limit", "3"]).code(0).stdout;
    let rows: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[2]["pair"], json!(["tuned", "best"]));
    assert_eq!(
        (&rows[2]["completion"], &rows[2]["baseline"]),
        (&json!("poor answer to 0"), &json!("fair answer to 0"))
    );
    let text = workspace.etalon(&["run", "p"]).code(0).stdout;
    assert!(text.contains("duel.elo") && text.contains("duel.beats.base"), "{text}");
    assert!(workspace.run(&[]).code(0).ran().is_empty());
}

#[test]
fn a_model_that_never_loses_is_said_to_be_out_of_bounds() {
    let workspace = workspace(12, RANKED);
    workspace.edit("pipelines/p.yaml", "'good' if (prompt | int) % 4 else 'poor'", "'fair'");
    let run = workspace.run(&[]);
    assert!(run.stderr.contains("ranking: separated"), "{}", run.stderr);
    assert_eq!(run.json()["tables"]["duel"]["_"]["ranking"]["separated"], true);
}

const WATCHED: &str = r#"
  quality: { kind: judge, input: answers, model: grader, prompt: "{{ completion }}", canaries: 4, reference: REF, rubric: { criteria: { help: Does it help? } } }
  duel: { kind: judge, input: answers, model: duelist, prompt: "{{ a }}|{{ b }}", canaries: 4, reference: REF, compare: { baseline: base, identity_pairs: 6 } }
gates: [quality.tuned.canaries >= 0.9, duel.tuned.identity_ties >= 0.8]
"#;

#[test]
fn canaries_tell_a_sound_judge_from_one_that_is_fooled() {
    let workspace = workspace(20, WATCHED);
    // Once the completions are in the log, the plan says exactly what a run sends.
    workspace.run(&["--only", "answers"]).code(0);
    let plan = workspace.etalon(&["plan", "p", "--format", "json"]).code(0).json();
    let run = workspace.run(&[]);
    let document = run.json();
    assert_eq!(
        plan["total"]["calls"].as_u64(),
        Some(document["nodes"].as_array().unwrap().iter().map(|node| node["calls"].as_u64().unwrap()).sum())
    );
    for node in [("quality", "tuned"), ("duel", "tuned")] {
        assert!(
            value(&document, node, "canaries") >= 0.75,
            "{node:?} {}",
            document["tables"][node.0][node.1]["canaries"]
        );
    }
    assert_eq!(value(&document, ("duel", "tuned"), "identity_ties"), 1.0);
    assert_eq!(document["summary"]["duel"]["tuned"]["identity_ties"]["n"], 6);
    let kinds: Vec<String> = document["tables"]["quality"]["tuned"]["canaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["canary"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["empty", "colon", "thought", "refusal", "order", "other_prompt", "reference", "padded"]);
    // A judge that obeys orders in a text, and prefers the first of two texts.
    workspace.edit("pipelines/p.yaml", "5 if 'good' in prompt", "5 if 'highest' in prompt or 'good' in prompt");
    workspace.edit("pipelines/p.yaml", "[[{{ 'A' if a > b else 'B' if b > a else 'TIE' }}]]", "[[A]]");
    let run = workspace.run(&[]);
    assert!(
        run.stderr.contains("canary order: an answer that orders a good verdict gets one on 4 of 4 rows"),
        "{}",
        run.stderr
    );
    assert_eq!(
        value(&run.json(), ("duel", "tuned"), "identity_ties"),
        0.0,
        "the first of two that are the same is no tie"
    );
    // Verdicts on rows and canaries are not bought again.
    assert!(workspace.run(&[]).ran().is_empty());
}

#[test]
fn shares_of_the_ceiling_start_at_0_and_have_an_interval() {
    let workspace = workspace(40, WATCHED);
    workspace.edit(
        "pipelines/p.yaml",
        "gates: [",
        "gates: [quality.tuned.of_ceiling > 0.5, quality.tuned.overall.of_ceiling >= 0.85, ",
    );
    let stderr = workspace.etalon(&["check", "p"]).code(2).stderr;
    assert!(stderr.contains("quality has no value `of_ceiling`"), "{stderr}");
    workspace.edit("pipelines/p.yaml", "quality.tuned.of_ceiling > 0.5, ", "");
    let document = workspace.run(&[]).json();
    // tuned has 30 of 40 rows at 5 and 10 at 2; best has 32 at 5 and 8 at 3; all on a scale from 0.
    let (tuned, best) = ((30.0 + 10.0 * 0.25) / 40.0, (32.0 + 8.0 * 0.5) / 40.0);
    let share = &document["summary"]["quality"]["tuned"]["overall.of_ceiling"];
    assert!((share["value"].as_f64().unwrap() - tuned / best).abs() < 1e-9, "{share}");
    let (low, high) = (share["low"].as_f64().unwrap(), share["high"].as_f64().unwrap());
    assert!(low < tuned / best && tuned / best < high && high - low < 0.5, "{share}");
    assert_eq!(document["summary"]["quality"]["best"].get("overall.of_ceiling"), None);
    assert_eq!(document["gates"][0]["verdict"], "UNPROVEN");
    // An artifact is damaged and a contrast is lost: the run after the next has the contrast again, without a call.
    let artifact = document["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "quality.best").unwrap();
    let name = artifact["artifact"].as_str().unwrap();
    let path = format!("cache/artifacts/{}/{name}.jsonl.zst", &name[..2]);
    let size = std::fs::read(workspace.path(&path)).unwrap().len();
    workspace.write(&path, vec![7; size]);
    std::fs::remove_dir_all(workspace.path("cache/contrasts")).unwrap();
    workspace.run(&[]);
    let healed = workspace.run(&[]).json();
    assert_eq!(healed["summary"]["quality"]["tuned"]["overall.of_ceiling"], *share);
    assert!(healed["nodes"].as_array().unwrap().iter().all(|node| node["calls"] == 0));
    let text = workspace.etalon(&["run", "p"]).stdout;
    assert!(
        text.contains(&format!("{:.0} % [{:.0}, {:.0}]", 100.0 * tuned / best, 100.0 * low, 100.0 * high)),
        "{text}"
    );
}

const LABELLED: &str = r#"
  quality: { kind: judge, input: answers, model: grader, prompt: "{{ completion }}", human: labels/quality.jsonl, rubric: { criteria: { help: { ask: Does it help?, pass_at: 4 } } } }
  duel: { kind: judge, input: answers, model: duelist, prompt: "{{ a }}|{{ b }}", human: labels/duel.jsonl, compare: { baseline: base } }
"#;

/// Fills in a sheet: people prefer good to fair, and fair to poor.
fn fill(
    workspace: &Workspace,
    sheet: &str,
    answer: impl Fn(&csv::StringRecord, &dyn Fn(&str) -> String) -> String,
    column: &str,
) {
    let mut reader = csv::Reader::from_reader(std::fs::File::open(workspace.path(sheet)).unwrap());
    let headers = reader.headers().unwrap().clone();
    let place = headers.iter().position(|name| name == column).unwrap();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&headers).unwrap();
    for record in reader.records() {
        let record = record.unwrap();
        let cell = |name: &str| record[headers.iter().position(|known| known == name).unwrap()].to_owned();
        let said = answer(&record, &cell);
        writer
            .write_record(record.iter().enumerate().map(|(at, text)| if at == place { said.as_str() } else { text }))
            .unwrap();
    }
    workspace.write(sheet, writer.into_inner().unwrap());
}

fn worth(text: &str) -> u8 {
    if text.contains("good") { 2 } else { u8::from(text.contains("fair")) }
}

#[test]
fn a_blind_sheet_goes_to_people_and_comes_back_as_labels() {
    let workspace = workspace(40, LABELLED);
    let run = workspace.run(&[]).code(0);
    assert!(run.stderr.contains("there is no labels/duel.jsonl yet"), "{}", run.stderr);
    let exported =
        workspace.etalon(&["labels", "export", "p", "duel", "--n", "24", "--stratify", "score,disagreement"]).code(0);
    assert!(
        exported.stderr.contains("24 rows") && exported.stderr.contains("labels import p duel"),
        "{}",
        exported.stderr
    );
    let sheet = workspace.read("labels/duel.sheet.csv");
    assert!(
        !sheet.contains("tuned") && !sheet.contains("base") && !sheet.contains("win"),
        "the sheet is blind:\n{sheet}"
    );
    assert_eq!(sheet.lines().next().unwrap(), "item,prompt,a,b,label,reason,rater");
    // A second export overwrites nothing, and does not draw rows that are in the key.
    workspace.etalon(&["labels", "export", "p", "duel"]).code(2);
    fill(
        &workspace,
        "labels/duel.sheet.csv",
        |_, cell| match worth(&cell("a")).cmp(&worth(&cell("b"))) {
            std::cmp::Ordering::Greater => "a".to_owned(),
            std::cmp::Ordering::Less => "B".to_owned(),
            std::cmp::Ordering::Equal => "Tie".to_owned(),
        },
        "label",
    );
    let imported = workspace.etalon(&["labels", "import", "p", "duel", "--rater", "ann"]).code(0);
    assert!(imported.stderr.contains("24 labels → labels/duel.jsonl"), "{}", imported.stderr);
    assert!(
        workspace.etalon(&["labels", "import", "p", "duel", "--rater", "ann"]).code(0).stderr.contains("24 were there")
    );
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let both: u64 = ["tuned", "best"]
        .iter()
        .map(|model| document["summary"]["duel"][model]["agreement"]["n"].as_u64().unwrap())
        .sum();
    assert_eq!(both, 24);
    assert_eq!(value(&document, ("duel", "tuned"), "agreement"), 1.0);
    assert!(document["nodes"].as_array().unwrap().iter().all(|node| node["calls"] == 0), "labels buy nothing");
    // The completions change: the labels keep the texts that people saw, and the judge is asked about those.
    workspace.edit(
        "pipelines/p.yaml",
        "answer to {{ prompt }}\", role: candidate",
        "reply to {{ prompt }}\", role: candidate",
    );
    let later = workspace.run(&[]).code(0).json();
    assert_eq!(later["summary"]["duel"]["tuned"]["agreement"], document["summary"]["duel"]["tuned"]["agreement"]);
    // One line is wrong, and one contradicts a label.
    fill(
        &workspace,
        "labels/duel.sheet.csv",
        |_, cell| if worth(&cell("a")) == 2 { "neither".to_owned() } else { "a".to_owned() },
        "label",
    );
    let stderr = workspace.etalon(&["labels", "import", "p", "duel", "--rater", "ann"]).code(2).stderr;
    assert!(stderr.contains("`neither` is neither A, B nor tie"), "{stderr}");
    fill(&workspace, "labels/duel.sheet.csv", |_, _| "a".to_owned(), "label");
    let stderr = workspace.etalon(&["labels", "import", "p", "duel", "--rater", "ann"]).code(2).stderr;
    assert!(stderr.contains("is labelled") && stderr.contains("--replace"), "{stderr}");
    assert!(
        workspace.etalon(&["labels", "import", "p", "duel", "--rater", "bob"]).code(0).stderr.contains("24 labels")
    );
    assert!(workspace.run(&[]).code(0).stderr.contains("people agree with each other on"));
}

#[test]
fn scores_are_labelled_and_estimates_corrected() {
    let workspace = workspace(60, LABELLED);
    // The judge finds half of the poor completions good.
    workspace.edit(
        "pipelines/p.yaml",
        "2 if 'poor' in prompt",
        "(5 if (prompt.split(' ')[-1] | int) % 2 else 2) if 'poor' in prompt",
    );
    workspace.run(&[]).code(0);
    workspace
        .etalon(&[
            "labels",
            "export",
            "p",
            "quality.tuned",
            "--n",
            "40",
            "--stratify",
            "score",
            "--output",
            "sheet.jsonl",
        ])
        .code(0);
    let filled: String = workspace
        .read("sheet.jsonl")
        .lines()
        .map(|line| {
            let mut item: Value = serde_json::from_str(line).unwrap();
            let text = item["response"].as_str().unwrap().to_owned();
            item["score.help"] = json!(if text.contains("good") { 5 } else { 2 });
            item["reason"] = json!("so");
            item.to_string() + "\n"
        })
        .collect();
    workspace.write("sheet.jsonl", filled);
    workspace.etalon(&["labels", "import", "p", "quality", "sheet.jsonl"]).code(0);
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let of = |name: &str| value(&document, ("quality", "tuned"), name);
    // 45 of 60 completions are really good; the judge passes the rows 4, 12, … although it should not.
    let truth = (45.0 * 5.0 + 15.0 * 2.0) / 60.0;
    assert!(
        (of("help.corrected") - truth).abs() <= (of("help") - truth).abs() + 1e-9,
        "{} {}",
        of("help"),
        of("help.corrected")
    );
    assert!((of("help.pass_rate.corrected") - 0.75).abs() < 0.06, "{}", of("help.pass_rate.corrected"));
    assert!(run.stderr.contains("corrected by people's labels: help"), "{}", run.stderr);
    // With few labels there is no corrected estimate, and a note says why.
    let few: String = workspace.read("labels/quality.jsonl").lines().take(5).map(|line| format!("{line}\n")).collect();
    workspace.write("labels/quality.jsonl", few);
    assert!(workspace.run(&[]).code(0).stderr.contains("no corrected estimate: 5 labels are fewer than 20"));
}

#[test]
fn another_judge_is_held_against_the_one_before() {
    let workspace = workspace(40, LABELLED);
    let first = workspace.run(&[]).code(0).json();
    let instrument = |document: &Value| {
        let nodes = document["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["node"] == "quality.tuned").unwrap()["instrument"].clone()
    };
    assert!(instrument(&first).is_string() && first.get("drift").is_none());
    // Other labels and other rows do not change the instrument.
    workspace.edit("pipelines/p.yaml", "{ q: 39 }", "{ q: 41 }");
    let run = workspace.run(&[]).code(0).json();
    assert_eq!(instrument(&run), instrument(&first));
    assert!(run.get("drift").is_none(), "{run}");
    // A milder judge over the same completions.
    workspace.edit("pipelines/p.yaml", "2 if 'poor' in prompt", "4 if 'poor' in prompt");
    let text = workspace.etalon(&["run", "p"]).code(0).stdout;
    assert!(text.contains("quality.tuned: another instrument than in"), "{text}");
    assert!(text.contains("On 40 of the same completions") && text.contains("do not compare its numbers"), "{text}");
    // Judge and completions both change, so there is nothing to compare, until there are labels with their texts.
    workspace.edit("pipelines/p.yaml", "4 if 'poor' in prompt", "3 if 'poor' in prompt");
    workspace.edit(
        "pipelines/p.yaml",
        "answer to {{ prompt }}\", role: candidate",
        "reply to {{ prompt }}\", role: candidate",
    );
    let text = workspace.etalon(&["run", "p"]).code(0).stdout;
    assert!(text.contains("nothing that both judged"), "{text}");
    workspace.etalon(&["labels", "export", "p", "quality.tuned", "--n", "30", "--output", "sheet.csv"]).code(0);
    fill(&workspace, "sheet.csv", |_, _| "4".to_owned(), "score.help");
    workspace.etalon(&["labels", "import", "p", "quality", "sheet.csv"]).code(0);
    workspace.run(&[]).code(0);
    workspace.edit("pipelines/p.yaml", "3 if 'poor' in prompt", "1 if 'poor' in prompt");
    workspace.edit(
        "pipelines/p.yaml",
        "reply to {{ prompt }}\", role: candidate",
        "saying to {{ prompt }}\", role: candidate",
    );
    let run = workspace.run(&[]).code(0).json();
    let drift = &run["drift"]["quality.tuned"];
    assert_eq!((&drift["basis"], &drift["compared"]), (&json!("the golden set"), &json!(30)));
    assert!(drift["shifts"]["overall"]["value"].as_f64().unwrap() < 0.0 && drift["verdict"] == "drifted", "{drift}");
    assert!(workspace.run(&[]).code(0).json().get("drift").is_none(), "said once");
}

#[test]
fn missing_verdicts_have_bounds_and_signs_a_p() {
    let workspace = workspace(20, LABELLED);
    workspace.edit(
        "pipelines/p.yaml",
        "[[{{ 'A' if a > b",
        "{{ 'no idea' if 'to 7' in prompt else '' }}[[{{ 'X' if 'to 7' in prompt else 'A' if a > b",
    );
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let of = |name: &str| value(&document, ("duel", "tuned"), name);
    let (wins, ties) = (of("wins"), of("ties"));
    assert_eq!((wins, ties), (14.0, 5.0));
    assert_eq!(of("win_rate.worst"), (wins + ties / 2.0) / 20.0);
    assert_eq!(of("win_rate.best"), (wins + ties / 2.0 + 1.0) / 20.0);
    assert!((of("net") - 14.0 / 19.0).abs() < 1e-9 && (of("sign_p") - 2.0 / 16384.0).abs() < 1e-9, "{}", of("sign_p"));
    assert!(run.stderr.contains("1 of 20 rows have no verdict"), "{}", run.stderr);
}

#[test]
fn a_schema_goes_to_servers_that_know_it_and_candidates_are_cut_with_a_mark() {
    let server = Server::plain();
    let workspace = standard(&server, 3);
    workspace.edit(
        "pipelines/p.yaml",
        "    prompt: grade.j2",
        "    prompt: grade.j2\n    response_format: json_schema\n    truncate_candidates: { max_chars: 100 }",
    );
    workspace.write("templates/ask.j2", format!("{{{{ row.question }}}} {}", "long ".repeat(60)));
    let run = workspace.run(&["--only", "quality"]).code(0);
    assert!(run.stderr.contains("3 of 3 candidates were cut"), "{}", run.stderr);
    let calls = server.take();
    let grade = calls.iter().find(|call| call.get("response_format").is_some()).unwrap();
    let format = &grade["response_format"];
    assert_eq!((&format["type"], &format["json_schema"]["strict"]), (&json!("json_schema"), &json!(true)));
    let schema = &format["json_schema"]["schema"];
    assert_eq!(schema["required"], json!(["reason", "accuracy", "tone"]));
    assert_eq!(schema["properties"]["tone"]["enum"], json!([1, 2, 3, 4, 5]));
    let prompt = super::support::prompt(grade);
    assert!(prompt.contains("characters left out …]"), "{prompt}");
}

#[test]
fn panels_say_who_prefers_their_own_and_how_steady_they_are() {
    let panel = r#"
  quality: { kind: judge, input: answers, panel: [kin, fair, mild], samples: 2, prompt: "{{ model }}|{{ completion }}", rubric: { criteria: { help: Does it help? } } }
gates: [quality.tuned.self_preference <= 0.1, quality.tuned.stability >= 0.9]
"#;
    let workspace = workspace(40, panel);
    // The kin judge gives its own model one point more; a mild judge gives one more to every model.
    let judge = |more: &str| {
        format!(
            "{{ provider: scripted, family: FAMILY, reply: \"{{\\\"help\\\": {{{{ (4 if 'good' in prompt else 3 if 'fair' in prompt else 2) + ({more}) }}}}}}\" }}"
        )
    };
    let models = format!(
        "models:\n  kin: {}\n  fair: {}\n  mild: {}\n",
        judge("1 if prompt.startswith('tuned') else 0").replace("FAMILY", "x"),
        judge("0").replace("FAMILY", "y"),
        judge("1").replace("FAMILY", "z"),
    );
    workspace.edit("pipelines/p.yaml", "models:\n", &models);
    workspace.edit("pipelines/p.yaml", "role: candidate }", "role: candidate, family: X }");
    let run = workspace.run(&[]);
    assert!(run.stderr.contains("warning[J-FAMILY]: `kin` and `tuned` are both of x"), "{}", run.stderr);
    let document = run.json();
    assert!((value(&document, ("quality", "tuned"), "self_preference") - 0.25).abs() < 1e-9);
    assert_eq!(document["summary"]["quality"]["base"].get("self_preference"), None, "nobody's kin is judged beside it");
    assert_eq!(document["gates"][0]["verdict"], "FAIL");
    assert_eq!(value(&document, ("quality", "tuned"), "stability"), 1.0);
    let panel = &document["tables"]["quality"]["tuned"]["panel"];
    assert_eq!(panel["without"].as_array().unwrap().len(), 3);
    // Without the kin judge and its extra point, the value falls.
    let without = |judge: usize| panel["without"][judge]["value"].as_f64().unwrap();
    assert!(without(0) < without(1) && without(2) < without(1), "{panel}");
    assert_eq!(panel["kappa"].as_array().unwrap().len(), 3);
}

#[test]
fn labels_of_one_row_go_together() {
    let workspace = workspace(30, LABELLED);
    workspace.edit("pipelines/p.yaml", "\"help\\\":", "\"tone\\\": 3, \\\"help\\\":");
    workspace.edit(
        "pipelines/p.yaml",
        "criteria: { help: { ask: Does it help?, pass_at: 4 } }",
        "criteria: { help: Does it help?, tone: Is it kind? }",
    );
    // On each row both labels agree with the judge, or neither does: twenty rows, forty labels.
    let lines: String = (0..20)
        .flat_map(|row| {
            let help = if row % 4 == 0 { 2 } else { 5 };
            let is_right = row % 5 > 0;
            [("help", if is_right { help } else { 1 }), ("tone", if is_right { 3 } else { 1 })].map(
                |(criterion, label)| {
                    json!({"row": row, "model": "tuned", "criterion": criterion, "label": label}).to_string() + "\n"
                },
            )
        })
        .collect();
    workspace.write("labels/quality.jsonl", lines);
    let run = workspace.run(&[]).code(0);
    let agreement = &run.json()["summary"]["quality"]["tuned"]["agreement"];
    assert_eq!((&agreement["value"], &agreement["n"]), (&json!(0.8), &json!(20)));
    let width = agreement["high"].as_f64().unwrap() - agreement["low"].as_f64().unwrap();
    assert!(width > 0.3, "as wide as twenty rows, not as narrow as forty labels: {agreement}");
    assert!(run.stderr.contains("on 32 of 40 labels of 20 rows, 80 %"), "{}", run.stderr);
    let kappa = &run.json()["summary"]["quality"]["tuned"]["kappa"];
    assert!(kappa["low"].as_f64().unwrap() < kappa["value"].as_f64().unwrap(), "{kappa}");
    assert!(run.json()["summary"]["quality"]["tuned"]["length_correlation"]["value"].is_number());
}

#[test]
fn labels_that_agree_correct_nothing_and_count_for_either_order_of_a_pair() {
    let workspace = workspace(
        40,
        &format!(
            "{LABELLED}  ranked: {{ kind: judge, input: answers, model: duelist, prompt: \"{{{{ a }}}}|{{{{ b }}}}\", human: labels/ranked.jsonl, compare: {{ pairs: all }} }}\n"
        ),
    );
    // tuned is good except on every fourth row, base is always poor; half of the labels name the two the other way
    // round.
    let label = |row: usize| {
        let is_win = !row.is_multiple_of(4);
        match (is_win, row.is_multiple_of(2)) {
            (true, true) => ("tuned/base", "win"),
            (true, false) => ("base/tuned", "loss"),
            (false, _) => ("base/tuned", "tie"),
        }
    };
    let lines: String = (0..38)
        .map(|row| json!({"row": row, "pair": label(row).0, "label": label(row).1}).to_string() + "\n")
        .collect();
    workspace.write("labels/duel.jsonl", &lines);
    workspace.write("labels/ranked.jsonl", &lines);
    let run = workspace.run(&[]).code(0);
    let document = run.json();
    let of = |name: &str| value(&document, ("duel", "tuned"), name);
    assert_eq!(of("agreement"), 1.0);
    assert!((of("win_rate.corrected") - of("win_rate")).abs() < 1e-9, "a judge without errors has nothing to correct");
    let corrected = &document["summary"]["duel"]["tuned"]["win_rate.corrected"];
    assert!(corrected["high"].as_f64().unwrap() - corrected["low"].as_f64().unwrap() > 0.1, "{corrected}");
    assert_eq!(corrected["n"], 40);
    let ranked = &document["summary"]["ranked"]["_"]["agreement"];
    assert_eq!((&ranked["value"], &ranked["n"]), (&json!(1.0), &json!(38)));
    // Labels about other models do not rerun anything.
    workspace.write("labels/duel.jsonl", lines + "{\"row\": 1, \"pair\": \"best/tuned\", \"label\": \"win\"}\n");
    assert!(workspace.run(&[]).code(0).ran().is_empty());
}

#[test]
fn two_who_import_at_once_lose_nothing() {
    let workspace = workspace(60, LABELLED);
    workspace.run(&[]).code(0);
    workspace.etalon(&["labels", "export", "p", "duel", "--n", "60"]).code(0);
    fill(&workspace, "labels/duel.sheet.csv", |_, _| "a".to_owned(), "label");
    let sheet = workspace.read("labels/duel.sheet.csv");
    let (head, rows) = sheet.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let children: Vec<_> = rows
        .chunks(10)
        .enumerate()
        .map(|(part, rows)| {
            let path = format!("labels/part{part}.csv");
            workspace.write(&path, format!("{head}\n{}\n", rows.join("\n")));
            workspace.spawn(&["labels", "import", "p", "duel", &path, "--rater", "ann"])
        })
        .collect();
    for child in children {
        super::support::finish(child).code(0);
    }
    assert_eq!(workspace.read("labels/duel.jsonl").lines().count(), rows.len());
    // One sheet lacks the column for labels, and one has no rows.
    workspace.write("labels/empty.csv", format!("{head}\n"));
    workspace.write("labels/bare.csv", "item,prompt\nx,y\n");
    assert!(
        workspace
            .etalon(&["labels", "import", "p", "duel", "labels/empty.csv"])
            .code(2)
            .stderr
            .contains("holds no rows")
    );
    assert!(
        workspace
            .etalon(&["labels", "import", "p", "duel", "labels/bare.csv"])
            .code(2)
            .stderr
            .contains("there is no column to read")
    );
    let stderr = workspace.etalon(&["labels", "export", "p", "duel", "--output", "labels/duel.jsonl"]).code(2).stderr;
    assert!(stderr.contains("is where the labels of duel go"), "{stderr}");
}

#[test]
fn anchors_reach_the_judge_in_one_order_and_repeats_count_as_they_are() {
    let server = Server::plain();
    let workspace = standard(&server, 3);
    workspace.write("templates/grade.j2", "GRADE {{ completion }} {% for score, meaning in criteria[0].anchors | items %}{{ score }}={{ meaning }} {% endfor %}");
    workspace.edit(
        "pipelines/p.yaml",
        "accuracy: Is it right?",
        "accuracy: { ask: Is it right?, anchors: { 5: right, 1: wrong, 3: partly } }",
    );
    workspace.run(&["--only", "quality"]).code(0);
    let grade = server.take().into_iter().find(|call| super::support::prompt(call).contains("GRADE")).unwrap();
    assert!(super::support::prompt(&grade).contains("1=wrong 3=partly 5=right"), "{grade}");
    workspace.edit("pipelines/p.yaml", "5: right, 1: wrong, 3: partly", "1: wrong, 3: partly, 5: right");
    assert!(workspace.run(&["--only", "quality"]).code(0).ran().is_empty());
    // A judge that says win two times out of three counts two thirds, not three quarters; in a panel it votes for the
    // side it prefers.
    let stages = r#"
  repeated: { kind: judge, input: answers, model: wavering, samples: 3, prompt: "{{ a }}|{{ b }}", compare: { baseline: base, order: random } }
  voted: { kind: judge, input: answers, panel: [wavering, second, third], samples: 3, prompt: "{{ a }}|{{ b }}", compare: { baseline: base, order: random } }
"#;
    let workspace = self::workspace(30, stages);
    let wavering = "{ provider: scripted, reply: \"{% set place = 'A' if 'answer' in prompt.split('|')[0] and 'poor' not in prompt.split('|')[0] else 'B' %}{% set other = 'B' if place == 'A' else 'A' %}[[{{ place if sample < 2 else other }}]]\" }";
    let second = wavering.replace("sample < 2", "sample < 3");
    let third = wavering.replace("sample < 2", "sample < 0");
    workspace.edit(
        "pipelines/p.yaml",
        "models:\n",
        &format!("models:\n  wavering: {wavering}\n  second: {second}\n  third: {third}\n"),
    );
    workspace.edit("pipelines/p.yaml", "'good' if (prompt | int) % 4 else 'poor'", "'good'");
    let document = workspace.run(&[]).code(0).json();
    assert!((value(&document, ("repeated", "tuned"), "win_rate") - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(value(&document, ("voted", "tuned"), "win_rate"), 1.0, "two of three are for it");
    assert_eq!(value(&document, ("repeated", "tuned"), "stability"), 2.0 / 3.0);
}
