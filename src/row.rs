//! Rows: what a dataset holds and what the stages after it make of them.
//!
//! A [`Row`] is one dataset record with a stable id. A [`Completion`] is what a model said to it, a
//! [`Judgement`] what a judge made of that. All of them are stored sorted by id (and sample), so
//! order is not content, joins are merges and readers stream.
//!
//! **Invariant:** fields stand in alphabetical order of their JSON names and maps are sorted, so that
//! a record serialises straight to canonical JSON (`store::artifact` asserts it in debug builds).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One dataset record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Unique text within the dataset.
    pub id: String,
    /// The record's own columns, the id's column included.
    #[serde(rename = "row")]
    pub columns: Map<String, Value>,
}

/// Where a completion or a judgement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there.
    Ok,
    /// The call failed for good, or the dataset had no completion: missing for everyone after.
    Failed,
    /// Not bought yet. Only a plan makes such rows; they are never published.
    Unknown,
}

/// One completion of one row by one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    pub finish_reason: Option<String>,
    pub id: String,
    /// Ordinal of the sample, from 0.
    pub sample: u32,
    pub status: Status,
    pub text: Option<String>,
}

/// What a call cost and how it went; in the *meta* artifact, beside the rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub completion_tokens: Option<u64>,
    pub cost_usd: Option<f64>,
    /// Why the row failed.
    pub error: Option<String>,
    pub id: String,
    /// Seconds from sending to the complete answer, when it was bought.
    pub latency: Option<f64>,
    pub prompt_tokens: Option<u64>,
    pub sample: u32,
    /// The model that the server says it served.
    pub served_model: Option<String>,
}

/// The scores of one completion, by metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub id: String,
    pub sample: u32,
    pub scores: Map<String, Value>,
}

/// How a judge's reply was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictStatus {
    Ok,
    /// Readable after a named repair.
    Repaired,
    /// Some criteria are readable, others are not.
    Partial,
    Ambiguous,
    Unparsable,
    #[serde(rename = "invalid_label")]
    InvalidLabel,
    Truncated,
    Refused,
    Empty,
    /// The call itself failed.
    Error,
    /// What was to be judged is missing.
    Missing,
    /// Not bought yet; only in plans.
    Unknown,
}

impl VerdictStatus {
    /// Returns true where the reply counts in full.
    pub fn is_valid(self) -> bool {
        matches!(self, VerdictStatus::Ok | VerdictStatus::Repaired)
    }
}

/// What a judge said of one completion (or of a pair of them), parsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub id: String,
    /// Comparison: what each order said, for the node's model, in the order they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Option<String>>,
    /// The judge's reason, or why there is no verdict.
    pub reason: Option<String>,
    pub sample: u32,
    /// Rubric: a score per criterion, null where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Map<String, Value>>,
    pub status: VerdictStatus,
    /// Comparison: `win`, `tie` or `loss` for the node's model against the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}
