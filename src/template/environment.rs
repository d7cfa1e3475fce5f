//! The Jinja environment of all templates: strict, without escaping, with limits.

use std::cell::Cell;

use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::value::{from_json, to_json};
use crate::problem::did_you_mean;
use crate::text::{NoJson, at_path, find_json, last_answer};

/// How many instructions one render may take: enough for any prompt, and far below a second.
const FUEL: u64 = 5_000_000;

/// The names of minijinja's own filters, for suggestions. `json` and `tojson` are defined here.
const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "json",
    "last",
    "last_answer",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "zip",
];

const TESTS: &[&str] = &[
    "boolean",
    "containing",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Returns a fresh environment without templates.
pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.remove_global("debug");
    environment.add_filter("json", json);
    environment.add_filter("tojson", tojson);
    environment.add_filter("last_answer", answer);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment
}

thread_local! {
    /// Why the filter `json` last gave none; to be asked after an evaluation.
    static NO_VALUE: Cell<Option<NoValue>> = const { Cell::new(None) };
}

/// Why there is no value where one was looked for. A null that was found is a value, and no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoValue {
    /// The text holds no JSON that can be read.
    #[error("{0}")]
    Unreadable(NoJson),
    /// Nothing stands at the path.
    #[error("its JSON has no such field")]
    Absent,
}

/// Returns why the filter `json` gave none since this was last asked, on this thread.
pub(super) fn take_no_value() -> Option<NoValue> {
    NO_VALUE.take()
}

/// Reads text as JSON: as it stands, in a Markdown fence, or among other words (`find_json`). With a path
/// (`json('a.b.0')`), returns the value at that path. Returns none if there is no JSON, or nothing at the path.
fn json(text: &Value, path: Option<&str>) -> Result<Value, Error> {
    let Some(text) = text.as_str() else {
        return Ok(match path {
            _ if text.is_none() => Value::from(()),
            Some(path) => at(&to_json(text), path),
            None => text.clone(),
        });
    };
    let is_wanted = |value: &serde_json::Value| path.is_none_or(|path| at_path(value, path).is_some());
    Ok(match (find_json(text, &is_wanted), path) {
        (Ok(value), Some(path)) => at(&value, path),
        (Ok(value), None) => from_json(&value),
        (Err(why), _) => {
            NO_VALUE.set(Some(NoValue::Unreadable(why)));
            Value::from(())
        }
    })
}

fn at(value: &serde_json::Value, path: &str) -> Value {
    at_path(value, path).map_or_else(
        || {
            NO_VALUE.set(Some(NoValue::Absent));
            Value::from(())
        },
        from_json,
    )
}

/// Returns what the assistant answers to the last turn of the user in a conversation; none if it says nothing there.
fn answer(turns: &Value) -> Result<Value, Error> {
    let answer = last_answer(&to_json(turns)).map_err(|message| Error::new(ErrorKind::InvalidOperation, message))?;
    Ok(answer.as_ref().map_or_else(|| Value::from(()), from_json))
}

/// Returns another value where there is none: where it is undefined or null, since columns of data are null more often
/// than they are absent. With true behind it, also where it is empty, 0 or false.
fn default(value: &Value, other: Option<&Value>, is_lax: Option<bool>) -> Value {
    let is_none = value.is_undefined() || value.is_none() || is_lax.unwrap_or(false) && !value.is_true();
    if is_none { other.cloned().unwrap_or_else(|| Value::from("")) } else { value.clone() }
}

/// Returns a value as JSON without escaping, since prompts are not web pages. `indent=2` spreads it over lines.
fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    match indent {
        None => serde_json::to_string(value).map_err(failed),
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut out = Vec::new();
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            serde::Serialize::serialize(value, &mut serializer).map_err(failed)?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        }
    }
}

pub(super) fn has_filter(environment: &Environment<'_>, name: &str) -> bool {
    match environment.empty_state().apply_filter(name, &[]) {
        Err(error) => error.kind() != ErrorKind::UnknownFilter,
        Ok(_) => true,
    }
}

pub(super) fn has_test(environment: &Environment<'_>, name: &str) -> bool {
    match environment.empty_state().perform_test(name, &[]) {
        Err(error) => error.kind() != ErrorKind::UnknownTest,
        Ok(_) => true,
    }
}

pub(super) fn suggest_name(name: &str, is_filter: bool) -> Option<String> {
    did_you_mean(name, if is_filter { FILTERS } else { TESTS }.iter().copied())
}
