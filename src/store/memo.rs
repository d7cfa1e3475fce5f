//! Digests of files, remembered together with what `stat` says about each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Store;
use crate::digest::{Digest, Hasher};

/// A file that changed less than this many nanoseconds ago may change again without `stat` showing it.
const SETTLED_NANOS: i128 = 2_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stat {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
    device: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Remembered {
    stat: Stat,
    digest: Digest,
}

/// The digests of files. A digest is remembered as long as nothing about its file has changed.
#[derive(Debug)]
pub struct FileDigests {
    store: Arc<Store>,
    known: Mutex<(BTreeMap<String, Remembered>, bool)>,
    asked: Mutex<BTreeSet<PathBuf>>,
}

impl Store {
    /// Opens the remembered digests; a missing or damaged memo counts as empty.
    pub fn file_digests(self: &Arc<Store>) -> FileDigests {
        let known = fs::read(self.root.join("memo.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        FileDigests {
            store: self.clone(),
            known: Mutex::new((known.unwrap_or_default(), false)),
            asked: Mutex::default(),
        }
    }
}

impl FileDigests {
    /// Returns the digest of a file's bytes.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn of(&self, path: &Path) -> io::Result<Digest> {
        self.asked.lock().expect("no panic while locked").insert(path.to_owned());
        let stat = stat(&fs::metadata(path)?);
        let name = path.to_string_lossy().into_owned();
        if let Some(remembered) = self.known.lock().expect("no panic while locked").0.get(&name)
            && remembered.stat == stat
        {
            return Ok(remembered.digest);
        }
        let digest = digest_file(path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos() as i128);
        let is_settled = now - stat.mtime.max(stat.ctime) > SETTLED_NANOS;
        if is_settled && self::stat(&fs::metadata(path)?) == stat {
            let mut known = self.known.lock().expect("no panic while locked");
            known.0.insert(name, Remembered { stat, digest });
            known.1 = true;
        }
        Ok(digest)
    }

    /// Notes that a file was read by other means, so that [`FileDigests::asked`] names it.
    pub fn note(&self, path: &Path) {
        self.asked.lock().expect("no panic while locked").insert(path.to_owned());
    }

    /// Returns the files that were asked for.
    pub fn asked(&self) -> BTreeSet<PathBuf> {
        self.asked.lock().expect("no panic while locked").clone()
    }

    /// Keeps the digests for the next process. If that fails, it costs time, never correctness.
    pub fn save(&self) {
        let mut known = self.known.lock().expect("no panic while locked");
        if std::mem::take(&mut known.1)
            && let Ok(bytes) = serde_json::to_vec(&known.0)
        {
            let _ = self.store.publish_bytes(&self.store.root.join("memo.json"), &bytes);
        }
    }
}

/// Files, with what `stat` said of each when the watch began: before their digests were taken.
#[derive(Clone, Debug, Default)]
pub struct Watch(BTreeMap<PathBuf, Option<Stat>>);

impl Watch {
    /// Adds a file, unless it is watched already.
    pub fn add(&mut self, path: &Path) {
        self.0.entry(path.to_owned()).or_insert_with(|| fs::metadata(path).ok().as_ref().map(stat));
    }

    /// Returns the first file that has been touched since, also if its content is the old one again.
    pub fn changed(&self) -> Option<&Path> {
        let is_other = |(path, then): &(&PathBuf, &Option<Stat>)| fs::metadata(path).ok().as_ref().map(stat) != **then;
        self.0.iter().find(is_other).map(|(path, _)| path.as_path())
    }
}

impl Drop for FileDigests {
    fn drop(&mut self) {
        self.save();
    }
}

fn stat(metadata: &Metadata) -> Stat {
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Stat {
        size: metadata.len(),
        mtime: nanos(metadata.mtime(), metadata.mtime_nsec()),
        ctime: nanos(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
        device: metadata.dev(),
    }
}

fn digest_file(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new("");
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}
