//! Parses YAML text into a [`Node`] tree. No other module knows the YAML crate.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_yaml::{DuplicateKeyPolicy, Options, Spanned};

use super::tree::{Key, Node, NodeValue};
use crate::problem::{Place, Problem, Source};

/// How deep a spec may nest.
const MAX_DEPTH: usize = 64;

/// Parses a text. Duplicate keys are reported all at once; after a syntax error there is no tree.
pub(super) fn parse(source: &Arc<Source>) -> (Option<Node>, Vec<Problem>) {
    let text = &source.text;
    let only_comments = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if only_comments {
        let problem = Problem::error("empty-spec", "the file is empty").at(&Place::start_of(source));
        return (None, vec![problem.help("start with `etalon: 1`, `name:` and `stages:`")]);
    }
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options()) {
        Ok(raw) => {
            let mut problems = Vec::new();
            let node = node(raw, source, &mut problems);
            (Some(node), problems)
        }
        Err(error) => (None, vec![syntax_problem(&error, source)]),
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = MAX_DEPTH;
        budget.flow_nesting_limit = MAX_DEPTH;
        budget.max_nodes = 100_000;
        budget.max_events = 300_000;
    }
    options
}

fn syntax_problem(error: &serde_yaml::Error, source: &Arc<Source>) -> Problem {
    let error = error.without_snippet();
    let rendered = error.render();
    let mut message = rendered.lines().next().unwrap_or_default().to_owned();
    if let Some((head, _)) = message.split_once(" at line ") {
        message = head.to_owned();
    }
    if message.contains("budget breached: Nodes") || message.contains("budget breached: Events") {
        message = "more than 100,000 values, those that aliases repeat counted".to_owned();
    } else if message.contains("recursion limit") {
        message = format!("nested deeper than {MAX_DEPTH} levels");
    }
    let place = match error.location() {
        Some(location) => place_of_line(source, location.line() as usize, location.column() as usize),
        None => Place::start_of(source),
    };
    if let Some(place) = unclosed_quote(source, place.range.start).filter(|_| message.contains("quoted")) {
        let problem = Problem::error("yaml-syntax", "the quote that begins here is not closed in its line");
        return problem.at(&place).help("close it with another `\"`");
    }
    let is_layout = ["tab", "expected key", "not allowed in this context", "block end", "block mapping"]
        .iter()
        .any(|word| message.contains(word));
    if let Some(problem) = wrong_indentation(source, place.range.start).filter(|_| is_layout) {
        return problem;
    }
    let line = line_text(source, place.range.start);
    let is_large =
        ["budget", "nesting", "depth", "nested deeper", "100,000 values"].iter().any(|word| message.contains(word));
    let help = if is_large {
        Some(format!(
            "a spec nests at most {MAX_DEPTH} levels and holds at most 100,000 values; move data into a dataset file"
        ))
    } else if line.contains('\t') {
        Some("YAML indents with spaces, not tabs".to_owned())
    } else if line.contains("{{") || line.contains("${") || line.matches(": ").count() > 1 {
        Some("put quotes around a value that holds `{`, `}` or `: `".to_owned())
    } else {
        None
    };
    Problem::error("yaml-syntax", message).at(&place).maybe_help(help)
}

