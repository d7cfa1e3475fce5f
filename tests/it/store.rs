//! `etalon cache`: what it holds and cost, what is damaged, what can go.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use etalon::store::Store;

use super::support::{Server, Workspace, files, standard};

const DAY: u64 = 24 * 3600;

/// Makes every file below a folder so many days older.
fn age(folder: &Path, days: u64) {
    for file in files(folder) {
        File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(SystemTime::now() - Duration::from_secs(days * DAY))
            .unwrap();
    }
}

fn priced(server: &Server, n: usize) -> Workspace {
    let workspace = standard(server, n);
    workspace.edit("pipelines/p.yaml", "revision: a,", "revision: a, price: { input: 1, output: 2 },");
    workspace
}

fn gc(workspace: &Workspace, arguments: &[&str]) -> Value {
    workspace.etalon(&[&["cache", "gc", "--format", "json"][..], arguments].concat()).code(0).json()
}

#[test]
fn what_the_cache_holds_and_cost_is_told() {
    let server = Server::plain();
    let workspace = priced(&server, 10);
    let ran = workspace.etalon(&["cache", "ls"]).code(2);
    assert!(ran.stderr.contains("no cache yet"), "{}", ran.stderr);
    let run = workspace.run(&[]).code(0).json();
    let bill: f64 = run["nodes"].as_array().unwrap().iter().filter_map(|node| node["cost_usd"].as_f64()).sum();
    let listed = workspace.etalon(&["cache", "ls", "--format", "json"]).code(0).json();
    let models = listed["completions"].as_array().unwrap();
    let cost: f64 = models.iter().map(|model| model["cost_usd"].as_f64().unwrap()).sum();
    assert!(bill > 0.0 && (cost - bill).abs() < 1e-9, "{cost} {bill}");
    let completions: u64 = models.iter().map(|model| model["completions"].as_u64().unwrap()).sum();
    assert_eq!((models.len(), completions as usize), (3, server.count()));
    assert!(models.iter().any(|model| model["model"] == "m-tuned" && model["named_by"][0] == "p: tuned"));
    let bytes: u64 = listed["holds"].as_array().unwrap().iter().map(|holding| holding["bytes"].as_u64().unwrap()).sum();
    let on_disk: u64 = files(&workspace.path("cache")).iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= on_disk && bytes > on_disk / 2, "{bytes} of {on_disk}");
    let text = workspace.etalon(&["cache", "ls"]).code(0).stdout;
    assert!(text.contains("m-tuned (p: tuned)") && text.contains("10 completions"), "{text}");
}

#[test]
fn garbage_goes_and_nothing_is_bought_again() {
    let server = Server::plain();
    let workspace = priced(&server, 10);
    workspace.run(&[]).code(0);
    workspace.edit("templates/ask.j2", "Q:", "Question:");
    workspace.run(&[]).code(0);
    server.count();
    let (first, second) = {
        let mut runs = files(&workspace.path("runs"));
        (runs.remove(0), runs.remove(0))
    };
    // Everything is reached from the two runs, and everything is young.
    age(&workspace.path("cache"), 30);
    let before = files(&workspace.path("cache")).len();
    assert_eq!(gc(&workspace, &["--dry-run"])["results"]["manifests"], 0);
    let kept = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    assert_eq!(gc(&workspace, &["--grace", "60d"])["results"]["manifests"], 0);
    let told = gc(&workspace, &["--dry-run"]);
    assert!(told["results"]["manifests"].as_u64() >= Some(5) && told["results"]["bytes"].as_u64() > Some(0), "{told}");
    assert_eq!(files(&workspace.path("cache")).len(), before, "a dry run removes nothing");
    let text = workspace.etalon(&["cache", "gc"]).code(0).stdout;
    assert!(text.contains("gone:") && text.contains("nothing of it is bought again"), "{text}");
    assert_eq!(gc(&workspace, &[])["results"]["manifests"], 0);
    // The run that is left is a hit, and the other one is made again from what was bought.
    assert!(workspace.run(&[]).code(0).ran().is_empty());
    workspace.edit("templates/ask.j2", "Question:", "Q:");
    assert!(!workspace.run(&[]).code(0).ran().is_empty());
    assert_eq!(server.count(), 0);
    // A run that cannot be read may lead to anything.
    fs::write(&first, &kept[..kept.len() / 2]).unwrap();
    workspace.etalon(&["cache", "gc"]).code(2);
    assert!(second.exists());
}

#[test]
fn completions_go_only_when_asked_for_twice() {
    let server = Server::plain();
    let workspace = priced(&server, 5);
    workspace.run(&[]).code(0);
    workspace.edit("pipelines/p.yaml", "model: m-tuned, revision: b", "model: m-next, revision: b");
    workspace.run(&[]).code(0);
    server.count();
    let told = gc(&workspace, &["--completions"]);
    assert_eq!(told["completions"]["models"].as_array().unwrap().len(), 0, "they are young: {told}");
    let asked = ["--completions", "--grace", "0s"];
    let told = gc(&workspace, &asked);
    assert_eq!(told["completions"]["models"][0]["model"], "m-tuned");
    assert_eq!(told["completions"]["removed"], false);
    let count = || fs::read_dir(workspace.path("cache/completions")).unwrap().count();
    assert_eq!(count(), 4);
    gc(&workspace, &[&asked[..], &["--yes", "--dry-run"]].concat());
    assert_eq!(count(), 4);
    gc(&workspace, &[&asked[..], &["--yes"]].concat());
    assert_eq!(count(), 3);
    assert!(workspace.run(&[]).code(0).ran().is_empty());
    workspace.edit("pipelines/p.yaml", "model: m-next", "model: m-tuned");
    fs::remove_dir_all(workspace.path("cache/manifests")).unwrap();
    workspace.run(&["--only", "answers.tuned"]).code(0);
    assert_eq!(server.count(), 5, "what is gone is bought again");
}

