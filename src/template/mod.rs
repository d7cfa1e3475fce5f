//! Templates: Jinja text that is rendered per row, and expressions that are evaluated per row.
//!
//! A [`Library`] finds sources by name, first in the workspace's `templates/`, then among those built in. A
//! [`Template`] is loaded once with its whole *closure*: everything that a render can reach through include, import and
//! extends. It knows which columns and variables it reads, so that a stage's key holds what can change its output and
//! nothing else.
//!
//! **Invariant:** a render reads nothing but its closure and its variables: no file, no clock, no
//! randomness that is not seeded.
//!
//! | file | holds |
//! |---|---|
//! | `bounded` | texts that do not grow beyond a bound |
//! | `library` | where template sources are found |
//! | `reads` | the walk over a parsed template: columns, variables, includes, names used |
//! | `syntax` | single expressions; help where a text is not Jinja |
//! | `uses` | what it prints, compares with numbers, takes for true |
//! | `environment` | the Jinja environment: filters, limits |
//! | `extract` | values taken out of texts, or why there is none |
//! | `value` | JSON to template values and back |

mod bounded;
mod environment;
mod extract;
mod library;
mod reads;
mod syntax;
mod uses;
mod value;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value};

pub use environment::NoValue;
pub use library::Library;
pub use reads::{Attrs, Reads};
pub use uses::{ColumnUse, Guard, Usage, mixed_types};
pub use value::{from_json, row_value, row_variables, to_json};

use self::bounded::{Bounded, MAX_TEXT};
use self::syntax::{single_expression, syntax_help};
use crate::digest::Digest;
use crate::problem::{Place, Problem, Source, suggest};

/// The largest source of one template, in bytes.
pub const MAX_TEMPLATE: usize = 64 * 1024;

/// The variable to which the value of an expression is assigned while it is evaluated.
const RESULT: &str = "_result";

/// A template or an expression, with everything that it can reach.
pub struct Template {
    environment: Environment<'static>,
    name: String,
    is_expression: bool,
    sources: BTreeMap<String, TemplateSource>,
    /// What a render can read from its variables.
    pub reads: Reads,
    uses: Vec<uses::Used>,
}

struct TemplateSource {
    /// None: the source does not exist, and is named only by `include … ignore missing`.
    text: Option<String>,
    origin: Origin,
}

#[derive(Clone)]
enum Origin {
    File(Arc<Source>),
    Inline(Place),
    Missing,
}

