//! Problems with their excerpts, in the look of rustc.

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
        let text = &place.source.text;
        let start = crate::problem::floor_char(text, place.range.start);
        let mut end = crate::problem::floor_char(text, place.range.end.max(start));
        // A long value is marked in its first line only.
        if let Some(line) = text[start..end].find('\n') {
            end = start + line;
        }
        let snippet = Snippet::source(text.as_str())
            .path(place.source.path.as_str())
            .annotation(AnnotationKind::Primary.span(start..end));
        group = group.element(snippet);
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    renderer.render(&[group])
}

/// Returns the `check` document.
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
