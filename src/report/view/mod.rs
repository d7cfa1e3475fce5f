//! The view: what a run says, arranged for reading and not yet written.
//!
//! ```text
//! Run ── View::of ──► columns, lines, diagnostics, slices, gates, notes ──► text
//! ```
//!
//! Everything comes from the run alone, so that a file under `runs/` reads as the run itself did. Renderers choose
//! widths, colours and words for numbers, and decide nothing else.
//!
//! | file | holds |
//! |---|---|
//! | `lines` | columns and lines: which values are shown, in what order, and as what share of the ceiling |
//! | `slices` | the same over some of the rows |
//! | `classes` | what a classification says of each label, and what it takes for what |

mod classes;
mod lines;
mod slices;

pub use classes::{Classes, Confusion, LabelScores};
pub use lines::{Column, Line};
pub use slices::Slice;

use serde_json::Value;

use crate::record::{GateResult, NodeDrift, NodeOutcome, Run};
use crate::spec::Role;

/// What a run says.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub run: String,
    pub label: Option<String>,
    pub pipeline: String,
    pub started: String,
    /// The models: the baseline first, the ceiling last, then what is said of all together.
    pub columns: Vec<Column>,
    /// Headlines first, then details; each in the order of the stages.
    pub lines: Vec<Line>,
    /// What tells of judges rather than of the models.
    pub diagnostics: Vec<Line>,
    pub slices: Vec<Slice>,
    pub classes: Vec<Classes>,
    /// What defines the values of metrics that have settings, each once.
    pub signatures: Vec<String>,
    /// Why predictions fail a schema.
    pub failures: Vec<Failures>,
    /// Judges that are not those of the run before, by node.
    pub drifts: Vec<(String, NodeDrift)>,
    /// Nodes that have no result, and why.
    pub broken: Vec<Note>,
    /// What a user should know, by node.
    pub notes: Vec<Note>,
    pub gates: Vec<GateResult>,
    pub took: Took,
}

/// Something said of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub node: String,
    pub text: String,
}

/// Counts of what made predictions fail, the most frequent first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// `stage.model.metric`.
    pub of: String,
    pub counts: Vec<(String, u64)>,
}

/// What a run took.
#[derive(Clone, Debug, PartialEq)]
pub struct Took {
    pub nodes: u64,
    /// Outcomes that occur, with how many nodes have them.
    pub outcomes: Vec<(NodeOutcome, u64)>,
    pub calls: u64,
    pub reused: u64,
    pub cost_usd: f64,
    pub seconds: f64,
    pub is_partial: bool,
    pub is_interrupted: bool,
}

impl View {
    /// Arranges what a run says.
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

    /// Returns true if some model has a role.
    pub fn has_roles(&self) -> bool {
        self.columns.iter().any(|column| column.role.is_some())
    }

    /// Returns how many intervals the slices have.
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

/// Reads a table of failures: the most frequent stand first in it.
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
        calls: run.calls(),
        reused: run.nodes.iter().map(|node| node.reused).sum(),
        cost_usd: run.nodes.iter().filter_map(|node| node.cost_usd).sum(),
        seconds: run.seconds,
        is_partial: run.partial,
        is_interrupted: run.interrupted,
    }
}
