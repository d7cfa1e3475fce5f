//! What the command line says about rows: `--where`, for which an expression holds; templates that make answers from them.

use std::sync::Arc;

use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

use super::exit::Exit;
use crate::problem::{Place, Source};
use crate::template::{Guard, Library, Template, from_json, mixed_types};

/// The variables that an expression can read.
const VARIABLES: &[&str] = &[
    "id",
    "model",
    "sample",
    "row",
    "prompt",
    "completion",
    "baseline",
    "status",
    "raw",
    "reasoning",
    "refusal",
    "tool_calls",
    "finish_reason",
    "error",
    "scores",
    "pair",
    "verdict",
    "orders",
    "asked",
    "prediction",
    "reference",
    "extracted",
    "votes",
    "reason",
    "meta",
];

/// An expression that rows are held against.
pub(super) struct Filter {
    expression: Template,
    guards: Vec<Guard>,
}

impl Filter {
    /// Reads an expression.
    pub fn load(library: &Library, text: &str) -> Result<Filter, Exit> {
        let source = Arc::new(Source { path: "--where".to_owned(), text: text.to_owned() });
        let place = Place { range: 0..text.len(), source };
        let expression = Template::load_expression(library, text, &place, VARIABLES).map_err(Exit::problems)?;
        let guards = expression.guards();
        Ok(Filter { expression, guards })
    }

    /// Returns whether it holds for a row; a variable that the row does not have is none.
    ///
    /// # Errors
    ///
    /// It cannot be evaluated for the row; the text goes on from `--where: `.
    pub fn holds(&self, document: &Map<String, Value>) -> Result<bool, String> {
        let row = document.get("row").and_then(Value::as_object);
        if let Some(message) = row.and_then(|row| mixed_types(&self.guards, row)) {
            return Err(format!("it {message}"));
        }
        let value = self.expression.evaluate(&variables(document)).map_err(|error| error.message)?;
        Ok(value.is_true())
    }
}

/// Returns the variables of a row; one that it does not have is none.
fn variables(document: &Map<String, Value>) -> TemplateValue {
    let value = |name: &str| document.get(name).map_or(TemplateValue::from(()), from_json);
    TemplateValue::from_pairs(VARIABLES.iter().map(|name| ((*name).to_owned(), value(name))))
}

/// A template that makes an answer from a row.
pub(super) struct Answer {
    template: Template,
    flag: &'static str,
}

impl Answer {
    /// Reads a template that stands behind a flag.
    pub fn load(library: &Library, flag: &'static str, text: &str) -> Result<Answer, Exit> {
        let source = Arc::new(Source { path: flag.to_owned(), text: text.to_owned() });
        let place = Place { range: 0..text.len(), source };
        let template = Template::load(library, text, &place, VARIABLES).map_err(Exit::problems)?;
        Ok(Answer { template, flag })
    }

    /// Returns the answer for a row.
    ///
    /// # Errors
    ///
    /// It cannot be rendered for the row.
    pub fn of(&self, document: &Map<String, Value>) -> Result<String, String> {
        self.template.render(&variables(document)).map_err(|error| format!("{}: {}", self.flag, error.message))
    }
}
