//! Execution: Plan × Store → events and a [`RunSummary`].
//!
//! ```text
//! Session       what one run knows: identities of models, digests of files, desks
//!   ├─ run      nodes as their inputs become ready: fingerprint → lookup → stage.run → publish
//!   └─ forecast the same with desks that never buy: what would run, why, how many calls
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `session` | fingerprints, lookups, desks |
//! | `run` `forecast` | the two ways through a plan |
//! | `reason` `why` | why a node is a miss: in words, and down to the line |
//! | `gates` | verdicts on gates |
//! | `contrast` | shares of the ceiling; drift of judges |
//! | `record` | runs as files under `runs/` |
//! | `labels` | rows for people to label |
//! | `rows` | a node's rows with everything that led to them |
//!
//! **Invariant:** `plan` and `run` complete a fingerprint by the same function, so what is a hit in
//! one is a hit in the other.

mod contrast;
mod forecast;
mod gates;
mod labels;
mod reason;
mod record;
mod rows;
mod run;
mod session;
mod why;

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use forecast::{Forecast, State, forecast};
pub use gates::{GateResult, Verdict};
pub use labels::{Stratum, items as label_items};
pub use reason::Ids;
pub use record::{Records, RunId};
pub use rows::{Found, RowResult, ShownRow, each_row, find_rows};
pub use run::run;
pub use session::Session;
pub use why::{Difference, Why, why};

use crate::digest::Digest;
use crate::score::{Estimate, SLICES, Slices};
use crate::stage::{Drift, Progress};
use crate::store::StoreError;

/// What the user asked of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Stage or node to run, with what it needs.
    pub only: Option<String>,
    /// Stage or node to buy anew.
    pub refresh: Vec<String>,
    /// Rows per dataset, after sampling.
    pub limit: Option<u64>,
    pub label: Option<String>,
    pub is_offline: bool,
    /// Id of the run that reasons are told against; the last that had the node unless given.
    pub since: Option<String>,
}

impl Options {
    /// Returns true for a run that does not stand for the whole pipeline.
    pub fn is_partial(&self) -> bool {
        self.only.is_some() || self.limit.is_some()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The command line names something that is not there.
    #[error("{message}")]
    Usage { message: String, help: Option<String> },
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeOutcome {
    Cached,
    Ran,
    Failed,
    Skipped,
}

/// A node of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRun {
    pub node: String,
    pub kind: String,
    pub outcome: NodeOutcome,
    pub reason: String,
    pub rows: u64,
    pub failed: u64,
    pub missing: u64,
    /// Calls made in this run.
    pub calls: u64,
    /// Completions that were there.
    pub reused: u64,
    pub cost_usd: Option<f64>,
    pub seconds: f64,
    pub key: Option<Digest>,
    pub artifact: Option<Digest>,
    /// Judges: the digest of everything that decides how it measures. Numbers of different instruments cannot be
    /// compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What nodes say in numbers, by stage and model.
pub type SummaryTable = IndexMap<String, IndexMap<String, NodeSummary>>;

/// What a node says in numbers. As JSON the values stand flat, with `slices` beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSummary {
    /// By flat name.
    pub values: IndexMap<String, Estimate>,
    pub slices: Slices,
}

impl Serialize for NodeSummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, estimate) in &self.values {
            map.serialize_entry(name, estimate)?;
        }
        if !self.slices.is_empty() {
            map.serialize_entry(SLICES, &self.slices)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for NodeSummary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NodeSummary, D::Error> {
        let mut map = serde_json::Map::deserialize(deserializer)?;
        let slices = map.shift_remove(SLICES).map_or(Ok(Slices::new()), serde_json::from_value);
        Ok(NodeSummary {
            slices: slices.map_err(D::Error::custom)?,
            values: serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?,
        })
    }
}

/// A node that measured with another instrument than in the run before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeDrift {
    /// The run before.
    pub since: String,
    /// None where nothing was judged by both.
    #[serde(flatten)]
    pub drift: Option<Drift>,
}

/// One execution: what is printed, and what `runs/` keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub etalon: u32,
    pub run: String,
    pub pipeline: String,
    pub label: Option<String>,
    /// Cut by `--only` or `--limit`.
    #[serde(default)]
    pub partial: bool,
    #[serde(default)]
    pub interrupted: bool,
    pub started: String,
    pub seconds: f64,
    pub nodes: Vec<NodeRun>,
    pub summary: SummaryTable,
    /// What does not fit one number: confusion matrices. By stage, model, name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub tables: IndexMap<String, IndexMap<String, IndexMap<String, Value>>>,
    /// What defines the values of a metric. By stage, metric.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub signatures: IndexMap<String, IndexMap<String, String>>,
    /// By node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drift: BTreeMap<String, NodeDrift>,
    pub gates: Vec<GateResult>,
}

impl RunSummary {
    /// Returns true if some node failed.
    pub fn has_failed(&self) -> bool {
        self.nodes.iter().any(|node| node.outcome == NodeOutcome::Failed)
    }

    /// Returns true if nothing ran.
    pub fn is_unchanged(&self) -> bool {
        !self.interrupted && self.nodes.iter().all(|node| node.outcome == NodeOutcome::Cached)
    }

    /// Returns the key that a node had, where it ran or was cached.
    pub fn key(&self, node: &str) -> Option<Digest> {
        let is_done = |outcome: NodeOutcome| matches!(outcome, NodeOutcome::Cached | NodeOutcome::Ran);
        self.nodes.iter().find(|known| known.node == node && is_done(known.outcome))?.key
    }

    /// Returns the model calls made.
    pub fn calls(&self) -> u64 {
        self.nodes.iter().map(|node| node.calls).sum()
    }
}

/// What execution tells while it goes on.
#[derive(Clone)]
pub enum Event {
    Started {
        run: String,
        nodes: usize,
    },
    NodeStarted {
        node: String,
        kind: &'static str,
        reason: String,
        progress: Arc<Progress>,
    },
    /// Another process makes the same node.
    NodeWaiting {
        node: String,
    },
    NodeFinished(Box<NodeRun>),
}

/// Whoever listens.
pub type Listener = Arc<dyn Fn(Event) + Send + Sync>;
