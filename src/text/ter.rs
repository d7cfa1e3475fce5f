//! Translation edit rate (Snover et al. 2006), equal to sacreBLEU 2.6.0, which follows Tercom.
//!
//! Edits are insertions, deletions, substitutions, and shifts of runs of words. Shifts are found greedily: again and
//! again the one that helps most, until none helps. As in Tercom, distances are computed only in a beam around the
//! diagonal.

use super::Interner;
use super::bleu::{digits_and_dots, is_western_punctuation, spaced, unescaped};
use super::characters::split;

const MAX_SHIFT_SIZE: usize = 10;
const MAX_SHIFT_DISTANCE: usize = 50;
const BEAM: usize = 25;
const MAX_CANDIDATES: usize = 1_000;
const FAR: u32 = u32::MAX / 2;

/// How text is read before it is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ter {
    pub case_sensitive: bool,
    /// Spaces are put around Western punctuation.
    pub normalized: bool,
    pub no_punctuation: bool,
}

/// The edits, and the words of the references. Both add up over a corpus; the rate is their ratio.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TerCounts {
    /// Insertions, deletions, substitutions and shifts.
    pub edits: f64,
    /// For a sentence, the mean over its references.
    pub reference_words: f64,
}

impl TerCounts {
    /// Adds the counts of another sentence or corpus.
    pub fn add(&mut self, other: &TerCounts) {
        self.edits += other.edits;
        self.reference_words += other.reference_words;
    }

    /// Returns the rate in percent: 0 for equal texts; above 100 is possible.
    pub fn score(&self) -> f64 {
        match (self.edits, self.reference_words) {
            (edits, words) if words > 0.0 => 100.0 * (edits / words),
            (edits, _) if edits > 0.0 => 100.0,
            _ => 0.0,
        }
    }
}

impl Ter {
    /// Counts one sentence: the fewest edits to any of its references.
    pub fn counts(&self, prediction: &str, references: &[&str]) -> TerCounts {
        let texts: Vec<String> = std::iter::once(&prediction).chain(references).map(|text| self.tokens(text)).collect();
        let mut interner = Interner::default();
        let numbers: Vec<Vec<u32>> =
            texts.iter().map(|text| split(text).map(|token| interner.number(token)).collect()).collect();
        let edits = numbers[1..].iter().map(|reference| edits(&numbers[0], reference)).min().unwrap_or(0);
        let words: usize = numbers[1..].iter().map(Vec::len).sum();
        TerCounts { edits: edits as f64, reference_words: words as f64 / references.len().max(1) as f64 }
    }

    fn tokens(&self, text: &str) -> String {
        let mut text = if self.case_sensitive { text.to_owned() } else { text.to_lowercase() };
        if self.normalized {
            let whole = unescaped(&text.replace("\n-", "").replace('\n', " "));
            let spaced = spaced(&format!(" {whole} "), is_western_punctuation).replace("'s ", " 's ");
            text = digits_and_dots(&spaced);
        }
        if self.no_punctuation {
            text.retain(|c| !".,?:;!\"()".contains(c));
        }
        text
    }
}

/// Returns the number of edits, shifts included.
fn edits(prediction: &[u32], reference: &[u32]) -> u64 {
    if reference.is_empty() {
        return prediction.len() as u64;
    }
    let mut words = prediction.to_vec();
    let mut table = Table::new(&words, reference);
    let (mut shifts, mut candidates) = (0, 0);
    loop {
        let best = best_shift(&words, reference, &table, &mut candidates);
        if candidates >= MAX_CANDIDATES {
            break;
        }
        let Some(shifted) = best else {
            break;
        };
        shifts += 1;
        words = shifted;
        table = Table::new(&words, reference);
    }
    shifts + u64::from(table.distance())
}

/// An edit between a prediction and a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Edit {
    Keep,
    Substitute,
    /// A word of the prediction is removed.
    Delete,
    /// A word of the reference is added.
    Insert,
    Unreached,
}

type Row = Vec<(u32, Edit)>;

/// The table of edit distances between words and a reference: one row per word, and one before the first.
struct Table {
    rows: Vec<Row>,
}

impl Table {
    fn new(words: &[u32], reference: &[u32]) -> Table {
        let first = (0..=reference.len() as u32).map(|i| (i, Edit::Insert)).collect();
        let mut table = Table { rows: vec![first] };
        table.extend(words, reference);
        table
    }

    fn distance(&self) -> u32 {
        self.rows.last().and_then(|row| row.last()).map_or(0, |cell| cell.0)
    }

    /// Computes the rows that are still missing.
    fn extend(&mut self, words: &[u32], reference: &[u32]) {
        for i in self.rows.len()..=words.len() {
            let mut row = vec![(FAR, Edit::Unreached); reference.len() + 1];
            let above = &self.rows[i - 1];
            for j in beam(i, words.len(), reference.len()) {
                if j == 0 {
                    row[0] = (above[0].0 + 1, Edit::Delete);
                    continue;
                }
                let (cost, edit) =
                    if words[i - 1] == reference[j - 1] { (0, Edit::Keep) } else { (1, Edit::Substitute) };
                for (cost, edit) in
                    [(above[j - 1].0 + cost, edit), (above[j].0 + 1, Edit::Delete), (row[j - 1].0 + 1, Edit::Insert)]
                {
                    if cost < row[j].0 {
                        row[j] = (cost, edit);
                    }
                }
            }
            self.rows.push(row);
        }
    }

