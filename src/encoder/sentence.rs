//! Sentence vectors, computed once per text.

use std::path::Path;
use std::sync::Mutex;

use super::{EmbeddingCache, Encoder, ModelFolder};
use crate::digest::Hasher;

/// How many texts are encoded before their vectors are kept on disk.
const BATCH: usize = 256;

/// A model that computes sentence vectors, with the vectors that it computed before.
pub struct SentenceEncoder {
    encoder: Encoder,
    cache: Option<Mutex<EmbeddingCache>>,
}

impl SentenceEncoder {
    /// Loads a model; `cache` is the folder in which the vectors of all models are kept.
    ///
    /// # Errors
    ///
    /// A file of the model cannot be read, or does not hold what a model needs.
    pub fn load(model: &ModelFolder, cache: Option<&Path>) -> Result<SentenceEncoder, String> {
        let encoder = Encoder::load(model, None)?;
        let cache = match cache {
            None => None,
            Some(folder) => {
                let mut hasher = Hasher::new("etalon.sentence-vectors.1");
                for (name, path) in model.files() {
                    let bytes =
                        std::fs::read(&path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
                    hasher.update(name.as_bytes());
                    hasher.update(&bytes.len().to_be_bytes());
                    hasher.update(&bytes);
                }
                Some(Mutex::new(EmbeddingCache::open(folder, hasher.finish(), encoder.dimensions())))
            }
        };
        Ok(SentenceEncoder { encoder, cache })
    }

    /// Returns a vector of length 1 for each text.
    ///
    /// # Errors
    ///
    /// A text cannot be cut into tokens, or the computation fails.
    pub fn vectors(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, String> {
        let mut found: Vec<Option<Vec<f32>>> = match &self.cache {
            Some(cache) => {
                let cache = cache.lock().expect("no panic while locked");
                texts.iter().map(|text| cache.get(text)).collect()
            }
            None => vec![None; texts.len()],
        };
        let missing: Vec<usize> = (0..texts.len()).filter(|index| found[*index].is_none()).collect();
        for batch in missing.chunks(BATCH) {
            let wanted: Vec<&str> = batch.iter().map(|index| texts[*index]).collect();
            let made = self.encoder.sentence_vectors(&wanted)?;
            for ((index, text), vector) in batch.iter().zip(wanted).zip(made) {
                if let Some(cache) = &self.cache {
                    cache.lock().expect("no panic while locked").put(text, &vector);
                }
                found[*index] = Some(vector);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }
}

/// Returns the cosine of two vectors of length 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
