//! The rows of a node, with everything that led to them: for `show`, `export`, `labels`, and for people.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::session::Session;
use crate::outcome::Outcome;
use crate::plan::Node;
use crate::provider::Message;
use crate::row::{Completion, Judgement, Meta, Row, Scores, ShownOrder};
use crate::spec::Price;
use crate::stage::{Inputs, Join, Joined, Makes, Part, Shown, StageError, of_sample};
use crate::store::{ByRow, Lookup, Manifest, StoreError};

/// The manifest of a node, with the manifests of its inputs.
pub struct Found {
    pub manifest: Manifest,
    pub inputs: Inputs,
    /// The spec or the data have changed since, and these rows are from the last run.
    pub is_stale: bool,
}

/// Reads everything that shows these rows, to know that it is what it was. What is damaged is a miss for the next run.
///
/// # Errors
///
/// An artifact is missing, damaged or cannot be read.
pub fn verify_rows(session: &Session, found: &Found) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    for manifest in std::iter::once(&found.manifest).chain(found.inputs.values()) {
        for artifact in std::iter::once(&manifest.artifact).chain(&manifest.meta) {
            let result = if seen.insert(artifact.digest) { session.store.verify(artifact) } else { Ok(()) };
            if result.is_err() {
                session.store.forget(&manifest.key);
                return result;
            }
        }
    }
    Ok(())
}

