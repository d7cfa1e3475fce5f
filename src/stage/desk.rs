//! The desk buys completions. A request whose reply is in the completion log is answered from there; any other is sent
//! to the model, once.
//!
//! ```text
//! ask → log? → (one asker per request) → buyer's lock → log again? → pool → log → reply
//! ```
//!
//! One process buys from a model at a time: the first miss of a node takes the OS lock of the model
//! and reads what others have bought meanwhile. So two runs in one workspace never pay for the same
//! request, and the model's concurrency holds across processes.
//!
//! **Invariant:** a reply is in the log before anyone sees it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Notify, OnceCell};

use super::StageError;
use crate::digest::{Digest, OwnBits};
use crate::provider::{CallError, ErrorKind, Pool, Reply, Request};
use crate::row::Meta;
use crate::spec::{ModelSpec, Price};
use crate::store::{CompletionLog, Lock, NewRecord, Record, Store, request_key};

/// What a desk may do when the log does not have the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Buy it.
    Live,
    /// Buy it only if the provider is reached without the network.
    Offline,
    /// Buy nothing; count the call.
    Dry,
}

/// One model: its completion log, and the way to buy more.
pub struct Desk {
    /// The model's name in the spec.
    pub name: String,
    pool: Pool,
    identity: Digest,
    log: CompletionLog,
    mode: Mode,
    price: Option<Price>,
    store: Arc<Store>,
    /// The OS lock of the model, held while any node of this process buys.
    buyer: tokio::sync::Mutex<Weak<Lock>>,
    /// The requests that are being asked now, with whom to wake when the reply is there.
    asking: Mutex<HashMap<Digest, Option<Arc<Notify>>, OwnBits>>,
    /// The requests that a dry desk has counted.
    planned: Mutex<HashSet<Digest, OwnBits>>,
    /// The generation of completions that `--refresh` buys.
    next_generation: u32,
    /// An account of this run buys everything anew.
    is_refreshing: AtomicBool,
    clock: Clock,
    /// What the preflight found; empty before it ran.
    checked: OnceCell<Result<(), String>>,
}

/// Pauses between attempts to reach an endpoint before the first call; a server may be starting.
const PREFLIGHT_PAUSES: &[Duration] = &[Duration::from_millis(300), Duration::from_millis(900)];

/// The desks that are checked before a node buys for the first time: those of its own models, and those that will be
/// asked about what it makes. So a key that only the judge lacks is reported before the first row is paid.
#[derive(Default)]
pub struct Preflight {
    desks: Vec<Arc<Desk>>,
    done: OnceCell<Result<(), String>>,
}

impl Preflight {
    /// Returns the check of these desks, which has not been made yet.
    pub fn new(desks: Vec<Arc<Desk>>) -> Preflight {
        Preflight { desks, done: OnceCell::new() }
    }

    async fn check(&self) -> Result<(), String> {
        let check = || async {
            let checks =
                self.desks.iter().map(|desk| async move { desk.preflight().await.map_err(|error| (desk, error)) });
            let mut messages: Vec<(String, Vec<&str>)> = Vec::new();
            for (desk, error) in join_all(checks).await.into_iter().filter_map(Result::err) {
                match messages.iter_mut().find(|(message, _)| *message == error) {
                    Some((_, names)) => names.push(&desk.name),
                    None => messages.push((error, vec![&desk.name])),
                }
            }
            let named = |(message, names): (String, Vec<&str>)| format!("{}: {message}", names.join(", "));
            if messages.is_empty() {
                return Ok(());
            }
            Err(messages.into_iter().map(named).collect::<Vec<_>>().join("; "))
        };
        self.done.get_or_init(check).await.clone()
    }
}

