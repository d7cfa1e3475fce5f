//! The rows of a node, with everything that led to them: what `show` prints.

use std::collections::BTreeMap;
use std::iter::Peekable;

use serde_json::{Map, Value, json};

use super::record::Records;
use super::session::Session;
use crate::row::{Completion, Judgement, Meta, Row, Scores};
use crate::stage::{BASELINE, COMPLETIONS, ROWS, Shown, StageError};
use crate::store::{ArtifactReader, Lookup, Manifest};

/// The manifests of a node and what it reads.
pub struct Found {
    pub manifest: Manifest,
    pub inputs: BTreeMap<&'static str, Manifest>,
    /// The spec or the data have changed since: these rows are those of the last run.
    pub is_stale: bool,
}

/// Finds a node's rows: under the key that it has now, else those of the last run.
pub fn find_rows(session: &Session, index: usize) -> Result<Option<Found>, StageError> {
    let records = Records::new(&session.plan.workspace.root, &session.plan.spec.name);
    let last = |index: usize| {
        let key = records.last_key(&session.plan.nodes[index].name)?;
        match session.store.lookup(&key) {
            Lookup::Hit(manifest) => Some(*manifest),
            _ => None,
        }
    };
    let mut known: Vec<Option<(Manifest, bool)>> = vec![None; session.plan.nodes.len()];
    let needed = session.plan.needed(&[index]);
    for node in (0..=index).filter(|node| needed[*node]) {
        let mut inputs = BTreeMap::new();
        let mut is_current = true;
        for (part, input) in &session.plan.nodes[node].inputs {
            match &known[*input] {
                Some((manifest, is_stale)) => {
                    is_current &= !is_stale;
                    inputs.insert(*part, manifest.clone());
                }
                None => is_current = false,
            }
        }
        // What cannot be known any more (a server that is off, a file that is gone) is no reason to hide rows.
        let key = if is_current {
            session.fingerprint(node, &inputs).ok().map(|fingerprint| fingerprint.key())
        } else {
            None
        };
        if let Some(Lookup::Hit(manifest)) = key.map(|key| session.store.lookup(&key)) {
            known[node] = Some((*manifest, false));
        } else {
            known[node] = last(node).map(|manifest| (manifest, true));
        }
        if node == index {
            return Ok(known[node].take().map(|(manifest, is_stale)| Found { manifest, inputs, is_stale }));
        }
    }
    Ok(None)
}

