//! `dataset`: rows from a file or from the spec, with stable ids, sampled, sorted by id.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Facts, Input, Job, Produced, Scope, Stage, StageError, coverage};
use crate::dataset::{BadRow, FORMATS, Record, Records, format_of};
use crate::digest::{Digest, Hasher, canonical_into, canonical_map_into, canonical_text};
use crate::problem::{Place, Problem};
use crate::score::{Summary, Unit};
use crate::spec::{StageSpec, Workspace, decode};
use crate::store::{ColumnDigests, Counts, Fingerprint, Sorter};

const REVISION: u32 = 1;
/// Bytes of rows that are worked on side by side.
const BATCH_BYTES: usize = 1 << 20;
/// Bad rows shown before giving up.
const MAX_BAD_ROWS: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    path: Option<String>,
    rows: Option<Vec<Map<String, Value>>>,
    id: Option<String>,
    sample: Option<Sample>,
    #[serde(rename = "description")]
    _description: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    size: u64,
    #[serde(default)]
    strategy: Strategy,
    #[serde(default)]
    seed: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Strategy {
    /// The first rows of the file.
    #[default]
    First,
    /// The rows whose seeded digests of their ids are smallest: whatever the order of the file, and
    /// added rows displace few.
    Random,
}

struct Dataset {
    source: Source,
    id: Option<String>,
    sample: Option<Sample>,
}

enum Source {
    Path(String),
    Rows(Vec<Map<String, Value>>),
}

pub(super) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    let settings: Settings = decode(&spec.settings, &format!("stage {}", spec.name))?;
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place);
    let mut problems = Vec::new();
    let source = match (settings.path, settings.rows) {
        (Some(path), None) => {
            if !scope.workspace.path(&path).is_file() {
                problems.push(missing_file(scope, &path).at(place("path")));
            } else if format_of(&path).is_none() {
                let known: Vec<&str> = FORMATS.iter().flat_map(|format| format.extensions).copied().collect();
                problems.push(
                    Problem::error("unknown-format", format!("`{path}` has no extension that etalon reads"))
                        .at(place("path"))
                        .help(format!("it reads .{}, plain or with .gz or .zst behind", known.join(", ."))),
                );
            }
            Source::Path(path)
        }
        (None, Some(rows)) => Source::Rows(rows),
        (Some(_), Some(_)) => {
            problems.push(
                Problem::error("conflict", format!("stage {} has `path` and `rows`; one is enough", spec.name))
                    .at(place("rows")),
            );
            Source::Rows(Vec::new())
        }
        (None, None) => {
            problems.push(
                Problem::error("missing-field", format!("stage {} needs `path` or `rows`", spec.name))
                    .at(&spec.place)
                    .help("path: data/rows.jsonl"),
            );
            Source::Rows(Vec::new())
        }
    };
    if settings.sample.as_ref().is_some_and(|sample| sample.size == 0) {
        problems.push(Problem::error("wrong-value", "`sample.size` must be at least 1").at(place("sample")));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Arc::new(Dataset { source, id: settings.id, sample: settings.sample }))
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

impl Dataset {
    fn open(&self, workspace: &Workspace) -> Result<(Records, String), StageError> {
        match &self.source {
            Source::Path(path) => {
                let format = format_of(path).ok_or_else(|| StageError::failed(format!("{path}: unknown format")))?;
                let records = format
                    .open(&workspace.path(path))
                    .map_err(|error| StageError::failed(format!("failed to read {path}: {error}")))?;
                Ok((records, path.clone()))
            }
            Source::Rows(rows) => {
                let records = rows.clone().into_iter().zip(1..).map(|(columns, line)| Ok(Record::new(line, columns)));
                Ok((Box::new(records), "rows".to_owned()))
            }
        }
    }

    /// Parses a record.
    fn take(&self, record: Record) -> Result<Taken, BadRow> {
        let number = record.line;
        let columns = record.columns()?;
        let mut line = Vec::with_capacity(256);
        line.extend_from_slice(&number.to_be_bytes());
        canonical_map_into(&columns, &mut line);
        let id = self.id_of(number, &columns, &line[8..])?;
        Ok(Taken { id, line })
    }

    fn id_of(&self, line: u64, columns: &Map<String, Value>, canonical: &[u8]) -> Result<String, BadRow> {
        let Some(column) = &self.id else {
            return Ok(Digest::of(canonical).id());
        };
        let bad = |message: String| BadRow { line, message };
        match columns.get(column) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(Value::Number(number)) => {
                let mut text = Vec::new();
                canonical_into(&Value::Number(number.clone()), &mut text);
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            Some(Value::String(_)) => Err(bad(format!("the id column `{column}` is empty"))),
            Some(other) => Err(bad(format!("the id column `{column}` holds {other}, expected text or a number"))),
            None => {
                let names = columns.keys().map(String::as_str);
                let hint = crate::problem::suggest(column, "columns are", names)
                    .map_or_else(String::new, |hint| format!(" ({hint})"));
                Err(bad(format!("there is no id column `{column}`{hint}")))
            }
        }
    }

