//! Models behind an address: what all chat APIs share. An [`Api`] holds what differs between them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::batch::{Batch, BatchAnswers, BatchApi, BatchRequest, BatchState, Batches};
use super::http::{Address, Endpoint, Posted};
use super::network::{Settings, check_concurrency};
use super::secret::{is_credential, is_key, is_variable};
use super::{
    Billed, BuildError, Building, CallError, ErrorKind, Limits, Message, Provider, Reach, Reply, Request, Sent,
    messages_into, probe,
};
use crate::digest::{canonical_into, canonical_text};
use crate::problem::Problem;
use crate::row::Usage;
use crate::spec::{KeyHost, Node, decode};

/// A chat API.
pub(super) struct Api {
    /// The provider's name in specs.
    pub name: &'static str,
    /// An example of a model id.
    pub example: &'static str,
    pub address: Address,
    /// Appends the wire body of a request to a model, as canonical JSON.
    pub body: fn(&str, &Request, &mut Vec<u8>),
    /// Reads an answer.
    pub read: fn(&str) -> Result<Reply, CallError>,
    /// How it takes batches.
    pub batches: BatchApi,
    /// Reads the `usage` of an answer.
    pub usage: fn(&Value) -> Usage,
}

/// What to do with a key instead of writing it down.
const KEY_HELP: &str = "put the key into an environment variable and name it: `api_key_env: MY_KEY`; then make a new key, for this one may have been seen";

/// Finds credentials in a model's settings. No message repeats one.
fn check_secrets(settings: &Settings, node: &Node, what: &str) -> Vec<Problem> {
    let secret = |field: &str, message: String| {
        Problem::error("secret-in-spec", format!("{what}: {message}")).at(node.place_of(field)).help(KEY_HELP)
    };
    let mut problems = Vec::new();
    for (header, value) in &settings.headers {
        if is_credential(header) || is_key(value) {
            problems.push(secret("headers", format!("header `{header}` carries a credential")));
        }
    }
    if settings.api_key_env.as_deref().is_some_and(|name| !is_variable(name)) {
        problems.push(secret(
            "api_key_env",
            "`api_key_env` is the name of a variable, and what stands there is none".to_owned(),
        ));
    }
    let authority = settings.base_url.as_deref().and_then(|url| url.split_once("://")).map_or("", |(_, rest)| rest);
    if authority.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
        problems.push(secret("base_url", "base_url carries a credential".to_owned()));
    }
    let query = settings.base_url.as_deref().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
    for (name, value) in reqwest::Url::parse(&format!("http://a/?{query}")).iter().flat_map(reqwest::Url::query_pairs) {
        if is_credential(&name) || is_key(&value) || matches!(&*name, "sig" | "signature") {
            problems.push(secret("base_url", format!("`{name}` in base_url carries a credential")));
        }
    }
    problems
}

/// Finds what is wrong with a model's settings.
pub(super) fn check(node: &Node, what: &str) -> Vec<Problem> {
    let settings: Settings = match decode(node, what) {
        Ok(settings) => settings,
        Err(problems) => return problems.into_iter().chain(check_concurrency(node, what)).collect(),
    };
    let mut problems = check_secrets(&settings, node, what);
    for (field, value) in [
        ("timeout", settings.timeout),
        ("connect_timeout", settings.connect_timeout),
        ("retry_seconds", settings.retry_seconds),
        ("patience", settings.patience),
    ] {
        if value.is_some_and(|seconds| !(seconds > 0.0 && seconds < 1e6)) {
            let message = format!("{what}: `{field}` is a number of seconds above 0");
            problems.push(Problem::error("wrong-value", message).at(node.place_of(field)));
        }
    }
    problems.extend(check_concurrency(node, what));
    for (field, is_zero) in [
        ("max_attempts", settings.max_attempts == Some(0)),
        ("requests_per_minute", settings.requests_per_minute == Some(0)),
        ("tokens_per_minute", settings.tokens_per_minute == Some(0)),
    ] {
        if is_zero {
            let message = format!("{what}: `{field}` must be at least 1");
            problems.push(Problem::error("wrong-value", message).at(node.place_of(field)));
        }
    }
    problems
}

/// One model behind an address.
struct Remote {
    api: &'static Api,
    model: String,
    endpoint: Endpoint,
    identity: Map<String, Value>,
    limits: Limits,
    /// Requests are sent as batches.
    is_batched: bool,
    has_answered: AtomicBool,
    /// What the server has, asked for once: when it does not know the model.
    models: OnceCell<String>,
}

