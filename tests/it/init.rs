//! `init`: a workspace that runs offline at once; nothing is ever overwritten.

use super::support::Workspace;

#[test]
fn every_template_runs_at_once_and_is_cached_then() {
    for name in ["ab", "classify", "json", "judge"] {
        let workspace = Workspace::new();
        let said = workspace.etalon(&["init", "--template", name]).code(0).stdout;
        assert!(said.contains(&format!("wrote  pipelines/{name}.yaml")) && said.contains("etalon run"), "{said}");
        let checked = workspace.etalon(&["check"]).code(0);
        assert!(checked.stdout.contains("no problems"), "{name}: {}{}", checked.stdout, checked.stderr);
        let run = workspace.etalon(&["run", name, "--format", "json"]).code(0);
        let gates = run.json()["gates"].clone();
        assert!(
            gates.as_array().unwrap().iter().all(|gate| gate["verdict"] == "PASS" || gate["verdict"] == "UNPROVEN"),
            "{name}: {gates}"
        );
        let coverage = run.json()["nodes"].as_array().unwrap().iter().all(|node| node["missing"] == 0);
        assert!(coverage, "{name}: {}", run.stdout);
        assert!(workspace.etalon(&["run", name, "--format", "json"]).code(0).ran().is_empty());
    }
}

#[test]
fn what_is_there_is_kept() {
    let workspace = Workspace::new();
    workspace.write("pipelines/ab.yaml", "mine").write("etalon.toml", "cache = \"elsewhere\"\n");
    let said = workspace.etalon(&["init"]).code(0).stdout;
    assert!(said.contains("kept   pipelines/ab.yaml") && said.contains("wrote  data/ab/rows.jsonl"), "{said}");
    assert_eq!(workspace.read("pipelines/ab.yaml"), "mine");
    assert_eq!(workspace.read("etalon.toml"), "cache = \"elsewhere\"\n");
    // A second template can be added beside the first.
    workspace.etalon(&["init", "--template", "classify"]).code(0);
    workspace.etalon(&["run", "classify"]).code(0);
    let named = Workspace::new();
    named.etalon(&["init", "--workspace", "new/place", "--format", "json"]).code(0);
    named.etalon(&["run", "ab", "--workspace", "new/place"]).code(0);
}
