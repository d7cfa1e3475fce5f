//! BLEU (Papineni et al. 2002), equal to sacreBLEU 2.6.0.
//!
//! Sentences become counts, counts add up over a corpus, and the score is computed from the sums: a corpus score is not
//! the mean of sentence scores. `effective_order` leaves out orders of n-grams for which a text is too short, as
//! sentence scores should.

use super::characters::{is_number, is_punctuation, is_space, is_symbol, split};
use super::{Interner, shared_with_best, sorted_ngrams};

/// The longest n-grams.
const ORDER: usize = 4;

/// How text is cut into tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tokenizer {
    /// mteval-v13a: Western punctuation.
    V13a,
    /// mteval-v14 with Unicode's punctuation and symbols.
    International,
    /// Chinese characters are tokens of their own.
    Chinese,
    /// Every character is a token.
    Characters,
    /// White space alone.
    Words,
}

/// What replaces the precision of an order without a match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Smoothing {
    Nothing,
    /// This many matches (usually 0.1).
    Floor(f64),
    /// This many more matches and n-grams, from bigrams on (usually 1).
    AddK(f64),
    /// Half a match for the first such order, a quarter for the second, and so on.
    Exponential,
}

/// How BLEU is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bleu {
    pub tokenizer: Tokenizer,
    pub smoothing: Smoothing,
    pub lowercase: bool,
    pub effective_order: bool,
    /// The longest n-grams that count, 1 to 4.
    pub order: usize,
}

/// The counts of a sentence, or their sums over a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BleuCounts {
    /// Matching n-grams by order.
    pub correct: [f64; ORDER],
    /// All n-grams by order.
    pub total: [f64; ORDER],
    /// The length of the predictions in tokens.
    pub length: f64,
    /// The length of the references in tokens: for each sentence, that of the reference nearest in length.
    pub reference_length: f64,
}

/// A score, 0..=100, and the numbers from which it is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BleuScore {
    pub score: f64,
    /// Precision of each order, in percent.
    pub precisions: [f64; ORDER],
    pub brevity_penalty: f64,
    /// The counts, including what smoothing added to them.
    pub counts: BleuCounts,
}

impl BleuCounts {
    /// Adds the counts of another sentence or corpus.
    pub fn add(&mut self, other: &BleuCounts) {
        for order in 0..ORDER {
            self.correct[order] += other.correct[order];
            self.total[order] += other.total[order];
        }
        self.length += other.length;
        self.reference_length += other.reference_length;
    }
}

impl Bleu {
    /// Counts one sentence against its references.
    pub fn counts(&self, prediction: &str, references: &[&str]) -> BleuCounts {
        let texts: Vec<String> = std::iter::once(&prediction).chain(references).map(|text| self.tokens(text)).collect();
        let mut interner = Interner::default();
        let numbers: Vec<Vec<u32>> =
            texts.iter().map(|text| split(text).map(|token| interner.number(token)).collect()).collect();
        let Some((prediction, references)) = numbers.split_first() else {
            return BleuCounts::default();
        };
        let mut counts = BleuCounts { length: prediction.len() as f64, ..BleuCounts::default() };
        let nearest = references.iter().map(Vec::len).min_by_key(|len| (len.abs_diff(prediction.len()), *len));
        counts.reference_length = nearest.unwrap_or(0) as f64;
        for n in 1..=self.order {
            let ngrams = sorted_ngrams(prediction, n);
            let of_references: Vec<Vec<u128>> = references.iter().map(|tokens| sorted_ngrams(tokens, n)).collect();
            counts.total[n - 1] = ngrams.len() as f64;
            counts.correct[n - 1] = shared_with_best(&ngrams, &of_references) as f64;
        }
        counts
    }

