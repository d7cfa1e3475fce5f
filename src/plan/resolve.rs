//! From a spec to a plan, or to everything that is wrong with the spec.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use super::checks::check_models;
use super::models::check_settings;
use super::warnings::{warn_floating_judges, warn_options, warn_unused};
use super::{Node, Plan, all_reads, find_term};
use crate::problem::{Place, Problem, Severity, suggest};
use crate::spec::{PipelineSpec, StageSpec, Workspace};
use crate::stage::{KIND_ALIASES, KINDS, Makes, Part, Reads, Scope, Stage, Upstream};

/// Resolves a pipeline. There is a plan only if no problem is an error.
pub fn resolve(workspace: &Workspace, spec: PipelineSpec) -> (Option<Plan>, Vec<Problem>) {
    let mut problems = Vec::new();
    let stages = parse_stages(workspace, &spec, &mut problems);
    check_inputs(&spec, &mut problems);
    // Models whose settings have problems that leave nothing to build; they are not reported a second time.
    let mut unread: BTreeSet<&str> = BTreeSet::new();
    for (name, model) in spec.models.iter().chain(&spec.broken_models) {
        let found = check_settings(name, model);
        if found.iter().any(|problem| !matches!(problem.code, "wrong-value" | "secret-in-spec")) {
            unread.insert(name);
        }
        problems.extend(found);
    }
    let Some(order) = order(&spec, &stages, &mut problems) else {
        return (None, problems);
    };
    let (nodes, used) = fan_out(&spec, &stages, &order, &mut problems);
    check_models(workspace, &spec, &used, &unread, &mut problems);
    let plan = Plan { workspace: workspace.clone(), spec, nodes };
    // A gate may be about a stage that could not be parsed; that stage is reported already.
    let are_all_parsed =
        stages.len() == plan.spec.stages.len() && plan.spec.broken.is_empty() && !plan.spec.stages.is_empty();
    if are_all_parsed {
        for gate in &plan.spec.gates {
            for term in gate.left.terms().into_iter().chain(gate.right.terms()) {
                // A stage whose input is wrong has no nodes, and is reported already.
                let is_judged = !plan.spec.stages.contains_key(&term.path[0]) || !plan.find(&term.path[0]).is_empty();
                problems.extend(find_term(&plan, term).err().filter(|_| is_judged));
            }
        }
        // While there are errors, a stage may look unused only because of one of them.
        if problems.iter().all(|problem| problem.severity != Severity::Error) {
            warn_unused(&plan, &stages, &mut problems);
        }
        warn_options(&plan.spec, &mut problems);
        warn_floating_judges(workspace, &plan, &mut problems);
        problems.extend(stages.values().flat_map(|stage| stage.warnings()));
    }
    let has_error = problems.iter().any(|problem| problem.severity == Severity::Error);
    ((!has_error).then_some(plan), problems)
}

fn parse_stages(
    workspace: &Workspace,
    spec: &PipelineSpec,
    problems: &mut Vec<Problem>,
) -> IndexMap<String, Arc<dyn Stage>> {
    let scope =
        Scope { workspace, models: &spec.models, params: &spec.params, broken: &spec.broken, stages: &spec.stages };
    let mut stages = IndexMap::new();
    for (name, stage_spec) in &spec.stages {
        let Some(kind) = KINDS.iter().find(|kind| kind.name == stage_spec.kind) else {
            let alias = KIND_ALIASES.iter().find(|(word, _)| *word == stage_spec.kind.to_lowercase());
            let help = match alias {
                Some((_, kind)) => Some(format!("kind: {kind}")),
                None => suggest(&stage_spec.kind, "kinds there are", KINDS.iter().map(|kind| kind.name)),
            };
            let message = format!("there is no stage kind `{}`", stage_spec.kind);
            problems.push(Problem::error("unknown-kind", message).at(&stage_spec.kind_place).maybe_help(help));
            continue;
        };
        match (kind.parse)(stage_spec, &scope) {
            Ok(stage) => {
                stages.insert(name.clone(), stage);
            }
            Err(found) => problems.extend(found),
        }
    }
    stages
}

