//! Near-duplicates among many texts: bands of MinHash signatures find candidates, which are then compared by the exact
//! Jaccard similarity of their shingles (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3).

use foldhash::{HashMap, HashMapExt};

use super::shingles::{BANDS, comparison_digests};
use super::{MinHash, Shingles, east_asian_apart, tokens};

/// How many tokens a shingle has.
pub const SHINGLE: usize = 5;

/// Returns the tokens by which texts are compared. Each Chinese or Japanese character is a token.
pub fn comparison_tokens(text: &str) -> Vec<String> {
    tokens(&east_asian_apart(text))
}

/// A text in the form in which it is compared.
pub struct Fingerprinted {
    shingles: Shingles,
    /// None for a text without tokens.
    bands: Option<[u64; BANDS]>,
}

impl Fingerprinted {
    /// Prepares a text for comparison.
    pub fn new(text: &str) -> Fingerprinted {
        let shingles = Shingles::new(&comparison_digests(text), SHINGLE);
        let bands = (!shingles.is_empty()).then(|| {
            let mut bands = [0; BANDS];
            bands.iter_mut().zip(MinHash::new(&shingles).bands()).for_each(|(band, digest)| *band = digest);
            bands
        });
        Fingerprinted { shingles, bands }
    }
}

/// The texts added so far, none of which is a near-duplicate of another.
pub struct Distinct {
    threshold: f64,
    kept: Vec<Shingles>,
    /// For each band key: the last text that has it.
    last: HashMap<u64, u32>,
    /// For each text and band: the previous text with the same band key; `NOBODY` if there is none.
    before: Vec<[u32; BANDS]>,
}

const NOBODY: u32 = u32::MAX;

impl Distinct {
    /// Returns an empty collection. Texts with a Jaccard similarity of at least `threshold` (0..=1) are
    /// near-duplicates.
    pub fn new(threshold: f64) -> Distinct {
        Distinct { threshold, kept: Vec::new(), last: HashMap::new(), before: Vec::new() }
    }

    /// Adds a text, unless it is a near-duplicate: then it returns the most similar of the added texts, and how similar
    /// the two are. A text without tokens resembles no other.
    pub fn add(&mut self, text: Fingerprinted) -> Option<(usize, f64)> {
        let heads = text.bands.map(|bands| bands.map(|band| self.last.get(&band).copied().unwrap_or(NOBODY)));
        let mut candidates: Vec<u32> = Vec::new();
        for (band, head) in heads.iter().flatten().enumerate() {
            let mut next = *head;
            while next != NOBODY {
                candidates.push(next);
                next = self.before[next as usize][band];
            }
        }
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
        for band in text.bands.iter().flatten() {
            self.last.insert(*band, index);
        }
        self.before.push(heads.unwrap_or([NOBODY; BANDS]));
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