/// Returns what is wrong with the indentation of the line of an offset, or with a tab in that line or the next one:
/// parsers see a tab late.
fn wrong_indentation(source: &Arc<Source>, offset: usize) -> Option<Problem> {
    let at_line = source.text[..offset].matches('\n').count();
    // The lines that are open: each with its indentation and itself.
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut start = 0;
    for (number, line) in source.text.split_inclusive('\n').enumerate() {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        let place = Place { source: source.clone(), range: start..start + indent.max(1).min(line.len()) };
        start += line.len();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if number >= at_line && line[..indent].contains('\t') {
            let problem = Problem::error("yaml-syntax", "a tab where spaces belong");
            return Some(problem.at(&place).help("YAML indents with spaces, not tabs"));
        }
        if number > at_line {
            return None;
        }
        let above = open.last().map(|(_, above)| *above);
        while open.last().is_some_and(|(known, _)| *known > indent) {
            open.pop();
        }
        let is_known = open.last().is_none_or(|(known, _)| *known == indent);
        if number == at_line {
            let known: Vec<String> = open.iter().map(|(known, _)| known.to_string()).collect();
            let spaces = if indent == 1 { "1 space".to_owned() } else { format!("{indent} spaces") };
            let has_value = |above: &str| !above.ends_with(':') && open.last().is_some_and(|(_, line)| *line == above);
            let message = match above {
                _ if is_known => continue,
                Some(above) if has_value(above) => {
                    format!("this line is indented by {spaces}, below `{above}`, which has a value already")
                }
                Some(_) => format!("this line is indented by {spaces}, and no line above is"),
                None => continue,
            };
            let help =
                format!("lines that belong together begin at the same column: {} spaces here", known.join(" or "));
            return Some(Problem::error("yaml-syntax", message).at(&place).help(help));
        }
        if !is_known || open.is_empty() {
            open.push((indent, text));
        } else if let Some(last) = open.last_mut() {
            last.1 = text;
        }
    }
    None
}

/// Returns the first double quote, at or before an offset, that its line does not close.
fn unclosed_quote(source: &Arc<Source>, offset: usize) -> Option<Place> {
    let mut at = 0;
    for line in source.text.split_inclusive('\n') {
        if at > offset {
            return None;
        }
        let quotes: Vec<usize> =
            line.match_indices('"').map(|(quote, _)| quote).filter(|quote| !line[..*quote].ends_with('\\')).collect();
        if quotes.len() % 2 == 1 && !line.trim_start().starts_with('#') {
            let start = at + quotes[quotes.len() - 1];
            return Some(Place { source: source.clone(), range: start..start + 1 });
        }
        at += line.len();
    }
    None
}

fn line_text(source: &Source, offset: usize) -> &str {
    let start = source.text[..offset].rfind('\n').map_or(0, |at| at + 1);
    source.text[start..].lines().next().unwrap_or_default()
}

fn place_of_line(source: &Arc<Source>, line: usize, column: usize) -> Place {
    let text = &source.text;
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text[start..].lines().next().unwrap_or_default();
    let offset = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    let end = rest[offset..].chars().next().map_or(offset, |c| offset + c.len_utf8());
    Place { source: source.clone(), range: start + offset..start + end }
}

