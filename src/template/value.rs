//! JSON to template values and back, without losing a digit.

use minijinja::Value;
use serde_json::{Map, Value as Json};

use super::reads::Attrs;

/// Returns the template value of a JSON value. An integer beyond 128 bits becomes a text of its digits.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => {
            let text = number.as_str();
            if let Some(integer) = number.as_i64() {
                Value::from(integer)
            } else if let Ok(integer) = text.parse::<i128>() {
                Value::from(integer)
            } else if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
                Value::from(text)
            } else {
                number.as_f64().map_or_else(|| Value::from(text), Value::from)
            }
        }
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(from_json).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(key, value)| (key.clone(), from_json(value)))),
    }
}

/// Returns the JSON value of a template value; undefined is null.
pub fn to_json(value: &Value) -> Json {
    serde_json::to_value(value).unwrap_or(Json::Null)
}

/// Returns a row as the variable `row`, with only those columns that are read.
///
/// If the data have no column `id`, the row's id stands under that name.
pub fn row_value(id: &str, columns: &Map<String, Json>, attrs: &Attrs) -> Value {
    let with_id = |mut pairs: Vec<(String, Value)>| -> Value {
        if !columns.contains_key("id") {
            pairs.push(("id".to_owned(), Value::from(id)));
        }
        Value::from_pairs(pairs)
    };
    match attrs {
        Attrs::All => with_id(columns.iter().map(|(name, value)| (name.clone(), from_json(value))).collect()),
        Attrs::Some(names) => {
            with_id(names.iter().filter_map(|name| Some((name.clone(), from_json(columns.get(name)?)))).collect())
        }
    }
}

/// Returns the variables of a template that reads columns while the row has no id yet.
pub fn row_variables(columns: &Map<String, Json>, attrs: &Attrs) -> Value {
    let is_read = |name: &str| match attrs {
        Attrs::All => true,
        Attrs::Some(names) => names.contains(name),
    };
    let read = columns.iter().filter(|(name, _)| is_read(name));
    let row = Value::from_pairs(read.map(|(name, value)| (name.clone(), from_json(value))));
    Value::from_pairs([("row", row)])
}