impl Desk {
    /// Opens the desk of a model, with the completions in its log.
    ///
    /// # Errors
    ///
    /// The completion log of the model cannot be read.
    pub fn new(name: &str, pool: Pool, spec: &ModelSpec, store: &Arc<Store>, mode: Mode) -> Result<Desk, StageError> {
        let identity = Digest::of_json("etalon.model.v1", &serde_json::Value::Object(pool.provider.identity()));
        let log = store.completions(&identity)?;
        let next_generation = log.highest_generation() + 1;
        Ok(Desk {
            name: name.to_owned(),
            pool,
            identity,
            log,
            mode,
            price: spec.price,
            store: store.clone(),
            buyer: tokio::sync::Mutex::default(),
            asking: Mutex::default(),
            planned: Mutex::default(),
            next_generation,
            is_refreshing: AtomicBool::new(false),
            clock: Clock::default(),
            checked: OnceCell::new(),
        })
    }

    /// Returns how many calls may be in flight.
    pub fn concurrency(&self) -> usize {
        self.pool.concurrency()
    }

    /// Returns how many more calls could be made right now.
    pub fn idle(&self) -> usize {
        if self.mode == Mode::Dry { 0 } else { self.pool.idle() }
    }

    /// Returns true if some completion was bought anew, or is to be in this run; of two replies to one request the later
    /// one counts then.
    pub fn has_been_refreshed(&self) -> bool {
        self.log.highest_generation() > 0 || self.is_refreshing.load(Ordering::Relaxed)
    }

    /// Returns what to do about an API key that is not set.
    pub fn missing_key(&self) -> Option<String> {
        self.pool.provider.missing_key()
    }

    /// Checks that calls can succeed. It tries a few times, since a server may be starting.
    ///
    /// # Errors
    ///
    /// No call can succeed; the message says why.
    async fn preflight(&self) -> Result<(), String> {
        let check = || async {
            for pause in PREFLIGHT_PAUSES {
                match self.pool.preflight().await {
                    Err(error) if error.kind == ErrorKind::Connect => tokio::time::sleep(*pause).await,
                    other => return other,
                }
            }
            self.pool.preflight().await
        };
        let checked = self.checked.get_or_init(|| async { check().await.map_err(|error| error.message) });
        checked.await.clone()
    }

    async fn buyer_lock(&self) -> Result<Arc<Lock>, StageError> {
        let mut held = self.buyer.lock().await;
        if let Some(lock) = held.upgrade() {
            return Ok(lock);
        }
        let lock = Arc::new(self.store.lock(&format!("model-{}", self.identity), || {}).await?);
        self.log.refresh()?;
        *held = Arc::downgrade(&lock);
        Ok(lock)
    }

    /// Becomes the only asker of a request; waits while another node asks the same.
    async fn asker(&self, key: Digest) -> Asker<'_> {
        loop {
            let other = {
                let mut asking = self.asking.lock().expect("no panic while locked");
                match asking.entry(key) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(None);
                        return Asker { desk: self, key };
                    }
                    Entry::Occupied(mut other) => {
                        let done = other.get_mut().get_or_insert_with(Arc::default).clone();
                        // Registered before `asking` is unlocked, so that the other asker cannot finish unnoticed.
                        let mut waiting = Box::pin(done.notified_owned());
                        waiting.as_mut().enable();
                        waiting
                    }
                }
            };
            other.await;
        }
    }
}

/// The right to ask one request; dropping it wakes those who wait for the reply.
struct Asker<'a> {
    desk: &'a Desk,
    key: Digest,
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        let waiting = self.desk.asking.lock().expect("no panic while locked").remove(&self.key).flatten();
        if let Some(waiting) = waiting {
            waiting.notify_waiters();
        }
    }
}

/// What came of asking for a completion.
#[derive(Clone, Debug, PartialEq)]
pub enum Bought {
    Reply(Box<Reply>, Meta),
    /// The call failed for good; the message names the endpoint.
    Failed(String),
    /// A dry desk does not have it and does not buy.
    Unknown,
}

/// What one node buys from one desk, counted.
pub struct Account {
    desk: Arc<Desk>,
    /// The generation that counts; older completions are bought anew.
    generation: u32,
    lock: OnceCell<Arc<Lock>>,
    calls: AtomicU64,
    reused: AtomicU64,
    tokens: AtomicU64,
    /// Calls without a price: their prompts cannot be rendered yet.
    unpriced: AtomicU64,
    /// In millionths of a dollar.
    cost_micros: AtomicU64,
    /// Of a dry desk: the requests that this account was the first to count.
    planned: Mutex<Vec<Digest>>,
    /// The message that stopped the model, if any.
    fatal: Mutex<Option<String>>,
    preflight: Arc<Preflight>,
}

