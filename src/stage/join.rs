//! Streaming joins: rows and what was made of them, by id, without holding either.

use std::collections::BTreeMap;
use std::iter::Peekable;

use super::{BASELINE, COMPLETIONS, ROWS, StageError};
use crate::row::{Completion, Meta, Row};
use crate::store::{ArtifactReader, Manifest, Store};

/// One id with everything that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub row: Row,
    /// By sample.
    pub completions: Vec<Completion>,
    /// By sample; empty unless asked for.
    pub meta: Vec<Meta>,
    /// By sample; empty unless there is a baseline.
    pub baseline: Vec<Completion>,
}

/// Rows of the root dataset with the completions of one or two models.
pub(super) struct Join {
    rows: ArtifactReader<Row>,
    completions: Peekable<ArtifactReader<Completion>>,
    meta: Option<Peekable<ArtifactReader<Meta>>>,
    baseline: Option<Peekable<ArtifactReader<Completion>>>,
    is_done: bool,
}

impl Join {
    /// Opens the artifacts of a node's inputs.
    pub fn open(store: &Store, inputs: &BTreeMap<&'static str, Manifest>, with_meta: bool) -> Result<Join, StageError> {
        let input =
            |part: &str| inputs.get(part).ok_or_else(|| StageError::failed(format!("the input `{part}` is missing")));
        let completions = input(COMPLETIONS)?;
        let meta = match (&completions.meta, with_meta) {
            (Some(meta), true) => Some(store.read_artifact(meta)?.peekable()),
            _ => None,
        };
        let baseline = match inputs.get(BASELINE) {
            Some(baseline) => Some(store.read_artifact(&baseline.artifact)?.peekable()),
            None => None,
        };
        Ok(Join {
            rows: store.read_artifact(&input(ROWS)?.artifact)?,
            completions: store.read_artifact(&completions.artifact)?.peekable(),
            meta,
            baseline,
            is_done: false,
        })
    }

    fn read(&mut self) -> Result<Option<Joined>, StageError> {
        let Some(row) = self.rows.next().transpose()? else {
            // Read to the end, so that the digests are verified.
            self.completions.by_ref().try_for_each(|completion| completion.map(drop))?;
            if let Some(baseline) = &mut self.baseline {
                baseline.by_ref().try_for_each(|completion| completion.map(drop))?;
            }
            return Ok(None);
        };
        let completions = take(&mut self.completions, &row.id, |completion| &completion.id)?;
        let meta = match &mut self.meta {
            Some(meta) => take(meta, &row.id, |meta| &meta.id)?,
            None => Vec::new(),
        };
        let baseline = match &mut self.baseline {
            Some(baseline) => take(baseline, &row.id, |completion| &completion.id)?,
            None => Vec::new(),
        };
        Ok(Some(Joined { row, completions, meta, baseline }))
    }
}

/// Takes the records of an id; those before it belong to rows that are not there.
fn take<T: serde::de::DeserializeOwned>(
    records: &mut Peekable<ArtifactReader<T>>,
    id: &str,
    id_of: impl Fn(&T) -> &str,
) -> Result<Vec<T>, StageError> {
    let mut taken = Vec::new();
    while let Some(record) = records.next_if(|record| record.as_ref().map_or(true, |record| id_of(record) <= id)) {
        let record = record?;
        if id_of(&record) == id {
            taken.push(record);
        }
    }
    Ok(taken)
}

impl Iterator for Join {
    type Item = Result<Joined, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let result = self.read();
        self.is_done = !matches!(result, Ok(Some(_)));
        result.transpose()
    }
}
