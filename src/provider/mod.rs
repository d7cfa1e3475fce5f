//! Providers: how a model is reached.
//!
//! A [`Provider`] says what a request looks like on the wire and what an answer means. A [`Pool`] around it limits how
//! many calls are in flight, repeats calls that are worth repeating, and stops a model whose endpoint is dead. Nothing
//! here remembers completions: that is the store's task.
//!
//! | file | holds |
//! |---|---|
//! | `openai` `anthropic` `command` `replay` `scripted` | the providers |
//! | `local` | what providers within this process share |
//! | `reply` | what models reply, told apart once for all providers |
//! | `batch` | batches of requests, in the two APIs that there are |
//! | `quota` | what servers say about their limits |
//! | `remote` `http` | what all chat APIs behind an address share; addresses, keys, errors |
//! | `network` | the settings of all chat APIs behind an address |
//! | `secret` | what a credential looks like; keys kept out of what is said |
//! | `probe` | asks a server what it serves |
//! | `pool` `pace` `tempo` `reach` | calls in flight, repeats, limits; how many a server takes; what of that holds for which kind of provider |
//!
//! **Adding a provider:** one file with its `Settings` and an `ENTRY`, one line in [`PROVIDERS`], an example in the
//! README, and a test. The schema, the reference of the spec and all messages about settings follow from the entry. A
//! chat API behind an address needs no more than an `Api` (`remote`).

mod anthropic;
mod batch;
mod command;
mod http;
mod local;
mod network;
mod openai;
mod pace;
mod pool;
mod probe;
mod quota;
mod reach;
mod remote;
mod replay;
mod reply;
mod scripted;
mod secret;
mod tempo;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use batch::{Batch, BatchAnswers, BatchRequest, BatchState};
pub use pool::{Answer, Ledger, Limits, Pool};
pub use reach::Reach;
pub use replay::recorded;
pub use reply::Reply;
pub(crate) use secret::{is_credential, is_key};

use crate::digest::{Digest, canonical_into, canonical_map_into, canonical_text};
use crate::problem::Problem;
use crate::process::Launch;
use crate::row::Usage;
use crate::spec::{Consent, KeyHost, ModelSpec, Node, decode};
use crate::template::Library;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, …
    pub role: String,
    /// Text, or a list of parts that the provider understands; null beside calls of tools.
    pub content: Value,
    /// What else the turn has: `tool_calls`, `tool_call_id`, `name`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// Returns a turn whose content is text.
    pub fn new(role: &str, text: impl Into<String>) -> Message {
        Message { role: role.to_owned(), content: Value::String(text.into()), more: Map::new() }
    }

    /// Returns the text; empty if the content is not text.
    pub fn text(&self) -> &str {
        self.content.as_str().unwrap_or_default()
    }

    /// Returns the turn as people read it: its text, the text of its parts, the tools that it calls.
    pub fn shown(&self) -> String {
        let part = |part: &Value| match part["text"].as_str() {
            Some(text) => text.to_owned(),
            None => format!("[{}]", part["type"].as_str().unwrap_or("part")),
        };
        let said = match &self.content {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Array(parts) => Some(parts.iter().map(part).collect::<Vec<_>>().join("\n")),
            _ => None,
        };
        let calls = self.more.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        let calls = calls.map(|call| {
            let call = if call["function"].is_object() { &call["function"] } else { call };
            let arguments = match &call["arguments"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            format!("{}({arguments})", call["name"].as_str().unwrap_or_default())
        });
        said.into_iter().chain(calls).collect::<Vec<_>>().join("\n")
    }
}

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// The options of the call: the model's, with those of the stage merged over them.
    pub options: Arc<Map<String, Value>>,
    /// Which sample of the row it is, from 0. Sample 0 carries no added seed.
    pub sample: u32,
}

/// An answer as it came, and as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The answer in the provider's own JSON.
    pub raw: String,
    /// What the answer says.
    pub reply: Reply,
    /// Seconds until the next call makes sense, if the server says that a quota is used up.
    pub pause: Option<f64>,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What happened: it names the endpoint and what that said, never a key.
    pub message: String,
    /// What the error means for further calls.
    pub kind: ErrorKind,
    /// How many seconds the server asked to wait.
    pub retry_after: Option<f64>,
    /// The server does not know the model, or the path (404).
    pub is_unknown: bool,
    /// The useless answer that the server billed, if it says so.
    pub billed: Option<Box<Billed>>,
}

/// An answer that nobody can use, and that was billed all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Billed {
    /// The answer in the provider's own JSON.
    pub raw: String,
    pub usage: Usage,
}

/// What a failed call means for further ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The endpoint could not be reached.
    Connect,
    /// Worth another attempt: timeouts, broken answers, 408, 409, 5xx.
    Transient,
    /// 429: worth another attempt, slower.
    RateLimited,
    /// The request is at fault.
    Permanent,
    /// The user stopped the run before it was sent.
    Stopped,
    /// No call to this model can succeed: an API key or the file of recordings is missing.
    Fatal,
}

impl CallError {
    /// Returns an error of which no more is known.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> CallError {
        CallError { message: message.into(), kind, retry_after: None, is_unknown: false, billed: None }
    }
}

/// One model behind one sort of endpoint.
pub trait Provider: Send + Sync {
    /// Returns the facts that say which model answers. They enter the key of every node that calls it.
    fn identity(&self) -> Map<String, Value>;

    /// Returns how it is reached.
    fn reach(&self) -> Reach;

