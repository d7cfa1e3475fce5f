//! Completions of rows that did not change, copied from an earlier result.

use std::sync::Arc;

use super::settings::Inference;
use super::writer::CompletionWriter;
use crate::stage::{Account, Job, Part, StageError};
use crate::store::{Changed, KeptLines, StoreError};

/// Completions that are taken over.
pub(super) struct Kept {
    pub changed: Arc<Changed>,
    completions: KeptLines,
    meta: KeptLines,
    /// How many were copied.
    pub count: u64,
}

impl Inference {
    /// Opens the completions that can be taken over; none where all are to be made.
    pub(super) fn kept(&self, job: &Job) -> Result<Option<Kept>, StageError> {
        let Some(earlier) = job.earlier.as_ref().filter(|_| !job.inputs.contains_key(&Part::Draft)) else {
            return Ok(None);
        };
        let counts = &earlier.manifest.counts;
        // What failed is asked again, and said again. A completion that was bought anew since counts for every row.
        let is_refreshed = job.accounts.values().any(|account| account.desk().has_been_refreshed());
        if counts.missing > 0 || is_refreshed {
            return Ok(None);
        }
        let Some(meta) = &earlier.manifest.meta else { return Ok(None) };
        let Some(changed) = earlier.changed(&job.store, &job.inputs, Part::Rows) else { return Ok(None) };
        Ok(Some(Kept {
            changed,
            completions: KeptLines::open(&job.store, &earlier.manifest.artifact)?,
            meta: KeptLines::open(&job.store, meta)?,
            count: 0,
        }))
    }
}

impl Kept {
    /// Copies the completions of the rows before an id; without one, all that are left. `account` counts them.
    pub fn copy(
        &mut self,
        end: Option<&str>,
        writer: &mut CompletionWriter,
        account: Option<&Account>,
    ) -> Result<(), StoreError> {
        let (completions, meta) = (self.completions.artifact, self.meta.artifact);
        let has_changed = |id: &str| self.changed.has(id);
        while let Some(line) = self.completions.next_before(end, has_changed)? {
            writer.push_line(line, completions)?;
            self.count += 1;
        }
        while let Some(line) = self.meta.next_before(end, has_changed)? {
            let taken = writer.push_meta_line(line, meta)?;
            if let Some(account) = account {
                account.keep(&taken);
            }
        }
        Ok(())
    }
}
