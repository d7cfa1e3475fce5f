//! From a record to a row: rename, types, derive, require, where, id and split, in this order.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::sample::{Split, group};
use super::types::{ColumnType, WantedType};
use crate::dataset::{BadRow, Record, sort};
use crate::digest::{Digest, canonical, canonical_into, canonical_map_into};
use crate::problem::{Place, Problem, did_you_mean, suggest};
use crate::spec::{Node, ShortOr};
use crate::stage::Scope;
use crate::stage::prompt::Prompt;
use crate::store::Fingerprint;
use crate::template::{ColumnUse, Guard, Usage, mixed_types, row_variables, to_json};

/// What a dataset does with each record.
#[derive(Default)]
pub(super) struct Shape {
    pub id: Option<String>,
    /// Old name, new name.
    pub rename: Vec<(String, String)>,
    pub types: Vec<(String, ColumnType)>,
    pub derive: Vec<(String, Derived)>,
    pub require: Vec<Required>,
    pub filter: Option<Prompt>,
    /// The columns whose values the filter compares with numbers or takes for true.
    pub guards: Vec<Guard>,
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

/// A record that became a row: its line number and its columns as canonical JSON, under its id.
pub(super) struct Taken {
    pub id: String,
    pub stratum: String,
    pub line: Vec<u8>,
}

/// What became of a record.
pub(super) enum Shaped {
    Row(Taken),
    /// The `where` of the dataset does not hold for these columns.
    Filtered(Map<String, Value>),
    /// It belongs to another part of the split.
    Elsewhere,
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
                // All values of a CSV file are text.
                let hint = if value.is_string() {
                    format!("; `types: {{ {}: {} }}` makes one of it", self.column, self.wanted.name())
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

    /// Sets the condition that rows must meet.
    pub fn set_filter(&mut self, filter: Prompt) {
        self.guards = filter.template.guards();
        self.filter = Some(filter);
    }

    /// Returns how its templates use the columns of rows. What `derive` reads may be of another type than what it makes,
    /// so that only columns count which it leaves alone.
    pub fn column_uses(&self) -> Vec<ColumnUse> {
        let is_derived = |name: &String| self.derive.iter().any(|(derived, _)| derived == name);
        let of_filter = self.filter.iter().flat_map(|filter| filter.template.column_uses());
        let of_derive = self.prompts().flat_map(|prompt| prompt.template.column_uses());
        let of_derive = of_derive.filter(|used| used.usage == Usage::Compared && !is_derived(&used.column));
        let mut uses: Vec<ColumnUse> = of_filter.filter(|used| used.usage != Usage::Printed).collect();
        for used in of_derive {
            if !uses.iter().any(|known| known.place == used.place && known.usage == used.usage) {
                uses.push(used);
            }
        }
        uses
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
        for (column, sort) in &self.types {
            fingerprint.setting(&format!("types.{column}"), sort.name());
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
        !self.rename.is_empty() || !self.types.is_empty() || !self.derive.is_empty()
    }

    /// Turns a record into a row.
    ///
    /// # Errors
    ///
    /// The row is bad. If `where` takes text for a number or for true or false, all rows are: that error cannot be
    /// skipped. With `is_look` that is no error, since who looks tells it of the spec.
    pub fn apply(&self, record: Record, is_look: bool) -> Result<Shaped, BadRow> {
        let number = record.line;
        let mut columns = record.columns()?;
        let bad = |message: String| BadRow::new(number, message);
        // Without `id:` the id is a digest of the record as the file has it, so that a changed `derive` keeps the ids.
        let own = (self.id.is_none() && self.changes_columns())
            .then(|| Digest::of(&canonical(&Value::Object(columns.clone()))).id());
        self.rename(&mut columns).map_err(bad)?;
        for (name, sort) in &self.types {
            if let Some(value) = columns.get_mut(name) {
                *value = sort.of(value.take()).map_err(|error| bad(format!("column `{name}` {error}")))?;
            }
        }
        self.derive(&mut columns).map_err(bad)?;
        for required in &self.require {
            required.check(&columns).map_err(bad)?;
        }
        if let Some(filter) = &self.filter {
            if let (Some(message), false) = (mixed_types(&self.guards, &columns), is_look) {
                return Err(BadRow::end(number, format!("`where` {message}")));
            }
            let value = filter
                .template
                .evaluate(&row_variables(&columns, &filter.template.reads.of("row")))
                .map_err(|error| bad(format!("`where` failed: {error}")))?;
            if !value.is_true() {
                return Ok(Shaped::Filtered(columns));
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
