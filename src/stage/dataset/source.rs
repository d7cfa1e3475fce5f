//! Where the records of a dataset come from: files, the spec itself, a program, the hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::dataset::{BadRow, Format, Hub, HubDataset, Record, Records, format_of};
use crate::digest::Digest;
use crate::process::{Launch, Program};
use crate::spec::{Pins, Workspace};
use crate::stage::{DigestFile, StageError};
use crate::store::Fingerprint;

/// Where the records come from.
pub(super) enum Source {
    /// A file, or a glob of them in the order of their names.
    Files {
        pattern: String,
        format: Option<&'static Format>,
    },
    Rows(Vec<Map<String, Value>>),
    /// Files of a dataset on the Hugging Face hub.
    Hub {
        dataset: HubDataset,
        format: Option<&'static Format>,
    },
    /// A program that prints JSON lines.
    Command {
        program: Program,
        format: &'static Format,
        files: Vec<String>,
    },
}

/// How many low bits of a record's number hold its line; the bits above hold the index of its file.
const LINE_BITS: u32 = 40;

/// A source, opened.
pub(super) struct Opened {
    pub names: Vec<String>,
    /// The records; [`place`] turns their numbers into file and line.
    pub records: Records,
}

impl Opened {
    /// Returns the name of the source in messages.
    pub fn name(&self) -> String {
        match self.names.as_slice() {
            [one] => one.clone(),
            several => format!("{} files", several.len()),
        }
    }
}

/// Returns a record's number, which [`place`] can turn back into file and line.
pub(super) fn number_of(file: u64, line: u64) -> u64 {
    file << LINE_BITS | line
}

/// Returns `file:line` of a record's number.
pub(super) fn place(names: &[String], number: u64) -> String {
    let name = names.get((number >> LINE_BITS) as usize).map_or("rows", String::as_str);
    format!("{name}:{}", number & ((1 << LINE_BITS) - 1))
}

/// Returns the files that a path or a glob names, as names within the workspace, sorted.
pub(super) fn files(workspace: &Workspace, pattern: &str) -> Vec<String> {
    crate::files::files(&workspace.root, pattern)
}

impl Source {
    /// Returns the names and paths of the files.
    ///
    /// # Errors
    ///
    /// No file has that name.
    fn paths(&self, workspace: &Workspace) -> Result<Vec<(String, PathBuf)>, StageError> {
        match self {
            Source::Files { pattern, .. } => {
                let names = files(workspace, pattern);
                if names.is_empty() {
                    return Err(StageError::failed(format!("no file matches {pattern}")));
                }
                if let Some(refused) = names.iter().find_map(|name| workspace.refusal(name)) {
                    return Err(StageError::failed(refused.message));
                }
                Ok(names.into_iter().map(|name| (name.clone(), workspace.path(&name))).collect())
            }
            Source::Hub { dataset, .. } => {
                let pins = Pins::read(&workspace.root).map_err(StageError::Failed)?;
                let pin = pins.datasets.get(&dataset.pin_name()).map(|pin| pin.commit.clone());
                let found =
                    pin.or_else(|| dataset.commit()).and_then(|commit| hub(workspace, true).files(dataset, &commit));
                let found = found.ok_or_else(|| StageError::failed(format!("{} is not here yet", dataset.repo)))?;
                let name = |path: &Path| {
                    format!("{}/{}", dataset.repo, path.file_name().unwrap_or_default().to_string_lossy())
                };
                Ok(found.into_iter().map(|path| (name(&path), path)).collect())
            }
            Source::Rows(_) | Source::Command { .. } => Ok(Vec::new()),
        }
    }

    /// Returns true if records can only be had by fetching or running something.
    pub fn is_elsewhere(&self, workspace: &Workspace) -> bool {
        match self {
            Source::Command { .. } => true,
            Source::Hub { .. } => self.paths(workspace).is_err(),
            Source::Files { .. } | Source::Rows(_) => false,
        }
    }

    /// Fetches files that this machine does not have yet.
    pub async fn prepare(&self, workspace: &Workspace, is_offline: bool) -> Result<(), StageError> {
        let Source::Hub { dataset, .. } = self else {
            return Ok(());
        };
        let name = dataset.pin_name();
        let pins = Pins::read(&workspace.root).map_err(StageError::Failed)?;
        let pin = pins.datasets.get(&name).map(|pin| pin.commit.as_str());
        let commit = hub(workspace, is_offline).fetch(dataset, pin).await.map_err(StageError::Failed)?;
        Pins::add_dataset(&workspace.root, &name, &commit).map_err(StageError::Failed)
    }

