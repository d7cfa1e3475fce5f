//! Making a node: its key is locked, its stage runs, and the result is published, if the key is still the same
//! afterwards.
//!
//! **Invariant:** if several processes want one key, one of them makes it; the others wait, and find the result in the
//! store.

use std::sync::Arc;
use std::time::Instant;

use super::look::heal;
use super::session::Session;
use super::{Event, Listener};
use crate::digest::Digest;
use crate::record::{Bill, NodeOutcome, NodeRun};
use crate::stage::{Account, Inputs, Produced, Progress, StageError, Unready};
use crate::store::{Lookup, Manifest, StoreError, Watch};

/// What came of making a node.
pub(super) enum Made {
    Cached(Box<Manifest>, String),
    Ran(Box<Manifest>, Box<NodeRun>),
    Failed(Box<NodeRun>),
    /// Nothing was made, since models behind the node cannot be asked.
    Pointless(Box<NodeRun>, Unready),
    /// An input turned out to be damaged; the node that made it must run again.
    Damaged {
        input: usize,
        reason: String,
    },
}

/// Returns the entry of a node in a run, with its outcome and reason only.
pub(super) fn blank(session: &Session, index: usize, outcome: NodeOutcome, reason: String) -> NodeRun {
    let node = &session.plan.nodes[index];
    NodeRun::new(&node.name, node.stage.kind(), outcome, reason)
}

/// A node that is being made.
struct Making<'a> {
    session: &'a Arc<Session>,
    index: usize,
    inputs: Inputs,
    key: Digest,
    reason: String,
    start: Instant,
    /// The accounts whose calls are counted.
    accounts: Vec<Arc<Account>>,
}

/// Makes a node that was a miss; if another process has made it meanwhile, it is a hit after all.
pub(super) async fn make(
    session: &Arc<Session>,
    index: usize,
    inputs: Inputs,
    key: Digest,
    reason: String,
    listener: &Listener,
) -> Made {
    let node = &session.plan.nodes[index];
    let mut making = Making { session, index, inputs, key, reason, start: Instant::now(), accounts: Vec::new() };
    let mut had_to_wait = false;
    let name = key.to_string();
    let stop = session.stop_flag();
    let lock = session.store.lock(&name, &stop, |holder| {
        had_to_wait = true;
        listener(Event::NodeWaiting {
            node: node.name.clone(),
            why: format!("waiting for {holder}, which makes the same"),
        });
    });
    let _lock = match lock.await {
        Ok(Some(lock)) => lock,
        Ok(None) => return making.broken(StageError::Interrupted),
        Err(error) => return making.failed(&error.into()),
    };
    if had_to_wait
        && !session.is_refreshed(index)
        && let Lookup::Hit(manifest) = session.store.lookup(&key)
        && manifest.counts.failed == 0
    {
        return Made::Cached(manifest, "made by another run meanwhile".to_owned());
    }
    let told = (listener.clone(), node.name.clone());
    let waiting = move |why| told.0(Event::NodeWaiting { node: told.1.clone(), why });
    let progress = Arc::new(Progress::telling(Arc::new(waiting)));
    let watch = session.fingerprint(index, &making.inputs).and_then(|known| session.watch(index, &known));
    let watch = match watch {
        Ok(watch) => watch,
        Err(error) => return making.failed(&error),
    };
    listener(Event::NodeStarted {
        node: node.name.clone(),
        kind: node.stage.kind(),
        reason: making.reason.clone(),
        progress: progress.clone(),
    });
    let (made, accounts) = attempt(session, index, &making.inputs, &progress).await;
    making.accounts = accounts;
    match made {
        Ok(produced) => making.publish(produced, &watch),
        Err(error) => making.broken(error),
    }
}

