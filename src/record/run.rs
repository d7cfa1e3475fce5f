//! The document of a run.
//!
//! This value is what a run prints as JSON and what `runs/` keeps. Whatever tables, compares or reports a run takes it
//! from here alone.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Bill, VERSION};
use crate::digest::Digest;
use crate::score::{Direction, Drift, Estimate, Reading, SLICES, Slices};
use crate::spec::{Role, RowsRole};

/// One execution: what is printed, and what `runs/` keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The version of the document.
    pub etalon: u32,
    pub run: String,
    pub pipeline: String,
    pub label: Option<String>,
    /// The run was cut by `--only` or `--limit`.
    #[serde(default)]
    pub partial: bool,
    #[serde(default)]
    pub interrupted: bool,
    pub started: String,
    /// The git commit that the workspace stood at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The params of the pipeline, with what `--set` made of them.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, Value>,
    /// Seconds from start to end.
    pub seconds: f64,
    /// The models that took part, by name, in the order of the spec.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub models: IndexMap<String, RunModel>,
    /// The stages that took part, each after those that it reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<RunStage>,
    pub nodes: Vec<NodeRun>,
    pub summary: SummaryTable,
    /// How the values of the summary are to be read, in the order of tables. By stage, then by flat name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub values: IndexMap<String, IndexMap<String, Reading>>,
    /// How far models lie from the baseline of their stage. By stage, model and flat name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub deltas: IndexMap<String, StageDeltas>,
    /// Results that do not fit one number, such as confusion matrices. By stage, model and name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub tables: IndexMap<String, IndexMap<String, IndexMap<String, Value>>>,
    /// What defines the values of a metric: its name and settings. By stage, then by metric.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub signatures: IndexMap<String, IndexMap<String, String>>,
    /// Drift of judges, by node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drift: BTreeMap<String, NodeDrift>,
    pub gates: Vec<GateResult>,
}

impl Run {
    /// Returns a run of a pipeline in which nothing has happened yet.
    pub fn new(id: &str, pipeline: &str) -> Run {
        Run {
            etalon: VERSION,
            run: id.to_owned(),
            pipeline: pipeline.to_owned(),
            label: None,
            partial: false,
            interrupted: false,
            started: String::new(),
            commit: None,
            params: IndexMap::new(),
            seconds: 0.0,
            models: IndexMap::new(),
            stages: Vec::new(),
            nodes: Vec::new(),
            summary: SummaryTable::new(),
            values: IndexMap::new(),
            deltas: IndexMap::new(),
            tables: IndexMap::new(),
            signatures: IndexMap::new(),
            drift: BTreeMap::new(),
            gates: Vec::new(),
        }
    }

    /// Returns what a run is called by.
    pub fn head(&self) -> RunHead {
        RunHead {
            run: self.run.clone(),
            label: self.label.clone(),
            started: self.started.clone(),
            commit: self.commit.clone(),
        }
    }

    /// Returns true if some node failed.
    pub fn has_failed(&self) -> bool {
        self.nodes.iter().any(|node| node.outcome == NodeOutcome::Failed)
    }

    /// Returns true if nothing ran.
    pub fn is_unchanged(&self) -> bool {
        !self.interrupted && self.nodes.iter().all(|node| node.outcome == NodeOutcome::Cached)
    }

    /// Returns true if all nodes have the same results as in another run.
    pub fn is_of_same_results(&self, other: &Run) -> bool {
        let keys = |run: &Run| run.nodes.iter().map(|node| (node.node.clone(), node.key)).collect::<BTreeMap<_, _>>();
        self.pipeline == other.pipeline && keys(self) == keys(other) && self.gates == other.gates
    }

    /// Returns the key that a node had, if it ran or was cached.
    pub fn key(&self, node: &str) -> Option<Digest> {
        let is_done = |outcome: NodeOutcome| matches!(outcome, NodeOutcome::Cached | NodeOutcome::Ran);
        self.nodes.iter().find(|known| known.node == node && is_done(known.outcome))?.key
    }

    /// Returns what all nodes bought.
    pub fn bill(&self) -> Bill {
        let mut all = Bill::default();
        self.nodes.iter().for_each(|node| all += node.bill);
        all
    }

    /// Returns what the rows are for that a stage rests on.
    pub fn rows_role(&self, stage: &str) -> RowsRole {
        let mut name = Some(stage);
        for _ in &self.stages {
            let Some(stage) = name.and_then(|name| self.stages.iter().find(|stage| stage.name == name)) else { break };
            if let Some(role) = stage.role {
                return role;
            }
            name = stage.input.as_deref();
        }
        RowsRole::default()
    }

    /// Returns the role of a model, if it has one.
    pub fn role(&self, model: &str) -> Option<Role> {
        // Where several stages stand side by side, the name of the stage comes first.
        let behind = || self.models.get(model.split_once('.')?.1);
        self.models.get(model).or_else(behind).and_then(|model| model.role)
    }
}

