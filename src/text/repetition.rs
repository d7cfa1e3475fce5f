//! Whether a text repeats itself: loops, as of models that do not find their end, and how varied its
//! words are.

use std::collections::{HashMap, HashSet};
use std::io::Write;

/// How a text repeats itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repetition {
    /// Its end is a loop.
    pub is_loop: bool,
    /// Different words over all words, and so for pairs (distinct-n, Li et al. 2016). None without any.
    pub distinct: [Option<f64>; 2],
}

/// Words at the end that are looked at.
const TAIL: usize = 200;
/// Words in a row that make a loop, and the share of the tail that their repeats cover.
const RUN: usize = 6;
const COVERED: f64 = 0.3;
/// Text of this many bytes and more that compresses to less than this share is a loop, too: of
/// characters, and in scripts without spaces.
const COMPRESSED_FROM: usize = 400;
const COMPRESSED: f64 = 0.125;

/// Looks at a text.
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
