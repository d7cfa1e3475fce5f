//! Sheets: what people are shown of judged rows, without the names of models, and what their answers mean.
//!
//! The names of models and the verdicts of the judge stand only in the key of the sheet. The order of items, and which
//! text stands first, come from digests: they give nothing away, and are the same when the sheet is made again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::item::{item_digest, item_name};
use super::line::LabelLine;
use crate::outcome::Outcome;

/// What people are asked about each judged row.
#[derive(Clone, Debug, PartialEq)]
pub enum Sheet {
    /// Which of two is better.
    Pair,
    /// Which of these labels fits.
    Words(Vec<String>),
    /// A score per criterion; each criterion has a name and the question that is asked.
    Scores { criteria: Vec<(String, String)>, low: f64, high: f64 },
}

impl Sheet {
    /// Returns true for a column that people fill in.
    pub fn is_answer(&self, column: &str) -> bool {
        match self {
            Sheet::Scores { .. } => column.starts_with("score."),
            Sheet::Pair | Sheet::Words(_) => column == "label",
        }
    }
}

/// What an item of a sheet stands for; people do not see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub item: String,
    pub row: String,
    pub model: String,
    /// The model with which it is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The model's completion is shown second.
    #[serde(default)]
    pub swapped: bool,
    pub completion: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
}

impl Key {
    /// Returns the key for a model's completion, alone or beside another one. None if there is nothing to look at: an
    /// empty text, or two equal texts, which are a tie for anyone.
    pub fn of(row: &str, model: &str, completion: &str, other: Option<(&str, &str)>) -> Option<Key> {
        let is_empty = |text: &str| text.trim().is_empty();
        if is_empty(completion) || other.is_some_and(|(_, text)| is_empty(text) || text == completion) {
            return None;
        }
        let (against, baseline) = other.unzip();
        let digest = item_digest(row, model, against, completion, baseline);
        Some(Key {
            item: item_name(&digest),
            row: row.to_owned(),
            swapped: against.is_some() && digest.seed() % 2 == 1,
            model: model.to_owned(),
            against: against.map(str::to_owned),
            completion: completion.to_owned(),
            baseline: baseline.map(str::to_owned),
        })
    }
}

/// A row to be labelled.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: Key,
    /// What the model was asked.
    pub prompt: String,
    /// The row's own columns.
    pub row: Map<String, Value>,
}

/// Returns what people wrote about an item as labels; none where they wrote nothing.
///
/// `answers` holds the cells of the item's line, by column.
///
/// # Errors
///
/// An answer is not one that the sheet allows; the message says which.
pub fn labels_of(key: &Key, sheet: &Sheet, answers: &BTreeMap<String, String>) -> Result<Vec<LabelLine>, String> {
    let cell = |name: &str| answers.get(name).map_or("", |text| text.trim());
    let line = |label: Value, criterion: &str| LabelLine {
        row: key.row.clone(),
        pair: key.against.as_ref().map_or_else(String::new, |against| format!("{}/{against}", key.model)),
        model: if key.against.is_some() { String::new() } else { key.model.clone() },
        criterion: criterion.to_owned(),
        label,
        rater: cell("rater").to_owned(),
        reason: cell("reason").to_owned(),
        completion: Some(key.completion.clone()),
        baseline: key.baseline.clone(),
    };
    let said = cell("label");
    match sheet {
        Sheet::Pair | Sheet::Words(_) if said.is_empty() => Ok(Vec::new()),
        Sheet::Pair => {
            let of_first = match said.to_lowercase().as_str() {
                "a" => Outcome::Win,
                "b" => Outcome::Loss,
                "tie" => Outcome::Tie,
                _ => return Err(format!("`{said}` is neither A, B nor tie")),
            };
            let outcome = if key.swapped { of_first.turned() } else { of_first };
            Ok(vec![line(outcome.word().into(), "")])
        }
        Sheet::Words(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(said)) {
            Some(word) => Ok(vec![line(word.as_str().into(), "")]),
            None => Err(format!("`{said}` is none of {}", words.join(", "))),
        },
        Sheet::Scores { criteria, low, high } => {
            let mut lines = Vec::new();
            for (criterion, _) in criteria {
                let said = cell(&format!("score.{criterion}"));
                if said.is_empty() {
                    continue;
                }
                let score = said.replace(',', ".").parse::<f64>().ok().filter(|score| (*low..=*high).contains(score));
                let Some(score) = score else {
                    return Err(format!("{criterion}: `{said}` is no score from {low} to {high}"));
                };
                let number = if score.fract() == 0.0 { Value::from(score as i64) } else { Value::from(score) };
                lines.push(line(number, criterion));
            }
            Ok(lines)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(cells: &[(&str, &str)]) -> BTreeMap<String, String> {
        cells.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn the_place_of_a_response_does_not_reach_the_label() {
        let key = Key::of("1", "tuned", "yes", Some(("base", "no"))).unwrap();
        for swapped in [false, true] {
            let key = Key { swapped, ..key.clone() };
            let said = if swapped { "B" } else { "a" };
            let lines = labels_of(&key, &Sheet::Pair, &answers(&[("label", said)])).unwrap();
            assert_eq!((lines[0].pair.as_str(), lines[0].word().as_str()), ("tuned/base", "win"));
        }
        assert_eq!(labels_of(&key, &Sheet::Pair, &answers(&[("label", " ")])), Ok(Vec::new()));
        assert_eq!(
            labels_of(&key, &Sheet::Pair, &answers(&[("label", "C")])),
            Err("`C` is neither A, B nor tie".to_owned())
        );
    }

    #[test]
    fn there_is_no_item_where_there_is_nothing_to_look_at() {
        assert!(Key::of("1", "tuned", "  ", None).is_none());
        assert!(Key::of("1", "tuned", "same", Some(("base", "same"))).is_none());
        assert!(Key::of("1", "tuned", "x", Some(("base", "\n"))).is_none());
        assert_eq!(Key::of("1", "tuned", "x", None).map(|key| (key.against, key.swapped)), Some((None, false)));
    }

    #[test]
    fn scores_are_numbers_of_the_scale() {
        let sheet = Sheet::Scores { criteria: vec![("tone".to_owned(), "Kind?".to_owned())], low: 1.0, high: 5.0 };
        let key = Key::of("1", "tuned", "x", None).unwrap();
        let lines = labels_of(&key, &sheet, &answers(&[("score.tone", "4,5"), ("rater", "eva")])).unwrap();
        assert_eq!((&lines[0].label, lines[0].rater.as_str()), (&json!(4.5), "eva"));
        let wrong = labels_of(&key, &sheet, &answers(&[("score.tone", "6")]));
        assert_eq!(wrong, Err("tone: `6` is no score from 1 to 5".to_owned()));
    }

    #[test]
    fn a_label_knows_the_item_it_came_from() {
        let key = Key::of("1", "tuned", "yes", Some(("base", "no"))).unwrap();
        let lines = labels_of(&key, &Sheet::Pair, &answers(&[("label", "tie")])).unwrap();
        assert_eq!(lines[0].item(), Some(key.item));
    }
}
