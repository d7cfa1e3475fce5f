//! ROUGE (Lin 2004), equal to Google's `rouge-score` 0.1.2.
//!
//! Text is put into lower case and cut into runs of `[a-z0-9]`. Nothing else counts, so text in another script scores 0
//! even against itself; [`latin_share`] shows how much counts. With stems, tokens of more than three letters are
//! stemmed by NLTK's Porter stemmer.

use std::borrow::Cow;

use super::characters::{east_asian_apart, is_mark, is_word};
use super::{Interner, shared, sorted_ngrams, stem};

/// What prediction and reference are compared by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RougeKind {
    /// n-grams: 1 to 3.
    Ngrams(usize),
    /// The longest common subsequence of the whole texts.
    Longest,
    /// The union of longest common subsequences of lines (`rougeLsum`).
    Lines,
}

/// Precision, recall and their harmonic mean, each 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    pub precision: f64,
    pub recall: f64,
    pub f: f64,
}

impl Overlap {
    fn new(hits: u64, predicted: usize, reference: usize) -> Overlap {
        let precision = hits as f64 / predicted.max(1) as f64;
        let recall = hits as f64 / reference.max(1) as f64;
        let f = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        Overlap { precision, recall, f }
    }
}

/// How text is read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rouge {
    /// Compares stems.
    pub stems: bool,
    /// Letters and digits of every script count; no other implementation has this.
    pub is_unicode: bool,
}

impl Rouge {
    /// Returns the overlap of a prediction with a reference for each kind.
    pub fn overlaps(&self, prediction: &str, reference: &str, kinds: &[RougeKind]) -> Vec<Overlap> {
        self.best(prediction, &[reference], kinds)
    }

    /// Returns for each kind the overlap with the best reference: the one with the highest F1, of equal ones the first.
    pub fn best(&self, prediction: &str, references: &[&str], kinds: &[RougeKind]) -> Vec<Overlap> {
        let prediction = self.lowered(prediction);
        let prediction = self.lines(&prediction);
        let mut best: Option<Vec<Overlap>> = None;
        for reference in references {
            let reference = self.lowered(reference);
            let found = overlaps(&prediction, &self.lines(&reference), kinds);
            match &mut best {
                None => best = Some(found),
                Some(best) => {
                    let better = best.iter_mut().zip(found).filter(|(best, found)| found.f > best.f);
                    better.for_each(|(best, found)| *best = found);
                }
            }
        }
        best.unwrap_or_else(|| vec![Overlap::default(); kinds.len()])
    }

    fn lowered(&self, text: &str) -> String {
        let lower = text.to_lowercase();
        if self.is_unicode { east_asian_apart(&lower) } else { lower }
    }

    /// Returns the tokens of each line that is not empty.
    fn lines<'a>(&self, lower: &'a str) -> Vec<Vec<Cow<'a, str>>> {
        let is_kept = |c: char| {
            if self.is_unicode { is_word(c) || is_mark(c) } else { c.is_ascii_lowercase() || c.is_ascii_digit() }
        };
        let of_line = |line: &'a str| {
            line.split(|c| !is_kept(c))
                .filter(|token| !token.is_empty())
                .map(|token| if self.stems && token.len() > 3 { stem(token).into() } else { token.into() })
                .collect()
        };
        lower.split('\n').filter(|line| !line.is_empty()).map(of_line).collect()
    }
}

fn overlaps(prediction: &[Vec<Cow<'_, str>>], reference: &[Vec<Cow<'_, str>>], kinds: &[RougeKind]) -> Vec<Overlap> {
    let mut interner = Interner::default();
    let prediction: Vec<Vec<u32>> =
        prediction.iter().map(|line| line.iter().map(|token| interner.number(token)).collect()).collect();
    let reference: Vec<Vec<u32>> =
        reference.iter().map(|line| line.iter().map(|token| interner.number(token)).collect()).collect();
    let (flat_prediction, flat_reference) = (prediction.concat(), reference.concat());
    let by_kind = kinds.iter().map(|kind| {
        let hits = match kind {
            RougeKind::Ngrams(1) => shared_tokens(&flat_prediction, &flat_reference),
            RougeKind::Ngrams(n) => {
                let (a, b) = (sorted_ngrams(&flat_prediction, *n), sorted_ngrams(&flat_reference, *n));
                return Overlap::new(shared(&a, &b), a.len(), b.len());
            }
            RougeKind::Longest => longest(&flat_reference, &flat_prediction).len() as u64,
            RougeKind::Lines => union_hits(&reference, &prediction),
        };
        Overlap::new(hits, flat_prediction.len(), flat_reference.len())
    });
    by_kind.collect()
}

