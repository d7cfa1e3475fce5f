//! `run --watch`: notices that files have changed.
//!
//! Files are checked a few times a second. That works on every file system, also on those of a cluster that send no
//! notifications.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::spec::{MARKER, Workspace};

/// Time between two checks.
const LOOK: Duration = Duration::from_millis(250);
/// After the first change, time in which the other files of the same save settle.
const SETTLE: Duration = Duration::from_millis(100);

/// Size and time of each file at one moment; none for a file that does not exist.
#[derive(Clone, PartialEq)]
pub(super) struct Seen(BTreeMap<PathBuf, Option<(u64, SystemTime)>>);

impl Seen {
    /// Records the pipelines, the templates, `etalon.toml`, and the files that a run has read, as they are now.
    pub fn now(workspace: &Workspace, pipeline: &str, read: &BTreeSet<PathBuf>) -> Seen {
        let mut paths: BTreeSet<PathBuf> = read.clone();
        paths.insert(PathBuf::from(pipeline));
        paths.insert(workspace.path(MARKER));
        for directory in ["pipelines", "templates"] {
            add_folder(&workspace.path(directory), &mut paths);
        }
        // A file that newly matches a glob shows in the time of its folder.
        paths.extend(read.iter().filter_map(|path| path.parent()).map(Path::to_owned));
        Seen(paths.into_iter().map(|path| (path.clone(), stat(&path))).collect())
    }

    /// Adds the paths that only the other record has.
    pub fn with_new_of(mut self, other: &Seen) -> Seen {
        for (path, stat) in &other.0 {
            self.0.entry(path.clone()).or_insert(*stat);
        }
        self
    }

    /// Returns the first path that differs in a later record.
    fn first_difference(&self, later: &Seen) -> Option<PathBuf> {
        let changed = later.0.iter().find(|(path, stat)| self.0.get(*path) != Some(stat)).map(|(path, _)| path);
        changed.or_else(|| self.0.keys().find(|path| !later.0.contains_key(*path))).cloned()
    }
}

fn stat(path: &Path) -> Option<(u64, SystemTime)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((if metadata.is_file() { metadata.len() } else { 0 }, metadata.modified().ok()?))
}

fn add_folder(folder: &Path, paths: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            add_folder(&path, paths);
        } else {
            paths.insert(path);
        }
    }
}

/// Waits until something has changed; returns its path.
pub(super) async fn change(workspace: &Workspace, pipeline: &str, read: &BTreeSet<PathBuf>, before: &Seen) -> PathBuf {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Seen::now(workspace, pipeline, read);
        if let Some(path) = before.first_difference(&now) {
            tokio::time::sleep(SETTLE).await;
            return path.strip_prefix(&workspace.root).map_or(path.clone(), Path::to_owned);
        }
    }
}