/// Why a template failed to load or to render.
#[derive(Clone, Debug)]
pub struct TemplateError {
    pub message: String,
    pub place: Option<Place>,
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            let (line, _) = place.line_column();
            write!(f, "{}:{line}: ", place.source.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Loads a template. A value that ends in `.j2` is the name of one; any other value is the text itself.
    ///
    /// `variables` are the names that a render will provide; any other name is a problem.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the template and what it includes, each problem with its place.
    pub fn load(library: &Library, text: &str, place: &Place, variables: &[&str]) -> Result<Template, Vec<Problem>> {
        let is_name = text.trim_end().ends_with(".j2") && !text.trim().contains('\n');
        if is_name {
            let name = text.trim();
            return Template::build(library, name, None, place, variables, false);
        }
        Template::build(library, "<inline>", Some(text.to_owned()), place, variables, false)
    }

    /// Loads a template that makes a value: text with `{{ … }}` in it. If it is exactly one `{{ expr }}`, the value
    /// keeps its type.
    ///
    /// # Errors
    ///
    /// As [`Template::load`].
    pub fn load_value(
        library: &Library,
        text: &str,
        place: &Place,
        variables: &[&str],
    ) -> Result<Template, Vec<Problem>> {
        match single_expression(text) {
            Some(expression) => {
                let text = format!("{{% set {RESULT} = ({expression}) %}}");
                Template::build(library, "<inline>", Some(text), place, variables, true)
            }
            None => Template::build(library, "<inline>", Some(text.to_owned()), place, variables, false),
        }
    }

    /// Loads a bare expression, such as a `where`.
    ///
    /// # Errors
    ///
    /// As [`Template::load`].
    pub fn load_expression(
        library: &Library,
        text: &str,
        place: &Place,
        variables: &[&str],
    ) -> Result<Template, Vec<Problem>> {
        let text = format!("{{% set {RESULT} = ({text}) %}}");
        Template::build(library, "<inline>", Some(text), place, variables, true)
    }

    fn build(
        library: &Library,
        name: &str,
        inline: Option<String>,
        place: &Place,
        variables: &[&str],
        is_expression: bool,
    ) -> Result<Template, Vec<Problem>> {
        let mut template = Template {
            environment: environment::new(),
            name: name.to_owned(),
            is_expression,
            sources: BTreeMap::new(),
            reads: Reads::default(),
            uses: Vec::new(),
        };
        let mut problems = Vec::new();
        match inline {
            Some(text) => {
                template.add(library, name, Some((text, Origin::Inline(place.clone()))), place, &mut problems, false);
            }
            None => template.add(library, name, None, place, &mut problems, false),
        }
        if problems.is_empty() {
            template.check_names(variables, &mut problems);
        }
        if problems.is_empty() { Ok(template) } else { Err(problems) }
    }

    /// Adds a source and everything that it reaches; `place` is where it is named.
    fn add(
        &mut self,
        library: &Library,
        name: &str,
        inline: Option<(String, Origin)>,
        place: &Place,
        problems: &mut Vec<Problem>,
        may_miss: bool,
    ) {
        if self.sources.contains_key(name) {
            return;
        }
        let (text, origin) = match inline {
            Some(source) => source,
            None => match library.find(name) {
                Ok(Some(source)) => (source.text.clone(), Origin::File(source)),
                Ok(None) if may_miss => {
                    self.sources.insert(name.to_owned(), TemplateSource { text: None, origin: Origin::Missing });
                    return;
                }
                Ok(None) => {
                    let help = suggest(name, "templates there are", library.names().iter().map(String::as_str))
                        .unwrap_or_else(|| format!("create templates/{name}"));
                    problems.push(
                        Problem::error("unknown-template", format!("there is no template `{name}`"))
                            .at(place)
                            .help(help),
                    );
                    return;
                }
                Err(message) => {
                    problems.push(Problem::error("unreadable-template", message).at(place));
                    return;
                }
            },
        };
        if text.len() > MAX_TEMPLATE {
            let message = format!("template `{name}` has {} bytes, {MAX_TEMPLATE} are allowed", text.len());
            let help = "put data into columns, and shared parts into includes";
            problems.push(Problem::error("template-too-large", message).at(place).help(help));
            return;
        }
        self.sources.insert(name.to_owned(), TemplateSource { text: Some(text.clone()), origin });
        let parsed = match parse(&text, name, SyntaxConfig::default()) {
            Ok(parsed) => parsed,
            Err(error) => {
                problems.push(self.problem(&error, place));
                return;
            }
        };
        let walked = reads::walk(&parsed, name);
        for computed in &walked.computed {
            let at = self.place_of(name, computed.clone()).unwrap_or_else(|| place.clone());
            problems.push(
                Problem::error(
                    "computed-include",
                    "the template to include is computed, so its content cannot be part of the key",
                )
                .at(&at)
                .help("name it in quotes: {% include \"part.j2\" %}; choose with {% if %}"),
            );
        }
        for include in &walked.includes {
            let at = self.place_of(name, include.span.clone()).unwrap_or_else(|| place.clone());
            self.add(library, &include.name, None, &at, problems, include.may_miss);
        }
        self.reads.merge(walked.reads);
        self.uses.extend(uses::uses(&parsed, name, RESULT));
        if let Err(error) = self.environment.add_template_owned(name.to_owned(), text) {
            problems.push(self.problem(&error, place));
        }
    }

    /// Finds variables, filters and tests that do not exist, also in branches that no render may take.
    fn check_names(&self, variables: &[&str], problems: &mut Vec<Problem>) {
        for used in self.reads.names_used() {
            let exists = match used.kind {
                reads::NameKind::Filter => environment::has_filter(&self.environment, &used.name),
                reads::NameKind::Test => environment::has_test(&self.environment, &used.name),
                reads::NameKind::Variable => {
                    variables.contains(&used.name.as_str())
                        || self.reads.is_assigned(&used.name)
                        || self.environment.globals().any(|(name, _)| name == used.name)
                        || matches!(
                            used.name.as_str(),
                            "loop" | "self" | "super" | "caller" | "true" | "false" | "none"
                        )
                }
            };
            if exists {
                continue;
            }
            let what = used.kind.word();
            let mut problem =
                Problem::error(used.kind.code(), format!("there is no {what} `{}` in this template", used.name));
            if used.kind == reads::NameKind::Variable {
                let near = crate::problem::did_you_mean(&used.name, variables.iter().copied());
                let list = || format!("here a template can read: {}", variables.join(", "));
                let is_column = variables.contains(&"row") && near.is_none();
                problem = problem.help(match near {
                    Some(near) => near,
                    None if is_column => {
                        format!("a column is `row.{}`; {}", used.name, list())
                    }
                    None => list(),
                });
            } else {
                problem =
                    problem.maybe_help(environment::suggest_name(&used.name, used.kind == reads::NameKind::Filter));
            }
            if let Some(place) = self.place_of(&used.template, used.span.clone()) {
                problem = problem.at(&place);
            }
            problems.push(problem);
        }
    }

    /// Returns the digests of everything that a render can reach, by name.
    pub fn closure(&self) -> BTreeMap<String, Option<Digest>> {
        self.sources
            .iter()
            .map(|(name, source)| (name.clone(), source.text.as_deref().map(|text| Digest::of(text.as_bytes()))))
            .collect()
    }

    /// Returns the template's name, or `label` if its text stands in the spec.
    pub fn name_or<'a>(&'a self, label: &'a str) -> &'a str {
        if self.name == "<inline>" { label } else { &self.name }
    }

    /// Returns the source texts of the closure, by name.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().filter_map(|(name, source)| Some((name.as_str(), source.text.as_deref()?)))
    }

