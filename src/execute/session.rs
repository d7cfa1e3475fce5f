//! A session: what one plan or run knows and holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

use super::consent::{Started, check_consent, launched_by_stages};
use super::models::{Probes, check_price, model_spec, probe, provider, refuse_twins, watched};
use super::{ExecuteError, Options};
use crate::digest::Digest;
use crate::files::{files, is_glob};
use crate::plan::{Identity, Plan, build_provider};
use crate::problem::suggest;
use crate::process::Launch;
use crate::provider::Pool;
use crate::record::Records;
use crate::spec::KeyHost;
use crate::stage::{
    Account, Budget, Buyer, Checked, Desk, Earlier, Facts, Inputs, Job, Mode, Part, Preflight, Progress, Stage,
    StageError,
};
use crate::store::{Changes, FileDigests, Fingerprint, Lookup, Store, Watch};

/// What one plan or run knows and holds.
pub struct Session {
    pub plan: Arc<Plan>,
    pub store: Arc<Store>,
    pub options: Options,
    mode: Mode,
    /// The runs with which reasons compare, read once.
    records: Arc<Records>,
    /// The latest runs: from their results, unchanged rows are taken over.
    latest: Arc<Records>,
    changes: Arc<Changes>,
    digests: FileDigests,
    identities: BTreeMap<String, Result<Identity, String>>,
    /// The files whose content is in the identity of each model.
    watches: BTreeMap<String, Watch>,
    budget: Option<Arc<Budget>>,
    probes: Probes,
    /// Why remote data could not be fetched, by node.
    unprepared: BTreeMap<usize, String>,
    /// Desks by the identity of their models.
    desks: Mutex<BTreeMap<Digest, Arc<Desk>>>,
    stop: Arc<AtomicBool>,
    /// Why the run stopped itself.
    halted: OnceLock<String>,
    refreshed: Vec<bool>,
    pub selected: Vec<bool>,
    launches: Vec<Started>,
    key_hosts: BTreeSet<KeyHost>,
}

