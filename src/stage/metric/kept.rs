//! Scores of rows that did not change, taken over from an earlier result.
//!
//! ```text
//! what changed in rows and completions → those rows scored, in batches
//! earlier scores, in order ─┬─ of a row that did not change: copied, tallied
//!                           └─ before a row that did: its new scores go first
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;

use super::measure::{MetricStage, has_leakage};
use super::scoring::{ScoredRow, Scoring};
use crate::row::Scores;
use crate::stage::inference::sample_id;
use crate::stage::join::Joined;
use crate::stage::{Job, Part, StageError};
use crate::store::{Artifact, ArtifactWriter, Changed, KeptLines, StoreError, lines_of};

/// What a node that takes scores over starts from.
pub(super) struct Kept {
    lines: KeptLines,
    earlier: Artifact,
    /// Of the rows and of the completions.
    changed: [Arc<Changed>; 2],
}

impl MetricStage {
    /// Opens the scores that can be taken over; none where all are to be made.
    pub(super) fn kept(&self, job: &Job) -> Result<Option<Kept>, StageError> {
        let Some(earlier) = &job.earlier else { return Ok(None) };
        // Slices and clusters need the rows' own columns, cautions and reasons their completions.
        let is_unsliced = self.slicing().next().is_none() && !has_leakage(job.inputs.get(&Part::Rows));
        let is_by_row = is_unsliced && self.measures.iter().all(|one| one.metric.is_by_row());
        let is_quiet = earlier.manifest.notes.is_empty() && self.measures.iter().all(|one| !one.metric.is_cautious());
        if !is_by_row || !is_quiet || self.needs_meta() {
            return Ok(None);
        }
        let changed = |part| earlier.changed(&job.store, &job.inputs, part);
        let Some(changed) = changed(Part::Rows).zip(changed(Part::OWN)) else { return Ok(None) };
        let earlier = earlier.manifest.artifact.clone();
        Ok(Some(Kept { lines: KeptLines::open(&job.store, &earlier)?, earlier, changed: changed.into() }))
    }
}

impl Kept {
    /// Scores what changed, and writes and tallies everything in the order of the rows.
    pub fn score(
        mut self,
        job: &Job,
        scoring: &mut Scoring<'_>,
        writer: &mut ArtifactWriter,
    ) -> Result<(), StageError> {
        for scored in self.scored(job, scoring)? {
            self.copy(Some(scored.id()), scoring, writer)?;
            for record in &scored.records {
                writer.push(&sample_id(&record.id, record.sample), record)?;
            }
            scoring.take(&scored)?;
        }
        self.copy(None, scoring, writer)?;
        // All completions that there are have been summed up, kept or not.
        let counts = job.inputs.get(&Part::OWN).map(|completions| completions.counts).unwrap_or_default();
        (scoring.all, scoring.valid) = (counts.rows, counts.rows - counts.missing);
        job.progress.done.store(job.progress.total.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    }

    /// Copies and tallies the scores of rows before an id that did not change; without one, all that are left.
    fn copy(
        &mut self,
        end: Option<&str>,
        scoring: &mut Scoring<'_>,
        writer: &mut ArtifactWriter,
    ) -> Result<(), StageError> {
        let [rows, completions] = &self.changed;
        let mut of_row: Vec<Scores> = Vec::new();
        while let Some(line) = self.lines.next_before(end, |id| rows.has(id) || completions.has(id))? {
            let record: Scores = parsed(line, &self.earlier)?;
            writer.push_line(&sample_id(&record.id, record.sample), line)?;
            if of_row.first().is_some_and(|first| first.id != record.id) {
                scoring.keep(&of_row);
                of_row.clear();
            }
            of_row.push(record);
        }
        scoring.keep(&of_row);
        Ok(())
    }

    /// Scores the rows that changed, in order.
    fn scored(&self, job: &Job, scoring: &mut Scoring<'_>) -> Result<Vec<ScoredRow>, StageError> {
        let [rows, completions] = &self.changed;
        let ids: BTreeSet<&str> = rows.ids().chain(completions.ids()).collect();
        let mut rows = lines(job, Part::Rows, rows, &ids)?;
        let mut completions = lines(job, Part::OWN, completions, &ids)?;
        let mut joined = Vec::new();
        for id in ids {
            let Some(row) = rows.remove(id).and_then(|lines| lines.into_iter().next()) else { continue };
            joined.push(Joined {
                row,
                completions: completions.remove(id).unwrap_or_default(),
                meta: Vec::new(),
                others: Vec::new(),
                drafts: Vec::new(),
            });
        }
        let mut scored = Vec::new();
        for batch in joined.chunks(scoring.batch().max(1)) {
            let made = scoring.score(batch);
            // A program that was ended is no failure.
            if job.stop.load(Ordering::Relaxed) {
                return Err(StageError::Interrupted);
            }
            scored.extend(made?);
        }
        Ok(scored)
    }
}

/// Returns the records of some ids: from what changed where it has them all, else from the artifact.
fn lines<T: DeserializeOwned>(
    job: &Job,
    part: Part,
    changed: &Changed,
    ids: &BTreeSet<&str>,
) -> Result<BTreeMap<String, Vec<T>>, StageError> {
    let Some(manifest) = job.inputs.get(&part) else { return Ok(BTreeMap::new()) };
    let mut found: BTreeMap<String, Vec<T>> = BTreeMap::new();
    let mut add = |id: &str, lines: &[Vec<u8>]| -> Result<(), StageError> {
        let records = lines.iter().map(|line| parsed(line, &manifest.artifact)).collect::<Result<_, _>>()?;
        found.insert(id.to_owned(), records);
        Ok(())
    };
    if ids.iter().all(|id| changed.has(id)) {
        changed.now().try_for_each(|(id, lines)| add(id, lines))?;
    } else {
        let all = lines_of(&job.store, &manifest.artifact, |id| ids.contains(id))?;
        all.iter().try_for_each(|(id, lines)| add(id, lines))?;
    }
    Ok(found)
}

fn parsed<T: DeserializeOwned>(line: &[u8], artifact: &Artifact) -> Result<T, StoreError> {
    serde_json::from_slice(line).map_err(|_| StoreError::damaged(artifact.digest))
}
