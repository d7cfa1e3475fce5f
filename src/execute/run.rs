//! Running a plan: a node starts as soon as everything that it reads is there.
//!
//! Each node waits for a set of others. A finished node is taken out of those sets, and a node that waits for nothing
//! more starts. If a node finds an artifact damaged, it sends the artifact's maker back: the maker runs again (its
//! completions are in the log), and then the node itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;
use serde_json::Value;
use tokio::task::JoinSet;

use super::look::{Look, MissReason, look};
use super::make::{Made, blank, make};
use super::record::describe;
use super::session::Session;
use super::{Event, ExecuteError, Listener, contrast, gates};
use crate::digest::Digest;
use crate::provider::{is_credential, is_key};
use crate::record::{NodeOutcome, NodeRun, Run, RunId, commit};
use crate::store::Manifest;

/// How many times a node may send a maker back.
const MAX_REPAIRS: u32 = 3;

/// Runs a plan. A node that fails does not end the run; the nodes that depend on it are skipped.
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
        interrupted: session.is_interrupted(),
        started,
        commit: commit(&plan.workspace.root),
        params: recorded(&plan.spec.params),
        seconds: start.elapsed().as_secs_f64(),
        nodes,
        ..Run::new(&id.0, &plan.spec.name)
    };
    describe(&session, &scheduler.manifests, &mut run);
    run.drift = contrast::drift(&session, &scheduler.manifests, &run);
    run.gates = gates::judge(&session, &scheduler.manifests, &run);
    session.save();
    Ok(run)
}

/// Returns params as a run keeps them: what looks like a key is left out, since runs are made to be shared.
fn recorded(params: &IndexMap<String, Value>) -> IndexMap<String, Value> {
    let is_plain = |(name, value): &(&String, &Value)| !is_credential(name) && !value.as_str().is_some_and(is_key);
    params.iter().filter(is_plain).map(|(name, value)| (name.clone(), value.clone())).collect()
}

struct Scheduler<'a> {
    session: &'a Arc<Session>,
    listener: Listener,
    waiting_on: Vec<BTreeSet<usize>>,
    /// The nodes that read each node.
    readers: Vec<Vec<usize>>,
    ready: VecDeque<usize>,
    manifests: Vec<Option<Manifest>>,
    runs: Vec<Option<NodeRun>>,
    /// The nodes that are being made, with their keys.
    running: BTreeMap<usize, Digest>,
    repairs: Vec<u32>,
    /// The nodes that had a result and must run again, each with the reason.
    sent_back: BTreeMap<usize, String>,
    /// The models that cannot be asked, as was found when a node before theirs was to buy; each with the reason.
    unready: BTreeMap<String, String>,
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
            running: BTreeMap::new(),
            repairs: vec![0; n],
            sent_back: BTreeMap::new(),
            unready: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    async fn go(&mut self) {
        loop {
            // Hits are settled here without a task of their own, so that a run with nothing to do stays cheap.
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
                    let run = self.without_input(index, *input);
                    self.finish(index, None, run);
                    return;
                }
            };
        }
        if self.session.is_stopped() {
            let reason = self.session.why_stopped().to_owned();
            let run = blank(self.session, index, NodeOutcome::Skipped, reason);
            self.finish(index, None, run);
            return;
        }
        let sent_back = self.sent_back.remove(&index);
        let looked = look(self.session, index, &inputs, false);
        match looked {
            Ok(Look::Hit(manifest)) if sent_back.is_none() => {
                let is_maker = |run: &&NodeRun| run.outcome == NodeOutcome::Ran && run.key == Some(manifest.key);
                let maker = self.runs.iter().flatten().find(is_maker);
                let reason = maker.map_or_else(|| "unchanged".to_owned(), |maker| format!("made by {}", maker.node));
                self.settle(index, Made::Cached(manifest, reason));
            }
            Err(error) => {
                let mut run = blank(self.session, index, NodeOutcome::Failed, "its key cannot be made".to_owned());
                run.error = Some(error.to_string());
                self.settle(index, Made::Failed(Box::new(run)));
            }
            Ok(looked) => {
                let (key, reason) = match looked {
                    Look::Hit(manifest) => (manifest.key, None),
                    Look::Miss { key, reason } => (key, Some(reason)),
                };
                // Of several nodes with one key the first makes it, whichever task would be the quickest: so it is always
                // the same one that pays. What it makes takes the place of what is damaged, too.
                if let Some((first, _)) = self.running.iter().find(|(_, running)| **running == key) {
                    self.waiting_on[index].insert(*first);
                    self.readers[*first].push(index);
                    return;
                }
                // A node that was sent back is made again, even if the store still has a result.
                let sent_back = sent_back.map(|what| {
                    self.session.store.forget(&key);
                    MissReason::Damaged { what }
                });
                let reason = sent_back.or(reason).map_or_else(String::new, |reason| reason.to_string());
                self.running.insert(index, key);
                let (session, listener) = (self.session.clone(), self.listener.clone());
                self.tasks.spawn(async move { (index, make(&session, index, inputs, key, reason, &listener).await) });
            }
        }
    }

    /// Returns the entry of a node that cannot be made, since an input has no result.
    fn without_input(&self, index: usize, input: usize) -> NodeRun {
        let node = &self.session.plan.nodes[index];
        let unready = node.callees.iter().find_map(|(_, model)| self.unready.get(model));
        if let Some(message) = unready {
            let mut run = blank(self.session, index, NodeOutcome::Failed, "its model cannot be asked".to_owned());
            run.error = Some(message.clone());
            return run;
        }
        let upstream = &self.session.plan.nodes[input].name;
        blank(self.session, index, NodeOutcome::Skipped, format!("{upstream} has no result"))
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
            Made::Pointless(run, unready) => {
                for model in unready.models {
                    self.unready.entry(model).or_insert_with(|| unready.message.clone());
                }
                self.finish(index, None, *run);
            }
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
                // If another reader has sent the maker back already, this node waits for it to finish.
                if !self.running.contains_key(&input) && self.runs[input].take().is_some() {
                    self.manifests[input] = None;
                    self.sent_back.insert(input, reason);
                    self.ready.push_back(input);
                }
            }
        }
    }

    fn finish(&mut self, index: usize, manifest: Option<Manifest>, run: NodeRun) {
        if run.outcome == NodeOutcome::Failed && self.session.options.is_fail_fast {
            self.session.halt(&run.node);
        }
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
