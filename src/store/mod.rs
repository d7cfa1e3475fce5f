//! The store: everything that was bought or computed, addressed by content.
//!
//! ```text
//! cache/
//!   artifacts/ab/<digest>.jsonl.zst   rows, addressed by the digest of their uncompressed bytes
//!   manifests/ab/<key>.json           what a node's key leads to: artifacts, counts, summary
//!   contrasts/ab/<key>.json           values of a comparison of two nodes: shares of the ceiling
//!   completions/<model>/*.jsonl       every paid completion, append-only, one writer per file
//!   batches/<model>/*.jsonl           batches that were sent and not collected
//!   sources/ab/<digest>.txt           texts of templates, to show later what changed in them
//!   probes/ab/<model>.json            what servers said about themselves, for runs offline
//!   locks/  tmp/  memo.json  layout   OS locks, unfinished files, digests of files by their stat, the layout's version
//! ```
//!
//! Other modules keep `embeddings/` (vectors of texts) and `hub/` (downloaded datasets) beside these.
//!
//! | file | holds |
//! |---|---|
//! | `fingerprint` | the named facts that a node depends on; its key; what differs between two |
//! | `artifact` | rows on disk: writer, verifying reader |
//! | `changed` | what changed between two artifacts |
//! | `manifest` | lookup and publication |
//! | `completion` `ballast` | the completion log and its index; room that is kept for it on the disk |
//! | `merge` | artifacts walked together by id |
//! | `sorter` | sorting rows by id beyond memory |
//! | `batch` | batches of requests that are under way |
//! | `lock` `memo` `sweep` | OS locks; file digests; what killed processes left behind |
//! | `inventory` `verify` `collect` | what it holds and what that cost; what is damaged; what can go |
//!
//! **Invariant:** a manifest is written only after its artifacts, and both by rename: whatever can be seen is whole.
//!
//! **Invariant:** readers never lock.

mod artifact;
mod ballast;
mod batch;
mod changed;
mod collect;
mod completion;
mod fingerprint;
mod inventory;
mod lock;
mod manifest;
mod memo;
mod merge;
mod sorter;
mod sweep;
mod verify;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use artifact::{Artifact, ArtifactReader, ArtifactWriter, ColumnDigests, LineReader};
pub use batch::{SentBatch, SentRequest};
pub(crate) use changed::id_of;
pub use changed::{Changed, Changes, KeptLines, lines_of};
pub use collect::Garbage;
pub use completion::{CompletionLog, NewRecord, Record, RecordKind, request_key};
pub use fingerprint::{Change, Fingerprint};
pub use inventory::{Holding, Ledger};
pub use lock::{Holder, Lock};
pub use manifest::{Counts, Lookup, Manifest};
pub use memo::{FileDigests, Watch};
pub use merge::{ByRow, outer};
pub use sorter::{SortedLines, Sorter};
pub use verify::{Damage, Verified};

use crate::digest::Digest;
use crate::files::Draft;

/// How the tag of a folder begins that holds nothing but a cache: <https://bford.info/cachedir/>.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55";

/// Version of the layout below the cache directory.
const LAYOUT: &str = "1";

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// An artifact does not match its manifest. The manifest must be removed, and the node run again.
    #[error("artifact {} is {reason}", digest.short())]
    Corrupt { digest: Digest, reason: String },
    /// Someone removed or replaced the completion log while it was written: what was appended is lost.
    #[error("{} was removed while this run wrote to it: the completions that it bought are lost; leave the cache alone while a run goes on", path.display())]
    Removed { path: PathBuf },
    /// The disk has no room for the answers of calls that would be sent.
    #[error("the disk of {} is full: nothing is bought that could not be kept", path.display())]
    Full { path: PathBuf },
    #[error("{} is no cache of etalon: it lacks the tag that etalon puts there", path.display())]
    NoCache { path: PathBuf },
    /// The directory is to become a cache, and holds other things.
    #[error("{} holds other files and is no cache of etalon: `cache` in etalon.toml names an empty or a new folder", path.display())]
    Foreign { path: PathBuf },
    #[error("{} has cache layout {found}, this etalon knows {LAYOUT}: use another directory or a newer etalon", path.display())]
    Layout { path: PathBuf, found: String },
}

impl StoreError {
    /// Returns the error of an artifact whose content cannot be read.
    pub(crate) fn damaged(digest: Digest) -> StoreError {
        StoreError::Corrupt { digest, reason: "damaged".to_owned() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        move |source| StoreError::Io { action, path: path.to_owned(), source }
    }
}

/// A cache directory.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Where artifacts go that no later run should find: those of a plan.
    scratch: Option<tempfile::TempDir>,
    /// Says that the scratch directory is in use.
    in_use: Option<fs::File>,
}

