//! The scores of a file: one line per value.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::printable;
use super::text::{cell, failure_counts};
use super::view;
use crate::score::{Estimate, Unit};
use crate::stage::FileScores;

/// Renders the scores of a file as a table.
pub fn scores(scored: &FileScores) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "value [95 % interval]", "n", "missing"]);
    let mut add = |name: String, estimate: &Estimate, unit: Unit| {
        // The cell leaves out how many are missing, since there is a column for that.
        let shown = Estimate { missing: 0, ..*estimate };
        table.add_row([printable(&name), cell(&shown, unit), estimate.n.to_string(), estimate.missing.to_string()]);
    };
    for (name, estimate) in &scored.summary.values {
        let is_full = name == "coverage" && estimate.missing == 0;
        if !is_full {
            add(name.clone(), estimate, scored.unit(name).unwrap_or(Unit::Rate));
        }
    }
    for (column, values) in &scored.summary.slices {
        for (value, estimates) in values {
            for (name, estimate) in estimates {
                add(format!("{name} · {column}={value}"), estimate, scored.unit(name).unwrap_or(Unit::Rate));
            }
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    for (name, table) in &scored.summary.tables {
        if let (Some(metric), Some(counts)) = (name.strip_suffix(".failures"), view::failure_counts(table)) {
            out.push(format!("\n{metric} fails: {}", failure_counts(&counts)));
        }
    }
    out.push(String::new());
    out.extend(view::signatures(scored.summary.signatures.values()).iter().map(|signature| printable(signature)));
    out.join("\n").trim_end().to_owned()
}

/// Returns the JSON document of `score`.
pub fn scores_json(scored: &FileScores) -> Value {
    let mut summary = serde_json::to_value(&scored.summary.values).expect("estimates serialise");
    if !scored.summary.slices.is_empty() {
        summary["slices"] = serde_json::to_value(&scored.summary.slices).expect("estimates serialise");
    }
    json!({
        "etalon": 1,
        "rows": scored.rows,
        "summary": summary,
        "tables": scored.summary.tables,
        "signatures": scored.summary.signatures,
        "notes": scored.notes,
    })
}
