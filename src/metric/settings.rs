//! The settings of metrics: a type per metric, which reads them, describes them, and makes the metric.
//!
//! The type is plain serde. Its schema says what each setting takes, its default, and how it is written; messages, the
//! JSON Schema, the reference and the signature all come from there.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Entry, METRICS, Metric, text};
use crate::digest::Digest;
use crate::problem::{Place, Problem, Source};
use crate::spec::{Described, Node, decode};

/// A metric, or what is wrong with its settings.
pub type Made = Result<Box<dyn Metric>, Vec<Problem>>;

/// The settings of a metric as written in the spec.
pub struct Written<'a> {
    /// The settings: a map.
    pub node: &'a Node,
    /// Names the metric in messages: ``stage m: metric `exact_match` ``.
    pub what: &'a str,
    /// Paths in settings are relative to this directory.
    pub root: &'a Path,
    described: fn() -> Described,
}

/// A type of settings that can make its metric.
pub(super) trait Make: DeserializeOwned + JsonSchema {
    fn make(self, written: &Written<'_>) -> Made;
}

/// The type of a metric's settings, as a value.
#[derive(Clone, Copy)]
pub struct SettingsType {
    described: fn() -> Described,
    schema: fn(&mut SchemaGenerator) -> Schema,
    make: fn(&Written<'_>) -> Made,
}

impl SettingsType {
    pub(super) const fn of<T: Make>() -> SettingsType {
        SettingsType {
            described: Described::of::<T>,
            schema: T::json_schema,
            make: |written| decode::<T>(written.node, written.what)?.make(written),
        }
    }

    /// Returns what the type says about its settings.
    pub fn described(&self) -> Described {
        (self.described)()
    }

    /// Returns the schema of the settings, as a part of a larger schema.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

impl Written<'_> {
    /// Returns the problem of a setting that has the right type but a wrong value, with an example of a right one.
    pub fn wrong(&self, name: &str, message: impl Into<String>) -> Vec<Problem> {
        let message = format!("{}: {}", self.what, message.into());
        let example = (self.described)().example(&[name.to_owned()]);
        vec![Problem::error("wrong-value", message).at(self.node.place_of(name)).maybe_help(example)]
    }

    /// Returns the problem of a metric that cannot exist, whatever its settings.
    pub fn impossible(&self, message: &str, help: &str) -> Vec<Problem> {
        vec![Problem::error("wrong-value", format!("{}: {message}", self.what)).at(&self.node.place).help(help)]
    }
}

impl Entry {
    /// Makes the metric from its settings, which are a map. `what` names the metric in messages; paths in settings are
    /// relative to `root`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, each problem with its place.
    /// All that is wrong with them, each with its place.
    pub fn read(&self, node: &Node, what: &str, root: &Path) -> Made {
        (self.settings.make)(&Written { node, what, root, described: self.settings.described })
    }

    /// Makes the metric from settings that stand in no file.
    pub fn make(&self, settings: &Map<String, Value>, root: &Path) -> Made {
        let settings = Value::Object(settings.clone());
        let source = Arc::new(Source { path: self.name.to_owned(), text: settings.to_string() });
        let place = Place { range: 0..source.text.len(), source };
        self.read(&Node::from_json(&settings, &place), self.name, root)
    }

    /// Returns the names of the settings that are templates; the stage renders them for each row.
    pub fn templates(&self) -> Vec<String> {
        let described = self.settings.described();
        described.fields().filter(|field| field.is_template()).map(|field| field.name.to_owned()).collect()
    }

    /// Returns what defines the metric's values, in the style of sacreBLEU: the name and every setting, given or
    /// default.
    pub fn signature(&self, settings: &Map<String, Value>) -> String {
        let mut signature = self.name.to_owned();
        let described = self.settings.described();
        for field in described.fields().filter(|field| !self.indifferent.contains(&field.name)) {
            let given = settings.get(field.name).filter(|value| !value.is_null());
            let Some(value) = given.or_else(|| field.default()).map(text) else {
                continue;
            };
            let is_short = value.chars().count() <= 40 && !value.contains(['\n', '|']);
            let shown = if is_short { value } else { Digest::of(value.as_bytes()).to_string()[..12].to_owned() };
            signature.push_str(&format!("|{}:{shown}", field.name));
        }
        if !self.equality.is_empty() {
            signature.push_str(&format!("|{}", self.equality));
        }
        signature
    }
}

/// The name of a metric.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MetricName(pub String);

impl JsonSchema for MetricName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MetricName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = METRICS.iter().map(|entry| entry.name).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signatures are compared between runs, so their form must not change.
    #[test]
    fn signatures_name_every_setting() {
        let signatures: Vec<String> = METRICS.iter().map(|entry| entry.signature(&Map::new())).collect();
        assert_eq!(signatures, SIGNATURES);
    }

    const SIGNATURES: &[&str] = &[
        "exact_match|mode:trim|empty:text|types:value",
        "squad_f1|version:v2|squad_compat:true|tokens:words",
        "contains|match:all|ignore_case:false",
        "regex|full:false|ignore_case:false",
        "numeric|tolerance:0|relative:0|extract:whole",
        "classification|zero_division:0|digits:2|empty:text|types:value",
        "rouge1|stemmer:false|tokenizer:ascii",
        "rouge2|stemmer:false|tokenizer:ascii",
        "rouge3|stemmer:false|tokenizer:ascii",
        "rougeL|stemmer:false|tokenizer:ascii",
        "rougeLsum|stemmer:false|tokenizer:ascii|split:newline",
        "bleu|tokenize:13a|smooth:exp|lowercase:false|max_ngram_order:4|effective_order:false",
        "chrf|beta:2|lowercase:false|eps_smoothing:false",
        "chrf++|beta:2|lowercase:false|eps_smoothing:false",
        "ter|case_sensitive:false|normalized:false|no_punct:false",
        "edit_distance|unit:characters",
        "bertscore|model:roberta-large|idf:false",
        "embedding_similarity|model:sentence-transformers/all-MiniLM-L6-v2",
        "json_valid",
        "json_schema",
        "json_fields|mode:trim|lists:order|tolerance:0|empty:text|types:value",
        "tool_call|order:strict|mode:trim|types:value",
        "csv_valid|delimiter:,",
        "length|unit:characters",
        "refusal",
        "truncation",
        "repetition",
        "latency",
        "tokens",
        "cost",
        "pass_at_k|of:exact_match|at_least:1|k:1",
        "command",
    ];
}
