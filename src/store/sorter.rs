//! Sorting more rows by id than memory holds: chunks are sorted, written to disk, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use super::{Store, StoreError};
use crate::files::Draft;

/// Bytes held before a chunk is written to disk.
const CHUNK: usize = 64 * 1024 * 1024;

/// Collects (id, line) pairs in any order.
pub struct Sorter<'a> {
    store: &'a Store,
    bytes: Vec<u8>,
    /// For each line: its start, the end of its id, its end.
    entries: Vec<(usize, usize, usize)>,
    /// Sorted chunks on disk; they are removed with the sorter.
    spilled: Vec<Draft>,
    chunk: usize,
}

impl Store {
    /// Returns an empty sorter that writes its chunks into this store.
    pub fn sorter(&self) -> Sorter<'_> {
        Sorter { store: self, bytes: Vec::new(), entries: Vec::new(), spilled: Vec::new(), chunk: CHUNK }
    }
}

impl<'a> Sorter<'a> {
    /// Adds a line under an id.
    ///
    /// # Errors
    ///
    /// A chunk cannot be written to disk.
    pub fn push(&mut self, id: &str, line: &[u8]) -> Result<(), StoreError> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(id.as_bytes());
        self.bytes.extend_from_slice(line);
        self.entries.push((start, start + id.len(), self.bytes.len()));
        if self.bytes.len() + self.entries.len() * 24 >= self.chunk {
            self.spill()?;
        }
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        // The sort is stable, so that repeats of an id keep the order in which they came.
        self.entries.sort_by(|a, b| bytes[a.0..a.1].cmp(&bytes[b.0..b.1]));
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        self.sort();
        let mut spill = self.store.draft()?;
        let mut write = || -> io::Result<()> {
            let mut file = BufWriter::new(&mut spill);
            for (start, id_end, end) in &self.entries {
                file.write_all(&((id_end - start) as u32).to_le_bytes())?;
                file.write_all(&((end - id_end) as u32).to_le_bytes())?;
                file.write_all(&self.bytes[*start..*end])?;
            }
            file.flush()
        };
        write().map_err(StoreError::io("write", spill.path()))?;
        self.spilled.push(spill);
        self.bytes.clear();
        self.entries.clear();
        Ok(())
    }

    /// Returns the lines sorted by id.
    ///
    /// # Errors
    ///
    /// A chunk cannot be written to disk or read again.
    pub fn finish(mut self) -> Result<SortedLines<'a>, StoreError> {
        if !self.spilled.is_empty() && !self.entries.is_empty() {
            self.spill()?;
        }
        self.sort();
        let mut heap = BinaryHeap::new();
        let mut readers = Vec::new();
        for (index, spill) in self.spilled.iter().enumerate() {
            let file = File::open(spill.path()).map_err(StoreError::io("read", spill.path()))?;
            let mut reader = BufReader::with_capacity(1 << 16, file);
            if let Some((id, line)) = read_entry(&mut reader).map_err(StoreError::io("read", spill.path()))? {
                heap.push(Reverse((id, index, line)));
            }
            readers.push(reader);
        }
        Ok(SortedLines { sorter: self, next: 0, heap, readers })
    }
}

fn read_entry(reader: &mut impl Read) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut lengths = [0; 8];
    match reader.read_exact(&mut lengths) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let mut id = vec![0; length(&lengths[..4])];
    let mut line = vec![0; length(&lengths[4..])];
    reader.read_exact(&mut id)?;
    reader.read_exact(&mut line)?;
    Ok(Some((id, line)))
}

/// The next line of a chunk: its id, the chunk's number, the line.
type Next = (Vec<u8>, usize, Vec<u8>);

/// Lines in the order of their ids.
pub struct SortedLines<'a> {
    sorter: Sorter<'a>,
    next: usize,
    heap: BinaryHeap<Reverse<Next>>,
    readers: Vec<BufReader<File>>,
}

impl SortedLines<'_> {
    /// Copies the next id and line into the buffers; false at the end.
    pub fn next_into(&mut self, id: &mut String, line: &mut Vec<u8>) -> Result<bool, StoreError> {
        id.clear();
        line.clear();
        if self.sorter.spilled.is_empty() {
            let Some((start, id_end, end)) = self.sorter.entries.get(self.next) else {
                return Ok(false);
            };
            id.push_str(std::str::from_utf8(&self.sorter.bytes[*start..*id_end]).expect("ids are text"));
            line.extend_from_slice(&self.sorter.bytes[*id_end..*end]);
            self.next += 1;
            return Ok(true);
        }
        let Some(Reverse((next_id, index, next_line))) = self.heap.pop() else {
            return Ok(false);
        };
        let path = self.sorter.spilled[index].path();
        if let Some((id, line)) = read_entry(&mut self.readers[index]).map_err(StoreError::io("read", path))? {
            self.heap.push(Reverse((id, index, line)));
        }
        id.push_str(std::str::from_utf8(&next_id).expect("ids are text"));
        *line = next_line;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilled_chunks_merge_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for chunk in [100, CHUNK] {
            let mut sorter = store.sorter();
            sorter.chunk = chunk;
            for number in [5, 3, 9, 1, 7, 2, 8, 4, 6, 0, 3] {
                sorter.push(&format!("id{number}"), format!("line {number}").as_bytes()).unwrap();
            }
            let mut lines = sorter.finish().unwrap();
            let (mut id, mut line, mut seen) = (String::new(), Vec::new(), Vec::new());
            while lines.next_into(&mut id, &mut line).unwrap() {
                seen.push(id.clone());
            }
            assert_eq!(seen.join(" "), "id0 id1 id2 id3 id3 id4 id5 id6 id7 id8 id9");
        }
        assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0, "spills are removed");
    }
}