    /// Renders to text.
    ///
    /// # Errors
    ///
    /// An undefined value is read, a filter fails, the render takes too many instructions, or the text is longer than
    /// 64 MB.
    pub fn render(&self, variables: &Value) -> Result<String, TemplateError> {
        if self.is_expression {
            let value = self.evaluate(variables)?;
            let mut text = Bounded::default();
            let is_whole = value.is_none() || write!(text, "{value}").is_ok();
            return if is_whole { Ok(text.into_text()) } else { Err(self.too_long()) };
        }
        let template = self.environment.get_template(&self.name).map_err(|error| self.error(&error))?;
        let mut text = Bounded::default();
        match template.render_captured_to(variables.clone(), &mut text).map(drop) {
            Ok(()) => Ok(text.into_text()),
            Err(_) if text.is_over => Err(self.too_long()),
            Err(error) => Err(self.error(&error)),
        }
    }

    fn too_long(&self) -> TemplateError {
        let message = format!("the text is longer than {} MB", MAX_TEXT >> 20);
        TemplateError { message, place: self.place_of(&self.name, 0..0) }
    }

    /// Evaluates to a typed value if the source is one expression, else to text.
    ///
    /// # Errors
    ///
    /// As [`Template::render`].
    pub fn evaluate(&self, variables: &Value) -> Result<Value, TemplateError> {
        if !self.is_expression {
            return self.render(variables).map(Value::from);
        }
        let captured = self
            .environment
            .get_template(&self.name)
            .and_then(|template| template.render_captured(variables.clone()))
            .map_err(|error| self.error(&error))?;
        let value = captured.state().lookup(RESULT).unwrap_or(Value::UNDEFINED);
        if value.is_undefined() {
            return Err(TemplateError {
                message: "the expression is undefined".to_owned(),
                place: self.place_of(&self.name, 0..0),
            });
        }
        Ok(value)
    }

