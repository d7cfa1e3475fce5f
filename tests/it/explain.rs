//! `why`, `plan --diff` and `graph`: what will run, and which difference causes it.

use super::support::{Server, standard};

#[test]
fn why_shows_lines_rows_and_values() {
    let server = Server::plain();
    let workspace = standard(&server, 30);
    assert!(workspace.etalon(&["why", "p", "quality.tuned"]).code(0).stdout.contains("no run had it before"));
    workspace.run(&[]).code(0);
    server.take();
    let hit = workspace.etalon(&["why", "p", "quality.tuned"]).code(0).stdout;
    assert!(hit.starts_with("quality.tuned is cached: nothing that it depends on has changed"), "{hit}");

    // A line of a template changes.
    workspace.edit("templates/grade.j2", "{{ completion }}", "{{ completion }}\nBe strict.");
    let text = workspace.etalon(&["why", "p", "quality.tuned"]).code(0).stdout;
    for line in [
        "quality.tuned will run: template grade.j2 changed",
        "template grade.j2\n   {{ completion }}\n",
        "\n  +Be strict.\n",
    ] {
        assert!(text.contains(line), "{line:?}\n{text}");
    }
    workspace.edit("templates/grade.j2", "\nBe strict.", "");

    // Rows change; only those count whose changed column is read.
    workspace.edit("data/rows.jsonl", "question 7\"", "another question\"").edit("data/rows.jsonl", "note 9\"", "x\"");
    workspace.write(
        "data/rows.jsonl",
        workspace.read("data/rows.jsonl") + "{\"key\": \"new\", \"question\": \"q\", \"gold\": \"g\"}\n",
    );
    let text = workspace.etalon(&["why", "p", "answers.base"]).code(0).stdout;
    for line in ["rows of rows (columns read: question)", "1 changed: r0007\n", "1 added: new\n"] {
        assert!(text.contains(line), "{line:?}\n{text}");
    }
    // The nodes behind are `maybe`; a difference of their own is shown all the same.
    workspace.edit("pipelines/p.yaml", "tone: Is it kind?", "tone: Is it very kind?");
    let text = workspace.etalon(&["why", "p", "quality.base"]).code(0).stdout;
    assert!(text.contains("quality.base may run: it depends on answers.base"), "{text}");
    assert!(text.contains("Is it very kind?"), "{text}");

    // Values are shown with what they were.
    workspace.edit("pipelines/p.yaml", "temperature: 0", "temperature: 1");
    let json = workspace.etalon(&["why", "p", "answers", "--format", "json"]).code(0).json();
    assert_eq!(json["nodes"].as_array().unwrap().len(), 2);
    let options =
        json["nodes"][0]["changes"].as_array().unwrap().iter().find(|change| change["name"] == "base.options").unwrap();
    assert_eq!(
        (options["before"]["temperature"].as_u64(), options["after"]["temperature"].as_u64()),
        (Some(0), Some(1))
    );
    assert_eq!(server.count(), 0);
    assert!(workspace.etalon(&["why", "p", "qualty"]).code(2).stderr.contains("did you mean `quality`?"));
}

#[test]
fn a_plan_tells_what_changed_since_a_run() {
    let server = Server::plain();
    let workspace = standard(&server, 5);
    workspace.run(&["--label", "before"]).code(0);
    workspace.edit("templates/grade.j2", "GRADE", "GRADE well");
    workspace.run(&[]).code(0);
    workspace.edit("pipelines/p.yaml", "  duel:", "  duel2:");
    let text = workspace.etalon(&["plan", "p", "--diff", "before"]).code(0).stdout;
    assert!(text.starts_with("since run ") && text.contains(" (before)\n"), "{text}");
    for line in ["changed quality.base", "new     duel2.tuned", "gone    duel.tuned", "same    5 nodes"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let json = workspace.plan(&["--diff", "last"]).code(0).json();
    let state = |name: &str| {
        let nodes = json["diff"]["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["node"] == name).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (state("quality.base"), state("duel.tuned"), state("duel2.tuned")),
        ("same".into(), "gone".into(), "new".into())
    );
    assert!(workspace.plan(&["--diff", "befor"]).code(2).stderr.contains("did you mean `before`?"));
}

#[test]
fn a_graph_is_drawn_three_ways() {
    let server = Server::plain();
    let workspace = standard(&server, 1);
    let tree = workspace.etalon(&["graph", "p"]).code(0).stdout;
    assert_eq!(
        tree,
        "rows  dataset\n└─ answers  inference by base, tuned\n   ├─ exact  metric\n   ├─ quality  judge by grader\n   └─ duel  judge by grader\n"
    );
    let mermaid = workspace.etalon(&["graph", "p", "--as", "mermaid"]).code(0).stdout;
    assert!(mermaid.starts_with("flowchart LR\n") && mermaid.contains("s_answers --> s_duel"), "{mermaid}");
    let dot = workspace.etalon(&["graph", "p", "--as", "dot"]).code(0).stdout;
    assert!(dot.contains("\"rows\" -> \"answers\";"), "{dot}");
    let json = workspace.etalon(&["graph", "p", "--format", "json"]).code(0).json();
    assert!(
        json["edges"].as_array().unwrap().contains(&serde_json::json!({"from": "answers.base", "to": "duel.tuned"}))
    );
}
