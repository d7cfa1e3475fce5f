//! Reads the scores of a rubric from the JSON object in a reply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::{Reading, after_tag, lines, pattern, read_answer};
use crate::row::{VerdictStatus, is_cut};
use crate::text::{Defect, objects, repair, strict};

static SCORE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^([+-]?[0-9]+(?:\.[0-9]+)?)(?:\s*(?:/|out\s+of)\s*([0-9]+))?$"));

const NUMBER: &str = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:\s*/\s*[0-9]+)?";

/// A score without an object.
static ALONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?im)\[result\]\s*[:：]?\s*\(?\s*({NUMBER})|\[\[\s*({NUMBER})\s*\]\]|^[\s>*#_`-]*(?:(?:my|final|overall)\s+)*(?:score|rating|result|grade|verdict)\s*(?:is)?\s*[*_]*\s*[:：]\s*[*_`]*\s*({NUMBER})[\s*_`.]*$"
    ))
});

static BEHIND_TAG: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?im)\A\s*[*_]*\s*[:：]\s*[*_`]*\s*({NUMBER})[\s*_`.]*?$")));

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

impl Reading for RubricReading {
    fn status(&mut self) -> &mut VerdictStatus {
        &mut self.status
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }
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
    let none = |status| RubricReading {
        status,
        scores: criteria.iter().map(|criterion| (criterion.clone(), None)).collect(),
        errors: BTreeMap::new(),
        notes: Vec::new(),
        reason: None,
    };
    read_answer(text, none, |body| {
        let reading = rubric_in(body, none(VerdictStatus::Unparsable), criteria, scale, finish_reason, tag);
        if reading.status.is_valid() || criteria.len() != 1 { reading } else { alone_in(body, reading, scale, tag) }
    })
}

/// Reads the score of the only criterion where the reply has no object but says it as other rubrics ask for it:
/// `[RESULT] 4`, `[[4]]`, `Score: 4/5`, `VERDICT-<tag>: 4`. The last one counts.
fn alone_in(body: &str, mut reading: RubricReading, scale: Scale, tag: Option<&str>) -> RubricReading {
    let behind: Vec<(usize, &str)> = match tag {
        Some(tag) => after_tag(body, tag)
            .filter_map(|(start, rest)| Some((start, BEHIND_TAG.captures(rest)?.get(1)?.as_str())))
            .collect(),
        None => ALONE
            .captures_iter(body)
            .filter_map(|found| Some((found.get(0)?.start(), found.iter().skip(1).flatten().next()?.as_str())))
            .collect(),
    };
    let line_of = |at: usize| lines(&body[..at]).count();
    let Some((last, said)) = behind.last().copied() else { return reading };
    let is_ambiguous = behind.iter().any(|(at, other)| line_of(*at) == line_of(last) && *other != said);
    let (coerced, _) = coerce(&Value::from(said), scale);
    match coerced {
        _ if is_ambiguous => reading.status = VerdictStatus::Ambiguous,
        Ok(score) => {
            reading.status = VerdictStatus::Repaired;
            reading.errors.clear();
            reading.notes.push("score_without_object".to_owned());
            reading.scores.iter_mut().for_each(|(_, of)| *of = Some(score));
        }
        Err(reason) => {
            let name = reading.scores.first().map(|(name, _)| name.clone()).unwrap_or_default();
            reading.errors.insert(name, reason.to_owned());
        }
    }
    reading
}

fn rubric_in(
    body: &str,
    mut reading: RubricReading,
    criteria: &[String],
    scale: Scale,
    finish_reason: Option<&str>,
    tag: Option<&str>,
) -> RubricReading {
    let (found, is_open) = objects(body);
    let best = best_object(&found, criteria, tag);
    let Some((_, Some((object, whole)), repairs)) = best else {
        reading.notes = best.map(|(_, _, notes)| notes.into_iter().map(str::to_owned).collect()).unwrap_or_default();
        if is_cut(finish_reason) || is_open {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { low: 1.0, high: 5.0, fractional: false };

    #[test]
    fn a_single_score_needs_no_object() {
        let read = |text: &str, tag| {
            let reading = read_rubric(text, &["accuracy".to_owned()], SCALE, None, tag);
            (reading.status, reading.scores[0].1)
        };
        for text in
            ["Fine. [RESULT] 4", "[[4]]", "Rating: [[4]]", "{'accuracy': 4}", "**Score:** 4/5", "Quoted [[1]]\n[[4]]"]
        {
            assert_eq!(read(text, None), (VerdictStatus::Repaired, Some(4.0)), "{text}");
        }
        assert_eq!(read("VERDICT-ab12cd34: 4", Some("ab12cd34")), (VerdictStatus::Repaired, Some(4.0)));
        assert_eq!(read("[RESULT] 4", Some("ab12cd34")), (VerdictStatus::Unparsable, None));
        assert_eq!(read("[[4]] or [[5]]", None), (VerdictStatus::Ambiguous, None));
        assert_eq!(read("[[9]]", None).1, None);
        assert_eq!(read("I give it 4 or so", None).1, None);
        let two = read_rubric("[RESULT] 4", &["a".to_owned(), "b".to_owned()], SCALE, None, None);
        assert_eq!(two.scores[0].1, None);
    }

    #[test]
    fn a_quoted_end_of_reasoning_hides_no_verdict() {
        let read = |text: &str| {
            let reading = read_rubric(text, &["a".to_owned(), "b".to_owned()], SCALE, None, None);
            (reading.status, reading.scores[0].1)
        };
        let json = r#"{"reason": "it wrote </think> and more", "a": 3, "b": 3}"#;
        assert_eq!(read(json), (VerdictStatus::Ok, Some(3.0)));
        assert_eq!(read(&format!("{json}\nIt wrote: x</think>y")), (VerdictStatus::Repaired, Some(3.0)));
        assert_eq!(read(&format!("maybe {{\"a\": 1, \"b\": 1}}</think>{json}")), (VerdictStatus::Ok, Some(3.0)));
    }
}
