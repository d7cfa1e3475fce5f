//! Completions into artifacts, with the digests of the columns that others read.

use std::sync::Arc;

use crate::row::{Completion, Meta, Status};
use crate::store::{Artifact, ArtifactWriter, Store, StoreError};

/// Writes completions and what they cost, with the digests of the columns that others read.
pub(crate) struct CompletionWriter {
    value: ArtifactWriter,
    meta: ArtifactWriter,
    pub valid: u64,
}

impl CompletionWriter {
    pub fn new(store: &Arc<Store>) -> Result<CompletionWriter, StoreError> {
        Ok(CompletionWriter { value: store.write_artifact()?, meta: store.write_artifact()?, valid: 0 })
    }

    pub fn push(&mut self, completion: &Completion, meta: &Meta) -> Result<(), StoreError> {
        let id = sample_id(&completion.id, completion.sample);
        self.value.push(&id, completion)?;
        for (name, value) in [
            ("text", serde_json::to_vec(&(completion.status, &completion.text))),
            ("finish_reason", serde_json::to_vec(&completion.finish_reason)),
        ] {
            self.value.column(name, &id, &value.expect("text is JSON"));
        }
        self.meta.push(&id, meta)?;
        self.valid += u64::from(completion.status == Status::Ok);
        Ok(())
    }

    pub fn finish(self) -> Result<(Artifact, Artifact), StoreError> {
        Ok((self.value.finish()?, self.meta.finish()?))
    }
}

/// Returns the id under which a sample enters digests.
pub(crate) fn sample_id(id: &str, sample: u32) -> String {
    if sample == 0 { id.to_owned() } else { format!("{id}\u{0}{sample}") }
}
