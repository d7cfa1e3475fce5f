//! `etalon.lock`: pins of remote data that pipelines use; written by etalon, kept in git.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;

/// The file's name.
const NAME: &str = "etalon.lock";
const HEAD: &str =
    "# Pins of what pipelines take from elsewhere. Made by etalon; commit it. Remove a pin to have it made anew.\n";

/// All pins of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pins {
    /// Commits of datasets, by `owner/name@revision`.
    pub datasets: BTreeMap<String, Pin>,
}

/// What a name is pinned to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    pub commit: String,
}

impl Pins {
    /// Reads the pins of a workspace; they are empty if there is no file yet.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not what etalon writes.
    pub fn read(root: &Path) -> Result<Pins, String> {
        match std::fs::read_to_string(root.join(NAME)) {
            Ok(text) => toml::from_str(&text).map_err(|error| format!("{NAME} cannot be read: {}", error.message())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Pins::default()),
            Err(error) => Err(format!("failed to read {NAME}: {error}")),
        }
    }

    /// Adds the pin of a dataset and writes the file, whole or not at all.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn add_dataset(root: &Path, name: &str, commit: &str) -> Result<(), String> {
        // The file is read again first, since another run may have added a pin.
        let mut pins = Pins::read(root)?;
        let pin = Pin { commit: commit.to_owned() };
        if pins.datasets.insert(name.to_owned(), pin.clone()) == Some(pin) {
            return Ok(());
        }
        let text = format!("{HEAD}\n{}", toml::to_string(&pins).map_err(|error| error.to_string())?);
        files::write(&root.join(NAME), text.as_bytes()).map_err(|error| format!("failed to write {NAME}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_added_to_those_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Pins::read(folder.path()), Ok(Pins::default()));
        Pins::add_dataset(folder.path(), "a/b@main", "1").unwrap();
        Pins::add_dataset(folder.path(), "a/c@main", "2").unwrap();
        let pins = Pins::read(folder.path()).unwrap();
        assert_eq!(pins.datasets.values().map(|pin| pin.commit.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME], "nothing else is left there");
    }
}
