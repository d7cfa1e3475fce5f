//! A classification as text: the scores of every label, then how often each label was predicted as another.
//!
//! Up to [`MAX_LABELS`] labels make a matrix, if the terminal is wide enough; otherwise the most confused pairs are
//! listed.

use comfy_table::presets;

use super::table::{aligned, cut};
use crate::report::printable;
use crate::report::view::{Classes, Confusion, LabelScores};

/// The most labels that a matrix has.
const MAX_LABELS: usize = 12;

/// How many confused pairs are listed.
const MAX_PAIRS: usize = 10;

/// A label is cut to at most, and padded to at least, so many characters.
const LONGEST: usize = 24;
const SHORTEST: usize = 4;

/// Renders one classification of one model.
pub(super) fn classes(classes: &Classes, width: Option<usize>) -> String {
    let mut out = vec![format!("{}\n{}", printable(&classes.of), scores(classes))];
    if let Some(confusion) = &classes.confusion {
        out.push(matrix(confusion, width).unwrap_or_else(|| pairs(confusion)));
    }
    out.join("\n\n")
}

fn scores(classes: &Classes) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    let has_support = classes.labels.iter().any(|label| label.support.is_some());
    let mut header = ["", "precision", "recall", "F1"].map(str::to_owned).to_vec();
    header.extend(has_support.then(|| "support".to_owned()));
    table.set_header(header);
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let mut add = |scores: &LabelScores| {
        let mut cells = vec![cut(&scores.name, LONGEST)];
        cells.extend([scores.precision, scores.recall, scores.f1].map(number));
        cells.extend(has_support.then(|| scores.support.map(count).unwrap_or_default()));
        table.add_row(cells);
    };
    classes.labels.iter().chain(&classes.averages).for_each(&mut add);
    let accuracy = classes.accuracy.map(|accuracy| format!("\naccuracy {accuracy:.3}"));
    aligned(&mut table) + &accuracy.unwrap_or_default()
}

/// Renders the confusion matrix; none if it does not fit.
fn matrix(confusion: &Confusion, width: Option<usize>) -> Option<String> {
    if confusion.gold.len() > MAX_LABELS {
        return None;
    }
    // The last column is for predictions that are no label; it is often empty, and then left out.
    let used: Vec<usize> = (0..confusion.predicted.len())
        .filter(|column| *column < confusion.gold.len() || confusion.counts.iter().any(|row| row[*column] > 0.0))
        .collect();
    let render = |most: usize| {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        let head = |column: &usize| match confusion.predicted.get(*column) {
            Some(label) if *column < confusion.gold.len() => cut(label, most),
            _ => cut("(none)", most),
        };
        table.set_header([cut("gold \\ predicted", LONGEST)].into_iter().chain(used.iter().map(head)));
        for (label, counts) in confusion.gold.iter().zip(&confusion.counts) {
            let cells =
                used.iter().map(|column| if counts[*column] > 0.0 { count(counts[*column]) } else { "·".to_owned() });
            table.add_row([cut(label, LONGEST)].into_iter().chain(cells));
        }
        aligned(&mut table)
    };
    let fits = |text: &String| width.is_none_or(|width| text.lines().all(|line| line.chars().count() <= width));
    (SHORTEST..=LONGEST).rev().map(render).find(fits)
}

/// Renders the pairs that were confused most often.
fn pairs(confusion: &Confusion) -> String {
    let pairs = confusion.pairs();
    if pairs.is_empty() {
        return "nothing is confused".to_owned();
    }
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["most confused: gold → predicted", "rows", "of"]);
    for (gold, predicted, times, of) in pairs.iter().take(MAX_PAIRS) {
        let predicted = if confusion.gold.iter().any(|label| label == predicted) { predicted } else { "(none)" };
        let pair = format!("{} → {}", cut(gold, LONGEST), cut(predicted, LONGEST));
        table.add_row([pair, count(*times), count(*of)]);
    }
    let left_out = pairs.len().saturating_sub(MAX_PAIRS);
    let more = if left_out > 0 { format!("\n… and {left_out} more pairs") } else { String::new() };
    aligned(&mut table) + &more
}

/// Renders a count, which may be a fraction because of weights and samples.
fn count(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.2}") }
}
