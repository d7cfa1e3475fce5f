//! What changed between two artifacts. It is found by comparing their lines, which stand sorted by id.
//!
//! Lines that are equal byte for byte are skipped without being parsed, so that a comparison costs little more than
//! decompressing. Changed lines are held in memory; the comparison gives up when they become many, because then taking
//! over the rest would save little.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};

use serde::Deserialize;

use super::{Artifact, LineReader, Store, StoreError};
use crate::digest::Digest;

/// At most so many bytes of changed lines are held.
const MOST_BYTES: usize = 128 * 1024 * 1024;
/// At most one row in so many may have changed; beyond that, making all rows anew costs no more.
const ONE_OF: u64 = 4;

/// The rows that differ between two artifacts.
#[derive(Debug, Default)]
pub struct Changed {
    /// For each id that differs: its lines in the later artifact; empty if the id is gone.
    lines: BTreeMap<String, Vec<Vec<u8>>>,
}

/// Returns the id of a stored line.
pub(crate) fn id_of(line: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    // In a row's line the id stands first, so the rest is not parsed.
    if let Some(rest) = line.strip_prefix(b"{\"id\":") {
        return serde_json::Deserializer::from_slice(rest).into_iter::<Cow<'_, str>>().next()?.ok();
    }
    serde_json::from_slice::<Id<'_>>(line).ok().map(|found| found.id)
}

impl Changed {
    /// Returns true for an id whose records differ.
    pub fn has(&self, id: &str) -> bool {
        self.lines.contains_key(id)
    }

    /// Returns the ids that differ, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.lines.keys().map(String::as_str)
    }

    /// Returns the changed ids that the later artifact still has, in order, with their lines.
    pub fn now(&self) -> impl Iterator<Item = (&str, &[Vec<u8>])> {
        let is_there = |(_, lines): &(&String, &Vec<Vec<u8>>)| !lines.is_empty();
        self.lines.iter().filter(is_there).map(|(id, lines)| (id.as_str(), lines.as_slice()))
    }

    fn between(store: &Store, before: &Artifact, now: &Artifact) -> Result<Option<Changed>, StoreError> {
        let mut changed = Changed::default();
        if before.digest == now.digest {
            return Ok(Some(changed));
        }
        let mut then = Side::open(store.read_lines(before)?)?;
        let mut since = Side::open(store.read_lines(now)?)?;
        let (mut bytes, mut has_samples) = (0, false);
        while then.is_there || since.is_there {
            if then.is_there && since.is_there && then.line == since.line {
                then.advance()?;
                since.advance()?;
                continue;
            }
            let (old, new) = (then.id(before)?, since.id(now)?);
            let is_first = |a: &Option<String>, b: &Option<String>| match (a, b) {
                (Some(a), Some(b)) => a <= b,
                (a, _) => a.is_some(),
            };
            let (takes_old, takes_new) = (is_first(&old, &new), is_first(&new, &old));
            if let Some(old) = old.filter(|_| takes_old) {
                has_samples |= is_sampled(&then.line);
                changed.lines.entry(old).or_default();
                then.advance()?;
            }
            if let Some(new) = new.filter(|_| takes_new) {
                bytes += since.line.len();
                has_samples |= is_sampled(&since.line);
                changed.lines.entry(new).or_default().push(std::mem::take(&mut since.line));
                since.advance()?;
            }
            if bytes > MOST_BYTES || changed.lines.len() as u64 > 16 + now.rows / ONE_OF {
                return Ok(None);
            }
        }
        if has_samples {
            changed.complete(store, now)?;
        }
        Ok(Some(changed))
    }

    /// Adds the equal lines of changed ids: one of several samples may have changed, and the others are needed with it.
    fn complete(&mut self, store: &Store, now: &Artifact) -> Result<(), StoreError> {
        let mut found = lines_of(store, now, |id| self.lines.contains_key(id))?;
        for (id, lines) in &mut self.lines {
            *lines = found.remove(id).unwrap_or_default();
        }
        Ok(())
    }
}

/// Returns true if a record names its sample: then its id may have further records.
fn is_sampled(line: &[u8]) -> bool {
    line.windows(9).any(|part| part == b"\"sample\":")
}

