//! Snapshots of rendered runs, from documents written by hand, at widths of 80, 120 and 160 columns.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::view::View;
use super::{closing, report, summary};
use crate::record::Run;

/// Returns an estimate with an interval.
fn estimate(value: f64, low: f64, high: f64, n: u64, missing: u64) -> Value {
    json!({ "value": value, "low": low, "high": high, "n": n, "missing": missing })
}

fn reading(unit: &str, direction: &str, rank: &str) -> Value {
    json!({ "unit": unit, "direction": direction, "rank": rank })
}

fn node(name: &str, kind: &str, outcome: &str) -> Value {
    json!({
        "node": name, "kind": kind, "outcome": outcome, "reason": "first run", "rows": 120, "failed": 0, "missing": 0,
        "calls": 120, "reused": 0, "cost_usd": 0.0125, "seconds": 0.5, "key": null, "artifact": null,
    })
}

/// Returns a run of three models: metrics with slices and classes, a judge with diagnostics, a node that failed, gates
/// with every verdict, and a judge that has drifted.
fn document() -> Value {
    let format = |value: f64| {
        json!({
            "json_valid": estimate(value, value - 0.05, value + 0.004, 120, 0),
            "coverage": { "value": 1.0, "low": null, "high": null, "n": 120, "missing": 0 },
            "slices": { "channel": {
                "email": { "json_valid": estimate(value, value - 0.1, value, 80, 0) },
                "chat": { "json_valid": estimate(value - 0.02, value - 0.2, value, 40, 0) },
            } },
        })
    };
    let intent = |value: f64| {
        json!({
            "classification.accuracy": estimate(value, value - 0.05, value + 0.01, 120, 0),
            "classification.f1_macro": estimate(value, value - 0.05, value + 0.01, 120, 0),
            "classification.precision_macro": estimate(value, value - 0.05, value + 0.01, 120, 0),
            "classification.recall_macro": estimate(value, value - 0.05, value + 0.01, 120, 0),
            "classification.f1.billing": estimate(value, value - 0.05, value + 0.01, 120, 0),
            "classification.precision.billing": estimate(value, value - 0.05, value + 0.01, 120, 0),
            "classification.recall.billing": estimate(value, value - 0.05, value + 0.01, 120, 0),
        })
    };
    let quality = |mean: f64| {
        json!({
            "mean": estimate(mean, mean - 0.2, mean + 0.1, 117, 3),
            "overall": estimate((mean - 1.0) / 4.0, (mean - 1.2) / 4.0, (mean - 0.9) / 4.0, 117, 3),
            "accuracy": estimate(mean, mean - 0.3, mean + 0.2, 117, 3),
            "halo": { "value": 0.41, "low": null, "high": null, "n": 117, "missing": 0 },
        })
    };
    let mut tuned = quality(4.4);
    tuned["overall.of_ceiling"] = estimate(0.91, 0.88, 0.95, 117, 3);
    json!({
        "etalon": 1, "run": "20261123T200501Z-support-00ff", "pipeline": "support", "label": "iter-3",
        "started": "2026-11-23T20:05:01Z", "seconds": 12.5,
        "models": {
            "base": { "role": "baseline" }, "tuned": { "role": "candidate" }, "reference": { "role": "ceiling" }, "grader": {},
        },
        "stages": [
            { "name": "rows", "kind": "dataset" },
            { "name": "answers", "kind": "inference", "input": "rows" },
            { "name": "quality", "kind": "judge", "input": "answers" },
            { "name": "format", "kind": "metric", "input": "answers" },
            { "name": "intent", "kind": "metric", "input": "answers" },
        ],
        "nodes": [
            node("rows", "dataset", "cached"),
            node("answers.reference", "inference", "ran"),
            node("answers.base", "inference", "ran"),
            node("answers.tuned", "inference", "ran"),
            {
                "node": "quality.tuned", "kind": "judge", "outcome": "ran", "reason": "first run", "rows": 120, "failed": 3,
                "missing": 0, "calls": 120, "reused": 7, "cost_usd": 0.5, "seconds": 2.0, "key": null, "artifact": null,
                "notes": ["coverage: 3 of 120 rows have no verdict; whatever they would be, overall lies between 0.829 and 0.854"],
            },
            {
                "node": "duel.tuned", "kind": "judge", "outcome": "failed", "reason": "first run", "rows": 0, "failed": 0,
                "missing": 0, "calls": 0, "reused": 0, "cost_usd": null, "seconds": 0.1, "key": null, "artifact": null,
                "error": "127.0.0.1:9 refuses connections",
            },
        ],
        "summary": {
            // Models stand in the order of the spec, while tables show the ceiling last.
            "answers": { "reference": {}, "base": {}, "tuned": {} },
            "quality": { "reference": quality(4.8), "base": quality(2.8), "tuned": tuned },
            "format": { "reference": format(0.99), "base": format(0.72), "tuned": format(0.95) },
            "intent": { "reference": intent(0.98), "base": intent(0.6), "tuned": intent(0.9) },
        },
        "values": {
            "quality": {
                "mean": reading("scale", "higher", "headline"), "overall": reading("fraction", "higher", "headline"),
                "accuracy": reading("scale", "higher", "detail"), "halo": reading("rate", "none", "diagnostic"),
                "overall.of_ceiling": reading("rate", "higher", "part"),
            },
            "format": { "json_valid": reading("fraction", "higher", "headline"), "coverage": reading("rate", "higher", "headline") },
            "intent": {
                "classification.f1_macro": reading("fraction", "higher", "headline"),
                "classification.f1.billing": reading("fraction", "higher", "part"),
            },
        },
        "deltas": {
            "quality": {
                "tuned": {
                    "mean": { "against": "base", "difference": estimate(1.6, 1.4, 1.8, 117, 3), "p": null },
                    "overall": { "against": "base", "difference": estimate(0.4, 0.35, 0.45, 117, 3), "p": null },
                    "accuracy": { "against": "base", "difference": estimate(-0.2, -0.4, 0.1, 117, 3), "p": null },
                },
                "reference": { "mean": { "against": "base", "difference": estimate(2.0, 1.8, 2.2, 117, 3), "p": null } },
            },
            "format": { "tuned": {
                "json_valid": { "against": "base", "difference": estimate(-0.23, -0.3, -0.1, 120, 0), "p": 0.001 },
            } },
        },
        "tables": { "intent": { "tuned": {
            "classification.report": "as text",
            "classification.confusion": {
                "gold": ["billing", "a label with a name that is long"],
                "predicted": ["billing", "a label with a name that is long", "__invalid__"],
                "counts": [[70.0, 5.0, 0.0], [4.0, 40.0, 1.0]],
            },
        } } },
        "signatures": { "intent": { "classification": "classification|labels:gold|zero_division:0" } },
        "drift": { "quality.tuned": {
            "since": "20261122T200501Z-support-00aa", "basis": "labelled rows", "compared": 60, "flips": 9, "p": 0.0004,
            "shifts": { "overall": estimate(-0.08, -0.12, -0.04, 60, 0) }, "verdict": "drifted",
        } },
        "gates": [
            { "gate": "intent.tuned.classification.f1_macro >= 0.85", "verdict": "UNPROVEN", "left": 0.9, "right": 0.85 },
            { "gate": "format.tuned.json_valid >= 0.9", "verdict": "PASS", "left": 0.95, "right": 0.9 },
            { "gate": "quality.tuned.mean >= quality.reference.mean", "verdict": "FAIL", "left": 4.4, "right": 4.8 },
            { "gate": "duel.tuned.win_rate > 0.5", "verdict": "NO_DATA", "left": null, "right": 0.5 },
            { "gate": "late.tuned.win_rate > 0.5", "verdict": "NOT_RUN", "left": null, "right": 0.5 },
        ],
    })
}

