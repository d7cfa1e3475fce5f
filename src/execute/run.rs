//! Running a plan: nodes start as what they read is there.
//!
//! Each node waits for a set of others; a finished node is taken out of those sets, and whoever waits
//! for nothing more starts. A node that finds an artifact damaged sends its maker back: the maker
//! runs again (its completions are in the log) and the node after it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::reason::reason;
use super::record::describe;
use super::session::Session;
use super::{Event, ExecuteError, Listener, contrast, gates};
use crate::digest::Digest;
use crate::record::{NodeOutcome, NodeRun, Records, Run, RunId};
use crate::stage::{Inputs, Progress, StageError};
use crate::store::{Lookup, Manifest, StoreError};

/// Times that a node may send a maker back.
const MAX_REPAIRS: u32 = 3;

/// Runs a plan. Nodes that fail do not end it; what depends on them is skipped.
pub async fn run(session: Arc<Session>, listener: Listener) -> Result<Run, ExecuteError> {
    let start = Instant::now();
    let now = std::time::SystemTime::now();
    let started = humantime::format_rfc3339_seconds(now).to_string();
    let plan = &session.plan;
    let id = RunId::new(&plan.spec.name, now);
    let selected: Vec<usize> = (0..plan.nodes.len()).filter(|index| session.selected[*index]).collect();
    listener(Event::Started { run: id.0.clone(), nodes: selected.len() });
    let mut scheduler = Scheduler::new(&session, &selected, listener);
    scheduler.go().await;
    let nodes = selected.iter().filter_map(|index| scheduler.runs[*index].take()).collect();
    let mut run = Run {
        label: session.options.label.clone(),
        partial: session.options.is_partial(),
        interrupted: session.is_stopped(),
        started,
        seconds: start.elapsed().as_secs_f64(),
        nodes,
        ..Run::new(&id.0, &plan.spec.name)
    };
    describe(&session, &scheduler.manifests, &mut run);
    run.drift = contrast::drift(&session, &scheduler.manifests, &run);
    run.gates = gates::judge(plan, &run);
    session.save();
    Ok(run)
}

/// What came of making a node.
enum Made {
    Cached(Box<Manifest>, String),
    Ran(Box<Manifest>, Box<NodeRun>),
    Failed(Box<NodeRun>),
    /// An input turned out damaged; its maker must run again.
    Damaged {
        input: usize,
        reason: String,
    },
}

struct Scheduler<'a> {
    session: &'a Arc<Session>,
    listener: Listener,
    waiting_on: Vec<BTreeSet<usize>>,
    /// Who reads a node.
    readers: Vec<Vec<usize>>,
    ready: VecDeque<usize>,
    manifests: Vec<Option<Manifest>>,
    runs: Vec<Option<NodeRun>>,
    running: BTreeSet<usize>,
    repairs: Vec<u32>,
    /// Why a node that was there must run again.
    sent_back: BTreeMap<usize, String>,
    tasks: JoinSet<(usize, Made)>,
}

