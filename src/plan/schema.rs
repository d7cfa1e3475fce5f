//! The JSON Schema of a pipeline, made from the types that read it, for completion and checks in editors.
//!
//! It is draft-07, which editors support best. The settings of a stage depend on its `kind`, those of a model on its
//! `provider`, by `if` and `then`: so an editor's complaint names the field, and does not list all kinds. Wherever a
//! value is not text, `${…}` may stand for it.

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
    let mut by_kind = Vec::new();
    for kind in KINDS {
        let mut settings = (kind.schema)(&mut generator).to_value();
        settings["properties"]["kind"] = json!({ "const": kind.name });
        by_kind.push(json!({
            "if": { "properties": { "kind": { "const": kind.name } }, "required": ["kind"] },
            "then": settings,
        }));
    }
    let mut definitions = Value::Object(generator.take_definitions(true));
    let mut stage = json!({
        "type": "object",
        "required": ["kind"],
        "properties": { "kind": { "enum": kinds, "description": "What sort of stage it is." } },
        "allOf": by_kind,
    });
    let choices = choice_definitions(&definitions);
    for part in [&mut model, &mut stage] {
        finish(part, &choices);
    }
    definitions.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(|part| finish(part, &choices));
    let name = json!({ "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$" });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "etalon pipeline",
        "type": "object",
        "required": ["etalon", "stages"],
        "additionalProperties": false,
        "properties": {
            "etalon": { "const": 1, "description": "Version of the language." },
            "name": { "type": "string", "pattern": "^[\\p{L}\\p{N}_-][\\p{L}\\p{N}._-]*$", "description": "Part of run ids; the file's name unless given." },
            "description": { "type": ["string", "null"], "description": "For readers." },
            "params": {
                "type": ["object", "null"],
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

/// Returns the schema of a model: the fields that every model has, and the settings of its provider.
fn model(generator: &mut SchemaGenerator) -> Value {
    let mut model = ModelSpec::json_schema(generator).to_value();
    let properties = &mut model["properties"];
    properties["provider"]["enum"] = PROVIDERS.iter().map(|entry| entry.name).collect();
    properties["extends"] = json!({ "type": "string", "description": "A model whose settings this one begins with." });
    let common: Vec<String> = properties.as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let mut choices = Vec::new();
    // A model may inherit its provider; then the schema allows the settings of any provider.
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
    // Each of the alternatives says it itself.
    model.as_object_mut().map(|model| model.shift_remove("additionalProperties"));
    model
}

/// Keywords that hold a map of schemas by name.
const MAPS: &[&str] = &["properties", "patternProperties", "definitions"];
/// Keywords that hold a schema, or a list of schemas.
const SCHEMAS: &[&str] =
    &["items", "additionalProperties", "propertyNames", "anyOf", "allOf", "oneOf", "not", "then", "else"];

/// Removes what helps no reader, and allows `${…}` for every value that is not plain text. Whether a name is a keyword
/// depends on where it stands: below `properties`, `title` and `format` are fields like any other.
fn finish(schema: &mut Value, choices: &[String]) {
    let Value::Object(map) = schema else { return };
    map.shift_remove("title");
    map.shift_remove("format");
    if map.get("default").is_some_and(|default| {
        default.is_null() || default == &json!([]) || default == &json!({}) || default == &json!("")
    }) {
        map.shift_remove("default");
    }
    // The description has the line breaks of the source, which mean nothing.
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    for (name, part) in map.iter_mut() {
        match part {
            Value::Object(parts) if MAPS.contains(&name.as_str()) => {
                parts.values_mut().for_each(|part| finish(part, choices))
            }
            Value::Array(parts) if SCHEMAS.contains(&name.as_str()) => {
                parts.iter_mut().for_each(|part| finish(part, choices))
            }
            part if SCHEMAS.contains(&name.as_str()) => finish(part, choices),
            _ => {}
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| or_param(property, choices));
    }
    match map.get_mut("items") {
        Some(Value::Array(items)) => items.iter_mut().for_each(|item| or_param(item, choices)),
        Some(items) => or_param(items, choices),
        None => {}
    }
    if let Some(values) = map.get_mut("additionalProperties") {
        or_param(values, choices);
    }
}

/// Returns the schema of a text that contains `${…}`.
fn param() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

/// Allows `${…}` for a value that is a number, true or false, or one of several texts.
fn or_param(schema: &mut Value, choices: &[String]) {
    // Where a value has several forms, `${…}` is added only if none of them takes any text; else one text would match
    // two forms.
    if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
        let takes_text = forms.iter().any(|form| types(form).contains(&"string") && form.get("enum").is_none());
        if !takes_text && forms.iter().any(|form| is_plain(form, choices)) {
            forms.push(param());
        }
        return;
    }
    if !is_plain(schema, choices) {
        return;
    }
    let Value::Object(mut inner) = schema.take() else { return };
    let mut outer = Map::new();
    for name in ["description", "default", "examples"] {
        outer.extend(inner.shift_remove(name).map(|value| (name.to_owned(), value)));
    }
    outer.insert("anyOf".to_owned(), json!([inner, param()]));
    *schema = Value::Object(outer);
}

/// Returns the references to all definitions that are a choice of texts.
fn choice_definitions(definitions: &Value) -> Vec<String> {
    let is_choice = |definition: &Value| {
        let texts = definition["oneOf"].as_array();
        definition.get("enum").is_some()
            || texts.is_some_and(|texts| texts.iter().all(|text| text.get("const").is_some()))
    };
    let named = definitions.as_object().into_iter().flatten().filter(|(_, definition)| is_choice(definition));
    named.map(|(name, _)| format!("#/definitions/{name}")).collect()
}

/// Returns true if values are numbers, flags or choices.
fn is_plain(schema: &Value, choices: &[String]) -> bool {
    let reference = schema.get("$ref").or_else(|| schema["allOf"].get(0).and_then(|part| part.get("$ref")));
    if let Some(reference) = reference.and_then(Value::as_str) {
        return choices.iter().any(|choice| choice == reference);
    }
    let types = types(schema);
    let is_choice = schema.get("enum").is_some() || schema.get("maxLength").is_some();
    !types.is_empty()
        && types
            .iter()
            .all(|name| matches!(*name, "integer" | "number" | "boolean" | "null") || *name == "string" && is_choice)
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}