fn run_of(document: Value) -> Run {
    crate::record::read(document.to_string().as_bytes()).unwrap()
}

/// Removes the colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Compares a text with the snapshot kept under `tests/report`.
fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/report"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name.to_owned(), text));
}

#[test]
fn a_run_at_three_widths() {
    let view = View::of(&run_of(document()));
    for width in [80, 120, 160] {
        check(&format!("run_at_{width}"), &plain(&report(&view, Some(width), true)));
    }
}

/// Returns a run of six models, of which only two have roles.
fn six() -> Run {
    let names = ["small-base", "small-tuned", "large-base", "large-tuned", "reference-a", "reference-b"];
    let values: IndexMap<&str, Value> = names
        .iter()
        .zip(1..)
        .map(|(name, place)| {
            let value = f64::from(place) / 8.0;
            (*name, json!({ "exact_match": estimate(value, value - 0.1, value + 0.1, 500, 0) }))
        })
        .collect();
    let mut document = document();
    document["models"] = json!({ "small-base": { "role": "baseline" }, "reference-b": { "role": "ceiling" } });
    document["stages"] = json!([{ "name": "exact", "kind": "metric", "input": "answers" }]);
    document["summary"] = json!({ "exact": values });
    document["values"] = json!({ "exact": { "exact_match": reading("fraction", "higher", "headline") } });
    for field in ["tables", "signatures", "drift"] {
        document.as_object_mut().unwrap().remove(field);
    }
    document["gates"] = json!([]);
    run_of(document)
}

