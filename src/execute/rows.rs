//! The rows of a node, with everything that led to them: what `show` prints.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::session::Session;
use crate::record::Records;
use crate::row::{Completion, Judgement, Meta, Row, Scores};
use crate::stage::{BASELINE, COMPLETIONS, CONTESTANTS, ROWS, Shown, StageError, take_row};
use crate::store::{Lookup, Manifest};

/// The manifests of a node and what it reads.
pub struct Found {
    pub manifest: Manifest,
    pub inputs: BTreeMap<&'static str, Manifest>,
    /// The spec or the data have changed since: these rows are those of the last run.
    pub is_stale: bool,
}

/// Finds a node's rows: under the key that it has now, else those of the last run.
pub fn find_rows(session: &Session, index: usize) -> Result<Option<Found>, StageError> {
    let records = Records::of(session);
    let find = |key: &crate::digest::Digest| match session.store.lookup(key) {
        Lookup::Hit(manifest) => Some(*manifest),
        _ => None,
    };
    let last = |index: usize| find(&records.last_key(&session.plan.nodes[index].name)?);
    // What a node read in the run that it is from: other rows or texts were not judged.
    let last_inputs = |index: usize| -> BTreeMap<&'static str, Manifest> {
        let node = &session.plan.nodes[index];
        let Some((run, _)) = records.last(&node.name) else { return BTreeMap::new() };
        let input =
            |(part, input): &(&'static str, usize)| Some((*part, find(&run.key(&session.plan.nodes[*input].name)?)?));
        node.inputs.iter().filter_map(input).collect()
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
            if node == index {
                inputs = last_inputs(node);
            }
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
    // The node's own completions, then those that they are compared with.
    let others = [BASELINE].into_iter().chain(CONTESTANTS[1..].iter().copied());
    let mut texts = completions
        .into_iter()
        .chain(others.filter_map(|part| found.inputs.get(part)))
        .map(|manifest| Ok(store.read_artifact::<Completion>(&manifest.artifact)?.peekable()))
        .collect::<Result<Vec<_>, StageError>>()?;
    let models: Vec<&str> = CONTESTANTS
        .iter()
        .filter_map(|part| node.inputs.iter().find(|(known, _)| known == part))
        .filter_map(|(_, input)| session.plan.nodes[*input].model.as_deref())
        .collect();
    let meta = completions.and_then(|manifest| manifest.meta.as_ref());
    let mut meta = meta.map(|meta| store.read_artifact::<Meta>(meta)).transpose()?.map(Iterator::peekable);
    for row in store.read_artifact::<Row>(&rows_manifest.artifact)? {
        let row = row?;
        let texts: Vec<Vec<Completion>> = texts
            .iter_mut()
            .map(|texts| take_row(texts, &row.id, |completion| &completion.id))
            .collect::<Result<_, _>>()?;
        let meta: Vec<Meta> = match &mut meta {
            Some(meta) => take_row(meta, &row.id, |meta| &meta.id)?,
            None => Vec::new(),
        };
        while let Some(record) = records.next_if(|record| id_of(record).is_none_or(|id| id <= row.id.as_str())) {
            let record = record?;
            // A record of a row that is not there any more is of no other.
            if record.get("id").and_then(Value::as_str) != Some(row.id.as_str()) {
                continue;
            }
            let sample = record.get("sample").and_then(Value::as_u64).unwrap_or(0) as u32;
            let pair: Option<[usize; 2]> =
                record.get("pair").and_then(|pair| serde_json::from_value(pair.clone()).ok());
            let text = |contestant: usize| {
                let own = texts.get(contestant)?;
                // A model with fewer samples is compared by its first.
                let of_sample = own.iter().find(|completion| completion.sample == sample);
                of_sample.or(own.first().filter(|_| contestant > 0)).cloned()
            };
            let [first, second] = pair.unwrap_or([0, 1]);
            let (completion, other) = (text(first), text(second));
            let meta = meta.iter().find(|meta| meta.sample == sample);
            let mut document = Map::new();
            document.insert("id".to_owned(), row.id.clone().into());
            if let Some(model) = &node.model {
                document.insert("model".to_owned(), model.clone().into());
                document.insert("sample".to_owned(), sample.into());
            }
            if let Some([first, second]) = pair.map(|pair| pair.map(|place| models.get(place).copied())) {
                document.insert("pair".to_owned(), json!([first, second]));
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
            let judges: Vec<&str> = node.callees.iter().map(|(_, judge)| judge.as_str()).collect();
            add_result(node.stage.kind(), record, &judges, &mut document);
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

fn add_result(kind: &str, record: Value, judges: &[&str], document: &mut Map<String, Value>) {
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
                }
                if !judgement.orders.is_empty() {
                    document.insert("orders".to_owned(), judgement.orders.into());
                }
                if !judgement.votes.is_empty() {
                    let mut votes = serde_json::to_value(judgement.votes).unwrap_or_default();
                    for vote in votes.as_array_mut().into_iter().flatten() {
                        let place = vote["judge"].as_u64().unwrap_or(0) as usize;
                        vote["judge"] = judges.get(place).copied().map_or(Value::Null, Value::from);
                    }
                    document.insert("votes".to_owned(), votes);
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
