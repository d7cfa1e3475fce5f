//! Streaming joins: rows and what was made of them, by id, without holding either.

use std::collections::BTreeMap;
use std::iter::Peekable;

use super::{BASELINE, COMPLETIONS, CONTESTANTS, ROWS, StageError};
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
    /// Of the baseline, or of each further model; by sample.
    pub others: Vec<Vec<Completion>>,
}

/// Rows of the root dataset with the completions of one or more models.
pub(super) struct Join {
    rows: ArtifactReader<Row>,
    completions: Peekable<ArtifactReader<Completion>>,
    meta: Option<Peekable<ArtifactReader<Meta>>>,
    others: Vec<Peekable<ArtifactReader<Completion>>>,
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
        let others = [BASELINE].into_iter().chain(CONTESTANTS[1..].iter().copied());
        let others = others
            .filter_map(|part| inputs.get(part))
            .map(|other| Ok(store.read_artifact(&other.artifact)?.peekable()))
            .collect::<Result<_, StageError>>()?;
        Ok(Join {
            rows: store.read_artifact(&input(ROWS)?.artifact)?,
            completions: store.read_artifact(&completions.artifact)?.peekable(),
            meta,
            others,
            is_done: false,
        })
    }

    fn read(&mut self) -> Result<Option<Joined>, StageError> {
        let Some(row) = self.rows.next().transpose()? else {
            // Read to the end, so that the digests are verified.
            self.completions.by_ref().try_for_each(|completion| completion.map(drop))?;
            for other in &mut self.others {
                other.by_ref().try_for_each(|completion| completion.map(drop))?;
            }
            return Ok(None);
        };
        let completions = take_row(&mut self.completions, &row.id, |completion| &completion.id)?;
        let meta = match &mut self.meta {
            Some(meta) => take_row(meta, &row.id, |meta| &meta.id)?,
            None => Vec::new(),
        };
        let others = self.others.iter_mut().map(|other| take_row(other, &row.id, |completion| &completion.id));
        let others = others.collect::<Result<_, StageError>>()?;
        Ok(Some(Joined { row, completions, meta, others }))
    }
}

/// Takes the records of an id; those before it belong to rows that are not there.
pub fn take_row<T: serde::de::DeserializeOwned>(
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
