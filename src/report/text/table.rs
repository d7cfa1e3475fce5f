//! The values of models as a table, in the widest of four layouts that fits.
//!
//! | layout | |
//! |---|---|
//! | wide | an estimate and its interval side by side |
//! | folded | the interval below its estimate |
//! | narrow | as folded, and of the difference from the baseline only its sign, beside the value |
//! | stacked | a block per value, a line per model |
//!
//! ▲ is better than the baseline, ▼ worse, · not shown to differ, and ? without an interval.
//!
//! Roles stand below the names of models; where each model has a line, beside its name.

use comfy_table::{CellAlignment, presets};

use super::numbers::{difference, parts, share};
use crate::record::Delta;
use crate::report::printable;
use crate::report::view::{Column, Line, role_word};
use crate::spec::Role;

/// Renders lines as a table with a column per model; none if there are no lines.
pub(super) fn table(columns: &[Column], title: &str, lines: &[Line], width: Option<usize>) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let fits = |text: &String| width.is_none_or(|width| text.lines().all(|line| line.chars().count() <= width));
    let layouts = [(" ", true), ("\n", true), ("\n", false)];
    let grids = layouts.into_iter().map(|(between, has_deltas)| grid(columns, title, lines, between, has_deltas));
    Some(grids.into_iter().find(fits).unwrap_or_else(|| stacked(columns, title, lines, width)))
}

/// Returns the sign of a difference from the baseline: better, worse, or not shown to differ.
fn mark(line: &Line, delta: &Delta) -> &'static str {
    match delta.is_better(line.reading.direction) {
        Some(true) => "▲",
        Some(false) => "▼",
        // Rows that are too few, or that all differ alike, do not say how far it may be off.
        None if !delta.has_interval() => "?",
        None => "·",
    }
}

/// Renders lines as a grid; `between` stands between an estimate and its interval. Differences from the baseline have
/// columns of their own, or else a sign beside the value.
fn grid(columns: &[Column], title: &str, lines: &[Line], between: &str, has_deltas: bool) -> String {
    let with = |has: fn(&Line, usize) -> bool| -> Vec<usize> {
        (0..columns.len()).filter(|index| lines.iter().any(|line| has(line, *index))).collect()
    };
    let shown = with(|line, index| line.estimates[index].is_some());
    let shared = with(|line, index| line.shares[index].is_some());
    let differing = with(|line, index| line.deltas[index].is_some());
    // The ceiling is no candidate: what it is ahead by is seen from the shares of it.
    let differing: Vec<usize> =
        differing.into_iter().filter(|index| columns[*index].role != Some(Role::Ceiling)).collect();
    let against =
        |index: &usize| lines.iter().find_map(|line| line.deltas[*index].as_ref()).map(|delta| &delta.against);
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec![title.to_owned()];
    header.extend(shown.iter().map(|index| match columns[*index].role {
        Some(role) => format!("{}\n{}", label(columns[*index].name()), role_word(role)),
        None => label(columns[*index].name()),
    }));
    if has_deltas {
        let name = |index: &usize| against(index).map_or_else(String::new, |name| label(name));
        header.extend(differing.iter().map(|index| format!("{}\nΔ {}", label(columns[*index].name()), name(index))));
    }
    header.extend(shared.iter().map(|index| format!("{}\nof ceiling", label(columns[*index].name()))));
    header.push("n".to_owned());
    table.set_header(header);
    for line in lines {
        let mut cells = vec![label(&line.name)];
        cells.extend(shown.iter().map(|index| match &line.estimates[*index] {
            Some(estimate) => {
                let sign = line.deltas[*index].as_ref().filter(|_| !has_deltas && differing.contains(index));
                let sign = sign.map_or_else(String::new, |delta| format!("{} ", mark(line, delta)));
                format!("{sign}{}", parts(estimate, line.reading.unit).join(between))
            }
            None => "–".to_owned(),
        }));
        if has_deltas {
            cells.extend(differing.iter().map(|index| match &line.deltas[*index] {
                Some(delta) => {
                    let text = difference(&delta.difference, line.reading.unit);
                    format!("{} {}", mark(line, delta), text.replacen(' ', between, 1))
                }
                None => "–".to_owned(),
            }));
        }
        let share = |index: &usize| line.shares[*index].as_ref().map(|found| share(found).join(between));
        cells.extend(shared.iter().map(|index| share(index).unwrap_or_default()));
        cells.push(n(line));
        table.add_row(cells);
    }
    aligned(&mut table)
}

