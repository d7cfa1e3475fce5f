//! Models: a named endpoint with its options.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::decode::{OneOrMany, decode, one_or_many};
use super::tree::{Node, NodeValue};
use crate::problem::{Place, Problem, suggest};

/// What a model is in the comparison. Nothing is guessed from names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "role")]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What it is compared with.
    Baseline,
    /// What is to be better.
    Candidate,
    /// What can be hoped for: others are shown as a share of it.
    Ceiling,
}

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "price")]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the completion.
    pub output: f64,
}

/// A model as the spec describes it, after `extends`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// How it is reached. Without it the model only names completions that a dataset has.
    pub provider: Option<String>,
    /// Model id as the server knows it.
    pub model: Option<String>,
    /// Address of the API, such as http://127.0.0.1:8000/v1.
    pub base_url: Option<String>,
    /// Environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// What it is in the comparison.
    pub role: Option<Role>,
    /// Vendor family, where the id does not tell.
    pub family: Option<String>,
    /// What this model was tuned from.
    pub base_model: Option<String>,
    /// Models whose outputs it was trained on.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub trained_on_outputs_of: Vec<String>,
    /// Files, folders or globs of weights; their content enters the key.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub weights: Vec<String>,
    /// A revision that names the weights where the files are elsewhere.
    #[serde(deserialize_with = "optional_text")]
    #[schemars(with = "Option<String>")]
    pub revision: Option<String>,
    /// Asks the server what it serves; the answer enters the key.
    pub probe: bool,
    /// Sent with every call; a stage's options win.
    pub options: Map<String, Value>,
    /// HTTP headers sent with every call. They enter the key; credentials do not belong here.
    pub headers: BTreeMap<String, String>,
    /// Calls in flight, 16 unless said.
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
    /// Seconds of retrying per call, 60 unless said.
    pub retry_seconds: Option<f64>,
    /// US dollars per million tokens.
    pub price: Option<Price>,
    /// `replay`: file of recorded completions.
    pub file: Option<String>,
    /// `scripted`: Jinja text or template name.
    pub reply: Option<String>,
    /// `scripted`: seed of `random`.
    pub seed: Option<u64>,
    /// Where the model is declared.
    #[serde(skip)]
    pub place: Option<Place>,
    /// Where its provider is named.
    #[serde(skip)]
    pub provider_place: Option<Place>,
}

/// Takes `revision: 3` for `"3"`.
fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(serde::de::Error::custom("invalid type: expected text")),
    }
}

/// Never inherited through `extends`: they say which model this is, not how to reach it.
const OWN_FIELDS: &[&str] = &["weights", "revision", "role", "family"];

/// Resolves `extends` and types every model.
pub(super) fn resolve(nodes: &IndexMap<String, Node>, problems: &mut Vec<Problem>) -> IndexMap<String, ModelSpec> {
    let mut models = IndexMap::new();
    for (name, node) in nodes {
        let merged = match merged(name, nodes, &mut Vec::new()) {
            Ok(merged) => merged,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        match decode::<ModelSpec>(&merged, &format!("model {name}")) {
            Ok(mut model) => {
                model.place = Some(node.place.clone());
                model.provider_place = merged.get("provider").map(|provider| provider.place.clone());
                check(name, &model, &merged, problems);
                models.insert(name.clone(), model);
            }
            Err(found) => problems.extend(found),
        }
    }
    models
}

fn merged(name: &str, nodes: &IndexMap<String, Node>, path: &mut Vec<String>) -> Result<Node, Problem> {
    let mut node = nodes[name].clone();
    if node.is_null() {
        node.value = NodeValue::Map(Vec::new());
    }
    let Some(extends) = node.remove("extends") else {
        return Ok(node);
    };
    let Some(parent) = extends.as_text() else {
        return Err(
            Problem::error("wrong-type", format!("model {name}: `extends` is the name of a model")).at(&extends.place)
        );
    };
    path.push(name.to_owned());
    if path.iter().any(|seen| seen == parent) {
        let circle = path.iter().map(String::as_str).chain([parent]).collect::<Vec<_>>().join(" → ");
        return Err(
            Problem::error("cycle", format!("models extend each other in a circle: {circle}")).at(&extends.place)
        );
    }
    if !nodes.contains_key(parent) {
        let help = suggest(parent, "models there are", nodes.keys().map(String::as_str));
        return Err(Problem::error("unknown-model", format!("there is no model `{parent}`"))
            .at(&extends.place)
            .maybe_help(help));
    }
    let inherited = merged(parent, nodes, path)?;
    let NodeValue::Map(own) = &mut node.value else {
        return Ok(node);
    };
    for (key, value) in inherited.entries() {
        if OWN_FIELDS.contains(&key.text.as_str()) {
            continue;
        }
        match own.iter_mut().find(|(name, _)| name.text == key.text) {
            None => own.push((key.clone(), value.clone())),
            Some((_, mine)) if key.text == "options" || key.text == "headers" => {
                if let (NodeValue::Map(mine), theirs) = (&mut mine.value, value.entries()) {
                    for (key, value) in theirs {
                        if !mine.iter().any(|(name, _)| name.text == key.text) {
                            mine.push((key.clone(), value.clone()));
                        }
                    }
                }
            }
            Some(_) => {}
        }
    }
    Ok(node)
}

fn check(name: &str, model: &ModelSpec, node: &Node, problems: &mut Vec<Problem>) {
    let place = |field: &str| node.entry(field).map_or(&node.place, |(_, value)| &value.place).clone();
    for header in model.headers.keys() {
        let is_secret = ["authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"];
        if is_secret.contains(&header.to_lowercase().as_str()) {
            problems.push(
                Problem::error("secret-in-spec", format!("model {name}: header `{header}` carries a credential"))
                    .at(&place("headers"))
                    .help("put the key into an environment variable and name it: `api_key_env: MY_KEY`"),
            );
        }
    }
    for (field, value) in
        [("timeout", model.timeout), ("connect_timeout", model.connect_timeout), ("retry_seconds", model.retry_seconds)]
    {
        if value.is_some_and(|seconds| !(seconds > 0.0 && seconds < 1e6)) {
            problems.push(
                Problem::error("wrong-value", format!("model {name}: `{field}` is a number of seconds above 0"))
                    .at(&place(field)),
            );
        }
    }
    let zero = [
        ("concurrency", model.concurrency == Some(0)),
        ("max_attempts", model.max_attempts == Some(0)),
        ("requests_per_minute", model.requests_per_minute == Some(0)),
        ("tokens_per_minute", model.tokens_per_minute == Some(0)),
    ];
    for (field, is_zero) in zero {
        if is_zero {
            problems.push(
                Problem::error("wrong-value", format!("model {name}: `{field}` must be at least 1")).at(&place(field)),
            );
        }
    }
}
