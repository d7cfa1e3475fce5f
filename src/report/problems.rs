//! Problems with excerpts of their source, in the style of rustc.

use std::borrow::Cow;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::printable;
use crate::problem::{Problem, Severity};

/// Renders problems, errors first, each with its excerpt.
pub fn problems(problems: &[Problem], is_styled: bool) -> String {
    let renderer = if is_styled { Renderer::styled() } else { Renderer::plain() };
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| {
        (problem.severity, problem.place.as_ref().map(|place| (place.source.path.clone(), place.range.start)))
    });
    let mut out = String::new();
    for problem in sorted {
        out.push_str(&one(problem, &renderer));
        out.push_str("\n\n");
    }
    out
}

fn one(problem: &Problem, renderer: &Renderer) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level
        .primary_title(printable(&problem.message))
        .id(problem.code)
        .elements(Vec::<annotate_snippets::Element<'_>>::new());
    if let Some(place) = &problem.place {
        // A secret is not repeated in the excerpt, since logs are kept.
        let text = match problem.code {
            "secret-in-spec" => Cow::Owned(without_line(&place.source.text, place.range.start)),
            _ => Cow::Borrowed(place.source.text.as_str()),
        };
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

/// Returns a text in which the rest of a line, after the word at an offset, is removed.
fn without_line(text: &str, offset: usize) -> String {
    let start = crate::problem::floor_char(text, offset);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let word_end = text[start..line_end]
        .find(|c: char| !(c.is_alphanumeric() || "_-\"'".contains(c)))
        .map_or(line_end, |at| start + at);
    format!("{}{}{}", &text[..word_end], ": …", &text[line_end..])
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
