//! Parses TOML text, that of `etalon.toml`, into a [`Node`] tree.

use std::sync::Arc;

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tree::{Key, Node, NodeValue};
use crate::problem::{Place, Problem, Source};

/// Parses a text; all syntax errors are returned at once.
pub(super) fn parse(source: &Arc<Source>) -> Result<Node, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    if !errors.is_empty() {
        return Err(errors
            .iter()
            .map(|error| {
                let range = error.span().unwrap_or(0..0);
                Problem::error("toml-syntax", error.message()).at(&Place { source: source.clone(), range })
            })
            .collect());
    }
    let place = Place::start_of(source);
    Ok(Node { value: table_value(table.get_ref(), source), place })
}

fn table_value(table: &DeTable<'_>, source: &Arc<Source>) -> NodeValue {
    let mut entries: Vec<(Key, Node)> = table
        .iter()
        .map(|(key, value)| {
            let place = Place { source: source.clone(), range: key.span() };
            (Key { text: key.get_ref().to_string(), place }, node(value, source))
        })
        .collect();
    // The TOML table is sorted by name; this restores the order in which people wrote it.
    entries.sort_by_key(|(key, _)| key.place.range.start);
    NodeValue::Map(entries)
}

fn node(value: &Spanned<DeValue<'_>>, source: &Arc<Source>) -> Node {
    let place = Place { source: source.clone(), range: value.span() };
    let value = match value.get_ref() {
        DeValue::String(text) => NodeValue::Text(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => NodeValue::Number(integer.into()),
            Err(_) => NodeValue::Text(integer.as_str().to_owned()),
        },
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => NodeValue::Number(number),
            None => NodeValue::Text(float.as_str().to_owned()),
        },
        DeValue::Boolean(flag) => NodeValue::Bool(*flag),
        DeValue::Datetime(time) => NodeValue::Text(time.to_string()),
        DeValue::Array(items) => NodeValue::List(items.iter().map(|item| node(item, source)).collect()),
        DeValue::Table(table) => table_value(table, source),
    };
    Node { value, place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_places_come_through() {
        let text = "[models.base]\nmodel = \"m\"\nconcurrency = 8\noptions = { temperature = 0.5 }\n";
        let source = Arc::new(Source { path: "etalon.toml".into(), text: text.into() });
        let node = parse(&source).unwrap();
        let base = node.get("models").unwrap().get("base").unwrap();
        assert_eq!(base.to_json().to_string(), r#"{"model":"m","concurrency":8,"options":{"temperature":0.5}}"#);
        assert_eq!(base.get("concurrency").unwrap().place.line_column(), (3, 15));
        let broken = Arc::new(Source { path: "etalon.toml".into(), text: "a = \nb = [\n".into() });
        assert!(!parse(&broken).unwrap_err().is_empty());
    }
}
