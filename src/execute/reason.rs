//! Why a node is a miss, in words.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::Serialize;

use super::session::Session;
use crate::digest::canonical;
use crate::plan::Node;
use crate::row::Row;
use crate::stage::{Inputs, Part};
use crate::store::{Change, Fingerprint, Manifest, Store};

/// Returns how a node's fingerprint differs from that of an earlier result, in words.
pub(super) fn changes_since(
    session: &Session,
    earlier: &Manifest,
    node: &Node,
    fingerprint: &Fingerprint,
    inputs: &Inputs,
    counts_rows: bool,
) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut columns: BTreeSet<String> = BTreeSet::new();
    for change in fingerprint.changes_since(&earlier.fingerprint) {
        match change {
            Change::Input(part, column) if part == Part::Rows.name() => {
                columns.insert(column);
            }
            other => {
                let said = describe(&other, node, session);
                if !words.contains(&said) {
                    words.push(said);
                }
            }
        }
    }
    if !columns.is_empty() {
        let counted = if counts_rows { rows_changed(session, node, inputs, &columns) } else { None };
        words.insert(0, counted.unwrap_or_else(|| described_columns(session, node, &columns)));
    }
    // Several columns of an input may be said in the same words.
    let mut seen = BTreeSet::new();
    words.retain(|said| seen.insert(said.clone()));
    words
}

pub(super) fn describe(change: &Change, node: &Node, session: &Session) -> String {
    let input = |part: &str| {
        let found = Part::of(part).and_then(|part| node.input(part));
        found.map_or_else(|| part.to_owned(), |index| session.plan.nodes[index].name.clone())
    };
    match change {
        Change::Kind => "another kind of stage".to_owned(),
        Change::Revision => format!("etalon makes {} stages in a new way", node.stage.kind()),
        Change::Setting(name) if name == "model_name" => "the model's name changed".to_owned(),
        Change::Setting(name) if name == "conversation" => "the prompt is another".to_owned(),
        Change::Setting(name) => format!("{name} changed"),
        Change::Param(name) => format!("param {name} changed"),
        Change::Template(name) if name.ends_with(".j2") => format!("template {name} changed"),
        Change::Template(name) => format!("{name} changed"),
        Change::File(label) => match node.stage.file(label) {
            Some(path) => format!("{path} changed"),
            None => format!("the file of {label} changed"),
        },
        Change::Model(part, fact) => {
            let model =
                node.callees.iter().find(|(known, _)| known.name() == *part).map_or(part.as_str(), |(_, model)| model);
            format!("{fact} of {model} changed")
        }
        Change::Input(part, column) if Part::of(part).is_some_and(Part::is_completions) => match column.as_str() {
            "meta" => format!("latency and usage of {} changed", input(part)),
            _ => format!("completions of {} changed", input(part)),
        },
        Change::Input(part, _) => format!("{} changed", input(part)),
    }
}

fn described_columns(session: &Session, node: &Node, columns: &BTreeSet<String>) -> String {
    let dataset = node.input(Part::Rows).map(|index| session.plan.nodes[index].name.as_str());
    let names: Vec<&str> = columns.iter().filter_map(|column| column.strip_prefix("row.")).collect();
    let dataset = dataset.unwrap_or("the dataset");
    match names.as_slice() {
        [] => format!("rows of {dataset} changed"),
        [one] => format!("column {one} of {dataset} changed"),
        several => format!("columns {} of {dataset} changed", several.join(", ")),
    }
}

/// Counts the rows in which a column that the node reads differs from the last run.
fn rows_changed(session: &Session, node: &Node, inputs: &Inputs, columns: &BTreeSet<String>) -> Option<String> {
    let root = node.input(Part::Rows)?;
    let dataset = &session.plan.nodes[root].name;
    let earlier = session.store.recall(&session.records().last_key(dataset)?)?;
    let now = inputs.get(&Part::Rows)?;
    let names: Vec<&str> = columns.iter().filter_map(|column| column.strip_prefix("row.")).collect();
    let difference = difference(&session.store, &earlier, now, &names)?;
    let of = now.artifact.rows;
    let mut words = Vec::new();
    if difference.changed.count > 0 {
        words.push(format!("{} of {of} rows changed", difference.changed.count));
    }
    if difference.added.count > 0 {
        words.push(format!("{} of {of} rows added", difference.added.count));
    }
    if difference.removed.count > 0 {
        words.push(format!("{} rows removed", difference.removed.count));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// Ids of rows: how many, and the first few of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ids {
    pub count: u64,
    pub ids: Vec<String>,
}

/// How many ids are kept.
const MAX_IDS: usize = 20;

impl Ids {
    fn add(&mut self, id: &str) {
        self.count += 1;
        if self.ids.len() < MAX_IDS {
            self.ids.push(id.to_owned());
        }
    }
}

/// How two datasets differ in some of their columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RowsDifference {
    pub changed: Ids,
    pub added: Ids,
    pub removed: Ids,
}

/// Walks two datasets, both sorted by id, and collects the ids that differ.
pub(super) fn difference(
    store: &Store,
    earlier: &Manifest,
    now: &Manifest,
    columns: &[&str],
) -> Option<RowsDifference> {
    let mut before = store.read_artifact::<Row>(&earlier.artifact).ok()?.map_while(Result::ok).peekable();
    let mut after = store.read_artifact::<Row>(&now.artifact).ok()?.map_while(Result::ok).peekable();
    let differs = |a: &Row, b: &Row| {
        columns.iter().any(|column| a.columns.get(*column).map(canonical) != b.columns.get(*column).map(canonical))
    };
    let mut difference = RowsDifference::default();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return Some(difference),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.id.cmp(&new.id),
        };
        let old = before.next_if(|_| order != Ordering::Greater);
        let new = after.next_if(|_| order != Ordering::Less);
        match (old, new) {
            (Some(old), Some(new)) if differs(&old, &new) => difference.changed.add(&new.id),
            (Some(_), Some(_)) | (None, None) => {}
            (Some(old), None) => difference.removed.add(&old.id),
            (None, Some(new)) => difference.added.add(&new.id),
        }
    }
}
