//! What a type of settings says about itself: its fields, what each takes, their defaults and examples.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::values::TEMPLATE;

/// A type of settings, described by its JSON Schema.
pub struct Described(Value);

/// One field of a type of settings.
pub struct Field<'a> {
    pub name: &'a str,
    pub schema: &'a Value,
}

impl Described {
    /// Describes a type by its schema.
    pub fn of<T: JsonSchema>() -> Described {
        Described(SchemaSettings::draft07().into_generator().into_root_schema_for::<T>().to_value())
    }

    /// Returns the fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let properties = self.0["properties"].as_object().into_iter().flatten();
        properties.map(|(name, schema)| Field { name, schema })
    }

    /// Returns what the field at a path of names and indices looks like. If only a field around it has an example, that
    /// one is returned.
    pub fn example(&self, path: &[String]) -> Option<String> {
        let mut schema = &self.0;
        let mut example = None;
        for name in path {
            let Some(part) = self.part(schema, name) else { break };
            schema = part;
            example = Field { name, schema }.example().or(example);
        }
        example
    }

    /// Returns the schema of a map's entry or a list's item.
    fn part<'a>(&'a self, schema: &'a Value, name: &str) -> Option<&'a Value> {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.part(self.0.pointer(reference.trim_start_matches('#'))?, name);
        }
        let own = schema["properties"].get(name).or_else(|| {
            let key = if name.parse::<usize>().is_ok() { "items" } else { "additionalProperties" };
            schema.get(key).filter(|part| part.is_object())
        });
        let forms = ["anyOf", "allOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
        own.or_else(|| forms.into_iter().find_map(|form| self.part(form, name)))
    }
}

impl Field<'_> {
    /// Returns what the field is for.
    pub fn about(&self) -> String {
        self.schema["description"].as_str().unwrap_or_default().replace('\n', " ")
    }

    /// Returns the default value, if there is one.
    pub fn default(&self) -> Option<&Value> {
        let is_nothing = |value: &Value| match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        self.schema.get("default").filter(|default| !is_nothing(default))
    }

    /// Returns true if the field is a template that is rendered per row.
    pub fn is_template(&self) -> bool {
        let is_marked = |schema: &Value| schema["contentMediaType"] == TEMPLATE;
        is_marked(self.schema) || self.schema["anyOf"].as_array().is_some_and(|forms| forms.iter().any(is_marked))
    }

    /// Returns how the field is written, as a line of YAML.
    pub fn example(&self) -> Option<String> {
        let examples = self.schema["examples"].as_array().filter(|examples| !examples.is_empty())?;
        let written: Vec<String> = examples.iter().map(|value| format!("{}: {}", self.name, flow(value))).collect();
        Some(written.join(", or "))
    }
}

/// Returns a value as YAML on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(name, value)| format!("{}: {}", scalar(name), flow(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_alphanumeric() || "./_".contains(c))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains(['{', '}', '[', ']', ',', '"', '\'', '\\', '\n']);
    match (is_plain, text.contains(['"', '\\'])) {
        (true, _) => text.to_owned(),
        (false, true) => format!("'{}'", text.replace('\'', "''")),
        (false, false) => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn examples_are_yaml() {
        for (value, written) in [
            (json!("strict"), "strict"),
            (json!("^(yes|no)\\b"), "'^(yes|no)\\b'"),
            (json!("{{ row.weight }}"), "\"{{ row.weight }}\""),
            (json!(";"), "\";\""),
            (json!({"mode": ["a", 1, true]}), "{ mode: [a, 1, true] }"),
            (json!("data/reply.schema.json"), "data/reply.schema.json"),
        ] {
            assert_eq!(flow(&value), written);
        }
    }
}
