//! `dataset`: rows with stable ids, from files, from the spec or from a program; sorted by id.
//!
//! ```text
//! source → records → shape (rename, derive, require, where, id, split)
//!        → dedupe, leakage → sample → sorted → artifact
//! ```
//!
//! Records are parsed and shaped on all cores, a batch at a time, and stay in order.

mod diverse;
mod quality;
mod sample;
mod shape;
mod source;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use quality::LEAKAGE;
use quality::{Candidate, Dedupe, Leakage, Quality};
pub use sample::quotas;
use sample::{Drawing, Sample, Split, Strategy, group};
use shape::{Required, Shape, Shaped};
use source::{Opened, Source};

use super::prompt::Prompt;
use super::{Facts, Input, Job, Produced, Scope, Stage, StageError, coverage};
use crate::dataset::{self, BadRow, FORMATS, Format, HubDataset, Record, Records, format_of};
use crate::digest::{Digest, canonical_text};
use crate::encoder::{self, ModelFolder};
use crate::problem::{Place, Problem, suggest};
use crate::program::{Program, is_glob};
use crate::score::{Summary, Unit};
use crate::spec::{OneOrMany, StageSpec, Workspace, decode, one_or_many};
use crate::store::{ColumnDigests, Counts, Fingerprint, Sorter};

const REVISION: u32 = 1;
/// Bytes of rows that are worked on side by side.
const BATCH_BYTES: usize = 1 << 20;
/// Rows that `check` looks at; what is wrong behind them is found by a plan.
const MAX_CHECKED: usize = 200_000;
/// Bad rows shown.
const MAX_BAD_ROWS: usize = 20;

/// Rows with stable ids.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// File of rows, from the workspace: .jsonl, .json, .csv, .tsv or .parquet, the first four also
    /// with .gz or .zst behind. A glob such as `data/*.jsonl` takes several.
    path: Option<String>,
    /// Rows written in the pipeline itself.
    rows: Option<Vec<Map<String, Value>>>,
    /// Program that prints rows: a line for the shell, or a list of program and arguments. It runs in
    /// the workspace.
    #[serde(default, deserialize_with = "some_command")]
    #[schemars(with = "Option<OneOrMany>")]
    command: Option<Program>,
    /// Files or globs that the command reads; their content enters the key.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    files: Vec<String>,
    /// Dataset of the Hugging Face hub: its name, or a map with split, config, revision and file.
    #[serde(default, deserialize_with = "some_hub")]
    #[schemars(with = "Option<HubShape>")]
    hf: Option<HubDataset>,
    /// What the rows are written in, where the extension does not tell: jsonl, json, csv, tsv,
    /// parquet, or trainer_state (the log of a trainer, an entry a row). What a command prints is
    /// jsonl unless said.
    format: Option<String>,
    /// Column whose values are the ids; they must be unique. Without it an id is the digest of the
    /// row.
    id: Option<String>,
    /// Columns to call otherwise: `{ old: new }`.
    #[serde(default)]
    rename: IndexMap<String, String>,
    /// New columns, or new values of old ones, by template over `row`: `{ words: "{{ row.text |
    /// split | length }}" }`. A value that is one `{{ … }}` keeps its type; later ones see earlier ones.
    #[serde(default, rename = "derive")]
    _derive: IndexMap<String, Value>,
    /// Columns that every row must have: a list of names, or a map of names to types (any, text,
    /// integer, number, boolean, list, map; with `?` behind it may be absent).
    #[serde(rename = "require")]
    _require: Option<Value>,
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
    #[serde(default, deserialize_with = "some_dedupe")]
    #[schemars(with = "Option<DedupeShape>")]
    dedupe: Option<Dedupe>,
    /// Looks for rows that stand in training data, and marks or drops them.
    leakage: Option<Leakage>,
    /// Uses some of the rows.
    sample: Option<Sample>,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnBadRow {
    #[default]
    Fail,
    Skip,
}

fn some_command<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Program>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(line) => Some(Program::Shell(line)),
        other => Some(Program::Direct(one_or_many(other).map_err(serde::de::Error::custom)?)),
    })
}

/// The shape of `hf`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `some_hub` reads")]
enum HubShape {
    Name(String),
    Full(HubDataset),
}

fn some_hub<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<HubDataset>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(repo) => Ok(Some(HubDataset::named(&repo))),
        other => HubDataset::deserialize(other).map(Some).map_err(serde::de::Error::custom),
    }
}

