//! One label as it stands in a file: a JSON object on a line, or a record of a CSV file.
//!
//! | field | holds |
//! |---|---|
//! | `row` | the id of the row |
//! | `label` | `win`, `tie` or `loss` of a comparison; a label of a classification; a score of a rubric |
//! | `model` | whose completion it is about; if absent, that of any model |
//! | `pair` | of a comparison: `tuned/base`, the model that the label is about and the other |
//! | `criterion` | of a rubric |
//! | `rater` `reason` | who said it, and why |
//! | `completion` `baseline` | the very texts that were labelled |

use serde_json::{Map, Value, json};

use super::item::{item_digest, item_name};

/// What one rater said about one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelLine {
    /// The row's id exactly as written, spaces included; empty if there is none.
    pub row: String,
    /// Empty: the label holds for any model.
    pub model: String,
    /// The model that the label is about, and the one that it is compared with, as written: `tuned/base`.
    pub pair: String,
    /// Empty: the label is about no criterion.
    pub criterion: String,
    /// A word or a number.
    pub label: Value,
    pub rater: String,
    pub reason: String,
    pub completion: Option<String>,
    pub baseline: Option<String>,
}

/// Returns a cell as text; an absent or null cell is empty.
fn text_of(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(other) => other.to_string(),
    }
}

impl LabelLine {
    /// Reads the fields of a line; fields that labels do not have are ignored.
    pub fn of(columns: &Map<String, Value>) -> LabelLine {
        let text = |name: &str| text_of(columns.get(name));
        let raw = |name: &str| columns.get(name).and_then(Value::as_str).map(str::to_owned);
        LabelLine {
            row: raw("row").unwrap_or_else(|| text("row")),
            model: text("model"),
            pair: text("pair"),
            criterion: text("criterion"),
            label: columns.get("label").cloned().unwrap_or_default(),
            rater: text("rater"),
            reason: text("reason"),
            completion: raw("completion"),
            baseline: raw("baseline"),
        }
    }

    /// Returns the label as a word; a number as its text.
    pub fn word(&self) -> String {
        text_of(Some(&self.label))
    }

    /// Returns the two models of `pair`; none if it has no `/`.
    pub fn sides(&self) -> Option<(&str, &str)> {
        self.pair.split_once('/').map(|(model, against)| (model.trim(), against.trim()))
    }

    /// Returns the same text for two labels in which the same rater speaks of the same thing.
    pub fn identity(&self) -> String {
        let LabelLine { row, pair, model, criterion, rater, completion, baseline, .. } = self;
        json!([row, pair, model, criterion, rater, completion, baseline]).to_string()
    }

    /// Returns the name of the sheet's item that the label is about; none if the label does not carry the texts.
    pub fn item(&self) -> Option<String> {
        let (model, against) = match self.sides() {
            Some((model, against)) => (model, Some(against)),
            None => (Some(self.model.as_str()).filter(|model| !model.is_empty())?, None),
        };
        let completion = self.completion.as_deref()?;
        Some(item_name(&item_digest(&self.row, model, against, completion, self.baseline.as_deref())))
    }

    /// Returns the line as it is written, without its newline.
    pub fn to_json(&self) -> String {
        let mut line = Map::new();
        line.insert("row".to_owned(), self.row.clone().into());
        let mut add = |name: &str, text: &str| {
            if !text.is_empty() {
                line.insert(name.to_owned(), text.into());
            }
        };
        add("pair", &self.pair);
        add("model", &self.model);
        add("criterion", &self.criterion);
        line.insert("label".to_owned(), self.label.clone());
        let mut add = |name: &str, text: Option<&str>| {
            line.extend(text.map(|text| (name.to_owned(), Value::from(text))));
        };
        add("rater", Some(self.rater.as_str()).filter(|rater| !rater.is_empty()));
        add("reason", Some(self.reason.as_str()).filter(|reason| !reason.is_empty()));
        add("completion", self.completion.as_deref());
        add("baseline", self.baseline.as_deref());
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LabelLine {
        LabelLine::of(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap())
    }

    #[test]
    fn a_line_is_written_as_it_was_read() {
        for text in [
            r#"{"row":" 7 ","pair":"tuned/base","label":"win","rater":"eva","completion":"x ","baseline":"y"}"#,
            r#"{"row":"7","model":"tuned","criterion":"tone","label":4,"reason":"kind"}"#,
            r#"{"row":"7","label":"correct"}"#,
        ] {
            assert_eq!(line(text).to_json(), text);
        }
    }

    #[test]
    fn another_label_of_the_same_thing_has_its_identity() {
        let first = line(r#"{"row": 7, "model": "tuned", "label": 4}"#);
        let second = line(r#"{"row": "7", "model": "tuned", "label": 5}"#);
        assert_eq!(first.identity(), second.identity());
        assert_ne!(first.identity(), line(r#"{"row": 7, "model": "tuned", "label": 4, "rater": "eva"}"#).identity());
        assert_eq!((first.word(), second.item()), ("4".to_owned(), None));
    }
}
