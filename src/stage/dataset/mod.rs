//! `dataset`: rows with stable ids, from files, from the spec or from a program; sorted by id.
//!
//! ```text
//! source → records → shape (rename, derive, require, where, id, split)
//!        → dedupe, leakage → sample → sorted → artifact
//! ```
//!
//! Records are parsed and shaped on all cores, a batch at a time, and stay in order.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the settings of the stage, checked |
//! | `source` | where records come from: files, the spec, a program, the hub |
//! | `shape` | from a record to a row |
//! | `quality` | duplicates, and rows of the training data |
//! | `sample` `diverse` | which rows are used |

mod diverse;
mod quality;
mod sample;
mod settings;
mod shape;
mod source;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use rayon::prelude::*;

pub(super) use quality::LEAKAGE;
use quality::{Candidate, Quality};
pub use sample::quotas;
use sample::{Drawing, Sample, Strategy, group};
use settings::OnBadRow;
pub(super) use settings::{Settings, parse};
use shape::{Shape, Shaped};
use source::{Opened, Source};

use super::prompt::Prompt;
use super::{Callee, Facts, Input, Job, Makes, Produced, Reads, Stage, StageError, coverage};
use crate::dataset::{BadRow, Record, Records};
use crate::digest::{Digest, canonical_text};
use crate::encoder::{self, ModelFolder};
use crate::problem::{Place, suggest};
use crate::score::{Summary, Unit};
use crate::spec::Workspace;
use crate::store::{ColumnDigests, Counts, Fingerprint, Sorter};

const REVISION: u32 = 1;
/// Bytes of rows in one batch, which all cores work on.
const BATCH_BYTES: usize = 1 << 20;
/// How many rows `check` reads; problems in later rows are found by a plan.
const MAX_CHECKED: usize = 200_000;
/// How many bad rows a message shows.
const MAX_BAD_ROWS: usize = 20;

struct Dataset {
    source: Source,
    shape: Shape,
    quality: Option<Quality>,
    sample: Option<Sample>,
    /// The sentence encoder of a diverse sample.
    encoder: Option<ModelFolder>,
    on_bad_row: OnBadRow,
    /// The columns that the settings read by name, with the places where they stand.
    places: Vec<(String, Place)>,
}

/// The bad rows found so far, for messages.
#[derive(Default)]
struct BadRows {
    count: u64,
    shown: Vec<String>,
    /// Reading stopped at the last bad row, so there may be more behind it.
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

/// How many rows were left out, by reason.
#[derive(Default)]
struct LeftOut {
    bad: BadRows,
    filtered: u64,
    elsewhere: u64,
}

impl Dataset {
    /// Reads, shapes and samples the records. The rows that stay go into the sorter, under their ids.
    fn read<'a>(&self, job: &'a Job, notes: &mut Vec<String>, left_out: &mut LeftOut) -> Result<Kept<'a>, StageError> {
        let opened = self.source.open(&job.workspace)?;
        let name = opened.name();
        let Opened { mut records, names } = opened;
        let place = |number: u64| source::place(&names, number);
        let mut kept = job.store.sorter();
        let limit = job.limit.unwrap_or(u64::MAX);
        let size = self.sample.as_ref().map_or(u64::MAX, |sample| sample.size.0);
        let mut drawing =
            self.sample.clone().filter(Sample::is_drawn).map(|sample| Drawing::new(sample, job.store.sorter()));
        // Work that compares rows with each other needs all of them, in the order of their ids.
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
                    // If etalon ended the program itself, the error says nothing about a row.
                    Err(_) if job.stop.load(Ordering::Relaxed) => return Err(StageError::Interrupted),
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
            notes.push(format!("{name} has {count} rows, fewer than the sample of {}", sample.size.0));
        }
        if count == 0 {
            notes.push(format!("{name} has no rows"));
        }
        Ok(Kept { sorter: kept, names, summary })
    }

    /// Compares the rows with each other and with training data. Then it takes the sample, if it is one for which all
    /// rows are needed at once: at most `size` rows.
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
                // The first rows of the file.
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

/// The rows that stay, the files from which they come, and what was found on the way.
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

/// Takes the next batch of records.
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

/// Rows to be written: each with its id, its line, and where the columns stand in the line.
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

    fn makes(&self) -> Makes {
        Makes::Rows
    }

    fn input(&self) -> Option<(&str, &Place)> {
        None
    }

    fn models(&self, _of_input: &[String]) -> Option<Vec<String>> {
        None
    }

    fn inputs(&self, _model: Option<&str>, _reads: &Reads<'_>) -> Vec<Input> {
        Vec::new()
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(Callee, String)> {
        Vec::new()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.places.clone()
    }

    fn scan(&self, workspace: &Workspace, wanted: &mut BTreeSet<String>) -> Result<BTreeSet<String>, StageError> {
        if self.source.is_elsewhere(workspace) {
            // A check neither fetches nor executes anything, so it cannot know the columns.
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
            // Which columns there are is known after few rows, so reading stops early.
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
        // If no row at all has a column, that one message says more than a list of bad rows.
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
