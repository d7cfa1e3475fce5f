//! The columns and lines of a run: models across, values down.

use indexmap::IndexMap;

use super::guess::guessed;
use crate::record::Delta;
use crate::record::{NodeSummary, Run, RunStage, StageDeltas};
use crate::score::{Direction, Estimate, Rank, Reading, Unit};
use crate::spec::Role;

/// A column: one model, or all models together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// None: the column of all models together.
    pub model: Option<String>,
    pub role: Option<Role>,
}

impl Column {
    /// Returns the name in the head of a table. The column of all models has a name that no model can have.
    pub fn name(&self) -> &str {
        self.model.as_deref().unwrap_or("(all)")
    }

    /// Returns true for a model that a team works on: no ceiling, and not all models together.
    pub fn is_of_interest(&self) -> bool {
        self.model.is_some() && self.role != Some(Role::Ceiling)
    }

    /// Returns the column's name in summaries.
    fn key(&self) -> &str {
        self.model.as_deref().unwrap_or("_")
    }
}

/// One value of a stage, for every column.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// `stage.value`.
    pub name: String,
    pub reading: Reading,
    pub estimates: Vec<Option<Estimate>>,
    /// For candidates: the value as a share of the ceiling's, with an interval if one is known.
    pub shares: Vec<Option<Estimate>>,
    /// How far the value lies from the baseline's.
    pub deltas: Vec<Option<Delta>>,
}

/// Returns the columns of a run.
pub(super) fn columns(run: &Run) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for model in run.summary.values().flat_map(IndexMap::keys).filter(|model| *model != "_") {
        if !columns.iter().any(|column| column.model.as_ref() == Some(model)) {
            columns.push(Column { model: Some(model.clone()), role: run.role(model) });
        }
    }
    columns.sort_by_key(|column| match column.role {
        Some(Role::Baseline) => 0,
        Some(Role::Candidate) | None => 1,
        Some(Role::Ceiling) => 2,
    });
    // A judge that compares all pairs may have values of all models together.
    let says_of_all = |stage: &RunStage| {
        let values = run.summary.get(&stage.name).and_then(|summaries| summaries.get("_"));
        let is_shown = |value: &String| value != "coverage" && reading(run, &stage.name, value).rank != Rank::Part;
        values.is_some_and(|summary| summary.values.keys().any(is_shown))
    };
    if stages(run).iter().any(|stage| stage.kind == "judge" && says_of_all(stage)) {
        columns.push(Column { model: None, role: None });
    }
    columns
}

/// Returns the lines of a run, headlines first, and apart from them its diagnostics.
pub(super) fn lines(run: &Run, columns: &[Column]) -> (Vec<Line>, Vec<Line>) {
    let mut lines = Vec::new();
    for stage in stages(run).iter().filter(|stage| matches!(stage.kind.as_str(), "metric" | "judge")) {
        let Some(summaries) = run.summary.get(&stage.name) else { continue };
        let shown = shown(run, &stage.name, summaries);
        lines.extend(shown.into_iter().filter_map(|(value, reading)| {
            let deltas = run.deltas.get(&stage.name);
            line((&stage.name, value), reading, (summaries, deltas), columns)
        }));
    }
    // The sort is stable: lines of one rank keep the order of the stages.
    lines.sort_by_key(|line: &Line| line.reading.rank);
    let first = lines.iter().position(|line| line.reading.rank == Rank::Diagnostic).unwrap_or(lines.len());
    let diagnostics = lines.split_off(first);
    (lines, diagnostics)
}

/// Returns the stages of a run, in order; for an old run, they are read from its nodes.
pub(super) fn stages(run: &Run) -> Vec<RunStage> {
    if !run.stages.is_empty() {
        return run.stages.clone();
    }
    let mut stages: Vec<RunStage> = Vec::new();
    for node in &run.nodes {
        let name = node.node.split_once('.').map_or(node.node.as_str(), |(stage, _)| stage);
        if !stages.iter().any(|stage| stage.name == name) {
            stages.push(RunStage { name: name.to_owned(), kind: node.kind.clone(), input: None, role: None });
        }
    }
    stages
}

