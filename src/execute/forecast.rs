//! The forecast: what a run would do, why, and how many calls it would make.
//!
//! Datasets are read for real, since that costs nothing and settles the keys behind them; but no program is started, so
//! that rows which a program prints are not known before it has run. Every node that calls a model
//! is then made with a desk that never buys. If all completions of a node are in the log, the node is settled too; the
//! nodes behind one that is not settled are `maybe`, and their calls an upper bound.
//!
//! **Invariant:** a plan leaves no artifact and no manifest. What it makes lies in a scratch directory, which is
//! removed with the session.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::ExecuteError;
use super::look::{Look, MissReason, look, why_absent};
use super::make::attempt;
use super::session::Session;
use crate::digest::Digest;
use crate::stage::{Account, Inputs, Makes, Part, Produced, Progress, Quote, StageError};
use crate::store::{Fingerprint, Manifest, StoreError};

/// What a run would do with a node: take it from the store, make it, or perhaps make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Hit,
    Run,
    /// The node depends on a node that will run: its calls are an upper bound.
    Maybe,
}

/// What a run would do with a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    pub node: String,
    pub kind: String,
    pub state: State,
    pub reason: String,
    /// The reason as a value that programs can tell apart; none for a hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miss: Option<MissReason>,
    /// Rows of the node; at most so many behind nodes that are not settled.
    pub rows: u64,
    /// Neither rows nor calls are known: the node's rows, or those of a node before it, come from a program, and a plan
    /// starts none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unknown: bool,
    /// Calls that a run would make.
    pub calls: u64,
    /// Completions that are in the log.
    pub reused: u64,
    /// Calls that a run would make at least, and at most: behind nodes that are not settled it may be none, and a judge
    /// whose replies could not always be read is asked again.
    pub calls_low: u64,
    pub calls_high: u64,
    /// Prompt tokens of the calls, by the earlier calls of the model; without any, estimated at four bytes each.
    pub tokens: u64,
    /// Dollars that the calls would cost; none if that is not known.
    pub cost_usd: Option<f64>,
    /// The range in which the cost lies, by the earlier calls of the model.
    pub cost_low: Option<f64>,
    pub cost_high: Option<f64>,
    /// The node's key, where everything that it reads is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// Why the node cannot be made at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Forecast {
    /// Adds the ranges of calls and dollars. `again` is the share of calls that were repeated the last time.
    fn add_range(&mut self, accounts: &[Arc<Account>], again: f64) {
        let is_certain = self.state == State::Run;
        self.calls_low = if is_certain { self.calls } else { 0 };
        self.calls_high = self.calls + (self.calls as f64 * again).ceil() as u64;
        let quotes: Vec<Quote> = accounts.iter().filter_map(|account| account.quote()).collect();
        if quotes.is_empty() {
            return;
        }
        let sum = |of: fn(&Quote) -> f64| Some(quotes.iter().map(of).sum::<f64>());
        self.cost_usd = sum(|quote| quote.expected);
        self.cost_low = if is_certain { sum(|quote| quote.low) } else { Some(0.0) };
        self.cost_high = sum(|quote| quote.high).map(|cost| cost * (1.0 + again));
    }

    fn because(&mut self, reason: MissReason) {
        self.reason = reason.to_string();
        self.miss = Some(reason);
    }
}

/// What is known about a node while forecasting.
#[derive(Clone)]
pub(super) struct Known {
    pub manifest: Manifest,
    /// The node's rows are the very ones that a run would make.
    pub is_settled: bool,
}

/// Forecasts a run. The session's desks are dry.
///
/// # Errors
///
/// The cache cannot be read or written. What is wrong with a single node stands in its [`Forecast::error`].
pub async fn forecast(session: Arc<Session>) -> Result<Vec<Forecast>, ExecuteError> {
    Ok(forecast_known(&session).await?.0)
}

/// Forecasts a run; returns also what is known about each node of the plan.
pub(super) async fn forecast_known(
    session: &Arc<Session>,
) -> Result<(Vec<Forecast>, Vec<Option<Known>>), ExecuteError> {
    let mut known: Vec<Option<Known>> = vec![None; session.plan.nodes.len()];
    let mut forecasts = Vec::new();
    for index in (0..session.plan.nodes.len()).filter(|index| session.selected[*index]) {
        let mut attempt = 0;
        let (forecast, made) = loop {
            match one(session, index, &known).await {
                // An input is damaged: its manifest is removed, and the forecast starts again, now with its maker as a
                // miss.
                Err(StageError::Store(StoreError::Corrupt { digest, .. })) if attempt < 3 => {
                    attempt += 1;
                    remake(session, &mut known, &mut forecasts, index, digest).await;
                }
                Ok(done) => break done,
                Err(error) => {
                    let mut forecast = blank(session, index);
                    forecast.error = Some(error.to_string());
                    break (forecast, None);
                }
            }
        };
        known[index] = made;
        forecasts.push(forecast);
    }
    session.save();
    Ok((forecasts, known))
}

