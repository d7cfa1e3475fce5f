//! Sheets for people: which judged rows they should see, blind, and what their answers mean.
//!
//! ```text
//! export   judged rows → strata → a sample by digest → sheet (texts, no names) + key (what each item is)
//! import   sheet + key → labels with the texts that were seen
//! ```
//!
//! Names of models and verdicts of the judge stand in the key alone. Order and places come from digests: they
//! say nothing, and are the same when the sheet is made again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Found, Session, each_row};
use crate::digest::Digest;
use crate::row::Row;
use crate::stage::{Sheet, Shown, StageError, quotas};

/// What rows are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stratum {
    /// What the judge said: its verdict, or the third of the scale.
    Score,
    /// Whether its orders, its votes or the judges disagree.
    Disagreement,
}

/// What an item of a sheet is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub item: String,
    pub row: String,
    pub model: String,
    /// The model that it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The model's response stands second.
    #[serde(default)]
    pub swapped: bool,
    pub completion: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
}

/// A row to be labelled.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: Key,
    /// What the model was asked.
    pub prompt: String,
    /// The row's own columns.
    pub row: Map<String, Value>,
    stratum: String,
}

/// Returns the judged rows of nodes that can be labelled, in an order that says nothing, at most `n` of them and
/// none of those that are known.
pub fn items(
    session: &Session,
    found: &[(usize, Found)],
    by: &[Stratum],
    n: usize,
    known: &BTreeSet<String>,
) -> Result<Vec<Item>, StageError> {
    let mut all = Vec::new();
    for (index, found) in found {
        let node = &session.plan.nodes[*index];
        let upstream = node.inputs.iter().map(|(_, input)| &session.plan.nodes[*input]);
        let inference = upstream.into_iter().find(|input| input.stage.kind() == "inference");
        let baseline = node.inputs.iter().find(|(part, _)| *part == crate::stage::BASELINE);
        let baseline = baseline.and_then(|(_, input)| session.plan.nodes[*input].model.clone());
        each_row(session, *index, found, false, |document| {
            if document.get("sample").and_then(Value::as_u64).unwrap_or(0) == 0
                && let Some(mut item) = item(&document, node.model.as_deref(), baseline.as_deref(), by)
                && !known.contains(&item.key.item)
            {
                let row = Row { id: item.key.row.clone(), columns: item.row.clone() };
                let shown =
                    Shown { model: Some(&item.key.model), params: &session.plan.spec.params, row: &row, sample: 0 };
                let asked = inference.and_then(|inference| inference.stage.asked(&shown)).unwrap_or_default();
                let turns = asked.iter().filter(|turn| turn.role != "system").map(|turn| turn.text());
                item.prompt = turns.collect::<Vec<_>>().join("\n\n");
                all.push(item);
            }
            true
        })?;
    }
    Ok(drawn(all, n))
}

/// Draws from each stratum in proportion, from each at least one where there is room.
fn drawn(mut all: Vec<Item>, n: usize) -> Vec<Item> {
    all.sort_by(|a, b| a.key.item.cmp(&b.key.item));
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for item in &all {
        *sizes.entry(item.stratum.clone()).or_default() += 1;
    }
    let mut wanted: BTreeMap<String, u64> =
        quotas(&sizes, n as u64).into_iter().map(|(stratum, count)| (stratum.to_owned(), count)).collect();
    while let Some(empty) = wanted.iter().find(|(_, count)| **count == 0).map(|(stratum, _)| stratum.clone()) {
        let largest = wanted.iter().max_by_key(|(_, count)| **count).map(|(stratum, count)| (stratum.clone(), *count));
        match largest {
            Some((largest, count)) if count > 1 => {
                wanted.insert(largest, count - 1);
                wanted.insert(empty, 1);
            }
            _ => break,
        }
    }
    all.retain(|item| {
        let left = wanted.entry(item.stratum.clone()).or_default();
        let is_drawn = *left > 0;
        *left = left.saturating_sub(1);
        is_drawn
    });
    all
}

fn item(document: &Map<String, Value>, model: Option<&str>, baseline: Option<&str>, by: &[Stratum]) -> Option<Item> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let pair = document.get("pair").and_then(Value::as_array);
    let of_pair = |place: usize| pair.and_then(|pair| pair.get(place)?.as_str()).map(str::to_owned);
    let model = of_pair(0).or(model.map(str::to_owned))?;
    let against = of_pair(1).or(baseline.map(str::to_owned));
    let (row, completion) = (text("id")?, text("completion")?);
    let other = against.as_ref().and_then(|_| text("baseline"));
    if completion.trim().is_empty() || against.is_some() && other.as_ref().is_none_or(|other| other.trim().is_empty()) {
        return None;
    }
    // Two texts that are the same are a tie, whoever looks.
    if other.as_ref().is_some_and(|other| *other == completion) {
        return None;
    }
    let digest = item_digest(&row, &model, against.as_deref(), &completion, other.as_deref());
    let mut strata = Vec::new();
    for stratum in by {
        strata.push(match stratum {
            Stratum::Score => said(document),
            Stratum::Disagreement => if is_disputed(document) { "disputed" } else { "undisputed" }.to_owned(),
        });
    }
    let key = Key {
        item: item_name(&digest),
        row,
        swapped: against.is_some() && digest.seed() % 2 == 1,
        model,
        against,
        completion,
        baseline: other,
    };
    let columns = document.get("row").and_then(Value::as_object).cloned().unwrap_or_default();
    Some(Item { key, prompt: String::new(), row: columns, stratum: strata.join(" ") })
}

