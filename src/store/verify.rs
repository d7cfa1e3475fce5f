//! Verification: every byte of the store is read, and what is damaged is healed or named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::completion::check_line;
use super::inventory::{each_line, files_below};
use super::{Artifact, Manifest, Store, StoreError, batch, manifest};
use crate::digest::Digest;

/// What a verification found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    pub files: u64,
    pub bytes: u64,
    /// Everything that is not whole, in the order of paths.
    pub damage: Vec<Damage>,
}

/// A file that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
    /// What has become of it, or what it means.
    pub then: &'static str,
}

const MADE_AGAIN: &str = "removed; the next run makes it again, without a call";
const TOLD_AGAIN: &str = "removed; it only told what a template once was";

impl Store {
    /// Reads everything, and removes what is damaged and can be made again. Damaged completions are named and stay: nobody
    /// finds them, and the next run that needs them buys them again.
    ///
    /// # Errors
    ///
    /// A file cannot be read or removed.
    pub fn verify_all(&self) -> Result<Verified, StoreError> {
        let mut found = Verified::default();
        let mut makers: BTreeMap<Digest, Vec<(Digest, Artifact)>> = BTreeMap::new();
        for (path, size, _) in files_below(&self.root.join("manifests")) {
            found.count(size);
            let key: Option<Digest> = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let bytes = fs::read(&path).map_err(StoreError::io("read", &path))?;
            let read = key.ok_or_else(|| "its name is no key".to_owned()).and_then(|key| manifest::read(&bytes, &key));
            match read {
                Ok(Manifest { key, artifact, meta, .. }) => {
                    for artifact in std::iter::once(artifact).chain(meta) {
                        makers.entry(artifact.digest).or_default().push((key, artifact));
                    }
                }
                Err(what) => found.remove(&path, what, MADE_AGAIN)?,
            }
        }
        self.verify_artifacts(&makers, &mut found)?;
        self.verify_small(&mut found)?;
        self.verify_completions(&mut found)?;
        found.damage.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Verifies the artifacts to which manifests lead. Where one is damaged, its manifests go, too.
    fn verify_artifacts(
        &self,
        makers: &BTreeMap<Digest, Vec<(Digest, Artifact)>>,
        found: &mut Verified,
    ) -> Result<(), StoreError> {
        for (digest, known) in makers {
            let path = self.artifact_path(digest);
            let defect = known.iter().find_map(|(_, artifact)| self.artifact_defect(artifact));
            let defect = defect.or_else(|| self.verify(&known[0].1).err().map(|error| error.to_string()));
            match defect {
                None => found.count(fs::metadata(&path).map_or(0, |metadata| metadata.len())),
                Some(what) => {
                    known.iter().for_each(|(key, _)| self.forget(key));
                    found.remove(&path, what, MADE_AGAIN)?;
                }
            }
        }
        // What no manifest names, nobody reads: it is garbage, whole or not.
        Ok(())
    }

    /// Verifies comparisons, texts of templates and batches.
    fn verify_small(&self, found: &mut Verified) -> Result<(), StoreError> {
        for (path, size, _) in files_below(&self.root.join("contrasts")) {
            found.count(size);
            let key: Option<Digest> = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if key.and_then(|key| self.contrast(&key)).is_none() {
                found.remove(&path, "it fails its checksum".to_owned(), MADE_AGAIN)?;
            }
        }
        for (path, size, _) in files_below(&self.root.join("sources")) {
            found.count(size);
            let name: Option<Digest> = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let bytes = fs::read(&path).map_err(StoreError::io("read", &path))?;
            if name != Some(Digest::of(&bytes)) {
                found.remove(&path, "its text is not that of its name".to_owned(), TOLD_AGAIN)?;
            }
        }
        for (path, size, _) in files_below(&self.root.join("batches")) {
            found.count(size);
            let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
            if !std::str::from_utf8(&text).is_ok_and(batch::is_whole) {
                let then = "kept; some of its answers may be bought again, and lie at the server under the batch's id";
                found.damage.push(Damage { path, what: "it cannot be read whole".to_owned(), then });
            }
        }
        Ok(())
    }

    fn verify_completions(&self, found: &mut Verified) -> Result<(), StoreError> {
        for (path, size, _) in files_below(&self.root.join("completions")) {
            found.count(size);
            let (mut lines, mut bad, mut is_last_bad) = (0u64, 0u64, false);
            each_line(&path, |line| {
                lines += 1;
                is_last_bad = check_line(line).is_none();
                bad += u64::from(is_last_bad);
            })?;
            let is_torn = bad == 1 && is_last_bad && !ends_with_newline(&path);
            if bad > 0 {
                let (what, then) = match is_torn {
                    true => (
                        "its last line was torn when a process ended".to_owned(),
                        "kept; that answer was never used, and is bought when it is needed",
                    ),
                    false => (
                        format!("{bad} of {lines} lines are damaged"),
                        "kept; those answers are bought when they are needed",
                    ),
                };
                found.damage.push(Damage { path, what, then });
            }
        }
        Ok(())
    }
}

fn ends_with_newline(path: &Path) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let mut last = [0];
    let read = fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_ok() && last == *b"\n"
}

impl Verified {
    fn count(&mut self, size: u64) {
        self.files += 1;
        self.bytes += size;
    }

    fn remove(&mut self, path: &Path, what: String, then: &'static str) -> Result<(), StoreError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", path)(error));
            }
            _ => {}
        }
        self.damage.push(Damage { path: path.to_owned(), what, then });
        Ok(())
    }
}
