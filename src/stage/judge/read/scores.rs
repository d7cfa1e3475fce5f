//! Reads the scores of a rubric from the JSON object in a reply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::json::{Defect, objects, repair, strict};
use super::{body_of, is_length, pattern};
use crate::row::VerdictStatus;

static SCORE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^([+-]?[0-9]+(?:\.[0-9]+)?)(?:\s*(?:/|out\s+of)\s*([0-9]+))?$"));

/// What was read from the reply to a rubric.
#[derive(Clone, Debug, PartialEq)]
pub struct RubricReading {
    pub status: VerdictStatus,
    /// The score of each criterion; none if it is missing.
    pub scores: Vec<(String, Option<f64>)>,
    /// Why a criterion has no score, by criterion.
    pub errors: BTreeMap<String, String>,
    pub notes: Vec<String>,
    /// The judge's reason in its own words, if the object has one.
    pub reason: Option<String>,
}

/// The scale of a rubric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    /// Whether scores between whole numbers are allowed.
    pub fractional: bool,
}

/// The best object so far: how many criteria it has, the object, and the repairs that it took.
type Best = (usize, Option<(Map<String, Value>, Map<String, Value>)>, BTreeSet<&'static str>);

/// Reads the scores of a rubric.
pub fn read_rubric(
    text: &str,
    criteria: &[String],
    scale: Scale,
    finish_reason: Option<&str>,
    tag: Option<&str>,
) -> RubricReading {
    let mut reading = RubricReading {
        status: VerdictStatus::Unparsable,
        scores: criteria.iter().map(|criterion| (criterion.clone(), None)).collect(),
        errors: BTreeMap::new(),
        notes: Vec::new(),
        reason: None,
    };
    let body = match body_of(text) {
        Ok(body) => body,
        Err((status, notes)) => {
            (reading.status, reading.notes) = (status, notes);
            return reading;
        }
    };
    let (found, is_open) = objects(body);
    let best = best_object(&found, criteria, tag);
    let Some((_, Some((object, whole)), repairs)) = best else {
        reading.notes = best.map(|(_, _, notes)| notes.into_iter().map(str::to_owned).collect()).unwrap_or_default();
        if is_length(finish_reason) || is_open {
            reading.status = VerdictStatus::Truncated;
        }
        return reading;
    };
    let mut notes: BTreeSet<String> = repairs.into_iter().map(str::to_owned).collect();
    for (criterion, score) in &mut reading.scores {
        let key = if object.contains_key(criterion) {
            Some(criterion.as_str())
        } else {
            let normal = normal_key(criterion);
            object.keys().find(|key| normal_key(key) == normal).map(String::as_str)
        };
        let Some(key) = key else {
            reading.errors.insert(criterion.clone(), "missing".to_owned());
            continue;
        };
        if key != criterion {
            notes.insert("key_normalised".to_owned());
        }
        let (coerced, note) = coerce(&object[key], scale);
        notes.extend(note.map(str::to_owned));
        match coerced {
            Ok(value) => *score = Some(value),
            Err(reason) => {
                reading.errors.insert(criterion.clone(), reason.to_owned());
            }
        }
    }
    reading.reason = ["reason", "reasoning", "rationale", "explanation", "justification"]
        .iter()
        .find_map(|key| whole.get(*key).or(object.get(*key)).and_then(Value::as_str))
        .map(str::to_owned);
    reading.notes = notes.into_iter().collect();
    let scored = reading.scores.iter().filter(|(_, score)| score.is_some()).count();
    reading.status = match scored {
        0 => VerdictStatus::Unparsable,
        n if n < criteria.len() => VerdictStatus::Partial,
        _ if reading.notes.is_empty() => VerdictStatus::Ok,
        _ => VerdictStatus::Repaired,
    };
    reading
}

/// Returns the object with the most criteria; of several, the last.
fn best_object(found: &[&str], criteria: &[String], tag: Option<&str>) -> Option<Best> {
    let mut best: Option<Best> = None;
    for text in found {
        let (parsed, repairs) = match strict(text) {
            Ok(value) => (Ok(value), BTreeSet::new()),
            Err(Defect::Duplicate) => (Err(Defect::Duplicate), BTreeSet::new()),
            Err(Defect::Syntax) => {
                let (mended, notes) = repair(text);
                (strict(&mended), notes)
            }
        };
        let whole = match parsed {
            Ok(Value::Object(whole)) => whole,
            Err(Defect::Duplicate) => {
                best = best.or_else(|| Some((0, None, BTreeSet::from(["duplicate_key"]))));
                continue;
            }
            _ => continue,
        };
        if tag.is_some_and(|tag| whole.get("tag").and_then(Value::as_str) != Some(tag)) {
            continue;
        }
        let inner =
            ["scores", "ratings", "criteria", "evaluation"].iter().filter_map(|key| whole.get(*key)?.as_object());
        for object in std::iter::once(&whole).chain(inner) {
            let keys: BTreeSet<String> = object.keys().map(|key| normal_key(key)).collect();
            let hits = criteria.iter().filter(|criterion| keys.contains(&normal_key(criterion))).count();
            if hits > 0 && best.as_ref().is_none_or(|(most, _, _)| hits >= *most) {
                best = Some((hits, Some((object.clone(), whole.clone())), repairs.clone()));
            }
        }
    }
    best
}

type Coerced = (Result<f64, &'static str>, Option<&'static str>);

fn coerce(value: &Value, scale: Scale) -> Coerced {
    let (number, note) = match value {
        Value::Object(map) => {
            let inner = ["score", "rating", "value", "grade"].iter().find_map(|key| map.get(*key));
            return inner.map_or((Err("missing"), None), |inner| coerce(inner, scale));
        }
        Value::Null => return (Err("missing"), None),
        Value::Bool(_) | Value::Array(_) => return (Err("wrong_type"), None),
        Value::String(text) => {
            let text = text.trim();
            let Some(found) = SCORE.captures(text) else {
                let says_nothing = ["", "n/a", "na", "none", "null", "-"].contains(&text.to_lowercase().as_str());
                return (Err(if says_nothing { "missing" } else { "wrong_type" }), None);
            };
            if found.get(2).is_some_and(|of| of.as_str().parse::<f64>() != Ok(scale.high)) {
                return (Err("scale_mismatch"), None);
            }
            (found[1].parse::<f64>().unwrap_or(f64::NAN), Some("string_number"))
        }
        Value::Number(number) => (number.as_f64().unwrap_or(f64::NAN), None),
    };
    if number.is_nan() {
        return (Err("wrong_type"), None);
    }
    if number != number.trunc() && !scale.fractional {
        return (Err("non_integer"), note);
    }
    if number < scale.low || number > scale.high {
        return (Err("out_of_range"), note);
    }
    (Ok(number), note)
}

/// Returns a key in the form in which keys are compared: without case, spaces, `_` and `-`.
pub(crate) fn normal_key(key: &str) -> String {
    key.chars().filter(|c| !c.is_whitespace() && *c != '_' && *c != '-').collect::<String>().to_lowercase()
}
