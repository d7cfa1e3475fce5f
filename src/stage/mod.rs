//! Stages: what a pipeline's nodes are and do.
//!
//! A [`Stage`] is a stage's typed settings. It says what nodes it becomes and what they depend on
//! ([`Stage::fingerprint`]), and makes a node's rows ([`Stage::run`]). A plan and a run go through
//! the same code: a plan gives it desks that never buy ([`Mode::Dry`]), so what a plan counts is what
//! a run will send.
//!
//! **Adding a stage kind:** one file with a `parse` function, one line in [`KINDS`], an example
//! pipeline and its tests; bump its revision when its output changes meaning.
//!
//! | file | holds |
//! |---|---|
//! | `dataset` `inference` `metric` `judge/` | the kinds |
//! | `desk` | buying completions: log first, one buyer per model, nothing twice |
//! | `drive` | rows through concurrent work, back in order |
//! | `join` | streaming joins of artifacts by id |
//! | `prompt` | templates with what they add to a key; variables |

mod dataset;
mod desk;
mod drive;
mod inference;
mod join;
mod judge;
mod metric;
mod prompt;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

pub use dataset::quotas;
pub use desk::{Account, Desk, Mode, Preflight};
pub use join::take_row;
pub use judge::verdict;
pub use metric::{FileScores, ScoreError, ScoreFile, score_file};

use crate::digest::Digest;
use crate::problem::{Place, Problem};
use crate::provider::Message;
pub use crate::score::{Drift, DriftVerdict};
use crate::score::{Estimate, Rank, Reading, Summary, Unit};
use crate::spec::{ModelSpec, StageSpec, Workspace};
use crate::store::{Artifact, Counts, Fingerprint, Manifest, Store, StoreError};

/// A kind of stage.
pub struct Kind {
    pub name: &'static str,
    /// The kind that its `input` must have; none: it has no input.
    pub input: Option<&'static str>,
    pub parse: Parse,
    /// Returns the JSON Schema of its settings.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// The kinds there are.
pub const KINDS: &[Kind] = &[
    Kind { name: "dataset", input: None, parse: dataset::parse, schema: dataset::Settings::json_schema },
    Kind {
        name: "inference",
        input: Some("dataset"),
        parse: inference::parse,
        schema: inference::Settings::json_schema,
    },
    Kind { name: "metric", input: Some("inference"), parse: metric::parse, schema: metric::Settings::json_schema },
    Kind { name: "judge", input: Some("inference"), parse: judge::parse, schema: judge::Settings::json_schema },
];

/// Parses a stage's settings.
pub type Parse = fn(&StageSpec, &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>>;

/// What a stage's settings may name.
pub struct Scope<'a> {
    pub workspace: &'a Workspace,
    pub models: &'a IndexMap<String, ModelSpec>,
    pub params: &'a IndexMap<String, Value>,
    /// Names of what could not be read: what names them is no mistake of its own.
    pub broken: &'a BTreeSet<String>,
}

/// An artifact that a node reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is to the node: `rows`, `completions`, `baseline`.
    pub part: &'static str,
    pub stage: String,
    pub model: Option<String>,
}

/// What other tools call a kind.
pub const KIND_ALIASES: &[(&str, &str)] = &[
    ("data", "dataset"),
    ("rows", "dataset"),
    ("source", "dataset"),
    ("input", "dataset"),
    ("llm", "inference"),
    ("model", "inference"),
    ("generate", "inference"),
    ("generation", "inference"),
    ("completion", "inference"),
    ("prompt", "inference"),
    ("task", "inference"),
    ("eval", "metric"),
    ("evaluation", "metric"),
    ("metrics", "metric"),
    ("score", "metric"),
    ("scorer", "metric"),
    ("assert", "metric"),
    ("grader", "judge"),
    ("rubric", "judge"),
    ("llm_judge", "judge"),
    ("model_graded", "judge"),
    ("compare", "judge"),
    ("pairwise", "judge"),
];

/// The part that a dataset's rows play.
pub const ROWS: &str = "rows";
/// The part that the judged or measured completions play.
pub const COMPLETIONS: &str = "completions";
/// The part that the completions compared with play.
pub const BASELINE: &str = "baseline";
/// The parts that the completions of all models play where each is compared with each.
pub const CONTESTANTS: &[&str] = &[
    COMPLETIONS,
    "completions.2",
    "completions.3",
    "completions.4",
    "completions.5",
    "completions.6",
    "completions.7",
    "completions.8",
    "completions.9",
    "completions.10",
    "completions.11",
    "completions.12",
];