/// Calls `each` with every row, sorted by id and sample, until it returns false.
pub fn each_row(
    session: &Session,
    index: usize,
    found: &Found,
    with_meta: bool,
    mut each: impl FnMut(Map<String, Value>) -> bool,
) -> Result<(), StageError> {
    let node = &session.plan.nodes[index];
    let store = &session.store;
    let rows_manifest = found.inputs.get(ROWS).unwrap_or(&found.manifest);
    let mut records = store.read_artifact::<Value>(&found.manifest.artifact)?.peekable();
    let completions = match node.stage.kind() {
        "inference" => Some(&found.manifest),
        _ => found.inputs.get(COMPLETIONS),
    };
    let mut texts = completions
        .map(|manifest| store.read_artifact::<Completion>(&manifest.artifact))
        .transpose()?
        .map(Iterator::peekable);
    let meta = completions.and_then(|manifest| manifest.meta.as_ref());
    let mut meta = meta.map(|meta| store.read_artifact::<Meta>(meta)).transpose()?.map(Iterator::peekable);
    let baseline = found.inputs.get(BASELINE);
    let mut baseline = baseline
        .map(|manifest| store.read_artifact::<Completion>(&manifest.artifact))
        .transpose()?
        .map(Iterator::peekable);
    for row in store.read_artifact::<Row>(&rows_manifest.artifact)? {
        let row = row?;
        while let Some(record) = records.next_if(|record| id_of(record).is_none_or(|id| id <= row.id.as_str())) {
            let record = record?;
            let sample = record.get("sample").and_then(Value::as_u64).unwrap_or(0) as u32;
            let at = (row.id.as_str(), sample);
            let completion = record_at(&mut texts, |completion| (&completion.id, completion.sample), at)?;
            let meta = record_at(&mut meta, |meta| (&meta.id, meta.sample), at)?;
            let other = record_at(&mut baseline, |completion| (&completion.id, completion.sample), at)?;
            let mut document = Map::new();
            document.insert("id".to_owned(), row.id.clone().into());
            if let Some(model) = &node.model {
                document.insert("model".to_owned(), model.clone().into());
                document.insert("sample".to_owned(), sample.into());
            }
            document.insert("row".to_owned(), Value::Object(row.columns.clone()));
            if node.stage.kind() == "inference" && !found.is_stale {
                let shown =
                    Shown { model: node.model.as_deref(), params: &session.plan.spec.params, row: &row, sample };
                let asked = node.stage.asked(&shown).and_then(|asked| serde_json::to_value(asked).ok());
                document.extend(asked.map(|asked| ("prompt".to_owned(), asked)));
            }
            if let Some(completion) = completion {
                document.insert("completion".to_owned(), completion.text.into());
                document.insert("status".to_owned(), serde_json::to_value(completion.status).unwrap_or_default());
                document.insert("finish_reason".to_owned(), completion.finish_reason.into());
            }
            if let Some(meta) = meta {
                document.insert("error".to_owned(), meta.error.clone().into());
                if with_meta {
                    document.insert(
                        "meta".to_owned(),
                        json!({
                            "latency": meta.latency,
                            "prompt_tokens": meta.prompt_tokens,
                            "completion_tokens": meta.completion_tokens,
                            "cost_usd": meta.cost_usd,
                            "served_model": meta.served_model,
                        }),
                    );
                }
            }
            if let Some(other) = other {
                document.insert("baseline".to_owned(), other.text.into());
            }
            add_result(node.stage.kind(), record, &mut document);
            if !each(document) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn id_of(record: &Result<Value, crate::store::StoreError>) -> Option<&str> {
    record.as_ref().ok()?.get("id")?.as_str()
}

/// Returns the record of a row and sample, if there are records at all; those before it are passed over.
fn record_at<T: serde::de::DeserializeOwned>(
    records: &mut Option<Peekable<ArtifactReader<T>>>,
    place: impl Fn(&T) -> (&str, u32),
    at: (&str, u32),
) -> Result<Option<T>, StageError> {
    let Some(records) = records else { return Ok(None) };
    while let Some(record) = records.next_if(|record| record.as_ref().map_or(true, |record| place(record) <= at)) {
        let record = record?;
        if place(&record) == at {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn add_result(kind: &str, record: Value, document: &mut Map<String, Value>) {
    match kind {
        "metric" => {
            if let Ok(scores) = serde_json::from_value::<Scores>(record) {
                document.insert("scores".to_owned(), Value::Object(scores.scores));
            }
        }
        "judge" => {
            if let Ok(judgement) = serde_json::from_value::<Judgement>(record) {
                document.insert("status".to_owned(), serde_json::to_value(judgement.status).unwrap_or_default());
                document.extend(judgement.scores.map(|scores| ("scores".to_owned(), Value::Object(scores))));
                if judgement.verdict.is_some() || !judgement.orders.is_empty() {
                    document.insert("verdict".to_owned(), judgement.verdict.into());
                    document.insert("orders".to_owned(), judgement.orders.into());
                }
                if !judgement.votes.is_empty() {
                    document.insert("votes".to_owned(), serde_json::to_value(judgement.votes).unwrap_or_default());
                }
                document.insert("reason".to_owned(), judgement.reason.into());
            }
        }
        _ => {}
    }
}

/// Returns true for a row without a valid result.
pub fn is_failed(document: &Map<String, Value>) -> bool {
    document.get("status").is_some_and(|status| !matches!(status.as_str(), Some("ok" | "repaired")))
}