/// Checks the stages that stages name, also for stages that could not be parsed.
fn check_inputs(spec: &PipelineSpec, problems: &mut Vec<Problem>) {
    for (name, stage) in &spec.stages {
        let expected = KINDS.iter().find(|kind| kind.name == stage.kind).map_or(&[][..], |kind| kind.input);
        // Of several inputs the others are checked where the stage is typed.
        let node = stage.settings.get("input").filter(|_| !expected.is_empty());
        let node = node.map(|node| node.nearest(&["0".to_owned()]));
        let Some((node, input)) = node.and_then(|node| Some((node, node.as_text()?))) else {
            continue;
        };
        let is_expected = |other: &StageSpec| expected.contains(&other.kind.as_str());
        let candidates: Vec<&str> = spec
            .stages
            .values()
            .filter(|other| is_expected(other) && other.name != *name)
            .map(|other| other.name.as_str())
            .collect();
        let kinds = expected.join(" or ");
        match spec.stages.get(input) {
            None if spec.broken.contains(input) => {}
            // The other stage has an unknown kind, which is reported already.
            Some(other) if KINDS.iter().all(|kind| kind.name != other.kind) => {}
            None => {
                let help = suggest(input, &format!("{kinds} stages there are"), candidates);
                problems.push(
                    Problem::error("unknown-stage", format!("stage {name}: there is no stage `{input}`"))
                        .at(&node.place)
                        .maybe_help(help),
                );
            }
            Some(other) if !is_expected(other) && other.name != *name => {
                let (theirs, mine, wanted) =
                    (with_article(&other.kind), with_article(&stage.kind), with_article(&kinds));
                let message = format!("stage {name}: `{input}` is {theirs}, {mine} reads {wanted}");
                let help =
                    (!candidates.is_empty()).then(|| format!("{kinds} stages there are: {}", candidates.join(", ")));
                problems.push(Problem::error("wrong-input", message).at(&node.place).maybe_help(help));
            }
            Some(_) => {}
        }
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind} stage")
}

/// Returns the stages in an order in which each follows what it reads; none for a circle.
fn order(
    spec: &PipelineSpec,
    stages: &IndexMap<String, Arc<dyn Stage>>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<String>> {
    let mut graph: DiGraph<&str, ()> = DiGraph::new();
    let indices: BTreeMap<&str, NodeIndex> = stages.keys().map(|name| (name.as_str(), graph.add_node(name))).collect();
    for (name, stage) in stages {
        for (read, _) in all_reads(&**stage) {
            if let Some(from) = indices.get(read) {
                graph.add_edge(*from, indices[name.as_str()], ());
            }
        }
    }
    if let Ok(sorted) = toposort(&graph, None) {
        // Among stages that may stand in any order, that of the spec is kept.
        let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
        for index in sorted {
            let read = all_reads(&*stages[graph[index]]);
            let depth = read.iter().filter_map(|(read, _)| depths.get(read)).max().map_or(0, |deepest| deepest + 1);
            depths.insert(graph[index], depth);
        }
        let mut order: Vec<String> = stages.keys().cloned().collect();
        order.sort_by_key(|name| depths[name.as_str()]);
        return Some(order);
    }
    for component in tarjan_scc(&graph) {
        let is_circle = component.len() > 1 || graph.contains_edge(component[0], component[0]);
        if is_circle {
            let mut names: Vec<&str> = component.iter().map(|index| graph[*index]).collect();
            names.sort_by_key(|name| stages.get_index_of(*name));
            let place = &spec.stages[names[0]].place;
            let circle = names.iter().chain([&names[0]]).copied().collect::<Vec<_>>().join(" → ");
            problems.push(
                Problem::error("cycle", format!("stages read each other in a circle: {circle}"))
                    .at(place)
                    .help("break it: a metric or judge stage reads an inference stage, an inference stage a dataset"),
            );
        }
    }
    None
}

/// The indices of nodes, by stage and model (`_` for a node without one).
type ByStage = BTreeMap<String, BTreeMap<String, usize>>;

/// Makes the nodes. Returns them, with the models that are called and the places where they are named.
fn fan_out(
    spec: &PipelineSpec,
    stages: &IndexMap<String, Arc<dyn Stage>>,
    order: &[String],
    problems: &mut Vec<Problem>,
) -> (Vec<Node>, BTreeMap<String, Place>) {
    let mut nodes: Vec<Node> = Vec::new();
    let mut by_stage = ByStage::new();
    let mut used = BTreeMap::new();
    for name in order {
        let stage = &stages[name];
        let reads = match stage.input() {
            None => None,
            // Its input is wrong, which is reported already.
            Some((input, _)) if !by_stage.contains_key(input) => continue,
            Some((input, _)) => reads(stages, &by_stage, &**stage, input),
        };
        if let Some(reads) = &reads {
            check_others(stages, name, &**stage, problems);
            stage.check_input(reads, problems);
        }
        let models: Vec<Option<String>> = match stage.models(reads.as_ref()) {
            None => vec![None],
            Some(models) => models.into_iter().map(Some).collect(),
        };
        by_stage.entry(name.clone()).or_default();
        for model in models {
            let inputs = inputs(&nodes, &by_stage, &**stage, model.as_deref(), reads.as_ref());
            let callees = stage.callees(model.as_deref());
            for (_, callee) in &callees {
                used.entry(callee.clone()).or_insert_with(|| spec.stages[name].place.clone());
            }
            let node_name = model.as_ref().map_or_else(|| name.clone(), |model| format!("{name}.{model}"));
            let column = model.clone().unwrap_or_else(|| "_".to_owned());
            by_stage.entry(name.clone()).or_default().insert(column, nodes.len());
            nodes.push(Node {
                name: node_name,
                stage_name: name.clone(),
                model,
                stage: stage.clone(),
                inputs,
                callees,
            });
        }
    }
    (nodes, used)
}

/// Returns the stages that a stage reads; none if the dataset at its root is not known.
fn reads<'a>(
    stages: &'a IndexMap<String, Arc<dyn Stage>>,
    by_stage: &ByStage,
    stage: &'a dyn Stage,
    input: &'a str,
) -> Option<Reads<'a>> {
    let upstream = |name: &'a str| -> Option<Upstream<'a>> {
        let nodes = by_stage.get(name)?;
        let mut models: Vec<(&usize, &String)> = nodes.iter().map(|(model, index)| (index, model)).collect();
        models.sort();
        let models = models.into_iter().map(|(_, model)| model.clone()).filter(|model| model != "_").collect();
        Some(Upstream { name, stage: &**stages.get(name)?, models, root: root(stages, name)? })
    };
    let others = stage.also_reads().into_iter().filter_map(|(name, _)| upstream(name)).collect();
    Some(Reads { input: upstream(input)?, others })
}