/// What a key is made of, beside the settings.
pub struct Facts<'a> {
    pub model: Option<&'a str>,
    pub params: &'a IndexMap<String, Value>,
    /// Upstream results by part.
    pub inputs: &'a BTreeMap<&'static str, Manifest>,
    /// The models of upstream results, by part.
    pub input_models: &'a BTreeMap<&'static str, String>,
    /// Identities of models by name.
    pub identities: &'a BTreeMap<String, Map<String, Value>>,
    /// The stage that `input` names.
    pub upstream: Option<&'a dyn Stage>,
    pub limit: Option<u64>,
    pub workspace: &'a Workspace,
    pub digest_file: &'a (dyn Fn(&Path) -> std::io::Result<Digest> + Sync),
}

/// Everything that making a node's rows takes.
pub struct Job {
    pub node: String,
    pub model: Option<String>,
    pub params: IndexMap<String, Value>,
    pub limit: Option<u64>,
    pub workspace: Workspace,
    pub store: Arc<Store>,
    /// Upstream results by part.
    pub inputs: BTreeMap<&'static str, Manifest>,
    /// The models of upstream results, by part.
    pub input_models: BTreeMap<&'static str, String>,
    /// The stage that `input` names.
    pub upstream: Option<Arc<dyn Stage>>,
    /// By model name.
    pub accounts: BTreeMap<String, Arc<Account>>,
    pub progress: Arc<Progress>,
    /// Set when the user wants to stop: nothing new is sent.
    pub stop: Arc<AtomicBool>,
}

/// How far a node is; read by whoever shows it.
#[derive(Default)]
pub struct Progress {
    pub done: AtomicU64,
    pub failed: AtomicU64,
    /// Rows × samples, where known.
    pub total: AtomicU64,
    accounts: OnceLock<Vec<Arc<Account>>>,
}

impl Progress {
    /// Says whose calls are counted.
    pub fn follow(&self, accounts: Vec<Arc<Account>>) {
        let _ = self.accounts.set(accounts);
    }

    /// Returns the calls made so far.
    pub fn calls(&self) -> u64 {
        self.accounts.get().into_iter().flatten().map(|account| account.calls()).sum()
    }

    /// Returns the completions that were there.
    pub fn reused(&self) -> u64 {
        self.accounts.get().into_iter().flatten().map(|account| account.reused()).sum()
    }

    fn count(&self, is_failed: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if is_failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a node made.
#[derive(Clone, Debug)]
pub struct Produced {
    pub artifact: Artifact,
    pub meta: Option<Artifact>,
    pub counts: Counts,
    pub summary: Summary,
    /// Things a user should know, such as rows that were skipped.
    pub notes: Vec<String>,
}

/// Why a node could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node's own input or endpoint is at fault.
    #[error("{0}")]
    Failed(String),
    #[error("interrupted")]
    Interrupted,
}

impl StageError {
    pub fn failed(message: impl Into<String>) -> StageError {
        StageError::Failed(message.into())
    }
}

/// A stage's typed settings.
pub trait Stage: Send + Sync {
    fn kind(&self) -> &'static str;

    /// Returns the stage that `input` names, with its place.
    fn input(&self) -> Option<(&str, &Place)>;

    /// Returns the models of its nodes, given those of its input; none: one node without a model.
    fn models(&self, of_input: &[String]) -> Option<Vec<String>>;

    /// Finds what is wrong with the stage and the models that it meets through its input.
    fn check_input(&self, _input: &dyn Stage, _of_input: &[String], _problems: &mut Vec<Problem>) {}

    /// Finds what is allowed and hardly meant.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Returns what a node reads, but for the rows at the root, which the plan adds; `of_input` are the
    /// models of its input.
    fn inputs(&self, model: Option<&str>, of_input: &[String]) -> Vec<Input>;