/// Builds a model's provider.
pub(super) fn build(api: &'static Api, building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    let Some(model) = building.spec.model.clone() else {
        return Err(BuildError::new(
            format!("provider {} needs `model`", api.name),
            format!("the id that the server knows: `model: {}`", api.example),
        ));
    };
    let settings: Settings = building.settings()?;
    let endpoint = Endpoint::new(&api.address, &settings)?;
    let identity = identity(api, &model, building, &endpoint, &settings);
    Ok(Box::new(Remote {
        api,
        model,
        endpoint,
        identity,
        limits: settings.limits(),
        is_batched: settings.batch,
        has_answered: AtomicBool::new(false),
        models: OnceCell::new(),
    }))
}

/// Returns the identity of a model behind an address. If its content is known, by the digests of its weights, a digest
/// that its server told, or a revision that is a full commit hash, that says which model it is, wherever it is served;
/// otherwise the address is part of the identity.
fn identity(
    api: &Api,
    model: &str,
    building: &Building<'_>,
    endpoint: &Endpoint,
    settings: &Settings,
) -> Map<String, Value> {
    let spec = building.spec;
    let mut identity = Map::new();
    identity.insert("provider".to_owned(), api.name.into());
    identity.insert("model".to_owned(), model.into());
    if !building.weights.is_empty() {
        let weights = building.weights.iter().map(|(name, digest)| (name.clone(), Value::from(digest.to_string())));
        identity.insert("weights".to_owned(), Value::Object(weights.collect()));
    }
    if let Some(revision) = &spec.revision {
        identity.insert("revision".to_owned(), revision.clone().into());
    }
    let is_pinned =
        spec.revision.as_deref().is_some_and(probe::is_commit) || building.probe.is_some_and(probe::is_content);
    if building.weights.is_empty() && !is_pinned {
        identity.insert("base_url".to_owned(), endpoint.base_url.clone().into());
    }
    if let Some(probe) = building.probe {
        identity.insert("probe".to_owned(), Value::Object(probe.clone()));
    }
    if !settings.headers.is_empty() {
        let headers = settings.headers.iter().map(|(name, value)| (name.to_lowercase(), Value::from(value.as_str())));
        identity.insert("headers".to_owned(), Value::Object(headers.collect()));
    }
    identity
}

impl Remote {
    fn batches(&self) -> Batches<'_> {
        Batches { api: self.api.batches, endpoint: &self.endpoint }
    }

    /// Adds to an error what the server has instead. If it has never answered, no call to this model can succeed.
    async fn unknown(&self, error: CallError) -> CallError {
        let models = self.models.get_or_init(|| async {
            let known = probe::models(&self.endpoint).await;
            if known.is_empty() { String::new() } else { format!("; it has: {}", known.join(", ")) }
        });
        let message = format!("{}{}", error.message, models.await);
        let kind = if self.has_answered.load(Ordering::Relaxed) { error.kind } else { ErrorKind::Fatal };
        CallError { message, kind, ..error }
    }

    /// Returns what a useless answer was billed, if its server tells.
    fn billed(&self, raw: &str) -> Option<Box<Billed>> {
        let answer: Value = serde_json::from_str(raw).ok()?;
        let usage = (self.api.usage)(&answer["usage"]);
        usage.is_known().then(|| Box::new(Billed { raw: raw.to_owned(), usage }))
    }
}

impl Batch for Remote {
    fn submit<'a>(&'a self, requests: &'a [BatchRequest], tag: &'a str) -> BoxFuture<'a, Result<String, CallError>> {
        Box::pin(async move { self.batches().submit(requests, tag).await })
    }

    fn find<'a>(&'a self, tag: &'a str, ids: &'a [String]) -> BoxFuture<'a, Result<Option<String>, CallError>> {
        Box::pin(async move { self.batches().find(tag, ids).await })
    }

    fn state<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BatchState, CallError>> {
        Box::pin(async move { self.batches().state(id).await })
    }

    fn collect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BatchAnswers, CallError>> {
        Box::pin(async move { self.batches().collect(id).await })
    }
}

impl Provider for Remote {
    fn batch(&self) -> Option<&dyn Batch> {
        self.is_batched.then_some(self)
    }

    fn identity(&self) -> Map<String, Value> {
        self.identity.clone()
    }

    fn reach(&self) -> Reach {
        Reach::Network
    }

