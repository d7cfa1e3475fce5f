//! Rows of a node as text.

use serde_json::{Map, Value};

use super::printable;

/// Renders one row as a block of `name: value`, long texts indented below their name.
pub fn row(document: &Map<String, Value>) -> String {
    let mut out = String::new();
    let id = document.get("id").and_then(Value::as_str).unwrap_or_default();
    let model = document.get("model").and_then(Value::as_str).map_or_else(String::new, |model| format!(" · {model}"));
    let sample = document.get("sample").and_then(Value::as_u64).filter(|sample| *sample > 0);
    let sample = sample.map_or_else(String::new, |sample| format!(" · sample {sample}"));
    out.push_str(&format!("── {}{model}{sample}\n", printable(id)));
    for (name, value) in document {
        match (name.as_str(), value) {
            ("id" | "model" | "sample", _) | (_, Value::Null) => {}
            ("prompt", Value::Array(messages)) => {
                for message in messages {
                    let role = message.get("role").and_then(Value::as_str).unwrap_or("prompt");
                    field(&mut out, &format!("prompt ({role})"), message.get("content").unwrap_or(message));
                }
            }
            ("row", Value::Object(columns)) => {
                for (column, value) in columns {
                    field(&mut out, &format!("row.{column}"), value);
                }
            }
            _ => field(&mut out, name, value),
        }
    }
    out
}

fn field(out: &mut String, name: &str, value: &Value) {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = printable(&text);
    if text.contains('\n') {
        out.push_str(&format!("  {name}:\n"));
        for line in text.lines() {
            out.push_str(&format!("    {line}\n"));
        }
    } else {
        out.push_str(&format!("  {name}: {text}\n"));
    }
}
