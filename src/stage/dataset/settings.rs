//! The settings of a dataset stage, and what can be wrong with them.

use std::sync::Arc;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::node::Dataset;
use super::quality::{Dedupe, Leakage, Quality};
use super::sample::{Sample, Split, Strategy};
use super::shape::{OnBadRow, Required, Shape};
use super::source::{self, Source};
use super::types::{ColumnType, WantedType};
use crate::dataset::{self, FORMATS, Format, HubDataset, format_of};
use crate::encoder::{self, ModelFolder};
use crate::files::is_glob;
use crate::problem::{Place, Problem, suggest};
use crate::process::{Program, unseen};
use crate::spec::{OneOrMany, RowsRole, ShortOr, StageSpec, decode};
use crate::stage::prompt::Prompt;
use crate::stage::{Scope, Stage};

/// Rows with stable ids.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::stage) struct Settings {
    /// File of rows, from the workspace: .jsonl, .json, .csv, .tsv or .parquet, the first four also
    /// with .gz or .zst behind. A glob such as `data/*.jsonl` takes several.
    path: Option<String>,
    /// Rows written in the pipeline itself.
    rows: Option<Vec<Map<String, Value>>>,
    /// Program that prints rows: a line for the shell, or a list of program and arguments. It runs in
    /// the workspace.
    command: Option<OneOrMany>,
    /// Files or globs that the command reads; their content enters the key. A command whose words do not say what it
    /// runs (`python3 -m rows`, `a | b`) needs them; `[]` where there is none.
    files: Option<OneOrMany>,
    /// Dataset of the Hugging Face hub: its name, or a map with split, config, revision and file.
    hf: Option<ShortOr<String, HubDataset>>,
    /// What the rows are written in, where the extension does not tell: jsonl, json, csv, tsv,
    /// parquet, or trainer_state (the log of a trainer, an entry a row). What a command prints is
    /// jsonl unless said.
    #[serde(default)]
    #[schemars(schema_with = "formats")]
    format: Option<String>,
    /// Column whose values are the ids; they must be unique. Without it an id is the digest of the
    /// row.
    id: Option<String>,
    /// Columns to call otherwise: `{ old: new }`.
    #[serde(default)]
    rename: IndexMap<String, String>,
    /// Columns of text made into what they are: `{ score: number, easy: boolean }`. Types are text, integer, number,
    /// boolean, list and map; empty text becomes null. A value that is none is a bad row.
    #[serde(default)]
    types: IndexMap<String, ColumnType>,
    /// New columns, or new values of old ones, by template over `row`: `{ words: "{{ row.text |
    /// split | length }}" }`. A value that is one `{{ … }}` keeps its type; later ones see earlier ones.
    #[serde(default)]
    derive: IndexMap<String, Value>,
    /// Columns that every row must have: a list of names, or a map of names to types (any, text,
    /// integer, number, boolean, list, map; with `?` behind it may be absent).
    #[schemars(example = serde_json::json!({ "question": "text", "score": "number", "note": "text?" }))]
    require: Option<ShortOr<Vec<String>, IndexMap<String, WantedType>>>,
    /// Expression over `row`; rows for which it does not hold are left out: `row.lang == "en"`.
    #[serde(rename = "where")]
    filter: Option<String>,
    /// What to do with rows that cannot be read or lack what is required: fail (unless said), or
    /// skip and count them.
    #[serde(default)]
    on_bad_row: OnBadRow,
    /// Cuts the dataset into parts, by digest of the ids, and uses one of them.
    split: Option<Split>,
    /// Leaves rows out that stand there already: a column or a list of them, or a map with `near` for
    /// near-duplicates.
    dedupe: Option<ShortOr<OneOrMany<String, 1>, Dedupe>>,
    /// Looks for rows that stand in training data, and marks or drops them.
    leakage: Option<Leakage>,
    /// Uses some of the rows.
    sample: Option<Sample>,
    /// What the rows are for: heldout (unless said), training, or general. `diagnose` compares stages over them, and
    /// `export --to sft` takes training rows only.
    #[serde(default)]
    role: RowsRole,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

/// Describes `format`: what there is, whether this etalon was built with it or not.
fn formats(_: &mut SchemaGenerator) -> Schema {
    let mut names: Vec<Value> = FORMATS.iter().map(|format| format.name.into()).collect();
    names.extend((!names.contains(&PARQUET.into())).then(|| PARQUET.into()));
    names.push(Value::Null);
    json_schema!({ "type": ["string", "null"], "enum": names })
}

