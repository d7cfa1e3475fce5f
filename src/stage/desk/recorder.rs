//! The recorder: what models said in a run, as a file that provider `replay` reads.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::files;
use crate::provider::{Reply, Request, recorded};

/// Writes completions as they come, and puts them in order at the end: so the same completions make the same file.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: Mutex<File>,
}

impl Recorder {
    /// Starts a file; what stands at the path is replaced.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Recorder> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(Recorder { path: path.to_owned(), file: Mutex::new(File::create(path)?) })
    }

    /// Adds what a model said.
    pub(super) fn add(&self, model: &str, request: &Request, reply: &Reply) -> io::Result<()> {
        let mut line = recorded(model, request, reply);
        line.push('\n');
        self.file.lock().expect("no panic while locked").write_all(line.as_bytes())
    }

    /// Puts the completions in order, each once. Returns how many there are.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written; it is complete, and out of order.
    pub fn finish(&self) -> io::Result<usize> {
        let text = std::fs::read_to_string(&self.path)?;
        let lines: BTreeSet<&str> = text.lines().collect();
        let mut sorted = String::with_capacity(text.len());
        for line in &lines {
            sorted.push_str(line);
            sorted.push('\n');
        }
        files::write(&self.path, sorted.as_bytes())?;
        Ok(lines.len())
    }
}