impl<'a> Scheduler<'a> {
    fn new(session: &'a Arc<Session>, selected: &[usize], listener: Listener) -> Scheduler<'a> {
        let n = session.plan.nodes.len();
        let waiting_on =
            session.plan.nodes.iter().map(|node| node.inputs.iter().map(|(_, input)| *input).collect()).collect();
        let waiting_on: Vec<BTreeSet<usize>> = waiting_on;
        let mut readers = vec![Vec::new(); n];
        for index in selected {
            for input in &waiting_on[*index] {
                readers[*input].push(*index);
            }
        }
        Scheduler {
            session,
            listener,
            ready: selected.iter().copied().filter(|index| waiting_on[*index].is_empty()).collect(),
            waiting_on,
            readers,
            manifests: vec![None; n],
            runs: vec![None; n],
            running: BTreeSet::new(),
            repairs: vec![0; n],
            sent_back: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    async fn go(&mut self) {
        loop {
            // Hits are settled here, without a task each: a run with nothing to do stays cheap.
            while let Some(index) = self.ready.pop_front() {
                self.start(index);
            }
            let Some(joined) = self.tasks.join_next().await else {
                return;
            };
            match joined {
                Ok((index, made)) => self.settle(index, made),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
    }

    fn start(&mut self, index: usize) {
        let node = &self.session.plan.nodes[index];
        let mut inputs = BTreeMap::new();
        for (part, input) in &node.inputs {
            match &self.manifests[*input] {
                Some(manifest) => inputs.insert(*part, manifest.clone()),
                None => {
                    let upstream = self.session.plan.nodes[*input].name.clone();
                    let run = blank(self.session, index, NodeOutcome::Skipped, format!("{upstream} has no result"));
                    self.finish(index, None, run);
                    return;
                }
            };
        }
        if self.session.is_stopped() {
            let run = blank(self.session, index, NodeOutcome::Skipped, "interrupted".to_owned());
            self.finish(index, None, run);
            return;
        }
        let sent_back = self.sent_back.remove(&index);
        let looked_up = look_up(self.session, index, &inputs, sent_back);
        match looked_up {
            Looked::Hit(manifest) => self.settle(index, Made::Cached(manifest, "unchanged".to_owned())),
            Looked::Failed(error) => {
                let mut run = blank(self.session, index, NodeOutcome::Failed, "its key cannot be made".to_owned());
                run.error = Some(error.to_string());
                self.settle(index, Made::Failed(Box::new(run)));
            }
            Looked::Miss { key, reason } => {
                self.running.insert(index);
                let (session, listener) = (self.session.clone(), self.listener.clone());
                self.tasks.spawn(async move { (index, make(&session, index, inputs, key, reason, &listener).await) });
            }
        }
    }

    fn settle(&mut self, index: usize, made: Made) {
        self.running.remove(&index);
        match made {
            Made::Cached(manifest, reason) => {
                let mut run = blank(self.session, index, NodeOutcome::Cached, reason);
                run.rows = manifest.counts.rows;
                run.failed = manifest.counts.failed;
                run.missing = manifest.counts.missing;
                run.key = Some(manifest.key);
                run.artifact = Some(manifest.artifact.digest);
                run.instrument = manifest.fingerprint.instrument;
                run.notes = manifest.notes.clone();
                self.finish(index, Some(*manifest), run);
            }
            Made::Ran(manifest, run) => self.finish(index, Some(*manifest), *run),
            Made::Failed(run) => self.finish(index, None, *run),
            Made::Damaged { input, reason } => {
                self.repairs[index] += 1;
                if self.repairs[index] > MAX_REPAIRS {
                    let mut run = blank(self.session, index, NodeOutcome::Failed, reason.clone());
                    run.error = Some(format!(
                        "the artifacts of {} keep getting damaged: {reason}",
                        self.session.plan.nodes[input].name
                    ));
                    self.finish(index, None, run);
                    return;
                }
                self.waiting_on[index].insert(input);
                // Another reader may have sent it back already; then its next end is waited for.
                if !self.running.contains(&input) && self.runs[input].take().is_some() {
                    self.manifests[input] = None;
                    self.sent_back.insert(input, reason);
                    self.ready.push_back(input);
                }
            }
        }
    }

    fn finish(&mut self, index: usize, manifest: Option<Manifest>, run: NodeRun) {
        (self.listener)(Event::NodeFinished(Box::new(run.clone())));
        self.manifests[index] = manifest;
        self.runs[index] = Some(run);
        for reader in self.readers[index].clone() {
            let was_waiting = self.waiting_on[reader].remove(&index);
            if was_waiting && self.waiting_on[reader].is_empty() && self.runs[reader].is_none() {
                self.ready.push_back(reader);
            }
        }
    }
}

fn blank(session: &Session, index: usize, outcome: NodeOutcome, reason: String) -> NodeRun {
    let node = &session.plan.nodes[index];
    NodeRun {
        node: node.name.clone(),
        kind: node.stage.kind().to_owned(),
        outcome,
        reason,
        rows: 0,
        failed: 0,
        missing: 0,
        calls: 0,
        reused: 0,
        cost_usd: None,
        seconds: 0.0,
        key: None,
        artifact: None,
        instrument: None,
        error: None,
        notes: Vec::new(),
    }
}

enum Looked {
    Hit(Box<Manifest>),
    Miss { key: Digest, reason: String },
    Failed(StageError),
}

/// Completes a node's key and looks it up.
fn look_up(
    session: &Session,
    index: usize,
    inputs: &Inputs,
    sent_back: Option<String>,
) -> Looked {
    let fingerprint = match session.fingerprint(index, inputs) {
        Ok(fingerprint) => fingerprint,
        Err(error) => return Looked::Failed(error),
    };
    let key = fingerprint.key();
    if let Some(reason) = sent_back {
        session.store.forget(&key);
        return Looked::Miss { key, reason };
    }
    if session.is_refreshed(index) {
        return Looked::Miss { key, reason: "refreshed".to_owned() };
    }
    match session.store.lookup(&key) {
        Lookup::Hit(manifest) if manifest.counts.failed == 0 => Looked::Hit(manifest),
        Lookup::Hit(manifest) => Looked::Miss { key, reason: failed_before(manifest.counts.failed) },
        Lookup::Damaged(reason) => Looked::Miss { key, reason },
        Lookup::Absent => {
            let records = Records::of(session);
            Looked::Miss { key, reason: reason(session, &records, index, &fingerprint, inputs, false) }
        }
    }
}

/// The reason of a node that ran with failed rows.
pub(super) fn failed_before(failed: u64) -> String {
    if failed == 1 { "1 row failed before".to_owned() } else { format!("{failed} rows failed before") }
}

/// Makes a node that is a miss, unless another process has made it meanwhile.
async fn make(
    session: &Arc<Session>,
    index: usize,
    inputs: Inputs,
    key: Digest,
    reason: String,
    listener: &Listener,
) -> Made {
    let node = &session.plan.nodes[index];
    let start = Instant::now();
    let failed = |reason: String, error: &StageError, seconds: f64| {
        let mut run = blank(session, index, NodeOutcome::Failed, reason);
        run.error = Some(error.to_string());
        run.key = Some(key);
        run.seconds = seconds;
        Made::Failed(Box::new(run))
    };
    let waiting = || listener(Event::NodeWaiting { node: node.name.clone() });
    let mut had_to_wait = false;
    let name = key.to_string();
    let lock = session.store.lock(&name, || {
        had_to_wait = true;
        waiting();
    });
    let _lock = match lock.await {
        Ok(lock) => lock,
        Err(error) => return failed(reason, &error.into(), 0.0),
    };
    if had_to_wait
        && !session.is_refreshed(index)
        && let Lookup::Hit(manifest) = session.store.lookup(&key)
        && manifest.counts.failed == 0
    {
        return Made::Cached(manifest, "made by another run meanwhile".to_owned());
    }
    let progress = Arc::new(Progress::default());
    listener(Event::NodeStarted {
        node: node.name.clone(),
        kind: node.stage.kind(),
        reason: reason.clone(),
        progress: progress.clone(),
    });
    let job = match session.job(index, inputs.clone(), &progress) {
        Ok(job) => job,
        Err(error) => return failed(reason, &error, 0.0),
    };
    let accounts: Vec<_> = job.accounts.values().cloned().collect();
    let result = node.stage.clone().run(job).await;
    let seconds = start.elapsed().as_secs_f64();
    let calls: u64 = accounts.iter().map(|account| account.calls()).sum();
    let reused: u64 = accounts.iter().map(|account| account.reused()).sum();
    let with_counts = |made: Made| match made {
        Made::Failed(mut run) => {
            (run.calls, run.reused) = (calls, reused);
            Made::Failed(run)
        }
        other => other,
    };
    let produced = match result {
        Ok(produced) => produced,
        Err(StageError::Store(StoreError::Corrupt { digest, reason: defect })) => {
            let damaged = node.inputs.iter().find(|(part, _)| {
                inputs.get(part).is_some_and(|manifest| {
                    manifest.artifact.digest == digest
                        || manifest.meta.as_ref().is_some_and(|meta| meta.digest == digest)
                })
            });
            if let Some((part, input)) = damaged {
                session.store.forget(&inputs[part].key);
                return Made::Damaged { input: *input, reason: format!("its artifact was {defect}") };
            }
            return failed(reason, &StoreError::Corrupt { digest, reason: defect }.into(), seconds);
        }
        Err(StageError::Interrupted) => {
            let mut run = blank(session, index, NodeOutcome::Skipped, "interrupted".to_owned());
            (run.calls, run.reused, run.seconds) = (calls, reused, seconds);
            return Made::Failed(Box::new(run));
        }
        Err(error) => return with_counts(failed(reason, &error, seconds)),
    };
    let mut counts = produced.counts;
    counts.seconds = seconds;
    let fingerprint = match session.fingerprint(index, &inputs) {
        Ok(fingerprint) => fingerprint,
        Err(error) => return with_counts(failed(reason, &error, seconds)),
    };
    if fingerprint.key() != key {
        let error = StageError::failed("a file that it reads changed while it ran; run again");
        return with_counts(failed(reason, &error, seconds));
    }
    let manifest = Manifest {
        key,
        fingerprint,
        artifact: produced.artifact,
        meta: produced.meta,
        counts,
        summary: produced.summary,
        notes: produced.notes,
    };
    let sources = node.stage.sources();
    let kept = sources.iter().try_for_each(|(_, text)| session.store.keep_source(text));
    if let Err(error) = kept.and_then(|()| session.store.publish(&manifest)) {
        return with_counts(failed(reason, &error.into(), seconds));
    }
    let run = NodeRun {
        rows: counts.rows,
        failed: counts.failed,
        missing: counts.missing,
        calls,
        reused,
        cost_usd: counts.cost_usd,
        seconds,
        key: Some(key),
        artifact: Some(manifest.artifact.digest),
        instrument: manifest.fingerprint.instrument,
        notes: manifest.notes.clone(),
        ..blank(session, index, NodeOutcome::Ran, reason)
    };
    Made::Ran(Box::new(manifest), Box::new(run))
}