/// Runs a node's stage; returns also the accounts whose calls count. If the earlier result from which it takes rows over
/// turns out to be damaged, the stage runs again without it.
pub(super) async fn attempt(
    session: &Arc<Session>,
    index: usize,
    inputs: &Inputs,
    progress: &Arc<Progress>,
) -> (Result<Produced, StageError>, Vec<Arc<Account>>) {
    let stage = &session.plan.nodes[index].stage;
    let mut accounts: Vec<Arc<Account>> = Vec::new();
    let mut takes_over = true;
    loop {
        let job = match session.job(index, inputs.clone(), progress, takes_over) {
            Ok(job) => job,
            Err(error) => return (Err(error), accounts),
        };
        accounts.extend(job.accounts.values().cloned());
        let earlier = job.earlier.as_ref().map(|earlier| earlier.manifest.clone());
        match (stage.clone().run(job).await, earlier) {
            (Err(StageError::Store(StoreError::Corrupt { digest, .. })), Some(earlier)) if earlier.holds(&digest) => {
                session.store.forget(&earlier.key);
                accounts.iter().for_each(|account| account.take_back());
                progress.restart();
                takes_over = false;
            }
            (result, _) => return (result, accounts),
        }
    }
}

impl Making<'_> {
    /// Returns the entry of the node with what it has bought so far.
    fn entry(&self, outcome: NodeOutcome, reason: String) -> NodeRun {
        let mut bill = Bill::default();
        self.accounts.iter().for_each(|account| bill += account.bill());
        NodeRun {
            calls: bill.answered,
            reused: self.accounts.iter().map(|account| account.reused()).sum(),
            cost_usd: bill.bought_usd,
            bill,
            seconds: self.start.elapsed().as_secs_f64(),
            ..blank(self.session, self.index, outcome, reason)
        }
    }

    fn failed(&self, error: &StageError) -> Made {
        Made::Failed(Box::new(NodeRun {
            error: Some(error.to_string()),
            key: Some(self.key),
            ..self.entry(NodeOutcome::Failed, self.reason.clone())
        }))
    }

    /// Returns what an error of the stage means for the node.
    fn broken(&self, error: StageError) -> Made {
        match &error {
            StageError::Store(StoreError::Corrupt { digest, reason }) => {
                let healed = heal(&self.session.store, &self.inputs, *digest);
                match healed.and_then(|part| self.session.plan.nodes[self.index].input(part)) {
                    Some(input) => Made::Damaged { input, reason: format!("its artifact was {reason}") },
                    None => self.failed(&error),
                }
            }
            StageError::Interrupted => {
                let reason = self.session.why_stopped().to_owned();
                Made::Failed(Box::new(self.entry(NodeOutcome::Skipped, reason)))
            }
            StageError::Behind(unready) => {
                let reason = format!("not bought, since nothing could judge it: {}", unready.message);
                Made::Pointless(Box::new(self.entry(NodeOutcome::Skipped, reason)), unready.clone())
            }
            _ => self.failed(&error),
        }
    }

    /// Publishes the result if the key is the same as before: then nothing that the node depends on has changed
    /// meanwhile.
    fn publish(&self, produced: Produced, watch: &Watch) -> Made {
        // What was put back is touched, too.
        if let Some(path) = watch.changed().or_else(|| self.session.touched(self.index)) {
            return self.failed(&StageError::failed(format!("{} changed while it ran; run again", path.display())));
        }
        let fingerprint = match self.session.fingerprint(self.index, &self.inputs) {
            Ok(fingerprint) => fingerprint,
            Err(error) => return self.failed(&error),
        };
        if fingerprint.key() != self.key {
            return self.failed(&StageError::failed("a file that it reads changed while it ran; run again"));
        }
        let Produced { artifact, meta, mut counts, summary, notes } = produced;
        counts.seconds = self.start.elapsed().as_secs_f64();
        let manifest = Manifest { key: self.key, fingerprint, artifact, meta, counts, summary, notes };
        let store = &self.session.store;
        let sources = self.session.plan.nodes[self.index].stage.sources();
        let kept = sources.iter().try_for_each(|(_, text)| store.keep_source(text));
        if let Err(error) = kept.and_then(|()| store.publish(&manifest)) {
            return self.failed(&error.into());
        }
        let run = NodeRun {
            rows: counts.rows,
            failed: counts.failed,
            missing: counts.missing,
            seconds: counts.seconds,
            key: Some(self.key),
            artifact: Some(manifest.artifact.digest),
            instrument: manifest.fingerprint.instrument,
            notes: manifest.notes.clone(),
            ..self.entry(NodeOutcome::Ran, self.reason.clone())
        };
        Made::Ran(Box::new(manifest), Box::new(run))
    }
}
