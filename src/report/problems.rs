//! Problems with excerpts of their source, in the style of rustc.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::printable;
use crate::problem::{Place, Problem, Severity};
use crate::provider::is_key;

/// Renders problems, errors first, each with its excerpt.
pub fn problems(problems: &[Problem], is_styled: bool) -> String {
    let renderer = if is_styled { Renderer::styled() } else { Renderer::plain() };
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| {
        (problem.severity, problem.place.as_ref().map(|place| (place.source.path.clone(), place.range.start)))
    });
    // A secret is repeated in no excerpt, since logs are kept.
    let secrets: Vec<&Place> = problems
        .iter()
        .filter(|problem| problem.code == "secret-in-spec")
        .filter_map(|problem| problem.place.as_ref())
        .collect();
    let mut out = String::new();
    for problem in sorted {
        out.push_str(&one(problem, &renderer, &secrets));
        out.push_str("\n\n");
    }
    out
}

fn one(problem: &Problem, renderer: &Renderer, secrets: &[&Place]) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level
        .primary_title(printable(&problem.message))
        .id(problem.code)
        .elements(Vec::<annotate_snippets::Element<'_>>::new());
    if let Some(place) = &problem.place {
        let mut text = Cow::Borrowed(place.source.text.as_str());
        for secret in secrets.iter().filter(|secret| secret.source == place.source) {
            text = Cow::Owned(without_secret(&text, secret.range.start));
        }
        // A key under a misspelt name is another problem, and a key all the same.
        let text = without_keys(&text);
        let start = crate::problem::floor_char(&text, place.range.start);
        let mut end = crate::problem::floor_char(&text, place.range.end.max(start));
        // A long value is marked in its first line only.
        if let Some(line) = text[start..end].find('\n') {
            end = start + line;
        }
        let snippet =
            Snippet::source(text).path(place.source.path.as_str()).annotation(AnnotationKind::Primary.span(start..end));
        group = group.element(snippet);
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    renderer.render(&[group])
}

/// Returns a text in which the rest of a line is hidden from an offset on; a field's name that stands there is kept. All
/// other offsets stay as they are.
fn without_secret(text: &str, offset: usize) -> String {
    let start = crate::problem::floor_char(text, offset);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let word_end = text[start..line_end]
        .find(|c: char| !(c.is_alphanumeric() || "_-\"'".contains(c)))
        .map_or(line_end, |at| start + at);
    let is_name = text[word_end..line_end].trim_start().starts_with(": ");
    let from = if is_name { word_end + 2 } else { start };
    let hidden = line_end.saturating_sub(from);
    let sign = if hidden < '…'.len_utf8() {
        "*".repeat(hidden)
    } else {
        format!("…{}", " ".repeat(hidden - '…'.len_utf8()))
    };
    format!("{}{sign}{}", &text[..line_end - hidden], &text[line_end..])
}

/// Returns a text with stars in the place of every word that looks like a key.
fn without_keys(text: &str) -> String {
    let starred = |word: &str| match is_key(word.trim_end_matches(|c: char| !c.is_alphanumeric())) {
        true => word.chars().map(|c| if c.is_ascii_alphanumeric() { '*' } else { c }).collect(),
        false => word.to_owned(),
    };
    text.split_inclusive(|c: char| c.is_whitespace() || "\"'`,:={}[]()".contains(c)).map(starred).collect()
}

/// Returns the JSON document of `check`.
pub fn problems_json(problems: &[Problem]) -> Value {
    let list: Vec<Value> = problems
        .iter()
        .map(|problem| {
            let at = problem.place.as_ref().map(|place| (place.source.path.clone(), place.line_column()));
            json!({
                "severity": problem.severity.to_string(),
                "code": problem.code,
                "message": problem.message,
                "file": at.as_ref().map(|(file, _)| file.clone()),
                "line": at.as_ref().map(|(_, (line, _))| *line),
                "column": at.as_ref().map(|(_, (_, column))| *column),
                "help": problem.help,
            })
        })
        .collect();
    json!({ "etalon": 1, "problems": list })
}
