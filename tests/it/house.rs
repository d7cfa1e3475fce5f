//! Rules of the house: layers, headers, tables, shipped pipelines.

use std::path::{Path, PathBuf};

use super::support::{Ran, Workspace, files};

/// The layers from the bottom up. A module uses lower lines only; modules of one line do not know each other.
const LAYERS: &[&[&str]] = &[
    &["digest", "outcome", "row", "score", "problem"],
    &["files", "process", "net"],
    &["stats", "text", "encoder"],
    &["template"],
    &["spec"],
    &["dataset", "provider", "metric", "store", "record"],
    &["label"],
    &["stage"],
    &["plan"],
    &["execute"],
    &["report"],
    &["cli"],
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| panic!("src/{module} stands in no layer"))
}

#[test]
fn modules_use_only_what_stands_below_them() {
    for file in files(&root().join("src")) {
        let relative = file.strip_prefix(root().join("src")).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if used == module || LAYERS.iter().all(|layer| !layer.contains(&used.as_str())) {
                    continue;
                }
                let (mine, theirs) = (layer(module), layer(&used));
                // The modules of the lowest line may use each other.
                assert!(
                    theirs < mine || mine == 0 && theirs == 0,
                    "{}:{}: {module} uses {used}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for file in files(&root().join("src"))
        .into_iter()
        .chain(files(&root().join("tests/it")))
        .chain(files(&root().join("benches")))
    {
        if file.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//! "), "{} has no header", file.display());
        }
    }
}

#[test]
fn one_module_knows_the_yaml_crate() {
    for file in files(&root().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("serde_yaml::") || file.ends_with("spec/yaml.rs"), "{}", file.display());
    }
}

/// Every file of a directory with a table is in the table.
#[test]
fn tables_are_complete() {
    for (directory, others) in [
        ("dataset", &["mod.rs", "hub.rs"][..]),
        ("provider", &["mod.rs", "http.rs", "pool.rs", "probe.rs", "reach.rs", "remote.rs"]),
        ("metric", &["mod.rs", "settings.rs", "tally.rs"]),
        ("stage/judge/method", &["mod.rs", "pairs.rs", "tally.rs", "votes.rs"]),
    ] {
        let table = std::fs::read_to_string(root().join("src").join(directory).join("mod.rs")).unwrap();
        for entry in std::fs::read_dir(root().join("src").join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let name = name.as_str();
            let member = name.trim_end_matches(".rs");
            let is_listed =
                ["build", "open", "parse", "ENTRY"].iter().any(|item| table.contains(&format!("{member}::{item}")));
            assert!(others.contains(&name) || is_listed, "{directory}/{name} stands in no table");
        }
    }
}

#[test]
fn nothing_is_left_over() {
    for file in files(&root().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["todo!", "unimplemented!", "dbg!", "FIXME", "TODO"] {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        let is_test = file.ends_with("tests.rs");
        assert!(is_test || !code.contains(".unwrap()"), "{}: unwrap", file.display());
    }
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&file, target).unwrap();
    }
}

/// Returns a copy of the workspace in this repository.
fn shipped() -> Workspace {
    let workspace = Workspace::new();
    for directory in ["pipelines", "templates", "data", "labels"] {
        copy(&root().join(directory), &workspace.path(directory));
    }
    workspace.write("etalon.toml", std::fs::read(root().join("etalon.toml")).unwrap());
    workspace
}

#[test]
fn shipped_pipelines_check_clean_and_those_that_can_run_offline() {
    let workspace = shipped();
    let checked: Ran = workspace.etalon(&["check"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let run = workspace.etalon(&["run", "quickstart", "--format", "json"]).code(0);
    let document = run.json();
    assert_eq!(document["nodes"].as_array().unwrap().len(), 15);
    assert!(
        document["gates"]
            .as_array()
            .unwrap()
            .iter()
            .all(|gate| gate["verdict"] == "PASS" || gate["verdict"] == "UNPROVEN"),
        "{}",
        document["gates"]
    );
    let again = workspace.etalon(&["run", "quickstart", "--format", "json"]).code(0);
    assert!(again.ran().is_empty());
    assert_eq!(again.json()["summary"], document["summary"]);
    // The iteration that the README shows.
    workspace.edit("templates/judge/rubric.j2", "You grade one response", "You grade a single response");
    let mut ran = workspace.etalon(&["run", "quickstart", "--format", "json"]).code(0).ran();
    ran.sort();
    assert_eq!(ran, ["quality.base", "quality.ceiling", "quality.tuned"]);
}