pub(in crate::stage) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    let settings: Settings = decode(&spec.settings, &format!("stage {}", spec.name))?;
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place);
    let mut problems = Vec::new();
    let mut shape = Shape { id: settings.id.clone(), ..Shape::default() };
    shape.rename = settings.rename.clone().into_iter().collect();
    shape.types = settings.types.clone().into_iter().collect();
    if let Some(node) = spec.settings.get("derive") {
        shape.derive = Shape::load_derive(scope, &settings.derive, node, &mut problems);
    }
    if let (Some(require), Some(node)) = (&settings.require, spec.settings.get("require")) {
        shape.require = Required::all(require, node);
    }
    if let Some(text) = &settings.filter {
        match Prompt::load_expression(scope, "where", text, place("where"), &["row"]) {
            Ok(prompt) => shape.set_filter(prompt),
            Err(found) => problems.extend(found),
        }
    }
    let mut places: Vec<(String, Place)> = shape.prompts().flat_map(Prompt::columns).collect();
    if let Some(node) = spec.settings.get("types") {
        places.extend(settings.types.keys().map(|column| (column.clone(), node.place_of(column).clone())));
    }
    places.extend(
        shape.require.iter().filter(|required| !required.is_optional).map(|r| (r.column.clone(), r.place.clone())),
    );
    if let (Some(split), Some(node)) = (&settings.split, spec.settings.get("split")) {
        split.check(node, &mut problems);
        places.extend(split.by.iter().map(|column| (column.clone(), node.place_of("by").clone())));
    }
    shape.split = settings.split.clone();
    if let (Some(sample), Some(node)) = (&settings.sample, spec.settings.get("sample")) {
        sample.check(node, &mut problems);
        places.extend(sample.by.iter().map(|column| (column.clone(), node.place_of("by").clone())));
        places.extend(sample.strata.iter().map(|column| (column.clone(), node.place_of("strata").clone())));
        if sample.strategy == Strategy::Stratified {
            shape.strata = sample.by.to_vec();
        }
    }
    let (sample, on_bad_row, role) = (settings.sample.clone(), settings.on_bad_row, settings.role);
    let mut encoder = None;
    if let (Some(sample), Some(node)) = (&sample, spec.settings.get("sample"))
        && let Some(name) = sample.model.as_ref().filter(|_| sample.strategy == Strategy::Diverse)
    {
        let at = node.place_of("model");
        if !cfg!(feature = "local") {
            problems.push(Problem::error("wrong-value", encoder::WITHOUT_LOCAL).at(at).help(encoder::LOCAL_HELP));
        }
        match ModelFolder::find(name, &scope.workspace.root) {
            Ok(model) => encoder = Some(model),
            Err(message) => problems.push(Problem::error("missing-file", message).at(at)),
        }
    }
    let looked_for = (settings.dedupe.clone().map(ShortOr::into_full), settings.leakage.clone());
    let quality = Quality::parse(scope, looked_for, &spec.settings, &mut problems);
    if let Some(quality) = &quality {
        places.extend(quality.columns(&spec.settings));
    }
    let source = parse_source(spec, scope, settings, &mut problems);
    match source {
        Some(source) if problems.is_empty() => {
            Ok(Arc::new(Dataset { source, shape, quality, sample, encoder, on_bad_row, role, places }))
        }
        _ => Err(problems),
    }
}

/// Fields that name a source; a dataset has exactly one of them.
const SOURCES: &[&str] = &["path", "rows", "command", "hf"];

