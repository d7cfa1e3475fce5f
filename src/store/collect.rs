//! Garbage: results to which no run leads any more.
//!
//! **Invariant:** completions are purchases and never garbage here. Whatever goes is computed again from them, and from
//! what the pipeline reads, without a call.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::inventory::files_below;
use super::{Manifest, Store, StoreError, manifest};
use crate::digest::Digest;

/// What can go.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Garbage {
    pub manifests: u64,
    pub artifacts: u64,
    pub contrasts: u64,
    pub bytes: u64,
    /// What stays because it is younger than the grace time.
    pub young: u64,
    /// Manifests first: whatever still stands under a key is whole.
    #[serde(skip)]
    paths: Vec<PathBuf>,
}

impl Store {
    /// Finds the results to which none of the keys leads, and that are older than the grace time.
    pub fn garbage(&self, roots: &BTreeSet<Digest>, grace: Duration) -> Garbage {
        let mut garbage = Garbage::default();
        let now = SystemTime::now();
        let is_young = |changed: &SystemTime| now.duration_since(*changed).unwrap_or_default() < grace;
        let mut held: BTreeSet<Digest> = BTreeSet::new();
        for (path, size, changed) in files_below(&self.root.join("manifests")) {
            let key: Option<Digest> = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let is_root = key.is_some_and(|key| roots.contains(&key));
            if is_root || is_young(&changed) {
                garbage.young += u64::from(!is_root);
                let kept: Option<Manifest> =
                    key.zip(fs::read(&path).ok()).and_then(|(key, bytes)| manifest::read(&bytes, &key).ok());
                let artifacts = kept.into_iter().flat_map(|kept| std::iter::once(kept.artifact).chain(kept.meta));
                held.extend(artifacts.map(|artifact| artifact.digest));
            } else {
                garbage.manifests += 1;
                garbage.add(path, size);
            }
        }
        for (path, size, changed) in files_below(&self.root.join("artifacts")) {
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl.zst"));
            let digest: Option<Digest> = name.and_then(|name| name.parse().ok());
            if !digest.is_some_and(|digest| held.contains(&digest)) && !is_young(&changed) {
                garbage.artifacts += 1;
                garbage.add(path, size);
            }
        }
        // A comparison is computed again from its two artifacts; its key does not say from which.
        for (path, size, changed) in files_below(&self.root.join("contrasts")) {
            if !is_young(&changed) {
                garbage.contrasts += 1;
                garbage.add(path, size);
            }
        }
        garbage
    }

    /// Removes garbage.
    ///
    /// # Errors
    ///
    /// A file cannot be removed; what was removed before it stays removed.
    pub fn collect(&self, garbage: &Garbage) -> Result<(), StoreError> {
        for path in &garbage.paths {
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Garbage {
    fn add(&mut self, path: PathBuf, size: u64) {
        self.bytes += size;
        self.paths.push(path);
    }

    /// Returns true if nothing can go.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}
