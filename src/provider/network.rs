//! Settings of models behind an address, whatever their API.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::pool::Limits;
use crate::problem::Problem;
use crate::spec::Node;

/// At most so many calls may be in flight.
const MOST_CONCURRENCY: u64 = 4096;

/// The shape of `concurrency`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is read by hand")]
pub(super) enum Concurrency {
    Auto(Auto),
    Calls(#[schemars(range(min = 1, max = 4096))] u64),
}

/// A word: the number is found.
#[derive(JsonSchema)]
#[schemars(rename = "auto")]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes what is read by hand")]
pub(super) enum Auto {
    Auto,
}

/// Finds what is wrong with `concurrency`.
pub(super) fn check_concurrency(node: &Node, what: &str) -> Option<Problem> {
    let is_fine = match &node.get("concurrency").map(Node::to_json) {
        None | Some(Value::Null) => true,
        Some(Value::String(word)) => word == "auto",
        Some(number) => number.as_u64().is_some_and(|calls| (1..=MOST_CONCURRENCY).contains(&calls)),
    };
    if is_fine {
        return None;
    }
    let message = format!("{what}: `concurrency` is a number of calls, 1 to {MOST_CONCURRENCY}, or `auto`");
    Some(Problem::error("wrong-value", message).at(node.place_of("concurrency")))
}

/// Returns the number of calls that `concurrency` says, if it says one.
pub(super) fn calls(value: &Option<Value>) -> Option<usize> {
    value.as_ref().and_then(Value::as_u64).map(|calls| calls as usize)
}

/// Settings of a model behind an address.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Address of the API, such as http://127.0.0.1:8000/v1.
    pub base_url: Option<String>,
    /// Environment variable that holds the API key: its name, not the key. `extends` does not pass it on to another host.
    #[schemars(length(min = 1))]
    pub api_key_env: Option<String>,
    /// HTTP headers sent with every call. They enter the key; credentials do not belong here.
    pub headers: BTreeMap<String, String>,
    /// Calls in flight at most. `auto`, which is what counts unless said, begins with 16 and goes up to 128 as long as
    /// more calls at once bring more answers. A server that refuses some of them gets fewer.
    #[schemars(with = "Option<Concurrency>")]
    pub concurrency: Option<Value>,
    /// Sends the requests of a stage as batches, which are answered within a day at a lower price (OpenAI's and
    /// Anthropic's APIs). A run that is stopped leaves its batches to the server, and the next one collects them.
    pub batch: bool,
    /// Calls begun per minute, unlimited unless said.
    pub requests_per_minute: Option<u32>,
    /// Prompt tokens sent per minute, unlimited unless said.
    pub tokens_per_minute: Option<u32>,
    /// Seconds for a connection, 5 unless said.
    pub connect_timeout: Option<f64>,
    /// Seconds for a whole call, 300 unless said.
    pub timeout: Option<f64>,
    /// Attempts per call, 5 unless said.
    pub max_attempts: Option<u32>,
    /// Seconds of retrying per call, 60 unless said. Waits that the server asks for do not count.
    pub retry_seconds: Option<f64>,
    /// Seconds without any answer after which a server that refuses all calls (429) is given up, 600 unless said. A
    /// refused call is no attempt: it waits, and is sent again.
    pub patience: Option<f64>,
}

impl Settings {
    /// Returns what bounds its calls.
    pub fn limits(&self) -> Limits {
        let concurrency = calls(&self.concurrency);
        let Settings { requests_per_minute, tokens_per_minute, max_attempts, retry_seconds, patience, .. } = *self;
        Limits { concurrency, requests_per_minute, tokens_per_minute, max_attempts, retry_seconds, patience }
    }
}