/// Finds a node's rows: those under its present key, else those of the last run.
pub fn find_rows(session: &Session, index: usize) -> Result<Option<Found>, StageError> {
    let records = session.records();
    let find = |key: &crate::digest::Digest| match session.store.lookup(key) {
        Lookup::Hit(manifest) => Some(*manifest),
        _ => None,
    };
    let last = |index: usize| find(&records.last_key(&session.plan.nodes[index].name)?);
    // Rows of the last run are shown with what the node read in that run; the present inputs may be other rows or
    // texts.
    let last_inputs = |index: usize| -> Inputs {
        let node = &session.plan.nodes[index];
        let Some((run, _)) = records.last(&node.name) else { return Inputs::new() };
        let input = |(part, input): &(Part, usize)| Some((*part, find(&run.key(&session.plan.nodes[*input].name)?)?));
        node.inputs.iter().filter_map(input).collect()
    };
    let mut known: Vec<Option<(Manifest, bool)>> = vec![None; session.plan.nodes.len()];
    let needed = session.plan.needed(&[index]);
    for node in (0..=index).filter(|node| needed[*node]) {
        let mut inputs = Inputs::new();
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
        // If the key cannot be computed (a server is off, a file is gone), the rows of the last run are shown all the
        // same.
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

/// Finds the rows that a node had in a run, as far as the cache still has them.
pub fn rows_of_run(session: &Session, index: usize, run: &crate::record::Run) -> Option<Found> {
    let find = |index: usize| match session.store.lookup(&run.key(&session.plan.nodes[index].name)?) {
        Lookup::Hit(manifest) => Some(*manifest),
        _ => None,
    };
    let inputs = session.plan.nodes[index].inputs.iter();
    let inputs = inputs.filter_map(|(part, input)| Some((*part, find(*input)?))).collect();
    Some(Found { manifest: find(index)?, inputs, is_stale: false })
}

/// A row of a node with everything that led to it.
#[derive(Clone, Debug)]
pub struct ShownRow {
    pub row: Row,
    /// The node's model; none for a node without one.
    pub model: Option<String>,
    /// Which sample of the row it is, from 0.
    pub sample: u32,
    /// The two models, where all pairs are compared.
    pub pair: Option<[String; 2]>,
    /// What the model was asked, if that can still be rendered.
    pub prompt: Option<Vec<Message>>,
    /// What the model said; for a pair, what the first of the two said.
    pub completion: Option<Completion>,
    /// The completion that it is compared with.
    pub baseline: Option<Completion>,
    /// The completion that the prompt read, if it read one.
    pub draft: Option<Completion>,
    /// What the templates of metrics take out of the completion and of the row.
    pub extracted: Map<String, Value>,
    pub meta: Option<Meta>,
    /// What its model costs.
    pub price: Option<Price>,
    pub result: RowResult,
}

/// What a node made of a row.
#[derive(Clone, Debug)]
pub enum RowResult {
    /// Nothing more: the node made the row itself, or its completion.
    None,
    Scores(Map<String, Value>),
    /// What the judges said, with their names in the order of the panel.
    Judgement(Box<Judgement>, Vec<String>),
}

impl ShownRow {
    /// Returns true for a row without a valid result.
    pub fn is_failed(&self) -> bool {
        match (&self.result, &self.completion) {
            (RowResult::Judgement(judgement, _), _) => !judgement.status.is_valid(),
            (_, Some(completion)) => !completion.status.is_answered(),
            _ => false,
        }
    }

    /// Returns the row as the document that `show --format json` prints; latency, usage and cost only if asked for.
    pub fn document(&self, with_meta: bool) -> Map<String, Value> {
        let mut document = Map::new();
        let mut add = |name: &str, value: Value| document.insert(name.to_owned(), value);
        add("id", self.row.id.clone().into());
        if let Some(model) = &self.model {
            add("model", model.clone().into());
            add("sample", self.sample.into());
        }
        if let Some(pair) = &self.pair {
            add("pair", json!(pair));
            add("sample", self.sample.into());
        }
        add("row", Value::Object(self.row.columns.clone()));
        if let Some(prompt) = &self.prompt {
            add("prompt", serde_json::to_value(prompt).unwrap_or_default());
        }
        if let Some(completion) = &self.completion {
            add("completion", completion.text.clone().into());
            add("status", serde_json::to_value(completion.status).unwrap_or_default());
            add("finish_reason", completion.finish_reason.clone().into());
            for (name, said) in
                [("raw", &completion.raw), ("reasoning", &completion.reasoning), ("refusal", &completion.refusal)]
            {
                if let Some(said) = said {
                    add(name, said.clone().into());
                }
            }
            if let Some(calls) = &completion.tool_calls {
                add("tool_calls", calls.clone());
            }
        }
        if let Some(meta) = &self.meta {
            add("error", meta.error.clone().into());
            if with_meta {
                add(
                    "meta",
                    json!({
                        "latency": meta.latency,
                        "prompt_tokens": meta.prompt_tokens,
                        "completion_tokens": meta.completion_tokens,
                        "cost_usd": self.price.and_then(|price| price.cost(&meta.usage())),
                        "served_model": meta.served_model,
                    }),
                );
            }
        }
        if let Some(baseline) = &self.baseline {
            add("baseline", baseline.text.clone().into());
        }
        match &self.result {
            RowResult::None => {}
            RowResult::Scores(scores) => {
                for (name, value) in &self.extracted {
                    add(name, value.clone());
                }
                add("scores", Value::Object(scores.clone()));
            }
            RowResult::Judgement(judgement, judges) => {
                let sides = match &self.pair {
                    Some([first, second]) => [first.as_str(), second],
                    None => [self.model.as_deref().unwrap_or_default(), "baseline"],
                };
                add_judgement(judgement, judges, sides, &mut document);
            }
        }
        document
    }
}

/// Returns which of the two sides stood as A and as B, what was said and why, for each order in which they were shown.
fn asked(shown: &[ShownOrder], orders: &[Option<Outcome>], sides: [&str; 2]) -> Value {
    let order = |(shown, said): (&ShownOrder, &Option<Outcome>)| {
        let [a, b] = if shown.first { sides } else { [sides[1], sides[0]] };
        json!({ "a": a, "b": b, "verdict": said, "reason": shown.reason })
    };
    shown.iter().zip(orders).map(order).collect()
}

fn add_judgement(judgement: &Judgement, judges: &[String], sides: [&str; 2], document: &mut Map<String, Value>) {
    let mut add = |name: &str, value: Value| document.insert(name.to_owned(), value);
    add("status", serde_json::to_value(judgement.status).unwrap_or_default());
    if let Some(scores) = &judgement.scores {
        add("scores", Value::Object(scores.clone()));
    }
    if judgement.verdict.is_some() || !judgement.orders.is_empty() {
        add("verdict", json!(judgement.verdict));
    }
    if !judgement.orders.is_empty() {
        add("orders", json!(judgement.orders));
    }
    if !judgement.shown.is_empty() {
        add("asked", asked(&judgement.shown, &judgement.orders, sides));
    }
    if !judgement.votes.is_empty() {
        let mut votes = serde_json::to_value(&judgement.votes).unwrap_or_default();
        for (said, vote) in votes.as_array_mut().into_iter().flatten().zip(&judgement.votes) {
            said["judge"] = json!(judges.get(vote.judge as usize));
            if let (Value::Object(said), false) = (said, vote.shown.is_empty()) {
                said.shift_remove("shown");
                said.insert("asked".to_owned(), asked(&vote.shown, &vote.orders, sides));
            }
        }
        add("votes", votes);
    }
    add("reason", judgement.reason.clone().into());
}

/// Calls `each` with every row of a node, sorted by id and sample, until it returns false.
///
/// # Errors
///
/// An artifact is damaged or cannot be read.
pub fn each_row(
    session: &Session,
    index: usize,
    found: &Found,
    mut each: impl FnMut(ShownRow) -> bool,
) -> Result<(), StageError> {
    let node = &session.plan.nodes[index];
    let store = &session.store;
    let showing = Showing::new(session, node, found);
    if node.stage.makes() == Makes::Rows {
        for row in store.read_artifact::<Row>(&found.manifest.artifact)? {
            if !each(showing.bare(row?)) {
                break;
            }
        }
        return Ok(());
    }
    let mut inputs = found.inputs.clone();
    if node.stage.makes() == Makes::Completions {
        inputs.insert(Part::OWN, found.manifest.clone());
    }
    let open = || &found.manifest.artifact;
    let mut scores = match node.stage.makes() {
        Makes::Scores => Some(ByRow::<Scores>::open(store, open())?),
        _ => None,
    };
    let mut judgements = match node.stage.makes() {
        Makes::Judgements => Some(ByRow::<Judgement>::open(store, open())?),
        _ => None,
    };
    for joined in Join::open(store, &inputs, true)? {
        let joined = joined?;
        let id = &joined.row.id;
        let mut rows = Vec::new();
        for scores in scores.as_mut().map(|scores| scores.take(id)).transpose()?.into_iter().flatten() {
            rows.push(showing.of(&joined, scores.sample, None, RowResult::Scores(scores.scores)));
        }
        for judgement in judgements.as_mut().map(|all| all.take(id)).transpose()?.into_iter().flatten() {
            let (sample, pair) = (judgement.sample, judgement.pair);
            let result = RowResult::Judgement(Box::new(judgement), showing.judges.clone());
            rows.push(showing.of(&joined, sample, pair, result));
        }
        if node.stage.makes() == Makes::Completions {
            let samples = joined.completions.iter().map(|completion| completion.sample);
            rows.extend(samples.map(|sample| showing.of(&joined, sample, None, RowResult::None)));
        }
        for row in rows {
            if !each(row) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What all rows of a node share.
struct Showing<'a> {
    session: &'a Session,
    node: &'a Node,
    /// The models whose completions are read: the node's own first.
    contestants: Vec<&'a str>,
    judges: Vec<String>,
    /// What the node's model costs.
    price: Option<Price>,
    /// Prompts can be rendered again exactly as they were.
    is_asked: bool,
}

impl<'a> Showing<'a> {
    fn new(session: &'a Session, node: &'a Node, found: &Found) -> Showing<'a> {
        let nodes = &session.plan.nodes;
        let contestants = Part::contestants().filter_map(|part| nodes[node.input(part)?].model.as_deref());
        Showing {
            session,
            node,
            contestants: contestants.collect(),
            price: node.model.as_ref().and_then(|model| session.plan.spec.models.get(model)?.call_price()),
            judges: node.callees.iter().map(|(_, judge)| judge.clone()).collect(),
            is_asked: node.stage.makes() == Makes::Completions && !found.is_stale,
        }
    }

    fn bare(&self, row: Row) -> ShownRow {
        ShownRow {
            row,
            model: self.node.model.clone(),
            sample: 0,
            pair: None,
            prompt: None,
            completion: None,
            baseline: None,
            draft: None,
            extracted: Map::new(),
            meta: None,
            price: self.price,
            result: RowResult::None,
        }
    }

    fn of(&self, joined: &Joined, sample: u32, pair: Option<[u32; 2]>, result: RowResult) -> ShownRow {
        let [first, second] = pair.map_or([0, 1], |pair| pair.map(|place| place as usize));
        let text = |contestant: usize| of_sample(joined.of(contestant)?, sample).cloned();
        let own = joined.completions.iter().find(|completion| completion.sample == sample).cloned();
        let prompt = self.is_asked.then(|| {
            self.node.stage.asked(&Shown {
                model: self.node.model.as_deref(),
                params: &self.session.plan.spec.params,
                row: &joined.row,
                sample,
                draft: of_sample(&joined.drafts, sample),
            })
        });
        let said = own.as_ref().filter(|_| matches!(result, RowResult::Scores(_)));
        let params = &self.session.plan.spec.params;
        let extracted =
            said.map(|said| self.node.stage.extracted(&joined.row, said, self.node.model.as_deref(), params));
        let name = |place: usize| self.contestants.get(place).copied().unwrap_or_default().to_owned();
        ShownRow {
            pair: pair.map(|_| [name(first), name(second)]),
            prompt: prompt.flatten(),
            completion: if first == 0 { own } else { text(first) },
            baseline: text(second),
            draft: of_sample(&joined.drafts, sample).cloned(),
            extracted: extracted.unwrap_or_default(),
            meta: joined.meta.iter().find(|meta| meta.sample == sample).cloned(),
            sample,
            result,
            ..self.bare(joined.row.clone())
        }
    }
}