/// Returns how many tokens both texts share; a repeated token counts as often as both have it.
fn shared_tokens(first: &[u32], second: &[u32]) -> u64 {
    let most = first.iter().chain(second).max().map_or(0, |most| *most as usize + 1);
    let mut counts = vec![0u32; most];
    first.iter().for_each(|token| counts[*token as usize] += 1);
    let mut both = 0;
    for token in second {
        let count = &mut counts[*token as usize];
        both += u64::from(*count > 0);
        *count = count.saturating_sub(1);
    }
    both
}

/// Returns the share of a text's letters and digits that ROUGE sees, 0 to 1; none for a text without any.
pub fn latin_share(text: &str) -> Option<f64> {
    let (mut seen, mut all) = (0u64, 0u64);
    for c in text.chars().filter(|c| c.is_alphanumeric()) {
        all += 1;
        seen += u64::from(c.is_ascii());
    }
    (all > 0).then(|| seen as f64 / all as f64)
}

/// Returns how many tokens of the reference's lines stand in the union of their longest common subsequences with the
/// prediction's lines. A token counts at most as often as either text has it.
fn union_hits(reference: &[Vec<u32>], prediction: &[Vec<u32>]) -> u64 {
    let tokens = reference.iter().chain(prediction).flatten().max().map_or(0, |most| *most as usize + 1);
    let count = |lines: &[Vec<u32>]| {
        let mut counts = vec![0u32; tokens];
        lines.iter().flatten().for_each(|token| counts[*token as usize] += 1);
        counts
    };
    let (mut left_reference, mut left_prediction) = (count(reference), count(prediction));
    let mut hits = 0;
    for line in reference {
        let mut is_in = vec![false; line.len()];
        for other in prediction {
            longest(line, other).into_iter().for_each(|i| is_in[i] = true);
        }
        for (token, _) in line.iter().zip(is_in).filter(|(_, is_in)| *is_in) {
            let (a, b) = (&mut left_reference[*token as usize], &mut left_prediction[*token as usize]);
            if *a > 0 && *b > 0 {
                *a -= 1;
                *b -= 1;
                hits += 1;
            }
        }
    }
    hits
}

/// How many words of 64 columns are kept at a time while a subsequence is read out; together 64 MiB.
const KEPT_WORDS: usize = 8 << 20;

/// Returns which rows belong to one of the longest common subsequences, in order. Of several it is the one that
/// `rouge-score` finds, which goes up unless the value to the left is strictly larger.
///
/// Each row of the table is a bit vector that marks where its value grows (Hyyrö 2004), 64 columns per word. If all
/// rows would be too much to keep, only those of one block are kept, from the last block to the first.
fn longest(rows: &[u32], columns: &[u32]) -> Vec<usize> {
    if rows.is_empty() || columns.is_empty() {
        return Vec::new();
    }
    let words = columns.len().div_ceil(64);
    let mut masks = Masks::new(rows, columns, words);
    let height = (KEPT_WORDS / words).max(1);
    // The row above each block. A zero bit is a step: the value grows by one in that column.
    let mut above: Vec<Vec<u64>> = Vec::new();
    let mut current = vec![u64::MAX; words];
    if rows.len() > height {
        for (i, token) in rows.iter().enumerate() {
            if i % height == 0 {
                above.push(current.clone());
            }
            masks.advance(&mut current, *token);
        }
    } else {
        above.push(current.clone());
    }
    let step = |row: &[u64], j: usize| usize::from(row[j / 64] >> (j % 64) & 1 == 0);
    // Returns the value of a row at column j: its steps in the first j columns.
    let value = |row: &[u64], j: usize| {
        let whole: usize = row[..j / 64].iter().map(|word| word.count_zeros() as usize).sum();
        let rest = j % 64;
        whole + if rest == 0 { 0 } else { (!row[j / 64] & ((1 << rest) - 1)).count_ones() as usize }
    };
    let mut found = Vec::new();
    let mut j = columns.len();
    let mut table: Vec<u64> = Vec::new();
    for (block, first) in above.iter().enumerate().rev() {
        let start = block * height;
        table.clear();
        table.extend_from_slice(first);
        current.copy_from_slice(first);
        for token in &rows[start..rows.len().min(start + height)] {
            masks.advance(&mut current, *token);
            table.extend_from_slice(&current);
        }
        for i in (1..table.len() / words).rev() {
            if j == 0 {
                break;
            }
            let (up, row) = table[(i - 1) * words..(i + 1) * words].split_at(words);
            let token = rows[start + i - 1];
            if token != columns[j - 1] {
                // Goes left as long as the value to the left is strictly larger than the value above.
                let (mut here, mut over) = (value(row, j), value(up, j));
                while j > 0 && token != columns[j - 1] {
                    let left = here - step(row, j - 1);
                    if left <= over {
                        break;
                    }
                    over -= step(up, j - 1);
                    here = left;
                    j -= 1;
                }
            }
            if j > 0 && token == columns[j - 1] {
                found.push(start + i - 1);
                j -= 1;
            }
        }
    }
    found.reverse();
    found
}

