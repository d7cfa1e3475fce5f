//! JSON in what models write: alone, in a Markdown fence, or among other words.
//!
//! Objects are found by their braces and parsed strictly; what models commonly break is repaired.
//!
//! **Invariant:** no value is taken for a key that stands twice with different values, nor from an object that was
//! never closed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::unfenced;

static LITERAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(True|False|None)\b").expect("the pattern is constant"));

static FENCE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?ms)^[ \t]*```[\w+-]*[ \t]*\r?\n(.*?)^[ \t]*```").expect("the pattern is constant"));

/// How many characters the search for objects may examine, so that a reply of nothing but `{` stays cheap.
const SEARCH_BUDGET: usize = 20_000_000;

/// How deep a verdict may nest; real ones need only a few levels.
const MAX_DEPTH: usize = 32;

/// How deep a text that is JSON as a whole may nest.
const MAX_WHOLE: usize = 120;

/// Returns the balanced `{…}` at top level, and whether one was left open.
pub fn objects(text: &str) -> (Vec<&str>, bool) {
    let bytes = text.as_bytes();
    let (mut found, mut is_open, mut at, mut looked_at) = (Vec::new(), false, 0, 0);
    while let Some(offset) = text[at..].find('{') {
        let start = at + offset;
        let (mut depth, mut in_string, mut escaped, mut end) = (0, false, false, None);
        for (index, byte) in bytes[start..].iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' if !in_string => depth += 1,
                b'}' if !in_string => {
                    depth -= 1;
                    if depth == 0 {
                        end = Some(start + index + 1);
                        break;
                    }
                }
                _ => {}
            }
        }
        looked_at += end.unwrap_or(bytes.len()) - start;
        match end {
            Some(end) => {
                found.push(&text[start..end]);
                at = end;
            }
            None => {
                is_open = true;
                at = start + 1;
            }
        }
        if looked_at > SEARCH_BUDGET {
            break;
        }
    }
    (found, is_open)
}

/// Why a text is not an acceptable object.
#[derive(Debug, PartialEq)]
pub enum Defect {
    /// A key stands twice with different values.
    Duplicate,
    Syntax,
}

/// Parses strictly: by RFC 8259, and with no key that stands twice with different values, at any depth.
pub fn strict(text: &str) -> Result<Value, Defect> {
    strict_within(text, MAX_DEPTH)
}

fn strict_within(text: &str, depth: usize) -> Result<Value, Defect> {
    if depth == 0 {
        return Err(Defect::Syntax);
    }
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut map = Map::new();
            for (key, raw) in entries(text)? {
                let value = strict_within(raw.get(), depth - 1)?;
                if map.get(&key).is_some_and(|earlier| *earlier != value) {
                    return Err(Defect::Duplicate);
                }
                map.insert(key, value);
            }
            Ok(Value::Object(map))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Defect::Syntax)?;
            items.into_iter().map(|item| strict_within(item.get(), depth - 1)).collect()
        }
        _ => serde_json::from_str(text).map_err(|_| Defect::Syntax),
    }
}

/// Returns the entries of an object, repeated keys included.
fn entries(text: &str) -> Result<Vec<(String, &RawValue)>, Defect> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let entries = deserializer.deserialize_map(Entries).map_err(|_| Defect::Syntax)?;
    deserializer.end().map_err(|_| Defect::Syntax)?;
    Ok(entries)
}

/// Repairs what models commonly break; returns the name of every repair. Strings are otherwise left alone, and an
/// object that was never closed stays open.
pub fn repair(text: &str) -> (String, BTreeSet<&'static str>) {
    let mut out = String::with_capacity(text.len());
    let mut notes = BTreeSet::new();
    // The mark that ends the present string.
    let (mut at, mut in_string) = (0, None::<char>);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if let Some(quote) = in_string {
            match c {
                '\\' => {
                    let next = rest[1..].chars().next();
                    if next == Some('\'') && quote == '\'' {
                        out.push('\'');
                        at += 2;
                        continue;
                    }
                    if let Some(next) = next.filter(|next| "\"\\/bfnrtu".contains(*next)) {
                        out.push('\\');
                        out.push(next);
                        at += 2;
                        continue;
                    }
                    out.push_str("\\\\");
                    notes.insert("invalid_escape");
                }
                '\n' | '\r' | '\t' => {
                    out.push_str(match c {
                        '\n' => "\\n",
                        '\r' => "\\r",
                        _ => "\\t",
                    });
                    notes.insert("raw_control_char");
                }
                '"' if quote == '\'' => out.push_str("\\\""),
                // An apostrophe within a text ends no string.
                '\'' if quote == '\'' && !rest[1..].trim_start().starts_with([':', ',', '}', ']']) => out.push('\''),
                _ if c == quote => {
                    in_string = None;
                    out.push('"');
                }
                _ => out.push(c),
            }
            at += c.len_utf8();
            continue;
        }
        if c == ',' && rest[1..].trim_start_matches([' ', '\t', '\r', '\n']).starts_with(['}', ']']) {
            notes.insert("trailing_comma");
            at += 1;
        } else if let Some(literal) = LITERAL.find(rest) {
            out.push_str(match literal.as_str() {
                "True" => "true",
                "False" => "false",
                _ => "null",
            });
            notes.insert("python_literal");
            at += literal.len();
        } else if rest.starts_with("//") {
            notes.insert("comment");
            at += rest.find('\n').unwrap_or(rest.len());
        } else if c == '\'' {
            in_string = Some(c);
            notes.insert("single_quotes");
            out.push('"');
            at += 1;
        } else {
            in_string = Some(c).filter(|c| *c == '"');
            out.push(c);
            at += c.len_utf8();
        }
    }
    (out, notes)
}