/// Returns the lines of the wanted ids, by id.
///
/// # Errors
///
/// The artifact is damaged or cannot be read.
pub fn lines_of(
    store: &Store,
    artifact: &Artifact,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<Vec<u8>>>, StoreError> {
    let mut found: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut lines = Side::open(store.read_lines(artifact)?)?;
    while lines.is_there {
        let id = id_of(&lines.line).ok_or_else(|| StoreError::damaged(artifact.digest))?;
        if is_wanted(&id) {
            let id = id.into_owned();
            found.entry(id).or_default().push(std::mem::take(&mut lines.line));
        }
        lines.advance()?;
    }
    Ok(found)
}

/// An artifact that is being walked, with its current line.
struct Side {
    reader: LineReader,
    line: Vec<u8>,
    is_there: bool,
}

impl Side {
    fn open(reader: LineReader) -> Result<Side, StoreError> {
        let mut side = Side { reader, line: Vec::new(), is_there: true };
        side.advance()?;
        Ok(side)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.is_there = self.reader.read_into(&mut self.line)?;
        Ok(())
    }

    fn id(&self, artifact: &Artifact) -> Result<Option<String>, StoreError> {
        if !self.is_there {
            return Ok(None);
        }
        id_of(&self.line).map(|id| Some(id.into_owned())).ok_or_else(|| StoreError::damaged(artifact.digest))
    }
}

/// The lines of an earlier artifact whose ids did not change since.
pub struct KeptLines {
    side: Side,
    /// The digest of the artifact, for messages about damage.
    pub artifact: Digest,
    /// The current line has been handed out.
    is_used: bool,
}

impl KeptLines {
    /// Opens an artifact.
    pub fn open(store: &Store, artifact: &Artifact) -> Result<KeptLines, StoreError> {
        Ok(KeptLines { side: Side::open(store.read_lines(artifact)?)?, artifact: artifact.digest, is_used: false })
    }

    /// Returns the next line, without its newline, whose id is unchanged and below `end`; none if there is none. A
    /// caller that passes no `end` and goes on until it gets none has verified the digest.
    ///
    /// # Errors
    ///
    /// The artifact is damaged or cannot be read.
    pub fn next_before(
        &mut self,
        end: Option<&str>,
        has_changed: impl Fn(&str) -> bool,
    ) -> Result<Option<&[u8]>, StoreError> {
        loop {
            if self.is_used {
                self.is_used = false;
                self.side.advance()?;
            }
            if !self.side.is_there {
                return Ok(None);
            }
            let id = id_of(&self.side.line).ok_or_else(|| StoreError::damaged(self.artifact))?;
            if end.is_some_and(|end| *id >= *end) {
                return Ok(None);
            }
            self.is_used = true;
            if !has_changed(&id) {
                return Ok(Some(self.side.line.strip_suffix(b"\n").unwrap_or(&self.side.line)));
            }
        }
    }
}

/// A comparison that is made once; none inside: it cannot be told what changed.
type Compared = Arc<OnceLock<Option<Arc<Changed>>>>;

/// Differences found so far, by the digests of both artifacts, so that stages that read the same two compare them once.
#[derive(Default)]
pub struct Changes {
    found: Mutex<HashMap<(Digest, Digest), Compared>>,
}

impl Changes {
    /// Returns what changed between two artifacts. None if too much did, or if one of them is damaged, so that it
    /// cannot be told.
    pub fn between(&self, store: &Store, before: &Artifact, now: &Artifact) -> Option<Arc<Changed>> {
        let cell = {
            let mut found = self.found.lock().expect("no panic while locked");
            found.entry((before.digest, now.digest)).or_default().clone()
        };
        cell.get_or_init(|| Changed::between(store, before, now).ok().flatten().map(Arc::new)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, Scores};

    fn rows(store: &Arc<Store>, rows: &[(&str, i64)]) -> Artifact {
        let mut writer = store.write_artifact().unwrap();
        for (id, value) in rows {
            let columns = serde_json::Map::from_iter([("x".to_owned(), (*value).into())]);
            writer.push(id, &Row { id: (*id).to_owned(), columns }).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_changed_is_named_with_its_lines() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let before = rows(&store, &[("a", 1), ("b", 1), ("c", 1), ("e", 1)]);
        let now = rows(&store, &[("a", 1), ("b", 2), ("d", 1), ("e", 1)]);
        let changes = Changes::default();
        let changed = changes.between(&store, &before, &now).unwrap();
        assert_eq!(changed.ids().collect::<Vec<_>>(), ["b", "c", "d"]);
        let now: Vec<String> =
            changed.now().map(|(id, lines)| format!("{id} {}", String::from_utf8_lossy(&lines[0]).trim())).collect();
        assert_eq!(now, ["b {\"id\":\"b\",\"row\":{\"x\":2}}", "d {\"id\":\"d\",\"row\":{\"x\":1}}"]);
    }

    #[test]
    fn a_row_changed_in_one_sample_comes_with_all_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let write = |value: i64| {
            let mut writer = store.write_artifact().unwrap();
            for (id, sample, value) in [("a", 0, 1), ("a", 1, value), ("b", 0, 1)] {
                let scores = serde_json::Map::from_iter([("m".to_owned(), value.into())]);
                writer.push(id, &Scores { id: id.to_owned(), sample, scores }).unwrap();
            }
            writer.finish().unwrap()
        };
        let (before, now) = (write(1), write(2));
        let changed = Changes::default().between(&store, &before, &now).unwrap();
        assert_eq!(changed.now().map(|(id, lines)| (id, lines.len())).collect::<Vec<_>>(), [("a", 2)]);
    }

    #[test]
    fn a_damaged_artifact_tells_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let (before, now) = (rows(&store, &[("a", 1)]), rows(&store, &[("a", 2)]));
        std::fs::write(store.artifact_path(&before.digest), b"x").unwrap();
        assert!(Changes::default().between(&store, &before, &now).is_none());
    }
}
