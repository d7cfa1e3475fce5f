//! `json_schema`: the share of predictions that are JSON and valid under a JSON Schema.
//!
//! `schema` is a file or the schema itself, of draft 2020-12 unless its `$schema` says otherwise. `$ref`s to other
//! files are relative to the file of the schema. The part `fenced` is the share after a surrounding Markdown fence is
//! removed. The table `failures` counts where predictions fail, and by which keyword; positions in lists are written as
//! `*`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, Retrieve, Uri, Validator};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{Entry, Made, Make, MeanTally, Metric, RowScores, Score, Scored, Tally, TallySummary, Written, share};
use crate::digest::Digest;
use crate::text::{read_json, unfenced};

pub(super) const ENTRY: Entry = Entry {
    name: "json_schema",
    about: "Share of predictions that are JSON and valid under a JSON Schema; the table `failures` says where they fail.",
    parts: &[("fenced", "share once a surrounding Markdown fence is removed")],
    source: "JSON Schema 2020-12; equal to Python's jsonschema",
    score: "`{ strict, fenced, failures }`: 0 or 1, and where it fails",
    ..share::<Settings>()
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// File of the schema, or the schema itself; draft 2020-12 unless its `$schema` says otherwise.
    #[schemars(example = &"data/reply.schema.json", example = json!({ "type": "object" }))]
    schema: FileOrSchema,
}

/// A schema, or where it lies.
enum FileOrSchema {
    File(String),
    Schema(Value),
}

impl<'de> Deserialize<'de> for FileOrSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FileOrSchema, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(FileOrSchema::File(name)),
            schema @ (Value::Object(_) | Value::Bool(_)) => Ok(FileOrSchema::Schema(schema)),
            _ => Err(D::Error::invalid_type(Unexpected::Other("it"), &"a file, or a schema")),
        }
    }
}

impl schemars::JsonSchema for FileOrSchema {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FileOrSchema".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "object", "boolean"] })
    }
}

/// How many failures of one prediction are counted.
const MAX_FAILURES: usize = 5;
/// How many failures are shown.
const MAX_SHOWN: usize = 20;
/// The address that stands for the root of the workspace.
const BASE: &str = "workspace:///";
/// The failure of a prediction that is not JSON.
const NO_JSON: &str = "not JSON";

struct JsonSchema {
    schema: Schema,
    files: Vec<(String, Digest)>,
}

/// A compiled schema, by which values are validated.
pub struct Schema(Validator);

/// One way in which a value fails a schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SchemaFailure {
    /// JSON pointer to the part that fails; empty for the whole value.
    pub pointer: String,
    /// The key that is missing, or that should not be there.
    pub property: Option<String>,
    pub keyword: String,
}

/// Reads the files to which a schema refers, and remembers them.
#[derive(Clone)]
struct Files {
    root: PathBuf,
    read: Arc<Mutex<BTreeMap<String, Digest>>>,
}

impl Files {
    fn read(&self, name: &str) -> Result<Value, String> {
        let bytes = std::fs::read(self.root.join(name)).map_err(|error| format!("failed to read {name}: {error}"))?;
        self.read.lock().expect("no panic while locked").insert(name.to_owned(), Digest::of(&bytes));
        serde_json::from_slice(&bytes).map_err(|error| format!("{name} is not JSON: {error}"))
    }
}

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        match uri.as_str().strip_prefix(BASE) {
            Some(name) => Ok(self.read(&decoded(name))?),
            None => Err(format!("{uri} is on another machine: put it into a file of the workspace").into()),
        }
    }
}

/// Returns a path as part of an address, with special characters escaped.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Returns the path that an address contains.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let bad = |message: String| written.wrong("schema", message);
        let files = Files { root: written.root.to_owned(), read: Arc::default() };
        let (schema, base) = match self.schema {
            FileOrSchema::File(name) => (files.read(&name).map_err(bad)?, format!("{BASE}{}", encoded(&name))),
            FileOrSchema::Schema(schema) => (schema, BASE.to_owned()),
        };
        let schema = Schema::compile(&schema, base, files.clone()).map_err(bad)?;
        let files = files.read.lock().expect("no panic while locked").clone().into_iter().collect();
        Ok(Box::new(JsonSchema { schema, files }))
    }
}

