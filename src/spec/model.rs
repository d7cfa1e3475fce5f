//! Models: a named endpoint with its options.
//!
//! The fields that every model may have are typed here. All other fields are settings of the model's provider: they
//! stay a tree ([`ModelSettings`]) until the provider reads them, which this layer does not know.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::decode::{OneOrMany, decode, one_or_many};
use super::tree::{Key, Node, NodeValue};
use crate::problem::{Place, Problem, suggest};
use crate::row::Usage;

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

/// What the rows of a dataset are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "rows_role")]
#[serde(rename_all = "lowercase")]
pub enum RowsRole {
    /// The models are judged by them, and never trained on them.
    #[default]
    Heldout,
    /// The candidates were trained on them, or on rows like them.
    Training,
    /// They ask for what is not trained, to see whether it is forgotten.
    General,
}

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "price")]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of the prompt.
    #[schemars(range(min = 0))]
    pub input: f64,
    /// Of the completion.
    #[schemars(range(min = 0))]
    pub output: f64,
    /// Of what the server reads from its cache of prompts; as `input` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cached_input: Option<f64>,
    /// Of what the server writes into its cache of prompts; as `input` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cache_write: Option<f64>,
    /// Of reasoning; as `output` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub reasoning: Option<f64>,
    /// Which share of all this a call costs that is sent with a batch (`batch: true`): 0.5 unless said, as OpenAI and
    /// Anthropic have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub batch: Option<f64>,
}

/// Which share of the price a call costs that is sent with a batch.
const BATCH_SHARE: f64 = 0.5;

impl Price {
    /// Returns the price of calls that are sent as batches.
    pub fn of_batches(self) -> Price {
        let share = self.batch.unwrap_or(BATCH_SHARE);
        let cut = |price: Option<f64>| price.map(|price| price * share);
        Price {
            input: self.input * share,
            output: self.output * share,
            cached_input: cut(self.cached_input),
            cache_write: cut(self.cache_write),
            reasoning: cut(self.reasoning),
            batch: None,
        }
    }

    /// Returns what a call costs, in dollars; none if the server did not tell its tokens.
    ///
    /// ```
    /// use etalon::{row::Usage, spec::Price};
    ///
    /// let price = Price { input: 0.25, output: 2.0, cached_input: Some(0.025), ..Price::default() };
    /// let usage = Usage { cached: Some(1_000), ..Usage::new(Some(5_000), Some(100)) };
    /// assert_eq!(price.cost(&usage), Some(0.001225));
    /// assert_eq!(price.cost(&Usage::new(None, Some(100))), None);
    /// ```
    pub fn cost(&self, usage: &Usage) -> Option<f64> {
        let (prompt, completion) = (usage.prompt?, usage.completion?);
        let cached = usage.cached.unwrap_or(0).min(prompt);
        let written = usage.cache_written.unwrap_or(0).min(prompt - cached);
        let reasoning = usage.reasoning.unwrap_or(0).min(completion);
        let micros = (prompt - cached - written) as f64 * self.input
            + cached as f64 * self.cached_input.unwrap_or(self.input)
            + written as f64 * self.cache_write.unwrap_or(self.input)
            + (completion - reasoning) as f64 * self.output
            + reasoning as f64 * self.reasoning.unwrap_or(self.output);
        Some(micros / 1e6)
    }

    /// Returns its entries by name.
    fn entries(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("input", Some(self.input)),
            ("output", Some(self.output)),
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("reasoning", self.reasoning),
            ("batch", self.batch),
        ]
    }

    /// Returns the entries that are no price: negative, infinite, or not a number.
    pub fn wrong(&self) -> Vec<&'static str> {
        let is_wrong = |(_, price): &(_, Option<f64>)| price.is_some_and(|price| !(price >= 0.0 && price.is_finite()));
        self.entries().into_iter().filter(is_wrong).map(|(name, _)| name).collect()
    }
}

