//! Datasets: readers of the files that people have.
//!
//! A reader turns a file into [`Record`]s, one by one; a record that cannot be read is a [`BadRow`]
//! with its line, and reading goes on behind it.
//!
//! **Adding a reader:** one file with a function `open`, one line in [`FORMATS`].

mod csv;
mod jsonl;

use std::path::Path;

use serde_json::{Map, Value};

/// One record as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Line in its file, from 1.
    pub line: u64,
    pub columns: Map<String, Value>,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadRow {
    pub line: u64,
    pub message: String,
}

/// Records in the order of the file.
pub type Records = Box<dyn Iterator<Item = Result<Record, BadRow>> + Send>;

/// A file format.
pub struct Format {
    pub name: &'static str,
    pub extensions: &'static [&'static str],
    open: fn(&Path) -> std::io::Result<Records>,
}

/// The formats there are.
pub const FORMATS: &[Format] = &[
    Format { name: "jsonl", extensions: &["jsonl", "ndjson"], open: jsonl::open },
    Format { name: "csv", extensions: &["csv"], open: csv::open },
];

/// Returns the format of a path by its extension.
pub fn format_of(path: &str) -> Option<&'static Format> {
    let extension = Path::new(path).extension()?.to_str()?.to_lowercase();
    FORMATS.iter().find(|format| format.extensions.contains(&extension.as_str()))
}

impl Format {
    /// Opens a file.
    pub fn open(&self, path: &Path) -> std::io::Result<Records> {
        (self.open)(path)
    }
}
