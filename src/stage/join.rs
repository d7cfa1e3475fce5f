//! Streaming joins by id of rows and what was made from them; neither side is held in memory.

use super::{Inputs, Part, StageError};
use crate::row::{Completion, Meta, Row};
use crate::store::{ArtifactReader, ByRow, Store};

/// One id with everything that is known about it.
#[derive(Clone, Debug)]
pub struct Joined {
    pub row: Row,
    /// By sample.
    pub completions: Vec<Completion>,
    /// By sample; empty unless asked for.
    pub meta: Vec<Meta>,
    /// Completions of the baseline, or of each further model; each list by sample.
    pub others: Vec<Vec<Completion>>,
    /// The completions that the prompts of [`Joined::completions`] read, by sample.
    pub drafts: Vec<Completion>,
}

impl Joined {
    /// Returns the completions of a contestant (a model that is compared); the node's own model is number 0.
    pub fn of(&self, contestant: usize) -> Option<&Vec<Completion>> {
        contestant.checked_sub(1).map_or(Some(&self.completions), |place| self.others.get(place))
    }
}

/// Returns the completion of a sample. For a model with fewer samples it is the first one.
pub fn of_sample(completions: &[Completion], sample: u32) -> Option<&Completion> {
    completions.iter().find(|completion| completion.sample == sample).or(completions.first())
}

/// Rows of the root dataset with the completions of one or more models.
pub struct Join {
    rows: ArtifactReader<Row>,
    completions: ByRow<Completion>,
    meta: Option<ByRow<Meta>>,
    others: Vec<ByRow<Completion>>,
    drafts: Option<ByRow<Completion>>,
    is_done: bool,
}

impl Join {
    /// Opens the artifacts of a node's inputs.
    ///
    /// # Errors
    ///
    /// An artifact cannot be opened.
    pub fn open(store: &Store, inputs: &Inputs, with_meta: bool) -> Result<Join, StageError> {
        let input = |part: Part| {
            inputs.get(&part).ok_or_else(|| StageError::failed(format!("the input `{}` is missing", part.name())))
        };
        let completions = input(Part::OWN)?;
        let meta = completions.meta.as_ref().filter(|_| with_meta);
        let others = [Part::Baseline].into_iter().chain(Part::contestants().skip(1));
        let others = others
            .filter_map(|part| inputs.get(&part))
            .map(|other| ByRow::open(store, &other.artifact))
            .collect::<Result<_, _>>()?;
        let drafts = inputs.get(&Part::Draft);
        Ok(Join {
            rows: store.read_artifact(&input(Part::Rows)?.artifact)?,
            completions: ByRow::open(store, &completions.artifact)?,
            meta: meta.map(|meta| ByRow::open(store, meta)).transpose()?,
            others,
            drafts: drafts.map(|drafts| ByRow::open(store, &drafts.artifact)).transpose()?,
            is_done: false,
        })
    }

    fn read(&mut self) -> Result<Option<Joined>, StageError> {
        let Some(row) = self.rows.next().transpose()? else {
            for completions in [&mut self.completions].into_iter().chain(&mut self.others).chain(&mut self.drafts) {
                completions.finish()?;
            }
            return Ok(None);
        };
        Ok(Some(Joined {
            completions: self.completions.take(&row.id)?,
            meta: self.meta.as_mut().map(|meta| meta.take(&row.id)).transpose()?.unwrap_or_default(),
            others: self.others.iter_mut().map(|other| other.take(&row.id)).collect::<Result<_, _>>()?,
            drafts: self.drafts.as_mut().map(|drafts| drafts.take(&row.id)).transpose()?.unwrap_or_default(),
            row,
        }))
    }
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
