//! Files: written whole or not at all, and found by their names.
//!
//! A [`Draft`] is a file that is being written under a temporary name, in the directory of its target or in another one
//! of the same file system. A rename puts it in the target's place once its bytes are on the disk.
//!
//! **Invariant:** a reader of a target finds either the old content or the new one, whole.
//! **Invariant:** a draft that is dropped, because writing it failed or for any other reason, leaves
//! nothing behind.
//!
//! Pipes and devices (`/dev/stdout`) cannot be replaced by a rename. A command that accepts one as its target writes to
//! it directly, not through this module.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Writes a file whole: what stands at the path is replaced once all bytes are on the disk. Missing parent directories
/// are made.
///
/// # Errors
///
/// The file cannot be written; what stood at the path before stays.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::beside(path)?;
    draft.write_all(bytes)?;
    draft.publish(path)
}

/// Writes a file whole if nothing stands at the path. Returns false, and changes nothing, if something does.
///
/// # Errors
///
/// The file cannot be written; then nothing stands at the path.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if path.symlink_metadata().is_ok() {
        return Ok(false);
    }
    let mut draft = Draft::beside(path)?;
    draft.write_all(bytes)?;
    draft.publish_new(path)
}

/// A file that is being written. If it is dropped before it is published, it is removed.
#[derive(Debug)]
pub struct Draft {
    file: NamedTempFile<File>,
}

impl Draft {
    /// Starts a draft in the directory of its target; a missing directory is made.
    ///
    /// # Errors
    ///
    /// The directory or the file cannot be made.
    pub fn beside(path: &Path) -> io::Result<Draft> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(directory)?;
        // The name is hidden and names the target, so that a draft which a crash left behind can be recognised.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Draft::named(&format!(".{name}."), directory)
    }

    /// Starts a draft in a directory that exists and is on the same file system as the target.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn within(directory: &Path) -> io::Result<Draft> {
        Draft::named("", directory)
    }

    fn named(prefix: &str, directory: &Path) -> io::Result<Draft> {
        // Opened here, not by the crate: only the owner could read the crate's files, and results are for everyone.
        let open = |path: &Path| File::options().write(true).create_new(true).open(path);
        let draft = Draft { file: Builder::new().prefix(prefix).suffix(".tmp").make_in(directory, open)? };
        // The lock says that someone is writing it, until this process ends. Some file systems have none.
        _ = draft.file().try_lock();
        Ok(draft)
    }

    /// Returns the path at which the draft stands until it is published.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the open file.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Waits until the bytes are on the disk, then moves the draft to a path of the same file system. What stands there
    /// is replaced.
    ///
    /// # Errors
    ///
    /// The disk refuses the bytes, or the move fails: the draft is removed.
    pub fn publish(self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(path).map(drop).map_err(|failed| failed.error)
    }

    /// Publishes like [`Draft::publish`], but only if nothing stands at the path. Returns false if something does.
    ///
    /// # Errors
    ///
    /// As [`Draft::publish`].
    pub fn publish_new(self, path: &Path) -> io::Result<bool> {
        self.file.as_file().sync_all()?;
        match self.file.persist_noclobber(path) {
            Ok(_) => Ok(true),
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(failed) => Err(failed.error),
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Returns true for a pattern rather than a path.
pub fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Returns the files below `root` that a path or a glob names, as paths relative to `root`, sorted.
pub fn files(root: &Path, pattern: &str) -> Vec<String> {
    if root.join(pattern).is_file() || !is_glob(pattern) {
        return vec![pattern.to_owned()];
    }
    let escaped = glob::Pattern::escape(&root.to_string_lossy());
    let whole = if Path::new(pattern).is_absolute() { pattern.to_owned() } else { format!("{escaped}/{pattern}") };
    let mut found: Vec<String> = glob::glob(&whole)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|path| path.is_file())
        .map(|path| path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_has_the_permissions_of_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(path.parent().unwrap()), ["b.json"]);
        let plain = folder.path().join("plain");
        fs::write(&plain, b"").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions(), fs::metadata(&plain).unwrap().permissions());
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(write_new(&path, b"one").unwrap());
        assert!(!write_new(&path, b"two").unwrap());
        let mut draft = Draft::beside(&path).unwrap();
        draft.write_all(b"three").unwrap();
        assert!(!draft.publish_new(&path).unwrap(), "also where it came up meanwhile");
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"one".to_vec(), vec!["a".to_owned()]));
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        let error = write(&taken, b"x").unwrap_err();
        assert!(error.raw_os_error().is_some() && !error.to_string().contains("taken"), "{error}");
        drop(Draft::within(folder.path()).unwrap());
        assert_eq!(names(folder.path()), ["taken"]);
        let error = Draft::within(&folder.path().join("nowhere")).unwrap_err();
        assert_eq!(error.to_string(), "No such file or directory (os error 2)");
        assert!(write(&folder.path().join("taken/full/x/../../../taken"), b"x").is_err());
    }

    #[test]
    fn globs_name_files_within_their_root() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["[x]/b.txt", "[x]/a.txt", "[x]/c.md"] {
            write(&folder.path().join(name), b"").unwrap();
        }
        let root = folder.path().join("[x]");
        assert_eq!(files(&root, "*.txt"), ["a.txt", "b.txt"]);
        assert_eq!(files(&root, "none.txt"), ["none.txt"], "a path stands for itself");
        assert!(files(&root, "*.none").is_empty() && is_glob("a[0]") && !is_glob("a.b"));
    }
}
