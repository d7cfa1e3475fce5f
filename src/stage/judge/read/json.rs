//! Finds JSON objects in a reply by their braces, parses them strictly, and repairs what models commonly break.
//!
//! **Invariant:** no value is taken for a key that stands twice with different values, nor from an object that was
//! never closed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::pattern;

static LITERAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(True|False|None)\b"));

/// How many characters the search for objects may examine, so that a reply of nothing but `{` stays cheap.
const SEARCH_BUDGET: usize = 20_000_000;

/// How deep a verdict may nest; real ones need only a few levels.
const MAX_DEPTH: usize = 32;

/// Returns the balanced `{…}` at top level, and whether one was left open.
pub(super) fn objects(text: &str) -> (Vec<&str>, bool) {
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
pub(super) enum Defect {
    /// A key stands twice with different values.
    Duplicate,
    Syntax,
}

/// Parses strictly: by RFC 8259, and with no key that stands twice with different values, at any depth.
pub(super) fn strict(text: &str) -> Result<Value, Defect> {
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
pub(super) fn repair(text: &str) -> (String, BTreeSet<&'static str>) {
    let mut out = String::with_capacity(text.len());
    let mut notes = BTreeSet::new();
    let (mut at, mut in_string) = (0, false);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if in_string {
            match c {
                '\\' => {
                    let next = rest[1..].chars().next();
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
                _ => {
                    in_string = c != '"';
                    out.push(c);
                }
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
        } else {
            in_string = c == '"';
            out.push(c);
            at += c.len_utf8();
        }
    }
    (out, notes)
}
