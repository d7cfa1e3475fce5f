//! How much two texts have in common: shingles of tokens (Broder 1997), common runs, and MinHash signatures that find
//! near-duplicates among many texts.
//!
//! Tokens are the runs of letters, numbers and marks in the NFKC-normalised text in lower case. A shingle is n tokens
//! in a row; a text with fewer tokens has one shingle of all of them. Text that is written without spaces is a single
//! token, so for it there are shingles of characters.

use std::collections::{HashMap, HashSet};

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

use super::east_asian_apart;

/// Returns the tokens of a text.
pub fn tokens(text: &str) -> Vec<String> {
    let kept = GeneralCategoryGroup::Letter.union(GeneralCategoryGroup::Number).union(GeneralCategoryGroup::Mark);
    let categories = CodePointMapData::<GeneralCategory>::new();
    let is_kept = |c: char| if c.is_ascii() { c.is_ascii_alphanumeric() } else { kept.contains(categories.get(c)) };
    let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(text).to_lowercase();
    normal.split(|c| !is_kept(c)).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// Returns the digests of a text's tokens; each Chinese or Japanese character is a token.
pub(super) fn comparison_digests(text: &str) -> Vec<u64> {
    if !text.is_ascii() {
        return tokens(&east_asian_apart(text)).iter().map(|token| fnv(token.as_bytes())).collect();
    }
    let is_kept = |byte: &u8| byte.is_ascii_alphanumeric();
    let digest = |run: &[u8]| run.iter().fold(FNV, |digest, byte| step(digest, byte.to_ascii_lowercase()));
    text.as_bytes().split(|byte| !is_kept(byte)).filter(|run| !run.is_empty()).map(digest).collect()
}

/// The set of shingles of a text, as sorted digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shingles(Vec<u64>);

impl Shingles {
    /// Returns the shingles of `n` tokens.
    pub fn of_tokens(tokens: &[String], n: usize) -> Shingles {
        let digests: Vec<u64> = tokens.iter().map(|token| fnv(token.as_bytes())).collect();
        Shingles::new(&digests, n)
    }

    /// Returns the shingles of `n` characters of the tokens joined together.
    pub fn of_characters(tokens: &[String], n: usize) -> Shingles {
        let characters: Vec<u64> = tokens.iter().flat_map(|token| token.chars()).map(u64::from).collect();
        Shingles::new(&characters, n)
    }

    pub(super) fn new(units: &[u64], n: usize) -> Shingles {
        if units.is_empty() {
            return Shingles::default();
        }
        let digest = |window: &[u64]| window.iter().fold(0, |digest, unit| mix(digest ^ *unit));
        let mut digests: Vec<u64> = units.windows(n.min(units.len())).map(digest).collect();
        digests.sort_unstable();
        digests.dedup();
        Shingles(digests)
    }

    /// Returns true if there are no shingles.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the digests of the shingles, sorted.
    pub fn digests(&self) -> &[u64] {
        &self.0
    }

    /// Returns the share of all shingles that both texts have, 0..=1; 1 for two texts without shingles.
    pub fn jaccard(&self, other: &Shingles) -> f64 {
        let both = self.common(other);
        let all = self.0.len() + other.0.len() - both;
        if all == 0 { 1.0 } else { both as f64 / all as f64 }
    }

    /// Returns the share of these shingles that the other text has, 0..=1; 0 if there are none.
    pub fn containment(&self, other: &Shingles) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.common(other) as f64 / self.0.len() as f64 }
    }

    fn common(&self, other: &Shingles) -> usize {
        let (mut i, mut j, mut count) = (0, 0, 0);
        while i < self.0.len() && j < other.0.len() {
            match self.0[i].cmp(&other.0[j]) {
                std::cmp::Ordering::Less => i += 1,
                std::cmp::Ordering::Greater => j += 1,
                std::cmp::Ordering::Equal => (i, j, count) = (i + 1, j + 1, count + 1),
            }
        }
        count
    }
}

/// Returns how many tokens the longest run has that stands in both texts.
///
/// It is found by bisection, since a common run of n contains common runs of n − 1.
pub fn longest_common_run(first: &[String], second: &[String]) -> usize {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut first_numbers = Vec::with_capacity(first.len());
    for token in first {
        let next = numbers.len() as u32;
        first_numbers.push(*numbers.entry(token).or_insert(next));
    }
    let second_numbers: Vec<u32> =
        second.iter().map(|token| numbers.get(token.as_str()).copied().unwrap_or(u32::MAX)).collect();
    let shares = |n: usize| {
        let windows: HashSet<&[u32]> = first_numbers.windows(n).collect();
        second_numbers.windows(n).any(|window| windows.contains(window))
    };
    let (mut low, mut high) = (0, first.len().min(second.len()));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if shares(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// How many values a signature has.
pub const PERMUTATIONS: usize = 128;
/// How many values a band has. Texts that agree in one of the 32 bands are compared; at a Jaccard similarity of 0.7,
/// all pairs but one in 6,500 do (1 − (1 − 0.7⁴)³²).
const ROWS: usize = 4;

/// How many bands a signature has.
pub(super) const BANDS: usize = PERMUTATIONS / ROWS;

/// A MinHash signature (Broder 1997): the probability that two agree in a value is their Jaccard similarity.
#[derive(Clone, Debug, PartialEq)]
pub struct MinHash([u32; PERMUTATIONS]);

impl MinHash {
    /// Computes the signature of a set of shingles.
    pub fn new(shingles: &Shingles) -> MinHash {
        let mut values = [u32::MAX; PERMUTATIONS];
        for digest in &shingles.0 {
            // Double hashing: two independent halves of a digest give all permutations.
            let mixed = mix(*digest ^ 0x9e37_79b9_7f4a_7c15);
            let (a, b) = (mixed as u32, (mixed >> 32) as u32 | 1);
            for (smallest, i) in values.iter_mut().zip(0u32..) {
                *smallest = (*smallest).min(a.wrapping_add(b.wrapping_mul(i)));
            }
        }
        MinHash(values)
    }

    /// Returns the estimated Jaccard similarity.
    pub fn similarity(&self, other: &MinHash) -> f64 {
        let equal = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        equal as f64 / PERMUTATIONS as f64
    }

    /// Returns the keys of the bands; texts that share a key are candidates.
    pub fn bands(&self) -> impl Iterator<Item = u64> {
        self.0.chunks_exact(ROWS).enumerate().map(|(band, values)| {
            values.iter().fold(mix(band as u64 + 1), |digest, value| mix(digest ^ u64::from(*value)))
        })
    }
}

/// Where the digest of a token starts (Fowler, Noll and Vo's 1a).
const FNV: u64 = 0xcbf2_9ce4_8422_2325;

fn step(digest: u64, byte: u8) -> u64 {
    (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV, |digest, byte| step(digest, *byte))
}

/// A bijection that spreads bits (MurmurHash3's finaliser).
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let value = (value ^ value >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ value >> 33
}