/// A value as the YAML crate returns it, with positions.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any YAML value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(flag))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
                Ok(Raw::Number(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
                Ok(Raw::Number(number.into()))
            }
            fn visit_i128<E>(self, number: i128) -> Result<Raw, E> {
                Ok(Number::from_i128(number).map_or_else(|| Raw::Text(number.to_string()), Raw::Number))
            }
            fn visit_u128<E>(self, number: u128) -> Result<Raw, E> {
                Ok(Number::from_u128(number).map_or_else(|| Raw::Text(number.to_string()), Raw::Number))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
                Ok(Number::from_f64(number).map_or_else(|| Raw::Text(number.to_string()), Raw::Number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Raw::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key()? {
                    entries.push((key, map.next_value()?));
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(RawVisitor)
    }
}

fn place<T>(spanned: &Spanned<T>, source: &Arc<Source>) -> Place {
    let location = spanned.referenced;
    let span = location.span();
    match (span.byte_offset(), span.byte_len()) {
        (Some(offset), Some(length)) if location.line() > 0 => {
            let start = crate::problem::floor_char(&source.text, offset as usize);
            let end = crate::problem::floor_char(&source.text, (offset + length) as usize);
            Place { source: source.clone(), range: start..end.max(start) }
        }
        _ => place_of_line(source, location.line().max(1) as usize, location.column().max(1) as usize),
    }
}

fn node(raw: Spanned<Raw>, source: &Arc<Source>, problems: &mut Vec<Problem>) -> Node {
    let place_here = place(&raw, source);
    let value = match raw.value {
        Raw::Null => NodeValue::Null,
        Raw::Bool(flag) => NodeValue::Bool(flag),
        Raw::Number(number) => NodeValue::Number(number),
        Raw::Text(text) => NodeValue::Text(text),
        Raw::List(items) => NodeValue::List(items.into_iter().map(|item| node(item, source, problems)).collect()),
        Raw::Map(pairs) => {
            let mut entries: Vec<(Key, Node)> = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                let key = Key { place: place(&key, source), text: key.value };
                let value = node(value, source, problems);
                match entries.iter().find(|(earlier, _)| earlier.text == key.text) {
                    Some((earlier, _)) => {
                        let line = earlier.place.line_column().0;
                        problems.push(
                            Problem::error("duplicate-key", format!("`{}` stands here twice", key.text))
                                .at(&key.place)
                                .help(format!("the first one is in line {line}; remove or rename one of them")),
                        );
                    }
                    None => entries.push((key, value)),
                }
            }
            NodeValue::Map(entries)
        }
    };
    Node { value, place: place_here }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { path: "a.yaml".into(), text: text.into() })
    }

    fn json(text: &str) -> String {
        let (node, problems) = parse(&source(text));
        assert_eq!(problems, []);
        node.unwrap().to_json().to_string()
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            json("a: yes\nb: 012\nc: 1_000\nd: 12\ne: true\nf: ~\ng: 1.0\nh: '5'\ni: no\n"),
            r#"{"a":"yes","b":"012","c":"1_000","d":12,"e":true,"f":null,"g":1.0,"h":"5","i":"no"}"#
        );
        assert_eq!(json("a: 9007199254740993\n"), r#"{"a":9007199254740993}"#);
    }

    #[test]
    fn aliases_and_merge_keys_work() {
        assert_eq!(
            json("a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: 2\n"),
            r#"{"a":{"b":1},"c":{"b":1},"d":{"e":2,"b":1}}"#
        );
    }

    #[test]
    fn nodes_know_their_places() {
        let text =
            "é: 1\nstages:\n  a:\n    kind: metric\n    list: [x, 'y z']\n    prompt: |\n      Hello\n      you\n";
        let (node, _) = parse(&source(text));
        let node = node.unwrap();
        let stage = node.get("stages").unwrap().get("a").unwrap();
        let (key, kind) = stage.entry("kind").unwrap();
        assert_eq!((key.place.line_column(), &text[key.place.range.clone()]), ((4, 5), "kind"));
        assert_eq!((kind.place.line_column(), &text[kind.place.range.clone()]), ((4, 11), "metric"));
        let NodeValue::List(items) = &stage.get("list").unwrap().value else { panic!() };
        assert_eq!(items[1].place.line_column(), (5, 15));
        assert_eq!(stage.get("prompt").unwrap().as_text(), Some("Hello\nyou\n"));
        assert_eq!(stage.get("prompt").unwrap().place.line_column().0, 7, "a block begins with its first line");
    }

    #[test]
    fn duplicates_are_all_found() {
        let (_, problems) = parse(&source("a: 1\na: 2\nb: {c: 1, c: 2}\n"));
        assert_eq!(problems.len(), 2);
        assert_eq!(problems[0].place.as_ref().unwrap().line_column(), (2, 1));
    }

    #[test]
    fn tabs_and_wrong_indentation_are_told_where_they_stand() {
        for (text, line, told) in [
            ("a: 1\nb: c\n\tmodels:\n  x: 1\n", 3, "a tab where spaces belong"),
            ("m:\n  base:\n    p: s\n   r: x\n", 4, "this line is indented by 3 spaces, and no line above is"),
            ("a: 1\nname: p\n stages:\n", 3, "below `name: p`, which has a value already"),
        ] {
            let source = Arc::new(Source { path: "p".to_owned(), text: text.to_owned() });
            let problem = parse(&source).1.remove(0);
            assert!(problem.message.contains(told), "{}", problem.message);
            assert_eq!(problem.place.unwrap().line_column().0, line, "{text}");
        }
    }

    #[test]
    fn hostile_specs_are_refused() {
        for text in [
            "[".repeat(100_000),
            format!("a: {}1{}", "[".repeat(200), "]".repeat(200)),
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n".to_owned(),
            "a: b: c".to_owned(),
            String::new(),
        ] {
            let (node, problems) = parse(&source(&text));
            assert!(node.is_none() && problems.len() == 1, "{:.40}", text);
        }
    }
}
