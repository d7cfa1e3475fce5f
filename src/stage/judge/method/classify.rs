//! `classify`: the judge picks one of several labels, which may carry scores.

use indexmap::IndexMap;
use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::label::Sheet;
use crate::metric::MeanTally;
use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus};
use crate::score::{Direction, Rank, Reading, Summary, Unit};
use crate::spec::{Node, NodeValue, decode};
use crate::stage::judge::method::{
    Candidates, Gathered, Method, Question, ReadReply, Said, Tally, Told, Votes, add_bounds, majority, missing,
};
use crate::stage::judge::people::labels::LabelKind;
use crate::stage::judge::read::read_label;

/// How many characters of a judge's reply are kept as its reason.
const MAX_REASON: usize = 2_000;

/// Lets the judge pick a label.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "classify")]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// A list of labels, or a map of labels to scores: `{ correct: 1, partly: 0.5, wrong: 0 }`.
    #[serde(rename = "labels")]
    #[schemars(with = "LabelsShape")]
    _labels: Value,
}

/// The shape of `labels`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `parse` reads")]
enum LabelsShape {
    Names(Vec<String>),
    Scores(IndexMap<String, f64>),
}

struct Classify {
    labels: Vec<String>,
    /// The score of each label; none if labels carry no scores.
    scores: Option<Vec<f64>>,
}

pub(crate) fn parse(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Box<dyn Method>> {
    if let Err(found) = decode::<Settings>(node, &format!("{what}: `classify`")) {
        problems.extend(found);
        return None;
    }
    let labels = node.get("labels")?;
    let help = "labels: [correct, partly, wrong], or { correct: 1, partly: 0.5, wrong: 0 }";
    let before = problems.len();
    let mut wrong = |message: &str, at: &Node| {
        problems.push(Problem::error("wrong-value", format!("{what}: {message}")).at(&at.place).help(help));
    };
    let mut names: Vec<String> = Vec::new();
    let mut scores: Vec<f64> = Vec::new();
    match &labels.value {
        NodeValue::List(items) => {
            for item in items {
                match item.as_text() {
                    Some(name) => names.push(name.to_owned()),
                    None => wrong("a label is text", item),
                }
            }
        }
        NodeValue::Map(entries) => {
            for (key, node) in entries {
                names.push(key.text.clone());
                match node.to_json().as_f64().filter(|score| score.is_finite()) {
                    Some(score) => scores.push(score),
                    None => wrong("the score of a label is a number", node),
                }
            }
        }
        _ => wrong("`labels` is a list of labels, or a map of labels to scores", labels),
    }
    let folded: Vec<String> = names.iter().map(|name| name.trim().to_lowercase()).collect();
    if names.len() < 2 {
        wrong("`labels` needs two labels or more", labels);
    }
    if folded.iter().enumerate().any(|(index, name)| folded[..index].contains(name)) {
        wrong("two labels differ in nothing but case", labels);
    }
    if folded.iter().any(|name| name.is_empty() || name.contains(['\n', '.'])) {
        wrong("a label is one line, and has no dot: gates name its share", labels);
    }
    if problems.len() > before {
        return None;
    }
    let has_scores = matches!(labels.value, NodeValue::Map(_));
    Some(Box::new(Classify { labels: names, scores: has_scores.then_some(scores) }))
}

impl Classify {
    /// Returns the lowest and the highest score; none if all are the same.
    fn range(&self) -> Option<(f64, f64)> {
        let scores = self.scores.as_ref()?;
        let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low < high).then_some((low, high))
    }
}

