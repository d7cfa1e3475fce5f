//! The JSON Schema of a pipeline, made from the types that read it: what an editor completes by.
//!
//! Draft-07, which editors support best. A stage's settings follow its `kind` by if and then, so that
//! a complaint names the field and not all four kinds; a model's settings follow its `provider`. Where a value is no text, `${…}` may stand for
//! it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::provider::PROVIDERS;
use crate::spec::ModelSpec;
use crate::stage::KINDS;

/// Returns the schema.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let mut model = model(&mut generator);
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let mut choices = Vec::new();
    for kind in KINDS {
        let mut settings = (kind.schema)(&mut generator).to_value();
        settings["properties"]["kind"] = json!({ "const": kind.name });
        choices.push(json!({
            "if": { "properties": { "kind": { "const": kind.name } }, "required": ["kind"] },
            "then": settings,
        }));
    }
    let mut definitions = Value::Object(generator.take_definitions(true));
    let mut stage = json!({
        "type": "object",
        "required": ["kind"],
        "properties": { "kind": { "enum": kinds, "description": "What sort of stage it is." } },
        "allOf": choices,
    });
    for part in [&mut model, &mut stage, &mut definitions] {
        finish(part);
    }
    let name = json!({ "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$" });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "etalon pipeline",
        "type": "object",
        "required": ["etalon", "stages"],
        "additionalProperties": false,
        "properties": {
            "etalon": { "const": 1, "description": "Version of the language." },
            "name": { "type": "string", "description": "Part of run ids; the file's name unless given." },
            "description": { "type": "string", "description": "For readers." },
            "params": {
                "type": "object",
                "description": "Values that `${params.name}` stands for; `--set name=value` overrides one.",
                "propertyNames": name,
            },
            "models": {
                "type": ["object", "null"],
                "description": "Models by name, beside those of etalon.toml.",
                "propertyNames": name,
                "additionalProperties": model,
            },
            "stages": {
                "type": "object",
                "description": "The graph: stages by name.",
                "propertyNames": name,
                "minProperties": 1,
                "additionalProperties": stage,
            },
            "gates": {
                "type": ["array", "null"],
                "description": "Conditions that decide the exit code: `duel.tuned.win_rate.low > 0.5`.",
                "items": { "type": "string" },
            },
        },
        "definitions": definitions,
    })
}

/// Returns the schema of a model: what every model has, and what its provider has.
fn model(generator: &mut SchemaGenerator) -> Value {
    let mut model = ModelSpec::json_schema(generator).to_value();
    let properties = &mut model["properties"];
    properties["provider"]["enum"] = PROVIDERS.iter().map(|entry| entry.name).collect();
    properties["extends"] = json!({ "type": "string", "description": "A model whose settings this one begins with." });
    let common: Vec<String> = properties.as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let mut choices = Vec::new();
    // A model may inherit its provider: then it has what any has.
    let mut any = Map::new();
    for entry in PROVIDERS {
        let settings = (entry.schema)(generator).to_value();
        let mut fields = settings["properties"].as_object().cloned().unwrap_or_default();
        for (name, field) in &fields {
            any.entry(name).or_insert_with(|| field.clone());
        }
        fields.extend(common.iter().map(|name| (name.clone(), true.into())));
        choices.push(json!({
            "if": { "properties": { "provider": { "const": entry.name } }, "required": ["provider"] },
            "then": { "description": entry.about, "properties": fields, "additionalProperties": false },
        }));
    }
    any.extend(common.into_iter().map(|name| (name, true.into())));
    choices.push(json!({
        "if": { "not": { "required": ["provider"] } },
        "then": { "properties": any, "additionalProperties": false },
    }));
    model["type"] = json!(["object", "null"]);
    model["allOf"] = choices.into();
    // Each of the choices says it.
    model.as_object_mut().map(|model| model.shift_remove("additionalProperties"));
    model
}

/// Takes out what helps no reader, and allows `${…}` where a value is no text.
fn finish(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(finish),
        Value::Object(map) => {
            map.shift_remove("title");
            map.shift_remove("format");
            if map.get("default").is_some_and(|default| {
                default.is_null() || default == &json!([]) || default == &json!({}) || default == &json!("")
            }) {
                map.shift_remove("default");
            }
            // The lines of a description are those of the source.
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            for (name, part) in map.iter_mut() {
                if !matches!(name.as_str(), "default" | "const" | "enum" | "description" | "if") {
                    finish(part);
                }
            }
            if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
                properties.values_mut().for_each(or_param);
            }
        }
        _ => {}
    }
}

/// Allows `${…}` for a value that is no text.
fn or_param(schema: &mut Value) {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let is_plain = types.iter().all(|name| matches!(*name, "integer" | "number" | "boolean" | "null"));
    if !is_plain {
        return;
    }
    let Value::Object(mut inner) = schema.take() else { return };
    let mut outer = Map::new();
    for name in ["description", "default"] {
        outer.extend(inner.shift_remove(name).map(|value| (name.to_owned(), value)));
    }
    outer.insert("anyOf".to_owned(), json!([inner, { "type": "string", "pattern": "\\$\\{" }]));
    *schema = Value::Object(outer);
}