    /// Returns the way to send batches, for a model that wants that.
    fn batch(&self) -> Option<&dyn Batch> {
        None
    }

    /// Returns where it is reached; none for what is not behind an address. It is part of the identity only where nothing
    /// else says for certain which model answers.
    fn address(&self) -> Option<&str> {
        None
    }

    /// Returns the program that answers, as the user consents to it.
    fn launch(&self) -> Option<Launch> {
        None
    }

    /// Returns the key that is sent, and the host that gets it; none where no key is set.
    fn key_host(&self) -> Option<KeyHost> {
        None
    }

    /// Returns the limits on calls that the model's settings name.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Appends the exact wire body of a request, as canonical JSON.
    fn body(&self, request: &Request, out: &mut Vec<u8>);

    /// Sends one request, once. The result is the provider's complete answer as JSON, and what that says. It never
    /// blocks the thread that polls it: blocking work goes to a thread of its own. Dropping the future gives the call
    /// up.
    ///
    /// # Errors
    ///
    /// There is no answer; the error's kind says whether another attempt may help.
    fn send<'a>(&'a self, body: &'a Bytes, request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>>;

    /// Reads an answer, fresh or from the log.
    ///
    /// # Errors
    ///
    /// It is not an answer, but an error or something unreadable. The message goes on from "the server answered with …",
    /// and the kind says whether another attempt may help.
    fn read(&self, raw: &str) -> Result<Reply, CallError>;

    /// Checks the files that the provider reads.
    ///
    /// # Errors
    ///
    /// A file is wrong; the text says how, with file and line.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Returns what to do about an API key that is not set; none if no key is missing.
    fn missing_key(&self) -> Option<String> {
        None
    }

    /// Checks, without a call, that calls can succeed.
    fn preflight(&self) -> BoxFuture<'_, Result<(), CallError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Asks the server what it serves. The facts stay the same as long as the weights do.
    fn probe(&self) -> BoxFuture<'_, Result<Map<String, Value>, CallError>> {
        let message = "`probe` asks a server, and this provider has none";
        Box::pin(std::future::ready(Err(CallError::new(ErrorKind::Fatal, message))))
    }
}

/// Everything from which a provider is built.
pub struct Building<'a> {
    /// The model's name in the spec.
    pub name: &'a str,
    /// The fields that every model may have.
    pub spec: &'a ModelSpec,
    /// Those of the model's settings that this provider has.
    pub settings: &'a Node,
    /// Digests of the weight files, by their names within their folders; empty if the model names no weights.
    pub weights: BTreeMap<String, Digest>,
    /// What the server said about itself, if the model is probed and the server was asked.
    pub probe: Option<&'a Map<String, Value>>,
    /// The directory of the workspace.
    pub root: &'a Path,
    /// What the user lets pipelines read.
    pub consent: &'a Consent,
    /// The templates of the workspace.
    pub library: &'a Library,
    /// Returns the digest of a file.
    pub digest_file: &'a dyn Fn(&Path) -> std::io::Result<Digest>,
}

impl Building<'_> {
    /// Reads the settings into their type.
    ///
    /// # Errors
    ///
    /// They are not settings that [`Entry::check`] accepts.
    fn settings<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, BuildError> {
        decode(self.settings, "its provider").map_err(|problems| BuildError {
            message: problems.first().map(|problem| problem.message.clone()).unwrap_or_default(),
            help: problems.first().and_then(|problem| problem.help.clone()),
        })
    }
}

/// Builds a provider, or says what is wrong with the model.
pub type Build = fn(&Building<'_>) -> Result<Box<dyn Provider>, BuildError>;

/// Why a model's provider cannot be built.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildError {
    /// What is wrong, without the model's name.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl BuildError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> BuildError {
        BuildError { message: message.into(), help: Some(help.into()) }
    }
}

/// A sort of endpoint that models can name as their provider.
pub struct Entry {
    /// Its name in specs.
    pub name: &'static str,
    /// What it is, in a sentence for users.
    pub about: &'static str,
    /// Finds what is wrong with a model's settings. The text names the model in messages.
    pub check: fn(&Node, &str) -> Vec<Problem>,
    /// Returns the JSON Schema of the settings.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Builds the provider of a model whose settings have passed `check`.
    pub build: Build,
}

impl Entry {
    /// Returns the names of the settings.
    pub fn fields(&self) -> Vec<String> {
        let schema = (self.schema)(&mut SchemaGenerator::default()).to_value();
        schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect()
    }
}

/// All providers.
pub const PROVIDERS: &[Entry] = &[openai::ENTRY, anthropic::ENTRY, command::ENTRY, replay::ENTRY, scripted::ENTRY];

/// Finds what is wrong with settings, as far as their types can tell.
fn check<T: DeserializeOwned + JsonSchema>(settings: &Node, what: &str) -> Vec<Problem> {
    decode::<T>(settings, what).err().unwrap_or_default()
}

/// Appends messages as canonical JSON.
fn messages_into(messages: &[Message], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if message.more.is_empty() {
            out.extend_from_slice(b"{\"content\":");
            canonical_into(&message.content, out);
            out.extend_from_slice(b",\"role\":");
            canonical_text(&message.role, out);
            out.push(b'}');
            continue;
        }
        let mut turn = message.more.clone();
        turn.insert("role".to_owned(), message.role.as_str().into());
        turn.insert("content".to_owned(), message.content.clone());
        canonical_map_into(&turn, out);
    }
    out.push(b']');
}