impl Account {
    /// Opens an account; `is_refresh` buys everything anew.
    pub fn new(desk: Arc<Desk>, is_refresh: bool, preflight: &Arc<Preflight>) -> Account {
        let generation = if is_refresh { desk.next_generation } else { 0 };
        desk.is_refreshing.fetch_or(is_refresh, Ordering::Relaxed);
        Account {
            desk,
            generation,
            lock: OnceCell::new(),
            calls: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            unpriced: AtomicU64::new(0),
            cost_micros: AtomicU64::new(0),
            planned: Mutex::default(),
            fatal: Mutex::new(None),
            preflight: preflight.clone(),
        }
    }

    /// Returns the desk.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Returns how many calls were made; for a dry desk, how many would be.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns how many completions came from the log.
    pub fn reused(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// Counts completions that were taken over with the unchanged rows of an earlier result. What a judge was asked
    /// again for those rows, because a reply could not be read, is not known any more and not counted.
    pub fn keep(&self, completions: u64) {
        self.reused.fetch_add(completions, Ordering::Relaxed);
    }

    /// Takes back what a dry account has counted, because its node is looked at anew. A live account keeps its counts:
    /// what it bought was bought.
    pub fn take_back(&self) {
        if self.desk.mode != Mode::Dry {
            return;
        }
        let mut planned = self.desk.planned.lock().expect("no panic while locked");
        for key in self.planned.lock().expect("no panic while locked").drain(..) {
            planned.remove(&key);
        }
        for count in [&self.calls, &self.reused, &self.tokens, &self.unpriced, &self.cost_micros] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// Returns an estimate of the prompt tokens of the calls: four bytes each.
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Returns what the calls cost in dollars. None if the model has no price, or if some calls cannot be rendered yet,
    /// so that their price is not known.
    pub fn cost_usd(&self) -> Option<f64> {
        if self.unpriced.load(Ordering::Relaxed) > 0 {
            return None;
        }
        self.desk.price.map(|_| self.cost_micros.load(Ordering::Relaxed) as f64 / 1e6)
    }

    /// Returns the message of the error that stopped the model, if one did.
    pub fn fatal(&self) -> Option<String> {
        self.fatal.lock().expect("no panic while locked").clone()
    }

    /// Counts calls that cannot be rendered yet, at most so many: a plan shows them as an upper bound.
    pub fn expect_calls(&self, calls: u64) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
        self.unpriced.fetch_add(calls, Ordering::Relaxed);
    }

    /// Returns the reply to a request: from the log, else from the model.
    ///
    /// # Errors
    ///
    /// The log cannot be read or written, the model's lock cannot be had, or the user stopped the run. A call that
    /// failed is not an error here: it is [`Bought::Failed`].
    pub async fn ask(&self, request: &Request) -> Result<Bought, StageError> {
        let desk = &*self.desk;
        let mut body = Vec::with_capacity(1024);
        desk.pool.provider.body(request, &mut body);
        let body = Bytes::from(body);
        let key = request_key(&desk.identity, &body, request.sample);
        if let Some(outcome) = self.recall(&key)? {
            return Ok(outcome);
        }
        if desk.mode == Mode::Dry {
            // A request that stands twice in the plan is bought once, and so counted once.
            if desk.planned.lock().expect("no panic while locked").insert(key) {
                self.planned.lock().expect("no panic while locked").push(key);
                self.calls.fetch_add(1, Ordering::Relaxed);
                let tokens = (body.len() / 4) as u64;
                self.tokens.fetch_add(tokens, Ordering::Relaxed);
                if let Some(price) = desk.price {
                    let max_tokens =
                        request.options.get("max_tokens").and_then(serde_json::Value::as_u64).unwrap_or(256);
                    self.add_cost(price, tokens, max_tokens);
                }
            } else {
                self.reused.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(Bought::Unknown);
        }
        if desk.mode == Mode::Offline && desk.pool.provider.reach().needs_network() {
            return Ok(Bought::Failed(format!("offline, and the completion of {} is not in the cache", desk.name)));
        }
        let _asker = desk.asker(key).await;
        self.lock.get_or_try_init(|| desk.buyer_lock()).await?;
        if let Some(outcome) = self.recall(&key)? {
            return Ok(outcome);
        }
        if let Err(message) = self.preflight.check().await {
            let error = CallError::new(ErrorKind::Fatal, message);
            self.note_fatal(&error);
            return Ok(Bought::Failed(error.message));
        }
        match desk.pool.call(&body, request).await {
            Ok(answer) => {
                self.calls.fetch_add(1, Ordering::Relaxed);
                let at = desk.clock.now();
                let record = NewRecord {
                    key: &key,
                    generation: self.generation,
                    sample: request.sample,
                    attempt: answer.attempts,
                    latency: answer.latency,
                    at: &at,
                    request: &body,
                    response: &answer.sent.raw,
                };
                // If the log cannot be written, the pool is closed: a reply that cannot be kept must not be bought.
                desk.log.append(&record).inspect_err(|error| desk.pool.close(&error.to_string()))?;
                let reply = answer.sent.reply;
                let meta = self.meta(&reply, answer.latency);
                if let Some(price) = desk.price {
                    self.add_cost(price, reply.prompt_tokens.unwrap_or(0), reply.completion_tokens.unwrap_or(0));
                }
                Ok(Bought::Reply(Box::new(reply), meta))
            }
            Err(error) if error.kind == ErrorKind::Stopped => Err(StageError::Interrupted),
            Err(error) => {
                self.note_fatal(&error);
                Ok(Bought::Failed(error.message))
            }
        }
    }

    fn add_cost(&self, price: Price, prompt_tokens: u64, completion_tokens: u64) {
        let micros = price.input * prompt_tokens as f64 + price.output * completion_tokens as f64;
        self.cost_micros.fetch_add(micros.round() as u64, Ordering::Relaxed);
    }

    fn note_fatal(&self, error: &CallError) {
        if error.kind == ErrorKind::Fatal {
            self.fatal.lock().expect("no panic while locked").get_or_insert_with(|| error.message.clone());
        }
    }

    fn recall(&self, key: &Digest) -> Result<Option<Bought>, StageError> {
        let Some(Record { latency, response }) = self.desk.log.find(key, self.generation)? else {
            return Ok(None);
        };
        // A stored reply that the provider cannot read any more is bought again.
        let Ok(reply) = self.desk.pool.provider.read(&response) else {
            return Ok(None);
        };
        let meta = self.meta(&reply, latency);
        self.reused.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Bought::Reply(Box::new(reply), meta)))
    }

