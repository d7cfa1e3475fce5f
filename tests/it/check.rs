//! `check`: every problem, with its place and a help that solves it. A fixture per message.
//!
//! A fixture `tests/check/NAME.yaml` is a pipeline; what `check` says of it is its snapshot. Fixtures
//! share the data and templates of `tests/check/`.

use std::time::{Duration, Instant};

use super::support::{Workspace, files};

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace
        .write("etalon.toml", "[models.shared]\nprovider = \"scripted\"\nreply = \"x\"\n")
        .write(
            "data/rows.jsonl",
            "{\"key\": 1, \"question\": \"a\", \"gold\": \"b\"}\n{\"key\": 2, \"question\": \"c\", \"extra\": 1}\n",
        )
        .write("templates/ask.j2", "Q: {{ row.question }}")
        .write("templates/broken.j2", "line one\n{% if row.question %}\nnever ends")
        .write("templates/typo.j2", "{{ row.qestion }}")
        .write("templates/outer.j2", "{% include 'typo.j2' %}");
    workspace
}

#[test]
fn every_message_has_its_fixture() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    let mut seen = 0;
    for file in
        files(&directory).into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
    {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let workspace = workspace();
        workspace.write("pipelines/p.yaml", std::fs::read(&file).unwrap());
        let start = Instant::now();
        let ran = workspace.etalon(&["check", "pipelines/p.yaml"]);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
        assert_eq!(ran.code, if name.starts_with("ok_") { 0 } else { 2 }, "{name}:\n{}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{name}:\n{}", ran.stderr);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(directory.join("snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!(name.clone(), ran.stderr));
        let json = workspace.etalon(&["check", "pipelines/p.yaml", "--format", "json"]).json();
        assert!(
            json["problems"]
                .as_array()
                .unwrap()
                .iter()
                .all(|problem| problem["code"].is_string() && problem["message"].is_string())
        );
        assert!(!workspace.path("cache").exists(), "{name}: check writes nothing");
        seen += 1;
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn hostile_specs_end_soon() {
    for (name, text) in [
        ("brackets", "[".repeat(100_000)),
        ("bomb", {
            let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
            for level in 1..12 {
                let inner = vec![format!("*a{}", level - 1); 10].join(", ");
                text.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
            }
            text
        }),
        ("huge", "# comment\n".repeat(10_000_000)),
        ("deep", (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("binary", "\u{0}\u{1}\u{2}".to_owned()),
        ("empty", String::new()),
        (
            "chain",
            format!(
                "etalon: 1\nname: p\nstages:\n  rows: {{kind: dataset, rows: [{{a: 1}}]}}\n  x: {{kind: inference, input: rows, model: shared, prompt: \"{{{{ 1{} }}}}\"}}\n",
                "+1".repeat(30_000)
            ),
        ),
    ] {
        let workspace = workspace();
        workspace.write("pipelines/p.yaml", text);
        let start = Instant::now();
        let ran = workspace.etalon(&["check", "pipelines/p.yaml"]);
        assert!(start.elapsed() < Duration::from_secs(5), "{name}: {:?}", start.elapsed());
        assert!(ran.code == 2 || name == "chain" && ran.code == 0, "{name} {}: {}", ran.code, ran.stderr);
        assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("overflow"), "{name}: {}", ran.stderr);
    }
}
