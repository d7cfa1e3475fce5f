//! The view: a run arranged for reading, but not written yet.
//!
//! ```text
//! Run ── View::of ──► columns, lines, diagnostics, slices, gates, notes ──► text
//! ```
//!
//! Everything comes from the run alone, so that a file under `runs/` can be shown just as the run itself was. Renderers
//! decide about widths, colours and the form of numbers, and about nothing else.
//!
//! | file | holds |
//! |---|---|
//! | `guess` | how the values of runs of older versions are to be read
//! | `lines` | columns and lines: which values are shown, in which order, and as which share of the ceiling |
//! | `slices` | the same values over parts of the rows |
//! | `classes` | classifications: scores of labels, confusion |

mod classes;
mod guess;
mod lines;
mod slices;

pub use classes::{Classes, Confusion, LabelScores};
pub use lines::{Column, Line};
pub use slices::Slice;

use serde_json::Value;

use crate::record::{Bill, GateResult, NodeDrift, NodeOutcome, Run};
use crate::spec::Role;

/// A run, arranged for reading.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub run: String,
    pub label: Option<String>,
    pub pipeline: String,
    pub started: String,
    /// The models, the baseline first and the ceiling last; then the column of all models together, if it is needed.
    pub columns: Vec<Column>,
    /// Headlines first, then details; each in the order of the stages.
    pub lines: Vec<Line>,
    /// Lines about judges rather than about the models.
    pub diagnostics: Vec<Line>,
    pub slices: Vec<Slice>,
    pub classes: Vec<Classes>,
    /// The signatures of metrics that have settings, each once.
    pub signatures: Vec<String>,
    /// Why predictions fail a schema, by metric and model.
    pub failures: Vec<Failures>,
    /// Judges that differ from those of the run before, by node.
    pub drifts: Vec<(String, NodeDrift)>,
    /// Nodes without a result, with the reason.
    pub broken: Vec<Note>,
    /// What a user should know about nodes.
    pub notes: Vec<Note>,
    pub gates: Vec<GateResult>,
    pub took: Took,
}

/// A remark about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub node: String,
    pub text: String,
}

/// How often each reason made predictions fail, the most frequent first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Whose predictions these are: `stage.model.metric`.
    pub of: String,
    pub counts: Vec<(String, u64)>,
}

/// What a run took: calls, dollars, seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Took {
    pub nodes: u64,
    /// The outcomes that occur, each with the number of its nodes.
    pub outcomes: Vec<(NodeOutcome, u64)>,
    pub calls: u64,
    /// Completions that came from the log.
    pub reused: u64,
    /// Dollars, of the nodes whose cost is known.
    pub cost_usd: f64,
    pub bill: Bill,
    pub seconds: f64,
    pub is_partial: bool,
    pub is_interrupted: bool,
}

impl View {
    /// Arranges a run.
    pub fn of(run: &Run) -> View {
        let columns = lines::columns(run);
        let (lines, diagnostics) = lines::lines(run, &columns);
        View {
            run: run.run.clone(),
            label: run.label.clone(),
            pipeline: run.pipeline.clone(),
            started: run.started.clone(),
            slices: slices::slices(run, &columns),
            classes: classes::classes(run),
            signatures: signatures(run.signatures.values().flat_map(|metrics| metrics.values())),
            failures: failures(run),
            drifts: run.drift.iter().map(|(node, drift)| (node.clone(), drift.clone())).collect(),
            broken: broken(run),
            notes: notes(run),
            gates: run.gates.clone(),
            took: took(run),
            columns,
            lines,
            diagnostics,
        }
    }

    /// Returns how many intervals all slices show together.
    pub fn slice_intervals(&self) -> usize {
        let estimates =
            self.slices.iter().flat_map(|slice| &slice.lines).flat_map(|line| line.estimates.iter().flatten());
        estimates.filter(|estimate| estimate.low.is_some()).count()
    }
}

/// Returns the word for a role.
pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Baseline => "baseline",
        Role::Candidate => "candidate",
        Role::Ceiling => "ceiling",
    }
}

/// Returns the signatures of metrics that have settings, each once.
pub(super) fn signatures<'a>(all: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for signature in all.filter(|signature| signature.contains('|')) {
        if !shown.contains(signature) {
            shown.push(signature.clone());
        }
    }
    shown
}

/// Reads a table of failures, in which the most frequent come first.
pub(super) fn failure_counts(table: &Value) -> Option<Vec<(String, u64)>> {
    let counts = table.as_object()?.iter();
    Some(counts.map(|(failure, count)| (failure.clone(), count.as_u64().unwrap_or_default())).collect())
}

fn failures(run: &Run) -> Vec<Failures> {
    let mut found = Vec::new();
    for (stage, models) in &run.tables {
        for (model, tables) in models {
            for (name, table) in tables {
                if let (Some(metric), Some(counts)) = (name.strip_suffix(".failures"), failure_counts(table)) {
                    found.push(Failures { of: format!("{stage}.{model}.{metric}"), counts });
                }
            }
        }
    }
    found
}

fn broken(run: &Run) -> Vec<Note> {
    let broken = run.nodes.iter().filter(|node| matches!(node.outcome, NodeOutcome::Failed | NodeOutcome::Skipped));
    let note = |node: &crate::record::NodeRun| {
        let text = node.error.clone().unwrap_or_else(|| node.reason.clone());
        Note { node: node.node.clone(), text }
    };
    broken.map(note).collect()
}

fn notes(run: &Run) -> Vec<Note> {
    let of = |node: &crate::record::NodeRun| -> Vec<Note> {
        node.notes.iter().map(|text| Note { node: node.node.clone(), text: text.clone() }).collect()
    };
    run.nodes.iter().flat_map(of).collect()
}

fn took(run: &Run) -> Took {
    let outcomes = [NodeOutcome::Ran, NodeOutcome::Cached, NodeOutcome::Failed, NodeOutcome::Skipped];
    let count = |outcome| run.nodes.iter().filter(|node| node.outcome == outcome).count() as u64;
    Took {
        nodes: run.nodes.len() as u64,
        outcomes: outcomes.map(|outcome| (outcome, count(outcome))).into_iter().filter(|(_, n)| *n > 0).collect(),
        calls: run.nodes.iter().map(|node| node.calls).sum(),
        bill: run.bill(),
        reused: run.nodes.iter().map(|node| node.reused).sum(),
        cost_usd: run.nodes.iter().filter_map(|node| node.cost_usd).sum(),
        seconds: run.seconds,
        is_partial: run.partial,
        is_interrupted: run.interrupted,
    }
}
