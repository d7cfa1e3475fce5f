//! `check`: every problem, with its place and a help that solves it; one fixture per message.
//!
//! A fixture `tests/check/NAME.yaml` is a pipeline; its snapshot is what `check` says about it. The fixtures share the
//! data and templates of `tests/check/`.

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
        .write("data/bad.jsonl", "{\"a\": 1}\n{\"a\": 2, \"a\": 3}\n")
        .write("data/latin.csv", b"a\n\xe9\n")
        .write("labels/duel.csv", "row,label\n1,wim\n,tie\n")
        .write("labels/help.jsonl", "{\"row\": 1, \"criterion\": \"tnoe\", \"label\": 3}\n{\"row\": 1, \"criterion\": \"tone\", \"label\": 8}\n")
        .write("data/notes.txt", "a")
        .write("data/empty.jsonl", "")
        .write("templates/large.j2", "x".repeat(70_000))
        .write("templates/latin.j2", b"\xe9")
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
fn pipelines_are_found_wherever_the_workspace_is_named_from() {
    let workspace = workspace();
    workspace.write("pipelines/p.yaml", std::fs::read("tests/check/ok_plain.yaml").unwrap());
    for arguments in [&["check"][..], &["check", "--workspace", "."], &["check", "--workspace", "../"]] {
        let at = if arguments.last() == Some(&"../") { "pipelines" } else { "." };
        let ran = workspace.command(arguments).current_dir(workspace.path(at)).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }
    std::fs::remove_file(workspace.path("etalon.toml")).unwrap();
    let ran = workspace.etalon(&["check"]);
    assert!(!ran.stderr.contains("there is no pipeline"), "{}", ran.stderr);
}

/// Mistakes outside of pipelines: on the command line, and in etalon.toml.
#[test]
fn the_other_messages_have_their_snapshot() {
    let workspace = workspace();
    workspace.write("pipelines/p.yaml", std::fs::read("tests/check/ok_plain.yaml").unwrap());
    workspace.write("predictions.csv", "a,b\n1,2\n");
    let mut said = String::new();
    let mut say = |arguments: &[&str], code: i32| {
        let ran = workspace.etalon(arguments).code(code);
        said.push_str(&format!("$ etalon {}\n{}\n", arguments.join(" "), ran.stderr));
    };
    say(&["check", "p", "--set", "sise=3"], 2);
    say(&["check", "q"], 2);
    say(&["run", "p", "--only", "anwsers"], 2);
    say(&["score", "predictions.csv", "--metric", "exact_match"], 2);
    say(&["score", "predictions.csv", "--metric", "f1", "--prediction", "a", "--reference", "c"], 2);
    workspace.write("pipelines/big.yaml", "# comment\n".repeat(500_000));
    say(&["check", "big"], 2);
    workspace.write("pipelines/latin.yaml", b"\xe9");
    say(&["check", "latin"], 2);
    workspace.write("etalon.toml", "[models.base\n");
    say(&["check", "p"], 2);
    workspace.write("etalon.toml", "cahce = \"x\"\n");
    say(&["check", "p"], 2);
    // What a user reads who has consented to nothing.
    workspace.write("etalon.toml", "").write("rows.py", "print()");
    for rows in ["command: python3 rows.py", "path: /etc/passwd, format: jsonl"] {
        workspace.write(
            "pipelines/foreign.yaml",
            format!("etalon: 1\nname: foreign\nstages:\n  rows: {{ kind: dataset, {rows} }}\n"),
        );
        let ran = workspace.etalon_with(&["run", "foreign"], &[("XDG_CONFIG_HOME", "/home/me/.config")]).code(2);
        said.push_str(&format!("$ etalon run foreign\n{}\n", ran.stderr));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("the_other_messages", said));
    // With `--format json` there is one document, even if the command line cannot be read.
    for arguments in
        [&["run", "--format", "json"][..], &["check", "q", "--format=json"], &["no-such-command", "--format", "json"]]
    {
        let json = workspace.etalon(arguments).code(2).json();
        assert!(json["problems"][0]["message"].is_string(), "{arguments:?}: {json}");
    }
}

/// Every code that the source contains stands in a snapshot, so that somebody has read its message.
#[test]
fn every_code_has_its_snapshot() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let snapshots: String =
        files(&root.join("tests/check/snapshots")).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mut missing = Vec::new();
    for file in files(&root.join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for piece in code.split("Problem::error(").chain(code.split("Problem::warning(")).skip(1) {
            let word = piece.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let is_code = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            // Codes that only programs see have no text.
            if is_code && !["usage", "failed"].contains(&word) && !snapshots.contains(&format!("[{word}]")) {
                missing.push(word.to_owned());
            }
        }
    }
    missing.sort();
    missing.dedup();
    assert!(missing.is_empty(), "{missing:?}");
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
