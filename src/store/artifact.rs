//! Artifacts: a node's rows on disk, as zstd-compressed JSON lines in canonical form.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zstd::stream::{read::Decoder, write::Encoder};

use super::{Store, StoreError};
use crate::digest::{Digest, Hasher};
use crate::files::Draft;

const LEVEL: i32 = 1;

/// A stored table of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// The digest of the uncompressed bytes; the file is named by it.
    pub digest: Digest,
    /// How many records it holds.
    pub rows: u64,
    /// Size of the compressed file in bytes; planning checks it without reading the file.
    pub size: u64,
    /// The digest of the ids alone.
    pub ids: Digest,
    /// For each column that has any value: the digest of its (id, value) pairs.
    pub columns: BTreeMap<String, Digest>,
}

/// Writes an artifact. If it is dropped without [`ArtifactWriter::finish`], it leaves nothing behind.
pub struct ArtifactWriter {
    lines: LineWriter,
    columns: ColumnDigests,
    line: Vec<u8>,
}

/// Writes the lines of an artifact.
pub struct LineWriter {
    store: Arc<Store>,
    /// The path at which the file stands until it is complete.
    tmp: PathBuf,
    encoder: Encoder<'static, BufWriter<Draft>>,
    hasher: Hasher,
    ids: Hasher,
    rows: u64,
}

/// Computes the digests of an artifact's columns.
#[derive(Default)]
pub struct ColumnDigests(BTreeMap<String, Hasher>);

impl ColumnDigests {
    /// Adds a row's value in a column.
    pub fn add(&mut self, name: &str, id: &str, value: &[u8]) {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Hasher::new("etalon.column"));
        }
        let hasher = self.0.get_mut(name).expect("it was just inserted");
        hasher.field(id.as_bytes());
        hasher.field(value);
    }
}

impl Store {
    /// Starts an artifact.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn write_artifact(self: &Arc<Store>) -> Result<ArtifactWriter, StoreError> {
        let draft = self.draft()?;
        let tmp = draft.path().to_owned();
        let encoder =
            Encoder::new(BufWriter::with_capacity(1 << 16, draft), LEVEL).map_err(StoreError::io("write", &tmp))?;
        let lines = LineWriter {
            store: self.clone(),
            tmp,
            encoder,
            hasher: Hasher::new(""),
            ids: Hasher::new("etalon.ids"),
            rows: 0,
        };
        Ok(ArtifactWriter { lines, columns: ColumnDigests::default(), line: Vec::new() })
    }

    /// Reads an artifact's rows, in order. The last item is an error if the content does not match the digest.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn read_artifact<T: DeserializeOwned>(&self, artifact: &Artifact) -> Result<ArtifactReader<T>, StoreError> {
        Ok(ArtifactReader { lines: self.read_lines(artifact)?, line: Vec::new(), of: PhantomData })
    }

    /// Reads an artifact's lines, for callers that parse them themselves.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn read_lines(&self, artifact: &Artifact) -> Result<LineReader, StoreError> {
        let path = self.artifact_path(&artifact.digest);
        let file = File::open(&path).map_err(|_| corrupt(&artifact.digest, "missing"))?;
        let decoder = Decoder::new(file).map_err(|_| corrupt(&artifact.digest, "unreadable"))?;
        let reader = Some(BufReader::with_capacity(1 << 17, decoder));
        Ok(LineReader { reader, hasher: Hasher::new(""), digest: artifact.digest })
    }

    /// Reads a whole artifact, to know that it is what it was.
    ///
    /// # Errors
    ///
    /// It cannot be read, or its content does not match its digest.
    pub fn verify(&self, artifact: &Artifact) -> Result<(), StoreError> {
        let mut lines = self.read_lines(artifact)?;
        let mut line = Vec::new();
        while lines.read_into(&mut line)? {}
        Ok(())
    }

    /// Returns the path of a stored artifact.
    pub fn artifact_path(&self, digest: &Digest) -> PathBuf {
        let scratch = self.scratch_path(digest).filter(|path| path.exists());
        scratch.unwrap_or_else(|| self.sharded("artifacts", digest, ".jsonl.zst"))
    }

    /// Returns the path for an artifact that is being made; in a store opened by [`Store::open_scratch`] that is the
    /// scratch directory.
    fn new_artifact_path(&self, digest: &Digest) -> PathBuf {
        self.scratch_path(digest).unwrap_or_else(|| self.sharded("artifacts", digest, ".jsonl.zst"))
    }

    /// Returns what is wrong with an artifact, as far as its existence and size tell.
    pub(super) fn artifact_defect(&self, artifact: &Artifact) -> Option<String> {
        match fs::metadata(self.artifact_path(&artifact.digest)) {
            Ok(metadata) if metadata.len() == artifact.size => None,
            Ok(metadata) => Some(format!("{} bytes instead of {}", metadata.len(), artifact.size)),
            Err(_) => Some("missing".to_owned()),
        }
    }
}

