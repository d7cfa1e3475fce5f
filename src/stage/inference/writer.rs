//! Writes completions into artifacts, with the digests of the columns that other stages read.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::Shapes;
use crate::digest::{Digest, canonical};
use crate::row::{Completion, Meta, Status};
use crate::store::{Artifact, ArtifactWriter, Store, StoreError};

/// A stored completion whose fields are not parsed but copied as they are.
#[derive(Deserialize)]
struct RawCompletion<'a> {
    #[serde(borrow)]
    finish_reason: &'a RawValue,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    raw: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    sample: u32,
    #[serde(borrow)]
    status: &'a RawValue,
    #[serde(borrow)]
    text: &'a RawValue,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

/// Writes completions, and what they cost beside them, with the digests of the columns that other stages read.
pub(crate) struct CompletionWriter {
    value: ArtifactWriter,
    meta: ArtifactWriter,
    pub valid: u64,
    pub shapes: Shapes,
}

impl CompletionWriter {
    /// Starts both artifacts.
    pub fn new(store: &Arc<Store>) -> Result<CompletionWriter, StoreError> {
        Ok(CompletionWriter {
            value: store.write_artifact()?,
            meta: store.write_artifact()?,
            valid: 0,
            shapes: Shapes::default(),
        })
    }

    /// Appends a completion, and what it cost.
    pub fn push(&mut self, completion: &Completion, meta: &Meta) -> Result<(), StoreError> {
        let id = sample_id(&completion.id, completion.sample);
        self.value.push(&id, completion)?;
        for (name, value) in [
            ("text", serde_json::to_vec(&(completion.status, &completion.text))),
            ("finish_reason", serde_json::to_vec(&completion.finish_reason)),
        ] {
            self.value.column(name, &id, &value.expect("text is JSON"));
        }
        for (name, said) in
            [("raw", &completion.raw), ("reasoning", &completion.reasoning), ("refusal", &completion.refusal)]
        {
            if let Some(said) = said {
                self.value.column(name, &id, &serde_json::to_vec(said).expect("text is JSON"));
            }
        }
        if let Some(calls) = &completion.tool_calls {
            self.value.column("tool_calls", &id, &canonical(calls));
        }
        self.meta.push(&id, meta)?;
        let reason = completion.finish_reason.as_deref();
        self.count(completion.status, reason, completion.reasoning.is_some());
        Ok(())
    }

    /// Appends a completion that is a canonical line of another artifact.
    ///
    /// # Errors
    ///
    /// The line is no completion: then the other artifact is damaged. Or the new one cannot be written.
    pub fn push_line(&mut self, line: &[u8], from: Digest) -> Result<(), StoreError> {
        let completion: RawCompletion<'_> = serde_json::from_slice(line).map_err(|_| StoreError::damaged(from))?;
        let id = sample_id(&completion.id, completion.sample);
        self.value.push_line(&id, line)?;
        let (status, text) = (completion.status.get(), completion.text.get());
        self.value.column("text", &id, format!("[{status},{text}]").as_bytes());
        self.value.column("finish_reason", &id, completion.finish_reason.get().as_bytes());
        for (name, said) in [
            ("raw", completion.raw),
            ("reasoning", completion.reasoning),
            ("refusal", completion.refusal),
            ("tool_calls", completion.tool_calls),
        ] {
            if let Some(said) = said {
                self.value.column(name, &id, said.get().as_bytes());
            }
        }
        let damaged = |_| StoreError::damaged(from);
        let status: Status = serde_json::from_str(status).map_err(damaged)?;
        let reason: Option<Cow<'_, str>> = serde_json::from_str(completion.finish_reason.get()).map_err(damaged)?;
        self.count(status, reason.as_deref(), completion.reasoning.is_some());
        Ok(())
    }

    fn count(&mut self, status: Status, finish_reason: Option<&str>, has_reasoning: bool) {
        self.valid += u64::from(status.is_answered());
        self.shapes.add(status, finish_reason, has_reasoning);
    }

    /// Appends what a completion took, as a canonical line of another artifact. Returns it.
    ///
    /// # Errors
    ///
    /// As for [`CompletionWriter::push_line`].
    pub fn push_meta_line(&mut self, line: &[u8], from: Digest) -> Result<Meta, StoreError> {
        let meta: Meta = serde_json::from_slice(line).map_err(|_| StoreError::damaged(from))?;
        self.meta.push_line(&sample_id(&meta.id, meta.sample), line)?;
        Ok(meta)
    }

    /// Completes both artifacts; returns the completions and the meta artifact.
    pub fn finish(self) -> Result<(Artifact, Artifact), StoreError> {
        Ok((self.value.finish()?, self.meta.finish()?))
    }
}

/// Returns the id under which a sample of a row enters column digests.
pub(crate) fn sample_id(id: &str, sample: u32) -> String {
    if sample == 0 { id.to_owned() } else { format!("{id}\u{0}{sample}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_completion_is_what_a_made_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let (mut made, mut copied) = (CompletionWriter::new(&store).unwrap(), CompletionWriter::new(&store).unwrap());
        for (id, sample, status, text) in [
            ("a", 0, Status::Ok, Some("é \u{1} \"quoted\"\n\u{1f600}")),
            ("a", 1, Status::Ok, Some("")),
            ("b", 0, Status::Failed, None),
        ] {
            let completion = Completion {
                finish_reason: text.map(|_| "stop".to_owned()),
                raw: text.map(|text| format!("<think>é</think>{text}")),
                reasoning: text.map(|_| "é".to_owned()),
                text: text.map(str::to_owned),
                tool_calls: text.map(|_| serde_json::json!([{ "arguments": { "a": "é" }, "name": "f" }])),
                ..Completion::missing(id, sample, status)
            };
            let meta = Meta { id: id.to_owned(), sample, latency: Some(0.25), ..Meta::default() };
            made.push(&completion, &meta).unwrap();
            let from = Digest::of(b"an artifact");
            copied.push_line(&serde_json::to_vec(&completion).unwrap(), from).unwrap();
            copied.push_meta_line(&serde_json::to_vec(&meta).unwrap(), from).unwrap();
            let cut = copied.push_line(b"{\"id\":\"a\"}", from).unwrap_err();
            assert!(matches!(cut, StoreError::Corrupt { digest, .. } if digest == from));
        }
        assert_eq!(made.valid, copied.valid);
        assert_eq!(made.finish().unwrap(), copied.finish().unwrap());
    }
}
