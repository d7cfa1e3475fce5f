//! Datasets: readers of the files that people have.
//!
//! A reader turns a file into [`Record`]s, one by one; a record that cannot be read is a [`BadRow`]
//! with its line, and reading goes on behind it.
//!
//! **Adding a reader:** one file with a function `open`, one line in [`FORMATS`].

mod csv;
mod json;
mod jsonl;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};

/// One record as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Line in its file, from 1.
    pub line: u64,
    content: Content,
}

/// What a record holds: JSON is parsed by whoever wants it, on as many threads as there are.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    Columns(Map<String, Value>),
    Json(Vec<u8>),
}

impl Record {
    /// Returns a record whose columns are known.
    pub fn new(line: u64, columns: Map<String, Value>) -> Record {
        Record { line, content: Content::Columns(columns) }
    }

    /// Returns about how many bytes it has.
    pub fn weight(&self) -> usize {
        match &self.content {
            Content::Columns(columns) => 64 * columns.len() + 64,
            Content::Json(text) => text.len(),
        }
    }

    /// Returns the columns.
    pub fn columns(self) -> Result<Map<String, Value>, BadRow> {
        match self.content {
            Content::Columns(columns) => Ok(columns),
            Content::Json(text) => jsonl::parse(&text, self.line),
        }
    }
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

/// The bytes of a file, decompressed.
type Input = Box<dyn Read + Send>;

/// A file format.
pub struct Format {
    pub name: &'static str,
    pub extensions: &'static [&'static str],
    open: fn(Input) -> std::io::Result<Records>,
}

/// The formats there are; each may be compressed with gzip (`.gz`) or zstd (`.zst`).
pub const FORMATS: &[Format] = &[
    Format { name: "jsonl", extensions: &["jsonl", "ndjson"], open: jsonl::open },
    Format { name: "json", extensions: &["json"], open: json::open },
    Format { name: "csv", extensions: &["csv"], open: csv::open },
    Format { name: "tsv", extensions: &["tsv"], open: csv::open_tabs },
];

#[derive(Clone, Copy, PartialEq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Splits the extension of a compression off a path.
fn compression_of(path: &str) -> (&str, Compression) {
    let lower = path.to_lowercase();
    for (extension, compression) in
        [(".gz", Compression::Gzip), (".zst", Compression::Zstd), (".zstd", Compression::Zstd)]
    {
        if lower.ends_with(extension) {
            return (&path[..path.len() - extension.len()], compression);
        }
    }
    (path, Compression::None)
}

/// Returns the format of a path by its extension, below that of a compression.
pub fn format_of(path: &str) -> Option<&'static Format> {
    let extension = Path::new(compression_of(path).0).extension()?.to_str()?.to_lowercase();
    FORMATS.iter().find(|format| format.extensions.contains(&extension.as_str()))
}

impl Format {
    /// Opens a file. It is decompressed as it is read; damage shows as a bad row.
    pub fn open(&self, path: &Path) -> std::io::Result<Records> {
        let file = File::open(path)?;
        let input: Input = match compression_of(&path.to_string_lossy()).1 {
            Compression::None => Box::new(file),
            // Of several members, as `cat a.gz b.gz` makes them, all are read.
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(file))),
            Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
        };
        (self.open)(input)
    }
}
