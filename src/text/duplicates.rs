//! Near-duplicates among many texts: candidates by bands of MinHash signatures, then the exact Jaccard
//! similarity of their shingles (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3).

use std::collections::HashMap;

use super::{MinHash, Shingles, east_asian_apart, tokens};

/// Tokens of a shingle.
pub const SHINGLE: usize = 5;

/// Returns the tokens by which texts are compared: Chinese and Japanese characters one by one.
pub fn comparison_tokens(text: &str) -> Vec<String> {
    tokens(&east_asian_apart(text))
}

/// What texts are compared by.
pub struct Fingerprinted {
    shingles: Shingles,
    bands: Vec<u64>,
}

impl Fingerprinted {
    pub fn new(text: &str) -> Fingerprinted {
        let shingles = Shingles::of_tokens(&comparison_tokens(text), SHINGLE);
        let bands = if shingles.is_empty() { Vec::new() } else { MinHash::new(&shingles).bands().collect() };
        Fingerprinted { shingles, bands }
    }
}

/// Texts so far, none of which is a near-duplicate of another.
pub struct Distinct {
    threshold: f64,
    kept: Vec<Shingles>,
    /// Texts by band.
    bands: HashMap<u64, Vec<u32>>,
}

impl Distinct {
    /// Texts with a Jaccard similarity of `threshold` and more (0..=1) are near-duplicates.
    pub fn new(threshold: f64) -> Distinct {
        Distinct { threshold, kept: Vec::new(), bands: HashMap::new() }
    }

    /// Adds a text, unless it is a near-duplicate: then returns which of those added it is most similar
    /// to, and how similar. A text without tokens is like no other.
    pub fn add(&mut self, text: Fingerprinted) -> Option<(usize, f64)> {
        let mut candidates: Vec<u32> =
            text.bands.iter().filter_map(|band| self.bands.get(band)).flatten().copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let similar = candidates
            .into_iter()
            .map(|index| (index as usize, self.kept[index as usize].jaccard(&text.shingles)))
            .filter(|(_, similarity)| *similarity >= self.threshold)
            .reduce(|best, other| if other.1 > best.1 { other } else { best });
        if similar.is_some() {
            return similar;
        }
        let index = self.kept.len() as u32;
        for band in text.bands {
            self.bands.entry(band).or_default().push(index);
        }
        self.kept.push(text.shingles);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_duplicates_are_found_and_others_kept() {
        let base = "the customer asked for a refund because the package arrived damaged on a rainy tuesday in march";
        let mut distinct = Distinct::new(0.7);
        let mut add = |text: &str| distinct.add(Fingerprinted::new(text));
        assert_eq!(add(base), None);
        assert_eq!(add("something else entirely, that shares no five words with it at all"), None);
        assert_eq!(add(&base.to_uppercase()), Some((0, 1.0)));
        assert!(add(&base.replace("march", "april")).is_some_and(|(index, similarity)| index == 0 && similarity > 0.7));
        assert_eq!(add(&base.replace("refund", "new one").replace("rainy", "grey")), None);
        assert_eq!((add(""), add("")), (None, None));
    }
}
