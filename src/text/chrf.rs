//! chrF (Popović 2015) and chrF++ (Popović 2017), equal to sacreBLEU 2.6.0.
//!
//! As with BLEU, counts add up over a corpus. A sentence with several references takes the counts of the one that gives
//! it the highest score.

use super::characters::split;
use super::{Interner, shared, sorted_ngrams};

/// The most orders of character n-grams: six characters fit into 128 bits.
const CHARACTERS: usize = 6;
/// The most orders of word n-grams.
const WORDS: usize = 2;

/// How chrF is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chrf {
    /// n-grams of words, 0 (chrF) to 2 (chrF++).
    pub word_order: usize,
    /// Weight of recall against precision.
    pub beta: f64,
    pub lowercase: bool,
    /// Orders for which a text is too short count as nearly 0 instead of being left out.
    pub epsilon: bool,
}

/// For each order: how many n-grams the predictions have, the references have, and both share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChrfCounts([[f64; 3]; CHARACTERS + WORDS]);

impl ChrfCounts {
    /// Adds the counts of another sentence or corpus.
    pub fn add(&mut self, other: &ChrfCounts) {
        self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened()).for_each(|(sum, count)| *sum += count);
    }

    /// Returns the counts as a flat list.
    pub fn values(&self) -> &[f64] {
        self.0.as_flattened()
    }

    /// Returns the counts that a flat list holds; none if the list has the wrong length.
    pub fn from_values(values: &[f64]) -> Option<ChrfCounts> {
        let mut counts = ChrfCounts::default();
        let flat = counts.0.as_flattened_mut();
        (values.len() == flat.len()).then(|| flat.copy_from_slice(values))?;
        Some(counts)
    }
}

impl Chrf {
    /// Counts one sentence against its references.
    pub fn counts(&self, prediction: &str, references: &[&str]) -> ChrfCounts {
        let lowered: Vec<String>;
        let mut texts: Vec<&str> = std::iter::once(prediction).chain(references.iter().copied()).collect();
        if self.lowercase {
            lowered = texts.iter().map(|text| text.to_lowercase()).collect();
            texts = lowered.iter().map(String::as_str).collect();
        }
        let mut interner = Interner::default();
        let sorted: Vec<Vec<Vec<u128>>> = texts.iter().map(|text| self.ngrams(text, &mut interner)).collect();
        let mut best: Option<(f64, ChrfCounts)> = None;
        for of_reference in &sorted[1..] {
            let mut counts = ChrfCounts::default();
            for (order, (mine, theirs)) in sorted[0].iter().zip(of_reference).enumerate() {
                let total = if theirs.is_empty() { 0 } else { mine.len() };
                counts.0[order] = [total as f64, theirs.len() as f64, shared(mine, theirs) as f64];
            }
            let score = self.score(&counts);
            if best.is_none_or(|(best, _)| score > best) {
                best = Some((score, counts));
            }
        }
        best.map(|(_, counts)| counts).unwrap_or_default()
    }

    /// Computes a score, 0..=100, from counts.
    pub fn score(&self, counts: &ChrfCounts) -> f64 {
        let epsilon = 1e-16;
        let factor = self.beta * self.beta;
        let orders = CHARACTERS + self.word_order;
        let (mut smoothed, mut precisions, mut recalls, mut effective) = (0.0, 0.0, 0.0, 0.0);
        for [predicted, reference, both] in &counts.0[..orders] {
            let precision = if *predicted > 0.0 { both / predicted } else { epsilon };
            let recall = if *reference > 0.0 { both / reference } else { epsilon };
            let weight = factor * precision + recall;
            smoothed += if weight > 0.0 { (1.0 + factor) * precision * recall / weight } else { epsilon };
            if *predicted > 0.0 && *reference > 0.0 {
                precisions += precision;
                recalls += recall;
                effective += 1.0;
            }
        }
        if self.epsilon {
            return 100.0 * smoothed / orders as f64;
        }
        if precisions + recalls == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precisions / effective, recalls / effective);
        100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
    }

    /// Returns the sorted n-grams of a text by order: of its characters without white space, then of
    /// its words.
    fn ngrams<'a>(&self, text: &'a str, interner: &mut Interner<'a>) -> Vec<Vec<u128>> {
        let characters: Vec<u32> = split(text).flat_map(str::chars).map(u32::from).collect();
        let mut sorted: Vec<Vec<u128>> = (1..=CHARACTERS)
            .map(|n| {
                let pack = |window: &[u32]| window.iter().fold(0u128, |packed, c| packed << 21 | u128::from(*c));
                let mut ngrams: Vec<u128> = characters.windows(n).map(pack).collect();
                ngrams.sort_unstable();
                ngrams
            })
            .collect();
        if self.word_order > 0 {
            let words: Vec<u32> = split(text).flat_map(words).map(|word| interner.number(word)).collect();
            sorted.extend((1..=self.word_order).map(|n| sorted_ngrams(&words, n)));
        }
        sorted
    }
}

/// Splits one punctuation mark off a word: from its end, else from its start.
fn words(token: &str) -> impl Iterator<Item = &str> {
    let is_punctuation = |c: char| c.is_ascii_punctuation();
    let mut ends = token.chars();
    let (first, last) = (ends.next(), ends.next_back());
    let cut = match (first, last) {
        (Some(_), Some(last)) if is_punctuation(last) => Some(token.len() - last.len_utf8()),
        (Some(first), Some(_)) if is_punctuation(first) => Some(first.len_utf8()),
        _ => None,
    };
    let (head, tail) = token.split_at(cut.unwrap_or(token.len()));
    [head, tail].into_iter().filter(|part| !part.is_empty())
}
