//! A dataset's rows: read, shaped, sampled, sorted by id, written with the digests of their columns.

use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::diverse;
use super::node::{BadRows, Dataset, MAX_BAD_ROWS};
use super::quality::Candidate;
use super::sample::{Drawing, Sample, Strategy, group};
use super::shape::{OnBadRow, Shaped, Taken};
use super::source::{self, Opened};
use crate::dataset::{BadRow, Record, Records};
use crate::digest::canonical_text;
use crate::encoder::{self, ModelFolder};
use crate::score::Summary;
use crate::spec::Workspace;
use crate::stage::{Job, Produced, StageError, coverage};
use crate::store::{ColumnDigests, Counts, Sorter};

/// Bytes of rows that are worked on side by side.
const BATCH_BYTES: usize = 1 << 20;

/// What was left out on the way.
#[derive(Default)]
struct LeftOut {
    bad: BadRows,
    filtered: u64,
    elsewhere: u64,
}

/// Where rows that are taken go.
struct Taking<'a> {
    /// Those that are kept as they come.
    kept: Sorter<'a>,
    /// All of them, where rows are compared with each other first, in the order of their ids.
    all: Option<Sorter<'a>>,
    /// Those that a sample is drawn from.
    drawing: Option<Drawing<'a>>,
    /// Rows kept so far.
    count: u64,
    /// Rows that are wanted.
    most: u64,
}

impl<'a> Taking<'a> {
    fn new(dataset: &Dataset, job: &'a Job) -> Taking<'a> {
        let sample = dataset.sample.as_ref();
        let is_diverse = sample.is_some_and(|sample| sample.strategy == Strategy::Diverse);
        let size = sample.map_or(u64::MAX, |sample| sample.size.0);
        let drawn = dataset.sample.clone().filter(Sample::is_drawn);
        Taking {
            kept: job.store.sorter(),
            all: (dataset.quality.is_some() || is_diverse).then(|| job.store.sorter()),
            drawing: drawn.map(|sample| Drawing::new(sample, job.store.sorter())),
            count: 0,
            most: size.min(job.limit.unwrap_or(u64::MAX)),
        }
    }

    fn take(&mut self, taken: Taken) -> Result<(), StageError> {
        let Taken { id, stratum, line } = taken;
        if let Some(all) = &mut self.all {
            all.push(&id, &line)?;
        } else if let Some(drawing) = &mut self.drawing {
            drawing.push(&stratum, &id, &line)?;
        } else {
            self.kept.push(&id, &line)?;
            self.count += 1;
        }
        Ok(())
    }

    /// Returns true where no further row is wanted, whatever it is.
    fn is_enough(&self) -> bool {
        self.all.is_none() && self.drawing.is_none() && self.count >= self.most
    }

    /// Draws the sample; returns the rows that are kept, and how many they are.
    fn finish(mut self, limit: Option<u64>) -> Result<(Sorter<'a>, u64), StageError> {
        if let Some(drawing) = self.drawing.take() {
            drawing.finish(limit.unwrap_or(u64::MAX), |id, line| {
                self.count += 1;
                self.kept.push(id, line)
            })?;
        }
        Ok((self.kept, self.count))
    }
}

impl Dataset {
    /// Reads, shapes and samples; what is kept stands in the sorter under its id.
    fn read<'a>(&self, job: &'a Job, notes: &mut Vec<String>, left_out: &mut LeftOut) -> Result<Kept<'a>, StageError> {
        let opened = self.source.open(&job.workspace)?;
        let name = opened.name();
        let Opened { records, names } = opened;
        let mut taking = Taking::new(self, job);
        self.read_all(job, records, &names, &mut taking, left_out)?;
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
        if let Some(all) = taking.all.take() {
            for row in self.refine(job, all, taking.most, &mut summary, notes)? {
                let stratum = group(&row.columns(), &self.shape.strata);
                taking.take(Taken { id: row.id, stratum, line: row.line })?;
            }
        }
        let most = taking.most;
        let (kept, count) = taking.finish(job.limit)?;
        if left_out.filtered > 0 {
            notes.push(format!("`where` leaves out {} rows", left_out.filtered));
        }
        if let (Some(sample), true) = (&self.sample, count < most) {
            notes.push(format!("{name} has {count} rows, fewer than the sample of {}", sample.size.0));
        }
        if count == 0 {
            notes.push(format!("{name} has no rows"));
        }
        Ok(Kept { sorter: kept, names, summary })
    }

    /// Shapes the records on all cores, a batch at a time, and takes them in order; reads no further than it must.
    fn read_all(
        &self,
        job: &Job,
        mut records: Records,
        names: &[String],
        taking: &mut Taking<'_>,
        left_out: &mut LeftOut,
    ) -> Result<(), StageError> {
        let place = |number: u64| source::place(names, number);
        let mut next = take_batch(&mut records);
        while !next.is_empty() {
            let batch = next;
            let (following, shaped) = rayon::join(
                || take_batch(&mut records),
                || -> Vec<Result<Shaped, BadRow>> {
                    batch.into_par_iter().with_min_len(64).map(|record| self.shape.apply(record?, false)).collect()
                },
            );
            next = following;
            for shaped in shaped {
                match shaped {
                    Ok(Shaped::Row(taken)) => taking.take(taken)?,
                    Ok(Shaped::Filtered(_)) => left_out.filtered += 1,
                    Ok(Shaped::Elsewhere) => left_out.elsewhere += 1,
                    // A program that was ended prints no bad row.
                    Err(_) if job.stop.load(Ordering::Relaxed) => return Err(StageError::Interrupted),
                    Err(bad) => {
                        left_out.bad.add(&place, &bad);
                        if bad.is_end {
                            return Err(StageError::failed(left_out.bad.text("")));
                        }
                        if self.on_bad_row == OnBadRow::Fail && left_out.bad.count > MAX_BAD_ROWS as u64 {
                            left_out.bad.is_cut = true;
                            return Ok(());
                        }
                    }
                }
                let may_stop = left_out.bad.count == 0 || self.on_bad_row == OnBadRow::Skip;
                if may_stop && taking.is_enough() {
                    return Ok(());
                }
            }
            if job.stop.load(Ordering::Relaxed) {
                return Err(StageError::Interrupted);
            }
        }
        Ok(())
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

    /// Makes the node.
    pub(super) fn write(&self, job: &Job) -> Result<Produced, StageError> {
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
