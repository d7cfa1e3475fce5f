//! `${…}`: resolved once, at load, on the parsed tree, with types.
//!
//! A value that is nothing but `${params.size}` keeps its type, such as a number; inside a longer text, the param
//! becomes text.

use indexmap::IndexMap;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::tree::{Node, NodeValue};
use crate::problem::{Place, Problem, nearest};
use crate::template::{from_json, to_json};

/// Resolves every `${…}` below a node in place.
pub(super) fn resolve(node: &mut Node, params: &IndexMap<String, serde_json::Value>, problems: &mut Vec<Problem>) {
    let variables = context! {
        params => Value::from_pairs(params.iter().map(|(name, value)| (name.clone(), from_json(value)))),
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(100_000));
    environment.remove_global("debug");
    Resolver { environment, variables, params, problems }.node(node);
}

struct Resolver<'a> {
    environment: Environment<'static>,
    variables: Value,
    params: &'a IndexMap<String, serde_json::Value>,
    problems: &'a mut Vec<Problem>,
}

impl Resolver<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            NodeValue::List(items) => items.iter_mut().for_each(|item| self.node(item)),
            NodeValue::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.node(value)),
            NodeValue::Text(text) if text.contains("${") => {
                let text = std::mem::take(text);
                node.value = self.text(&text, &node.place);
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, place: &Place) -> NodeValue {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start..].find('}') else {
                let problem = Problem::error("unclosed-expression", "`${` without its `}`").at(place);
                self.problems.push(problem);
                return NodeValue::Text(text.to_owned());
            };
            let expression = &rest[start + 2..start + length];
            let Some(value) = self.evaluate(expression, place) else {
                return NodeValue::Null;
            };
            let is_whole = start == 0 && length + 1 == text.len();
            if is_whole {
                return Node::from_json(&to_json(&value), place).value;
            }
            out.push_str(&rest[..start]);
            out.push_str(&value.to_string());
            rest = &rest[start + length + 1..];
        }
        out.push_str(rest);
        NodeValue::Text(out)
    }

    fn evaluate(&mut self, expression: &str, place: &Place) -> Option<Value> {
        let result =
            self.environment.compile_expression(expression).and_then(|compiled| compiled.eval(&self.variables));
        let message = match result {
            Ok(value) if !value.is_undefined() => return Some(value),
            Ok(_) => format!("`${{{expression}}}` is undefined"),
            Err(error) => match error.detail() {
                Some(detail) => format!("`${{{expression}}}`: {}: {detail}", error.kind()),
                None => format!("`${{{expression}}}`: {}", error.kind()),
            },
        };
        let expression_text = expression.trim();
        let name = expression_text.rsplit_once('.').map_or(expression_text, |(_, name)| name);
        let help = match nearest(name, self.params.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `${{params.{near}}}`?"),
            None if name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') => {
                format!(
                    "declare it: `params: {{ {name}: … }}` and read `${{params.{name}}}`; only params can be read here"
                )
            }
            None => "only params can be read here: `${params.size}`".to_owned(),
        };
        self.problems.push(Problem::error("undefined-param", message).at(&narrow(place, expression)).help(help));
        None
    }
}

/// Narrows the place of a scalar to the expression inside it.
fn narrow(place: &Place, expression: &str) -> Place {
    let needle = format!("${{{expression}}}");
    let found = place.source.text.get(place.range.start..).and_then(|rest| rest.find(&needle));
    match found {
        Some(at) => {
            let start = place.range.start + at;
            Place { source: place.source.clone(), range: start..start + needle.len() }
        }
        None => place.clone(),
    }
}