impl Session {
    /// Opens a session. Servers of models with `probe: true` are asked what they serve. `mode` says whether desks buy.
    ///
    /// # Errors
    ///
    /// `--only` or `--refresh` names a node that does not exist; a session that is not dry would start a program to which
    /// the user has not consented. What cannot be fetched or asked is an error of the nodes that need it, later.
    pub async fn open(
        plan: Arc<Plan>,
        store: Arc<Store>,
        options: Options,
        mode: Mode,
    ) -> Result<Session, ExecuteError> {
        let (selected, refreshed) = chosen(&plan, &options)?;
        let digests = store.file_digests();
        let called = plan.nodes.iter().zip(&selected).filter(|(_, is_selected)| **is_selected);
        let called = called.flat_map(|(node, _)| node.callees.iter().map(|(_, model)| model.as_str())).collect();
        let probes = probe(&plan, &store, &digests, called, options.is_offline).await;
        let is_offline = options.is_offline;
        let prepared = plan.nodes.iter().enumerate().filter(|(index, _)| selected[*index]).map(|(index, node)| {
            let workspace = &plan.workspace;
            async move { node.stage.prepare(workspace, is_offline).await.map_err(|error| (index, error.to_string())) }
        });
        let unprepared = futures_util::future::join_all(prepared).await.into_iter().filter_map(Result::err).collect();
        let mut launches = launched_by_stages(&plan, &selected, &|path| digests.of(path))?;
        let mut key_hosts = BTreeSet::new();
        let (mut identities, mut watches) = (BTreeMap::new(), BTreeMap::new());
        let mut addresses = BTreeMap::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            for (_, model) in node.callees.iter().filter(|_| selected[index]) {
                if !identities.contains_key(model) {
                    let watch = Mutex::new(Watch::default());
                    let known = provider(&plan, &watched(&digests, &watch), &probes, model);
                    watches.insert(model.clone(), watch.into_inner().expect("no panic while locked"));
                    let provider = known.as_ref().ok();
                    key_hosts.extend(provider.and_then(|provider| provider.key_host()));
                    let launch = provider.and_then(|provider| provider.launch());
                    launches.extend(launch.map(|launch| Started::by_model(&plan, model, launch)));
                    if options.budget_usd.is_some() && provider.is_some_and(|provider| provider.reach().needs_network())
                    {
                        check_price(&plan, model)?;
                    }
                    addresses
                        .insert(model.clone(), provider.and_then(|provider| provider.address().map(str::to_owned)));
                    identities.insert(model.clone(), known.map(|provider| provider.identity()));
                }
            }
        }
        refuse_twins(&mut identities, &addresses);
        if mode != Mode::Dry {
            check_consent(&plan, &launches)?;
        }
        let budget = options.budget_usd.map(|dollars| Arc::new(Budget::new(dollars)));
        let (desks, stop) = (Mutex::default(), Arc::default());
        let own = || Arc::new(Records::new(&plan.workspace.root, &plan.spec.name));
        let records = options.records.clone().unwrap_or_else(own);
        let latest = if records.is_narrowed() { own() } else { records.clone() };
        Ok(Session {
            plan,
            store,
            options,
            mode,
            records,
            latest,
            changes: Arc::default(),
            digests,
            identities,
            watches,
            budget,
            probes,
            unprepared,
            desks,
            stop,
            halted: OnceLock::new(),
            refreshed,
            selected,
            launches,
            key_hosts,
        })
    }

    /// Returns the programs that a run starts.
    pub fn launches(&self) -> &[Started] {
        &self.launches
    }

    /// Returns the programs that a node's stage starts.
    pub(super) fn launches_of(&self, index: usize) -> Result<Vec<Launch>, StageError> {
        self.plan.nodes[index].stage.launches(&self.plan.workspace, &|path| self.digests.of(path))
    }

    /// Returns the keys that calls may send, each with the host that gets it.
    pub fn key_hosts(&self) -> &BTreeSet<KeyHost> {
        &self.key_hosts
    }

    /// Returns the runs with which reasons compare.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Returns the flag that stops the session: nothing new is sent once it is set.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Returns true once nothing new is to be sent or begun: the user wants that, or a node failed under `--fail-fast`.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Stops the run, because a node failed.
    pub fn halt(&self, node: &str) {
        if !self.stop.swap(true, Ordering::Relaxed) {
            let _ = self.halted.set(format!("{node} failed, and --fail-fast ends the run"));
        }
    }

    /// Returns true if the user stopped the run.
    pub fn is_interrupted(&self) -> bool {
        self.is_stopped() && self.halted.get().is_none()
    }

    /// Returns why the run was stopped.
    pub fn why_stopped(&self) -> &str {
        self.halted.get().map_or("interrupted", String::as_str)
    }

    /// Returns true if `--refresh` names the node, so that it is bought anew.
    pub fn is_refreshed(&self, index: usize) -> bool {
        self.refreshed[index]
    }

    /// Completes a node's fingerprint; all its inputs exist.
    ///
    /// # Errors
    ///
    /// A fact that enters the key cannot be known: a file cannot be read, a server did not answer.
    pub fn fingerprint(&self, index: usize, inputs: &Inputs) -> Result<Fingerprint, StageError> {
        let node = &self.plan.nodes[index];
        if let Some(message) = self.unprepared.get(&index) {
            return Err(StageError::Failed(message.clone()));
        }
        let mut identities = BTreeMap::new();
        for (_, model) in &node.callees {
            match self.identities.get(model) {
                Some(Ok(identity)) => identities.insert(model.clone(), identity.clone()),
                Some(Err(message)) => return Err(StageError::Failed(message.clone())),
                None => None,
            };
        }
        let digest_file = |path: &Path| self.digests.of(path);
        let fingerprint = node.stage.fingerprint(&Facts {
            model: node.model.as_deref(),
            params: &self.plan.spec.params,
            inputs,
            input_models: &self.input_models(index),
            identities: &identities,
            upstream: self.upstream(index).map(|stage| &**stage),
            limit: self.options.limit,
            workspace: &self.plan.workspace,
            digest_file: &digest_file,
        })?;
        for path in fingerprint.files.keys().filter_map(|label| node.stage.file(label)) {
            self.digests.note(&self.plan.workspace.path(&path));
        }
        Ok(fingerprint)
    }

    /// Returns everything that the stage needs to make a node. `takes_earlier` says whether unchanged rows may be taken
    /// over from an earlier result.
    ///
    /// # Errors
    ///
    /// A model that the node calls cannot be built, or its log cannot be read.
    pub fn job(
        &self,
        index: usize,
        inputs: Inputs,
        progress: &Arc<Progress>,
        takes_earlier: bool,
    ) -> Result<Job, StageError> {
        let node = &self.plan.nodes[index];
        let mut accounts = BTreeMap::new();
        let artifacts = inputs.values().map(|manifest| manifest.artifact.clone()).collect();
        let preflight = Arc::new(Preflight::new(self.desks_behind(index), &self.store, artifacts));
        for (_, model) in &node.callees {
            let spec = model_spec(&self.plan, model)?;
            let buyer = Buyer {
                name: model.clone(),
                place: spec.place.clone(),
                price: spec.call_price(),
                is_refresh: self.refreshed[index],
                preflight: preflight.clone(),
                budget: self.budget.clone(),
                waiting: progress.waiting(),
                recorder: self.options.recorder.clone(),
            };
            accounts.insert(model.clone(), Arc::new(Account::new(self.desk(model)?, buyer)));
        }
        progress.follow(accounts.values().cloned());
        let earlier = if takes_earlier { self.earlier(index, &inputs) } else { None };
        Ok(Job {
            node: node.name.clone(),
            model: node.model.clone(),
            params: self.plan.spec.params.clone(),
            limit: self.options.limit,
            workspace: self.plan.workspace.clone(),
            store: self.store.clone(),
            inputs,
            input_models: self.input_models(index),
            upstream: self.upstream(index).cloned(),
            accounts,
            progress: progress.clone(),
            stop: self.stop.clone(),
            is_fail_fast: self.options.is_fail_fast,
            earlier,
        })
    }

    /// Returns an earlier result of a node that was made in the same way from other inputs, if there is one.
    fn earlier(&self, index: usize, inputs: &Inputs) -> Option<Earlier> {
        if self.is_refreshed(index) || self.options.recorder.is_some() {
            return None;
        }
        let node = &self.plan.nodes[index];
        let (run, key) = self.latest.last(&node.name)?;
        let whole = |key: &Digest| match self.store.lookup(key) {
            Lookup::Hit(manifest) => Some(*manifest),
            _ => None,
        };
        let manifest = whole(&key)?;
        let fingerprint = self.fingerprint(index, inputs).ok()?;
        if !fingerprint.is_made_alike(&manifest.fingerprint) {
            return None;
        }
        let mut then = Inputs::new();
        for (part, input) in &node.inputs {
            let input = whole(&run.key(&self.plan.nodes[*input].name)?)?;
            // The input's result in that run must be the one from which this result was made; else the two cannot be
            // compared.
            let read = manifest.fingerprint.inputs.get(&*part.name());
            let is_of_it = |(column, digest): (&String, &Option<Digest>)| input.column(column) == *digest;
            if !read.into_iter().flatten().all(is_of_it) {
                return None;
            }
            then.insert(*part, input);
        }
        Some(Earlier { manifest, inputs: then, changes: self.changes.clone() })
    }

    /// Returns the desks of a node and of all nodes behind it, which will be asked about what this node buys: each with
    /// its models.
    fn desks_behind(&self, index: usize) -> Vec<Checked> {
        let nodes = &self.plan.nodes;
        let mut is_behind = vec![false; nodes.len()];
        is_behind[index] = true;
        for reader in index + 1..nodes.len() {
            is_behind[reader] =
                self.selected[reader] && nodes[reader].inputs.iter().any(|(_, input)| is_behind[*input]);
        }
        let behind = nodes.iter().zip(&is_behind).filter(|(_, is_behind)| **is_behind);
        let models: BTreeSet<&str> =
            behind.flat_map(|(node, _)| node.callees.iter().map(|(_, model)| model.as_str())).collect();
        let mut desks: Vec<Checked> = Vec::new();
        for model in models {
            // A desk that cannot be made is left out here; the node that needs it reports why.
            let (Ok(desk), Ok(spec)) = (self.desk(model), model_spec(&self.plan, model)) else { continue };
            let is_own = nodes[index].callees.iter().any(|(_, own)| own == model);
            let model = (model.to_owned(), spec.place.clone());
            match desks.iter_mut().find(|known| Arc::ptr_eq(&known.desk, &desk)) {
                Some(known) => {
                    known.models.push(model);
                    known.is_own |= is_own;
                }
                None => desks.push(Checked { desk, models: vec![model], is_own }),
            }
        }
        desks
    }

    /// Returns, for each model that a node calls without having its API key, what to do about it.
    pub fn missing_keys(&self, index: usize) -> Vec<String> {
        let callees = self.plan.nodes[index].callees.iter();
        callees
            .filter_map(|(_, model)| Some((model, self.desk(model).ok()?.missing_key()?)))
            .map(|(model, message)| format!("model {model}: {message}"))
            .collect()
    }

    /// Returns the files whose content is in a node's key, watched from now on.
    ///
    /// # Errors
    ///
    /// A file is not any more what it was when the key was made.
    pub fn watch(&self, index: usize, fingerprint: &Fingerprint) -> Result<Watch, StageError> {
        let node = &self.plan.nodes[index];
        let mut watch = Watch::default();
        for (label, digest) in &fingerprint.files {
            let Some(name) = node.stage.file(label) else { continue };
            let path = self.plan.workspace.path(&name);
            if is_glob(&name) {
                files(&self.plan.workspace.root, &name)
                    .iter()
                    .for_each(|name| watch.add(&self.plan.workspace.path(name)));
            }
            // A dataset of the hub is no file of the workspace, and its files are digested where they are read.
            if !path.is_file() {
                continue;
            }
            watch.add(&path);
            // Labels count by what they say, and were read when the spec was.
            if label != "human" && self.digests.of(&path).is_ok_and(|now| now != *digest) {
                return Err(StageError::Failed(format!("{name} changed since the run began; run again")));
            }
        }
        Ok(watch)
    }

    /// Returns the first file of a node's models that has been touched since their identities were made.
    pub fn touched(&self, index: usize) -> Option<&Path> {
        let models = self.plan.nodes[index].callees.iter();
        models.filter_map(|(_, model)| self.watches.get(model)?.changed()).next()
    }

    /// Returns what the run may cost, and has.
    pub fn budget(&self) -> Option<&Budget> {
        self.budget.as_deref()
    }

    /// Returns the models of a node's inputs, by part.
    fn input_models(&self, index: usize) -> BTreeMap<Part, String> {
        let nodes = &self.plan.nodes;
        let inputs = nodes[index].inputs.iter();
        inputs.filter_map(|(part, input)| Some((*part, nodes[*input].model.clone()?))).collect()
    }

    /// Returns the stage that a node's `input` names.
    fn upstream(&self, index: usize) -> Option<&Arc<dyn Stage>> {
        let node = &self.plan.nodes[index];
        let (input, _) = node.stage.input()?;
        let (_, upstream) =
            node.inputs.iter().find(|(_, input_index)| self.plan.nodes[*input_index].stage_name == input)?;
        Some(&self.plan.nodes[*upstream].stage)
    }

    fn desk(&self, model: &str) -> Result<Arc<Desk>, StageError> {
        let mut desks = self.desks.lock().expect("no panic while locked");
        let spec = model_spec(&self.plan, model)?;
        let probe = self.probes.get(model).and_then(|probe| probe.as_ref().ok());
        let watch = Mutex::new(Watch::default());
        let provider = build_provider(&self.plan.workspace, model, spec, probe, &watched(&self.digests, &watch))
            .map_err(|error| StageError::failed(format!("model {model}: {}", error.message)))?;
        // Two names for the same model share a desk, so that a completion bought for one serves the other.
        let identity = Digest::of_json("", &Value::Object(provider.identity()));
        if let Some(desk) = desks.get(&identity) {
            return Ok(desk.clone());
        }
        let pool = Pool::new(provider, &self.stop);
        let watch = watch.into_inner().expect("no panic while locked");
        let desk = Arc::new(Desk::new(pool, &self.store, self.mode, &self.stop, watch)?);
        desks.insert(identity, desk.clone());
        Ok(desk)
    }

    /// Returns the files whose content entered a key.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.digests.asked()
    }

    /// Keeps the digests of files for the next session.
    pub fn save(&self) {
        self.digests.save();
    }
}

/// Returns which nodes take part, and which of them are bought anew.
fn chosen(plan: &Plan, options: &Options) -> Result<(Vec<bool>, Vec<bool>), ExecuteError> {
    let mut refreshed = vec![false; plan.nodes.len()];
    for name in &options.refresh {
        for index in named(plan, name, "--refresh")? {
            refreshed[index] = true;
        }
    }
    let selected = match &options.only {
        Some(name) => plan.needed(&named(plan, name, "--only")?),
        None => vec![true; plan.nodes.len()],
    };
    Ok((selected, refreshed))
}

fn named(plan: &Plan, name: &str, flag: &str) -> Result<Vec<usize>, ExecuteError> {
    let found = plan.find(name);
    if found.is_empty() {
        let names = plan.names();
        let help = suggest(name, "stages and nodes there are", names.iter().map(String::as_str));
        return Err(ExecuteError::Usage { message: format!("{flag} {name}: there is no such stage or node"), help });
    }
    Ok(found)
}
