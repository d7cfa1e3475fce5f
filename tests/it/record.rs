//! Runs as documents: they can be read without their spec; newer ones, and files that are not runs, are named.

use etalon::record::{Records, read};
use etalon::report::{View, closing};

use super::support::{Server, Workspace, standard};

/// Returns a workspace that has run metrics with labels, a rubric and a comparison.
fn classified(server: &Server) -> Workspace {
    let workspace = standard(server, 30);
    workspace.edit(
        "pipelines/p.yaml",
        "    metrics: [exact_match]\n",
        "    metrics: { exact_match: , label: { metric: classification, prediction: \"{{ completion[-1:] }}\", reference: \"{{ row.key[-1:] }}\" } }\n    by: [gold]\n",
    );
    workspace
}

#[test]
fn a_run_is_tabled_from_its_file_alone() {
    let server = Server::plain();
    let workspace = classified(&server);
    let ran = workspace.etalon(&["run", "p", "--label", "first"]).code(0);
    // Neither spec nor data nor cache is needed.
    for gone in ["pipelines", "data", "templates", "cache"] {
        std::fs::remove_dir_all(workspace.path(gone)).unwrap();
    }
    let records = Records::new(&workspace.path(""), "p");
    let run = records.find("first").unwrap();
    let rendered = anstream::adapter::strip_str(&closing(&View::of(run), None, None, false)).to_string();
    assert_eq!(rendered.trim(), ran.stdout.trim());
    for name in ["last", "first", &run.run[..20]] {
        let reported = workspace.etalon(&["report", name]).code(0).stdout;
        assert!(reported.starts_with(&format!("run {} (first) of p, started ", run.run)), "{reported}");
        assert!(reported.contains(ran.stdout.trim()), "{reported}\n\n{}", ran.stdout);
    }
    let json = workspace.etalon(&["report", "--pipeline", "p", "--format", "json"]).code(0).json();
    assert_eq!(json, serde_json::to_value(run).unwrap());
    assert!(workspace.etalon(&["report", "frist"]).code(2).stderr.contains("did you mean `first`?"));
}

