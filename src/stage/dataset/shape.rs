//! From a record to a row: rename, derive, require, where, id and split, in this order.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::sample::{Split, group};
use crate::dataset::{BadRow, Record, sort};
use crate::digest::{Digest, canonical, canonical_into, canonical_map_into};
use crate::problem::{Place, Problem, did_you_mean, suggest};
use crate::spec::{Node, ShortOr};
use crate::stage::Scope;
use crate::stage::prompt::Prompt;
use crate::store::Fingerprint;
use crate::template::{row_variables, to_json};

/// What a dataset does with each record.
#[derive(Default)]
pub(super) struct Shape {
    pub id: Option<String>,
    /// Old name, new name.
    pub rename: Vec<(String, String)>,
    pub derive: Vec<(String, Derived)>,
    pub require: Vec<Required>,
    pub filter: Option<Prompt>,
    pub split: Option<Split>,
    /// Columns by whose values a sample is stratified.
    pub strata: Vec<String>,
}

/// What a dataset does with a record that cannot be read or that lacks what is required.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnBadRow {
    #[default]
    Fail,
    Skip,
}

/// A new column: its name, and the template of its values.
pub(super) enum Derived {
    Constant(Value),
    Template(Box<Prompt>),
}

/// A column that every row must have.
pub(super) struct Required {
    pub column: String,
    pub wanted: ColumnType,
    /// The value may be null or absent.
    pub is_optional: bool,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ColumnType {
    Any,
    Text,
    Integer,
    Number,
    Boolean,
    List,
    Map,
}

/// A column type as written in the spec: `text`, or `text?` for a column that may be absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedType {
    sort: ColumnType,
    is_optional: bool,
}

impl<'de> Deserialize<'de> for WantedType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WantedType, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = text.strip_suffix('?').unwrap_or(&text);
        Ok(WantedType { sort: ColumnType::deserialize(name.into_deserializer())?, is_optional: name != text })
    }
}

impl JsonSchema for WantedType {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WantedType".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = ColumnType::json_schema(generator);
        if let Some(Value::Array(names)) = schema.get_mut("enum") {
            let optional: Vec<Value> =
                names.iter().filter_map(Value::as_str).map(|name| format!("{name}?").into()).collect();
            names.extend(optional);
        }
        schema
    }
}

/// A record that became a row: its line number and its columns as canonical JSON, under its id.
pub(super) struct Taken {
    pub id: String,
    pub stratum: String,
    pub line: Vec<u8>,
}

/// What became of a record.
pub(super) enum Shaped {
    Row(Taken),
    /// The `where` of the dataset does not hold.
    Filtered,
    /// It belongs to another part of the split.
    Elsewhere,
}

impl ColumnType {
    fn holds(self, value: &Value) -> bool {
        match self {
            ColumnType::Any => true,
            ColumnType::Text => value.is_string(),
            ColumnType::Number => value.is_number(),
            ColumnType::Integer => value.as_number().is_some_and(|number| !number.as_str().contains(['.', 'e', 'E'])),
            ColumnType::Boolean => value.is_boolean(),
            ColumnType::List => value.is_array(),
            ColumnType::Map => value.is_object(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            ColumnType::Any => "a value",
            ColumnType::Text => "text",
            ColumnType::Integer => "a whole number",
            ColumnType::Number => "a number",
            ColumnType::Boolean => "true or false",
            ColumnType::List => "a list",
            ColumnType::Map => "a map",
        }
    }
}

impl Required {
    /// Returns the columns of `require`: a list of them, or a map of columns to types.
    pub fn all(require: &ShortOr<Vec<String>, IndexMap<String, WantedType>>, node: &Node) -> Vec<Required> {
        let required = |column: &String, wanted: WantedType, at: &str| Required {
            column: column.clone(),
            wanted: wanted.sort,
            is_optional: wanted.is_optional,
            place: node.nearest(&[at.to_owned()]).place.clone(),
        };
        let any = WantedType { sort: ColumnType::Any, is_optional: false };
        match require {
            ShortOr::Short(columns) => {
                columns.iter().enumerate().map(|(at, column)| required(column, any, &at.to_string())).collect()
            }
            ShortOr::Full(columns) => {
                columns.iter().map(|(column, wanted)| required(column, *wanted, column)).collect()
            }
        }
    }

