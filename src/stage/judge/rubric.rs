//! `rubric`: a score per criterion on a scale.

use indexmap::IndexMap;
use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::bias::Halo;
use super::labels::LabelKind;
use super::method::{Candidates, Gathered, Method, Question, Reading, Said, Tally, Votes, add_bounds, missing};
use super::verdict::{Scale, read_rubric};
use crate::digest::Digest;
use crate::metric::MeanTally;
use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus, Vote};
use crate::score::{Summary, Unit};
use crate::spec::{Node, decode};
use crate::stage::Sheet;
use crate::stats::{Z95, wilson};
use crate::template::from_json;

/// Values of the summary that are no criteria.
const OWN_VALUES: &[&str] = &[
    "mean",
    "overall",
    "coverage",
    "halo",
    "agreement",
    "kappa",
    "canaries",
    "self_preference",
    "stability",
    "length_correlation",
];

/// Grades by criteria.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "rubric")]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Lowest and highest score.
    #[serde(default = "one_to_five")]
    scale: (f64, f64),
    /// Scores need not be whole.
    #[serde(default)]
    fractional: bool,
    /// Whether one call grades all criteria, or each has a call of its own.
    #[serde(default)]
    calls: Calls,
    /// Shows the criteria in another order for each row (by its digest), so that none is always asked first.
    #[serde(default)]
    shuffle_criteria: bool,
    /// Criteria by name: a question, or a question with weight, pass mark and anchors.
    #[schemars(with = "IndexMap<String, CriterionShape>")]
    criteria: Map<String, Value>,
}

/// The shape of a criterion.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is read by hand")]
enum CriterionShape {
    /// What the judge is asked.
    Ask(String),
    Full(CriterionSettings),
}

fn one_to_five() -> (f64, f64) {
    (1.0, 5.0)
}

/// A criterion.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "criterion")]
#[serde(deny_unknown_fields)]
struct CriterionSettings {
    /// What the judge is asked.
    ask: String,
    /// Weight in `mean` and `overall`; 1 unless said.
    weight: Option<f64>,
    /// Score from which a completion passes: adds `<criterion>.pass_rate`.
    pass_at: Option<f64>,
    /// What scores mean: `{ 1: wrong, 5: right and complete }`.
    anchors: Option<Map<String, Value>>,
}

struct Criterion {
    name: String,
    ask: String,
    weight: f64,
    pass_at: Option<f64>,
    anchors: Map<String, Value>,
}

/// How criteria are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "calls")]
#[serde(rename_all = "snake_case")]
enum Calls {
    /// All at once: cheap, and scores of one criterion colour those of others.
    #[default]
    Joint,
    /// One by one: as many calls as there are criteria.
    PerCriterion,
}

struct Rubric {
    calls: Calls,
    shuffle_criteria: bool,
    scale: Scale,
    criteria: Vec<Criterion>,
    names: Vec<String>,
}