/// Renders a table whose first column is text and whose others are numbers.
pub(super) fn aligned(table: &mut comfy_table::Table) -> String {
    listed(table, &[0])
}

/// Renders a table; `texts` are the columns that are text, all others are numbers.
pub(in crate::report) fn listed(table: &mut comfy_table::Table, texts: &[usize]) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if !texts.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Returns a name fit for one cell; slices are named by values of the data, which may be any text.
fn label(name: &str) -> String {
    cut(name, 80)
}

/// Returns a text as one line of at most `most` characters.
pub(in crate::report) fn cut(text: &str, most: usize) -> String {
    let flat: String = printable(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if flat.chars().count() <= most {
        return flat;
    }
    flat.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Renders lines for a narrow terminal: a block per value, a line per model.
fn stacked(columns: &[Column], title: &str, lines: &[Line], width: Option<usize>) -> String {
    let longest = |words: Vec<usize>| words.into_iter().max().unwrap_or(0);
    let names = longest(columns.iter().map(|column| label(column.name()).chars().count()).collect());
    let roles = longest(columns.iter().filter_map(|column| Some(role_word(column.role?).len())).collect());
    let mut out: Vec<String> = (!title.is_empty()).then(|| title.to_owned()).into_iter().collect();
    for line in lines {
        let n = n(line);
        out.push(format!("{}{}", label(&line.name), if n.is_empty() { n } else { format!("  n {n}") }));
        for (index, (column, estimate)) in columns.iter().zip(&line.estimates).enumerate() {
            let Some(estimate) = estimate else { continue };
            let mut text = format!("  {:<names$}", label(column.name()));
            if roles > 0 {
                text.push_str(&format!("  {:<roles$}", column.role.map_or("", role_word)));
            }
            text.push_str(&format!("  {}", parts(estimate, line.reading.unit).join(" ")));
            let mut more = Vec::new();
            if let Some(delta) = line.deltas[index].as_ref().filter(|_| column.role != Some(Role::Ceiling)) {
                more.push(format!("{} {}", mark(line, delta), difference(&delta.difference, line.reading.unit)));
            }
            if let Some(found) = &line.shares[index] {
                more.push(format!("{} of ceiling", share(found).join(" ")));
            }
            for part in more {
                // What does not fit stands below.
                let length = |text: &str| text.chars().count();
                if width.is_some_and(|width| length(&text) + 2 + length(&part) > width) {
                    out.push(std::mem::replace(&mut text, format!("    {part}")));
                } else {
                    text.push_str(&format!("  {part}"));
                }
            }
            out.push(text);
        }
    }
    out.join("\n")
}

/// Returns how many rows a line rests on: one number, or the least and the most over the models.
fn n(line: &Line) -> String {
    let counts: Vec<u64> = line.estimates.iter().flatten().map(|estimate| estimate.n).collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least}–{most}"),
        _ => String::new(),
    }
}

/// Breaks a text into lines of a width, each behind a margin; without a width it stays one line.
pub(in crate::report) fn wrapped(text: &str, margin: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return format!("{margin}{text}") };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            // What continues a line stands a little further in.
            last => {
                let indent = if last.is_some() { "  " } else { "" };
                lines.push(format!("{margin}{indent}{word}"));
            }
        }
    }
    lines.join("\n")
}