    /// Opens the source. A program is started by this.
    pub fn open(&self, workspace: &Workspace) -> Result<Opened, StageError> {
        match self {
            Source::Files { format, .. } | Source::Hub { format, .. } => {
                let mut opened = Vec::new();
                for (name, path) in self.paths(workspace)? {
                    let format = format
                        .or_else(|| format_of(&name))
                        .ok_or_else(|| StageError::failed(format!("{name}: unknown format")))?;
                    opened.push((name, format, path));
                }
                // The first file is opened right away, so that a missing file is an error of its own and not a bad row.
                let (name, format, path) = &opened[0];
                let first =
                    format.open(path).map_err(|error| StageError::failed(format!("failed to read {name}: {error}")))?;
                let names = opened.iter().map(|(name, ..)| name.clone()).collect();
                let rest = opened
                    .into_iter()
                    .enumerate()
                    .skip(1)
                    .flat_map(|(file, (_, format, path))| numbered(file as u64, open_or_bad(format, &path)));
                Ok(Opened { names, records: Box::new(numbered(0, first).chain(rest)) })
            }
            Source::Rows(rows) => {
                let records = rows.clone().into_iter().zip(1..).map(|(columns, line)| Ok(Record::new(line, columns)));
                Ok(Opened { names: vec!["rows".to_owned()], records: Box::new(records) })
            }
            Source::Command { program, format, .. } => {
                let output = program
                    .start(&workspace.root)
                    .map_err(|error| StageError::failed(format!("failed to start `{}`: {error}", program.text())))?;
                let records = format.read(Box::new(output)).map_err(|error| StageError::failed(error.to_string()))?;
                Ok(Opened { names: vec!["output".to_owned()], records })
            }
        }
    }

    /// Adds to a key everything that decides which records there are.
    pub fn add_to(
        &self,
        fingerprint: &mut Fingerprint,
        workspace: &Workspace,
        digest_file: &DigestFile<'_>,
    ) -> Result<(), StageError> {
        let digest = |name: &str, path: &Path| {
            digest_file(path).map_err(|error| StageError::failed(format!("failed to read {name}: {error}")))
        };
        match self {
            Source::Files { format, .. } | Source::Hub { format, .. } => {
                for (index, (name, path)) in self.paths(workspace)?.into_iter().enumerate() {
                    // File names are not content and stay out. The order of files is: a sample may be the first rows.
                    let label = if index == 0 { "path".to_owned() } else { format!("path.{index}") };
                    fingerprint.files.insert(label, digest(&name, &path)?);
                    let format = format.or_else(|| format_of(&name)).map_or("", |format| format.name);
                    if index == 0 {
                        fingerprint.setting("format", format);
                    } else if fingerprint.settings["format"] != format {
                        fingerprint.setting(&format!("format.{index}"), format);
                    }
                }
            }
            Source::Rows(rows) => {
                let rows = Value::Array(rows.iter().cloned().map(Value::Object).collect());
                fingerprint.setting("rows", Digest::of_json("", &rows).to_string());
            }
            Source::Command { program, format, .. } => {
                let command = match program {
                    Program::Shell(line) => Value::from(line.as_str()),
                    Program::Direct(words) => words.clone().into(),
                };
                fingerprint.setting("command", command);
                fingerprint.setting("format", format.name);
                for (name, digest) in self.program_files(workspace, digest_file)? {
                    fingerprint.files.insert(format!("files.{name}"), digest);
                }
            }
        }
        Ok(())
    }

    /// Returns the files that the program is known to read, with their digests.
    fn program_files(
        &self,
        workspace: &Workspace,
        digest_file: &DigestFile<'_>,
    ) -> Result<BTreeMap<String, Digest>, StageError> {
        let Source::Command { program, files: patterns, .. } = self else {
            return Ok(BTreeMap::new());
        };
        // A word of the command that is a file of the workspace, such as a script, counts as read.
        let words = program.words().filter(|word| workspace.path(word).is_file());
        let named = patterns.iter().flat_map(|pattern| files(workspace, pattern));
        let digest = |name: String| match digest_file(&workspace.path(&name)) {
            Ok(digest) => Ok((name, digest)),
            Err(error) => Err(StageError::failed(format!("failed to read {name}: {error}"))),
        };
        words.chain(named).map(digest).collect()
    }

    /// Returns the program that is started to get the records, as the user consents to it.
    pub fn launch(&self, workspace: &Workspace, digest_file: &DigestFile<'_>) -> Result<Option<Launch>, StageError> {
        let Source::Command { program, .. } = self else {
            return Ok(None);
        };
        Ok(Some(program.launch(&self.program_files(workspace, digest_file)?)))
    }

    /// Returns the path of a file that the fingerprint names by a label.
    pub fn file(&self, label: &str) -> Option<String> {
        match self {
            Source::Files { pattern, .. } => Some(pattern.clone()),
            Source::Hub { dataset, .. } => Some(dataset.repo.clone()),
            Source::Rows(_) => None,
            Source::Command { .. } => label.strip_prefix("files.").map(str::to_owned),
        }
    }
}

fn hub(workspace: &Workspace, is_offline: bool) -> Hub {
    Hub::from_environment(workspace.cache.join("hub"), is_offline)
}

fn open_or_bad(format: &'static Format, path: &Path) -> Records {
    match format.open(path) {
        Ok(records) => records,
        Err(error) => Box::new(std::iter::once(Err(BadRow::end(1, format!("failed to read: {error}"))))),
    }
}

/// Puts the index of a file into the numbers of its records.
fn numbered(file: u64, records: Records) -> Records {
    if file == 0 {
        return records;
    }
    let base = file << LINE_BITS;
    Box::new(records.map(move |record| match record {
        Ok(mut record) => {
            record.line |= base;
            Ok(record)
        }
        Err(bad) => Err(BadRow { line: bad.line | base, ..bad }),
    }))
}