    /// Computes the score from counts.
    pub fn score(&self, counts: &BleuCounts) -> BleuScore {
        let mut counts = *counts;
        let brevity_penalty = match (counts.length, counts.reference_length) {
            (length, wanted) if length >= wanted => 1.0,
            (length, wanted) if length > 0.0 => (1.0 - wanted / length).exp(),
            _ => 0.0,
        };
        let mut precisions = [0.0; ORDER];
        if counts.correct.iter().all(|correct| *correct == 0.0) {
            return BleuScore { score: 0.0, precisions, brevity_penalty, counts };
        }
        let mut order = self.order;
        let mut halves = 1.0;
        for (n, precision) in precisions.iter_mut().enumerate().take(self.order) {
            if let (Smoothing::AddK(k), 1..) = (self.smoothing, n) {
                counts.correct[n] += k;
                counts.total[n] += k;
            }
            if counts.total[n] == 0.0 {
                break;
            }
            if self.effective_order {
                order = n + 1;
            }
            *precision = match self.smoothing {
                _ if counts.correct[n] > 0.0 => 100.0 * counts.correct[n] / counts.total[n],
                Smoothing::Exponential => {
                    halves *= 2.0;
                    100.0 / (halves * counts.total[n])
                }
                Smoothing::Floor(floor) => 100.0 * floor / counts.total[n],
                Smoothing::Nothing | Smoothing::AddK(_) => 0.0,
            };
        }
        let log = |precision: &f64| if *precision == 0.0 { -9_999_999_999.0 } else { precision.ln() };
        let mean = precisions[..order].iter().map(log).sum::<f64>() / order as f64;
        BleuScore { score: brevity_penalty * mean.exp(), precisions, brevity_penalty, counts }
    }

    /// Returns the text with spaces between its tokens.
    fn tokens(&self, text: &str) -> String {
        let lower;
        let text = if self.lowercase {
            lower = text.to_lowercase();
            &lower
        } else {
            text
        };
        let text = text.trim_end_matches(is_space);
        match self.tokenizer {
            Tokenizer::V13a => {
                let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                if text.contains('&') {
                    text = unescaped(&text);
                }
                western(&format!(" {text} "))
            }
            Tokenizer::International => {
                let is_word = |c: char| !is_number(c);
                let text = pairs(text, is_word, is_punctuation, ["", " ", " "]);
                let text = pairs(&text, is_punctuation, is_word, [" ", " ", ""]);
                spaced(&text, is_symbol)
            }
            Tokenizer::Chinese => western(&spaced(text.trim_matches(is_space), is_chinese)),
            Tokenizer::Characters => spaced(text, |_| true),
            Tokenizer::Words => text.to_owned(),
        }
    }
}

pub(super) fn unescaped(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
}

/// Puts spaces around Western punctuation; around periods and commas only outside of numbers.
fn western(text: &str) -> String {
    let text = spaced(text, is_western_punctuation);
    digits_and_dots(&text)
}

/// Puts spaces around periods, commas and dashes, except within numbers.
pub(super) fn digits_and_dots(text: &str) -> String {
    let is_other = |c: char| !c.is_ascii_digit();
    let is_dot = |c: char| matches!(c, '.' | ',');
    let text = pairs(text, is_other, is_dot, ["", " ", " "]);
    let text = pairs(&text, is_dot, is_other, [" ", " ", ""]);
    pairs(&text, |c| c.is_ascii_digit(), |c| c == '-', ["", " ", " "])
}

/// Returns true for ASCII punctuation except apostrophe, comma, dash and period; and true for the space.
pub(super) fn is_western_punctuation(c: char) -> bool {
    matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/')
}

/// Puts a space on both sides of the characters that are wanted.
pub(super) fn spaced(text: &str, is_wanted: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if is_wanted(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// Finds pairs of characters from left to right (a character belongs to one pair at most), and writes something before,
/// between and behind the two.
fn pairs(
    text: &str,
    is_first: impl Fn(char) -> bool,
    is_second: impl Fn(char) -> bool,
    [before, between, behind]: [&str; 3],
) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.next() {
        match characters.peek() {
            Some(second) if is_first(first) && is_second(*second) => {
                out.push_str(before);
                out.push(first);
                out.push_str(between);
                out.push(*second);
                out.push_str(behind);
                characters.next();
            }
            _ => out.push(first),
        }
    }
    out
}

/// Returns true if sacreBLEU takes the character for Chinese. Two of its ranges are meant for characters beyond U+FFFF
/// but written with four digits, and so mean U+2001 to U+2A6D and U+2F81 to U+2FA1.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{2001}'..='\u{2a6d}' | '\u{2e80}'..='\u{2eff}' | '\u{2f00}'..='\u{2fdf}' | '\u{2ff0}'..='\u{2fff}'
        | '\u{3000}'..='\u{303f}' | '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' | '\u{31c0}'..='\u{31ef}'
        | '\u{3200}'..='\u{32ff}' | '\u{3300}'..='\u{33ff}' | '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fbb}'
        | '\u{f900}'..='\u{fa2d}' | '\u{fa30}'..='\u{fa6a}' | '\u{fa70}'..='\u{fad9}' | '\u{fe10}'..='\u{fe1f}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ffef}')
}
