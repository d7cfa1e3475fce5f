//! From a pipeline file to a [`PipelineSpec`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::gate::{self, Gate};
use super::model::{self, ModelSpec};
use super::tree::{Node, NodeValue};
use super::workspace::Workspace;
use super::{params, teach, yaml};
use crate::problem::{Place, Problem, Severity, Source, suggest};

/// The largest spec file, in bytes: data belong into datasets.
const MAX_SPEC: u64 = 4 * 1024 * 1024;

const FIELDS: &[&str] = &["etalon", "name", "description", "params", "models", "stages", "gates"];

/// A pipeline as written, with `${…}` and `extends` resolved. Its stages are still trees.
#[derive(Clone, Debug)]
pub struct PipelineSpec {
    pub source: Arc<Source>,
    pub name: String,
    pub description: Option<String>,
    pub params: IndexMap<String, Value>,
    /// The models of the pipeline, then those models of `etalon.toml` that it does not redefine.
    pub models: IndexMap<String, ModelSpec>,
    /// Models with a field that could not be read; their other settings can still be checked.
    pub broken_models: IndexMap<String, ModelSpec>,
    pub stages: IndexMap<String, StageSpec>,
    pub gates: Vec<Gate>,
    /// Names of stages and models that could not be read. A reference to one is not reported as a mistake, since the
    /// definition is reported already.
    pub broken: BTreeSet<String>,
    param_places: BTreeMap<String, Place>,
}

impl PipelineSpec {
    /// Returns where a param is declared.
    pub fn params_place(&self, name: &str) -> Place {
        self.param_places.get(name).cloned().unwrap_or_else(|| Place::start_of(&self.source))
    }
}

/// A stage as written.
#[derive(Clone, Debug)]
pub struct StageSpec {
    pub name: String,
    pub kind: String,
    /// The settings without `kind`.
    pub settings: Node,
    /// The place of the stage's name.
    pub place: Place,
    pub kind_place: Place,
}

/// Loads a pipeline. `sets` are the `--set` overrides.
///
/// `path` is a file as the user typed it, or the name of a file in `pipelines/`. Even with errors a spec may be
/// returned, so that later checks can find more.
pub fn load(workspace: &Workspace, path: &str, sets: &[(String, String)]) -> (Option<PipelineSpec>, Vec<Problem>) {
    let source = match read(workspace, path) {
        Ok(source) => source,
        Err(problem) => return (None, vec![*problem]),
    };
    let (node, mut problems) = yaml::parse(&source);
    let Some(node) = node else {
        return (None, problems);
    };
    let spec = pipeline(workspace, &source, node, sets, &mut problems);
    (spec, problems)
}

