//! A session: what one plan or run knows and holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{ExecuteError, Options};
use serde_json::Value;

use crate::digest::Digest;
use crate::plan::{Identity, Plan, build_provider};
use crate::problem::suggest;
use crate::provider::Pool;
use crate::spec::ModelSpec;
use crate::stage::{Account, Desk, Facts, Job, Mode, Progress, Stage, StageError};
use crate::store::{FileDigests, Fingerprint, Manifest, Store};

/// What one plan or run knows and holds.
pub struct Session {
    pub plan: Arc<Plan>,
    pub store: Arc<Store>,
    pub options: Options,
    mode: Mode,
    digests: FileDigests,
    identities: BTreeMap<String, Result<Identity, String>>,
    /// By the identity of their models.
    desks: Mutex<BTreeMap<Digest, Arc<Desk>>>,
    stop: Arc<AtomicBool>,
    refreshed: Vec<bool>,
    pub selected: Vec<bool>,
}

impl Session {
    /// Opens a session. `mode` says whether desks buy.
    pub fn new(plan: Arc<Plan>, store: Arc<Store>, options: Options, mode: Mode) -> Result<Session, ExecuteError> {
        let mut refreshed = vec![false; plan.nodes.len()];
        for name in &options.refresh {
            for index in named(&plan, name, "--refresh")? {
                refreshed[index] = true;
            }
        }
        let selected = match &options.only {
            Some(name) => plan.needed(&named(&plan, name, "--only")?),
            None => vec![true; plan.nodes.len()],
        };
        let digests = store.file_digests();
        let mut identities = BTreeMap::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            for (_, model) in node.callees.iter().filter(|_| selected[index]) {
                if !identities.contains_key(model) {
                    identities.insert(model.clone(), identity(&plan, &digests, model));
                }
            }
        }
        let (desks, stop) = (Mutex::default(), Arc::default());
        Ok(Session { plan, store, options, mode, digests, identities, desks, stop, refreshed, selected })
    }

    /// Returns the flag that stops it: nothing new is sent once it is set.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn is_refreshed(&self, index: usize) -> bool {
        self.refreshed[index]
    }

    /// Completes a node's fingerprint. Its inputs exist.
    pub fn fingerprint(
        &self,
        index: usize,
        inputs: &BTreeMap<&'static str, Manifest>,
    ) -> Result<Fingerprint, StageError> {
        let node = &self.plan.nodes[index];
        let mut identities = BTreeMap::new();
        for (_, model) in &node.callees {
            match self.identities.get(model) {
                Some(Ok(identity)) => identities.insert(model.clone(), identity.clone()),
                Some(Err(message)) => return Err(StageError::Failed(message.clone())),
                None => None,
            };
        }
        let digest_file = |path: &Path| self.digests.of(path);
        node.stage.fingerprint(&Facts {
            model: node.model.as_deref(),
            params: &self.plan.spec.params,
            inputs,
            identities: &identities,
            upstream: self.upstream(index).map(|stage| &**stage),
            limit: self.options.limit,
            workspace: &self.plan.workspace,
            digest_file: &digest_file,
        })
    }

    /// Prepares the making of a node.
    pub fn job(
        &self,
        index: usize,
        inputs: BTreeMap<&'static str, Manifest>,
        progress: &Arc<Progress>,
    ) -> Result<Job, StageError> {
        let node = &self.plan.nodes[index];
        let mut accounts = BTreeMap::new();
        for (_, model) in &node.callees {
            accounts.insert(model.clone(), Arc::new(Account::new(self.desk(model)?, self.refreshed[index])));
        }
        Ok(Job {
            node: node.name.clone(),
            model: node.model.clone(),
            params: self.plan.spec.params.clone(),
            limit: self.options.limit,
            workspace: self.plan.workspace.clone(),
            store: self.store.clone(),
            inputs,
            upstream: self.upstream(index).cloned(),
            accounts,
            progress: progress.clone(),
            stop: self.stop.clone(),
        })
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
        let provider = build_provider(&self.plan.workspace, model, spec, &|path| self.digests.of(path))
            .map_err(|error| StageError::failed(format!("model {model}: {}", error.message)))?;
        // Two names for one model share a desk: what one buys the other has.
        let identity = Digest::of_json("", &Value::Object(provider.identity()));
        if let Some(desk) = desks.get(&identity) {
            return Ok(desk.clone());
        }
        let pool = Pool::new(provider, spec, &self.stop);
        let desk = Arc::new(Desk::new(model, pool, spec, &self.store, self.mode)?);
        desks.insert(identity, desk.clone());
        Ok(desk)
    }

    /// Keeps the digests of files for next time.
    pub fn save(&self) {
        self.digests.save();
    }
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

fn model_spec<'a>(plan: &'a Plan, model: &str) -> Result<&'a ModelSpec, StageError> {
    plan.spec.models.get(model).ok_or_else(|| StageError::failed(format!("there is no model {model}")))
}

fn identity(plan: &Plan, digests: &FileDigests, model: &str) -> Result<Identity, String> {
    let spec = model_spec(plan, model).map_err(|error| error.to_string())?;
    let digest_file = |path: &Path| -> std::io::Result<Digest> { digests.of(path) };
    build_provider(&plan.workspace, model, spec, &digest_file)
        .map(|provider| provider.identity())
        .map_err(|error| format!("model {model}: {}", error.message))
}
