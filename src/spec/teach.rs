//! What to write instead: repairs of common mistakes, examples for fields, and words that other tools use.

use super::tree::{Node, NodeValue};

/// For fields that are often wrong: what they look like.
const EXAMPLES: &[(&str, &str)] = &[
    ("input", "input: answers, the name of one stage"),
    ("models", "models: [base, tuned]"),
    ("model", "model: tuned, the name of one model"),
    ("metrics", "metrics: [exact_match]"),
    ("sample", "sample: { size: 50, strategy: random, seed: 7 }"),
    ("size", "size: 50"),
    ("split", "split: { part: heldout, parts: { train: 0.8, heldout: 0.2 } }"),
    ("id", "id: ticket_id, the name of one column"),
    ("rubric", "rubric: { criteria: { accuracy: Is it right? } }"),
    ("criteria", "criteria: { accuracy: Is it right?, tone: Is it kind? }"),
    ("scale", "scale: [1, 5]"),
    ("compare", "compare: { baseline: base }"),
    ("baseline", "baseline: base, the model to compare with"),
    ("options", "options: { temperature: 0, max_tokens: 256 }"),
    ("derive", "derive: { words: \"{{ row.text | split | length }}\" }"),
    ("rename", "rename: { old: new }"),
    ("messages", "messages: [{ role: user, content: \"{{ row.question }}\" }]"),
    ("rows", "rows: [{ question: What is it?, gold: a test }]"),
    ("price", "price: { input: 0.4, output: 1.6 }, dollars per million tokens"),
    ("headers", "headers: { X-Team: research }"),
    ("hf", "hf: { repo: openai/gsm8k, split: test }"),
    ("command", "command: [python, export.py]"),
    ("samples", "samples: 3"),
    ("prompt", "prompt: \"{{ row.question }}\""),
    ("reference", "reference: \"{{ row.gold }}\""),
    ("weights", "weights: out/iter-3"),
    ("ask", "accuracy: { ask: Is it right?, weight: 2 }"),
    ("repo", "hf: { repo: openai/gsm8k, split: test }"),
    ("part", "split: { part: heldout, parts: { train: 0.8, heldout: 0.2 } }"),
    ("parts", "parts: { train: 0.8, heldout: 0.2 }"),
];

/// Words that other tools, or people in haste, use for a field or a value; each with the right one.
const ALIASES: &[(&str, &str)] = &[
    ("type", "kind"),
    ("n", "size"),
    ("count", "size"),
    ("limit", "size"),
    ("max_rows", "size"),
    ("num_samples", "size"),
    ("file", "path"),
    ("data", "path"),
    ("source", "path"),
    ("url", "base_url"),
    ("endpoint", "base_url"),
    ("api_base", "base_url"),
    ("base", "base_url"),
    ("engine", "model"),
    ("model_name", "model"),
    ("template", "prompt"),
    ("filter", "where"),
    ("dataset", "input"),
    ("depends_on", "input"),
    ("inputs", "input"),
    ("judge", "model"),
    ("target", "reference"),
    ("expected", "reference"),
    ("gold", "reference"),
    ("output", "prediction"),
    ("group_by", "by"),
    ("slices", "by"),
    ("rate_limit", "requests_per_minute"),
    ("rpm", "requests_per_minute"),
    ("tpm", "tokens_per_minute"),
    ("max_concurrency", "concurrency"),
    ("parallel", "concurrency"),
    ("retries", "max_attempts"),
    ("env", "api_key_env"),
    ("cost", "price"),
    ("question", "ask"),
    ("description", "ask"),
    ("threshold", "pass_at"),
    ("thresholds", "gates"),
    ("tests", "gates"),
    ("asserts", "gates"),
    ("steps", "stages"),
    ("tasks", "stages"),
    ("nodes", "stages"),
    ("providers", "models"),
    ("variables", "params"),
    ("vars", "params"),
    ("version", "etalon"),
    ("str", "text"),
    ("string", "text"),
    ("int", "integer"),
    ("int64", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("bool", "boolean"),
    ("array", "list"),
    ("object", "map"),
    ("dict", "map"),
];

/// Returns the field or value that another tool's word stands for, if it is among `known`.
pub(super) fn alias(field: &str, known: &[&str]) -> Option<&'static str> {
    let lower = field.to_lowercase();
    ALIASES.iter().find(|(word, name)| *word == lower && known.contains(name)).map(|(_, name)| *name)
}

/// Returns what to write for a field whose value has the wrong sort: the value itself, repaired, if it is clear how;
/// else an example, which the field's own type may have.
pub(super) fn mended(field: &str, node: &Node, example_of: impl Fn() -> Option<String>) -> Option<String> {
    let own = match (field, &node.value) {
        ("models" | "metrics" | "by" | "labels", NodeValue::Text(text)) => {
            let names: Vec<&str> = text.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty()).collect();
            Some(format!("{field}: [{}]", names.join(", ")))
        }
        ("input" | "id" | "model" | "baseline" | "prompt", NodeValue::List(items)) => match items.as_slice() {
            [one] => one.as_text().map(|name| format!("{field}: {name}")),
            _ => None,
        },
        ("metrics", NodeValue::Map(_)) => {
            Some("give settings in a map: `metrics: { exact_match: { mode: strict } }`".to_owned())
        }
        ("sample", NodeValue::Number(number)) => Some(format!("sample: {{ size: {number} }}")),
        ("compare", NodeValue::Text(name)) => Some(format!("compare: {{ baseline: {name} }}")),
        ("criteria", NodeValue::List(items)) => {
            let names: Option<Vec<String>> =
                items.iter().map(|item| item.as_text().map(|name| format!("{name}: Is it …?"))).collect();
            names.filter(|names| !names.is_empty()).map(|names| format!("criteria: {{ {} }}", names.join(", ")))
        }
        ("options" | "headers" | "rename", NodeValue::List(items)) => {
            let entries: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.entries() {
                    [(key, value)] => Some(format!("{}: {}", key.text, value.to_json())),
                    _ => None,
                })
                .collect();
            entries
                .filter(|entries| !entries.is_empty())
                .map(|entries| format!("{field}: {{ {} }}", entries.join(", ")))
        }
        ("scale", NodeValue::Text(text)) => {
            let ends: Vec<&str> = text.split(['-', '–', ',', ' ']).filter(|end| !end.is_empty()).collect();
            let are_numbers = ends.len() == 2 && ends.iter().all(|end| end.parse::<f64>().is_ok());
            are_numbers.then(|| format!("scale: [{}, {}]", ends[0], ends[1]))
        }
        _ => None,
    };
    own.or_else(example_of).or_else(|| example(field).map(str::to_owned))
}

/// Returns an example of a field.
pub(super) fn example(field: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(name, _)| *name == field).map(|(_, example)| *example)
}

/// Returns a hint how a list of maps with names is written as a map; other tools write stages as such a list.
pub(super) fn as_map(field: &str, node: &Node) -> Option<String> {
    let NodeValue::List(items) = &node.value else { return None };
    let first = items.first()?;
    let name = first.get("name").or_else(|| first.get("id")).and_then(Node::as_text)?;
    Some(format!("names are keys: `{field}: {{ {name}: {{ … }} }}` instead of `- name: {name}`"))
}
