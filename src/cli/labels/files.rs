//! The files of keys and labels on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::exit::Exit;
use crate::files;
use crate::label::{Key, LabelFile};

/// Returns the path of a sheet's key.
pub(super) fn key_path(sheet: &Path) -> PathBuf {
    sheet.with_extension("key.jsonl")
}

/// Reads all keys of a folder, not only that of the sheet's name, since people may have renamed the sheet.
pub(super) fn read_all_keys(sheet: &Path, labels: &Path) -> Result<BTreeMap<String, Key>, Exit> {
    let mut keys = BTreeMap::new();
    let own = sheet.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for folder in [labels, own] {
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".key.jsonl")).collect();
        files.sort();
        for file in files {
            keys.extend(read_keys(&file)?);
        }
    }
    Ok(keys)
}

pub(super) fn read_keys(path: &Path) -> Result<BTreeMap<String, Key>, Exit> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Exit::usage(format!("failed to read {}: {error}", path.display()), None)),
    };
    let mut keys = BTreeMap::new();
    for (line, number) in text.lines().filter(|line| !line.trim().is_empty()).zip(1..) {
        let key: Key = serde_json::from_str(line)
            .map_err(|error| Exit::usage(format!("{}:{number}: no key: {error}", path.display()), None))?;
        keys.insert(key.item.clone(), key);
    }
    Ok(keys)
}

/// Writes a file whole: the old content stays until the new one is complete.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Exit> {
    files::write(path, bytes).map_err(|error| Exit::internal(&format!("failed to write {}: {error}", path.display())))
}

/// Reads the labels of a file; there are none if the file does not exist.
pub(super) fn read_labels(path: &Path, name: &str) -> Result<LabelFile, Exit> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Exit::usage(format!("failed to read {name}: {error}"), None)),
    };
    LabelFile::parse(&text).map_err(|(number, error)| Exit::usage(format!("{name}:{number}: {error}"), None))
}
