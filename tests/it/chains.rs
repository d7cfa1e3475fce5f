//! Stages that read several stages: an inference stage behind another one, and comparisons with a node of another
//! stage.

use super::support::{Server, Workspace, prompt, rows};

const SPEC: &str = r#"
etalon: 1
name: p
models:
  base: { provider: openai, base_url: "URL", model: m-base, revision: "1", role: baseline }
  tuned: { extends: base, model: m-tuned, revision: "1", role: candidate }
  grader: { extends: base, model: m-grader, revision: "1" }
stages:
  rows: { kind: dataset, path: data/rows.jsonl, id: key }
  draft: { kind: inference, input: rows, models: [base, tuned], prompt: "Q: {{ row.question }}" }
  final:
    kind: inference
    input: draft
    models: [base, tuned]
    prompt: "Better: {{ inputs.draft.completion }}"
  exact: { kind: metric, input: final, reference: "{{ row.gold }}", metrics: [exact_match] }
  duel:
    kind: judge
    input: final
    model: grader
    prompt: "COMPARE {{ prompt }} :: {{ a }} :: {{ b }}"
    compare: { baseline: draft.tuned }
"#;

fn ready(server: &Server, n: usize) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("data/rows.jsonl", rows(n));
    workspace.write("pipelines/p.yaml", SPEC.replace("URL", &server.url));
    workspace
}

#[test]
fn a_prompt_reads_what_another_stage_said() {
    let server = Server::plain();
    let workspace = ready(&server, 3);
    workspace.run(&[]).code(0);
    let prompts: Vec<String> = server.take().iter().map(prompt).collect();
    assert!(prompts.contains(&"Better: m-tuned says Q: question 1".to_owned()), "{prompts:?}");
    // Each model reads its own drafts, and the judge is shown what was really asked.
    assert!(
        prompts.iter().any(|prompt| prompt.starts_with("COMPARE Better: m-base says Q: question 0")),
        "{prompts:?}"
    );
    let again = workspace.run(&[]).code(0);
    assert!(again.ran().is_empty());
    assert_eq!(server.count(), 0);
}