async fn remake(
    session: &Arc<Session>,
    known: &mut [Option<Known>],
    forecasts: &mut [Forecast],
    index: usize,
    digest: Digest,
) {
    let inputs = session.plan.nodes[index].inputs.clone();
    for (_, input) in inputs {
        let Some(manifest) = known[input].as_ref().map(|known| known.manifest.clone()) else {
            continue;
        };
        if manifest.holds(&digest) {
            session.store.forget(&manifest.key);
            if let Ok((mut forecast, made)) = one(session, input, known).await {
                forecast.because(MissReason::Damaged { what: "its artifact was damaged".to_owned() });
                let name = &session.plan.nodes[input].name;
                if let Some(earlier) = forecasts.iter_mut().find(|earlier| earlier.node == *name) {
                    *earlier = forecast;
                }
                known[input] = made;
            }
        }
    }
}

fn blank(session: &Session, index: usize) -> Forecast {
    let node = &session.plan.nodes[index];
    Forecast {
        node: node.name.clone(),
        kind: node.stage.kind().to_owned(),
        state: State::Run,
        reason: String::new(),
        miss: None,
        rows: 0,
        is_unknown: false,
        calls: 0,
        reused: 0,
        calls_low: 0,
        calls_high: 0,
        tokens: 0,
        cost_usd: None,
        cost_low: None,
        cost_high: None,
        key: None,
        error: None,
    }
}

async fn one(
    session: &Arc<Session>,
    index: usize,
    known: &[Option<Known>],
) -> Result<(Forecast, Option<Known>), StageError> {
    let node = &session.plan.nodes[index];
    let mut forecast = blank(session, index);
    let mut inputs = BTreeMap::new();
    let mut unsettled = Vec::new();
    for (part, input) in &node.inputs {
        let name = &session.plan.nodes[*input].name;
        let Some(upstream) = &known[*input] else {
            forecast.state = State::Maybe;
            forecast.is_unknown = true;
            forecast.because(MissReason::DependsOn { nodes: vec![name.clone()] });
            return Ok((forecast, None));
        };
        if !upstream.is_settled && !unsettled.contains(name) {
            unsettled.push(name.clone());
        }
        inputs.insert(*part, upstream.manifest.clone());
    }
    let mut key = None;
    if unsettled.is_empty() {
        match look(session, index, &inputs, true)? {
            Look::Hit(manifest) => {
                forecast.key = Some(manifest.key);
                forecast.state = State::Hit;
                forecast.rows = manifest.counts.rows;
                let is_other =
                    session.records().is_narrowed() && session.records().last_key(&node.name) != Some(manifest.key);
                forecast.reason = match is_other {
                    true => why_absent(session, index, &manifest.fingerprint, &inputs, true).to_string(),
                    false => "unchanged".to_owned(),
                };
                return Ok((forecast, Some(Known { manifest: *manifest, is_settled: true })));
            }
            Look::Miss { key: missed, reason } => {
                key = Some(missed);
                forecast.key = key;
                forecast.because(reason);
            }
        }
    } else {
        forecast.state = State::Maybe;
        forecast.because(MissReason::DependsOn { nodes: unsettled.clone() });
    }
    forecast.rows = upper_rows(&inputs);
    // A node that calls no model and makes only scores is not made by a plan: it costs nothing, so a run makes it.
    let is_planned = matches!(node.stage.makes(), Makes::Rows | Makes::Completions) || !node.callees.is_empty();
    if !is_planned {
        return Ok((forecast, None));
    }
    if !session.launches_of(index)?.is_empty() {
        forecast.is_unknown = true;
        return Ok((forecast, None));
    }
    let (produced, accounts) = attempt(session, index, &inputs, &Arc::new(Progress::default())).await;
    let produced = produced?;
    forecast.rows = produced.counts.rows;
    forecast.calls = accounts.iter().map(|account| account.calls()).sum();
    forecast.reused = accounts.iter().map(|account| account.reused()).sum();
    forecast.tokens = accounts.iter().map(|account| account.tokens()).sum();
    forecast.add_range(&accounts, again(session, &node.name));
    let is_settled = unsettled.is_empty() && forecast.calls == 0 && produced.counts.failed == 0;
    let fingerprint = session.fingerprint(index, &inputs)?;
    let manifest = manifest_of(produced, fingerprint, key);
    Ok((forecast, Some(Known { manifest, is_settled })))
}

/// Returns which share of a node's answers were of no use the last time it was made, and asked for once more.
fn again(session: &Session, node: &str) -> f64 {
    let last = session.records().last(node);
    let bill = last.and_then(|(run, _)| run.nodes.iter().find(|known| known.node == node)).map(|node| node.bill);
    bill.filter(|bill| bill.answered > 0).map_or(0.0, |bill| bill.useless as f64 / bill.answered as f64)
}

/// Returns how many rows a node will have at most, judging by its inputs.
fn upper_rows(inputs: &Inputs) -> u64 {
    let of = |part: Part| inputs.get(&part).map(|manifest| manifest.artifact.rows);
    of(Part::OWN).or(of(Part::Rows)).unwrap_or(0)
}

fn manifest_of(produced: Produced, fingerprint: Fingerprint, key: Option<Digest>) -> Manifest {
    Manifest {
        key: key.unwrap_or_else(|| fingerprint.key()),
        fingerprint,
        artifact: produced.artifact,
        meta: produced.meta,
        counts: produced.counts,
        summary: produced.summary,
        notes: produced.notes,
    }
}