fn read(workspace: &Workspace, path: &str) -> Result<Arc<Source>, Box<Problem>> {
    let candidates = [PathBuf::from(path), workspace.path(path), workspace.path(&format!("pipelines/{path}.yaml"))];
    let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) else {
        let pattern = workspace.path("pipelines/*.y*ml");
        let names: Vec<String> = glob::glob(&pattern.to_string_lossy())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|found| Some(found.strip_prefix(&workspace.root).ok()?.to_string_lossy().into_owned()))
            .collect();
        let help = suggest(path, "pipelines there are", names.iter().map(String::as_str))
            .or_else(|| Some("`etalon init` writes one to begin with".to_owned()));
        return Err(Box::new(Problem::error("missing-file", format!("there is no pipeline {path}")).maybe_help(help)));
    };
    let problem = |message: String| Box::new(Problem::error("unreadable-spec", message));
    let path = &*display_path(workspace, found);
    let size = std::fs::metadata(found).map_err(|error| problem(format!("failed to read {path}: {error}")))?.len();
    if size > MAX_SPEC {
        let message = format!("{path} has {size} bytes, a pipeline has at most {MAX_SPEC}");
        return Err(Box::new(problem(message).help("move rows into a dataset file and name it with `path:`")));
    }
    let bytes = std::fs::read(found).map_err(|error| problem(format!("failed to read {path}: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| problem(format!("{path} is not UTF-8 (byte {})", error.utf8_error().valid_up_to())))?;
    Ok(Arc::new(Source { path: display_path(workspace, found), text }))
}

fn display_path(workspace: &Workspace, path: &Path) -> String {
    let inside = |path: &Path| path.strip_prefix(&workspace.root).ok().map(Path::to_owned);
    let relative = inside(path)
        .or_else(|| {
            let absolute = std::fs::canonicalize(path).ok()?;
            let root = std::fs::canonicalize(&workspace.root).ok()?;
            absolute.strip_prefix(root).ok().map(Path::to_owned)
        })
        .unwrap_or_else(|| path.to_owned());
    relative.to_string_lossy().replace('\\', "/").trim_start_matches("./").to_owned()
}

fn pipeline(
    workspace: &Workspace,
    source: &Arc<Source>,
    mut node: Node,
    sets: &[(String, String)],
    problems: &mut Vec<Problem>,
) -> Option<PipelineSpec> {
    if !matches!(node.value, NodeValue::Map(_)) {
        problems.push(
            Problem::error("wrong-type", format!("a pipeline is a map, this is {}", node.sort()))
                .at(&node.place)
                .help("start with `etalon: 1`, `name:` and `stages:`"),
        );
        return None;
    }
    check_fields(&node, problems);
    version(&node, source, problems);
    let param_places = node
        .get("params")
        .map(|params| params.entries().iter().map(|(key, _)| (key.text.clone(), key.place.clone())).collect())
        .unwrap_or_default();
    let params = read_params(&mut node, sets, problems);
    let mut model_nodes = map_of(&mut node, "models", problems);
    for (name, shared) in &workspace.models {
        if !model_nodes.iter().any(|(key, _)| key.text == *name) {
            model_nodes.push((super::Key { text: name.clone(), place: shared.place.clone() }, shared.clone()));
        }
    }
    let mut names = IndexMap::new();
    for (key, mut model) in model_nodes {
        check_name("model", &key, problems);
        params::resolve(&mut model, &params, problems);
        names.insert(key.text, model);
    }
    let (models, broken_models) = model::resolve(&names, problems);
    let mut broken: BTreeSet<String> = names.keys().filter(|name| !models.contains_key(*name)).cloned().collect();
    let stages = read_stages(&mut node, &params, problems, source, &mut broken);
    let gates = read_gates(&mut node, &params, problems);
    let name = match node.get("name") {
        Some(name) if name.as_text().is_some_and(is_file_name) => name.as_text().unwrap_or_default().to_owned(),
        Some(name) => {
            problems.push(
                Problem::error("wrong-value", "`name` is text of letters, digits, `-`, `_` and `.`")
                    .at(&name.place)
                    .help("it becomes part of run ids: `name: support-ab`"),
            );
            "unnamed".to_owned()
        }
        None => Path::new(&source.path)
            .file_stem()
            .map_or_else(|| "unnamed".to_owned(), |stem| stem.to_string_lossy().into_owned()),
    };
    let description = node.get("description").filter(|node| !node.is_null());
    if let Some(other) = description.filter(|node| node.as_text().is_none()) {
        let message = format!("`description` is {}, expected text", other.sort());
        problems.push(Problem::error("wrong-type", message).at(&other.place));
    }
    let description = description.and_then(Node::as_text).map(str::to_owned);
    Some(PipelineSpec {
        source: source.clone(),
        name,
        description,
        params,
        models,
        broken_models,
        stages,
        gates,
        broken,
        param_places,
    })
}

/// Finds fields that a pipeline does not have.
fn check_fields(node: &Node, problems: &mut Vec<Problem>) {
    for (key, _) in node.entries() {
        if !FIELDS.contains(&key.text.as_str()) {
            let help = match teach::alias(&key.text, FIELDS) {
                Some(name) => Some(format!("it is called `{name}` here")),
                None => suggest(&key.text, "it may have", FIELDS.iter().copied()),
            };
            problems.push(
                Problem::error("unknown-field", format!("a pipeline has no field `{}`", key.text))
                    .at(&key.place)
                    .maybe_help(help),
            );
        }
    }
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

fn version(node: &Node, source: &Arc<Source>, problems: &mut Vec<Problem>) {
    match node.get("etalon") {
        Some(version) if version.to_json() == 1 => {}
        Some(version) => problems.push(
            Problem::error("unknown-version", "this etalon reads pipelines of version 1")
                .at(&version.place)
                .help("write `etalon: 1`"),
        ),
        None => problems.push(
            Problem::error("missing-field", "a pipeline needs `etalon`, the version of its language")
                .at(&Place::start_of(source))
                .help("write `etalon: 1` in its first line"),
        ),
    }
}

/// Takes a map out of the tree; returns its entries in order.
fn map_of(node: &mut Node, field: &str, problems: &mut Vec<Problem>) -> Vec<(super::Key, Node)> {
    match node.remove(field) {
        None => Vec::new(),
        Some(Node { value: NodeValue::Map(entries), .. }) => entries,
        Some(other) if other.is_null() => Vec::new(),
        Some(other) => {
            problems.push(
                Problem::error("wrong-type", format!("`{field}` is {}, expected a map of names", other.sort()))
                    .at(&other.place)
                    .maybe_help(teach::as_map(field, &other)),
            );
            Vec::new()
        }
    }
}

fn check_name(what: &str, key: &super::Key, problems: &mut Vec<Problem>) {
    let mut chars = key.text.chars();
    let is_name = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !is_name || key.text == "_" {
        let fixed: String =
            key.text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let fixed = if fixed.starts_with(|c: char| c.is_ascii_alphabetic()) {
            fixed
        } else {
            format!("{what}_{}", fixed.trim_matches('_'))
        };
        problems.push(
            Problem::error("bad-name", format!("`{}` cannot be the name of a {what}", key.text))
                .at(&key.place)
                .help(format!("letters, digits, `_` and `-`, starting with a letter: `{fixed}`")),
        );
    }
}

fn read_params(node: &mut Node, sets: &[(String, String)], problems: &mut Vec<Problem>) -> IndexMap<String, Value> {
    let mut params = IndexMap::new();
    for (key, value) in map_of(node, "params", problems) {
        check_name("param", &key, problems);
        params.insert(key.text, value.to_json());
    }
    for (name, text) in sets {
        let Some(default) = params.get(name) else {
            let help = suggest(name, "params there are", params.keys().map(String::as_str))
                .unwrap_or_else(|| "the pipeline declares no params".to_owned());
            problems.push(Problem::error("unknown-param", format!("--set {name}: there is no such param")).help(help));
            continue;
        };
        let typed = value_of(text);
        let value = match (default, typed) {
            (Value::String(_), _) => Value::String(text.clone()),
            (_, Some(typed)) => typed,
            (_, None) => Value::String(text.clone()),
        };
        let same_sort = default.is_null() || std::mem::discriminant(default) == std::mem::discriminant(&value);
        if !same_sort {
            problems.push(Problem::error(
                "wrong-type",
                format!("--set {name}={text}: the param is {default}, so a value of that type is expected"),
            ));
            continue;
        }
        params.insert(name.clone(), value);
    }
    params
}

/// Reads a value from the command line as YAML; none if it is not valid YAML.
pub fn value_of(text: &str) -> Option<Value> {
    let source = Arc::new(Source { path: "value".to_owned(), text: format!("value: {text}") });
    yaml::parse(&source).0.and_then(|mut tree| tree.remove("value")).map(|node| node.to_json())
}

fn read_stages(
    node: &mut Node,
    params: &IndexMap<String, Value>,
    problems: &mut Vec<Problem>,
    source: &Arc<Source>,
    broken: &mut BTreeSet<String>,
) -> IndexMap<String, StageSpec> {
    let had_stages = node.get("stages").is_some();
    let entries = map_of(node, "stages", problems);
    if entries.is_empty()
        && !problems.iter().any(|problem| problem.severity == Severity::Error && problem.message.contains("`stages`"))
    {
        let message = if had_stages { "`stages` is empty" } else { "a pipeline needs `stages`" };
        let help = "begin with a dataset: `stages: { rows: { kind: dataset, path: data/rows.jsonl } }`";
        problems.push(Problem::error("missing-field", message).at(&Place::start_of(source)).help(help));
    }
    let mut stages = IndexMap::new();
    for (key, mut settings) in entries {
        check_name("stage", &key, problems);
        params::resolve(&mut settings, params, problems);
        if !matches!(settings.value, NodeValue::Map(_)) {
            problems.push(
                Problem::error("wrong-type", format!("stage {} is {}, expected a map", key.text, settings.sort()))
                    .at(&settings.place),
            );
            broken.insert(key.text);
            continue;
        }
        let Some(kind) = settings.remove("kind") else {
            problems.push(
                Problem::error("missing-field", format!("stage {} needs `kind`", key.text)).at(&key.place).help(
                    match settings.get("type").and_then(Node::as_text) {
                        Some(kind) => format!("`kind: {kind}` instead of `type: {kind}`"),
                        None => "kind: dataset, inference, metric or judge".to_owned(),
                    },
                ),
            );
            broken.insert(key.text);
            continue;
        };
        let Some(kind_text) = kind.as_text() else {
            problems.push(Problem::error("wrong-type", format!("stage {}: `kind` is text", key.text)).at(&kind.place));
            broken.insert(key.text);
            continue;
        };
        let stage = StageSpec {
            name: key.text.clone(),
            kind: kind_text.to_owned(),
            settings,
            place: key.place,
            kind_place: kind.place,
        };
        stages.insert(key.text, stage);
    }
    stages
}

fn read_gates(node: &mut Node, params: &IndexMap<String, Value>, problems: &mut Vec<Problem>) -> Vec<Gate> {
    let Some(mut gates) = node.remove("gates") else {
        return Vec::new();
    };
    params::resolve(&mut gates, params, problems);
    let NodeValue::List(items) = gates.value else {
        if !gates.is_null() {
            let message = format!("`gates` is {}, expected a list", gates.sort());
            let help = gates
                .as_text()
                .map_or("gates: [stage.model.metric >= 0.8]".to_owned(), |text| format!("gates: [\"{text}\"]"));
            problems.push(Problem::error("wrong-type", message).at(&gates.place).help(help));
        }
        return Vec::new();
    };
    let mut parsed = Vec::new();
    for item in &items {
        let result = match item.as_text() {
            Some(text) => gate::parse(text, &item.place),
            None => Err(Problem::error("bad-gate", format!("a gate is text, this is {}", item.sort())).at(&item.place)),
        };
        match result {
            Ok(gate) => parsed.push(gate),
            Err(problem) => problems.push(problem),
        }
    }
    parsed
}
