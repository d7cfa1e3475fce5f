//! Runs in a list: when, under which label, at which commit, what came out.

use comfy_table::presets;

use super::printable;
use super::text::{cell, listed};
use super::view::View;
use crate::record::{GateVerdict, NodeOutcome, Run};

/// How many headlines of a run are shown.
const HEADLINES: usize = 3;

/// Renders runs, a line or two for each.
pub fn runs(runs: &[&Run]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["run", "label", "commit", "gates", "headlines"]);
    for run in runs {
        let commit = run.commit.as_deref().and_then(|commit| commit.get(..8)).unwrap_or("–");
        table.add_row([
            printable(&run.run),
            run.label.as_deref().map_or_else(|| "–".to_owned(), printable),
            commit.to_owned(),
            gates(run),
            headlines(run),
        ]);
    }
    listed(&mut table, &[0, 1, 2, 3, 4])
}

/// Returns the verdicts on a run's gates, or why it has no result.
fn gates(run: &Run) -> String {
    let failed = run.nodes.iter().filter(|node| node.outcome == NodeOutcome::Failed).count();
    if failed > 0 {
        return format!("{failed} failed");
    }
    if run.interrupted {
        return "interrupted".to_owned();
    }
    let count = |wanted: &[GateVerdict]| run.gates.iter().filter(|gate| wanted.contains(&gate.verdict)).count();
    let mut parts = Vec::new();
    for (wanted, word) in [
        (&[GateVerdict::Pass][..], "pass"),
        (&[GateVerdict::Unproven], "unproven"),
        (&[GateVerdict::Fail, GateVerdict::NoData], "fail"),
    ] {
        match count(wanted) {
            0 => {}
            n => parts.push(format!("{n} {word}")),
        }
    }
    if run.partial {
        parts.push("partial".to_owned());
    }
    if parts.is_empty() { "–".to_owned() } else { parts.join(" ") }
}

/// Returns the first headlines of the last model that is no ceiling: that is the one that a team works on.
fn headlines(run: &Run) -> String {
    let view = View::of(run);
    let own = (0..view.columns.len()).rev().find(|index| view.columns[*index].is_of_interest());
    let Some(own) = own else { return "–".to_owned() };
    let lines = view.lines.iter().filter(|line| line.reading.rank == crate::score::Rank::Headline);
    let shown: Vec<String> = lines
        .filter_map(|line| {
            Some(format!("{} {}", printable(&line.name), cell(line.estimates[own].as_ref()?, line.reading.unit)))
        })
        .take(HEADLINES)
        .collect();
    let model = printable(view.columns[own].name());
    if shown.is_empty() { "–".to_owned() } else { format!("{model}: {}", shown.join("\n")) }
}
