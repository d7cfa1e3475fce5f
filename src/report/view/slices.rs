//! Slices: the values of a stage over parts of its rows.

use std::collections::BTreeMap;

use super::lines::{Column, Line, shown};
use crate::record::{NodeSummary, Run};
use crate::score::Estimate;

/// The values of one stage for each value of one column of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub column: String,
    pub lines: Vec<Line>,
    /// How many values of the column are not shown; they are those with the fewest rows.
    pub left_out: usize,
}

/// How many values of a column are shown; those with the most rows come first.
const MAX_VALUES: usize = 12;

/// Returns the slices of every stage and column.
pub(super) fn slices(run: &Run, columns: &[Column]) -> Vec<Slice> {
    let mut slices = Vec::new();
    for (stage, summaries) in &run.summary {
        let mut names: Vec<&String> = Vec::new();
        for name in summaries.values().flat_map(|summary| summary.slices.keys()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let by_model: Vec<Option<&ByValue>> = columns
                .iter()
                .map(|column| {
                    summaries.get(column.model.as_ref()?).and_then(|summary: &NodeSummary| summary.slices.get(name))
                })
                .collect();
            let values = by_size(&by_model);
            let mut lines = Vec::new();
            for (metric, reading) in shown(run, stage, summaries) {
                if metric == "coverage" {
                    continue;
                }
                for value in values.iter().take(MAX_VALUES) {
                    let estimate = |by_value: &Option<&ByValue>| by_value.as_ref()?.get(*value)?.get(metric).copied();
                    let estimates: Vec<Option<Estimate>> = by_model.iter().map(estimate).collect();
                    if estimates.iter().any(Option::is_some) {
                        let name = format!("{stage}.{metric} · {value}");
                        let none = columns.len();
                        lines.push(Line {
                            name,
                            reading,
                            estimates,
                            shares: vec![None; none],
                            deltas: vec![None; none],
                        });
                    }
                }
            }
            if !lines.is_empty() {
                slices.push(Slice { column: name.clone(), lines, left_out: values.len().saturating_sub(MAX_VALUES) });
            }
        }
    }
    slices
}

/// Estimates by value of the column, then by flat name.
type ByValue = indexmap::IndexMap<String, indexmap::IndexMap<String, Estimate>>;

/// Returns the values of a column, those with the most rows first.
fn by_size<'a>(by_model: &[Option<&'a ByValue>]) -> Vec<&'a String> {
    let mut sizes: BTreeMap<&String, u64> = BTreeMap::new();
    for (value, estimates) in by_model.iter().flatten().copied().flatten() {
        let size = estimates.values().map(|estimate| estimate.n + estimate.missing).max().unwrap_or(0);
        let known = sizes.entry(value).or_default();
        *known = size.max(*known);
    }
    let mut values: Vec<(&String, u64)> = sizes.into_iter().collect();
    values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    values.into_iter().map(|(value, _)| value).collect()
}