/// The shape of `dedupe`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `some_dedupe` reads")]
enum DedupeShape {
    Columns(OneOrMany),
    Full(Dedupe),
}

fn some_dedupe<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Dedupe>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        columns @ (Value::String(_) | Value::Array(_)) => {
            one_or_many(columns).map(|by| Some(Dedupe::of_columns(by))).map_err(serde::de::Error::custom)
        }
        other => Dedupe::deserialize(other).map(Some).map_err(serde::de::Error::custom),
    }
}

struct Dataset {
    source: Source,
    shape: Shape,
    quality: Option<Quality>,
    sample: Option<Sample>,
    /// The encoder of a diverse sample.
    encoder: Option<ModelFolder>,
    on_bad_row: OnBadRow,
    /// Where the columns that the shape reads by name stand.
    places: Vec<(String, Place)>,
}

pub(super) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    let settings: Settings = decode(&spec.settings, &format!("stage {}", spec.name))?;
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place);
    let mut problems = Vec::new();
    let mut shape = Shape { id: settings.id.clone(), ..Shape::default() };
    shape.rename = settings.rename.clone().into_iter().collect();
    if let Some(node) = spec.settings.get("derive") {
        shape.derive = Shape::load_derive(scope, node, &mut problems);
    }
    if let Some(node) = spec.settings.get("require") {
        shape.require = Required::parse(node, &mut problems);
    }
    if let Some(text) = &settings.filter {
        match Prompt::load_expression(scope, "where", text, place("where"), &["row"]) {
            Ok(prompt) => shape.filter = Some(prompt),
            Err(found) => problems.extend(found),
        }
    }
    let mut places: Vec<(String, Place)> = shape.prompts().flat_map(Prompt::columns).collect();
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
            shape.strata = sample.by.clone();
        }
    }
    let (sample, on_bad_row) = (settings.sample.clone(), settings.on_bad_row);
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
    let looked_for = (settings.dedupe.clone(), settings.leakage.clone());
    let quality = Quality::parse(scope, looked_for, &spec.settings, &mut problems);
    if let Some(quality) = &quality {
        places.extend(quality.columns(&spec.settings));
    }
    let source = parse_source(spec, scope, settings, &mut problems);
    match source {
        Some(source) if problems.is_empty() => {
            Ok(Arc::new(Dataset { source, shape, quality, sample, encoder, on_bad_row, places }))
        }
        _ => Err(problems),
    }
}

/// Fields of which a dataset has one.
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
    if !settings.files.is_empty() && settings.command.is_none() {
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
        let names = source::files(scope.workspace, &pattern);
        if names.is_empty() {
            let help = "a glob starts at the workspace, the directory with etalon.toml: `data/*.jsonl`";
            problems.push(
                Problem::error("missing-file", format!("no file matches {pattern}")).at(place("path")).help(help),
            );
        } else if !is_glob(&pattern) && !scope.workspace.path(&pattern).is_file() {
            let problem = if scope.workspace.path(&pattern).is_dir() {
                let folder = pattern.trim_end_matches('/');
                Problem::error("missing-file", format!("{pattern} is a folder"))
                    .help(format!("a glob takes its files: `path: {folder}/*.jsonl`"))
            } else {
                missing_file(scope, &pattern)
            };
            problems.push(problem.at(place("path")));
        } else if let Some(name) = names.iter().find(|name| format.is_none() && format_of(name).is_none()) {
            problems.push(without_format(name).at(place("path")));
        }
        return Some(Source::Files { pattern, format });
    }
    if let Some(dataset) = settings.hf {
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
    if let Some(program) = settings.command {
        if let Some(name) = program.missing(&scope.workspace.root) {
            problems.push(
                Problem::error("missing-program", format!("there is no program `{name}`"))
                    .at(place("command"))
                    .help("a name is looked up in PATH, a path with `/` starts at the workspace"),
            );
        }
        for (index, pattern) in settings.files.iter().enumerate() {
            let names = source::files(scope.workspace, pattern);
            if names.iter().all(|name| !scope.workspace.path(name).is_file()) {
                let at = spec.settings.nearest(&["files".to_owned(), index.to_string()]);
                problems.push(missing_file(scope, pattern).at(&at.place));
            }
        }
        let format = format.unwrap_or(&FORMATS[0]);
        return Some(Source::Command { program, format, files: settings.files });
    }
    Some(Source::Rows(settings.rows.unwrap_or_default()))
}

