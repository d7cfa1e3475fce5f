//! From a tree to typed values, with every mistake found in one pass.
//!
//! The types are plain serde; each describes itself by its schema, from which messages take what a field should look
//! like. After an error, the offending part is removed from a copy of the tree and decoding starts again, so that a
//! stage with three typos gets three messages.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::described::Described;
use super::forms::NUMBER;
pub(super) use super::forms::{OneOrMany, one_or_many};
use super::teach;
use super::tree::{Node, NodeValue};
use crate::problem::{Place, Problem, did_you_mean, nearest, suggest};

/// Options of a call that people write beside `options:` instead of below it.
const OPTIONS: &[&str] = &[
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
];

/// How many mistakes of one part are reported; with more, the part as a whole is wrong.
const MAX_PROBLEMS: usize = 20;

/// Decodes a tree. `what` names the part in messages (`stage answers`).
///
/// # Errors
///
/// Every mistake of the part, each with its place.
pub fn decode<T: DeserializeOwned + JsonSchema>(node: &Node, what: &str) -> Result<T, Vec<Problem>> {
    // Serde would accept a list as the fields in their order.
    if let NodeValue::List(_) = node.value {
        let example = |path: &[String]| Described::of::<T>().example(path);
        return Err(vec![problem(node, &[], "invalid type: sequence, expected struct ", None, (what, &example))]);
    }
    let mut tree = node.clone();
    let mut problems: Vec<Problem> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(tree.to_json()) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let mut path = segments(error.path());
        let mut message = error.inner().to_string();
        if message.contains(NUMBER) {
            message = "invalid type: a number, expected a map".to_owned();
        }
        // Depending on its version, serde reports an unknown or duplicate field at the field or at its parent.
        let unknown = quoted(&message, "unknown field `");
        if let Some(field) = &unknown
            && path.last() != Some(field)
        {
            path.push(field.clone());
        }
        let is_missing = message.starts_with("missing field");
        let hides_an_earlier_problem = is_missing && !problems.is_empty();
        if !hides_an_earlier_problem {
            let example = |path: &[String]| Described::of::<T>().example(path);
            problems.push(problem(&tree, &path, &message, unknown.as_deref(), (what, &example)));
        }
        if is_missing || path.is_empty() || problems.len() >= MAX_PROBLEMS || !tree.prune(&path) {
            return Err(problems);
        }
    }
}

fn segments(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn quoted(message: &str, before: &str) -> Option<String> {
    let start = message.find(before)? + before.len();
    Some(message[start..].split('`').next()?.to_owned())
}

/// Returns the names that stand in backquotes after "expected".
fn expected_names(message: &str) -> Vec<&str> {
    let Some((_, expected)) = message.split_once("expected") else {
        return Vec::new();
    };
    expected.split('`').skip(1).step_by(2).collect()
}

/// Returns the problem of a field that does not exist in a part of the tree.
fn unknown_in(tree: &Node, path: &[String], names: &[&str], field: &str, what: &str) -> Problem {
    let node = tree.nearest(path);
    let parent = tree.nearest(&path[..path.len() - 1]);
    let place = parent.entry(field).map_or(&node.place, |(key, _)| &key.place);
    if names.contains(&"criteria") && parent.get("criteria").is_none() {
        let help = format!("criteria stand one level below: `rubric: {{ criteria: {{ {field}: … }} }}`");
        return Problem::error("unknown-field", format!("{what} has no field `{field}`")).at(place).help(help);
    }
    unknown_field(field, names, place, what)
}

/// Returns what the field at a path looks like, as text for a message.
type Example<'a> = &'a dyn Fn(&[String]) -> Option<String>;

fn problem(
    tree: &Node,
    path: &[String],
    message: &str,
    unknown: Option<&str>,
    (what, example): (&str, Example<'_>),
) -> Problem {
    let node = tree.nearest(path);
    let names = expected_names(message);
    if let Some(field) = unknown {
        return unknown_in(tree, path, &names, field, what);
    }
    if let Some(field) = quoted(message, "missing field `") {
        let own = example(&[path, std::slice::from_ref(&field)].concat());
        return Problem::error("missing-field", format!("{what} needs `{}`", dotted(path, &field)))
            .at(&node.place)
            .maybe_help(own.or_else(|| teach::example(&field).map(str::to_owned)));
    }
    if let Some(variant) = quoted(message, "unknown variant `") {
        let message = format!("{what}: `{}` cannot be `{variant}`", path.join("."));
        let help = match variant.as_str() {
            "reference" | "teacher" | "target" if names.contains(&"ceiling") => {
                Some("the model that shows what can be hoped for is the `ceiling`".to_owned())
            }
            _ => match teach::alias(&variant, &names) {
                Some(name) => Some(format!("it is called `{name}` here")),
                None => suggest(&variant, "it can be", names),
            },
        };
        return Problem::error("unknown-value", message).at(&node.place).maybe_help(help);
    }
    let field = if path.is_empty() { what.to_owned() } else { format!("{what}: `{}`", path.join(".")) };
    let expected = message.split_once(", expected ").map_or(message, |(_, expected)| expected);
    let message = if message.starts_with("invalid type") || message.starts_with("invalid value") {
        // If a number was expected and a number was found, the message shows the number itself.
        let found = match &node.value {
            NodeValue::Number(number) if plain(expected).contains("number") => number.to_string(),
            _ => node.sort().to_owned(),
        };
        format!("{field} is {found}, expected {}", plain(expected))
    } else if message == "invalid number" {
        format!("{field} is a number that does not fit: a whole number, 0 or more, was expected")
    } else {
        format!("{field}: {message}")
    };
    // The decoded part may be a field itself: "stage duel: `compare`".
    let own = what.strip_suffix('`').and_then(|what| what.rsplit_once('`')).map(|(_, name)| name.to_owned());
    let name = path.iter().rev().find(|part| part.parse::<usize>().is_err()).or(own.as_ref());
    let help = match (name, &node.value) {
        (Some(name), _) => teach::mended(name, node, || example(path)),
        (None, NodeValue::Text(text)) if what.starts_with("model ") => {
            Some(format!("{}: {{ provider: openai, model: {text} }}", what.trim_start_matches("model ")))
        }
        _ => None,
    };
    Problem::error("wrong-type", message).at(&node.place).maybe_help(help)
}

/// Returns the problem of a field that a part does not have; `names` are the fields that it has.
pub fn unknown_field(field: &str, names: &[&str], place: &Place, what: &str) -> Problem {
    let near = match teach::alias(field, names) {
        Some(name) => Some(format!("it is called `{name}` here")),
        None => did_you_mean(field, names.iter().copied()),
    };
    let help = match nearest(field, OPTIONS.iter().copied()) {
        Some(option) if near.is_none() && names.contains(&"options") => {
            Some(format!("what is sent to the server stands below options: `options: {{ {option}: … }}`"))
        }
        _ if names.is_empty() => Some("it has no settings".to_owned()),
        _ => near.or_else(|| suggest(field, "it may have", names.iter().copied())),
    };
    Problem::error("unknown-field", format!("{what} has no field `{field}`")).at(place).maybe_help(help)
}

fn dotted(path: &[String], field: &str) -> String {
    path.iter().map(String::as_str).chain([field]).collect::<Vec<_>>().join(".")
}

/// Returns a user's words for serde's name of a type.
fn plain(expected: &str) -> &str {
    match expected {
        // Serde says these when it wants one of several texts.
        "a string" | "string or map" | "map with a single key" => "text",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a tuple of size 2" => "a list of two numbers",
        other if other.starts_with("struct ") => "a map",
        other => other,
    }
}
