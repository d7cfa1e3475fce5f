//! Vectors of texts, kept on disk by the digest of the text.
//!
//! A file holds records of one size: the digest of the text, the numbers, and a checksum. Every process appends to a
//! file of its own, with one `write` per record; a torn record at the end is ignored.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;

/// The vectors of one model.
pub struct EmbeddingCache {
    folder: PathBuf,
    dimensions: usize,
    files: Vec<File>,
    /// For each digest: the file, and the offset at which the numbers start.
    places: HashMap<Digest, (usize, u64)>,
    writer: Option<File>,
}

/// Makes the names of files within one process different.
static FILES: AtomicU64 = AtomicU64::new(0);

impl EmbeddingCache {
    /// Opens the kept vectors of a model below a folder. Whatever cannot be read is treated as absent.
    pub fn open(folder: &Path, model: Digest, dimensions: usize) -> EmbeddingCache {
        let folder = folder.join(model.to_string());
        let mut cache = EmbeddingCache { folder, dimensions, files: Vec::new(), places: HashMap::new(), writer: None };
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(&cache.folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            // A file that cannot be read is ignored, and its vectors are computed again.
            _ = cache.index(&path);
        }
        cache
    }

    fn record(&self) -> usize {
        32 + 4 * self.dimensions + 4
    }

    fn index(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let mut reader = BufReader::new(file.try_clone()?);
        let mut record = vec![0; self.record()];
        let mut at = 0u64;
        while reader.read_exact(&mut record).is_ok() {
            if is_whole(&record) {
                let digest: [u8; 32] = record[..32].try_into().expect("a record opens with a digest");
                self.places.insert(Digest::from(digest), (self.files.len(), at + 32));
            }
            at += record.len() as u64;
        }
        self.files.push(file);
        Ok(())
    }

    /// Returns the kept vector of a text, if there is one.
    pub fn get(&self, text: &str) -> Option<Vec<f32>> {
        let (file, at) = self.places.get(&Digest::of(text.as_bytes()))?;
        let mut bytes = vec![0; 4 * self.dimensions];
        self.files[*file].read_exact_at(&mut bytes, *at).ok()?;
        Some(bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect())
    }

    /// Keeps the vector of a text. If that fails, the vector is computed again next time.
    pub fn put(&mut self, text: &str, vector: &[f32]) {
        let mut record = Vec::with_capacity(self.record());
        record.extend_from_slice(Digest::of(text.as_bytes()).bytes());
        vector.iter().for_each(|number| record.extend_from_slice(&number.to_le_bytes()));
        record.extend_from_slice(&crc32fast::hash(&record).to_le_bytes());
        if self.writer.is_none() {
            let name = format!("{}-{}.f32", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
            let open = || {
                std::fs::create_dir_all(&self.folder)?;
                File::options().append(true).create(true).open(self.folder.join(name))
            };
            self.writer = open().ok();
        }
        if let Some(writer) = &mut self.writer {
            _ = writer.write_all(&record);
        }
    }
}

fn is_whole(record: &[u8]) -> bool {
    let (body, checksum) = record.split_at(record.len() - 4);
    crc32fast::hash(body).to_le_bytes() == checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_a_torn_tail_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let model = Digest::of(b"model");
        let mut cache = EmbeddingCache::open(folder.path(), model, 2);
        cache.put("a", &[1.0, 2.0]);
        cache.put("b", &[3.0, 4.0]);
        drop(cache);
        let file = std::fs::read_dir(folder.path().join(model.to_string())).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        let length = bytes.len();
        bytes[length - 20] ^= 1;
        bytes.extend_from_slice(&[0; 7]);
        std::fs::write(&file, bytes).unwrap();
        let cache = EmbeddingCache::open(folder.path(), model, 2);
        assert_eq!((cache.get("a"), cache.get("b"), cache.get("c")), (Some(vec![1.0, 2.0]), None, None));
        assert_eq!(EmbeddingCache::open(folder.path(), Digest::of(b"other"), 2).get("a"), None);
    }
}