fn unknown_format(name: &str) -> Problem {
    if name == "parquet" {
        return Problem::error("unknown-format", "this etalon was built without Parquet").help(PARQUET_HELP);
    }
    let help = suggest(name, "formats there are", FORMATS.iter().map(|format| format.name));
    Problem::error("unknown-format", format!("there is no format `{name}`")).maybe_help(help)
}

const PARQUET_HELP: &str = "build it with `cargo install --path . --features parquet`";

fn without_format(name: &str) -> Problem {
    if name.to_lowercase().ends_with(".parquet") {
        let message = format!("`{name}` is Parquet, and this etalon was built without it");
        return Problem::error("unknown-format", message).help(PARQUET_HELP);
    }
    // Parquet is told apart: it is compressed by itself, and a feature.
    let extensions = FORMATS.iter().flat_map(|format: &Format| format.extensions).copied();
    let known: Vec<&str> = extensions.filter(|extension| *extension != "parquet").collect();
    Problem::error("unknown-format", format!("`{name}` has no extension that etalon reads")).help(format!(
        "it reads .{}, plain or with .gz or .zst behind, and .parquet; `format: jsonl` says what it is",
        known.join(", .")
    ))
}

fn missing_file(scope: &Scope<'_>, path: &str) -> Problem {
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

/// Bad rows seen so far, for people.
#[derive(Default)]
struct BadRows {
    count: u64,
    shown: Vec<String>,
    /// Nobody has looked behind the last of them.
    is_cut: bool,
}

impl BadRows {
    fn add(&mut self, place: &dyn Fn(u64) -> String, bad: &BadRow) {
        self.count += 1;
        if self.shown.len() < MAX_BAD_ROWS {
            self.shown.push(format!("{}: {}", place(bad.line), bad.message));
        }
    }

    fn text(&self, what: &str) -> String {
        if let ([only], "", 1) = (self.shown.as_slice(), what, self.count) {
            return only.clone();
        }
        let counted = if self.count == 1 { "a bad row".to_owned() } else { format!("{} bad rows", self.count) };
        let more = if self.count > self.shown.len() as u64 { "\n  …" } else { "" };
        let counted = if self.is_cut { format!("more than {MAX_BAD_ROWS} bad rows") } else { counted };
        format!("{counted}{what}:\n  {}{more}", self.shown.join("\n  "))
    }
}

/// What was left out on the way.
#[derive(Default)]
struct LeftOut {
    bad: BadRows,
    filtered: u64,
    elsewhere: u64,
}

impl Dataset {
    /// Reads, shapes and samples; what is kept stands in the sorter under its id.
    fn read<'a>(&self, job: &'a Job, notes: &mut Vec<String>, left_out: &mut LeftOut) -> Result<Kept<'a>, StageError> {
        let opened = self.source.open(&job.workspace)?;
        let name = opened.name();
        let Opened { mut records, names } = opened;
        let place = |number: u64| source::place(&names, number);
        let mut kept = job.store.sorter();
        let limit = job.limit.unwrap_or(u64::MAX);
        let size = self.sample.as_ref().map_or(u64::MAX, |sample| sample.size);
        let mut drawing =
            self.sample.clone().filter(Sample::is_drawn).map(|sample| Drawing::new(sample, job.store.sorter()));
        // What compares rows with each other wants all of them, in the order of their ids.
        let is_diverse = self.sample.as_ref().is_some_and(|sample| sample.strategy == Strategy::Diverse);
        let mut all = (self.quality.is_some() || is_diverse).then(|| job.store.sorter());
        let mut count = 0u64;
        let mut next = take_batch(&mut records);
        'all: while !next.is_empty() {
            let batch = next;
            let (following, shaped) = rayon::join(
                || take_batch(&mut records),
                || -> Vec<Result<Shaped, BadRow>> {
                    batch.into_par_iter().with_min_len(64).map(|record| self.shape.apply(record?)).collect()
                },
            );
            next = following;
            for shaped in shaped {
                let taken = match shaped {
                    Ok(Shaped::Row(taken)) => taken,
                    Ok(Shaped::Filtered) => {
                        left_out.filtered += 1;
                        continue;
                    }
                    Ok(Shaped::Elsewhere) => {
                        left_out.elsewhere += 1;
                        continue;
                    }
                    Err(bad) => {
                        left_out.bad.add(&place, &bad);
                        if bad.is_end {
                            return Err(StageError::failed(left_out.bad.text("")));
                        }
                        let is_enough = self.on_bad_row == OnBadRow::Fail && left_out.bad.count > MAX_BAD_ROWS as u64;
                        if is_enough {
                            left_out.bad.is_cut = true;
                            break 'all;
                        }
                        continue;
                    }
                };
                if let Some(all) = &mut all {
                    all.push(&taken.id, &taken.line)?;
                    continue;
                }
                if let Some(drawing) = &mut drawing {
                    drawing.push(&taken.stratum, &taken.id, &taken.line)?;
                    continue;
                }
                kept.push(&taken.id, &taken.line)?;
                count += 1;
                let may_stop = left_out.bad.count == 0 || self.on_bad_row == OnBadRow::Skip;
                if may_stop && count >= size.min(limit) {
                    break 'all;
                }
            }
            if job.stop.load(Ordering::Relaxed) {
                return Err(StageError::Interrupted);
            }
        }
        if left_out.bad.count > 0 {
            if self.on_bad_row == OnBadRow::Fail {
                return Err(StageError::failed(format!(
                    "{}\n`on_bad_row: skip` leaves them out and counts them",
                    left_out.bad.text("")
                )));
            }
            notes.push(left_out.bad.text(" skipped"));
        }
        let mut summary = Summary::default();
        if let Some(all) = all {
            let rows = self.refine(job, all, size.min(limit), &mut summary, notes)?;
            for row in rows {
                match &mut drawing {
                    Some(drawing) => drawing.push(&group(&row.columns(), &self.shape.strata), &row.id, &row.line)?,
                    None => {
                        kept.push(&row.id, &row.line)?;
                        count += 1;
                    }
                }
            }
        }
        if let Some(drawing) = drawing {
            drawing.finish(limit, |id, line| {
                count += 1;
                kept.push(id, line)
            })?;
        }
        if left_out.filtered > 0 {
            notes.push(format!("`where` leaves out {} rows", left_out.filtered));
        }
        if let (Some(sample), true) = (&self.sample, count < size.min(limit)) {
            notes.push(format!("{name} has {count} rows, fewer than the sample of {}", sample.size));
        }
        if count == 0 {
            notes.push(format!("{name} has no rows"));
        }
        Ok(Kept { sorter: kept, names, summary })
    }

    /// Compares the rows with each other and with training data, and takes a sample that is not drawn:
    /// at most `size` rows.
    fn refine(
        &self,
        job: &Job,
        all: Sorter<'_>,
        size: u64,
        summary: &mut Summary,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Candidate>, StageError> {
        let (mut lines, mut id, mut line) = (all.finish()?, String::new(), Vec::new());
        let mut rows = Vec::new();
        while lines.next_into(&mut id, &mut line)? {
            rows.push(Candidate { id: id.clone(), line: line.clone() });
        }
        if let Some(quality) = &self.quality {
            rows = quality.refine(&job.workspace, rows, summary, notes)?;
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        match &self.sample {
            Some(sample) if sample.strategy == Strategy::Diverse => {
                let vectors = |texts: &[String]| match &self.encoder {
                    None => Ok(diverse::counted(texts)),
                    Some(model) => sentence_vectors(model, &job.workspace, texts),
                };
                diverse::choose(sample, size, rows, &vectors, summary, notes)
            }
            Some(sample) if sample.is_drawn() => Ok(rows),
            _ => {
                // The first of the file.
                if rows.len() > size {
                    rows.sort_by(|a, b| a.line[..8].cmp(&b.line[..8]));
                    rows.truncate(size);
                }
                Ok(rows)
            }
        }
    }

    fn write(&self, job: &Job) -> Result<Produced, StageError> {
        let mut notes = Vec::new();
        let mut left_out = LeftOut::default();
        let Kept { sorter, names, mut summary } = self.read(job, &mut notes, &mut left_out)?;
        let mut lines = sorter.finish()?;
        let mut writer = job.store.write_artifact()?;
        let (mut id, mut line) = (String::new(), Vec::new());
        let (mut previous, mut previous_line, mut repeats) = (String::new(), 0u64, 1u64);
        let mut rows = 0;
        let mut batch = Batch::default();
        loop {
            let is_more = lines.next_into(&mut id, &mut line)?;
            if !is_more || batch.text.len() >= BATCH_BYTES {
                let (writer, columns) = writer.parts();
                let (written, ()) = rayon::join(
                    || batch.lines().try_for_each(|(id, line, _)| writer.push(id, line)),
                    || batch.lines().for_each(|(id, _, row)| digest_columns(columns, id, row)),
                );
                written?;
                batch.clear();
                if job.stop.load(Ordering::Relaxed) {
                    return Err(StageError::Interrupted);
                }
            }
            if !is_more {
                break;
            }
            let number = u64::from_be_bytes(line[..8].try_into().expect("a line opens with its number"));
            if rows > 0 && id == previous {
                if let Some(column) = &self.shape.id {
                    let (first, second) = (source::place(&names, previous_line), source::place(&names, number));
                    return Err(StageError::failed(format!(
                        "two rows have the id `{id}`: {first} and {second}; give `id:` a column that is unique (it is `{column}`)"
                    )));
                }
                repeats += 1;
            } else {
                repeats = 1;
            }
            previous.clone_from(&id);
            previous_line = number;
            if repeats > 1 {
                id.push_str(&format!("~{repeats}"));
            }
            batch.push(&id, &line[8..]);
            rows += 1;
            job.progress.count(false);
        }
        let artifact = writer.finish()?;
        let skipped = left_out.bad.count;
        let counts = Counts { rows, missing: skipped, ..Counts::default() };
        summary.values.insert("coverage".to_owned(), coverage(rows, rows + skipped));
        Ok(Produced { artifact, meta: None, counts, summary, notes })
    }
}

/// Rows that are kept, the files that they come from, and what was found on the way.
struct Kept<'a> {
    sorter: Sorter<'a>,
    names: Vec<String>,
    summary: Summary,
}

