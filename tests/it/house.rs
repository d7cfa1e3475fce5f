//! Rules of the house: layers, headers, tables, shipped pipelines.

use std::collections::{BTreeMap, BTreeSet};
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
    &["compare", "diagnose", "training"],
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

/// Returns the source files, by the module that each is: `stage::judge::node`.
fn modules() -> Vec<(String, PathBuf, String)> {
    let source = root().join("src");
    let of = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let relative = file.strip_prefix(&source).unwrap().with_extension("");
        let names: Vec<&str> = relative.iter().map(|name| name.to_str().unwrap()).collect();
        let names = names.strip_suffix(&["mod"]).unwrap_or(&names);
        (names.join("::"), file.clone(), text)
    };
    files(&source).into_iter().map(of).collect()
}

/// Returns a file without the tests at its end.
fn without_tests(text: &str) -> &str {
    ["mod tests {", "pub(super) mod testing {"]
        .iter()
        .fold(text, |text, head| text.split(&format!("#[cfg(test)]\n{head}")).next().unwrap())
}

/// Returns what a file uses: of `use crate::a::{b, c::d};` and `use super::b;` every path, as one from the root.
/// What a `mod.rs` takes from its own members to offer it (`pub use`) is no use.
fn used(module: &str, is_directory: bool, text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for statement in without_tests(text).split(';') {
        let statement = statement.rsplit("\n\n").next().unwrap();
        let lines = statement.lines().filter(|line| !line.trim_start().starts_with("//"));
        let statement: String = lines.flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
        let Some((visibility, path)) = statement.split_once("use ") else { continue };
        let is_offered = visibility.starts_with("pub");
        if !visibility.is_empty() && !is_offered {
            continue;
        }
        let own: Vec<&str> = module.split("::").collect();
        let parent = if is_directory { own.as_slice() } else { &own[..own.len() - 1] };
        let path = match path.split_once("::") {
            Some(("crate", rest)) => rest.to_owned(),
            Some(("self", rest)) => [parent.join("::"), rest.to_owned()].join("::"),
            Some(("super", rest)) => {
                let (mut above, mut rest) = (if is_directory { &own[..own.len() - 1] } else { parent }, rest);
                while let Some(further) = rest.strip_prefix("super::") {
                    (above, rest) = (&above[..above.len() - 1], further);
                }
                [above.join("::"), rest.to_owned()].join("::").trim_start_matches("::").to_owned()
            }
            // A member of this very module.
            Some((_, _)) if is_directory && !is_offered => [parent.join("::"), path.to_owned()].join("::"),
            _ => continue,
        };
        expand("", &path, &mut paths);
    }
    paths
}

/// Writes out `a::{b, c::{d, e}}`.
fn expand(before: &str, path: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = path.split_once('{') else {
        return paths.push(format!("{before}{path}").replace(' ', ""));
    };
    let inner = rest.rsplit_once('}').unwrap().0;
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{before}{head}"), inner[start..at].trim(), paths);
                start = at + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn no_two_files_need_each_other() {
    let modules = modules();
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, file, text) in &modules {
        let is_directory = file.ends_with("mod.rs");
        for path in used(module, is_directory, text) {
            // The file that a path leads into: the longest module that it begins with.
            let is_into = |name: &&str| path == **name || path.starts_with(&format!("{name}::"));
            let found = modules.iter().map(|(name, ..)| name.as_str()).filter(is_into).max_by_key(|name| name.len());
            graph.entry(module).or_default().extend(found.filter(|found| *found != module));
        }
    }
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 500, "uses are found");
    // A circle is what is left once everything that needs nothing more is taken out.
    let mut left: BTreeMap<&str, BTreeSet<&str>> = graph.clone();
    loop {
        let names: BTreeSet<&str> = left.keys().copied().collect();
        left.values_mut().for_each(|needs| needs.retain(|need| names.contains(need)));
        let before = left.len();
        left.retain(|_, needs| !needs.is_empty());
        if left.len() == before {
            break;
        }
    }
    // What only leads to a circle is none of it.
    loop {
        let needed: BTreeSet<&str> = left.values().flatten().copied().collect();
        let before = left.len();
        left.retain(|name, _| needed.contains(name));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "circles among {left:#?}");
}

/// Lines of a function, and of a file without its tests.
const MOST_LINES: (usize, usize) = (80, 500);

#[test]
fn files_and_functions_stay_small() {
    let mut sizes = Vec::new();
    let mut too_long = Vec::new();
    for (module, file, text) in modules().into_iter().filter(|(module, ..)| !module.ends_with("tests")) {
        let code: Vec<&str> = without_tests(&text).lines().collect();
        sizes.push(code.len());
        if code.len() > MOST_LINES.1 {
            too_long.push(format!("{}: {} lines", file.display(), code.len()));
        }
        for (start, line) in code.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            let words = line.trim_start().trim_start_matches("pub ").trim_start_matches("async ");
            let is_function = words.starts_with("fn ") || words.starts_with("pub(") && words.contains(") fn ");
            if !is_function || line.ends_with(';') {
                continue;
            }
            let end = code[start..].iter().position(|line| *line == format!("{indent}}}"));
            let lines = end.map_or(0, |end| end + 1);
            if lines > MOST_LINES.0 {
                too_long.push(format!("{module}: {} has {lines} lines", words.split('(').next().unwrap()));
            }
        }
    }
    assert!(too_long.is_empty(), "{too_long:#?}");
    sizes.sort_unstable();
    let (median, p90) = (sizes[sizes.len() / 2], sizes[sizes.len() * 9 / 10]);
    assert!(median <= 150 && p90 <= 350, "median {median}, nine in ten {p90}");
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
        (
            "provider",
            &[
                "mod.rs",
                "batch.rs",
                "http.rs",
                "local.rs",
                "network.rs",
                "pace.rs",
                "pool.rs",
                "probe.rs",
                "quota.rs",
                "reach.rs",
                "remote.rs",
                "reply.rs",
                "secret.rs",
                "tempo.rs",
            ],
        ),
        ("metric", &["mod.rs", "settings.rs", "tally.rs", "value.rs"]),
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

/// The header of a directory that lists files lists all of them; members of a table in the code stand there.
#[test]
fn headers_list_every_file() {
    let mut listed = 0;
    for (module, file, text) in modules() {
        let header: String = text.lines().filter(|line| line.starts_with("//!")).collect();
        if !file.ends_with("mod.rs") || !header.contains("|---") {
            continue;
        }
        for line in text.lines().filter(|line| line.ends_with(';')) {
            let Some(member) = line.trim_end_matches(';').split_once("mod ").map(|(_, member)| member) else {
                continue;
            };
            let is_named = [format!("`{member}`"), format!("`{member}/`")].iter().any(|name| header.contains(name));
            // A member of a table in the code: a metric, a command.
            let is_entry =
                [format!("{member}::ENTRY"), format!("{member}::run")].iter().any(|item| text.contains(item));
            assert!(is_named || is_entry || member == "tests", "{module}: the header does not list `{member}`");
            listed += 1;
        }
    }
    assert!(listed > 100, "only {listed} files are looked at");
}

#[test]
fn nothing_is_left_over() {
    for file in files(&root().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["todo!", "unimplemented!", "dbg!", "FIXME", "TODO"] {
            assert!(!text.contains(word), "{}: {word}", file.display());
        }
        let code = without_tests(&text);
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