    fn check(&self, columns: &Map<String, Value>) -> Result<(), String> {
        let wanted = self.wanted.words();
        match columns.get(&self.column) {
            None | Some(Value::Null) if self.is_optional => Ok(()),
            None => {
                let near = did_you_mean(&self.column, columns.keys().map(String::as_str));
                let near = near.map_or_else(String::new, |near| format!(" ({near})"));
                Err(format!("there is no column `{}`{near}", self.column))
            }
            Some(value) if value.is_null() => Err(format!("column `{}` is null, expected {wanted}", self.column)),
            Some(value) if self.wanted.holds(value) => Ok(()),
            Some(value) => {
                let filter = match self.wanted {
                    ColumnType::Integer => "int",
                    ColumnType::Number => "float",
                    _ => "",
                };
                // All values of a CSV file are text, so a comparison with a number may be the mistake.
                let hint = if value.is_string() && !filter.is_empty() {
                    let column = &self.column;
                    format!("; `derive: {{ {column}: \"{{{{ row.{column} | {filter} }}}}\" }}` makes one of it")
                } else {
                    String::new()
                };
                Err(format!("column `{}` is {}, expected {wanted}{hint}", self.column, sort(value)))
            }
        }
    }
}

impl Shape {
    /// Loads the templates of `derive`, which stand below `node`.
    pub fn load_derive(
        scope: &Scope<'_>,
        columns: &IndexMap<String, Value>,
        node: &Node,
        problems: &mut Vec<Problem>,
    ) -> Vec<(String, Derived)> {
        let mut derive = Vec::new();
        for (name, value) in columns {
            let Value::String(text) = value else {
                derive.push((name.clone(), Derived::Constant(value.clone())));
                continue;
            };
            match Prompt::load_value(scope, &format!("derive.{name}"), text, node.place_of(name), &["row"]) {
                Ok(prompt) => derive.push((name.clone(), Derived::Template(Box::new(prompt)))),
                Err(found) => problems.extend(found),
            }
        }
        derive
    }

    /// Returns all templates that shaping renders.
    pub fn prompts(&self) -> impl Iterator<Item = &Prompt> {
        let derived = self.derive.iter().filter_map(|(_, derived)| match derived {
            Derived::Template(prompt) => Some(&**prompt),
            Derived::Constant(_) => None,
        });
        derived.chain(self.filter.as_ref())
    }

    /// Returns the names of the columns that a record has after shaping.
    pub fn columns_of(&self, columns: &Map<String, Value>) -> Vec<String> {
        let renamed = |name: &String| {
            let new = self.rename.iter().find(|(old, _)| old == name);
            new.map_or_else(|| name.clone(), |(_, new)| new.clone())
        };
        columns.keys().map(renamed).chain(self.derive.iter().map(|(name, _)| name.clone())).collect()
    }

    /// Adds to a key everything that shaping does.
    pub fn add_to(&self, fingerprint: &mut Fingerprint) {
        if let Some(id) = &self.id {
            fingerprint.setting("id", id.as_str());
        }
        for (old, new) in &self.rename {
            fingerprint.setting(&format!("rename.{old}"), new.as_str());
        }
        for (index, (name, derived)) in self.derive.iter().enumerate() {
            // A later template sees the columns of earlier ones, so their order enters the key.
            let value = match derived {
                Derived::Constant(value) => value.clone(),
                Derived::Template(_) => Value::Null,
            };
            fingerprint.setting(&format!("derive.{name}"), vec![Value::from(index), value]);
        }
        for prompt in self.prompts() {
            prompt.add_closure(fingerprint, "");
        }
        for Required { column, wanted, is_optional, .. } in &self.require {
            fingerprint
                .setting(&format!("require.{column}"), format!("{wanted:?}{}", if *is_optional { "?" } else { "" }));
        }
        if let Some(split) = &self.split {
            split.add_to(fingerprint);
        }
    }

