//! The Jinja environment of all templates: strict, without escaping, with limits.

use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::value::from_json;
use crate::problem::did_you_mean;

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
    environment
}

/// Parses text as JSON. With a path (`json('a.b.0')`), returns the value at that path. Returns none if the text is not
/// JSON, or if nothing stands at the path.
fn json(text: &Value, path: Option<&str>) -> Result<Value, Error> {
    let Some(text) = text.as_str() else {
        return match path {
            _ if text.is_none() => Ok(Value::from(())),
            Some(path) => Ok(dig(text.clone(), path)),
            None => Ok(text.clone()),
        };
    };
    let Ok(parsed) = serde_json::from_str::<serde_json::Value>(text.trim()) else {
        return Ok(Value::from(()));
    };
    let value = from_json(&parsed);
    Ok(match path {
        Some(path) => dig(value, path),
        None => value,
    })
}

fn dig(value: Value, path: &str) -> Value {
    let mut value = value;
    for part in path.split('.') {
        let next = match part.parse::<usize>() {
            Ok(index) if value.kind() == minijinja::value::ValueKind::Seq => value.get_item_by_index(index),
            _ => value.get_attr(part),
        };
        match next {
            Ok(next) if !next.is_undefined() => value = next,
            _ => return Value::from(()),
        }
    }
    value
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
