//! Batches that were sent and not collected yet: who starts anew finds here what the server still works on.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Store, StoreError};
use crate::digest::Digest;

/// A batch that was sent, or is being sent.
#[derive(Clone, Debug)]
pub struct SentBatch {
    /// What the batch is called here.
    pub tag: String,
    /// What the server calls it; none as long as that is not known.
    pub id: Option<String>,
    pub requests: Vec<SentRequest>,
}

/// One request of a batch.
#[derive(Clone, Debug)]
pub struct SentRequest {
    /// The key of the request in the completion log.
    pub key: Digest,
    pub generation: u32,
    pub sample: u32,
    /// The wire body.
    pub body: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    tag: String,
    id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    key: Digest,
    generation: u32,
    sample: u32,
    #[serde(borrow)]
    body: &'a RawValue,
}

impl Store {
    fn batch_path(&self, identity: &Digest, tag: &str) -> PathBuf {
        self.root.join("batches").join(identity.to_string()).join(format!("{tag}.jsonl"))
    }

    /// Remembers a batch of a model.
    ///
    /// # Errors
    ///
    /// The disk refuses the bytes.
    pub fn keep_batch(&self, identity: &Digest, batch: &SentBatch) -> Result<(), StoreError> {
        let head = Head { tag: batch.tag.clone(), id: batch.id.clone() };
        let mut text = serde_json::to_string(&head).expect("texts are JSON");
        text.push('\n');
        for SentRequest { key, generation, sample, body } in &batch.requests {
            text.push_str(&format!(
                "{{\"key\":\"{key}\",\"generation\":{generation},\"sample\":{sample},\"body\":{body}}}\n"
            ));
        }
        self.publish_bytes(&self.batch_path(identity, &batch.tag), text.as_bytes())
    }

    /// Forgets a batch whose answers are kept.
    pub fn forget_batch(&self, identity: &Digest, tag: &str) {
        let _ = fs::remove_file(self.batch_path(identity, tag));
    }

    /// Returns the batches of a model that have not been collected.
    pub fn batches(&self, identity: &Digest) -> Vec<SentBatch> {
        let folder = self.root.join("batches").join(identity.to_string());
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| read(&fs::read_to_string(path).ok()?)).collect()
    }
}

/// Returns true if every line of a batch's file can be read.
pub(super) fn is_whole(text: &str) -> bool {
    text.ends_with('\n') && read(text).is_some_and(|batch| batch.requests.len() + 1 == text.lines().count())
}

fn read(text: &str) -> Option<SentBatch> {
    let mut lines = text.lines();
    let Head { tag, id } = serde_json::from_str(lines.next()?).ok()?;
    let request = |line: &str| -> Option<SentRequest> {
        let Line { key, generation, sample, body } = serde_json::from_str(line).ok()?;
        Some(SentRequest { key, generation, sample, body: body.get().to_owned() })
    };
    Some(SentBatch { tag, id, requests: lines.filter_map(request).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_found_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let identity = Digest::of(b"model");
        let body = "{\"a\":\"é\\n\"}".to_owned();
        let request = SentRequest { key: Digest::of(b"one"), generation: 1, sample: 2, body: body.clone() };
        let mut batch = SentBatch { tag: "t".to_owned(), id: None, requests: vec![request] };
        store.keep_batch(&identity, &batch).unwrap();
        batch.id = Some("b1".to_owned());
        store.keep_batch(&identity, &batch).unwrap();
        let found = store.batches(&identity);
        assert_eq!((found.len(), found[0].id.as_deref()), (1, Some("b1")));
        assert_eq!((found[0].requests[0].sample, &found[0].requests[0].body), (2, &body));
        store.forget_batch(&identity, "t");
        assert!(store.batches(&identity).is_empty());
    }
}