pub(super) fn parse(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Box<dyn Method>> {
    let before = problems.len();
    let settings: Settings = match decode(node, &format!("{what}: `rubric`")) {
        Ok(settings) => settings,
        Err(found) => {
            problems.extend(found);
            return None;
        }
    };
    let (low, high) = settings.scale;
    let scale_place = node.get("scale").map_or(&node.place, |node| &node.place);
    if !(low < high && low.is_finite() && high.is_finite()) {
        problems.push(
            Problem::error("wrong-value", format!("{what}: `scale` goes from its lowest to its highest score"))
                .at(scale_place)
                .help("scale: [1, 5]"),
        );
    }
    let criteria_node = node.get("criteria").unwrap_or(node);
    if settings.criteria.is_empty() {
        problems.push(
            Problem::error("missing-field", format!("{what}: a rubric needs criteria"))
                .at(&criteria_node.place)
                .help("criteria: { accuracy: Is the information correct? }"),
        );
    }
    let mut criteria = Vec::new();
    for (key, node) in criteria_node.entries() {
        if key.text.contains('.') {
            problems.push(
                Problem::error("bad-name", format!("{what}: a criterion cannot be called `{}`", key.text))
                    .at(&key.place)
                    .help("a name has no dot: gates put what they want of a value behind one"),
            );
        }
        if OWN_VALUES.contains(&key.text.as_str()) || key.text == "tag" || key.text == "reason" {
            problems.push(
                Problem::error("bad-name", format!("{what}: a criterion cannot be called `{}`", key.text))
                    .at(&key.place)
                    .help("that name means something else in the summary or the reply"),
            );
        }
        let settings = match node.as_text() {
            Some(ask) => CriterionSettings { ask: ask.to_owned(), ..CriterionSettings::default() },
            None => match decode::<CriterionSettings>(node, &format!("{what}: criterion {}", key.text)) {
                Ok(settings) => settings,
                Err(found) => {
                    problems.extend(found);
                    continue;
                }
            },
        };
        if settings.weight.is_some_and(|weight| !(weight > 0.0 && weight.is_finite())) {
            problems.push(
                Problem::error("wrong-value", format!("{what}: `weight` of {} must be above 0", key.text))
                    .at(&node.place),
            );
        }
        if settings.pass_at.is_some_and(|pass| pass < low || pass > high) {
            problems.push(
                Problem::error("wrong-value", format!("{what}: `pass_at` of {} lies outside the scale", key.text))
                    .at(&node.place),
            );
        }
        criteria.push(Criterion {
            name: key.text.clone(),
            ask: settings.ask,
            weight: settings.weight.unwrap_or(1.0),
            pass_at: settings.pass_at,
            anchors: in_order(settings.anchors.unwrap_or_default()),
        });
    }
    if problems.len() > before {
        return None;
    }
    let names = criteria.iter().map(|criterion| criterion.name.clone()).collect();
    Some(Box::new(Rubric {
        calls: settings.calls,
        shuffle_criteria: settings.shuffle_criteria,
        scale: Scale { low, high, fractional: settings.fractional },
        criteria,
        names,
    }))
}

/// Returns anchors from the lowest score to the highest: how they stand in the spec must not reach the prompt.
fn in_order(anchors: Map<String, Value>) -> Map<String, Value> {
    let mut anchors: Vec<(String, Value)> = anchors.into_iter().collect();
    let score = |key: &str| key.trim().parse::<f64>().unwrap_or(f64::INFINITY);
    anchors.sort_by(|(a, _), (b, _)| score(a).total_cmp(&score(b)).then_with(|| a.cmp(b)));
    anchors.into_iter().collect()
}

/// A score as JSON: whole numbers without their `.0`.
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
            "finish_reason",
            "prompt",
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
        // A missing criterion makes the whole missing: no re-weighting.
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

    fn schema(&self, question: &Question, tag: Option<&str>) -> Option<Value> {
        let (low, high) = (number_of(self.scale.low), number_of(self.scale.high));
        // A long scale is told by its ends.
        let score = if self.scale.fractional || self.scale.high - self.scale.low > 100.0 {
            json!({ "type": if self.scale.fractional { "number" } else { "integer" }, "minimum": low, "maximum": high })
        } else {
            json!({ "type": "integer", "enum": (self.scale.low.ceil() as i64..=self.scale.high.floor() as i64).collect::<Vec<_>>() })
        };
        // Reason first, scores last: the order of the properties is that in which they are written.
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
        // Weights and pass marks stay here: changing them must not change what is asked.
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

    fn read(&self, question: &Question, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> Reading {
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
        Reading { status: reading.status, said: Value::Object(scores), reason: reading.reason, error }
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

    fn judgement(&self, candidates: &Candidates<'_>, readings: &[Reading]) -> Judgement {
        let is_read = |reading: &Reading| reading.status.is_valid() || reading.status == VerdictStatus::Partial;
        let score = |name: &str| {
            let of_reading = |reading: &Reading| reading.said.get(name)?.as_f64();
            readings.iter().filter(|reading| is_read(reading)).find_map(of_reading)
        };
        let scores = self.scores(score);
        // The first that is not whole says what is wrong; with some scores the whole is partial.
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

    fn tally(&self, seed: u64, _contestants: &[String]) -> Box<dyn Tally> {
        let mean = |offset: u64| MeanTally::new(seed.wrapping_add(offset));
        let n = self.criteria.len() as u64;
        Box::new(RubricTally {
            scale: self.scale,
            criteria: (0..n).map(mean).collect(),
            passes: vec![(0, 0); self.criteria.len()],
            marks: self
                .criteria
                .iter()
                .map(|criterion| (criterion.name.clone(), criterion.weight, criterion.pass_at))
                .collect(),
            mean: mean(n),
            overall: mean(n + 1),
            halo: Halo::new(self.names.clone()),
        })
    }

    fn values(&self) -> Vec<(String, Unit)> {
        let mut values = vec![("mean".to_owned(), Unit::Scale)];
        values.extend(["overall", "overall.worst", "overall.best"].map(|name| (name.to_owned(), Unit::Fraction)));
        for criterion in &self.criteria {
            values.push((criterion.name.clone(), Unit::Scale));
            if criterion.pass_at.is_some() {
                values.push((format!("{}.pass_rate", criterion.name), Unit::Fraction));
            }
        }
        if self.criteria.len() > 1 {
            values.push(("halo".to_owned(), Unit::Rate));
        }
        values
    }
}

struct RubricTally {
    scale: Scale,
    /// By criterion, in order.
    criteria: Vec<MeanTally>,
    /// Passed and judged rows.
    passes: Vec<(u64, u64)>,
    /// Name, weight, pass mark.
    marks: Vec<(String, f64, Option<f64>)>,
    mean: MeanTally,
    overall: MeanTally,
    halo: Halo,
}

impl Tally for RubricTally {
    fn add(&mut self, row: &[Gathered<'_>]) {
        let judgements: Vec<&Judgement> = row.iter().map(|gathered| gathered.judgement).collect();
        let score = |judgement: &Judgement, name: &str| judgement.scores.as_ref()?.get(name)?.as_f64();
        let average = |values: Vec<f64>| {
            if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
        };
        for (index, (name, _, pass_at)) in self.marks.iter().enumerate() {
            let value = average(judgements.iter().filter_map(|judgement| score(judgement, name)).collect());
            self.criteria[index].add_value(value);
            if let (Some(value), Some(pass_at)) = (value, pass_at) {
                self.passes[index].1 += 1;
                self.passes[index].0 += u64::from(value >= *pass_at);
            }
        }
        // A missing criterion makes the whole missing: no re-weighting.
        let weights: f64 = self.marks.iter().map(|(_, weight, _)| weight).sum();
        let means: Vec<f64> = judgements
            .iter()
            .filter_map(|judgement| {
                let sum: Option<f64> =
                    self.marks.iter().map(|(name, weight, _)| Some(weight * score(judgement, name)?)).sum();
                Some(sum? / weights)
            })
            .collect();
        let of_row = |(name, _, _): &(String, f64, Option<f64>)| {
            average(judgements.iter().filter_map(|judgement| score(judgement, name)).collect())
        };
        if let Some(scores) = self.marks.iter().map(of_row).collect() {
            self.halo.add(scores);
        }
        let mean = average(means);
        self.mean.add_value(mean);
        self.overall.add_value(mean.map(|mean| (mean - self.scale.low) / (self.scale.high - self.scale.low)));
    }

    fn finish(&mut self, summary: &mut Summary, notes: &mut Vec<String>) {
        let range = (self.scale.low, self.scale.high);
        summary.values.insert("mean".to_owned(), self.mean.estimate_within(range));
        summary.values.insert("overall".to_owned(), self.overall.estimate_within((0.0, 1.0)));
        add_bounds("overall", (0.0, 1.0), summary, notes);
        for (index, (name, _, pass_at)) in self.marks.iter().enumerate() {
            let estimate = self.criteria[index].estimate_within(range);
            summary.values.insert(name.clone(), estimate);
            if pass_at.is_some() {
                let (passed, judged) = self.passes[index];
                let interval = wilson(passed as f64, judged as f64, Z95);
                let rate = crate::score::Estimate {
                    value: (judged > 0).then(|| passed as f64 / judged as f64),
                    low: interval.map(|interval| interval.low),
                    high: interval.map(|interval| interval.high),
                    ..estimate
                };
                summary.values.insert(format!("{name}.pass_rate"), rate);
            }
        }
        self.halo.finish(summary, notes);
    }
}
