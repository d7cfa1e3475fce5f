//! What the paths in gates refer to.

use super::Plan;
use crate::problem::{Problem, suggest};
use crate::spec::Term;

/// Which number of an estimate a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Value,
    Low,
    High,
    N,
    Missing,
}

/// A path of a gate, resolved to a node and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateTerm {
    /// Index of the node in the plan.
    pub node: usize,
    /// The name of the value in the node's summary.
    pub value: String,
    pub figure: Figure,
    /// The whole rest of the path, where that can be the name of a value too, which only the run can tell: of a
    /// classification, a label may be called `b.low`. If the run has such a value, the path means it.
    pub verbatim: Option<String>,
}

/// Returns a hint with a full path, for a gate that names a value alone.
fn whole_path(plan: &Plan, value: &str) -> Option<String> {
    let has_value = |node: &&crate::plan::Node| node.stage.unit(value).is_some() && value != "coverage";
    let is_candidate = |node: &&&crate::plan::Node| {
        node.model.as_deref().is_some_and(|model| plan.role(model) == Some(crate::spec::Role::Candidate))
    };
    let nodes: Vec<&crate::plan::Node> = plan.nodes.iter().filter(has_value).collect();
    let node = nodes.iter().find(is_candidate).or(nodes.first())?;
    Some(format!("a gate names stage and model, too: `{}.{value}`", node.name))
}

/// Resolves a path such as `duel.tuned.win_rate.low`.
///
/// # Errors
///
/// The path names no stage, model or value of the plan; the problem suggests one that exists.
pub fn find_term(plan: &Plan, term: &Term) -> Result<GateTerm, Problem> {
    let problem =
        |message: String, help: Option<String>| Problem::error("bad-gate", message).at(&term.place).maybe_help(help);
    let path = term.path.join(".");
    let stage = &term.path[0];
    if !plan.spec.stages.contains_key(stage) {
        let help = whole_path(plan, &path)
            .or_else(|| suggest(stage, "stages there are", plan.spec.stages.keys().map(String::as_str)));
        return Err(problem(format!("`{path}`: there is no stage `{stage}`"), help));
    }
    let nodes = plan.find(stage);
    let has_models = nodes.iter().any(|index| plan.nodes[*index].model.is_some());
    let (node, rest) = if has_models {
        let model = term.path.get(1).map(String::as_str).unwrap_or_default();
        let is_of = |index: &&usize, words: usize| {
            let named = term.path.get(1..=words).map(|path| path.join("."));
            named.is_some() && plan.nodes[**index].model == named
        };
        // Where several stages stand side by side, a model has the name of its stage before it.
        let found = [2, 1].into_iter().find_map(|words| Some((nodes.iter().find(|index| is_of(index, words))?, words)));
        let Some(found) = found else {
            let models = nodes.iter().filter_map(|index| plan.nodes[*index].model.as_deref());
            let without_model = term.path[1..].join(".");
            if plan.nodes[nodes[0]].stage.unit(&without_model).is_some() {
                // The candidate comes first, since most gates are about it.
                let is_candidate = |model: &&str| plan.role(model) == Some(crate::spec::Role::Candidate);
                let model = models.clone().find(is_candidate).or(models.clone().next()).unwrap_or_default();
                let help = format!("name a model: `{stage}.{model}.{without_model}`");
                return Err(problem(format!("`{path}`: {stage} has a value per model"), Some(help)));
            }
            let help = suggest(model, &format!("models of {stage}"), models);
            return Err(problem(format!("`{path}`: {stage} has no model `{model}`"), help));
        };
        (*found.0, &term.path[found.1 + 1..])
    } else {
        match nodes.first() {
            Some(node) => (*node, &term.path[1..]),
            None => return Err(problem(format!("`{path}`: {stage} has no nodes"), None)),
        }
    };
    let resolved = &plan.nodes[node].stage;
    let whole = rest.join(".");
    if let Some((last, head)) = rest.split_last() {
        let figure = match last.as_str() {
            "low" => Some(Figure::Low),
            "high" => Some(Figure::High),
            "n" => Some(Figure::N),
            "missing" => Some(Figure::Missing),
            _ => None,
        };
        let value = head.join(".");
        if let (Some(figure), true) = (figure, resolved.unit(&value).is_some()) {
            let verbatim = resolved.unit(&whole).map(|_| whole);
            return Ok(GateTerm { node, value, figure, verbatim });
        }
    }
    if resolved.unit(&whole).is_some() {
        return Ok(GateTerm { node, value: whole, figure: Figure::Value, verbatim: None });
    }
    let values = resolved.values();
    let help = suggest(&whole, &format!("values of {stage}"), values.iter().map(|(name, _)| name.as_str()));
    Err(problem(format!("`{path}`: {stage} has no value `{whole}`"), help))
}
