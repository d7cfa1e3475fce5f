//! Why a node will run: what differs, down to lines and rows.

use serde_json::Value;

use super::printable;
use crate::execute::{Difference, Ids, State, Why};

/// Renders what `why` found.
pub fn why(why: &Why) -> String {
    let mut out = match why.state {
        State::Hit => format!("{} is cached: nothing that it depends on has changed\n", why.node),
        State::Run => format!("{} will run: {}\n", why.node, why.reason),
        State::Maybe => format!("{} may run: it {}\n", why.node, why.reason),
    };
    match &why.since {
        None => out.push_str("no run had it before\n"),
        Some(run) => out.push_str(&format!("compared with run {run}\n")),
    }
    for change in &why.changes {
        out.push('\n');
        out.push_str(&one(change));
    }
    out
}

fn one(change: &Difference) -> String {
    match change {
        Difference::Value { name, before, after } => {
            let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "(not set)".to_owned(), value_text);
            format!("{name}\n  - {}\n  + {}\n", show(before), show(after))
        }
        Difference::Template { name, lines: None } => format!("template {name}: its old text is not kept\n"),
        Difference::Template { name, lines: Some(lines) } => {
            let lines: String = lines.iter().map(|line| format!("  {}\n", printable(line))).collect();
            format!("template {name}\n{lines}")
        }
        Difference::Rows { dataset, columns, changed, added, removed } => {
            let columns = match columns.as_slice() {
                [] => String::new(),
                columns => format!(" (columns read: {})", columns.join(", ")),
            };
            let mut out = format!("rows of {dataset}{columns}\n");
            for (word, ids) in [("changed", changed), ("added", added), ("removed", removed)] {
                if ids.count > 0 {
                    out.push_str(&format!("  {} {word}: {}\n", ids.count, ids_text(ids)));
                }
            }
            out
        }
        Difference::Other { message } => format!("{message}\n"),
    }
}

fn value_text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let short: String = text.chars().take(400).collect();
    printable(&if short.len() < text.len() { format!("{short}…") } else { short }).replace('\n', "\n    ")
}

fn ids_text(ids: &Ids) -> String {
    let more = if ids.count > ids.ids.len() as u64 { ", …" } else { "" };
    printable(&format!("{}{more}", ids.ids.join(", ")))
}
