//! Walking artifacts together. Their records stand sorted by id, so joining two of them is a merge that holds neither
//! in memory.
//!
//! [`ByRow`] is asked for one id after the other; [`outer`] goes through all ids that either of two artifacts has.
//!
//! **Invariant:** a caller that walks to the end has verified the digests of everything it walked through.

use std::cmp::Ordering;
use std::iter::Peekable;

use serde::de::DeserializeOwned;

use super::{Artifact, ArtifactReader, Store, StoreError};
use crate::row::OfRow;

/// The records of an artifact, taken row by row.
pub struct ByRow<T: DeserializeOwned> {
    records: Peekable<ArtifactReader<T>>,
}

impl<T: DeserializeOwned + OfRow> ByRow<T> {
    /// Opens an artifact.
    ///
    /// # Errors
    ///
    /// The artifact cannot be opened.
    pub fn open(store: &Store, artifact: &Artifact) -> Result<ByRow<T>, StoreError> {
        Ok(ByRow { records: store.read_artifact(artifact)?.peekable() })
    }

    /// Takes the records of an id. Ids must be asked for in ascending order. Records of ids in between are skipped:
    /// their rows do not exist any more.
    ///
    /// # Errors
    ///
    /// The artifact is damaged or cannot be read.
    pub fn take(&mut self, id: &str) -> Result<Vec<T>, StoreError> {
        let mut taken = Vec::new();
        let is_due = |record: &Result<T, StoreError>| record.as_ref().map_or(true, |record| record.row_id() <= id);
        while let Some(record) = self.records.next_if(is_due) {
            let record = record?;
            if record.row_id() == id {
                taken.push(record);
            }
        }
        Ok(taken)
    }

    /// Takes the next id with its records; none at the end.
    ///
    /// # Errors
    ///
    /// The artifact is damaged or cannot be read.
    pub fn next_row(&mut self) -> Result<Option<(String, Vec<T>)>, StoreError> {
        let Some(first) = self.records.next().transpose()? else { return Ok(None) };
        let id = first.row_id().to_owned();
        let mut row = vec![first];
        row.extend(self.take(&id)?);
        Ok(Some((id, row)))
    }

    /// Reads the rest, so that the digest is verified.
    ///
    /// # Errors
    ///
    /// The artifact is damaged or cannot be read.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.records.by_ref().try_for_each(|record| record.map(drop))
    }
}

/// Goes through the ids of two artifacts in ascending order, with the records that each artifact has for the id; the
/// list is empty if it has none. `each` returns false to stop early.
///
/// # Errors
///
/// An artifact is damaged or cannot be read.
pub fn outer<A, B>(
    mut first: ByRow<A>,
    mut second: ByRow<B>,
    mut each: impl FnMut(&str, &[A], &[B]) -> bool,
) -> Result<(), StoreError>
where
    A: DeserializeOwned + OfRow,
    B: DeserializeOwned + OfRow,
{
    let (mut a, mut b) = (first.next_row()?, second.next_row()?);
    loop {
        let order = match (&a, &b) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let of_first = a.take_if(|_| order != Ordering::Greater);
        let of_second = b.take_if(|_| order != Ordering::Less);
        let id = of_first.as_ref().map(|(id, _)| id).or(of_second.as_ref().map(|(id, _)| id));
        let goes_on = each(
            id.map_or("", String::as_str),
            of_first.as_ref().map_or(&[], |(_, records)| records),
            of_second.as_ref().map_or(&[], |(_, records)| records),
        );
        if !goes_on {
            return Ok(());
        }
        if of_first.is_some() {
            a = first.next_row()?;
        }
        if of_second.is_some() {
            b = second.next_row()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::row::Scores;

    fn scores(id: &str, sample: u32) -> Scores {
        Scores { id: id.to_owned(), sample, scores: serde_json::Map::new() }
    }

    fn artifact(store: &Arc<Store>, records: &[(&str, u32)]) -> Artifact {
        let mut writer = store.write_artifact().unwrap();
        for (id, sample) in records {
            writer.push(id, &scores(id, *sample)).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn records_of_rows_that_are_not_there_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let artifact = artifact(&store, &[("a", 0), ("b", 0), ("b", 1), ("d", 0)]);
        let mut records = ByRow::<Scores>::open(&store, &artifact).unwrap();
        assert_eq!(records.take("b").unwrap(), [scores("b", 0), scores("b", 1)]);
        assert_eq!(records.take("c").unwrap(), []);
        assert_eq!(records.take("d").unwrap(), [scores("d", 0)]);
        records.finish().unwrap();
    }

    #[test]
    fn all_ids_of_two_artifacts_come_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let first = artifact(&store, &[("a", 0), ("c", 0), ("c", 1)]);
        let second = artifact(&store, &[("b", 0), ("c", 0), ("d", 0)]);
        let open = |artifact| ByRow::<Scores>::open(&store, artifact).unwrap();
        let mut seen = Vec::new();
        outer(open(&first), open(&second), |id, a, b| {
            seen.push(format!("{id}{}{}", a.len(), b.len()));
            true
        })
        .unwrap();
        assert_eq!(seen.join(" "), "a10 b01 c21 d01");
    }

    #[test]
    fn damage_is_found_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        let whole = artifact(&store, &[("a", 0), ("b", 0)]);
        let other = artifact(&store, &[("a", 0), ("b", 1)]);
        std::fs::copy(store.artifact_path(&other.digest), store.artifact_path(&whole.digest)).unwrap();
        let mut records = ByRow::<Scores>::open(&store, &whole).unwrap();
        assert_eq!(records.take("a").unwrap().len(), 1);
        assert!(matches!(records.finish(), Err(StoreError::Corrupt { .. })));
    }
}