    fn error(&self, error: &minijinja::Error) -> TemplateError {
        // An error in an include is the cause of the error in the including template, so the innermost place is
        // reported.
        let mut innermost = error;
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if let Some(cause) = cause.downcast_ref::<minijinja::Error>() {
                innermost = cause;
            }
            source = cause.source();
        }
        let message = match innermost.detail() {
            Some(detail) => format!("{}: {detail}", innermost.kind()),
            None => innermost.kind().to_string(),
        };
        let name = innermost.name().unwrap_or(&self.name);
        let place = self.place_of_error(name, innermost);
        let message = match &place {
            Some(place) if innermost.kind() == minijinja::ErrorKind::UndefinedError => {
                let before = place.source.text.get(..place.range.start).unwrap_or_default();
                match place.source.text.get(place.range.clone()) {
                    // The place is that of the filter, but undefined is the value that the filter got.
                    Some(text) if before.trim_end().ends_with('|') => {
                        format!("what `| {}` gets is undefined", text.trim())
                    }
                    Some(text) if !text.is_empty() && text.len() < 80 => {
                        format!("`{}` is undefined", text.trim())
                    }
                    _ => message,
                }
            }
            _ => message,
        };
        TemplateError { message, place }
    }

    fn problem(&self, error: &minijinja::Error, place: &Place) -> Problem {
        let error = self.error(error);
        let place = error.place.unwrap_or_else(|| place.clone());
        let help = syntax_help(&error.message, &place, self.is_expression);
        Problem::error("template-error", error.message).at(&place).maybe_help(help)
    }

    fn place_of_error(&self, name: &str, error: &minijinja::Error) -> Option<Place> {
        let text = self.sources.get(name)?.text.as_deref()?;
        let range = error.range().unwrap_or_else(|| {
            let line = error.line().unwrap_or(1);
            let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
            start..start + text[start..].lines().next().map_or(0, str::len)
        });
        self.place_of(name, range)
    }

    /// Maps a range in a template's text to its place in the file that a user edits.
    fn place_of(&self, name: &str, range: std::ops::Range<usize>) -> Option<Place> {
        let source = self.sources.get(name)?;
        match &source.origin {
            Origin::Missing => None,
            Origin::File(file) => Some(Place { source: file.clone(), range }),
            Origin::Inline(place) => Some(place_in_scalar(place, source.text.as_deref()?, range)),
        }
    }
}

/// Finds a range of an inline text inside the scalar in which it was written.
///
/// Block scalars are indented and quoted ones are escaped, so offsets differ. The line is looked up by its words; if it
/// is not found, the whole scalar is the place.
fn place_in_scalar(place: &Place, text: &str, range: std::ops::Range<usize>) -> Place {
    let start = crate::problem::floor_char(text, range.start);
    let end = crate::problem::floor_char(text, range.end.max(start));
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let line = text[line_start..line_end].trim();
    let line = line.strip_prefix(&format!("{{% set {RESULT} = (")).map_or(line, |rest| rest.trim_end_matches(") %}"));
    let yaml = &place.source.text;
    let from = place.range.start.min(yaml.len());
    let Some(line_at) = find_line(yaml, from, line) else {
        return place.clone();
    };
    let needle = &text[start..end.min(line_end)];
    match yaml[line_at..line_at + line.len()].find(needle) {
        Some(at) if !needle.is_empty() => {
            // The same words may stand earlier in the line, so the occurrence at the wanted column is preferred.
            let wanted = start
                - line_start
                - (text[line_start..line_end].len() - text[line_start..line_end].trim_start().len())
                    .min(start - line_start);
            let at = match yaml.get(line_at + wanted..line_at + wanted + needle.len()) {
                Some(same) if same == needle => wanted,
                _ => at,
            };
            Place { source: place.source.clone(), range: line_at + at..line_at + at + needle.len() }
        }
        _ => Place { source: place.source.clone(), range: line_at..line_at + line.len() },
    }
}

/// Returns the offset of a line within a scalar; a match that is a whole line wins over a part of one.
fn find_line(yaml: &str, from: usize, line: &str) -> Option<usize> {
    if line.is_empty() {
        return None;
    }
    let rest = yaml.get(from..)?;
    let mut at = from;
    for candidate in rest.split_inclusive('\n') {
        if candidate.trim() == line {
            return Some(at + candidate.len() - candidate.trim_start().len());
        }
        at += candidate.len();
    }
    rest.find(line).map(|found| from + found)
}

#[cfg(test)]
mod tests;