#[cfg(feature = "local")]
fn sentence_vectors(model: &ModelFolder, workspace: &Workspace, texts: &[String]) -> Result<Vec<Vec<f64>>, String> {
    let encoder = encoder::SentenceEncoder::load(model, Some(&workspace.cache.join("embeddings")))?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = encoder.vectors(&texts)?;
    Ok(vectors.into_iter().map(|vector| vector.into_iter().map(f64::from).collect()).collect())
}

#[cfg(not(feature = "local"))]
fn sentence_vectors(_: &ModelFolder, _: &Workspace, _: &[String]) -> Result<Vec<Vec<f64>>, String> {
    Err(encoder::WITHOUT_LOCAL.to_owned())
}

/// Takes the records that are parsed side by side.
fn take_batch(records: &mut Records) -> Vec<Result<Record, BadRow>> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    while bytes < BATCH_BYTES
        && let Some(record) = records.next()
    {
        bytes += record.as_ref().map_or(64, Record::weight);
        batch.push(record);
    }
    batch
}

/// Rows to be written: the id, the line and where its columns stand in it.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    rows: Vec<(String, std::ops::Range<usize>, usize)>,
}

impl Batch {
    /// Adds a row whose columns are canonical JSON.
    fn push(&mut self, id: &str, columns: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(b"{\"id\":");
        canonical_text(id, &mut self.text);
        self.text.extend_from_slice(b",\"row\":");
        let columns_at = self.text.len();
        self.text.extend_from_slice(columns);
        self.text.push(b'}');
        self.rows.push((id.to_owned(), start..self.text.len(), columns_at));
    }

