//! Where a dataset's records come from: files, the spec itself, a program.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::StageError;
use crate::dataset::{BadRow, Format, Hub, HubDataset, Record, Records, format_of};
use crate::digest::Digest;
use crate::spec::{Pins, Workspace};
use crate::store::Fingerprint;

/// Where records come from.
pub(super) enum Source {
    /// A file, or a glob of them in the order of their names.
    Files {
        pattern: String,
        format: Option<&'static Format>,
    },
    Rows(Vec<Map<String, Value>>),
    /// Files of the hub.
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

/// A program with its arguments, or a line for the shell.
#[derive(Clone, Debug)]
pub(super) enum Program {
    Shell(String),
    Direct(Vec<String>),
}

/// Bits of a record's number that are its line; above them stands the ordinal of its file.
const LINE_BITS: u32 = 40;

/// A source, opened.
pub(super) struct Opened {
    pub names: Vec<String>,
    /// Lines are numbers that [`place`] understands.
    pub records: Records,
}

impl Opened {
    /// Returns what the source is called in messages.
    pub fn name(&self) -> String {
        match self.names.as_slice() {
            [one] => one.clone(),
            several => format!("{} files", several.len()),
        }
    }
}

/// Returns `file:line`.
pub(super) fn place(names: &[String], number: u64) -> String {
    let name = names.get((number >> LINE_BITS) as usize).map_or("rows", String::as_str);
    format!("{name}:{}", number & ((1 << LINE_BITS) - 1))
}

/// Returns true for a pattern rather than a path.
pub(super) fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Returns the files that a path or a glob names, by their names within the workspace, sorted.
pub(super) fn files(workspace: &Workspace, pattern: &str) -> Vec<String> {
    let path = workspace.path(pattern);
    if path.is_file() || !is_glob(pattern) {
        return vec![pattern.to_owned()];
    }
    let root = glob::Pattern::escape(&workspace.root.to_string_lossy());
    let whole = if Path::new(pattern).is_absolute() { pattern.to_owned() } else { format!("{root}/{pattern}") };
    let mut found: Vec<String> = glob::glob(&whole)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|path| path.is_file())
        .map(|path| path.strip_prefix(&workspace.root).unwrap_or(&path).to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

impl Source {
    /// Returns the files with their names, at least one.
    fn paths(&self, workspace: &Workspace) -> Result<Vec<(String, PathBuf)>, StageError> {
        match self {
            Source::Files { pattern, .. } => {
                let names = files(workspace, pattern);
                if names.is_empty() {
                    return Err(StageError::failed(format!("no file matches {pattern}")));
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

    /// Returns false where records can be had without fetching or running anything.
    pub fn is_elsewhere(&self, workspace: &Workspace) -> bool {
        match self {
            Source::Command { .. } => true,
            Source::Hub { .. } => self.paths(workspace).is_err(),
            Source::Files { .. } | Source::Rows(_) => false,
        }
    }

    /// Fetches what is not on this machine.
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
                // The first file at once, so that a missing one is an error of its own.
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

    /// Adds what decides over the records to a key.
    pub fn add_to(
        &self,
        fingerprint: &mut Fingerprint,
        workspace: &Workspace,
        digest_file: &(dyn Fn(&Path) -> io::Result<Digest> + Sync),
    ) -> Result<(), StageError> {
        let digest = |name: &str, path: &Path| {
            digest_file(path).map_err(|error| StageError::failed(format!("failed to read {name}: {error}")))
        };
        match self {
            Source::Files { format, .. } | Source::Hub { format, .. } => {
                for (index, (name, path)) in self.paths(workspace)?.into_iter().enumerate() {
                    // Names of files are no content; their order is, where a sample is the first rows.
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
            Source::Command { program, format, files: patterns } => {
                let command = match program {
                    Program::Shell(line) => Value::from(line.as_str()),
                    Program::Direct(words) => words.clone().into(),
                };
                fingerprint.setting("command", command);
                fingerprint.setting("format", format.name);
                // A word that is a file of the workspace, such as a script, is read as well.
                for word in program.words().filter(|word| workspace.path(word).is_file()) {
                    let path = workspace.path(&word);
                    fingerprint.files.insert(format!("files.{word}"), digest(&word, &path)?);
                }
                for pattern in patterns {
                    for name in files(workspace, pattern) {
                        let path = workspace.path(&name);
                        fingerprint.files.insert(format!("files.{name}"), digest(&name, &path)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the path behind a file of the fingerprint.
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

/// Puts the ordinal of a file above the lines of its records.
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

impl Program {
    /// Returns it as a user would type it.
    pub fn text(&self) -> String {
        match self {
            Program::Shell(line) => line.trim().to_owned(),
            Program::Direct(words) => words.join(" "),
        }
    }

    fn words(&self) -> impl Iterator<Item = String> {
        match self {
            Program::Shell(line) => line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            Program::Direct(words) => words.clone(),
        }
        .into_iter()
    }

    /// Returns the program that is missing, where that can be told without running anything.
    pub fn missing(&self, root: &Path) -> Option<String> {
        let Program::Direct(words) = self else {
            return None;
        };
        let name = words.first()?;
        let exists = if name.contains('/') {
            root.join(name).is_file()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
        };
        (!exists).then(|| name.clone())
    }

    /// Starts it in the workspace.
    fn start(&self, root: &Path) -> io::Result<Output> {
        let mut command = match self {
            Program::Shell(line) => {
                let mut command = Command::new("sh");
                command.args(["-c", line]);
                command
            }
            Program::Direct(words) => {
                let name = words.first().map_or("", String::as_str);
                // A path is meant from the workspace, wherever etalon was started.
                let program = if name.contains('/') {
                    std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()).join(name)
                } else {
                    PathBuf::from(name)
                };
                let mut command = Command::new(program);
                command.args(words.iter().skip(1));
                command
            }
        };
        command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let mut errors = child.stderr.take().expect("stderr is piped");
        let kept = said.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = errors.read(&mut buffer) {
                let mut said = kept.lock().expect("no panic while locked");
                said.extend(&buffer[..read]);
                let excess = said.len().saturating_sub(MAX_SAID);
                said.drain(..excess);
            }
        });
        Ok(Output { child, said })
    }
}

/// Bytes kept of what a program says on standard error.
const MAX_SAID: usize = 2_000;

/// What a program prints; an error at its end where the program failed.
struct Output {
    child: Child,
    said: Arc<Mutex<VecDeque<u8>>>,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.child.stdout {
            Some(stdout) => stdout.read(buffer)?,
            None => 0,
        };
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        self.child.stdout = None;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(0);
        }
        // A child that it leaves behind may hold its standard error open: what is there now is enough.
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut said = self.said.lock().expect("no panic while locked");
        let text = String::from_utf8_lossy(said.make_contiguous()).trim().to_owned();
        let text = if text.is_empty() { "it said nothing".to_owned() } else { format!("it said:\n{text}") };
        Err(io::Error::other(format!("the program ended with {status}; {text}")))
    }
}

impl Drop for Output {
    /// A reader that has enough ends the program.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