#[test]
fn a_new_draft_buys_what_reads_it_for_that_row_alone() {
    let server = Server::plain();
    let workspace = ready(&server, 10);
    workspace.run(&[]).code(0);
    server.take();
    workspace.edit("data/rows.jsonl", "question 3", "another question");
    let plan = workspace.plan(&[]).code(0).json();
    let node = |name: &str| plan["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap().clone();
    // What follows a draft that is not bought yet is an upper bound.
    assert_eq!(
        (node("final.tuned")["state"].as_str(), node("final.tuned")["calls"].as_u64()),
        (Some("maybe"), Some(1))
    );
    workspace.run(&[]).code(0);
    // Two drafts, two finals, and two comparisons in two orders.
    assert_eq!(server.count(), 2 + 2 + 4);
    assert_eq!(workspace.show("final.tuned").len(), 10);
}

#[test]
fn models_are_compared_with_a_node_of_another_stage() {
    let server = Server::plain();
    let workspace = ready(&server, 4);
    let run = workspace.run(&[]).code(0).json();
    let duels = &run["summary"]["duel"];
    assert_eq!(duels["base"]["win_rate"]["n"], 4);
    assert_eq!(duels["tuned"]["win_rate"]["n"], 4, "the model itself is compared with what it said before");
    let shown: serde_json::Value = serde_json::from_str(&workspace.show("duel.tuned")[0]).unwrap();
    assert_eq!(shown["baseline"], "m-tuned says Q: question 0");
    assert_eq!(shown["completion"], "m-tuned says Better: m-tuned says Q: question 0");
}

#[test]
fn a_row_without_a_draft_is_missing_and_not_asked() {
    let server = Server::start(|_, body, _| match prompt(body).as_str() {
        "Q: question 2" => super::support::Reply::Raw(400, Vec::new(), "{}".to_owned()),
        _ => super::support::Reply::Text(super::support::default_reply(body)),
    });
    let workspace = ready(&server, 40);
    let run = workspace.run(&[]).code(0).json();
    let node = |name: &str| run["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap().clone();
    assert_eq!((node("draft.tuned")["failed"].as_u64(), node("final.tuned")["failed"].as_u64()), (Some(1), Some(0)));
    assert_eq!((node("final.tuned")["missing"].as_u64(), node("final.tuned")["calls"].as_u64()), (Some(1), Some(39)));
    assert_eq!(run["summary"]["exact"]["tuned"]["exact_match"]["missing"], 1);
}

#[test]
fn what_cannot_be_chained_is_told() {
    let server = Server::plain();
    let workspace = ready(&server, 3);
    for (from, to, said) in [
        ("{{ inputs.draft.completion }}", "{{ inputs.drafts.completion }}", "it reads no stage `drafts`"),
        ("{{ inputs.draft.completion }}", "{{ row.question }}", "nothing here reads what draft said"),
        ("Q: {{ row.question }}", "Q: {{ inputs.rows.question }}", "`rows` is a dataset"),
        ("baseline: draft.tuned", "baseline: draft.tunde", "`draft` has no model `tunde` to compare with"),
        ("baseline: draft.tuned", "baseline: drafts.tuned", "there is no stage `drafts`"),
        ("baseline: draft.tuned", "baseline: exact.tuned", "makes no completions to compare with"),
        ("input: draft", "input: final", "stages read each other in a circle: final → final"),
    ] {
        workspace.write("pipelines/p.yaml", SPEC.replace("URL", &server.url).replace(from, to));
        let checked = workspace.etalon(&["check", "p"]);
        let all = format!("{}{}", checked.stdout, checked.stderr);
        assert!(all.contains(said), "{to}:\n{all}");
    }
}

#[test]
fn stages_of_one_dataset_stand_side_by_side_in_one_table() {
    let server = Server::plain();
    let workspace = ready(&server, 4);
    workspace.edit(
        "pipelines/p.yaml",
        "exact: { kind: metric, input: final,",
        "both: { kind: metric, input: [draft, final], reference: \"{{ model }} says Q: {{ row.question }}\", metrics: [contains] }\n  exact: { kind: metric, input: final,",
    );
    let gates = "gates: [\"both.draft.tuned.contains >= both.final.base.contains\"]\n";
    workspace.edit("pipelines/p.yaml", "models:\n", &format!("{gates}models:\n"));
    let run = workspace.run(&[]).code(0).json();
    let both = run["summary"]["both"].as_object().unwrap();
    let columns: Vec<&String> = both.keys().collect();
    assert_eq!(columns, ["draft.base", "draft.tuned", "final.base", "final.tuned"]);
    // The reference names the model alone, and only the drafts of `tuned` and `base` say it as it is.
    assert_eq!(
        (&both["draft.tuned"]["contains"]["value"], &both["final.base"]["contains"]["n"]),
        (&1.0.into(), &4.into())
    );
    let text = workspace.etalon(&["run", "p"]).code(0).stdout;
    assert!(text.contains("draft.base") && text.contains("final.tuned"), "{text}");
    let shown: Vec<String> = workspace.show("both.final.tuned");
    assert!(shown[0].contains("\"reference\":\"tuned says Q: question 0\""), "{}", shown[0]);
    // Stages over different datasets are not comparable.
    workspace.edit("pipelines/p.yaml", "stages:\n", "stages:\n  others: { kind: dataset, path: data/rows.jsonl, id: key }\n  other: { kind: inference, input: others, models: [base], prompt: \"{{ row.question }}\" }\n");
    workspace.edit("pipelines/p.yaml", "[draft, final]", "[draft, other]");
    let checked = workspace.etalon(&["check", "p"]).code(2);
    assert!(checked.stderr.contains("stages that stand side by side answer one dataset"), "{}", checked.stderr);
}
