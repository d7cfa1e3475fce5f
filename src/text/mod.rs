//! Comparisons of texts: overlap, edit distance, normal forms of answers; and what a single text is. Pure functions.
//!
//! | file | holds |
//! |---|---|
//! | `rouge` `bleu` `chrf` `ter` `squad` | overlap with references |
//! | `porter` | stems |
//! | `shingles` | sets of shingles, MinHash, longest common runs |
//! | `duplicates` `leakage` | near-duplicates among many texts; training texts in a held-out dataset |
//! | `refusal` `truncation` `repetition` | what can be wrong with a completion |
//! | `json` `csv` | whether a text is JSON, or CSV |
//! | `objects` | JSON among other words |
//! | `turns` | conversations as data sets hold them |
//! | `reasoning` | what a model thought, apart from what it answers |
//! | `characters` | characters as Python sees them |
//!
//! Each function equals the field's reference implementation, which its header names, to the last digit; the test
//! vectors hold this. Reference implementations in Python use Python's notions of white space and of word characters,
//! so those are part of the definition: [`characters`].

mod bleu;
pub mod characters;
mod chrf;
mod csv;
mod duplicates;
mod json;
mod leakage;
mod objects;
mod porter;
mod reasoning;
mod refusal;
mod repetition;
mod rouge;
mod shingles;
mod squad;
mod ter;
mod truncation;
mod turns;

pub use bleu::{Bleu, BleuCounts, BleuScore, Smoothing, Tokenizer};
pub use characters::east_asian_apart;
pub use chrf::{Chrf, ChrfCounts};
pub use csv::{CsvShape, csv_shape};
pub use duplicates::{Distinct, Fingerprinted, SHINGLE, comparison_tokens};
pub use json::{JsonForm, json_form, quoted_nan, read_json, unfenced};
pub use leakage::{Leak, LeakIndex, LeakLevel, LeakLimits};
pub use objects::{Defect, NoJson, at_path, find_json, objects, repair, strict};
pub use porter::stem;
pub use reasoning::{ReasoningTags, Said};
pub use refusal::is_refusal;
pub use repetition::{Repetition, repetition};
pub use rouge::{Overlap, Rouge, RougeKind, latin_share};
pub use shingles::{MinHash, PERMUTATIONS, Shingles, longest_common_run, tokens};
pub use squad::{Squad, answer_normal, squad_f1, squad_normal};
pub use ter::{Ter, TerCounts};
pub use truncation::is_truncated;
pub use turns::{Turn, conversation, last_answer, question};

use foldhash::{HashMap, HashMapExt};

/// Assigns numbers to tokens: equal tokens get equal numbers.
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

/// Returns the sorted n-grams of up to four tokens, each packed into one number.
fn sorted_ngrams(tokens: &[u32], n: usize) -> Vec<u128> {
    let pack = |window: &[u32]| window.iter().fold(0u128, |packed, token| packed << 32 | u128::from(*token));
    let mut ngrams: Vec<u128> = tokens.windows(n).map(pack).collect();
    ngrams.sort_unstable();
    ngrams
}

/// Returns how many elements of a sorted list are matched in the others. An element is matched as often as the list has
/// it, but at most as often as the one of the others that has it most often.
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

/// Returns how many elements two sorted lists share; a repeated element counts as often as both lists have it.
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
