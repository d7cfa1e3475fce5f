//! `rubric`: a score per criterion on a scale.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the settings of a rubric |
//! | `tally` | scores of criteria, summed up |

mod settings;
mod tally;

use minijinja::Value as TemplateValue;
use serde_json::{Map, Number, Value, json};

pub(crate) use settings::{Settings, parse};

use super::{Candidates, Method, Question, ReadReply, Said, Tally, Told, Votes, missing};
use crate::digest::Digest;
use crate::label::Sheet;
use crate::row::{Judgement, VerdictStatus, Vote};
use crate::score::{Direction, Rank, Reading, Unit};
use crate::stage::judge::people::labels::LabelKind;
use crate::stage::judge::read::read_rubric;
use crate::template::from_json;
use settings::{Calls, Criterion, Rubric};
use tally::RubricTally;

/// Returns a score as JSON; whole numbers have no `.0`.
fn number_of(score: f64) -> Value {
    if score.fract() == 0.0 && score.abs() < 1e15 {
        Value::from(score as i64)
    } else {
        Number::from_f64(score).map_or(Value::Null, Value::Number)
    }
}

impl Rubric {
    /// Returns the criteria that a question is about.
    fn asked(&self, question: &Question) -> &[String] {
        match self.calls {
            Calls::Joint => &self.names,
            Calls::PerCriterion => &self.names[question.number..=question.number],
        }
    }

    fn scores(&self, score: impl Fn(&str) -> Option<f64>) -> Map<String, Value> {
        let mut scores: Map<String, Value> =
            self.names.iter().map(|name| (name.clone(), score(name).map_or(Value::Null, number_of))).collect();
        scores.sort_keys();
        scores
    }
}

