//! What the paths of gates mean.

use super::Plan;
use crate::problem::{Problem, suggest};
use crate::spec::Term;

/// Which number of an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Value,
    Low,
    High,
    N,
    Missing,
}

/// A path resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateTerm {
    pub node: usize,
    /// Name in the node's summary.
    pub value: String,
    pub part: Part,
}

/// Resolves a path such as `duel.tuned.win_rate.low`.
pub fn find_term(plan: &Plan, term: &Term) -> Result<GateTerm, Problem> {
    let problem =
        |message: String, help: Option<String>| Problem::error("bad-gate", message).at(&term.place).maybe_help(help);
    let path = term.path.join(".");
    let stage = &term.path[0];
    if !plan.spec.stages.contains_key(stage) {
        let help = suggest(stage, "stages there are", plan.spec.stages.keys().map(String::as_str));
        return Err(problem(format!("`{path}`: there is no stage `{stage}`"), help));
    }
    let nodes = plan.find(stage);
    let has_models = nodes.iter().any(|index| plan.nodes[*index].model.is_some());
    let (node, rest) = if has_models {
        let model = term.path.get(1).map(String::as_str).unwrap_or_default();
        let found = nodes.iter().find(|index| plan.nodes[**index].model.as_deref() == Some(model));
        let Some(found) = found else {
            let models = nodes.iter().filter_map(|index| plan.nodes[*index].model.as_deref());
            let help = suggest(model, &format!("models of {stage}"), models);
            return Err(problem(format!("`{path}`: {stage} has no model `{model}`"), help));
        };
        (*found, &term.path[2..])
    } else {
        match nodes.first() {
            Some(node) => (*node, &term.path[1..]),
            None => return Err(problem(format!("`{path}`: {stage} has no nodes"), None)),
        }
    };
    let resolved = &plan.nodes[node].stage;
    let whole = rest.join(".");
    if resolved.unit(&whole).is_some() {
        return Ok(GateTerm { node, value: whole, part: Part::Value });
    }
    if let Some((last, head)) = rest.split_last() {
        let part = match last.as_str() {
            "low" => Some(Part::Low),
            "high" => Some(Part::High),
            "n" => Some(Part::N),
            "missing" => Some(Part::Missing),
            _ => None,
        };
        let value = head.join(".");
        if let (Some(part), true) = (part, resolved.unit(&value).is_some()) {
            return Ok(GateTerm { node, value, part });
        }
    }
    let values = resolved.values();
    let help = suggest(&whole, &format!("values of {stage}"), values.iter().map(String::as_str));
    Err(problem(format!("`{path}`: {stage} has no value `{whole}`"), help))
}