/// Returns how a value is to be read; for a run of an older version, as far as its name tells.
pub(super) fn reading(run: &Run, stage: &str, value: &str) -> Reading {
    run.values.get(stage).and_then(|values| values.get(value)).copied().unwrap_or_else(|| guessed(value))
}

/// Returns the names of a summary's values. A summary over all models has the values of each model under that model's
/// name, which is left out.
fn own_names<'a>(run: &'a Run, model: &str, summary: &'a NodeSummary) -> Vec<&'a str> {
    let is_model = |name: &str| run.summary.values().any(|summaries| summaries.contains_key(name));
    let own = |name: &'a String| match name.split_once('.') {
        Some((head, own)) if model == "_" && is_model(head) => own,
        _ => name.as_str(),
    };
    summary.values.keys().map(own).collect()
}

/// Returns the values of a stage that tables show, in their order.
pub(super) fn shown<'a>(
    run: &'a Run,
    stage: &str,
    summaries: &'a IndexMap<String, NodeSummary>,
) -> Vec<(&'a str, Reading)> {
    let mut names: Vec<&str> = match run.values.get(stage) {
        Some(values) => values.keys().map(String::as_str).collect(),
        None => summaries.iter().flat_map(|(model, summary)| own_names(run, model, summary)).collect(),
    };
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let readings = names.into_iter().map(|name| (name, reading(run, stage, name)));
    readings.filter(|(_, reading)| reading.rank != Rank::Part && reading.unit != Unit::Count).collect()
}

fn line(
    (stage, value): (&str, &str),
    reading: Reading,
    (summaries, deltas): (&IndexMap<String, NodeSummary>, Option<&StageDeltas>),
    columns: &[Column],
) -> Option<Line> {
    let of = |value: &str| -> Vec<Option<Estimate>> {
        let estimate = |column: &Column| {
            let own = summaries.get(column.key()).and_then(|summary| summary.values.get(value));
            // A node over all models holds the values of each model under that model's name.
            let of_all = || summaries.get("_")?.values.get(&format!("{}.{value}", column.name()));
            own.or_else(of_all).copied()
        };
        columns.iter().map(estimate).collect()
    };
    let is_whole = |value: &str| of(value).iter().flatten().all(|estimate| estimate.missing == 0);
    let estimates = of(value);
    // Coverage is shown beside every number as what is missing, so it has a line of its own only where something is
    // missing. The same holds for bounds.
    let bounded = value.strip_suffix(".worst").or(value.strip_suffix(".best"));
    let says_nothing = value == "coverage" && is_whole(value)
        || bounded.is_some_and(|raw| of(raw).iter().any(Option::is_some) && is_whole(raw));
    if estimates.iter().all(Option::is_none) || says_nothing {
        return None;
    }
    let known = of(&format!("{value}.of_ceiling"));
    let shares = shares(columns, reading, &estimates, known);
    let delta = |column: &Column| deltas?.get(column.key())?.get(value).cloned();
    let deltas = columns.iter().map(delta).collect();
    Some(Line { name: format!("{stage}.{value}"), reading, estimates, shares, deltas })
}

/// Returns the values of candidates as shares of the ceiling's: the share that the run holds; else the plain ratio, if
/// the scale starts at 0 and more is better.
fn shares(
    columns: &[Column],
    reading: Reading,
    estimates: &[Option<Estimate>],
    known: Vec<Option<Estimate>>,
) -> Vec<Option<Estimate>> {
    let ceiling = columns.iter().position(|column| column.role == Some(Role::Ceiling));
    let value = |index: usize| estimates[index].and_then(|estimate| estimate.value);
    let has_ratio = matches!(reading.unit, Unit::Fraction | Unit::Points) && reading.direction == Direction::Higher;
    let share = |(index, column): (usize, &Column)| {
        let ceiling = ceiling.filter(|_| column.role == Some(Role::Candidate))?;
        if let Some(share) = known[index].filter(|share| share.value.is_some()) {
            return Some(share);
        }
        let top = value(ceiling).filter(|top| has_ratio && *top > 0.0)?;
        Some(Estimate { value: Some(value(index)? / top), ..Estimate::none(0) })
    };
    columns.iter().enumerate().map(share).collect()
}