/// Why a text has no JSON value that could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoJson {
    #[error("the text is empty")]
    Empty,
    #[error("there is no JSON in it")]
    None,
    #[error("the JSON in it never ends")]
    Unended,
    #[error("a key stands twice in it, with different values")]
    Duplicate,
}

/// Returns the JSON value of a text: the text itself, what stands in its Markdown fence, or the last object among other
/// words that `is_wanted` accepts (if it accepts none, the last one).
///
/// # Errors
///
/// There is no such value.
///
/// ```
/// use etalon::text::find_json;
///
/// let said = r#"Sure: {"intent": "billing"} it is."#;
/// assert_eq!(find_json(said, &|_| true), Ok(serde_json::json!({ "intent": "billing" })));
/// assert!(find_json("billing", &|_| true).is_err());
/// ```
pub fn find_json(text: &str, is_wanted: &dyn Fn(&Value) -> bool) -> Result<Value, NoJson> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(NoJson::Empty);
    }
    for whole in std::iter::once(trimmed).chain(unfenced(trimmed)) {
        match strict_within(whole, MAX_WHOLE) {
            Ok(value) => return Ok(value),
            Err(Defect::Duplicate) => return Err(NoJson::Duplicate),
            Err(Defect::Syntax) => {}
        }
    }
    let (found, is_open) = objects(text);
    let mut values = Vec::new();
    let mut has_duplicate = false;
    for object in found {
        let parsed = match strict(object) {
            Err(Defect::Syntax) => strict(&repair(object).0),
            parsed => parsed,
        };
        has_duplicate |= parsed == Err(Defect::Duplicate);
        values.extend(parsed);
    }
    if values.is_empty() {
        // A list stands in a fence, or it cannot be told from a bracketed word.
        values.extend(FENCE.captures_iter(text).filter_map(|fence| strict(&fence[1]).ok()));
    }
    let place = values.iter().rposition(is_wanted).or(values.len().checked_sub(1));
    match place {
        Some(place) => Ok(values.swap_remove(place)),
        None if has_duplicate => Err(NoJson::Duplicate),
        None if is_open => Err(NoJson::Unended),
        None => Err(NoJson::None),
    }
}

/// Returns what stands at a path of names and indices with dots between them (`a.b.0`); none if nothing does. A name
/// that itself has dots is found, too.
pub fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let next = |part: &str| match value {
        Value::Object(map) => map.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    };
    next(path).or_else(|| path.match_indices('.').find_map(|(dot, _)| at_path(next(&path[..dot])?, &path[dot + 1..])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_found_where_models_put_it() {
        for (text, value) in [
            (r#"{"a": 1}"#, json!({"a": 1})),
            ("```json\n{\"a\": 1}\n```", json!({"a": 1})),
            ("Here:\n```\n{\"a\": 1}\n```\nDone.", json!({"a": 1})),
            ("Here:\n```json\n[1, 2]\n```\nDone.", json!([1, 2])),
            (r#"I think {"a": 0}. No: {"a": 1} it is."#, json!({"a": 1})),
            (r#"{"a": 1} (not {"b": 2})"#, json!({"a": 1})),
            (
                "It is {'a': 1, 'b': None, 'c': 'it\\'s \"so\"', 'd': 'don't',}",
                json!({"a": 1, "b": null, "c": "it's \"so\"", "d": "don't"}),
            ),
            ("3", json!(3)),
        ] {
            assert_eq!(find_json(text, &|value| value.get("a").is_some()), Ok(value), "{text}");
        }
        for (text, why) in [
            (" ", NoJson::Empty),
            ("billing", NoJson::None),
            (r#"{"a": 1"#, NoJson::Unended),
            (r#"{"a": 1, "a": 2}"#, NoJson::Duplicate),
        ] {
            assert_eq!(find_json(text, &|_| true), Err(why), "{text}");
        }
    }

    #[test]
    fn paths_lead_through_maps_and_lists() {
        let value = json!({"a": {"b": [{"c": null}]}, "x.y": 1});
        assert_eq!(at_path(&value, "a.b.0.c"), Some(&json!(null)));
        assert_eq!(at_path(&value, "a.b.1.c"), None);
        assert_eq!(at_path(&value, "x.y"), Some(&json!(1)));
    }
}