fn parse_source(
    spec: &StageSpec,
    scope: &Scope<'_>,
    settings: Settings,
    problems: &mut Vec<Problem>,
) -> Option<Source> {
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place);
    let given: Vec<&str> = SOURCES.iter().copied().filter(|field| spec.settings.get(field).is_some()).collect();
    if given.len() != 1 {
        problems.push(match given.as_slice() {
            [] => Problem::error("missing-field", format!("stage {} needs one of {}", spec.name, SOURCES.join(", ")))
                .at(&spec.place)
                .help("path: data/rows.jsonl"),
            [first, second, ..] => {
                Problem::error("conflict", format!("stage {} has `{first}` and `{second}`; one is enough", spec.name))
                    .at(place(second))
            }
            [_] => unreachable!("one is enough"),
        });
        return None;
    }
    if settings.files.is_some() && settings.command.is_none() {
        problems.push(Problem::error("conflict", "`files` belongs to `command`").at(place("files")));
    }
    let format = match &settings.format {
        None => None,
        Some(name) => match dataset::find(name) {
            Some(format) => Some(format),
            None => {
                problems.push(unknown_format(name).at(place("format")));
                return None;
            }
        },
    };
    if let Some(pattern) = settings.path {
        if let Some(problem) = wrong_path(scope, &pattern, format) {
            problems.push(problem.at(place("path")));
        }
        return Some(Source::Files { pattern, format });
    }
    if let Some(dataset) = settings.hf.map(ShortOr::into_full) {
        let is_name = dataset.repo.split('/').count() <= 2
            && dataset.repo.split('/').all(|part| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
            });
        if !is_name {
            problems.push(
                Problem::error("wrong-value", format!("`{}` is no dataset of the hub", dataset.repo))
                    .at(place("hf"))
                    .help("owner and name, as in the address of its page: `hf: openai/gsm8k`"),
            );
        }
        return Some(Source::Hub { dataset, format });
    }
    if let Some(program) = settings.command.map(Program::from) {
        if let Some(name) = program.missing(&scope.workspace.root) {
            problems.push(
                Problem::error("missing-program", format!("there is no program `{name}`"))
                    .at(place("command"))
                    .help("a name is looked up in PATH, a path with `/` starts at the workspace"),
            );
        }
        if let (None, Some(why)) = (&settings.files, program.unseen(Some(&scope.workspace.root))) {
            problems.push(unseen(&format!("stage {}", spec.name), &why, place("command")));
        }
        let patterns = settings.files.map(OneOrMany::into_vec).unwrap_or_default();
        for (index, pattern) in patterns.iter().enumerate() {
            let names = source::files(scope.workspace, pattern);
            if names.iter().all(|name| !scope.workspace.path(name).is_file()) {
                let at = spec.settings.nearest(&["files".to_owned(), index.to_string()]);
                problems.push(missing_file(scope, pattern).at(&at.place));
            }
        }
        let format = format.unwrap_or(&FORMATS[0]);
        return Some(Source::Command { program, format, files: patterns });
    }
    Some(Source::Rows(settings.rows.unwrap_or_default()))
}

/// Returns what is wrong with the files that `path` names.
fn wrong_path(scope: &Scope<'_>, pattern: &str, format: Option<&'static Format>) -> Option<Problem> {
    let names = source::files(scope.workspace, pattern);
    if names.is_empty() {
        let help = "a glob starts at the workspace, the directory with etalon.toml: `data/*.jsonl`";
        return Some(Problem::error("missing-file", format!("no file matches {pattern}")).help(help));
    }
    if !is_glob(pattern) && !scope.workspace.path(pattern).is_file() {
        if !scope.workspace.path(pattern).is_dir() {
            return Some(missing_file(scope, pattern));
        }
        let folder = pattern.trim_end_matches('/');
        let help = format!("a glob takes its files: `path: {folder}/*.jsonl`");
        return Some(Problem::error("missing-file", format!("{pattern} is a folder")).help(help));
    }
    if let Some(refused) = names.iter().find_map(|name| scope.workspace.refusal(name)) {
        return Some(refused);
    }
    let name = names.iter().find(|name| format.is_none() && format_of(name).is_none())?;
    Some(without_format(name))
}

fn unknown_format(name: &str) -> Problem {
    if name == PARQUET {
        return Problem::error("unknown-format", "this etalon was built without Parquet").help(PARQUET_HELP);
    }
    let help = suggest(name, "formats there are", FORMATS.iter().map(|format| format.name));
    Problem::error("unknown-format", format!("there is no format `{name}`")).maybe_help(help)
}

/// The name of a format, and of the cargo feature that builds it in.
const PARQUET: &str = "parquet";
const PARQUET_HELP: &str = "build it with `cargo install --path . --features parquet`";

pub(super) fn without_format(name: &str) -> Problem {
    if name.to_lowercase().ends_with(".parquet") {
        let message = format!("`{name}` is Parquet, and this etalon was built without it");
        return Problem::error("unknown-format", message).help(PARQUET_HELP);
    }
    // Parquet is handled apart: its files are compressed inside, and a build may lack it.
    let extensions = FORMATS.iter().flat_map(|format: &Format| format.extensions).copied();
    let known: Vec<&str> = extensions.filter(|extension| *extension != PARQUET).collect();
    Problem::error("unknown-format", format!("`{name}` has no extension that etalon reads")).help(format!(
        "it reads .{}, plain or with .gz or .zst behind, and .parquet; `format: jsonl` says what it is",
        known.join(", .")
    ))
}

pub(super) fn missing_file(scope: &Scope<'_>, path: &str) -> Problem {
    let directory =
        std::path::Path::new(path).parent().map(|parent| scope.workspace.root.join(parent)).unwrap_or_default();
    let siblings: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| std::path::Path::new(path).with_file_name(entry.file_name()).to_string_lossy().into_owned())
        .collect();
    let help = crate::problem::did_you_mean(path, siblings.iter().map(String::as_str))
        .unwrap_or_else(|| "paths start at the workspace, the directory with etalon.toml".to_owned());
    Problem::error("missing-file", format!("there is no file {path}")).help(help)
}