    fn meta(&self, reply: &Reply, latency: f64) -> Meta {
        let meta = Meta {
            latency: Some(latency),
            prompt_tokens: reply.prompt_tokens,
            completion_tokens: reply.completion_tokens,
            served_model: reply.served_model.clone(),
            ..Meta::default()
        };
        Meta { cost_usd: self.cost_of(&meta), ..meta }
    }

    /// Returns what a completion costs in dollars by the model's price; none if it has no price.
    pub fn cost_of(&self, meta: &Meta) -> Option<f64> {
        let price = self.desk.price?;
        let (input, output) = (meta.prompt_tokens.unwrap_or(0), meta.completion_tokens.unwrap_or(0));
        Some((price.input * input as f64 + price.output * output as f64) / 1e6)
    }

    /// Forces what was bought onto the disk.
    ///
    /// # Errors
    ///
    /// The disk refuses the bytes.
    pub fn sync(&self) -> Result<(), StageError> {
        Ok(self.desk.log.sync()?)
    }
}

/// A clock that may be read for every call: it formats its text once a second.
#[derive(Default)]
struct Clock(Mutex<(u64, Arc<str>)>);

impl Clock {
    /// Returns the time as `2026-11-23T20:05:01Z`.
    fn now(&self) -> Arc<str> {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut last = self.0.lock().expect("no panic while locked");
        if last.0 != second {
            *last = (second, humantime::format_rfc3339_seconds(now).to_string().into());
        }
        last.1.clone()
    }
}
