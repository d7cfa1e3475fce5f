//! The scores of a run row by row, beside its document: `runs/<id>.scores.zst`.
//!
//! With them two runs are compared as pairs from git alone, also where nobody has the cache of either. The file is JSON in
//! zstd; a thousand rows with ten values are about 30 KB.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{ReadError, Records, VERSION};
use crate::files;

/// A file of scores that would be larger, in bytes, is not written: it is made for git.
pub const MOST_BYTES: usize = 1 << 20;

/// What a file of scores may hold when it is unpacked, in bytes.
const MOST_UNPACKED: usize = 1 << 28;

/// The level at which zstd packs.
const LEVEL: i32 = 12;

/// The scores of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunScores {
    /// The version of the document.
    pub etalon: u32,
    pub run: String,
    /// The rows, by the stage that made them.
    pub rows: BTreeMap<String, ScoredRows>,
    /// By stage, model and value.
    pub values: IndexMap<String, IndexMap<String, IndexMap<String, ValueScores>>>,
}

/// Rows that have scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoredRows {
    pub ids: Vec<String>,
    /// The beginning of the digest of each row's columns: a row with another digest is another row.
    pub digests: Vec<String>,
    /// By column: the cluster of each row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clusters: BTreeMap<String, Vec<u32>>,
}

/// A value row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueScores {
    /// The stage that made the rows.
    pub rows: String,
    /// The least and the greatest that the value can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// The column whose values put rows into clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// In the order of the rows; none for a row without a valid result.
    pub scores: Vec<Option<f64>>,
}

impl Records {
    fn scores_path(&self, run: &str) -> PathBuf {
        self.directory().join(format!("{run}.scores.zst"))
    }

    /// Writes the scores of a run beside its document. Returns the size of the file in bytes, or what it would be where it
    /// is too large to be written.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_scores(&self, scores: &RunScores) -> io::Result<Result<usize, usize>> {
        let text = serde_json::to_vec(scores).expect("scores serialise");
        let mut packer = zstd::bulk::Compressor::new(LEVEL)?;
        packer.include_checksum(true)?;
        let bytes = packer.compress(&text)?;
        if bytes.len() > MOST_BYTES {
            return Ok(Err(bytes.len()));
        }
        files::write(&self.scores_path(&scores.run), &bytes)?;
        Ok(Ok(bytes.len()))
    }

    /// Reads the scores of a run; none if no file of them is kept.
    ///
    /// # Errors
    ///
    /// The file is damaged, of a newer version, or holds the scores of another run.
    pub fn scores(&self, run: &str) -> Result<Option<RunScores>, ReadError> {
        let bytes = match fs::read(self.scores_path(run)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ReadError::Io(error.to_string())),
        };
        let damaged = |error: &dyn std::fmt::Display| ReadError::NoRun(format!("its scores are damaged: {error}"));
        let text = zstd::bulk::decompress(&bytes, MOST_UNPACKED).map_err(|error| damaged(&error))?;
        let scores: RunScores = match serde_json::from_slice(&text) {
            Ok(scores) => scores,
            Err(error) => match serde_json::from_slice::<Version>(&text) {
                Ok(Version { etalon }) if etalon > u64::from(VERSION) => {
                    return Err(ReadError::Newer { format: etalon });
                }
                _ => return Err(damaged(&error)),
            },
        };
        if u64::from(scores.etalon) > u64::from(VERSION) {
            return Err(ReadError::Newer { format: u64::from(scores.etalon) });
        }
        if scores.run != run {
            return Err(damaged(&format!("they are those of {}", scores.run)));
        }
        let is_whole = |value: &ValueScores| scores.rows.get(&value.rows).is_some_and(|rows| rows.fits(value));
        match scores.values.values().flat_map(IndexMap::values).flat_map(IndexMap::values).all(is_whole) {
            true => Ok(Some(scores)),
            false => Err(damaged(&"some rows have no score")),
        }
    }
}

impl ScoredRows {
    fn fits(&self, value: &ValueScores) -> bool {
        let n = self.ids.len();
        let clusters = value.cluster.as_ref().map(|column| self.clusters.get(column).map(Vec::len));
        self.digests.len() == n && value.scores.len() == n && clusters.is_none_or(|length| length == Some(n))
    }
}

#[derive(Deserialize)]
struct Version {
    etalon: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(run: &str, n: usize) -> RunScores {
        let ids: Vec<String> = (0..n).map(|row| format!("row-{row:05}")).collect();
        let digests =
            ids.iter().map(|id| crate::digest::Digest::of(id.as_bytes()).to_string()[..8].to_owned()).collect();
        let rows = ScoredRows { ids, digests, clusters: BTreeMap::new() };
        let value = |factor: usize| ValueScores {
            rows: "rows".to_owned(),
            range: Some((0.0, 1.0)),
            cluster: None,
            scores: (0..n).map(|row| Some(f64::from(u8::from(row * factor % 7 > 2)))).collect(),
        };
        let values = (0..10).map(|index| (format!("value_{index}"), value(index + 1))).collect();
        RunScores {
            etalon: VERSION,
            run: run.to_owned(),
            rows: [("rows".to_owned(), rows)].into_iter().collect(),
            values: [("exact".to_owned(), [("base".to_owned(), values)].into_iter().collect())].into_iter().collect(),
        }
    }

    #[test]
    fn they_are_small_and_read_back() {
        let root = tempfile::tempdir().unwrap();
        let records = Records::new(root.path(), "p");
        assert_eq!(records.scores("a"), Ok(None));
        let written = scores("a", 1_000);
        let size = records.write_scores(&written).unwrap().unwrap();
        assert!(size < 30_000, "{size}");
        assert_eq!(records.scores("a"), Ok(Some(written)));
    }

    #[test]
    fn damage_is_named() {
        let root = tempfile::tempdir().unwrap();
        let records = Records::new(root.path(), "p");
        records.write_scores(&scores("a", 10)).unwrap().unwrap();
        let path = root.path().join("runs/a.scores.zst");
        let bytes = fs::read(&path).unwrap();
        fs::copy(&path, root.path().join("runs/b.scores.zst")).unwrap();
        assert!(records.scores("b").unwrap_err().to_string().contains("those of a"));
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(records.scores("a").unwrap_err().to_string().contains("damaged"));
        let newer = zstd::bulk::compress(br#"{"etalon": 9}"#, 1).unwrap();
        fs::write(&path, newer).unwrap();
        assert!(matches!(records.scores("a"), Err(ReadError::Newer { format: 9 })));
        let mut short = scores("a", 10);
        short.values[0][0][0].scores.pop();
        records.write_scores(&short).unwrap().unwrap();
        assert!(records.scores("a").is_err());
    }
}