/// For each token, a mask of the columns in which it stands.
struct Masks {
    words: usize,
    /// For each token without a mask of its own: its columns.
    places: Vec<Vec<usize>>,
    /// For each token with a mask: where the mask starts.
    starts: Vec<Option<usize>>,
    made: Vec<u64>,
    scratch: Vec<u64>,
}

/// If the masks of all tokens take at most so many words, every token gets one.
const ALL: usize = 1 << 14;

impl Masks {
    fn new(rows: &[u32], columns: &[u32], words: usize) -> Masks {
        let tokens = rows.iter().chain(columns).max().map_or(0, |most| *most as usize + 1);
        if tokens * words <= ALL {
            let mut made = vec![0; tokens * words];
            columns.iter().enumerate().for_each(|(j, token)| made[*token as usize * words + j / 64] |= 1 << (j % 64));
            let starts = (0..tokens).map(|token| Some(token * words)).collect();
            return Masks { words, places: Vec::new(), starts, made, scratch: Vec::new() };
        }
        let mut places = vec![Vec::new(); tokens];
        columns.iter().enumerate().for_each(|(j, token)| places[*token as usize].push(j));
        let mut masks = Masks { words, places, starts: vec![None; tokens], made: Vec::new(), scratch: vec![0; words] };
        // A token that stands in more columns than a row has words gets its mask once; there are at most 64 such
        // tokens.
        for token in 0..tokens {
            if masks.places[token].len() > words {
                let start = masks.made.len();
                masks.made.resize(start + words, 0);
                masks.places[token].iter().for_each(|j| masks.made[start + j / 64] |= 1 << (j % 64));
                masks.starts[token] = Some(start);
            }
        }
        masks
    }

    /// Turns a row of the table into the next one.
    fn advance(&mut self, row: &mut [u64], token: u32) {
        let token = token as usize;
        if let Some(start) = self.starts[token] {
            return add(row, &self.made[start..start + self.words]);
        }
        if self.places[token].is_empty() {
            return;
        }
        self.places[token].iter().for_each(|j| self.scratch[j / 64] |= 1 << (j % 64));
        add(row, &self.scratch);
        self.places[token].iter().for_each(|j| self.scratch[j / 64] = 0);
    }
}

fn add(row: &mut [u64], mask: &[u64]) {
    let mut carry = false;
    for (word, mask) in row.iter_mut().zip(mask) {
        let (sum, over) = word.overflowing_add(*word & mask);
        let (sum, again) = sum.overflowing_add(u64::from(carry));
        carry = over || again;
        *word = sum | (*word & !mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_table_agree_with_the_whole() {
        // With blocks of 40 rows the result must be the same as with one table; the plain algorithm computes it.
        let rows: Vec<u32> = (0..200).map(|i| i * i % 7).collect();
        let columns: Vec<u32> = (0..150).map(|i| i * 3 % 5).collect();
        let mut table = vec![vec![0; columns.len() + 1]; rows.len() + 1];
        for i in 1..=rows.len() {
            for j in 1..=columns.len() {
                table[i][j] = if rows[i - 1] == columns[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j, mut expected) = (rows.len(), columns.len(), Vec::new());
        while i > 0 && j > 0 {
            if rows[i - 1] == columns[j - 1] {
                expected.insert(0, i - 1);
                i -= 1;
                j -= 1;
            } else if table[i][j - 1] > table[i - 1][j] {
                j -= 1;
            } else {
                i -= 1;
            }
        }
        assert_eq!(longest(&rows, &columns), expected);
    }
}
