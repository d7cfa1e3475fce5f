//! Files that are generated and committed: the JSON Schema, and the references made from the schema, from the table of
//! metrics and from the help of the commands. `UPDATE_DOCS=1 cargo test docs` writes them again.

use std::path::PathBuf;

use etalon::metric::{Direction, METRICS};
use serde_json::{Value, json};

use super::support::{Workspace, files};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn is_committed(path: &str, text: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "{} is not what is generated: UPDATE_DOCS=1 cargo test docs", path.display());
}

fn yaml(text: &str) -> Value {
    // As in YAML 1.2, and in editors, `y` is text.
    let mut options = serde_yaml::Options::default();
    options.strict_booleans = true;
    serde_yaml::from_str_with_options(text, options).unwrap()
}

#[test]
fn the_schema_is_committed_and_holds_for_what_is_shipped() {
    let schema = Workspace::new().etalon(&["schema"]).code(0).stdout;
    is_committed("etalon.schema.json", &schema);
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    for directory in ["pipelines", "templates/workspaces", "tests/check"] {
        for file in files(&root().join(directory)) {
            let name = file.file_name().unwrap().to_str().unwrap();
            if !name.ends_with(".yaml") || name.starts_with("err_") {
                continue;
            }
            let pipeline = yaml(&std::fs::read_to_string(&file).unwrap());
            let errors: Vec<String> = validator
                .iter_errors(&pipeline)
                .map(|error| format!("{} at {}", error, error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen}");
    let stage = |settings: Value| json!({"etalon": 1, "stages": {"a": settings}});
    for (settings, holds) in [
        (json!({"kind": "dataset", "path": "a", "sample": {"size": "${params.n}"}}), true),
        (json!({"kind": "dataset", "path": "a", "sample": {"size": "many"}}), false),
        (json!({"kind": "dataset", "path": "a", "sampel": {}}), false),
        (json!({"kind": "datasets"}), false),
        (json!({"path": "a"}), false),
        (json!({"kind": "inference", "prompt": "x"}), false),
        (json!({"kind": "metric", "input": "b", "metrics": ["exact_match", "exact_mach"]}), false),
        (
            json!({"kind": "metric", "input": "b", "metrics": {"exact_match": {"mode": "strict"}, "json_valid": null}}),
            true,
        ),
        (json!({"kind": "metric", "input": "b", "metrics": {"exact_match": {"mode": "loose"}}}), false),
        (
            json!({"kind": "judge", "input": "b", "model": "m", "rubric": {"criteria": {"a": "Is it?", "b": {"ask": "?", "weight": 2}}}}),
            true,
        ),
        (json!({"kind": "judge", "input": "b", "model": "m", "compare": {"baseline": "c", "order": "none"}}), false),
    ] {
        assert_eq!(validator.is_valid(&stage(settings.clone())), holds, "{settings}");
    }
}

#[test]
fn the_schema_knows_the_settings_of_each_provider() {
    let schema: Value = serde_json::from_str(&Workspace::new().etalon(&["schema"]).code(0).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (model, holds) in [
        (json!({"provider": "openai", "model": "m", "base_url": "http://a/v1", "timeout": 3}), true),
        (json!({"provider": "scripted", "reply": "x", "seed": "${params.seed}"}), true),
        (json!({"provider": "scripted", "reply": "x", "base_url": "http://a/v1"}), false),
        (json!({"provider": "openai", "model": "m", "tmeout": 3}), false),
        // The provider is inherited, so the schema allows the settings of any provider.
        (json!({"extends": "base", "timeout": 3, "reply": "x"}), true),
        (json!({"extends": "base", "tmeout": 3}), false),
        (Value::Null, true),
    ] {
        let pipeline = json!({"etalon": 1, "models": {"m": model}, "stages": {"a": {"kind": "dataset", "path": "a"}}});
        assert_eq!(validator.is_valid(&pipeline), holds, "{model}");
    }
}

/// An editor shows the description of whatever stands at the cursor.
#[test]
fn everything_in_the_schema_is_described() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            // A property that is only allowed here is described elsewhere.
            for (name, property) in properties.iter().filter(|(_, property)| !property.is_boolean()) {
                let path = format!("{path}.{name}");
                if property.get("const").is_none()
                    && property.get("description").is_none()
                    && property.get("allOf").is_none()
                {
                    missing.push(path.clone());
                }
                walk(&path, property, missing);
            }
        }
        match schema {
            Value::Array(items) => items.iter().for_each(|item| walk(path, item, missing)),
            Value::Object(map) => {
                for (name, part) in map.iter().filter(|(name, _)| !["properties", "if"].contains(&name.as_str())) {
                    let path = if name == "definitions" { name.clone() } else { path.to_owned() };
                    walk(&path, part, missing);
                }
            }
            _ => {}
        }
    }
    let schema: Value = serde_json::from_str(&Workspace::new().etalon(&["schema"]).code(0).stdout).unwrap();
    let mut missing = Vec::new();
    walk("", &schema, &mut missing);
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Returns which values a schema takes, in a word or two.
fn takes(schema: &Value, root: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return takes(root.pointer(reference.trim_start_matches('#')).unwrap(), root);
    }
    if let Some(choices) = schema["enum"].as_array() {
        let shown: Vec<String> = choices.iter().filter_map(Value::as_str).map(|choice| format!("`{choice}`")).collect();
        return if shown.len() > 12 { "name".to_owned() } else { shown.join(", ") };
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        if let Some(parts) = schema[name].as_array() {
            let mut shown: Vec<String> = Vec::new();
            for part in parts.iter().filter(|part| part.get("pattern").is_none() && part["type"] != "null") {
                let text = takes(part, root);
                if !shown.contains(&text) {
                    shown.push(text);
                }
            }
            return shown.join(" or ").replace("` or `", "`, `");
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => vec!["any"],
    };
    // A number, true or false may be written for text, so this is simply text.
    let types = if types == ["string", "number", "boolean"] { vec!["string"] } else { types };
    let word = |name: &str| match name {
        "string" if schema.get("contentMediaType").is_some() => "template".to_owned(),
        "string" => "text".to_owned(),
        "integer" => format!("whole number{}", bounds(schema)),
        "number" => format!("number{}", bounds(schema)),
        "boolean" => "true or false".to_owned(),
        "array" => match schema.get("items") {
            Some(items) if items.is_object() => format!("list of {}", takes(items, root)),
            _ => "list".to_owned(),
        },
        "object" => "map".to_owned(),
        "any" => "anything".to_owned(),
        other => other.to_owned(),
    };
    types.into_iter().map(word).collect::<Vec<_>>().join(" or ")
}

/// Returns the bounds of a number in words.
fn bounds(schema: &Value) -> String {
    let bound = |name: &str| schema[name].as_f64();
    match (bound("minimum"), bound("exclusiveMinimum"), bound("maximum")) {
        (Some(from), _, Some(to)) if to < 255.0 => format!(", {from} to {to}"),
        (Some(from), _, _) => format!(", {from} or more"),
        (_, Some(above), Some(to)) => format!(" above {above}, at most {to}"),
        (_, Some(above), None) => format!(" above {above}"),
        (None, None, Some(to)) => format!(", at most {to}"),
        (None, None, None) => String::new(),
    }
}

/// Writes the fields of a map as a table.
fn table(out: &mut String, schema: &Value, root: &Value) {
    out.push_str("| field | takes | |\n|---|---|---|\n");
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().unwrap() {
        if name == "kind" || field.is_boolean() {
            continue;
        }
        let mut about = field["description"].as_str().unwrap_or_default().replace('|', "\\|");
        if required.contains(&name.as_str()) {
            about = format!("**Needed.** {about}");
        }
        if let Some(default) = field.get("default").filter(|default| **default != json!(false)) {
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            about = format!("{about} Default: `{default}`.");
        }
        out.push_str(&format!("| `{name}` | {} | {about} |\n", takes(field, root)));
    }
    out.push('\n');
}

#[test]
fn the_reference_of_the_spec_is_what_the_types_say() {
    let schema: Value = serde_json::from_str(&Workspace::new().etalon(&["schema"]).code(0).stdout).unwrap();
    let mut out = String::from(
        "# The spec\n\nGenerated from the types that read it; `etalon schema` prints the same for editors. Where a value is no\ntext, `\"${params.name}\"` may stand for it.\n\n## Pipeline\n\n",
    );
    table(&mut out, &schema, &schema);
    out.push_str("## Models\n\nBelow `models:`, here or in `etalon.toml`.\n\n");
    let model = &schema["properties"]["models"]["additionalProperties"];
    table(&mut out, model, &schema);
    let providers: Vec<&Value> =
        model["allOf"].as_array().unwrap().iter().filter(|choice| choice["if"].get("required").is_some()).collect();
    for choice in &providers {
        let settings = &choice["then"];
        let provider = choice["if"]["properties"]["provider"]["const"].as_str().unwrap();
        out.push_str(&format!("### `provider: {provider}`\n\n{}\n\n", settings["description"].as_str().unwrap()));
        let same = providers.iter().find(|other| other["then"]["properties"] == settings["properties"]).unwrap();
        if std::ptr::eq(*same, *choice) {
            table(&mut out, settings, &schema);
        } else {
            let other = same["if"]["properties"]["provider"]["const"].as_str().unwrap();
            out.push_str(&format!("Its settings are those of `provider: {other}`.\n\n"));
        }
    }
    let stage = &schema["properties"]["stages"]["additionalProperties"];
    for choice in stage["allOf"].as_array().unwrap() {
        let settings = &choice["then"];
        let kind = choice["if"]["properties"]["kind"]["const"].as_str().unwrap();
        out.push_str(&format!("## `kind: {kind}`\n\n{}\n\n", settings["description"].as_str().unwrap()));
        table(&mut out, settings, &schema);
    }
    out.push_str("## Parts of them\n\n");
    // The settings of metrics have a page of their own.
    let definitions =
        schema["definitions"].as_object().unwrap().iter().filter(|(name, _)| !name.starts_with("metric_"));
    for (name, definition) in definitions {
        let about = definition["description"].as_str().unwrap_or_default();
        if definition.get("properties").is_some() {
            out.push_str(&format!("### {name}\n\n{about}\n\n"));
            table(&mut out, definition, &schema);
        } else if let Some(choices) = definition["oneOf"].as_array() {
            out.push_str(&format!("### {name}\n\n{about}\n\n"));
            for choice in choices {
                let about = choice["description"].as_str().unwrap_or_default();
                out.push_str(&format!("- {}: {about}\n", takes(choice, &schema)));
            }
            out.push('\n');
        }
    }
    is_committed("docs/reference.md", &format!("{}\n", out.trim_end()));
}

#[test]
fn the_page_of_the_metrics_is_what_their_types_say() {
    let mut out = String::from(
        "# Metrics\n\nGenerated from the table of metrics and the types of their settings. Every value has `n`, `missing` and a 95 % interval: Wilson's for shares;\nfor means a bootstrap below 1,000 rows and a normal interval from there; for `classification` and for corpus scores a\nbootstrap of the rows; with `cluster`, a bootstrap of its values in place of rows. Samples of a row are averaged first:\n`n` counts rows. A completion from which no prediction can be read is wrong; a completion that is not there is missing.\nWhat is below *score* is stored of every completion, for `show --where` and `score --rows`. A reference that is a list\nis several references, where nothing else is said.\n\n| metric | | range | better |\n|---|---|---|---|\n",
    );
    let better = |direction| match direction {
        Direction::Higher => "higher",
        Direction::Lower => "lower",
        Direction::Neither => "–",
    };
    for entry in METRICS {
        let anchor = entry.name.replace('+', "").to_lowercase();
        let (about, range) = (entry.about, entry.range);
        let name = entry.name;
        out.push_str(&format!("| [`{name}`](#{anchor}) | {about} | {range} | {} |\n", better(entry.direction)));
    }
    out.push('\n');
    for entry in METRICS {
        out.push_str(&format!("## `{}`\n\n{}\n\n", entry.name, entry.about));
        let is_said = |text: &str| !text.is_empty();
        let source = if is_said(entry.source) { format!(" Source: {}.", entry.source) } else { String::new() };
        let better = better(entry.direction);
        out.push_str(&format!("Range: {}; better: {better}. Score: {}.{source}\n\n", entry.range, entry.score));
        let described = entry.settings.described();
        for (index, field) in described.fields().enumerate() {
            if index == 0 {
                out.push_str("| setting | takes | default | |\n|---|---|---|---|\n");
            }
            let default = field.default().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let default = default.map_or_else(String::new, |value| format!("`{value}`"));
            let takes = takes(field.schema, &Value::Null);
            out.push_str(&format!("| `{}` | {takes} | {default} | {} |\n", field.name, field.about()));
        }
        if described.fields().next().is_some() {
            out.push('\n');
        }
        if !entry.parts.is_empty() {
            out.push_str("| part | |\n|---|---|\n");
            for (name, about) in entry.parts {
                out.push_str(&format!("| `.{name}` | {about} |\n"));
            }
            out.push('\n');
        }
    }
    is_committed("docs/metrics.md", &format!("{}\n", out.trim_end()));
}

#[test]
fn the_reference_of_the_commands_is_their_help() {
    let workspace = Workspace::new();
    let help = workspace.etalon(&["--help"]).code(0).stdout;
    let mut out = format!("# Commands\n\nGenerated from their help.\n\n```text\n{}\n```\n", help.trim_end());
    let names = |help: &str| -> Vec<String> {
        let commands = help.split("Commands:").nth(1).unwrap_or_default().split("Options:").next().unwrap();
        let lines = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
    };
    for name in names(&help) {
        let help = workspace.etalon(&[&name, "--help"]).code(0).stdout;
        out.push_str(&format!("\n## `etalon {name}`\n\n```text\n{}\n```\n", help.trim_end()));
        for below in names(&help) {
            let help = workspace.etalon(&[&name, &below, "--help"]).code(0).stdout;
            out.push_str(&format!("\n## `etalon {name} {below}`\n\n```text\n{}\n```\n", help.trim_end()));
        }
    }
    is_committed("docs/commands.md", &out);
}

/// Runs the commands of a guide, in order, in a copy of this repository's workspace. Every line of output that the
/// guide shows must appear; `…` stands for any text.
fn follow(guide: &str) {
    let root = root();
    let workspace = Workspace::new();
    for directory in ["pipelines", "templates", "data", "labels"] {
        for file in files(&root.join(directory)) {
            workspace.write(file.strip_prefix(&root).unwrap().to_str().unwrap(), std::fs::read(&file).unwrap());
        }
    }
    workspace.write("etalon.toml", std::fs::read(root.join("etalon.toml")).unwrap());
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = std::fs::read_to_string(root.join(guide)).unwrap();
    let (mut is_console, mut said, mut commands, mut code) = (false, Vec::<String>::new(), 0, 0);
    for (line, number) in text.lines().zip(1..) {
        if let Some(step) = line.strip_prefix("<!-- test: ") {
            let step = step.trim_end_matches(" -->");
            if let Some(file) = step.strip_prefix("git ") {
                workspace.write(file, std::fs::read(root.join(file)).unwrap());
            } else if let Some(exit) = step.strip_prefix("exits ") {
                // The next command, whose gates fail.
                code = exit.parse().unwrap();
            } else if let Some(edit) = step.strip_prefix("edit ") {
                let parts: Vec<&str> = edit.split(" | ").collect();
                workspace.edit(parts[0], parts[1], parts[2]);
            }
        } else if line.starts_with("```") {
            is_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ etalon ").filter(|_| is_console) {
            // Text in quotes is one argument.
            let quoted = command.split('\'').enumerate();
            let arguments: Vec<&str> = quoted
                .flat_map(|(at, part)| if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
                .collect();
            // In the guide, people fill in the sheet at this point.
            if arguments.starts_with(&["labels", "import"]) {
                let sheet = workspace.read(arguments[4]);
                let filled: String = sheet.lines().map(|line| line.replace(",,,", ",A,,") + "\n").collect();
                workspace.write(arguments[4], filled);
            }
            let ran = workspace.etalon(&arguments).code(std::mem::take(&mut code));
            said = ran.stdout.lines().chain(ran.stderr.lines()).map(squeeze).collect();
            commands += 1;
        } else if is_console && line != "…" {
            let wanted: Vec<String> = line.split('…').map(squeeze).collect();
            let fits = |said: &String| {
                let mut rest = said.as_str();
                wanted.iter().enumerate().all(|(place, part)| {
                    let found = rest.find(part.as_str()).filter(|at| place > 0 || *at == 0);
                    found.map(|at| rest = &rest[at + part.len()..]).is_some()
                })
            };
            assert!(said.iter().any(fits), "{guide}:{number}: nobody says\n{line}\nbut\n{}", said.join("\n"));
        }
    }
    assert!(commands > 5);
}

#[test]
fn the_guide_to_iterating_says_what_is_said() {
    follow("docs/iterating.md");
}

#[test]
fn the_guide_to_judging_says_what_is_said() {
    follow("docs/judging.md");
}
