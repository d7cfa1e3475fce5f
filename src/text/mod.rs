//! Text against text: overlap, edit distance, answers' forms. Pure functions.
//!
//! | file | holds |
//! |---|---|
//! | `rouge` `bleu` `chrf` `ter` `squad` | overlap with references |
//! | `porter` | stems |
//! | `shingles` | sets of shingles, MinHash, longest common runs |
//! | `duplicates` `leakage` | near-duplicates among many texts; texts of training in a held-out set |
//! | `refusal` `truncation` `repetition` | what is wrong with an answer |
//! | `json` `csv` | whether a text is JSON, or CSV |
//! | `characters` | characters as Python sees them |
//!
//! Each equals the field's reference implementation to the last digit, which its header names; the
//! test vectors hold them to it. Where those are written in Python, Python's notions of white space
//! and of a word's characters are part of the definition: [`characters`].

mod bleu;
pub mod characters;
mod chrf;
mod csv;
mod duplicates;
mod json;
mod leakage;
mod porter;
mod refusal;
mod repetition;
mod rouge;
mod shingles;
mod squad;
mod ter;
mod truncation;

pub use bleu::{Bleu, BleuCounts, BleuScore, Smoothing, Tokenizer};
pub use characters::east_asian_apart;
pub use chrf::{Chrf, ChrfCounts};
pub use csv::{CsvShape, csv_shape};
pub use duplicates::{Distinct, Fingerprinted, SHINGLE, comparison_tokens};
pub use json::{JsonForm, json_form, quoted_nan, read_json, unfenced};
pub use leakage::{Leak, LeakIndex, LeakLevel, LeakLimits};
pub use porter::stem;
pub use refusal::is_refusal;
pub use repetition::{Repetition, repetition};
pub use rouge::{Overlap, Rouge, RougeKind, latin_share};
pub use shingles::{MinHash, PERMUTATIONS, Shingles, longest_common_run, tokens};
pub use squad::{Squad, answer_normal, squad_f1, squad_normal};
pub use ter::{Ter, TerCounts};
pub use truncation::is_truncated;

use foldhash::{HashMap, HashMapExt};

/// Numbers for tokens: equal tokens, equal numbers.
struct Interner<'a> {
    numbers: HashMap<&'a str, u32>,
}

impl Default for Interner<'_> {
    fn default() -> Self {
        Interner { numbers: HashMap::with_capacity(128) }
    }
}

impl<'a> Interner<'a> {
    fn number(&mut self, token: &'a str) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(token).or_insert(next)
    }
}

/// Returns the n-grams of up to four tokens, packed and sorted.
fn sorted_ngrams(tokens: &[u32], n: usize) -> Vec<u128> {
    let pack = |window: &[u32]| window.iter().fold(0u128, |packed, token| packed << 32 | u128::from(*token));
    let mut ngrams: Vec<u128> = tokens.windows(n).map(pack).collect();
    ngrams.sort_unstable();
    ngrams
}

/// Returns how many elements of a sorted list the others have, each counted as often as it has it and as
/// that of the others which has it most often.
fn shared_with_best(list: &[u128], others: &[Vec<u128>]) -> u64 {
    if let [only] = others {
        return shared(list, only);
    }
    let mut at = vec![0; others.len()];
    let mut count = 0;
    for run in list.chunk_by(|a, b| a == b) {
        let most = others.iter().zip(&mut at).map(|(other, at)| {
            *at += other[*at..].partition_point(|element| *element < run[0]);
            other[*at..].iter().take_while(|element| **element == run[0]).count()
        });
        count += most.max().unwrap_or(0).min(run.len()) as u64;
    }
    count
}

/// Returns how many elements two sorted lists share, each counted as often as both hold it.
fn shared(first: &[u128], second: &[u128]) -> u64 {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < first.len() && j < second.len() {
        match first[i].cmp(&second[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                i += 1;
                j += 1;
                count += 1;
            }
        }
    }
    count
}
