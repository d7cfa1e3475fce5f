//! Judgements of rows that did not change, taken over from an earlier result.

use std::sync::Arc;

use crate::row::{Judgement, VerdictStatus};
use crate::stage::{Account, Job, StageError};
use crate::store::{ByRow, Changed};

/// Judgements that can be taken over, row by row.
pub(super) struct Kept {
    judgements: ByRow<Judgement>,
    /// Of each input.
    changed: Vec<Arc<Changed>>,
}

impl Kept {
    /// Opens the judgements of an earlier result; none where all are to be made.
    pub fn open(job: &Job, accounts: &[Arc<Account>]) -> Result<Option<Kept>, StageError> {
        let Some(earlier) = &job.earlier else { return Ok(None) };
        // An answer that was bought anew since counts for every row.
        if accounts.iter().any(|account| account.desk().has_been_refreshed()) {
            return Ok(None);
        }
        let changed = job.inputs.keys().map(|part| earlier.changed(&job.store, &job.inputs, *part));
        let Some(changed) = changed.collect::<Option<Vec<_>>>() else { return Ok(None) };
        Ok(Some(Kept { judgements: ByRow::open(&job.store, &earlier.manifest.artifact)?, changed }))
    }

    /// Returns the judgements of a row that did not change. What could not be read is judged again, and so is a panel's
    /// judgement of which a call failed: the others may have been enough, and the failed call is still owed.
    pub fn take(&mut self, id: &str) -> Result<Vec<Arc<Judgement>>, StageError> {
        let judgements = self.judgements.take(id)?;
        if self.changed.iter().any(|changed| changed.has(id)) {
            return Ok(Vec::new());
        }
        let is_whole = |judgement: &Judgement| {
            judgement.status.is_valid() && judgement.votes.iter().all(|vote| vote.status != VerdictStatus::Error)
        };
        Ok(judgements.into_iter().filter(is_whole).map(Arc::new).collect())
    }

    /// Verifies what was read.
    pub fn finish(&mut self) -> Result<(), StageError> {
        Ok(self.judgements.finish()?)
    }
}