impl Method for Rubric {
    fn default_prompt(&self) -> &'static str {
        "judge/rubric.j2"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[
            "row",
            "params",
            "model",
            "sample",
            "completion",
            "raw",
            "reasoning",
            "refusal",
            "tool_calls",
            "finish_reason",
            "prompt",
            "messages",
            "reference",
            "criteria",
            "scale",
            "labels",
            "tag",
        ]
    }

    fn sheet(&self) -> Sheet {
        Sheet::Scores {
            criteria: self.criteria.iter().map(|criterion| (criterion.name.clone(), criterion.ask.clone())).collect(),
            low: self.scale.low,
            high: self.scale.high,
        }
    }

    fn labels(&self) -> LabelKind {
        LabelKind::Scores { scale: self.scale, criteria: self.names.clone() }
    }

    fn worth(&self, said: &Said<'_>) -> Option<f64> {
        // If a criterion is missing, the whole is missing: the others are not re-weighted.
        let sum: Option<f64> = self
            .criteria
            .iter()
            .map(|criterion| Some(criterion.weight * said.scores?.get(&criterion.name)?.as_f64()?))
            .sum();
        let weights: f64 = self.criteria.iter().map(|criterion| criterion.weight).sum();
        Some((sum? / weights - self.scale.low) / (self.scale.high - self.scale.low))
    }

    fn headline(&self) -> Option<(&'static str, (f64, f64))> {
        Some(("overall", (0.0, 1.0)))
    }

    fn pass_marks(&self) -> Vec<(String, f64)> {
        self.criteria.iter().filter_map(|criterion| Some((criterion.name.clone(), criterion.pass_at?))).collect()
    }

    fn tagged(&self) -> &'static str {
        r#""tag": "{{ tag }}""#
    }

    fn schema(&self, question: &Question, tag: Option<&str>) -> Option<Value> {
        let (low, high) = (number_of(self.scale.low), number_of(self.scale.high));
        // A long scale is described by its two ends, not by a list of its numbers.
        let score = if self.scale.fractional || self.scale.high - self.scale.low > 100.0 {
            json!({ "type": if self.scale.fractional { "number" } else { "integer" }, "minimum": low, "maximum": high })
        } else {
            json!({ "type": "integer", "enum": (self.scale.low.ceil() as i64..=self.scale.high.floor() as i64).collect::<Vec<_>>() })
        };
        // The reason comes first and the scores last, because the model writes the properties in this order.
        let mut properties = Map::new();
        if let Some(tag) = tag {
            properties.insert("tag".to_owned(), json!({ "type": "string", "enum": [tag] }));
        }
        properties.insert("reason".to_owned(), json!({ "type": "string" }));
        properties.extend(self.asked(question).iter().map(|name| (name.clone(), score.clone())));
        let required: Vec<&String> = properties.keys().collect();
        Some(json!({
            "type": "object", "required": required, "additionalProperties": false, "properties": properties,
        }))
    }

    fn settings(&self) -> Map<String, Value> {
        let criteria: Vec<Value> = self
            .criteria
            .iter()
            .map(|criterion| {
                json!({
                    "name": criterion.name,
                    "ask": criterion.ask,
                    "weight": criterion.weight,
                    "pass_at": criterion.pass_at,
                    "anchors": criterion.anchors,
                })
            })
            .collect();
        let mut settings = Map::new();
        settings.insert("rubric.scale".to_owned(), json!([self.scale.low, self.scale.high]));
        if self.calls == Calls::PerCriterion {
            settings.insert("rubric.calls".to_owned(), "per_criterion".into());
        }
        if self.shuffle_criteria {
            settings.insert("rubric.shuffle_criteria".to_owned(), true.into());
        }
        if self.scale.fractional {
            settings.insert("rubric.fractional".to_owned(), true.into());
        }
        settings.insert("rubric.criteria".to_owned(), Value::Array(criteria));
        settings
    }

    fn without_asking(&self, candidates: &Candidates<'_>) -> Option<Judgement> {
        if !candidates.completion.trim().is_empty() {
            return None;
        }
        let mut judgement = missing(candidates, VerdictStatus::Ok, Some("empty_output".to_owned()));
        judgement.scores = Some(self.scores(|_| Some(self.scale.low)));
        Some(judgement)
    }

    fn questions(&self, candidates: &Candidates<'_>) -> Vec<Question> {
        // Weights and pass marks are not shown: changing them must not change what is asked.
        let mut shown: Vec<&Criterion> = self.criteria.iter().collect();
        if self.shuffle_criteria && self.calls == Calls::Joint {
            shown.sort_by_cached_key(|criterion| {
                Digest::of_json("etalon.criteria", &json!([candidates.id, criterion.name])).to_string()
            });
        }
        let criteria: Vec<Value> = shown
            .into_iter()
            .map(|criterion| json!({ "name": criterion.name, "ask": criterion.ask, "anchors": criterion.anchors }))
            .collect();
        let finish_reason = candidates.finish_reason.map_or(TemplateValue::from(()), TemplateValue::from);
        let groups: Vec<Vec<Value>> = match self.calls {
            Calls::Joint => vec![criteria],
            Calls::PerCriterion => criteria.into_iter().map(|criterion| vec![criterion]).collect(),
        };
        let question = |(number, criteria)| Question {
            number,
            variables: vec![
                ("completion", TemplateValue::from(candidates.completion)),
                ("finish_reason", finish_reason.clone()),
                ("criteria", from_json(&Value::Array(criteria))),
                ("scale", from_json(&Value::Array(vec![number_of(self.scale.low), number_of(self.scale.high)]))),
                ("labels", TemplateValue::from(())),
            ],
        };
        groups.into_iter().enumerate().map(question).collect()
    }

    fn calls_per_row(&self) -> u64 {
        match self.calls {
            Calls::Joint => 1,
            Calls::PerCriterion => self.criteria.len() as u64,
        }
    }

    fn read(&self, question: &Question, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> ReadReply {
        let reading = read_rubric(text, self.asked(question), self.scale, finish_reason, tag);
        let error = match reading.status {
            VerdictStatus::Partial => {
                reading.errors.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join(", ")
            }
            VerdictStatus::Truncated => "it was cut off".to_owned(),
            VerdictStatus::Empty => "it was empty".to_owned(),
            _ if !reading.errors.is_empty() => {
                reading.errors.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join(", ")
            }
            _ => "it holds no JSON object with the scores".to_owned(),
        };
        let scores =
            self.scores(|name| reading.scores.iter().find(|(known, _)| known == name).and_then(|(_, score)| *score));
        ReadReply { status: reading.status, told: Told::Scores(scores), reason: reading.reason, error }
    }

    fn contract(&self, question: &Question, tag: Option<&str>) -> String {
        let keys: Vec<String> = self.asked(question).iter().map(|name| format!("\"{name}\"")).collect();
        let kind = if self.scale.fractional { "a number" } else { "a whole number" };
        let tag = tag.map_or_else(String::new, |tag| format!("\"tag\": \"{tag}\" and "));
        format!(
            "one JSON object with {tag}the keys {}, each {kind} from {} to {}",
            keys.join(", "),
            self.scale.low,
            self.scale.high
        )
    }

    fn judgement(&self, candidates: &Candidates<'_>, readings: &[ReadReply]) -> Judgement {
        let is_read = |reading: &ReadReply| reading.status.is_valid() || reading.status == VerdictStatus::Partial;
        let score = |name: &str| {
            let of_reading = |reading: &ReadReply| match &reading.told {
                Told::Scores(scores) => scores.get(name)?.as_f64(),
                _ => None,
            };
            readings.iter().filter(|reading| is_read(reading)).find_map(of_reading)
        };
        let scores = self.scores(score);
        // The first unreadable reading explains what is wrong. If there are some scores, the judgement is partial.
        let wrong = readings.iter().find(|reading| !reading.status.is_valid());
        let has_some = scores.values().any(|score| !score.is_null());
        let status = match wrong {
            None if readings.is_empty() => VerdictStatus::Missing,
            None if readings.iter().any(|reading| reading.status == VerdictStatus::Repaired) => VerdictStatus::Repaired,
            None => VerdictStatus::Ok,
            Some(reading) if reading.status == VerdictStatus::Unknown => VerdictStatus::Unknown,
            Some(_) if has_some && readings.len() > 1 => VerdictStatus::Partial,
            Some(reading) => reading.status,
        };
        let reasons: Vec<&str> = readings.iter().filter_map(|reading| reading.reason.as_deref()).collect();
        let reason = match wrong.filter(|reading| !is_read(reading)) {
            Some(reading) => Some(reading.error.clone()),
            None => (!reasons.is_empty()).then(|| reasons.join("\n")),
        };
        let mut judgement = missing(candidates, status, reason);
        judgement.scores = Some(scores);
        judgement
    }

    fn combine(&self, votes: &Votes<'_>, into: &mut Judgement) {
        let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let scores = self.scores(|name| {
            let of_vote = |vote: &&Vote| vote.scores.as_ref()?.get(name)?.as_f64();
            let of_judges = votes.by_judge(|own| mean(own.iter().filter_map(of_vote).collect()));
            if votes.is_enough(of_judges.len()) { mean(of_judges) } else { None }
        });
        into.status = match scores.values().filter(|score| !score.is_null()).count() {
            0 => VerdictStatus::Missing,
            some if some < scores.len() => VerdictStatus::Partial,
            _ => VerdictStatus::Ok,
        };
        into.reason = votes.votes.iter().find_map(|vote| vote.reason.clone());
        into.scores = Some(scores);
    }

    fn tally(&self, _seed: u64, _contestants: &[String]) -> Box<dyn Tally> {
        Box::new(RubricTally::new(self.scale, &self.criteria))
    }

    fn values(&self) -> Vec<(String, Reading)> {
        let bound = Reading::of(Unit::Fraction, Rank::Detail);
        let mut values = vec![
            ("mean".to_owned(), Reading::of(Unit::Scale, Rank::Headline)),
            ("overall".to_owned(), Reading::of(Unit::Fraction, Rank::Headline)),
            ("overall.worst".to_owned(), bound),
            ("overall.best".to_owned(), bound),
        ];
        for criterion in &self.criteria {
            values.push((criterion.name.clone(), Reading::of(Unit::Scale, Rank::Detail)));
            if criterion.pass_at.is_some() {
                let pass_rate = Reading::of(Unit::Fraction, Rank::Detail);
                values.push((format!("{}.pass_rate", criterion.name), pass_rate));
            }
        }
        if self.criteria.len() > 1 {
            let halo = Reading::of(Unit::Rate, Rank::Diagnostic).toward(Direction::Neither);
            values.push(("halo".to_owned(), halo));
        }
        values
    }
}
