//! From a spec to a plan, or to everything that is wrong with the spec.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use super::models::check_settings;
use super::{Node, Plan, build_provider, find_term};
use crate::digest::Digest;
use crate::problem::{Place, Problem, Severity, suggest};
use crate::provider::PROVIDERS;
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
    let scope = Scope { workspace, models: &spec.models, params: &spec.params, broken: &spec.broken };
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
        let node = stage.settings.get("input").filter(|_| !expected.is_empty());
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

/// Returns all stages that a stage reads, with the places where it names them.
fn all_reads(stage: &dyn Stage) -> Vec<(&str, &Place)> {
    stage.input().into_iter().chain(stage.also_reads()).collect()
}

/// Returns the stages in an order in which each follows the stages that it reads; none if they form a circle.
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
        let of_input = reads.as_ref().map_or(&[][..], |reads| &reads.input.models);
        let models: Vec<Option<String>> = match stage.models(of_input) {
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

/// Builds every model that is called, as far as that needs no digests of weights, to find what is wrong with it.
fn check_models(
    workspace: &Workspace,
    spec: &PipelineSpec,
    used: &BTreeMap<String, Place>,
    unread: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) {
    for (name, model) in &spec.models {
        // Checked are the models of the pipeline itself, and those models of the workspace that it calls.
        let is_own = model.place.as_ref().is_some_and(|place| Arc::ptr_eq(&place.source, &spec.source));
        let Some(place) = used.get(name).or(model.place.as_ref().filter(|_| is_own)) else {
            continue;
        };
        if model.provider.is_none() || unread.contains(name.as_str()) {
            continue;
        }
        let exists = |path: &std::path::Path| std::fs::metadata(path).map(|_| Digest::of(b""));
        match build_provider(workspace, name, model, None, &exists) {
            Err(error) => {
                let is_unknown = PROVIDERS.iter().all(|entry| Some(entry.name) != model.provider.as_deref());
                let provider_place = model.provider_place.as_ref().filter(|_| is_unknown);
                let at = provider_place.or(model.place.as_ref()).unwrap_or(place);
                problems.push(
                    Problem::error("bad-model", format!("model {name}: {}", error.message))
                        .at(at)
                        .maybe_help(error.help),
                );
            }
            Ok(provider) => {
                let base_url = model.settings.text("base_url");
                let has_no_path = base_url.is_some_and(|url| {
                    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                    !rest.trim_end_matches('/').contains('/')
                });
                if has_no_path && model.provider.as_deref() == Some("openai") {
                    let url = base_url.unwrap_or_default().trim_end_matches('/');
                    problems.push(
                        Problem::warning(
                            "bare-address",
                            format!(
                                "model {name}: nothing is behind the host of `{url}`; servers have this API below /v1"
                            ),
                        )
                        .at(model.place.as_ref().unwrap_or(place))
                        .help(format!("base_url: {url}/v1")),
                    );
                }
                let is_self_hosted = base_url.is_some() && provider.reach().needs_network();
                if is_self_hosted && model.weights.is_empty() && model.revision.is_none() && !model.probe {
                    problems.push(
                        Problem::warning("floating-weights", format!("model {name} is known by its address alone: other weights behind it would not be noticed"))
                            .at(model.place.as_ref().unwrap_or(place))
                            .help("weights: out/iter-3 (files on this machine), revision: iter-3, or probe: true (asks the server)"),
                    );
                }
            }
        }
    }
}

fn warn_unused(plan: &Plan, stages: &IndexMap<String, Arc<dyn Stage>>, problems: &mut Vec<Problem>) {
    let spec = &plan.spec;
    let read: BTreeSet<&str> = stages.values().flat_map(|stage| all_reads(&**stage)).map(|(read, _)| read).collect();
    for (name, stage) in stages {
        let message = match stage.makes() {
            Makes::Rows => format!("no stage reads the dataset {name}"),
            Makes::Completions => format!("no stage reads the completions of {name}"),
            Makes::Scores | Makes::Judgements => continue,
        };
        if !read.contains(name.as_str()) {
            problems.push(Problem::warning("unused-stage", message).at(&spec.stages[name].place));
        }
    }
    let is_called = |name: &str| {
        plan.nodes
            .iter()
            .any(|node| node.model.as_deref() == Some(name) || node.callees.iter().any(|(_, callee)| callee == name))
    };
    let is_extended = |name: &str| {
        let models = spec.source.text.lines().filter(|line| line.contains("extends"));
        models
            .clone()
            .any(|line| line.split(|c: char| !(c.is_alphanumeric() || "_-".contains(c))).any(|word| word == name))
    };
    for (name, model) in &spec.models {
        let Some(place) = model.place.as_ref().filter(|place| Arc::ptr_eq(&place.source, &spec.source)) else {
            continue;
        };
        if !is_called(name) && !is_extended(name) {
            problems.push(Problem::warning("unused-model", format!("no stage uses the model {name}")).at(place));
        }
    }
    let templates: Vec<(String, String)> = stages.values().flat_map(|stage| stage.sources()).collect();
    for name in spec.params.keys() {
        let reads = |text: &str| {
            text.contains(&format!("params.{name}"))
                || text.contains(&format!("params['{name}']"))
                || text.contains(&format!("params[\"{name}\"]"))
                || text.contains("params|")
                || text.contains("params |")
        };
        if !reads(&spec.source.text) && !templates.iter().any(|(_, text)| reads(text)) {
            let place = spec.params_place(name);
            problems.push(
                Problem::warning("unused-param", format!("nothing reads the param {name}"))
                    .at(&place)
                    .help(format!("`${{params.{name}}}` in the pipeline, `{{{{ params.{name} }}}}` in a template")),
            );
        }
    }
}

/// Warns about judges that their vendor may replace behind the same name: every score would change with that.
fn warn_floating_judges(workspace: &Workspace, plan: &Plan, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for node in plan.nodes.iter().filter(|node| node.stage.makes() == Makes::Judgements) {
        for (_, name) in &node.callees {
            let Some(model) = plan.spec.models.get(name).filter(|_| seen.insert(name.clone())) else { continue };
            let Some(id) = model.model.as_deref().filter(|_| model.revision.is_none() && model.weights.is_empty())
            else {
                continue;
            };
            // For a model with an address, `floating-weights` says it already.
            let is_hosted = model.settings.text("base_url").is_none()
                && model.settings.text("api_key_env").is_none()
                && build_provider(workspace, name, model, None, &|_| Ok(Digest::of(b"")))
                    .is_ok_and(|provider| provider.reach().needs_network());
            if is_hosted && !is_dated(id) {
                problems.push(
                    Problem::warning("floating-judge", format!("judge {name}: `{id}` is a moving name; when the vendor puts another model behind it, all scores change"))
                        .at(model.place.as_ref().unwrap_or(&plan.spec.stages[&node.stage_name].place))
                        .help("take an id that ends in its date, as the vendor lists them, or say `revision:` what it is now"),
                );
            }
        }
    }
}

/// Returns true for an id that ends in a date or a build: `-2025-04-14`, `-20250929`, `-0613`, `@001`.
fn is_dated(id: &str) -> bool {
    let tail: String = id.chars().rev().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    tail.chars().filter(char::is_ascii_digit).count() >= 4 || id.contains('@')
}

/// Finds columns that are read although no row has them. Reads no more rows than it must.
pub fn check_data(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen_stages: BTreeSet<&str> = BTreeSet::new();
    let mut wanted: BTreeMap<usize, Vec<(String, Place)>> = BTreeMap::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        if node.inputs.is_empty() {
            wanted.entry(index).or_default().extend(node.stage.columns());
        }
        if let Some((_, root)) = node.inputs.iter().find(|(part, _)| *part == Part::Rows)
            && seen_stages.insert(&node.stage_name)
        {
            wanted.entry(*root).or_default().extend(node.stage.columns());
        }
    }
    let callees: BTreeSet<&str> =
        plan.nodes.iter().flat_map(|node| node.callees.iter().map(|(_, model)| model.as_str())).collect();
    for (name, model) in callees.into_iter().filter_map(|name| Some((name, plan.spec.models.get(name)?))) {
        let digest = |path: &std::path::Path| std::fs::metadata(path).map(|_| Digest::of(b""));
        let provider = build_provider(&plan.workspace, name, model, None, &digest);
        if let (Ok(provider), Some(place)) = (provider, &model.place)
            && let Err(message) = provider.check()
        {
            problems.push(Problem::error("bad-model", format!("model {name}: {message}")).at(place));
        }
    }
    for (root, reads) in wanted {
        let node = &plan.nodes[root];
        let spec = &plan.spec.stages[&node.stage_name];
        let mut missing: BTreeSet<String> =
            reads.iter().map(|(column, _)| column.clone()).filter(|column| column != "id").collect();
        let columns = match node.stage.scan(&plan.workspace, &mut missing) {
            Ok(columns) => columns,
            Err(error) => {
                let place = spec.settings.get("path").map_or(&spec.place, |node| &node.place);
                problems.push(Problem::error("bad-data", error.to_string()).at(place));
                continue;
            }
        };
        for (column, place) in &reads {
            if missing.contains(column) {
                let help = suggest(column, &format!("columns of {}", node.name), columns.iter().map(String::as_str));
                let message = format!("no row of {} has a column `{column}`", node.name);
                problems.push(Problem::error("unknown-column", message).at(place).maybe_help(help));
                missing.remove(column);
            }
        }
        for column in missing {
            let place = spec.settings.get("id").map_or(&spec.place, |node| &node.place);
            let help = suggest(&column, &format!("columns of {}", node.name), columns.iter().map(String::as_str));
            problems.push(
                Problem::error("unknown-column", format!("no row of {} has the id column `{column}`", node.name))
                    .at(place)
                    .maybe_help(help),
            );
        }
    }
    problems
}