/// What a run is called by: its id, label, time and commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHead {
    pub run: String,
    pub label: Option<String>,
    pub started: String,
    pub commit: Option<String>,
}

impl RunHead {
    /// Returns the name by which people know the run: its label, else its id.
    pub fn name(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.run)
    }
}

/// A model of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunModel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// A stage of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStage {
    pub name: String,
    pub kind: String,
    /// The stage that its `input` names; none for a stage without an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// What the rows of a dataset are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RowsRole>,
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
    /// Rows of the node's artifact.
    pub rows: u64,
    /// Rows whose call failed for good, or that the dataset skipped.
    pub failed: u64,
    /// Rows without a valid result, the failed ones included.
    pub missing: u64,
    /// Paid calls of this run.
    pub calls: u64,
    /// Completions that came from the log.
    pub reused: u64,
    /// Dollars that the calls cost, as far as their price is known; none if no price is. [`Bill::unpriced`] says how many
    /// are left out.
    pub cost_usd: Option<f64>,
    #[serde(default, skip_serializing_if = "Bill::is_empty")]
    pub bill: Bill,
    /// Seconds that it took to make the node.
    pub seconds: f64,
    pub key: Option<Digest>,
    pub artifact: Option<Digest>,
    /// For a judge: the digest of everything that decides how it measures. Numbers of different instruments cannot be
    /// compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl NodeRun {
    /// Returns the entry of a node of which no more is known than how it came out, and why.
    pub fn new(node: &str, kind: &str, outcome: NodeOutcome, reason: String) -> NodeRun {
        NodeRun {
            node: node.to_owned(),
            kind: kind.to_owned(),
            outcome,
            reason,
            rows: 0,
            failed: 0,
            missing: 0,
            calls: 0,
            reused: 0,
            cost_usd: None,
            bill: Bill::default(),
            seconds: 0.0,
            key: None,
            artifact: None,
            instrument: None,
            error: None,
            notes: Vec::new(),
        }
    }
}

/// The numbers of nodes, by stage and model.
pub type SummaryTable = IndexMap<String, IndexMap<String, NodeSummary>>;

/// The numbers of a node. In JSON the values stand flat, with `slices` beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSummary {
    /// Estimates by flat name.
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
        let mut map = Map::deserialize(deserializer)?;
        let slices = map.shift_remove(SLICES).map_or(Ok(Slices::new()), serde_json::from_value);
        Ok(NodeSummary {
            slices: slices.map_err(D::Error::custom)?,
            values: serde_json::from_value(Value::Object(map)).map_err(D::Error::custom)?,
        })
    }
}

/// How far the models of a stage lie from its baseline, by model and flat name.
pub type StageDeltas = IndexMap<String, IndexMap<String, Delta>>;

/// How far a value lies from that of the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The baseline.
    pub against: String,
    /// The value less that of the baseline over the n rows that both have. Rows that only one has are missing: the 95 %
    /// interval holds whatever they would have been.
    pub difference: Estimate,
    /// Of scores that are 0 or 1: the exact two-sided p of the rows that differ (McNemar 1947).
    pub p: Option<f64>,
}

impl Delta {
    /// Returns true if something says how far the difference may be off.
    pub fn has_interval(&self) -> bool {
        self.difference.low.is_some() || self.difference.high.is_some()
    }

    /// Returns whether the value is shown to be better or worse; none if it may be either.
    pub fn is_better(&self, direction: Direction) -> Option<bool> {
        let (low, high) = (self.difference.low, self.difference.high);
        let is_real = self.p.is_none_or(|p| p <= 0.05);
        let is_more = low.is_some_and(|low| low > 0.0);
        let is_less = high.is_some_and(|high| high < 0.0);
        let is_shown = is_real && (is_more || is_less) && direction != Direction::Neither;
        is_shown.then_some(is_more == (direction == Direction::Higher))
    }
}

/// How a node's verdicts shifted, because its instrument is another one than in the run before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeDrift {
    /// The run before.
    pub since: String,
    /// None if no completion was judged by both instruments.
    #[serde(flatten)]
    pub drift: Option<Drift>,
}

/// A gate with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    pub gate: String,
    pub verdict: GateVerdict,
    /// The value of the left side; none without data.
    pub left: Option<f64>,
    /// The value of the right side; none without data.
    pub right: Option<f64>,
    /// The left side less the right side, row by row, over the rows that have all values; none where the gate's values are
    /// no means over the same rows. Both sides are then those of these rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Estimate>,
    /// Why the gate is not proven, or what its verdict rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// The verdict on a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GateVerdict {
    /// It holds, even with every value at the unfavourable end of its interval.
    Pass,
    /// It holds at the estimates, but chance could explain that. It passes, except under `--strict`.
    Unproven,
    Fail,
    /// A value has no data.
    NoData,
    /// A node was not part of this run.
    NotRun,
}