    fn address(&self) -> Option<&str> {
        Some(&self.endpoint.base_url)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn body(&self, request: &Request, out: &mut Vec<u8>) {
        (self.api.body)(&self.model, request, out);
    }

    fn send<'a>(&'a self, body: &'a Bytes, _request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>> {
        Box::pin(async move {
            let Posted { text: raw, pause } = match self.endpoint.post(body).await {
                Ok(posted) => posted,
                Err(error) if error.is_unknown => return Err(self.unknown(error).await),
                Err(error) => return Err(error),
            };
            match self.read(&raw) {
                Ok(reply) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    Ok(Sent { raw, reply, pause })
                }
                Err(error) => {
                    let message = format!("{} answered 200 with {}", self.endpoint.base_url, error.message);
                    Err(CallError { message: self.endpoint.without_key(message), ..error })
                }
            }
        })
    }

    fn read(&self, raw: &str) -> Result<Reply, CallError> {
        (self.api.read)(raw).map_err(|error| CallError { billed: self.billed(raw), ..error })
    }

    fn key_host(&self) -> Option<KeyHost> {
        self.endpoint.key_host()
    }

    fn missing_key(&self) -> Option<String> {
        self.endpoint.key().err().map(|error| error.message)
    }

    fn preflight(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(self.endpoint.preflight())
    }

    fn probe(&self) -> BoxFuture<'_, Result<Map<String, Value>, CallError>> {
        Box::pin(probe::ask(&self.endpoint, &self.model))
    }
}

/// The fields of a wire body, sorted by name.
type Fields<'a> = BTreeMap<&'a str, Cow<'a, Value>>;

/// Returns the options as fields; the fields below `extra` are put beside the others.
pub(super) fn option_fields(options: &Map<String, Value>) -> Fields<'_> {
    let mut fields = Fields::new();
    for (name, value) in options {
        match (name.as_str(), value) {
            ("extra", Value::Object(extra)) => {
                fields.extend(extra.iter().map(|(name, value)| (name.as_str(), Cow::Borrowed(value))));
            }
            _ => {
                fields.insert(name, Cow::Borrowed(value));
            }
        }
    }
    fields
}

/// Appends the body of a chat call as canonical JSON. `model` and `messages` are added to the fields.
pub(super) fn chat_body(model: &str, messages: &[Message], fields: &Fields<'_>, out: &mut Vec<u8>) {
    const MESSAGES: &str = "messages";
    const MODEL: &str = "model";
    const SCHEMAS: &[&str] = &["response_format", "output_config"];
    let mut names: Vec<&str> = fields.keys().copied().filter(|name| ![MESSAGES, MODEL].contains(name)).collect();
    names.extend([MESSAGES, MODEL]);
    names.sort_unstable();
    for (index, name) in names.into_iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        canonical_text(name, out);
        out.push(b':');
        match name {
            MESSAGES => messages_into(messages, out),
            MODEL => canonical_text(model, out),
            // The order of a schema's properties is kept, since servers let the model write them in that order.
            name if SCHEMAS.contains(&name) => {
                serde_json::to_writer(&mut *out, &fields[name]).expect("JSON serialises to memory")
            }
            _ => canonical_into(&fields[name], out),
        }
    }
    out.push(b'}');
}

/// Returns a count of tokens; none unless it is a whole number, 0 or more.
pub(super) fn tokens(count: &Value) -> Option<u64> {
    count
        .as_u64()
        .or_else(|| count.as_f64().filter(|count| *count >= 0.0 && count.fract() == 0.0).map(|count| count as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::problem::Place;

    #[test]
    fn settings_are_checked_all_at_once() {
        let found = |settings: Value| -> Vec<String> {
            let problems = check(&Node::from_json(&settings, &Place::default()), "model m");
            problems.into_iter().map(|problem| problem.message).collect()
        };
        let wrong = json!({ "headers": { "Cookie": "x", "X-Team": "y" }, "timeout": 0, "concurrency": 0 });
        assert_eq!(
            found(wrong),
            [
                "model m: header `Cookie` carries a credential",
                "model m: `timeout` is a number of seconds above 0",
                "model m: `concurrency` is a number of calls, 1 to 4096, or `auto`",
            ]
        );
        assert_eq!(found(json!({ "timeout": "x", "concurrency": [] })).len(), 2);
        assert!(found(json!({ "timeout": 0.5, "max_attempts": 1, "headers": {} })).is_empty());
    }

    #[test]
    fn limits_are_those_that_are_said() {
        let settings: Settings = serde_json::from_value(json!({ "concurrency": 3, "retry_seconds": 1.5 })).unwrap();
        let limits = Limits { concurrency: Some(3), retry_seconds: Some(1.5), ..Limits::default() };
        assert_eq!(settings.limits(), limits);
    }
}
