//! Sheets for people who label rows: texts without the names of models, and empty cells for the labels.

use serde_json::{Map, Value};

use super::export::harmless;
use crate::label::{Item, Sheet};

/// Renders a sheet as CSV or JSON lines.
pub fn sheet(items: &[Item], sheet: &Sheet, columns: &[String], is_csv: bool) -> Vec<u8> {
    let rows: Vec<Vec<(String, String)>> = items.iter().map(|item| cells(item, sheet, columns)).collect();
    if !is_csv {
        let line = |cells: &Vec<(String, String)>| {
            let map: Map<String, Value> =
                cells.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
            Value::Object(map).to_string() + "\n"
        };
        return rows.iter().map(line).collect::<String>().into_bytes();
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = "writing to memory cannot fail";
    if let Some(first) = rows.first() {
        writer.write_record(first.iter().map(|(name, _)| name)).expect(failed);
    }
    for row in &rows {
        writer.write_record(row.iter().map(|(_, text)| harmless(text).into_owned())).expect(failed);
    }
    writer.into_inner().expect(failed)
}

fn cells(item: &Item, sheet: &Sheet, columns: &[String]) -> Vec<(String, String)> {
    let key = &item.key;
    let mut cells = vec![("item".to_owned(), key.item.clone())];
    let mut add = |name: &str, text: &str| cells.push((name.to_owned(), text.to_owned()));
    add("prompt", &item.prompt);
    for column in columns {
        match item.row.get(column) {
            Some(Value::String(text)) => add(&format!("row.{column}"), text),
            Some(other) => add(&format!("row.{column}"), &other.to_string()),
            None => add(&format!("row.{column}"), ""),
        }
    }
    match (sheet, &key.baseline) {
        (Sheet::Pair, Some(baseline)) => {
            let (a, b) = if key.swapped { (baseline, &key.completion) } else { (&key.completion, baseline) };
            add("a", a);
            add("b", b);
        }
        _ => add("response", &key.completion),
    }
    match sheet {
        Sheet::Scores { criteria, .. } => criteria.iter().for_each(|(name, _)| add(&format!("score.{name}"), "")),
        Sheet::Pair | Sheet::Words(_) => add("label", ""),
    }
    add("reason", "");
    add("rater", "");
    cells
}

/// Returns what people should fill in, in words.
pub fn sheet_answers(sheet: &Sheet) -> String {
    match sheet {
        Sheet::Pair => "`label` with A, B or tie".to_owned(),
        Sheet::Words(words) => format!("`label` with one of {}", words.join(", ")),
        Sheet::Scores { criteria, low, high } => {
            let asked: Vec<String> = criteria.iter().map(|(name, ask)| format!("`score.{name}` ({ask})")).collect();
            format!("{} with a score from {low} to {high}", asked.join(", "))
        }
    }
}
