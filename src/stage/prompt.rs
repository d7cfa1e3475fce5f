//! Templates in stages: what they add to a key, and the variables that they read.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::{Callee, Facts, Part, Scope, StageError};
use crate::problem::{Place, Problem};
use crate::row::Completion;
use crate::spec::Node;
use crate::store::{Fingerprint, Manifest};
use crate::template::{Attrs, Template, from_json, row_value};

/// A template with the place where it is named.
pub(super) struct Prompt {
    /// The field that holds it (`prompt`, `system`, `prediction`, …): its name in the key if the text stands in the
    /// spec itself.
    pub label: String,
    pub template: Template,
    pub place: Place,
}

impl Prompt {
    /// Loads the template (or inline text) of a field.
    pub fn load(
        scope: &Scope<'_>,
        label: &str,
        text: &str,
        place: &Place,
        variables: &[&str],
    ) -> Result<Prompt, Vec<Problem>> {
        // A file name with another extension than .j2 would otherwise be sent to the model as the prompt itself.
        const FILES: &[&str] = &[".txt", ".md", ".jinja", ".jinja2", ".prompt", ".tmpl", ".html", ".yaml", ".json"];
        let lower = text.trim().to_lowercase();
        if FILES.iter().any(|extension| lower.ends_with(extension))
            && !lower.contains(|c: char| c.is_whitespace() || c == '{')
        {
            let stem = text.trim().rsplit_once('.').map_or(text, |(stem, _)| stem).trim_start_matches("templates/");
            let message = format!("`{}` is a prompt of that very text: names of templates end in .j2", text.trim());
            let help = format!("call the file templates/{stem}.j2 and write `{stem}.j2`");
            return Err(vec![Problem::error("template-name", message).at(place).help(help)]);
        }
        Prompt::of(label, place, Template::load(&scope.workspace.library, text, place, variables))
    }

    /// Loads a template that makes a value: if it is exactly one expression, the value keeps its type.
    pub fn load_value(
        scope: &Scope<'_>,
        label: &str,
        text: &str,
        place: &Place,
        variables: &[&str],
    ) -> Result<Prompt, Vec<Problem>> {
        Prompt::of(label, place, Template::load_value(&scope.workspace.library, text, place, variables))
    }

    /// Loads a bare expression.
    pub fn load_expression(
        scope: &Scope<'_>,
        label: &str,
        text: &str,
        place: &Place,
        variables: &[&str],
    ) -> Result<Prompt, Vec<Problem>> {
        Prompt::of(label, place, Template::load_expression(&scope.workspace.library, text, place, variables))
    }

    fn of(label: &str, place: &Place, template: Result<Template, Vec<Problem>>) -> Result<Prompt, Vec<Problem>> {
        Ok(Prompt { label: label.to_owned(), template: template?, place: place.clone() })
    }

    /// Warns about a template that gives the same value for every row: most likely a column's name without braces.
    pub fn constant_warning(&self) -> Option<Problem> {
        let mut texts = self.template.texts();
        let (_, text) = texts.next().filter(|_| texts.next().is_none())?;
        let is_constant = !text.contains("{{") && !text.contains("{%");
        let is_name = text.trim().chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
        (is_constant && is_name).then(|| {
            let name = text.trim().trim_start_matches("row.");
            Problem::warning("constant-value", format!("`{}` is the text `{}` for every row", self.label, text.trim()))
                .at(&self.place)
                .help(format!("a column: `{}: \"{{{{ row.{name} }}}}\"`", self.label))
        })
    }

    /// Returns the columns that it reads by name, with where it reads them.
    pub fn columns(&self) -> Vec<(String, Place)> {
        let reads = &self.template.reads;
        let Attrs::Some(names) = reads.of("row") else {
            return Vec::new();
        };
        names
            .into_iter()
            .map(|name| {
                let place = reads.place_of(&self.template, "row", &name).unwrap_or_else(|| self.place.clone());
                (name, place)
            })
            .collect()
    }

    /// Returns the texts of everything that a render can reach, by their names in a key.
    pub fn sources(&self) -> impl Iterator<Item = (String, String)> {
        let name = |name: &str| if name == "<inline>" { self.label.clone() } else { name.to_owned() };
        self.template.texts().map(move |(known, text)| (name(known), text.to_owned()))
    }

    /// Adds the digests of everything that a render can reach.
    pub fn add_closure(&self, fingerprint: &mut Fingerprint, prefix: &str) {
        for (name, digest) in self.template.closure() {
            let name = if name == "<inline>" { format!("{prefix}{}", self.label) } else { name };
            fingerprint.templates.insert(name, digest);
        }
    }