#[test]
fn six_models_at_three_widths() {
    let view = View::of(&six());
    for width in [80, 120, 160] {
        check(&format!("six_models_at_{width}"), &plain(&closing(&view, None, Some(width), false)));
    }
}

#[test]
fn no_line_of_a_table_is_wider_than_the_terminal() {
    for run in [run_of(document()), six()] {
        for width in [80, 100, 120, 160, 200] {
            let text = plain(&summary(&View::of(&run), Some(width)));
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            // Only tables fit the width; other lines are left for the terminal to wrap.
            let is_said = |line: &&str| line.contains("intervals of slices");
            let too_wide = text.lines().filter(|line| line.chars().count() > width && !is_said(line)).count();
            assert_eq!(too_wide, 0, "{widest} at {width}\n{text}");
        }
    }
}

#[test]
fn roles_are_visible_at_every_width() {
    for width in [60, 80, 120, 160] {
        let text = closing(&View::of(&run_of(document())), None, Some(width), false);
        for role in ["baseline", "candidate", "ceiling"] {
            assert!(text.contains(role), "{role} at {width}\n{text}");
        }
    }
}

#[test]
fn the_view_puts_headlines_first_and_diagnostics_apart() {
    let view = View::of(&run_of(document()));
    let names = |lines: &[super::Line]| lines.iter().map(|line| line.name.clone()).collect::<Vec<_>>();
    let first =
        ["quality.mean", "quality.overall", "format.json_valid", "intent.classification.f1_macro", "quality.accuracy"];
    assert_eq!(names(&view.lines), first);
    assert_eq!(names(&view.diagnostics), ["quality.halo"]);
    let columns: Vec<&str> = view.columns.iter().map(super::Column::name).collect();
    assert_eq!(columns, ["base", "tuned", "reference"]);
    // If the run holds no share, the plain ratio is shown; on a scale that starts at 1 there is none.
    let share = |line: usize| view.lines[line].shares[1].and_then(|share| share.value);
    assert_eq!((share(0), share(1)), (None, Some(0.91)));
    assert!((share(2).unwrap() - 0.95 / 0.99).abs() < 1e-9);
    assert!(view.lines.iter().all(|line| line.shares[0].is_none() && line.shares[2].is_none()));
    assert_eq!((view.broken.len(), view.notes.len(), view.slice_intervals()), (1, 1, 6));
}

