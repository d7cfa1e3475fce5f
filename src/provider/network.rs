//! Settings of models behind an address, whatever their API.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::pool::Limits;

/// Settings of a model behind an address.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    /// Address of the API, such as http://127.0.0.1:8000/v1.
    pub base_url: Option<String>,
    /// Environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// HTTP headers sent with every call. They enter the key; credentials do not belong here.
    pub headers: BTreeMap<String, String>,
    /// Calls in flight at most, 16 unless said. A server that refuses some of them gets fewer.
    pub concurrency: Option<usize>,
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
        let Settings {
            concurrency, requests_per_minute, tokens_per_minute, max_attempts, retry_seconds, patience, ..
        } = *self;
        Limits { concurrency, requests_per_minute, tokens_per_minute, max_attempts, retry_seconds, patience }
    }
}
