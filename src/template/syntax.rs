//! What a template's text looks like, and what to say where it is not Jinja.

use minijinja::machinery::{ast, parse};
use minijinja::syntax::SyntaxConfig;

use crate::problem::Place;

/// Returns what usually causes a syntax error of this sort.
pub(super) fn syntax_help(message: &str, place: &Place, is_expression: bool) -> Option<String> {
    let text = &place.source.text;
    let line_start = text[..crate::problem::floor_char(text, place.range.start)].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let help = if is_expression && line.contains("{{") {
        "an expression stands here without braces: `row.language == \"en\"`"
    } else if message.contains("unexpected identifier") {
        "a column whose name has a space: `row['Expected label']`; or `rename:` it in the dataset"
    } else if message.contains("unexpected `=`") {
        "`==` compares, `{% set name = … %}` assigns"
    } else if message.contains("unexpected `}`") || message.contains("end of variable block") {
        "close it with both braces: `{{ row.question }}`"
    } else if message.contains("end of block") && !message.contains("unexpected end") {
        "close it with `%}`"
    } else if message.contains("unexpected end of input") || message.contains("unknown statement") {
        "every `{% if … %}` and `{% for … %}` needs its `{% endif %}` and `{% endfor %}`"
    } else {
        return None;
    };
    Some(help.to_owned())
}

/// Returns the inside of a text that is exactly one `{{ expr }}`.
pub(super) fn single_expression(text: &str) -> Option<&str> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix("{{")?.strip_suffix("}}")?;
    let parsed = parse(trimmed, "<inline>", SyntaxConfig::default()).ok()?;
    let ast::Stmt::Template(template) = parsed else {
        return None;
    };
    let is_single = matches!(template.children.as_slice(), [ast::Stmt::EmitExpr(_)]);
    is_single.then(|| inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_end_matches(['-', '+']).trim())
}
