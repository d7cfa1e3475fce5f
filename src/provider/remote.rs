//! Models behind an address: what all chat APIs share. An [`Api`] says the rest.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::http::{Address, Endpoint};
use super::{
    BuildError, Building, CallError, ErrorKind, Message, Provider, Reply, Request, Sent, messages_into, probe,
};
use crate::digest::{canonical_into, canonical_text};

/// A chat API.
pub(super) struct Api {
    /// As specs name the provider.
    pub name: &'static str,
    /// What a model id looks like.
    pub example: &'static str,
    pub address: Address,
    /// Appends the wire body of a request to a model, as canonical JSON.
    pub body: fn(&str, &Request, &mut Vec<u8>),
    /// Reads an answer.
    pub read: fn(&str) -> Result<Reply, String>,
}

/// One model behind an address.
struct Remote {
    api: &'static Api,
    model: String,
    endpoint: Endpoint,
    identity: Map<String, Value>,
}

/// Builds a model's provider.
pub(super) fn build(api: &'static Api, building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    let Some(model) = building.spec.model.clone() else {
        return Err(BuildError::new(
            format!("provider {} needs `model`", api.name),
            format!("the id that the server knows: `model: {}`", api.example),
        ));
    };
    let endpoint = Endpoint::new(&api.address, building.spec)?;
    let identity = identity(api, &model, building, &endpoint);
    Ok(Box::new(Remote { api, model, endpoint, identity }))
}

/// Returns the identity of a model behind an address. Weights or a revision say which model it is,
/// wherever it is served; else the address must.
fn identity(api: &Api, model: &str, building: &Building<'_>, endpoint: &Endpoint) -> Map<String, Value> {
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
    if building.weights.is_empty() && spec.revision.is_none() {
        identity.insert("base_url".to_owned(), endpoint.base_url.clone().into());
    }
    if let Some(probe) = building.probe {
        identity.insert("probe".to_owned(), Value::Object(probe.clone()));
    }
    if !spec.headers.is_empty() {
        let headers = spec.headers.iter().map(|(name, value)| (name.to_lowercase(), Value::from(value.as_str())));
        identity.insert("headers".to_owned(), Value::Object(headers.collect()));
    }
    identity
}

impl Provider for Remote {
    fn identity(&self) -> Map<String, Value> {
        self.identity.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn body(&self, request: &Request, out: &mut Vec<u8>) {
        (self.api.body)(&self.model, request, out);
    }

    fn send<'a>(&'a self, body: &'a Bytes, _request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>> {
        Box::pin(async move {
            let raw = self.endpoint.post(body).await?;
            match self.read(&raw) {
                Ok(reply) => Ok(Sent { raw, reply }),
                // A broken body behind a 200 is a proxy or a server in trouble.
                Err(message) => {
                    let message = format!("{} answered 200 with {message}", self.endpoint.base_url);
                    Err(CallError::new(ErrorKind::Transient, message))
                }
            }
        })
    }

    fn read(&self, raw: &str) -> Result<Reply, String> {
        (self.api.read)(raw)
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

/// Fields of a wire body, sorted.
type Fields<'a> = BTreeMap<&'a str, Cow<'a, Value>>;

/// Returns the options as fields; what stands in `extra` stands beside the others.
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

/// Appends the body of a chat call as canonical JSON. `model` and `messages` are the request itself.
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
            // Servers write the properties of a schema in the order in which it has them.
            name if SCHEMAS.contains(&name) => {
                serde_json::to_writer(&mut *out, &fields[name]).expect("JSON serialises to memory")
            }
            _ => canonical_into(&fields[name], out),
        }
    }
    out.push(b'}');
}

/// Returns a count of tokens; none where it is no whole number, 0 or more.
pub(super) fn tokens(count: &Value) -> Option<u64> {
    count
        .as_u64()
        .or_else(|| count.as_f64().filter(|count| *count >= 0.0 && count.fract() == 0.0).map(|count| count as u64))
}