fn item_digest(row: &str, model: &str, against: Option<&str>, completion: &str, baseline: Option<&str>) -> Digest {
    Digest::of_json("etalon.label", &json!([row, model, against, completion, baseline]))
}

/// Returns the item that a label is of, where it has its texts.
pub fn item_of(line: &LabelLine) -> Option<String> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let (model, against) = match text("pair").and_then(|pair| pair.split_once('/')) {
        Some((model, against)) => (model, Some(against)),
        None => (text("model")?, None),
    };
    let row = match line.get("row")? {
        Value::String(row) => row.clone(),
        other => other.to_string(),
    };
    let digest = item_digest(&row, model, against, text("completion")?, text("baseline"));
    Some(item_name(&digest))
}

/// Returns the name of an item: a letter first, so that no spreadsheet takes it for a number.
fn item_name(digest: &Digest) -> String {
    format!("i{}", &digest.to_string()[..11])
}

/// Returns what the judge said, as a word: its verdict, or its mean score, rounded.
fn said(document: &Map<String, Value>) -> String {
    if let Some(verdict) = document.get("verdict").and_then(Value::as_str) {
        return verdict.to_owned();
    }
    let scores = document.get("scores").and_then(Value::as_object);
    let scores: Vec<f64> = scores.into_iter().flat_map(|scores| scores.values()).filter_map(Value::as_f64).collect();
    if scores.is_empty() {
        return "none".to_owned();
    }
    format!("{:.0}", scores.iter().sum::<f64>() / scores.len() as f64)
}

/// Returns whether orders or votes differ.
fn is_disputed(document: &Map<String, Value>) -> bool {
    let differ = |values: Vec<&Value>| values.windows(2).any(|pair| pair[0] != pair[1]);
    let orders = |of: &Value| differ(of["orders"].as_array().into_iter().flatten().collect());
    let votes = document.get("votes").and_then(Value::as_array);
    let of_votes = |name: &str| votes.into_iter().flatten().map(|vote| &vote[name]).collect::<Vec<_>>();
    document.get("orders").is_some_and(|of| orders(&json!({ "orders": of })))
        || votes.into_iter().flatten().any(orders)
        || differ(of_votes("verdict"))
        || differ(of_votes("scores"))
}

/// A label as a file of labels has it.
pub type LabelLine = Map<String, Value>;

/// Returns what people wrote about an item as labels; the error says what is wrong with it.
///
/// `answers` holds the cells of the line by column. None is written where nothing is.
pub fn labels_of(key: &Key, sheet: &Sheet, answers: &BTreeMap<String, String>) -> Result<Vec<LabelLine>, String> {
    let cell = |name: &str| answers.get(name).map_or("", |text| text.trim());
    let line = |label: Value, criterion: Option<&str>| {
        let mut line = Map::new();
        line.insert("row".to_owned(), key.row.clone().into());
        match &key.against {
            Some(against) => line.insert("pair".to_owned(), format!("{}/{against}", key.model).into()),
            None => line.insert("model".to_owned(), key.model.clone().into()),
        };
        if let Some(criterion) = criterion {
            line.insert("criterion".to_owned(), criterion.into());
        }
        line.insert("label".to_owned(), label);
        for name in ["rater", "reason"] {
            if !cell(name).is_empty() {
                line.insert(name.to_owned(), cell(name).into());
            }
        }
        line.insert("completion".to_owned(), key.completion.clone().into());
        if let Some(baseline) = &key.baseline {
            line.insert("baseline".to_owned(), baseline.clone().into());
        }
        line
    };
    let said = cell("label");
    match sheet {
        Sheet::Pair if said.is_empty() => Ok(Vec::new()),
        Sheet::Pair => {
            let is_first = match said.to_lowercase().as_str() {
                "a" => Some(true),
                "b" => Some(false),
                "tie" => None,
                _ => return Err(format!("`{said}` is neither A, B nor tie")),
            };
            let word = match is_first {
                None => "tie",
                Some(is_first) if is_first != key.swapped => "win",
                Some(_) => "loss",
            };
            Ok(vec![line(word.into(), None)])
        }
        Sheet::Words(_) if said.is_empty() => Ok(Vec::new()),
        Sheet::Words(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(said)) {
            Some(word) => Ok(vec![line(word.as_str().into(), None)]),
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
                lines.push(line(number, Some(criterion)));
            }
            Ok(lines)
        }
    }
}

/// Returns what makes two labels speak of the same thing.
pub fn identity_of(line: &LabelLine) -> String {
    let of = |name: &str| match line.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let names = ["row", "pair", "model", "criterion", "rater", "completion", "baseline"];
    json!(names.map(of)).to_string()
}
