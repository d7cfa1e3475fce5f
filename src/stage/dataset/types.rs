//! Types of columns: what `require` wants, and what `types` makes of text.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use crate::dataset::sort;

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
    pub sort: ColumnType,
    pub is_optional: bool,
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

impl ColumnType {
    pub fn holds(self, value: &Value) -> bool {
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

    pub fn words(self) -> &'static str {
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

    /// Returns the name of the type in a spec.
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::Any => "any",
            ColumnType::Text => "text",
            ColumnType::Integer => "integer",
            ColumnType::Number => "number",
            ColumnType::Boolean => "boolean",
            ColumnType::List => "list",
            ColumnType::Map => "map",
        }
    }

    /// Makes of a value what the column is. Text is read, and empty text is no value; a number becomes text where text
    /// is wanted.
    ///
    /// # Errors
    ///
    /// It is something else; the text says what.
    pub fn of(self, value: Value) -> Result<Value, String> {
        if value.is_null() || self.holds(&value) {
            return Ok(value);
        }
        let wrong = |shown: String| Err(format!("is {shown}, expected {}", self.words()));
        let Value::String(text) = &value else {
            return match (self, &value) {
                (ColumnType::Text, Value::Number(number)) => Ok(number.to_string().into()),
                (ColumnType::Text, Value::Bool(flag)) => Ok(flag.to_string().into()),
                _ => wrong(sort(&value).to_owned()),
            };
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(Value::Null);
        }
        let read = match self {
            ColumnType::Number | ColumnType::Integer => number(trimmed).map(Value::Number),
            ColumnType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
                "true" | "yes" | "1" => Some(true.into()),
                "false" | "no" | "0" => Some(false.into()),
                _ => None,
            },
            _ => serde_json::from_str(trimmed).ok(),
        };
        match read.filter(|read| self.holds(read)) {
            Some(read) => Ok(read),
            None => {
                let mut shown: String = text.chars().take(40).collect();
                if shown.len() < text.len() {
                    shown.push('…');
                }
                wrong(format!("`{shown}`"))
            }
        }
    }
}

/// Reads a number as people write it: JSON's grammar, and a sign or leading zeros before it.
fn number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let bare = digits.trim_start_matches('0');
    let zero = if bare.starts_with(|c: char| c.is_ascii_digit()) || !digits.starts_with(['0', '.']) { "" } else { "0" };
    serde_json::from_str(&format!("{sign}{zero}{bare}")).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_becomes_what_it_is() {
        for (wanted, text, value) in [
            (ColumnType::Number, " 3.50 ", "3.50"),
            (ColumnType::Number, "+7", "7"),
            (ColumnType::Number, "007", "7"),
            (ColumnType::Number, ".5", "0.5"),
            (ColumnType::Number, "0", "0"),
            (ColumnType::Integer, "9007199254740993", "9007199254740993"),
            (ColumnType::Boolean, "True", "true"),
            (ColumnType::Boolean, "0", "false"),
            (ColumnType::List, "[1]", "[1]"),
            (ColumnType::Number, "", "null"),
        ] {
            assert_eq!(wanted.of(json!(text)).unwrap().to_string(), value, "{text}");
        }
        for (wanted, value) in [
            (ColumnType::Number, json!("a")),
            (ColumnType::Number, json!("nan")),
            (ColumnType::Number, json!("1,5")),
            (ColumnType::Integer, json!("3.5")),
            (ColumnType::Boolean, json!("maybe")),
            (ColumnType::Boolean, json!(2)),
            (ColumnType::Map, json!("[1]")),
        ] {
            assert!(wanted.of(value.clone()).is_err(), "{value}");
        }
        assert_eq!(ColumnType::Text.of(json!(3)), Ok(json!("3")));
        assert_eq!(ColumnType::Number.of(json!("x")), Err("is `x`, expected a number".to_owned()));
    }
}