    /// Adds its closure, and the params, the model name and the columns that it reads, to a key. `prefix` tells the
    /// inline templates of another stage from those of this one.
    pub fn add_to(&self, fingerprint: &mut Fingerprint, facts: &Facts<'_>, prefix: &str) {
        self.add_closure(fingerprint, prefix);
        match self.template.reads.of("params") {
            Attrs::All => {
                fingerprint.params.extend(facts.params.iter().map(|(name, value)| (name.clone(), value.clone())))
            }
            Attrs::Some(names) => {
                for name in names {
                    let value = facts.params.get(&name).cloned().unwrap_or_default();
                    fingerprint.params.insert(name, value);
                }
            }
        }
        if self.template.reads.reads("model") {
            fingerprint.setting("model_name", facts.model.unwrap_or("_"));
        }
        add_columns(fingerprint, facts.inputs.get(&Part::Rows), &self.template.reads.of("row"));
    }
}

/// Adds the digests of those columns of the dataset that are read.
pub(super) fn add_columns(fingerprint: &mut Fingerprint, rows: Option<&Manifest>, attrs: &Attrs) {
    let Some(rows) = rows.filter(|_| !attrs.is_empty()) else {
        return;
    };
    let inputs = fingerprint.inputs.entry(Part::Rows.name().into_owned()).or_default();
    inputs.insert("ids".to_owned(), Some(rows.artifact.ids));
    match attrs {
        Attrs::All => {
            inputs.extend(rows.artifact.columns.iter().map(|(name, digest)| (format!("row.{name}"), Some(*digest))));
        }
        Attrs::Some(names) => {
            for name in names {
                inputs.insert(format!("row.{name}"), rows.artifact.columns.get(name).copied());
            }
        }
    }
}

/// Adds the digests of columns of a completions artifact.
pub(super) fn add_completions(
    fingerprint: &mut Fingerprint,
    part: Part,
    manifest: Option<&Manifest>,
    columns: &[&str],
) {
    let Some(manifest) = manifest else { return };
    let inputs = fingerprint.inputs.entry(part.name().into_owned()).or_default();
    inputs.insert("ids".to_owned(), Some(manifest.artifact.ids));
    for column in columns {
        inputs.insert((*column).to_owned(), manifest.artifact.columns.get(*column).copied());
    }
}

/// Adds the identity of a model and the options that reach the wire.
pub(super) fn add_model(
    fingerprint: &mut Fingerprint,
    callee: Callee,
    facts: &Facts<'_>,
    name: &str,
    options: &Map<String, Value>,
) {
    let mut model = facts.identities.get(name).cloned().unwrap_or_default();
    model.insert("options".to_owned(), Value::Object(options.clone()));
    // The order of a schema's properties is kept as written: it is sent so, and the model writes its answer in that
    // order.
    for name in ["response_format", "output_config"] {
        if let Some(schema) = options.get(name).filter(|schema| schema.is_object()) {
            model.insert(format!("{name}_as_sent"), schema.to_string().into());
        }
    }
    fingerprint.models.insert(callee.name().into_owned(), model);
}

/// The params as a template variable.
pub(super) fn params_value(params: &IndexMap<String, Value>) -> TemplateValue {
    TemplateValue::from_pairs(params.iter().map(|(name, value)| (name.clone(), from_json(value))))
}