/// A document that etalon wrote before runs described themselves.
#[test]
fn a_run_without_readings_is_tabled_all_the_same() {
    let mut document = document();
    for field in ["models", "stages", "values", "deltas"] {
        document.as_object_mut().unwrap().remove(field);
    }
    document["nodes"][5]["node"] = "quality.base".into();
    document["nodes"].as_array_mut().unwrap().push(node("format.base", "metric", "ran"));
    document["nodes"].as_array_mut().unwrap().push(node("intent.base", "metric", "ran"));
    let view = View::of(&run_of(document));
    let names: Vec<&str> = view.lines.iter().map(|line| line.name.as_str()).collect();
    assert!(names.contains(&"format.json_valid") && names.contains(&"intent.classification.f1_macro"), "{names:?}");
    assert_eq!(view.diagnostics[0].name, "quality.halo");
    assert!(!closing(&view, None, Some(80), true).contains("baseline"));
}

#[test]
fn many_labels_are_told_by_their_most_confused_pairs() {
    let labels: Vec<String> = (0..15).map(|label| format!("label {label:02}")).collect();
    let counts: Vec<Vec<f64>> = (0..15)
        .map(|gold| {
            let count = |predicted: usize| match predicted {
                _ if predicted == gold => 9.0,
                15 => f64::from(u8::from(gold == 3)),
                _ if predicted == (gold + 1) % 15 => gold as f64 / 2.0,
                _ => 0.0,
            };
            (0..16).map(count).collect()
        })
        .collect();
    let mut predicted = labels.clone();
    predicted.push("__invalid__".to_owned());
    let mut document = document();
    document["tables"]["intent"]["tuned"]["classification.confusion"] =
        json!({ "gold": labels, "predicted": predicted, "counts": counts });
    let view = View::of(&run_of(document));
    let text = plain(&summary(&view, Some(80)));
    check("many_labels", text.split("intent.tuned.classification").last().unwrap());
}

#[test]
fn what_a_file_says_cannot_drive_the_terminal() {
    let text = document().to_string().replace("iter-3", "\\u001b[2J").replace("billing", "bil\\u001b[35mling\\n");
    let run = crate::record::read(text.as_bytes()).unwrap();
    let text = report(&View::of(&run), Some(120), true);
    assert!(!text.contains("\u{1b}[2J") && !text.contains("\u{1b}[35m"), "{text}");
    assert!(text.contains("\u{fffd}[2J"), "{text}");
}

#[test]
fn labels_called_like_bounds_keep_their_lines_and_bounds_of_whole_values_do_not() {
    let mut document = document();
    let share = |value: f64| estimate(value, value - 0.1, value + 0.1, 120, 0);
    document["summary"]["quality"]["tuned"] = json!({
        "share.best": share(0.5), "share.worst": share(0.2), "score": share(0.6), "score.best": share(0.6),
    });
    let detail = reading("rate", "none", "detail");
    document["values"]["quality"] = json!({
        "share.best": detail, "share.worst": detail, "score": reading("fraction", "higher", "headline"), "score.best": detail,
    });
    let view = View::of(&run_of(document));
    let names: Vec<&str> = view.lines.iter().map(|line| line.name.as_str()).collect();
    let of_quality: Vec<&&str> = names.iter().filter(|name| name.starts_with("quality.")).collect();
    assert_eq!(of_quality, [&"quality.score", &"quality.share.best", &"quality.share.worst"]);
}

#[test]
fn a_run_of_an_older_version_shows_a_judge_of_all_pairs() {
    let mut document = document();
    document["stages"] = json!([]);
    document["nodes"] = json!([
        node("ranked", "judge", "ran"),
        node("exact.base", "metric", "ran"),
        node("exact.tuned", "metric", "ran")
    ]);
    let rate = estimate(0.75, 0.5, 0.9, 120, 0);
    document["summary"] = json!({
        "exact": { "base": { "intent.f1_macro": rate, "intent.f1.a": rate }, "tuned": { "intent.f1_macro": rate } },
        "ranked": { "_": { "tuned.win_rate": rate, "tuned.elo": rate, "base.win_rate": rate, "halo_x": rate } },
    });
    document.as_object_mut().unwrap().remove("values");
    let view = View::of(&run_of(document));
    let names: Vec<&str> = view.lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["ranked.win_rate", "ranked.elo", "exact.intent.f1_macro", "ranked.halo_x"]);
    assert!(view.diagnostics.is_empty());
}