impl Store {
    /// Opens a cache directory; a new one gets its layout.
    ///
    /// # Errors
    ///
    /// A directory or file cannot be made, or another version of etalon made the cache with a layout that this one does
    /// not know.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let store = Store { root: root.to_owned(), scratch: None, in_use: None };
        let layout = root.join("layout");
        let known = match fs::read_to_string(&layout) {
            Ok(found) if found.trim() == LAYOUT => true,
            Ok(found) if !found.trim().is_empty() => {
                return Err(StoreError::Layout { path: root.to_owned(), found: found.trim().to_owned() });
            }
            // A cache that lost its layout still has its tag; the repository of a workspace may keep the tag alone. Another
            // process may make the cache at this moment: whatever it has made, the tag was there before.
            _ if is_empty(root) || is_cache(root) => false,
            _ => return Err(StoreError::Foreign { path: root.to_owned() }),
        };
        if !known {
            let tag = format!("{TAG}\n# Made by etalon; backup programs may skip it. https://bford.info/cachedir/\n");
            for (name, text) in [("CACHEDIR.TAG", &*tag), (".gitignore", "*\n!.gitignore\n!CACHEDIR.TAG\n")] {
                let path = root.join(name);
                crate::files::write_new(&path, text.as_bytes()).map_err(StoreError::io("write", &path))?;
            }
        }
        // Directories that someone has removed are made again.
        for directory in ["artifacts", "manifests", "completions", "locks", "tmp"] {
            let path = root.join(directory);
            if !path.is_dir() {
                fs::create_dir_all(&path).map_err(StoreError::io("create", &path))?;
            }
        }
        if known {
            sweep::sweep(&store.tmp());
            return Ok(store);
        }
        store.publish_bytes(&layout, format!("{LAYOUT}\n").as_bytes())?;
        Ok(store)
    }

    /// Removes a whole cache directory.
    ///
    /// # Errors
    ///
    /// It is not tagged as a cache of etalon, or something in it cannot be removed.
    pub fn clear(root: &Path) -> Result<(), StoreError> {
        if !is_cache(root) {
            return Err(StoreError::NoCache { path: root.to_owned() });
        }
        // The tag goes last, so that a clearing that was interrupted can be taken up again.
        let mut entries: Vec<PathBuf> =
            fs::read_dir(root).map_err(StoreError::io("read", root))?.flatten().map(|entry| entry.path()).collect();
        entries.sort_by_key(|path| path.ends_with("CACHEDIR.TAG") || path.ends_with("layout"));
        for path in entries {
            let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(StoreError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Opens a cache directory for looking only. Artifacts that are made lie in a scratch directory, which is removed
    /// with the store.
    ///
    /// # Errors
    ///
    /// As [`Store::open`]; or the scratch directory cannot be made.
    pub fn open_scratch(root: &Path) -> Result<Store, StoreError> {
        let mut store = Store::open(root)?;
        let tmp = store.tmp();
        let scratch = tempfile::Builder::new().prefix("plan-").tempdir_in(&tmp);
        let scratch = scratch.map_err(StoreError::io("create a directory in", &tmp))?;
        store.in_use = sweep::mark(scratch.path());
        store.scratch = Some(scratch);
        Ok(store)
    }

    fn scratch_path(&self, digest: &Digest) -> Option<PathBuf> {
        self.scratch.as_ref().map(|scratch| scratch.path().join(format!("{digest}.jsonl.zst")))
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn sharded(&self, directory: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let name = digest.to_string();
        self.root.join(directory).join(&name[..2]).join(format!("{name}{suffix}"))
    }

    /// Starts a file in `tmp/`, to be [placed](Store::place) or dropped.
    fn draft(&self) -> Result<Draft, StoreError> {
        let tmp = self.tmp();
        Draft::within(&tmp).map_err(StoreError::io("create a file in", &tmp))
    }

    /// Returns the directory of unfinished files.
    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Moves a complete file to its place; a missing parent directory is made.
    fn place(draft: Draft, path: &Path) -> Result<(), StoreError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(StoreError::io("create", parent))?;
        }
        draft.publish(path).map_err(StoreError::io("write", path))
    }

    /// Writes a small file, whole or not at all.
    pub(crate) fn publish_bytes(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut draft = self.draft()?;
        draft.write_all(bytes).map_err(StoreError::io("write", draft.path()))?;
        Store::place(draft, path)
    }
}

/// Returns true if etalon's tag stands in a directory.
fn is_cache(root: &Path) -> bool {
    fs::read_to_string(root.join("CACHEDIR.TAG"))
        .is_ok_and(|text| text.starts_with(TAG) && text.contains("Made by etalon"))
}

/// Returns true for a directory without files, and for one that does not exist. Hidden files do not count.
fn is_empty(root: &Path) -> bool {
    let is_hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
    fs::read_dir(root).into_iter().flatten().flatten().all(|entry| is_hidden(&entry))
}