fn corrupt(digest: &Digest, reason: &str) -> StoreError {
    StoreError::Corrupt { digest: *digest, reason: reason.to_owned() }
}

impl ArtifactWriter {
    /// Appends a record. Records must come sorted by id (and sample).
    pub fn push<T: Serialize>(&mut self, id: &str, record: &T) -> Result<(), StoreError> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        serde_json::to_writer(&mut line, record).expect("records serialise to memory");
        debug_assert!(is_canonical(&line), "not canonical: {}", String::from_utf8_lossy(&line));
        let result = self.lines.push(id, &line);
        self.line = line;
        result
    }

    /// Appends a record that is a canonical line already, without its newline.
    pub fn push_line(&mut self, id: &str, line: &[u8]) -> Result<(), StoreError> {
        self.lines.push(id, line)
    }

    /// Adds a row's value in a column to the digest of that column.
    pub fn column(&mut self, name: &str, id: &str, value: &[u8]) {
        self.columns.add(name, id, value);
    }

    /// Returns the two halves, so that two threads can fill them at the same time.
    pub fn parts(&mut self) -> (&mut LineWriter, &mut ColumnDigests) {
        (&mut self.lines, &mut self.columns)
    }

    /// Completes the file and moves it to its place.
    ///
    /// # Errors
    ///
    /// The disk refuses the bytes; then nothing is left behind.
    pub fn finish(self) -> Result<Artifact, StoreError> {
        let columns = self.columns.0.into_iter().map(|(name, hasher)| (name, hasher.finish())).collect();
        self.lines.finish(columns)
    }
}

impl LineWriter {
    /// Appends a canonical line, without its newline.
    pub fn push(&mut self, id: &str, line: &[u8]) -> Result<(), StoreError> {
        let encoder = &mut self.encoder;
        encoder.write_all(line).and_then(|()| encoder.write_all(b"\n")).map_err(StoreError::io("write", &self.tmp))?;
        self.hasher.update(line);
        self.hasher.update(b"\n");
        self.ids.field(id.as_bytes());
        self.rows += 1;
        Ok(())
    }

    fn finish(self, columns: BTreeMap<String, Digest>) -> Result<Artifact, StoreError> {
        let draft = self
            .encoder
            .finish()
            .and_then(|buffered| buffered.into_inner().map_err(std::io::IntoInnerError::into_error))
            .map_err(StoreError::io("write", &self.tmp))?;
        let size = draft.file().metadata().map_err(StoreError::io("read", &self.tmp))?.len();
        let digest = self.hasher.finish();
        Store::place(draft, &self.store.new_artifact_path(&digest))?;
        Ok(Artifact { digest, rows: self.rows, size, ids: self.ids.finish(), columns })
    }
}

fn is_canonical(line: &[u8]) -> bool {
    serde_json::from_slice(line).is_ok_and(|value| crate::digest::canonical(&value) == line)
}

/// Reads an artifact line by line, and verifies its digest at the end.
pub struct LineReader {
    /// None after the end or an error.
    reader: Option<BufReader<Decoder<'static, BufReader<File>>>>,
    hasher: Hasher,
    digest: Digest,
}

impl LineReader {
    /// Reads the next line with its newline into the buffer; false at the end.
    pub(super) fn read_into(&mut self, line: &mut Vec<u8>) -> Result<bool, StoreError> {
        line.clear();
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        let length = reader.read_until(b'\n', line).map_err(|_| StoreError::damaged(self.digest))?;
        if length == 0 {
            self.reader = None;
            let found = std::mem::replace(&mut self.hasher, Hasher::new("")).finish();
            return if found == self.digest { Ok(false) } else { Err(corrupt(&self.digest, "changed")) };
        }
        self.hasher.update(line);
        Ok(true)
    }
}

impl Iterator for LineReader {
    type Item = Result<Vec<u8>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::with_capacity(256);
        match self.read_into(&mut line) {
            Ok(true) => Some(Ok(line)),
            Ok(false) => None,
            Err(error) => {
                self.reader = None;
                Some(Err(error))
            }
        }
    }
}

/// Reads an artifact row by row.
pub struct ArtifactReader<T> {
    lines: LineReader,
    line: Vec<u8>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for ArtifactReader<T> {
    type Item = Result<T, StoreError>;

    fn next(&mut self) -> Option<Result<T, StoreError>> {
        let result = match self.lines.read_into(&mut self.line) {
            Ok(false) => return None,
            Ok(true) => serde_json::from_slice(&self.line).map_err(|_| StoreError::damaged(self.lines.digest)),
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.lines.reader = None;
        }
        Some(result)
    }
}