#[test]
fn a_cache_that_others_share_is_not_collected_by_one_alone() {
    let server = Server::plain();
    let shared = tempfile::tempdir().unwrap();
    let (one, other) = (priced(&server, 4), priced(&server, 4));
    other.edit("templates/ask.j2", "Q:", "Other:");
    for workspace in [&one, &other] {
        workspace.write("etalon.toml", format!("cache = {:?}\n", shared.path().join("cache")));
        workspace.run(&[]).code(0);
    }
    age(shared.path(), 30);
    let ran = one.etalon(&["cache", "gc"]).code(2);
    assert!(ran.stderr.contains("--also"), "{}", ran.stderr);
    let other_root = other.path("");
    gc(&one, &["--also", other_root.to_str().unwrap()]);
    assert!(other.run(&[]).code(0).ran().is_empty());
    gc(&one, &["--also", "."]);
    assert!(!other.run(&[]).code(0).ran().is_empty());
}

#[test]
fn a_folder_that_is_no_cache_is_neither_used_nor_cleared() {
    let server = Server::plain();
    let workspace = priced(&server, 2);
    workspace.write("etalon.toml", "cache = \"data\"\n");
    let ran = workspace.etalon(&["run", "p"]).code(4);
    assert!(ran.stderr.contains("holds other files"), "{}", ran.stderr);
    assert_eq!(files(&workspace.path("data")).len(), 1);
    workspace.write("data/layout", "1\n");
    workspace.etalon(&["cache", "clear", "--yes"]).code(4);
    assert_eq!(files(&workspace.path("data")).len(), 2);
    fs::remove_file(workspace.path("data/layout")).unwrap();
    workspace.write("etalon.toml", "cache = \"\"\n");
    workspace.etalon(&["run", "p"]).code(2);
    workspace.write("etalon.toml", "");
    workspace.run(&[]).code(0);
    let ran = workspace.etalon(&["cache", "clear"]).code(2);
    assert!(ran.stdout.contains("m-tuned") && ran.stderr.contains("--yes"), "{}", ran.stderr);
    assert!(workspace.path("cache/layout").exists());
    workspace.etalon(&["cache", "clear", "--yes"]).code(0);
    assert_eq!(fs::read_dir(workspace.path("cache")).unwrap().count(), 0);
    server.count();
    workspace.run(&[]).code(0);
    assert!(server.count() > 0);
}

/// Every class of bytes in the cache, flipped, cut off and removed: found by `verify`, and right after the next run.
#[test]
fn every_damage_is_found_and_healed_or_named() {
    let server = Server::plain();
    let workspace = priced(&server, 6);
    let right = workspace.run(&[]).code(0).json()["summary"].clone();
    workspace.etalon(&["cache", "verify"]).code(0);
    server.count();
    let kinds = ["artifacts", "manifests", "contrasts", "sources", "completions"];
    let mut tried = 0;
    for kind in kinds {
        let all = files(&workspace.path("cache").join(kind));
        assert!(kind == "contrasts" || !all.is_empty(), "{kind}");
        let picked: Vec<PathBuf> = if kind == "completions" { all } else { all.into_iter().take(4).collect() };
        for path in picked {
            let Ok(whole) = fs::read(&path) else { continue };
            let places = [0, whole.len() / 3, whole.len() / 2, whole.len() - 2];
            let damaged = places.map(|at| {
                let mut bytes = whole.clone();
                bytes[at] ^= 4;
                bytes
            });
            let cut = [whole[..whole.len() - 1].to_vec(), whole[..whole.len() / 2].to_vec()];
            for bytes in damaged.into_iter().chain(cut) {
                // A line of JSON without the newline at its end is whole all the same.
                let is_json = matches!(kind, "completions" | "manifests" | "contrasts");
                // Nor does a log tell that whole lines at its end are gone.
                let ends_whole =
                    |end: usize| bytes.len() == end && whole[end - 1] == b'\n' || whole.get(end) == Some(&b'\n');
                let is_cut = kind == "completions" && bytes.len() < whole.len() && ends_whole(bytes.len());
                let is_harmless = is_json && bytes.len() + 1 == whole.len() || is_cut;
                fs::write(&path, &bytes).unwrap();
                let verified = workspace.etalon(&["cache", "verify", "--format", "json"]);
                let found = verified.json()["damage"].as_array().unwrap().len();
                if !is_harmless {
                    assert_eq!((verified.code, found), (3, 1), "{kind} {}: {}", path.display(), verified.stdout);
                }
                let again = workspace.run(&[]).code(0).json();
                assert_eq!(again["summary"], right, "{kind} {}", path.display());
                if kind != "completions" {
                    assert_eq!(server.count(), 0, "{kind}: nothing is bought again");
                    workspace.etalon(&["cache", "verify"]).code(0);
                }
                fs::write(&path, &whole).unwrap();
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn a_new_cache_may_be_opened_by_many_at_once() {
    for _ in 0..60 {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("cache");
        let start = std::sync::Barrier::new(8);
        let open = || {
            start.wait();
            Store::open(&cache).map(drop)
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        assert!(cache.join("layout").exists() && cache.join("CACHEDIR.TAG").exists());
    }
    // Whatever a killed process leaves of a new cache, the tag stands in it.
    let root = tempfile::tempdir().unwrap();
    Store::open(root.path()).unwrap();
    fs::remove_file(root.path().join("layout")).unwrap();
    Store::open(root.path()).unwrap();
}