impl Method for Classify {
    fn default_prompt(&self) -> &'static str {
        "judge/classify.j2"
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
            "labels",
            "tag",
        ]
    }

    fn sheet(&self) -> Sheet {
        Sheet::Words(self.labels.clone())
    }

    fn labels(&self) -> LabelKind {
        LabelKind::Words(self.labels.clone())
    }

    fn worth(&self, said: &Said<'_>) -> Option<f64> {
        let (low, high) = self.range()?;
        let place = self.labels.iter().position(|label| Some(label.as_str()) == said.verdict)?;
        Some((self.scores.as_ref()?[place] - low) / (high - low))
    }

    fn headline(&self) -> Option<(&'static str, (f64, f64))> {
        self.range().map(|range| ("score", range))
    }

    fn settings(&self) -> Map<String, Value> {
        let mut settings = Map::new();
        settings.insert("classify.labels".to_owned(), json!(self.labels));
        if let Some(scores) = &self.scores {
            settings.insert("classify.scores".to_owned(), json!(scores));
        }
        settings
    }

    fn without_asking(&self, _candidates: &Candidates<'_>) -> Option<Judgement> {
        // Which label fits an empty completion depends on the labels, so the judge has to be asked.
        None
    }

    fn questions(&self, candidates: &Candidates<'_>) -> Vec<Question> {
        let finish_reason = candidates.finish_reason.map_or(TemplateValue::from(()), TemplateValue::from);
        vec![Question {
            number: 0,
            variables: vec![
                ("completion", TemplateValue::from(candidates.completion)),
                ("finish_reason", finish_reason),
                ("labels", TemplateValue::from(self.labels.clone())),
            ],
        }]
    }

    fn calls_per_row(&self) -> u64 {
        1
    }

    fn read(&self, _question: &Question, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> ReadReply {
        let reading = read_label(text, &self.labels, finish_reason, tag);
        let error = match reading.status {
            VerdictStatus::Ambiguous => "its last line names two classes",
            VerdictStatus::InvalidLabel => "it names a class that there is not",
            VerdictStatus::Truncated => "it was cut off",
            VerdictStatus::Empty => "it was empty",
            _ => "it names no class",
        };
        ReadReply {
            status: reading.status,
            told: reading.label.map_or(Told::Nothing, Told::Label),
            reason: Some(text.trim().chars().take(MAX_REASON).collect()),
            error: error.to_owned(),
        }
    }

    fn contract(&self, _question: &Question, tag: Option<&str>) -> String {
        let labels = self.labels.join(", ");
        match tag {
            Some(tag) => format!("one line: `VERDICT-{tag}: ` and one of the classes {labels}"),
            None => format!("one of the classes in double brackets: [[…]] with one of {labels}"),
        }
    }

    fn judgement(&self, candidates: &Candidates<'_>, readings: &[ReadReply]) -> Judgement {
        let Some(reading) = readings.first() else {
            return missing(candidates, VerdictStatus::Missing, None);
        };
        let is_valid = reading.status.is_valid();
        let reason = if is_valid { reading.reason.clone() } else { Some(reading.error.clone()) };
        let mut judgement = missing(candidates, reading.status, reason);
        judgement.verdict = match &reading.told {
            Told::Label(label) if is_valid => Some(label.clone()),
            _ => None,
        };
        judgement
    }

    fn combine(&self, votes: &Votes<'_>, into: &mut Judgement) {
        // For each judge, what it says most often; a judge that says two labels equally often has no verdict.
        let said: Vec<String> =
            votes.by_judge(|own| majority(own.iter().filter_map(|vote| vote.verdict.as_deref())).map(str::to_owned));
        if !votes.is_enough(said.len()) {
            into.reason = Some(format!("{} of {} judges have a verdict", said.len(), votes.judges));
            return;
        }
        match majority(said.iter().map(String::as_str)) {
            Some(label) => {
                into.status = VerdictStatus::Ok;
                into.verdict = Some(label.to_owned());
            }
            None => {
                into.status = VerdictStatus::Ambiguous;
                into.reason = Some(format!("the judges are torn: {}", said.join(", ")));
            }
        }
    }

    fn tally(&self, _seed: u64, _contestants: &[String]) -> Box<dyn Tally> {
        Box::new(ClassifyTally {
            labels: self.labels.clone(),
            scores: self.scores.clone(),
            range: self.range(),
            shares: self.labels.iter().map(|_| MeanTally::share()).collect(),
            score: self.range().map_or_else(MeanTally::new, |(low, high)| MeanTally::within(low, high)),
        })
    }

    fn values(&self) -> Vec<(String, Reading)> {
        let unit = self.scores.as_ref().map(|scores| {
            let is_fraction = scores.iter().all(|score| (0.0..=1.0).contains(score));
            if is_fraction { Unit::Fraction } else { Unit::Scale }
        });
        let ranks = [("score", Rank::Headline), ("score.worst", Rank::Detail), ("score.best", Rank::Detail)];
        let scores =
            unit.into_iter().flat_map(|unit| ranks.map(|(name, rank)| (name.to_owned(), Reading::of(unit, rank))));
        let share = Reading::of(Unit::Rate, Rank::Detail).toward(Direction::Neither);
        scores.chain(self.labels.iter().map(|label| (format!("share.{label}"), share))).collect()
    }
}

struct ClassifyTally {
    labels: Vec<String>,
    scores: Option<Vec<f64>>,
    range: Option<(f64, f64)>,
    shares: Vec<MeanTally>,
    score: MeanTally,
}

impl Tally for ClassifyTally {
    fn add(&mut self, row: &[Gathered<'_>]) {
        let place = |verdict: &String| self.labels.iter().position(|label| label == verdict);
        let said: Vec<usize> =
            row.iter().filter_map(|gathered| gathered.judgement.verdict.as_ref().and_then(place)).collect();
        let mean = |value: &dyn Fn(usize) -> f64| {
            (!said.is_empty()).then(|| said.iter().map(|label| value(*label)).sum::<f64>() / said.len() as f64)
        };
        for (label, share) in self.shares.iter_mut().enumerate() {
            share.add_value(mean(&|said| f64::from(u8::from(said == label))));
        }
        if let Some(scores) = &self.scores {
            self.score.add_value(mean(&|said| scores[said]));
        }
    }

    fn finish(&mut self, summary: &mut Summary, notes: &mut Vec<String>) {
        if self.scores.is_some() {
            let estimate = self.score.estimate();
            summary.values.insert("score".to_owned(), estimate);
        }
        if let Some(range) = self.range {
            add_bounds("score", range, summary, notes);
        }
        for (label, share) in self.labels.iter().zip(&self.shares) {
            summary.values.insert(format!("share.{label}"), share.estimate());
        }
    }
}