    /// Returns id, line and columns of each row.
    fn lines(&self) -> impl Iterator<Item = (&str, &[u8], &[u8])> {
        self.rows.iter().map(|(id, line, columns_at)| {
            (id.as_str(), &self.text[line.clone()], &self.text[*columns_at..line.end - 1])
        })
    }

    fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }
}

/// Adds each column's raw canonical value to the column digests.
fn digest_columns(digests: &mut ColumnDigests, id: &str, columns: &[u8]) {
    let raw: std::collections::BTreeMap<std::borrow::Cow<'_, str>, &serde_json::value::RawValue> =
        serde_json::from_slice(columns).expect("the line is canonical JSON");
    for (name, value) in raw {
        digests.add(&name, id, value.get().as_bytes());
    }
}

impl Stage for Dataset {
    fn kind(&self) -> &'static str {
        "dataset"
    }

    fn input(&self) -> Option<(&str, &Place)> {
        None
    }

    fn models(&self, _of_input: &[String]) -> Option<Vec<String>> {
        None
    }

    fn inputs(&self, _model: Option<&str>, _of_input: &[String]) -> Vec<Input> {
        Vec::new()
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.places.clone()
    }

    fn scan(&self, workspace: &Workspace, wanted: &mut BTreeSet<String>) -> Result<BTreeSet<String>, StageError> {
        if self.source.is_elsewhere(workspace) {
            // Nothing is fetched or executed to check.
            wanted.clear();
            return Ok(BTreeSet::new());
        }
        let Opened { records, names } = self.source.open(workspace)?;
        let place = |number: u64| source::place(&names, number);
        wanted.extend(self.shape.id.clone());
        let mut seen = BTreeSet::new();
        let mut renamed: BTreeSet<&String> = self.shape.rename.iter().map(|(old, _)| old).collect();
        let mut ids: HashMap<u64, u64> = HashMap::new();
        let mut bad_rows = BadRows::default();
        let mut rows = 0;
        for record in records.take(MAX_CHECKED) {
            rows += 1;
            let is_skipped = |bad: &BadRow| self.on_bad_row == OnBadRow::Skip && !bad.is_end;
            let mut add = |bad: &BadRow| {
                if !is_skipped(bad) {
                    bad_rows.add(&place, bad);
                }
            };
            let record = match record {
                Ok(record) => record,
                Err(bad) => {
                    add(&bad);
                    continue;
                }
            };
            // What columns there are is known soon.
            if (rows <= 1_000 || !wanted.is_empty() || !renamed.is_empty())
                && let Ok(columns) = record.clone().columns()
            {
                renamed.retain(|old| !columns.contains_key(*old));
                for column in self.shape.columns_of(&columns) {
                    wanted.remove(&column);
                    seen.insert(column);
                }
            }
            match self.shape.apply(record) {
                Ok(Shaped::Row(taken)) if self.shape.id.is_some() => {
                    let number = u64::from_be_bytes(taken.line[..8].try_into().expect("a line opens with its number"));
                    if let Some(first) = ids.insert(Digest::of(taken.id.as_bytes()).seed(), number) {
                        let message =
                            format!("the id `{}` is that of {}, too; ids must be unique", taken.id, place(first));
                        bad_rows.add(&place, &BadRow::new(number, message));
                    }
                }
                Ok(_) => {}
                Err(bad) => add(&bad),
            }
        }
        if rows == 0 {
            wanted.clear();
            return Ok(seen);
        }
        if let Some(old) = renamed.first() {
            let help = suggest(old, "its columns are", seen.iter().map(String::as_str)).unwrap_or_default();
            return Err(StageError::failed(format!("`rename`: no row has a column `{old}` ({help})")));
        }
        // A column that no row has says more than the rows that miss it.
        if bad_rows.count > 0 && (wanted.is_empty() || seen.is_empty()) {
            return Err(StageError::failed(bad_rows.text("")));
        }
        Ok(seen)
    }

    fn prepare<'a>(&'a self, workspace: &'a Workspace, is_offline: bool) -> BoxFuture<'a, Result<(), StageError>> {
        Box::pin(self.source.prepare(workspace, is_offline))
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("dataset", REVISION);
        self.source.add_to(&mut fingerprint, facts.workspace, facts.digest_file)?;
        self.shape.add_to(&mut fingerprint);
        if self.on_bad_row == OnBadRow::Skip {
            fingerprint.setting("on_bad_row", "skip");
        }
        if let Some(quality) = &self.quality {
            quality.add_to(&mut fingerprint, facts.workspace, facts.digest_file)?;
        }
        if let Some(sample) = &self.sample {
            sample.add_to(&mut fingerprint);
        }
        for (name, path) in self.encoder.iter().flat_map(ModelFolder::files) {
            let digest = (facts.digest_file)(&path)
                .map_err(|error| StageError::failed(format!("failed to read {}: {error}", path.display())))?;
            fingerprint.files.insert(format!("sample.model.{name}"), digest);
        }
        if let Some(limit) = facts.limit {
            fingerprint.setting("limit", limit);
        }
        Ok(fingerprint)
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(async move {
            tokio::task::spawn_blocking(move || self.write(&job))
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        })
    }

    fn unit(&self, value: &str) -> Option<Unit> {
        self.values().iter().any(|known| known == value).then_some(Unit::Rate)
    }

    fn values(&self) -> Vec<String> {
        let mut values = self.quality.as_ref().map(Quality::values).unwrap_or_default();
        if self.sample.as_ref().is_some_and(|sample| sample.strategy == Strategy::Diverse) {
            values.push("covering_radius".to_owned());
        }
        values.push("coverage".to_owned());
        values
    }

    fn sources(&self) -> Vec<(String, String)> {
        let of_quality = self.quality.iter().flat_map(Quality::sources);
        self.shape.prompts().flat_map(Prompt::sources).chain(of_quality).collect()
    }

    fn file(&self, label: &str) -> Option<String> {
        self.quality.as_ref().and_then(|quality| quality.file(label)).or_else(|| self.source.file(label))
    }
}