    /// Returns the models that a node calls, by their part in the fingerprint.
    fn callees(&self, model: Option<&str>) -> Vec<(&'static str, String)>;

    /// Returns the columns of the root dataset that it reads by name, and where.
    fn columns(&self) -> Vec<(String, Place)>;

    /// A dataset removes from `wanted` the columns that some row has, and returns those that it saw;
    /// it reads no further than it must.
    fn scan(&self, _workspace: &Workspace, wanted: &mut BTreeSet<String>) -> Result<BTreeSet<String>, StageError> {
        wanted.clear();
        Ok(BTreeSet::new())
    }

    /// Fetches what it takes from elsewhere, where it is not on this machine yet.
    fn prepare<'a>(&'a self, _workspace: &'a Workspace, _is_offline: bool) -> BoxFuture<'a, Result<(), StageError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns what a node depends on.
    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError>;

    /// Makes a node's rows.
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>>;

    /// Returns what people are asked where they label its rows; none where there is nothing to label.
    fn sheet(&self) -> Option<Sheet> {
        None
    }

    /// Returns true if its nodes can be held against each other.
    fn has_contrasts(&self) -> bool {
        false
    }

    /// Returns what decides what two nodes say of each other, beside their rows.
    fn contrast_facts(&self, _contrast: &Contrast<'_>) -> Value {
        Value::Null
    }

    /// Returns what a node says beside another, by flat name: `overall.of_ceiling`.
    fn contrast(&self, _store: &Store, _contrast: &Contrast<'_>) -> Result<IndexMap<String, Estimate>, StageError> {
        Ok(IndexMap::new())
    }

    /// Returns how a node measures otherwise than before, where the instrument has changed.
    fn drift(&self, _store: &Store, _before: &Manifest, _now: &Manifest) -> Result<Option<Drift>, StageError> {
        Ok(None)
    }

    /// Returns how a value of its summary reads; none if there is no such value.
    fn unit(&self, value: &str) -> Option<Unit>;

    /// Returns how a value of its summary reads in a run; none if there is no such value. What cannot be named ahead
    /// is part of what can.
    fn reading(&self, value: &str) -> Option<Reading> {
        let reading = Reading::by_name(value, self.unit(value)?);
        let is_named = self.values().iter().any(|name| name == value);
        Some(if is_named { reading } else { Reading { rank: Rank::Part, ..reading } })
    }

    /// Returns the values of its summary that can be named ahead, for suggestions.
    fn values(&self) -> Vec<String>;

    /// Returns the path behind a file of the fingerprint.
    fn file(&self, _label: &str) -> Option<String> {
        None
    }

    /// Returns the texts of its templates with everything that they reach, by the names that they have
    /// in the fingerprint.
    fn sources(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Returns true if its rows come from prompts that can be rendered again.
    fn has_prompt(&self) -> bool {
        false
    }

    /// Renders what was asked for a row and a sample: a list of messages.
    fn asked(&self, _shown: &Shown<'_>) -> Option<Vec<Message>> {
        None
    }

    /// Adds to the key of a stage behind it what its prompts depend on.
    fn add_prompt(&self, _fingerprint: &mut Fingerprint, _facts: &Facts<'_>) {}
}

/// What people are asked about a judged row.
#[derive(Clone, Debug, PartialEq)]
pub enum Sheet {
    /// Which of two is better.
    Pair,
    /// One of these.
    Words(Vec<String>),
    /// A score per criterion: its name and what is asked.
    Scores { criteria: Vec<(String, String)>, low: f64, high: f64 },
}

/// Two nodes of a stage, held against each other.
pub struct Contrast<'a> {
    pub model: &'a str,
    pub own: &'a Manifest,
    pub other_model: &'a str,
    pub other: &'a Manifest,
    pub is_ceiling: bool,
}

/// A row to be shown with what was asked for it.
pub struct Shown<'a> {
    pub model: Option<&'a str>,
    pub params: &'a IndexMap<String, Value>,
    pub row: &'a crate::row::Row,
    pub sample: u32,
}

/// Returns the `coverage` of a stage: valid of all, a fact rather than an estimate.
fn coverage(valid: u64, all: u64) -> Estimate {
    Estimate {
        value: (all > 0).then(|| valid as f64 / all as f64),
        low: None,
        high: None,
        n: all,
        missing: all - valid,
    }
}

/// Returns a seed that depends on what is summed up and nothing else.
fn seed_of(name: &str, settings: &Value) -> u64 {
    Digest::of_json("etalon.seed", &Value::Array(vec![name.into(), settings.clone()])).seed()
}