/// Finds stages that are named beside the input and do not exist, or make no completions.
fn check_others(stages: &IndexMap<String, Arc<dyn Stage>>, name: &str, stage: &dyn Stage, problems: &mut Vec<Problem>) {
    let makes_completions = |stage: &Arc<dyn Stage>| stage.makes() == Makes::Completions;
    for (other, place) in stage.also_reads() {
        let found = stages.get(other);
        if found.is_some_and(makes_completions) {
            continue;
        }
        let candidates = stages.iter().filter(|(_, stage)| makes_completions(stage)).map(|(name, _)| name.as_str());
        let help = suggest(other, "inference stages there are", candidates);
        let (code, message) = match found {
            None => ("unknown-stage", format!("stage {name}: there is no stage `{other}`")),
            Some(found) => {
                let kind = with_article(found.kind());
                ("wrong-input", format!("stage {name}: `{other}` is {kind}, and makes no completions to compare with"))
            }
        };
        problems.push(Problem::error(code, message).at(place).maybe_help(help));
    }
}

/// Returns the nodes that a node reads, with the part that each plays.
fn inputs(
    nodes: &[Node],
    by_stage: &ByStage,
    stage: &dyn Stage,
    model: Option<&str>,
    reads: Option<&Reads<'_>>,
) -> Vec<(Part, usize)> {
    let Some(reads) = reads else { return Vec::new() };
    let find = |stage: &str, column: &str| by_stage.get(stage)?.get(column).copied();
    let mut inputs: Vec<(Part, usize)> =
        find(&reads.input.root, "_").map(|root| (Part::Rows, root)).into_iter().collect();
    for wanted in stage.inputs(model, reads) {
        let column = wanted.model.as_deref().unwrap_or("_");
        inputs.extend(find(&wanted.stage, column).map(|index| (wanted.part, index)));
    }
    // In a chain, the prompt that is shown may quote completions of another node, so those are read, too.
    if stage.shows_prompt() {
        let own = inputs.iter().find(|(part, _)| *part == Part::OWN).map(|(_, index)| *index);
        let draft = own.and_then(|own| nodes[own].input(Part::Draft));
        inputs.extend(draft.map(|draft| (Part::Draft, draft)));
    }
    inputs
}

/// Returns the dataset at the root of a stage's inputs; for a dataset, the stage itself.
fn root(stages: &IndexMap<String, Arc<dyn Stage>>, name: &str) -> Option<String> {
    let mut at = name;
    while let Some((input, _)) = stages.get(at)?.input() {
        at = input;
    }
    Some(at.to_owned())
}