/// A model as the spec describes it, after `extends`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// How it is reached. Without it the model only names completions that a dataset has.
    pub provider: Option<String>,
    /// Model id as the server knows it.
    pub model: Option<String>,
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
    /// A revision that names the weights where the files are elsewhere. Only a full commit hash proves them wherever they
    /// are served; beside any other name the address counts, too.
    #[serde(deserialize_with = "optional_text")]
    #[schemars(with = "Option<String>")]
    pub revision: Option<String>,
    /// Asks the server what it serves; the answer enters the key.
    pub probe: bool,
    /// Tags between which it thinks before it answers: `{ "<think>": "</think>" }`, opening to closing. Unless said,
    /// those that models are known to write; `{}` takes everything for the answer. Changing them costs no call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tags: Option<IndexMap<String, String>>,
    /// Sent with every call; a stage's options win.
    pub options: Map<String, Value>,
    /// US dollars per million tokens.
    pub price: Option<Price>,
    /// Settings of its provider.
    #[serde(skip)]
    pub settings: ModelSettings,
    /// Where the model is declared.
    #[serde(skip)]
    pub place: Option<Place>,
    /// Where its provider is named.
    #[serde(skip)]
    pub provider_place: Option<Place>,
    /// Where its options stand.
    #[serde(skip)]
    pub option_places: Vec<(String, Place)>,
}

impl ModelSpec {
    /// Returns what a call costs, in the way in which the model is asked.
    pub fn call_price(&self) -> Option<Price> {
        let is_batched = self.settings.flag("batch") == Some(true);
        self.price.map(|price| if is_batched { price.of_batches() } else { price })
    }
}

/// The fields of a [`ModelSpec`] as specs write them; all other fields are settings of a provider.
pub const MODEL_FIELDS: &[&str] = &[
    "provider",
    "model",
    "role",
    "family",
    "base_model",
    "trained_on_outputs_of",
    "weights",
    "revision",
    "probe",
    "reasoning_tags",
    "options",
    "price",
];

/// The settings of a model's provider, as written.
#[derive(Clone, Debug, Default)]
pub struct ModelSettings {
    entries: Vec<(Key, Node)>,
    /// The names of settings that come from another model, through `extends`.
    inherited: BTreeSet<String>,
}

impl ModelSettings {
    /// Returns settings as if they stood in a spec, all at one place.
    pub fn from_json(settings: &Value, place: &Place) -> ModelSettings {
        let node = Node::from_json(settings, place);
        ModelSettings { entries: node.entries().to_vec(), inherited: BTreeSet::new() }
    }

    /// Returns the settings that the model itself has, without inherited ones.
    pub fn own(&self) -> impl Iterator<Item = &(Key, Node)> {
        self.entries.iter().filter(|(key, _)| !self.inherited.contains(&key.text))
    }

    /// Returns the settings that have one of these names, as a map at a place.
    pub fn named(&self, names: &[String], place: &Place) -> Node {
        let entries = self.entries.iter().filter(|(key, _)| names.contains(&key.text)).cloned().collect();
        Node { value: NodeValue::Map(entries), place: place.clone() }
    }

    /// Returns a setting, if it is true or false.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.entries.iter().find(|(key, _)| key.text == name)?.1.to_json() {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// Returns a setting, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(key, _)| key.text == name)?.1.as_text()
    }
}

/// Reads text, also from a number: `revision: 3` is `"3"`.
fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(serde::de::Error::custom("invalid type: expected text")),
    }
}

/// Fields that `extends` never inherits: they say which model it is, not how it is reached.
const OWN_FIELDS: &[&str] = &["weights", "revision", "role", "family"];