    /// Reads, checks and samples; what is kept stands in the sorter under its id.
    fn read<'a>(&self, job: &'a Job, notes: &mut Vec<String>) -> Result<Sorter<'a>, StageError> {
        let (mut records, name) = self.open(&job.workspace)?;
        let mut kept = job.store.sorter();
        // A random sample is sorted by its seeded digest first; the smallest are the sample.
        let mut drawn = job.store.sorter();
        let (mut count, mut bad_rows) = (0u64, Vec::new());
        let limit = job.limit.unwrap_or(u64::MAX);
        let is_random = self.sample.as_ref().is_some_and(|sample| sample.strategy == Strategy::Random);
        let size = self.sample.as_ref().map_or(u64::MAX, |sample| sample.size);
        let mut next = take_batch(&mut records);
        'all: while !next.is_empty() {
            let batch = next;
            let (following, taken) = rayon::join(
                || take_batch(&mut records),
                || -> Vec<Result<Taken, BadRow>> {
                    batch.into_par_iter().with_min_len(64).map(|record| self.take(record?)).collect()
                },
            );
            next = following;
            for taken in taken {
                let Taken { id, line } = match taken {
                    Ok(taken) => taken,
                    Err(bad) => {
                        bad_rows.push(bad);
                        if bad_rows.len() >= MAX_BAD_ROWS {
                            break 'all;
                        }
                        continue;
                    }
                };
                if is_random {
                    let seed = self.sample.as_ref().map_or(0, |sample| sample.seed);
                    let mut place = draw(seed, &id);
                    place.push('\t');
                    place.push_str(&id);
                    drawn.push(&place, &line)?;
                } else {
                    kept.push(&id, &line)?;
                    count += 1;
                    if bad_rows.is_empty() && count >= size.min(limit) {
                        break 'all;
                    }
                }
            }
        }
        if !bad_rows.is_empty() {
            let shown: Vec<String> =
                bad_rows.iter().take(MAX_BAD_ROWS).map(|bad| format!("{name}:{}: {}", bad.line, bad.message)).collect();
            let more = if bad_rows.len() >= MAX_BAD_ROWS { "\n  …" } else { "" };
            return Err(StageError::failed(format!(
                "{}:\n  {}{more}",
                if bad_rows.len() == 1 { "a bad row".to_owned() } else { format!("{} bad rows", bad_rows.len()) },
                shown.join("\n  ")
            )));
        }
        if is_random {
            let (mut lines, mut place, mut line) = (drawn.finish()?, String::new(), Vec::new());
            while count < size.min(limit) && lines.next_into(&mut place, &mut line)? {
                let id = place.split_once('\t').map_or("", |(_, id)| id);
                kept.push(id, &line)?;
                count += 1;
            }
        }
        if let Some(sample) = &self.sample
            && count < sample.size.min(limit)
        {
            notes.push(format!("{name} has {count} rows, fewer than the sample of {}", sample.size));
        }
        if count == 0 {
            notes.push(format!("{name} has no rows"));
        }
        Ok(kept)
    }

    fn write(&self, job: &Job) -> Result<Produced, StageError> {
        let mut notes = Vec::new();
        let mut lines = self.read(job, &mut notes)?.finish()?;
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
                if let Some(column) = &self.id {
                    return Err(StageError::failed(format!(
                        "two rows have the id `{id}`: lines {previous_line} and {number}; give `id:` a column that is unique (it is `{column}`)"
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
        let counts = Counts { rows, ..Counts::default() };
        let mut summary = Summary::default();
        summary.values.insert("coverage".to_owned(), coverage(rows, rows));
        Ok(Produced { artifact, meta: None, counts, summary, notes })
    }
}

/// A record that was read: its line number and its columns as canonical JSON, under its id.
struct Taken {
    id: String,
    line: Vec<u8>,
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

/// Returns where an id stands in a seeded random order.
fn draw(seed: u64, id: &str) -> String {
    let mut hasher = Hasher::new("etalon.sample");
    hasher.update(&seed.to_be_bytes());
    hasher.update(id.as_bytes());
    hasher.finish().to_string()
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

    fn inputs(&self, _model: Option<&str>) -> Vec<Input> {
        Vec::new()
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        Vec::new()
    }

    fn scan(&self, workspace: &Workspace, wanted: &mut BTreeSet<String>) -> Result<BTreeSet<String>, StageError> {
        let (records, name) = self.open(workspace)?;
        wanted.extend(self.id.clone());
        let mut seen = BTreeSet::new();
        let mut is_empty = true;
        for record in records {
            let record = record
                .and_then(Record::columns)
                .map_err(|bad| StageError::failed(format!("{name}:{}: {}", bad.line, bad.message)))?;
            is_empty = false;
            for (column, _) in record {
                wanted.remove(&column);
                seen.insert(column);
            }
            if wanted.is_empty() {
                break;
            }
        }
        if is_empty {
            wanted.clear();
        }
        Ok(seen)
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("dataset", REVISION);
        match &self.source {
            Source::Path(path) => {
                let digest = (facts.digest_file)(&facts.workspace.path(path))
                    .map_err(|error| StageError::failed(format!("failed to read {path}: {error}")))?;
                fingerprint.files.insert("path".to_owned(), digest);
                fingerprint.setting("format", format_of(path).map_or("", |format| format.name));
            }
            Source::Rows(rows) => {
                let rows = Value::Array(rows.iter().cloned().map(Value::Object).collect());
                fingerprint.setting("rows", Digest::of_json("", &rows).to_string());
            }
        }
        if let Some(id) = &self.id {
            fingerprint.setting("id", id.as_str());
        }
        if let Some(sample) = &self.sample {
            fingerprint.setting("sample.size", sample.size);
            if sample.strategy == Strategy::Random {
                fingerprint.setting("sample.strategy", "random");
                fingerprint.setting("sample.seed", sample.seed);
            }
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
        (value == "coverage").then_some(Unit::Rate)
    }

    fn values(&self) -> Vec<String> {
        vec!["coverage".to_owned()]
    }

    fn file(&self, _label: &str) -> Option<String> {
        match &self.source {
            Source::Path(path) => Some(path.clone()),
            Source::Rows(_) => None,
        }
    }
}