#[test]
fn a_run_describes_itself() {
    let server = Server::plain();
    let run = classified(&server).run(&[]).code(0).json();
    assert_eq!(run["models"]["base"]["role"], "baseline");
    assert_eq!(run["models"]["grader"], serde_json::json!({}));
    let stages: Vec<&str> = run["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!((stages[0], stages[1]), ("rows", "answers"));
    let exact = run["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "exact").unwrap();
    assert_eq!((exact["kind"].as_str(), exact["input"].as_str()), (Some("metric"), Some("answers")));
    let reading = |stage: &str, value: &str| {
        let reading = &run["values"][stage][value];
        ["unit", "direction", "rank"].map(|field| reading[field].as_str().unwrap_or_default().to_owned()).join(" ")
    };
    assert_eq!(reading("exact", "exact_match"), "fraction higher headline");
    assert_eq!(reading("exact", "label.f1_macro"), "fraction higher headline");
    assert_eq!(reading("exact", "label.accuracy"), "fraction higher part");
    assert_eq!(reading("quality", "mean"), "scale higher headline");
    assert_eq!(reading("quality", "tone"), "scale higher detail");
    assert_eq!(reading("duel", "position_consistency"), "rate higher diagnostic");
    assert_eq!(reading("duel", "sign_p"), "p_value none detail");
    // Every value that has a number has a reading.
    for (stage, summaries) in run["summary"].as_object().unwrap() {
        for (model, summary) in summaries.as_object().unwrap() {
            for value in summary.as_object().unwrap().keys().filter(|value| *value != "slices") {
                assert!(run["values"][stage].get(value).is_some(), "{stage}.{model}.{value}");
            }
        }
    }
}

#[test]
fn labels_are_shown_where_they_are_asked_for() {
    let server = Server::plain();
    let workspace = classified(&server);
    assert!(!workspace.etalon(&["run", "p"]).code(0).stdout.contains("precision"));
    let verbose = workspace.etalon(&["run", "p", "-v"]).code(0).stdout;
    let summary = workspace.etalon(&["show", "p", "exact", "--summary"]).code(0).stdout;
    for text in [&verbose, &summary] {
        assert!(text.contains("exact.tuned.label\n"), "{text}");
        assert!(text.contains("macro average") && text.contains("precision  recall"), "{text}");
        assert!(text.contains("gold \\ predicted") || text.contains("gold → predicted"), "{text}");
    }
    assert!(summary.starts_with("                   "), "{summary}");
    assert!(!summary.contains("quality"), "{summary}");
    let one = workspace.etalon(&["show", "p", "exact.base", "--summary", "--format", "json"]).code(0).json();
    assert!(one["summary"]["exact"].get("tuned").is_none());
    assert_eq!(one["values"]["exact"]["exact_match"]["rank"], "headline");
    assert!(one["tables"]["exact"]["base"]["label.confusion"].is_object());
    workspace.etalon(&["show", "p", "exact", "--summary", "--failed"]).code(2);
}

#[test]
fn newer_runs_and_files_that_are_none_are_named() {
    let server = Server::plain();
    let workspace = standard(&server, 5);
    workspace.run(&["--label", "mine"]).code(0);
    workspace.write("runs/20990101T000000Z-p-0001.json", r#"{"etalon": 2, "label": "theirs", "nodes": "elsewhere"}"#);
    workspace.write("runs/20200101T000000Z-p-0002.json", "{");
    workspace.write("runs/20200101T000000Z-other-0003.json", "{");
    let newer = "runs/20990101T000000Z-p-0001.json was written by a newer etalon (format 2; this one reads up to 1): update etalon";
    let damaged = "runs/20200101T000000Z-p-0002.json is no run: it is no JSON: ";
    // With nothing to do, no run is read.
    assert!(!workspace.run(&[]).code(0).stderr.contains("runs/2"));
    // Reasons compare with the last run that can be read; each file that cannot be read is named once.
    workspace.edit("templates/grade.j2", "GRADE", "GRADE IT");
    for arguments in [&["plan", "p"][..], &["why", "p", "quality"], &["run", "p"]] {
        let ran = workspace.etalon(arguments).code(0);
        for (said, is_told) in [(newer, true), (damaged, true), ("other-0003", false)] {
            assert_eq!(ran.stderr.matches(said).count(), usize::from(is_told), "{arguments:?} {said}\n{}", ran.stderr);
        }
        let all = ran.stdout + &ran.stderr;
        assert!(all.contains("template grade.j2"), "{arguments:?}\n{all}");
    }
    // A user who asks for the newer run is told that it cannot be read.
    for name in ["theirs", "20990101", "last"] {
        for arguments in [&["plan", "p", "--diff", name][..], &["report", name]] {
            let ran = workspace.etalon(arguments).code(2);
            assert!(ran.stderr.contains(newer), "{arguments:?}\n{}", ran.stderr);
        }
    }
    workspace.etalon(&["plan", "p", "--diff", "mine"]).code(0);
    workspace.etalon(&["report", "mine"]).code(0);
}

#[test]
fn what_the_first_etalon_wrote_is_read() {
    let server = Server::plain();
    let workspace = standard(&server, 5);
    let run = workspace.run(&["--label", "old"]).code(0);
    let file = format!("runs/{}.json", run.json()["run"].as_str().unwrap());
    let mut document: serde_json::Value = serde_json::from_str(&workspace.read(&file)).unwrap();
    for field in ["models", "stages", "values"] {
        document.as_object_mut().unwrap().remove(field).unwrap();
    }
    read(document.to_string().as_bytes()).unwrap();
    workspace.write(&file, document.to_string());
    let reported = workspace.etalon(&["report", "old"]).code(0).stdout;
    for line in ["exact.exact_match", "quality.mean", "quality.accuracy", "duel.win_rate", "diagnostics"] {
        assert!(reported.contains(line), "{line}\n{reported}");
    }
    let since = workspace.etalon(&["plan", "p", "--diff", "old"]).code(0);
    assert!(since.stdout.contains("same    8 nodes"), "{}{}", since.stdout, since.stderr);
    let warnings = since.stderr.matches("warning[").count();
    assert_eq!(warnings, since.stderr.matches("warning[no-tag]").count(), "{}", since.stderr);
}