/// Resolves `extends` and types every model. Returns the models that can be read. Of the others it returns the settings
/// of their providers, so that those can still be checked.
pub(super) fn resolve(
    nodes: &IndexMap<String, Node>,
    problems: &mut Vec<Problem>,
) -> (IndexMap<String, ModelSpec>, IndexMap<String, ModelSpec>) {
    let (mut models, mut broken) = (IndexMap::new(), IndexMap::new());
    for (name, node) in nodes {
        let mut merged = match merged(name, nodes, &mut Vec::new()) {
            Ok(merged) => merged,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        let settings = take_settings(&mut merged, node);
        let place = Some(node.place.clone());
        let provider = merged.get("provider");
        let provider_place = provider.map(|provider| provider.place.clone());
        match decode::<ModelSpec>(&merged, &format!("model {name}")) {
            Ok(model) => {
                for field in model.price.iter().flat_map(Price::wrong) {
                    let at = merged.nearest(&["price".to_owned(), field.to_owned()]).place.clone();
                    let message = format!("model {name}: `{field}` of a price is in dollars, 0 or more");
                    problems.push(Problem::error("wrong-value", message).at(&at));
                }
                let options = merged.get("options").map(Node::entries).unwrap_or_default();
                let option_places = options.iter().map(|(key, _)| (key.text.clone(), key.place.clone())).collect();
                models.insert(name.clone(), ModelSpec { settings, place, provider_place, option_places, ..model });
            }
            Err(found) => {
                problems.extend(found);
                let provider = provider.and_then(Node::as_text).map(str::to_owned);
                let rest = ModelSpec { provider, settings, place, provider_place, ..ModelSpec::default() };
                broken.insert(name.clone(), rest);
            }
        }
    }
    (models, broken)
}

/// Takes the settings of the provider out of a model: all fields that not every model has. `own` is the model without
/// what it inherits.
fn take_settings(merged: &mut Node, own: &Node) -> ModelSettings {
    let NodeValue::Map(entries) = &mut merged.value else {
        return ModelSettings::default();
    };
    let is_setting = |(key, _): &mut (Key, Node)| !MODEL_FIELDS.contains(&key.text.as_str());
    let entries: Vec<(Key, Node)> = entries.extract_if(.., is_setting).collect();
    let names = entries.iter().map(|(key, _)| key.text.clone());
    let inherited = names.filter(|name| own.get(name).is_none()).collect();
    ModelSettings { entries, inherited }
}

/// Returns the host of an address, in small letters; what is no address as it is.
fn host(address: Option<String>) -> Option<String> {
    let address = address?.to_lowercase();
    let Some((_, rest)) = address.split_once("://") else { return Some(address) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
    Some(host[..end.unwrap_or(host.len())].to_owned())
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
    let text = |node: &[(Key, Node)], name: &str| {
        node.iter().find(|(key, _)| key.text == name).and_then(|(_, value)| value.as_text()).map(str::to_owned)
    };
    // A key goes to the host that it was named for, and to no other.
    let is_elsewhere = ["base_url", "provider"].iter().any(|field| {
        let theirs = text(inherited.entries(), field);
        own.iter().any(|(key, _)| key.text == *field) && host(text(own, field)) != host(theirs)
    });
    for (key, value) in inherited.entries() {
        if OWN_FIELDS.contains(&key.text.as_str()) || key.text == "api_key_env" && is_elsewhere {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolved(models: &Value) -> IndexMap<String, ModelSpec> {
        let place = Place::default();
        let nodes = models.as_object().unwrap().iter();
        let nodes = nodes.map(|(name, model)| (name.clone(), Node::from_json(model, &place))).collect();
        let mut problems = Vec::new();
        let (models, broken) = resolve(&nodes, &mut problems);
        assert!(problems.is_empty() && broken.is_empty(), "{problems:?}");
        models
    }

    #[test]
    fn the_list_of_fields_is_what_the_type_has() {
        let schema = schemars::SchemaGenerator::default().into_root_schema_for::<ModelSpec>().to_value();
        let fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(fields, MODEL_FIELDS);
    }

    #[test]
    fn a_key_is_not_inherited_by_another_host() {
        let models = resolved(&json!({
            "base": { "provider": "openai", "model": "m", "base_url": "https://A.example/v1", "api_key_env": "K" },
            "same": { "extends": "base", "base_url": "https://a.example:443/v2" },
            "other": { "extends": "base", "base_url": "https://a.example.evil/v1" },
            "home": { "extends": "base", "base_url": null },
            "vendor": { "extends": "base", "provider": "anthropic" },
            "own": { "extends": "base", "base_url": "https://b.example/v1", "api_key_env": "L" },
        }));
        let key = |name: &str| models[name].settings.text("api_key_env");
        assert_eq!((key("same"), key("own")), (Some("K"), Some("L")));
        assert_eq!((key("other"), key("home"), key("vendor")), (None, None, None));
    }

    #[test]
    fn settings_are_told_from_fields_and_own_from_inherited() {
        let models = resolved(&json!({
            "base": { "provider": "openai", "model": "m", "base_url": "http://a", "timeout": 3, "weights": "w" },
            "tuned": { "extends": "base", "timeout": 4 },
        }));
        let tuned = &models["tuned"];
        assert_eq!((tuned.model.as_deref(), tuned.settings.text("base_url")), (Some("m"), Some("http://a")));
        assert!(tuned.weights.is_empty(), "never inherited");
        let own: Vec<&str> = tuned.settings.own().map(|(key, _)| key.text.as_str()).collect();
        assert_eq!(own, ["timeout"]);
        let place = tuned.place.as_ref().unwrap();
        assert_eq!(tuned.settings.named(&["timeout".to_owned()], place).to_json(), json!({ "timeout": 4 }));
    }
}