impl Schema {
    /// Compiles a schema that refers to no other file.
    ///
    /// # Errors
    ///
    /// It is not a valid schema; the text says why.
    pub fn new(schema: &Value) -> Result<Schema, String> {
        Schema::compile(schema, BASE.to_owned(), Files { root: PathBuf::from("."), read: Arc::default() })
    }

    fn compile(schema: &Value, base: String, files: Files) -> Result<Schema, String> {
        let mut options = jsonschema::options().with_base_uri(base).with_retriever(files);
        if schema.get("$schema").is_none() {
            options = options.with_draft(Draft::Draft202012);
        }
        options.build(schema).map(Schema).map_err(|error| {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() { String::new() } else { format!(" at {at}") };
            format!("`schema` is no JSON Schema{at}: {error}")
        })
    }

    /// Returns how a value fails the schema, at most `most` failures; empty if it is valid. None if a pattern takes too
    /// many steps to match.
    pub fn failures(&self, value: &Value, most: usize) -> Option<Vec<SchemaFailure>> {
        let mut failures = Vec::new();
        for error in self.0.iter_errors(value).take(most) {
            let property = match error.kind() {
                ValidationErrorKind::BacktrackLimitExceeded { .. } => return None,
                ValidationErrorKind::Required { property } => property.as_str().map(str::to_owned),
                ValidationErrorKind::AdditionalProperties { unexpected } => unexpected.first().cloned(),
                _ => None,
            };
            let (pointer, keyword) = (error.instance_path().to_string(), error.kind().keyword().to_owned());
            failures.push(SchemaFailure { pointer, property, keyword });
        }
        failures.sort();
        Some(failures)
    }
}

impl SchemaFailure {
    /// Returns the failure as text with list positions as `*`, so that failures of one sort count as one:
    /// `/items/*/name type`.
    fn shape(&self) -> String {
        let mut pointer = String::new();
        for segment in self.pointer.split('/').skip(1).chain(self.property.as_deref()) {
            pointer.push('/');
            let is_position = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
            pointer.push_str(if is_position { "*" } else { segment });
        }
        if pointer.is_empty() {
            pointer.push('/');
        }
        format!("{pointer} {}", self.keyword)
    }
}

impl JsonSchema {
    /// Returns how a value fails the schema; none if a pattern takes too many steps to match.
    fn failures(&self, value: &Value) -> Option<Vec<String>> {
        let failures = self.schema.failures(value, MAX_FAILURES)?;
        let mut shapes: Vec<String> = failures.iter().map(SchemaFailure::shape).collect();
        shapes.sort();
        shapes.dedup();
        Some(shapes)
    }
}