    fn changes_columns(&self) -> bool {
        !self.rename.is_empty() || !self.derive.is_empty()
    }

    /// Turns a record into a row.
    pub fn apply(&self, record: Record) -> Result<Shaped, BadRow> {
        let number = record.line;
        let mut columns = record.columns()?;
        let bad = |message: String| BadRow::new(number, message);
        // Without `id:` the id is a digest of the record as the file has it, so that a changed `derive` keeps the ids.
        let own = (self.id.is_none() && self.changes_columns())
            .then(|| Digest::of(&canonical(&Value::Object(columns.clone()))).id());
        self.rename(&mut columns).map_err(bad)?;
        self.derive(&mut columns).map_err(bad)?;
        for required in &self.require {
            required.check(&columns).map_err(bad)?;
        }
        if let Some(filter) = &self.filter {
            let value = filter
                .template
                .evaluate(&row_variables(&columns, &filter.template.reads.of("row")))
                .map_err(|error| bad(format!("`where` failed: {error}")))?;
            if !value.is_true() {
                return Ok(Shaped::Filtered);
            }
        }
        let mut line = Vec::with_capacity(256);
        line.extend_from_slice(&number.to_be_bytes());
        canonical_map_into(&columns, &mut line);
        let id = match own {
            Some(id) => id,
            None => self.id_of(&columns, &line[8..]).map_err(bad)?,
        };
        if let Some(split) = &self.split {
            let is_in = if split.by.is_empty() { split.has(&id) } else { split.has(&group(&columns, &split.by)) };
            if !is_in {
                return Ok(Shaped::Elsewhere);
            }
        }
        let stratum = group(&columns, &self.strata);
        Ok(Shaped::Row(Taken { id, stratum, line }))
    }

    fn rename(&self, columns: &mut Map<String, Value>) -> Result<(), String> {
        if self.rename.is_empty() {
            return Ok(());
        }
        // All old columns are removed before the new ones are added, so that two columns can swap their names.
        let mut renamed = Vec::new();
        for (old, new) in &self.rename {
            renamed.extend(columns.shift_remove(old).map(|value| (old, new, value)));
        }
        for (old, new, value) in renamed {
            if columns.insert(new.clone(), value).is_some() {
                return Err(format!("`rename: {{ {old}: {new} }}`: there is a column `{new}` already"));
            }
        }
        Ok(())
    }

    fn derive(&self, columns: &mut Map<String, Value>) -> Result<(), String> {
        for (name, derived) in &self.derive {
            let value = match derived {
                Derived::Constant(value) => value.clone(),
                Derived::Template(prompt) => {
                    let variables = row_variables(columns, &prompt.template.reads.of("row"));
                    let value = prompt.template.evaluate(&variables);
                    to_json(&value.map_err(|error| format!("`derive.{name}` failed: {error}"))?)
                }
            };
            columns.insert(name.clone(), value);
        }
        Ok(())
    }

    fn id_of(&self, columns: &Map<String, Value>, canonical: &[u8]) -> Result<String, String> {
        let Some(column) = &self.id else {
            return Ok(Digest::of(canonical).id());
        };
        match columns.get(column) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(Value::Number(number)) => {
                let mut text = Vec::new();
                canonical_into(&Value::Number(number.clone()), &mut text);
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            Some(Value::String(_)) => Err(format!("the id column `{column}` is empty")),
            Some(other) => Err(format!("the id column `{column}` holds {other}, expected text or a number")),
            None => {
                let names = columns.keys().map(String::as_str);
                let hint = suggest(column, "columns are", names).map_or_else(String::new, |hint| format!(" ({hint})"));
                Err(format!("there is no id column `{column}`{hint}"))
            }
        }
    }
}
