//! What killed processes left behind in `tmp/` goes when the store is opened again.
//!
//! Whoever writes there holds a lock on the file, which ends with the process. A file is removed if nobody holds its
//! lock, and if it is older than a minute: it may have been made a moment ago, and not be locked yet.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The file in a scratch directory whose lock says that the directory is in use.
const IN_USE: &str = "in-use";
/// What is younger is left alone.
const YOUNG: Duration = Duration::from_secs(60);
/// Without a mark nobody knows whether a directory is in use; no plan takes so long.
const UNMARKED: Duration = Duration::from_secs(24 * 3600);

/// Marks a scratch directory as in use while the returned file is open. Without locks, or without room, it is not marked.
pub(super) fn mark(directory: &Path) -> Option<File> {
    let file = File::create(directory.join(IN_USE)).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

/// Removes what nobody writes any more. What cannot be removed stays: the next one will try again.
pub(super) fn sweep(tmp: &Path) {
    for entry in fs::read_dir(tmp).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let Ok(changed) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        if age <= YOUNG {
            continue;
        }
        if kind.is_dir() && entry.file_name().to_string_lossy().starts_with("plan-") {
            let mark = path.join(IN_USE);
            let is_left = if mark.exists() { is_free(&mark) } else { age > UNMARKED };
            if is_left {
                _ = fs::remove_dir_all(&path);
            }
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "tmp") && is_free(&path) {
            _ = fs::remove_file(&path);
        }
    }
}

/// Returns true if no process holds the lock of a file. Where there are no locks, nobody knows, and it is false.
fn is_free(path: &Path) -> bool {
    File::options().write(true).open(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Draft;

    #[test]
    fn what_is_left_over_goes_and_what_is_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let age = |path: &Path, seconds: u64| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            File::open(path).unwrap().set_modified(time).unwrap();
        };
        let old = folder.path().join("a.tmp");
        let young = folder.path().join("b.tmp");
        let other = folder.path().join("note");
        for path in [&old, &young, &other] {
            fs::write(path, "x").unwrap();
        }
        let (left, used) = (folder.path().join("plan-1"), folder.path().join("plan-2"));
        fs::create_dir(&left).unwrap();
        fs::create_dir(&used).unwrap();
        drop(mark(&left));
        let _marked = mark(&used).unwrap();
        let draft = Draft::within(folder.path()).unwrap();
        for path in [&old, &other, &left, &used, &draft.path().to_owned()] {
            age(path, 120);
        }
        sweep(folder.path());
        assert!(!old.exists() && !left.exists(), "left over");
        assert!(young.exists() && other.exists() && used.exists() && draft.path().exists(), "in use, or not ours");
    }
}
