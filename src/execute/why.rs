//! Why a node is not what it was: how its fingerprint differs from that of the last run that had it, down to the lines
//! of templates and the ids of rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::ExecuteError;
use super::forecast::{State, forecast_known};
use super::reason::{Ids, describe, difference};
use super::session::Session;
use crate::digest::Digest;
use crate::plan::Node;
use crate::record::Run;
use crate::stage::{Inputs, Part};
use crate::store::{Change, Fingerprint, Manifest};

/// Why a node will run, or will not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    pub node: String,
    pub state: State,
    pub reason: String,
    /// The run with which the node is compared; none if no run had the node.
    pub since: Option<String>,
    pub changes: Vec<Difference>,
}

/// One difference between a node now and in the earlier run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Difference {
    /// A setting, a param, a fact of a model. None stands for a value that was, or is, absent.
    Value { name: String, before: Option<Value>, after: Option<Value> },
    /// A template. If its old text is kept: its lines, each with ` `, `-` or `+` in front.
    Template { name: String, lines: Option<Vec<String>> },
    /// The rows of the dataset differ in the columns that the node reads.
    Rows { dataset: String, columns: Vec<String>, changed: Ids, added: Ids, removed: Ids },
    /// Anything else, in words.
    Other { message: String },
}

/// Finds out why a node will run or not, compared with the last run that had it.
///
/// # Errors
///
/// The node is not part of the plan, or the cache cannot be read or written.
pub async fn why(session: Arc<Session>, index: usize) -> Result<Why, ExecuteError> {
    let records = session.records();
    let (forecasts, known) = forecast_known(&session).await?;
    let node = &session.plan.nodes[index];
    let Some(forecast) = forecasts.into_iter().find(|forecast| forecast.node == node.name) else {
        let message = format!("{} is not part of the plan", node.name);
        return Err(ExecuteError::Usage { message, help: None });
    };
    let mut why = Why {
        node: node.name.clone(),
        state: forecast.state,
        reason: forecast.error.unwrap_or(forecast.reason),
        since: None,
        changes: Vec::new(),
    };
    let Some((run, key)) = records.last(&node.name) else {
        return Ok(why);
    };
    why.since = Some(run.run.clone());
    let Some(earlier) = session.store.recall(&key) else {
        return Ok(why);
    };
    // An input that is not settled yet is taken as it was: its own changes are explained for the node that makes it.
    let mut inputs = BTreeMap::new();
    for (part, input) in &node.inputs {
        let settled = known[*input].as_ref().filter(|known| known.is_settled).map(|known| known.manifest.clone());
        let last = || session.store.recall(&records.last_key(&session.plan.nodes[*input].name)?);
        inputs.extend(settled.or_else(last).map(|manifest| (*part, manifest)));
    }
    if let Ok(now) = session.fingerprint(index, &inputs) {
        why.changes = changes(&session, run, node, &now, &earlier, &inputs);
    }
    Ok(why)
}

fn changes(
    session: &Session,
    run: &Run,
    node: &Node,
    now: &Fingerprint,
    earlier: &Manifest,
    inputs: &Inputs,
) -> Vec<Difference> {
    let then = &earlier.fingerprint;
    let sources: BTreeMap<String, String> = node.stage.sources().into_iter().collect();
    let mut columns = BTreeSet::new();
    let mut found = Vec::new();
    for change in now.changes_since(then) {
        found.push(match &change {
            Change::Setting(name) => value(name.clone(), then.settings.get(name), now.settings.get(name)),
            Change::Param(name) => value(format!("params.{name}"), then.params.get(name), now.params.get(name)),
            Change::Model(part, fact) => {
                let callee = node.callees.iter().find(|(known, _)| known.name() == *part);
                let model = callee.map_or(part.as_str(), |(_, model)| model);
                let of = |fingerprint: &Fingerprint| fingerprint.models.get(part)?.get(fact).cloned();
                value(format!("{model}.{fact}"), of(then).as_ref(), of(now).as_ref())
            }
            Change::Template(name) => {
                let text = |fingerprint: &Fingerprint| match fingerprint.templates.get(name) {
                    None | Some(None) => Some(String::new()),
                    Some(Some(digest)) => {
                        let current = sources.get(name).filter(|text| Digest::of(text.as_bytes()) == *digest);
                        current.cloned().or_else(|| session.store.source(digest))
                    }
                };
                let lines = text(then).zip(text(now)).map(|(before, after)| lines(&before, &after));
                Difference::Template { name: name.clone(), lines }
            }
            Change::Input(part, column) if *part == Part::Rows.name() => {
                columns.insert(column.clone());
                continue;
            }
            other => Difference::Other { message: describe(other, node, session) },
        });
    }
    if !columns.is_empty() {
        found.insert(0, rows(session, run, node, inputs, &columns));
    }
    found.dedup();
    found
}

fn value(name: String, before: Option<&Value>, after: Option<&Value>) -> Difference {
    Difference::Value { name, before: before.cloned(), after: after.cloned() }
}

/// Returns the lines that differ, each with one line of context around it.
fn lines(before: &str, after: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(1).iter().enumerate() {
        if index > 0 {
            lines.push("…".to_owned());
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            lines.push(format!("{sign}{}", change.value().trim_end_matches(['\n', '\r'])));
        }
    }
    lines
}

fn rows(session: &Session, run: &Run, node: &Node, inputs: &Inputs, columns: &BTreeSet<String>) -> Difference {
    let root = node.input(Part::Rows).map(|index| &session.plan.nodes[index].name);
    let dataset = root.cloned().unwrap_or_default();
    let names: Vec<&str> = columns.iter().filter_map(|column| column.strip_prefix("row.")).collect();
    let then = run.key(&dataset).and_then(|key| session.store.recall(&key));
    let found =
        then.zip(inputs.get(&Part::Rows)).and_then(|(then, now)| difference(&session.store, &then, now, &names));
    match found {
        Some(found) => Difference::Rows {
            dataset,
            columns: names.into_iter().map(str::to_owned).collect(),
            changed: found.changed,
            added: found.added,
            removed: found.removed,
        },
        None => Difference::Other { message: format!("rows of {dataset} changed, and the old ones are not kept") },
    }
}
