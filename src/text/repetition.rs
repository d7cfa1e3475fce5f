//! Whether a text repeats itself in a loop, as models do that find no end; and how varied its words are.

use std::collections::{HashMap, HashSet};
use std::io::Write;

/// How a text repeats itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repetition {
    /// The text ends in a loop.
    pub is_loop: bool,
    /// The number of different words divided by that of all words; and the same for pairs of words (distinct-n, Li et
    /// al. 2016). None without any.
    pub distinct: [Option<f64>; 2],
}

/// How many words at the end are examined.
const TAIL: usize = 200;
/// How many words in a row make a loop, if they are repeated.
const RUN: usize = 6;
/// The share of the tail that the repeats must cover.
const COVERED: f64 = 0.3;
/// A text of at least this many bytes is a loop, too, if it compresses well. That finds loops of characters, and loops
/// in scripts without spaces.
const COMPRESSED_FROM: usize = 400;
/// The share of its size below which a text compresses well.
const COMPRESSED: f64 = 0.125;

/// Returns how a text repeats itself.
pub fn repetition(text: &str) -> Repetition {
    let words: Vec<&str> = text.split_whitespace().collect();
    let tail = &words[words.len().saturating_sub(TAIL)..];
    let mut counts: HashMap<&[&str], usize> = HashMap::new();
    tail.windows(RUN).for_each(|run| *counts.entry(run).or_default() += 1);
    let most = counts.values().copied().max().unwrap_or(0);
    let is_run = most > 1 && (most * RUN) as f64 > COVERED * tail.len() as f64;
    let end: String = words.join(" ");
    let start = end.char_indices().rev().nth(4_000).map_or(0, |(index, _)| index);
    let distinct = |n: usize| {
        let all = words.len().checked_sub(n - 1).filter(|all| *all > 0)?;
        Some(words.windows(n).collect::<HashSet<_>>().len() as f64 / all as f64)
    };
    Repetition { is_loop: is_run || is_compressible(&end[start..]), distinct: [distinct(1), distinct(2)] }
}

fn is_compressible(text: &str) -> bool {
    if text.len() < COMPRESSED_FROM {
        return false;
    }
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.is_ok_and(|bytes| (bytes.len() as f64) < COMPRESSED * text.len() as f64)
}