    /// Returns the distance of other words, of which the first `same` equal those of this table, so that their rows are
    /// reused. `scratch` is space for two rows.
    fn distance_of(&self, words: &[u32], same: usize, reference: &[u32], scratch: &mut [Row; 2]) -> u32 {
        let [above, row] = scratch;
        above.clone_from(&self.rows[same]);
        for i in same + 1..=words.len() {
            row.clear();
            row.resize(reference.len() + 1, (FAR, Edit::Unreached));
            for j in beam(i, words.len(), reference.len()) {
                row[j].0 = if j == 0 {
                    above[0].0 + 1
                } else {
                    let cost = u32::from(words[i - 1] != reference[j - 1]);
                    (above[j - 1].0 + cost).min(above[j].0 + 1).min(row[j - 1].0 + 1).min(FAR)
                };
            }
            std::mem::swap(above, row);
        }
        above.last().map_or(0, |cell| cell.0)
    }

    /// Returns for each word of the reference where in the prediction it stands (-1: before the start); and which words
    /// of the reference and of the prediction belong to an edit.
    fn alignment(&self) -> (Vec<isize>, Vec<bool>, Vec<bool>) {
        let (mut i, mut j) = (self.rows.len() - 1, self.rows[0].len() - 1);
        let mut trace = Vec::new();
        while i > 0 || j > 0 {
            let edit = self.rows[i][j].1;
            trace.push(edit);
            match edit {
                Edit::Keep | Edit::Substitute => (i, j) = (i - 1, j - 1),
                Edit::Insert => j -= 1,
                Edit::Delete | Edit::Unreached => i -= 1,
            }
        }
        let (mut align, mut of_reference, mut of_prediction) = (Vec::new(), Vec::new(), Vec::new());
        let mut position = -1;
        for edit in trace.into_iter().rev() {
            let is_edit = edit != Edit::Keep;
            if edit != Edit::Insert {
                position += 1;
                of_prediction.push(is_edit);
            }
            if matches!(edit, Edit::Keep | Edit::Substitute | Edit::Insert) {
                align.push(position);
                of_reference.push(is_edit);
            }
        }
        (align, of_reference, of_prediction)
    }
}

/// Returns which columns of a row are computed: those around the diagonal; in the last row all up to the end.
fn beam(row: usize, rows: usize, columns: usize) -> std::ops::Range<usize> {
    let ratio = columns as f64 / rows as f64;
    let width = if (BEAM as f64) < ratio / 2.0 { (ratio / 2.0 + BEAM as f64).ceil() as usize } else { BEAM };
    let diagonal = (row as f64 * ratio).floor() as usize;
    let end = if row == rows { columns + 1 } else { (columns + 1).min(diagonal + width) };
    diagonal.saturating_sub(width)..end
}

/// How much a shift helps, its length, where it comes from, where it goes. The largest wins: so a longer shift wins,
/// then an earlier one.
type Rank = (i64, usize, i64, i64);

/// Returns the words after the shift that helps most; none if no shift helps.
fn best_shift(words: &[u32], reference: &[u32], table: &Table, candidates: &mut usize) -> Option<Vec<u32>> {
    let (align, wrong_reference, wrong_words) = table.alignment();
    let before = i64::from(table.distance());
    let mut scratch = [Row::new(), Row::new()];
    let mut best: Option<(Rank, Vec<u32>)> = None;
    'pairs: for start in 0..words.len() {
        let nearest = start.saturating_sub(MAX_SHIFT_DISTANCE);
        for at in nearest..reference.len().min(start + MAX_SHIFT_DISTANCE + 1) {
            let longest = words[start..].iter().zip(&reference[at..]).take_while(|(a, b)| a == b).take(MAX_SHIFT_SIZE);
            for length in 1..=longest.count() {
                let is_right =
                    |wrong: &[bool], from: usize| !wrong[from..from + length].iter().any(|is_wrong| *is_wrong);
                let within = start as isize..(start + length) as isize;
                if is_right(&wrong_words, start) || is_right(&wrong_reference, at) || within.contains(&align[at]) {
                    continue;
                }
                let mut previous = None;
                for offset in at..at + length + 1 {
                    let target = match offset.checked_sub(1) {
                        None => 0,
                        Some(before) => match align.get(before) {
                            Some(position) => (position + 1) as usize,
                            None => break,
                        },
                    };
                    if previous == Some(target) {
                        continue;
                    }
                    previous = Some(target);
                    let shifted = shifted(words, start, length, target);
                    let same = words.iter().zip(&shifted).take_while(|(a, b)| a == b).count();
                    let after = table.distance_of(&shifted, same, reference, &mut scratch);
                    let rank = (before - i64::from(after), length, -(start as i64), -(target as i64));
                    *candidates += 1;
                    if best.as_ref().is_none_or(|(best, _)| rank > *best) {
                        best = Some((rank, shifted));
                    }
                }
                if *candidates >= MAX_CANDIDATES {
                    break 'pairs;
                }
            }
        }
    }
    best.filter(|((gain, ..), _)| *gain > 0).map(|(_, shifted)| shifted)
}

/// Returns the words after a run of them was moved before the word at `target`.
fn shifted(words: &[u32], start: usize, length: usize, target: usize) -> Vec<u32> {
    let run = &words[start..start + length];
    let behind = &words[start + length..];
    if target < start {
        [&words[..target], run, &words[target..start], behind].concat()
    } else if target > start + length {
        [&words[..start], &words[start + length..target], run, &words[target..]].concat()
    } else {
        let to = (length + target).min(words.len());
        [&words[..start], &words[start + length..to], run, &words[to..]].concat()
    }
}