impl Metric for JsonSchema {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let no_json = || vec![NO_JSON.to_owned()];
        let read = |text: &str| match read_json(text) {
            Some(value) => self.failures(&value),
            None => Some(no_json()),
        };
        let (strict, fenced) = match scored.prediction {
            None => (Some(no_json()), Some(no_json())),
            Some(Value::String(text)) => {
                let strict = read(text);
                let is_text = strict.as_ref().is_some_and(|strict| strict.as_slice() == [NO_JSON]);
                let fenced = if is_text { read(unfenced(text).unwrap_or(text)) } else { strict.clone() };
                (strict, fenced)
            }
            Some(value) => {
                let failures = self.failures(value);
                (failures.clone(), failures)
            }
        };
        let (Some(strict), Some(fenced)) = (strict, fenced) else {
            return Err("a pattern of the schema takes too many steps".to_owned());
        };
        // Instead of "not JSON", the failures after removing the fence are shown, since they say more.
        let failures = if strict.as_slice() == [NO_JSON] && !fenced.is_empty() { &fenced } else { &strict };
        Ok(Some(json!({
            "strict": u8::from(strict.is_empty()),
            "fenced": u8::from(fenced.is_empty()),
            "failures": failures,
        })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(SchemaTally { strict: MeanTally::share(), fenced: MeanTally::share(), failures: BTreeMap::new() })
    }

    fn files(&self) -> Vec<(&'static str, Vec<(String, Digest)>)> {
        if self.files.is_empty() { Vec::new() } else { vec![("schema", self.files.clone())] }
    }
}

struct SchemaTally {
    strict: MeanTally,
    fenced: MeanTally,
    failures: BTreeMap<String, u64>,
}

impl Tally for SchemaTally {
    fn add(&mut self, row: &RowScores<'_>) {
        self.strict.add(&RowScores { scores: &row.field("strict"), ..*row });
        self.fenced.add(&RowScores { scores: &row.field("fenced"), ..*row });
        for failure in row.field("failures").into_iter().flatten().filter_map(Value::as_array).flatten() {
            *self.failures.entry(failure.as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }

    fn finish(&mut self, summary: &mut TallySummary) {
        self.strict.finish(summary);
        summary.parts.push(("fenced".to_owned(), self.fenced.estimate()));
        let mut failures: Vec<(String, u64)> = std::mem::take(&mut self.failures).into_iter().collect();
        failures.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        failures.truncate(MAX_SHOWN);
        if !failures.is_empty() {
            let table = failures.into_iter().map(|(name, count)| (name, Value::from(count))).collect::<Map<_, _>>();
            summary.tables.push(("failures".to_owned(), Value::Object(table)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn metric(schema: Value) -> Box<dyn Metric> {
        ENTRY.make(json!({ "schema": schema }).as_object().unwrap(), Path::new(".")).unwrap()
    }

    fn score(metric: &dyn Metric, text: &str) -> Value {
        let prediction = Value::from(text);
        metric.score(&Scored { prediction: Some(&prediction), reference: None, ..Scored::default() }).unwrap().unwrap()
    }

    #[test]
    fn failures_name_pointer_and_keyword() {
        let metric = metric(json!({
            "type": "object",
            "required": ["intent", "items"],
            "properties": {
                "intent": { "enum": ["billing", "shipping"] },
                "items": { "type": "array", "prefixItems": [{ "type": "string" }], "items": { "type": "integer" } },
                "big": { "const": 9007199254740993u64 }
            },
            "additionalProperties": false
        }));
        for (text, expected) in [
            (r#"{"intent": "billing", "items": ["a", 1]}"#, json!([1, 1, []])),
            ("```json\n{\"intent\": \"billing\", \"items\": []}\n```", json!([0, 1, ["not JSON"]])),
            (r#"{"intent": "x", "items": [1, "b", "c"]}"#, json!([0, 0, ["/intent enum", "/items/* type"]])),
            (r#"{"items": [], "more": 1}"#, json!([0, 0, ["/intent required", "/more additionalProperties"]])),
            ("3", json!([0, 0, ["/ type"]])),
            ("```\n3\n```", json!([0, 0, ["/ type"]])),
            (r#"{"intent": "billing", "items": [], "big": 9007199254740992}"#, json!([0, 0, ["/big const"]])),
            ("no", json!([0, 0, ["not JSON"]])),
        ] {
            let score = score(&*metric, text);
            assert_eq!(json!([score["strict"], score["fenced"], score["failures"]]), expected, "{text}");
        }
    }

    #[test]
    fn schemas_refer_to_files_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        std::fs::write(directory.path().join("data/a.json"), r##"{"$ref": "b.json#/$defs/name"}"##).unwrap();
        std::fs::write(directory.path().join("data/b.json"), r#"{"$defs": {"name": {"type": "string"}}}"#).unwrap();
        let settings = json!({"schema": "data/a.json"});
        let metric = ENTRY.make(settings.as_object().unwrap(), directory.path()).unwrap();
        assert_eq!(
            (score(&*metric, "\"x\"")["strict"].as_u64(), score(&*metric, "1")["strict"].as_u64()),
            (Some(1), Some(0))
        );
        std::fs::write(directory.path().join("data/é b.json"), r#"{"$ref": "b.json#/$defs/name"}"#).unwrap();
        assert!(ENTRY.make(json!({"schema": "data/é b.json"}).as_object().unwrap(), directory.path()).is_ok());
        let files = metric.files();
        let names: Vec<&str> = files[0].1.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["data/a.json", "data/b.json"]);
        for (schema, message) in [
            (json!("data/c.json"), "failed to read data/c.json"),
            (json!({"type": "nothing"}), "no JSON Schema"),
            (json!({"$ref": "https://example.org/x.json"}), "on another machine"),
            (json!(3), "expected a file, or a schema"),
        ] {
            let settings = json!({ "schema": schema });
            let error = ENTRY.make(settings.as_object().unwrap(), directory.path()).err().unwrap();
            assert!(error[0].message.contains(message), "{}", error[0].message);
        }
    }
}