/// The variables of one render.
#[derive(Default)]
pub(super) struct Variables(Vec<(&'static str, TemplateValue)>);

impl Variables {
    /// Returns variables that hold the params only.
    pub fn new(params: &TemplateValue) -> Variables {
        Variables(vec![("params", params.clone())])
    }

    /// Adds a variable.
    pub fn with(mut self, name: &'static str, value: impl Into<TemplateValue>) -> Variables {
        self.0.push((name, value.into()));
        self
    }

    /// Adds the row, with only those columns that are read.
    pub fn with_row(self, row: &crate::row::Row, attrs: &Attrs) -> Variables {
        if attrs.is_empty() {
            return self;
        }
        let value = row_value(&row.id, &row.columns, attrs);
        self.with("row", value)
    }

    /// Adds `inputs`: the completion of an inference stage that the prompt reads.
    pub fn with_input(self, stage: &str, said: &Completion) -> Variables {
        let stage = (stage.to_owned(), TemplateValue::from_pairs(said_values(said)));
        self.with("inputs", TemplateValue::from_pairs([stage]))
    }

    /// Adds a completion: what was said, thought, declined and called, and why it ended.
    pub fn with_said(mut self, said: &Completion) -> Variables {
        self.0.extend(said_values(said));
        self
    }

    /// Returns all variables as the context of a render.
    pub fn value(self) -> TemplateValue {
        TemplateValue::from_pairs(self.0)
    }
}

/// The variables that hold a completion, each with the column of its artifact.
const SAID: [(&str, &str); 6] = [
    ("completion", "text"),
    ("raw", "raw"),
    ("reasoning", "reasoning"),
    ("refusal", "refusal"),
    ("tool_calls", "tool_calls"),
    ("finish_reason", "finish_reason"),
];

/// Returns the columns of a completions artifact that a stage reads: the text, and what else it says to read.
pub(super) fn said_columns(reads: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    SAID.iter().filter(|(name, column)| *column == "text" || reads(name)).map(|(_, column)| *column).collect()
}

fn said_values(said: &Completion) -> [(&'static str, TemplateValue); 6] {
    let text = |text: Option<&str>| text.map_or(TemplateValue::from(()), TemplateValue::from);
    SAID.map(|(name, _)| {
        let value = match name {
            "completion" => text(said.text.as_deref()),
            "raw" => text(said.raw()),
            "reasoning" => text(said.reasoning.as_deref()),
            "refusal" => text(said.refusal.as_deref()),
            "tool_calls" => said.tool_calls.as_ref().map_or_else(|| Vec::<TemplateValue>::new().into(), from_json),
            _ => text(said.finish_reason.as_deref()),
        };
        (name, value)
    })
}

/// Merges a stage's options over a model's; `null` removes.
pub(super) fn merge_options(model: &Map<String, Value>, stage: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = model.clone();
    for (name, value) in stage {
        if value.is_null() {
            merged.shift_remove(name);
        } else {
            merged.insert(name.clone(), value.clone());
        }
    }
    merged.sort_keys();
    merged
}

/// The shape of `max_failures`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is read by hand")]
pub(super) enum CountOrShare {
    Count(u64),
    Share(String),
}

/// `max_failures`: a count of rows, or a share of them, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum MaxFailures {
    Count(u64),
    Share(f64),
}

impl MaxFailures {
    /// 5 % of the rows.
    pub const DEFAULT: MaxFailures = MaxFailures::Share(0.05);

    /// Reads a count (`3`) or a percentage (`5%`); none for anything else.
    pub fn parse(value: &Value) -> Option<MaxFailures> {
        match value {
            Value::Number(number) => number.as_u64().map(MaxFailures::Count),
            Value::String(text) => {
                let percent: f64 = text.trim().strip_suffix('%')?.trim().parse().ok()?;
                (0.0..=100.0).contains(&percent).then_some(MaxFailures::Share(percent / 100.0))
            }
            _ => None,
        }
    }

    /// Returns how many of `all` may fail.
    pub fn of(self, all: u64) -> u64 {
        match self {
            MaxFailures::Count(count) => count,
            MaxFailures::Share(share) => (all as f64 * share).floor() as u64,
        }
    }
}

/// Reads `max_failures` of a stage's settings.
pub(super) fn max_failures(settings: &Node, value: &Option<Value>, problems: &mut Vec<Problem>) -> MaxFailures {
    let Some(value) = value else {
        return MaxFailures::DEFAULT;
    };
    MaxFailures::parse(value).unwrap_or_else(|| {
        let place = settings.get("max_failures").map_or(&settings.place, |node| &node.place);
        problems.push(
            Problem::error("wrong-value", "`max_failures` is a count or a share")
                .at(place)
                .help("max_failures: 3, or max_failures: 5%"),
        );
        MaxFailures::DEFAULT
    })
}

/// Counts the reasons why rows failed, so that a message can say each reason once.
#[derive(Default)]
pub(super) struct Failures {
    pub count: u64,
    messages: BTreeMap<String, u64>,
}

impl Failures {
    /// Counts one failure. Only the first hundred different reasons are kept apart.
    pub fn add(&mut self, message: &str) {
        self.count += 1;
        if self.messages.len() < 100 || self.messages.contains_key(message) {
            *self.messages.entry(message.to_owned()).or_default() += 1;
        }
    }

    /// Returns the commonest reasons.
    pub fn describe(&self) -> String {
        let mut reasons: Vec<(&String, &u64)> = self.messages.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1));
        let shown: Vec<String> = reasons
            .iter()
            .take(3)
            .map(|(message, count)| if **count > 1 { format!("{count}× {message}") } else { (*message).clone() })
            .collect();
        let more = reasons.len().saturating_sub(3);
        if more > 0 { format!("{}; and {more} other reasons", shown.join("; ")) } else { shown.join("; ") }
    }

    /// Returns the error of a node that had more failures than it may.
    pub fn error(&self, allowed: u64, all: u64) -> StageError {
        StageError::failed(format!("{} of {all} calls failed, {allowed} may: {}", self.count, self.describe()))
    }
}
