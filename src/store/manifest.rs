//! Manifests: what a key leads to.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Artifact, Fingerprint, Store, StoreError};
use crate::digest::{Digest, canonical};
use crate::score::Summary;

/// The stored description of a node. On disk it has a checksum of its own, so that a run with nothing to do can print
/// its table without touching a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub key: Digest,
    pub fingerprint: Fingerprint,
    /// The rows.
    pub artifact: Artifact,
    /// Latency, usage and errors beside the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Artifact>,
    pub counts: Counts,
    pub summary: Summary,
    /// What a user should know about how it was made: rows that were skipped, calls that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Manifest {
    /// Returns true if one of its artifacts has that digest.
    pub fn holds(&self, digest: &Digest) -> bool {
        self.artifact.digest == *digest || self.meta.as_ref().is_some_and(|meta| meta.digest == *digest)
    }

    /// Returns the digest of a column as fingerprints name it: `ids`, `row.question`, `text`, `meta`.
    pub fn column(&self, name: &str) -> Option<Digest> {
        match name {
            "ids" => Some(self.artifact.ids),
            "meta" => self.meta.as_ref().map(|meta| meta.digest),
            name => self.artifact.columns.get(name.strip_prefix("row.").unwrap_or(name)).copied(),
        }
    }
}

/// What it took to make a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows in the artifact.
    pub rows: u64,
    /// Rows whose call failed for good, or that the dataset skipped; missing for every node behind.
    pub failed: u64,
    /// Rows without a valid result, the failed ones included.
    pub missing: u64,
    /// Model calls made.
    pub calls: u64,
    /// Model calls saved, because the completion was in the log.
    pub reused: u64,
    /// Dollars that the calls cost; none if the price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub enum Lookup {
    Hit(Box<Manifest>),
    /// Nothing stands under this key.
    Absent,
    /// Something stood there and cannot be used; its manifest has been removed. The text says what is wrong.
    Damaged(String),
}

#[derive(Deserialize)]
struct Stored {
    checksum: Digest,
    manifest: Value,
}

impl Store {
    fn manifest_path(&self, key: &Digest) -> PathBuf {
        self.sharded("manifests", key, ".json")
    }

    /// Looks a key up. It is a hit if the manifest is whole and its artifacts exist with the right sizes.
    pub fn lookup(&self, key: &Digest) -> Lookup {
        let Ok(bytes) = fs::read(self.manifest_path(key)) else {
            return Lookup::Absent;
        };
        let defect = match read(&bytes, key) {
            Ok(manifest) => {
                let artifacts = [Some(&manifest.artifact), manifest.meta.as_ref()];
                let defect = artifacts.into_iter().flatten().find_map(|artifact| self.artifact_defect(artifact));
                match defect {
                    None => return Lookup::Hit(Box::new(manifest)),
                    Some(defect) => format!("its artifact is {defect}"),
                }
            }
            Err(defect) => defect,
        };
        self.forget(key);
        Lookup::Damaged(defect)
    }

    /// Keeps what a model's server said about itself, for a time when it cannot be asked.
    pub fn keep_probe(&self, model: &Digest, said: &Map<String, Value>) -> Result<(), StoreError> {
        self.publish_bytes(&self.sharded("probes", model, ".json"), &canonical(&Value::Object(said.clone())))
    }

    /// Returns what the server said about itself the last time.
    pub fn probe(&self, model: &Digest) -> Option<Map<String, Value>> {
        serde_json::from_slice(&fs::read(self.sharded("probes", model, ".json")).ok()?).ok()
    }

    /// Keeps the text of a template under its digest, so that a later run can show what changed in it.
    pub fn keep_source(&self, text: &str) -> Result<(), StoreError> {
        let path = self.sharded("sources", &Digest::of(text.as_bytes()), ".txt");
        if path.exists() { Ok(()) } else { self.publish_bytes(&path, text.as_bytes()) }
    }

    /// Returns the text of a template by its digest, if it was kept.
    pub fn source(&self, digest: &Digest) -> Option<String> {
        fs::read_to_string(self.sharded("sources", digest, ".txt")).ok()
    }

    /// Keeps the values of a comparison of two nodes.
    pub fn keep_contrast(&self, key: &Digest, said: &Value) -> Result<(), StoreError> {
        let bytes = canonical(said);
        let mut out = format!("{{\"checksum\":\"{}\",\"contrast\":", Digest::of(&bytes)).into_bytes();
        out.extend_from_slice(&bytes);
        out.extend_from_slice(b"}\n");
        self.publish_bytes(&self.sharded("contrasts", key, ".json"), &out)
    }

    /// Returns the kept values of a comparison, if they are whole.
    pub fn contrast(&self, key: &Digest) -> Option<Value> {
        #[derive(Deserialize)]
        struct Kept {
            checksum: Digest,
            contrast: Value,
        }
        let bytes = fs::read(self.sharded("contrasts", key, ".json")).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        (Digest::of(&canonical(&kept.contrast)) == kept.checksum).then_some(kept.contrast)
    }

    /// Returns a manifest without checking its artifacts: to tell what a node was, not for reuse.
    pub fn recall(&self, key: &Digest) -> Option<Manifest> {
        read(&fs::read(self.manifest_path(key)).ok()?, key).ok()
    }

    /// Removes a manifest, so that its key is a miss.
    pub fn forget(&self, key: &Digest) {
        let _ = fs::remove_file(self.manifest_path(key));
    }

    /// Publishes a manifest; its artifacts are in place already.
    ///
    /// # Errors
    ///
    /// The manifest cannot be written; then the key stays a miss.
    pub fn publish(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let value = serde_json::to_value(manifest).expect("manifests serialise");
        let bytes = canonical(&value);
        let mut out = format!("{{\"checksum\":\"{}\",\"manifest\":", Digest::of(&bytes)).into_bytes();
        out.extend_from_slice(&bytes);
        out.extend_from_slice(b"}\n");
        self.publish_bytes(&self.manifest_path(&manifest.key), &out)
    }
}

pub(super) fn read(bytes: &[u8], key: &Digest) -> Result<Manifest, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|_| "its manifest is damaged".to_owned())?;
    if Digest::of(&canonical(&stored.manifest)) != stored.checksum {
        return Err("its manifest fails its checksum".to_owned());
    }
    let manifest: Manifest =
        serde_json::from_value(stored.manifest).map_err(|error| format!("its manifest cannot be read: {error}"))?;
    if manifest.key == *key { Ok(manifest) } else { Err("its manifest belongs to another key".to_owned()) }
}
