//! One model: its completion log, its pool of calls, and the right to ask.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, OnceCell};

use super::batcher::{Batcher, MOST_REQUESTS};
use super::quote::Experience;
use crate::digest::{Digest, OwnBits};
use crate::provider::{ErrorKind, Pool, Provider};
use crate::stage::StageError;
use crate::store::{CompletionLog, Holder, Lock, Store, Watch};

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

/// So many earlier calls say what further ones take.
const EXPERIENCE: usize = 256;

/// One model: its completion log, and the way to buy more.
pub struct Desk {
    pub(super) pool: Pool,
    pub(super) identity: Digest,
    pub(super) log: CompletionLog,
    pub(super) mode: Mode,
    pub(super) store: Arc<Store>,
    pub(super) batcher: Batcher,
    /// The OS lock of the model, held while any node of this process buys.
    buyer: tokio::sync::Mutex<Weak<Lock>>,
    /// The requests that are being asked now, with whom to wake when the reply is there.
    asking: Mutex<HashMap<Digest, Option<Arc<Notify>>, OwnBits>>,
    /// The requests that a dry desk has counted.
    pub(super) planned: Mutex<HashSet<Digest, OwnBits>>,
    /// The generation of completions that `--refresh` buys.
    pub(super) next_generation: u32,
    /// An account of this run buys everything anew.
    pub(super) is_refreshing: AtomicBool,
    pub(super) clock: Clock,
    /// What earlier calls took; read from the log when it is first needed.
    experience: OnceLock<Mutex<Experience>>,
    /// The user wants to stop.
    stop: Arc<AtomicBool>,
    /// The files whose content is in the model's identity: weights, recordings.
    watch: Watch,
    /// What the preflight found; empty before it ran.
    checked: OnceCell<Result<(), String>>,
}

/// Pauses between attempts to reach an endpoint before the first call; a server may be starting.
const PREFLIGHT_PAUSES: &[Duration] = &[Duration::from_millis(300), Duration::from_millis(900)];

impl Desk {
    /// Returns the digest under which the completions of a model are kept.
    pub fn identity(provider: &dyn Provider) -> Digest {
        Digest::of_json("etalon.model.v1", &serde_json::Value::Object(provider.identity()))
    }

    /// Opens the desk of a model, with the completions in its log.
    ///
    /// # Errors
    ///
    /// The completion log of the model cannot be read.
    pub fn new(
        pool: Pool,
        store: &Arc<Store>,
        mode: Mode,
        stop: &Arc<AtomicBool>,
        watch: Watch,
    ) -> Result<Desk, StageError> {
        let identity = Desk::identity(&*pool.provider);
        let log = store.completions(&identity)?;
        let next_generation = log.highest_generation() + 1;
        Ok(Desk {
            pool,
            identity,
            log,
            mode,
            store: store.clone(),
            batcher: Batcher::default(),
            buyer: tokio::sync::Mutex::default(),
            asking: Mutex::default(),
            planned: Mutex::default(),
            next_generation,
            is_refreshing: AtomicBool::new(false),
            clock: Clock::default(),
            experience: OnceLock::new(),
            stop: stop.clone(),
            watch,
            checked: OnceCell::new(),
        })
    }

    /// Returns how many calls may be in flight.
    pub fn concurrency(&self) -> usize {
        if self.is_batched() { MOST_REQUESTS } else { self.pool.concurrency() }
    }

    /// Returns true if requests are sent as batches.
    pub(super) fn is_batched(&self) -> bool {
        self.mode != Mode::Dry && self.pool.provider.batch().is_some()
    }

    /// Returns true once the user wants to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns how many more calls could be made right now.
    pub fn idle(&self) -> usize {
        if self.mode == Mode::Dry || self.is_batched() { 0 } else { self.pool.idle() }
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
    pub(super) async fn preflight(&self) -> Result<(), String> {
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

    /// Takes the lock of the model. `waiting` is told who holds it, if another process does.
    ///
    /// # Errors
    ///
    /// The lock cannot be had, or the user wants to stop.
    pub(super) async fn buyer_lock(&self, waiting: impl FnOnce(Holder)) -> Result<Arc<Lock>, StageError> {
        let mut held = self.buyer.lock().await;
        if let Some(lock) = held.upgrade() {
            return Ok(lock);
        }
        let lock = self.store.lock(&format!("model-{}", self.identity), &self.stop, waiting).await?;
        let lock = Arc::new(lock.ok_or(StageError::Interrupted)?);
        self.log.refresh()?;
        *held = Arc::downgrade(&lock);
        Ok(lock)
    }

    /// Returns why an answer may not be of the model that the key says: one of its files has been touched since it was
    /// digested.
    pub(super) fn touched(&self) -> Option<String> {
        let path = self.watch.changed()?;
        Some(format!(
            "{} changed while the model answered, so it is not known which content did; run again",
            path.display()
        ))
    }

    /// Returns what earlier calls of the model took.
    pub(super) fn experience(&self) -> MutexGuard<'_, Experience> {
        let read = || {
            let mut experience = Experience::default();
            for (bytes, response) in self.log.latest(EXPERIENCE) {
                if let Ok(reply) = self.pool.provider.read(&response) {
                    experience.add(bytes, &reply.usage);
                }
            }
            Mutex::new(experience)
        };
        self.experience.get_or_init(read).lock().expect("no panic while locked")
    }

    /// Becomes the only asker of a request; waits while another node asks the same.
    pub(super) async fn asker(&self, key: Digest) -> Asker<'_> {
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
pub(super) struct Asker<'a> {
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

/// A clock that may be read for every call: it formats its text once a second.
#[derive(Default)]
pub(super) struct Clock(Mutex<(u64, Arc<str>)>);

impl Clock {
    /// Returns the time as `2026-11-23T20:05:01Z`.
    pub fn now(&self) -> Arc<str> {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut last = self.0.lock().expect("no panic while locked");
        if last.0 != second {
            *last = (second, humantime::format_rfc3339_seconds(now).to_string().into());
        }
        last.1.clone()
    }
}
