//! What the store holds: sizes by kind, and the ledger of what was bought.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::completion::check_line;
use super::{Store, StoreError};

/// The kinds of things in a store: their folders, and what they are.
const KINDS: &[(&str, &str)] = &[
    ("completions", "what models said: purchases"),
    ("artifacts", "rows of results"),
    ("manifests", "what each key leads to"),
    ("contrasts", "comparisons of nodes"),
    ("embeddings", "vectors of texts"),
    ("hub", "downloaded datasets"),
    ("batches", "batches under way"),
    ("sources", "texts of templates"),
    ("probes", "what servers said about themselves"),
    ("tmp", "unfinished files"),
];

/// All that a store holds of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holding {
    pub name: &'static str,
    pub about: &'static str,
    pub files: u64,
    pub bytes: u64,
}

/// What was bought of one model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ledger {
    /// The digest of the model's identity: the name of its folder.
    pub identity: String,
    /// The model's name at its server, as the last request says it.
    pub model: Option<String>,
    pub completions: u64,
    /// Answers that were billed and are of no use.
    pub useless: u64,
    /// Lines that cannot be read: torn when a process was killed, or damaged.
    pub damaged: u64,
    pub bytes: u64,
    /// Dollars, as far as the prices are known.
    pub cost_usd: f64,
    /// Completions and useless answers without a known price.
    pub unpriced: u64,
    /// When the first and the last answer came, as `2026-11-23T20:05:01Z`.
    pub first: Option<String>,
    pub last: Option<String>,
}

/// A line of the completion log, as far as the ledger reads it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    at: &'a str,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
}

impl Store {
    /// Returns what the store holds, kinds without files left out.
    pub fn holdings(&self) -> Vec<Holding> {
        let held = KINDS.iter().map(|(name, about)| {
            let sizes: Vec<u64> = files_below(&self.root.join(name)).iter().map(|(_, size, _)| *size).collect();
            Holding { name, about, files: sizes.len() as u64, bytes: sizes.iter().sum() }
        });
        held.filter(|holding| holding.files > 0).collect()
    }

    /// Reads all completions, and returns what was bought of each model. `price` returns what an answer of a model cost,
    /// given the digest of the model's identity.
    ///
    /// # Errors
    ///
    /// A file of the log cannot be read.
    pub fn ledgers(&self, price: &(dyn Fn(&str, &str) -> Option<f64> + Sync)) -> Result<Vec<Ledger>, StoreError> {
        let folder = self.root.join("completions");
        let mut models: Vec<PathBuf> =
            fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        models.retain(|path| path.is_dir());
        models.sort();
        models.par_iter().map(|folder| ledger(folder, price)).collect()
    }

    /// Removes the completions of a model. What they cost must be paid again when they are asked for again.
    ///
    /// # Errors
    ///
    /// They cannot be removed.
    pub fn forget_completions(&self, identity: &str) -> Result<(), StoreError> {
        let folder = self.root.join("completions").join(identity);
        fs::remove_dir_all(&folder).map_err(StoreError::io("remove", &folder))
    }
}

fn ledger(folder: &Path, price: &(dyn Fn(&str, &str) -> Option<f64> + Sync)) -> Result<Ledger, StoreError> {
    let identity = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut ledger = Ledger { identity, ..Ledger::default() };
    for (path, size, _) in files_below(folder) {
        ledger.bytes += size;
        each_line(&path, |line| ledger.add(line, price))?;
    }
    Ok(ledger)
}

impl Ledger {
    fn add(&mut self, line: &[u8], price: &(dyn Fn(&str, &str) -> Option<f64> + Sync)) {
        let whole = check_line(line).and_then(|_| serde_json::from_slice::<Line<'_>>(line).ok());
        let Some(Line { kind, at, request, response }) = whole else {
            self.damaged += 1;
            return;
        };
        match kind {
            "chat" => self.completions += 1,
            _ => self.useless += 1,
        }
        match price(&self.identity, response.get()) {
            Some(dollars) => self.cost_usd += dollars,
            None => self.unpriced += 1,
        }
        if self.first.as_deref().is_none_or(|first| at < first) {
            self.first = Some(at.to_owned());
        }
        if self.last.as_deref().is_none_or(|last| at >= last) {
            self.last = Some(at.to_owned());
            let asked = serde_json::from_str::<Asked>(request.get());
            self.model = asked.ok().and_then(|asked| asked.model).or(self.model.take());
        }
    }
}

/// Calls a function with every line of a file.
pub(super) fn each_line(path: &Path, mut line: impl FnMut(&[u8])) -> Result<(), StoreError> {
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).map_err(StoreError::io("read", path))? > 0 {
        line(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
        bytes.clear();
    }
    Ok(())
}

/// Returns the files below a folder, with their sizes and when they were changed. Links are not followed.
pub(super) fn files_below(folder: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if metadata.is_file() {
            found.push((entry.path(), metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)));
        }
    }
    found.sort();
    found
}
