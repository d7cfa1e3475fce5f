//! Judge methods: what is asked, what a reply means, how verdicts sum up.
//!
//! **Adding a judge method:** one file with a `parse` function, one line in [`METHODS`], its template, an example and
//! its tests.
//!
//! | file | holds |
//! |---|---|
//! | `rubric` `compare` `classify` | the methods; `pairs` sums up all pairs |
//! | `votes` | what the judges of a panel said |
//! | `tally` | what sums judgements up |

pub(crate) mod classify;
pub(crate) mod compare;
mod pairs;
pub(crate) mod rubric;
mod tally;
mod votes;

use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

pub(crate) use tally::{Gathered, Tally, add_bounds};
pub(crate) use votes::{Said, Votes, majority, points_of};

use crate::label::Sheet;
use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus};
use crate::score::Unit;
use crate::spec::Node;
use crate::stage::judge::people::labels::LabelKind;
use crate::stage::judge::read::Choice;

/// The methods there are, by the field that holds their settings.
pub(crate) const METHODS: &[(&str, Parse)] =
    &[("rubric", rubric::parse), ("compare", compare::parse), ("classify", classify::parse)];

/// Parses a method's settings.
pub(crate) type Parse = fn(&Node, &str, &mut Vec<Problem>) -> Option<Box<dyn Method>>;

/// What the candidates are.
pub(crate) struct Candidates<'a> {
    pub id: &'a str,
    /// The node's model.
    pub completion: &'a str,
    pub finish_reason: Option<&'a str>,
    /// The other completion, for comparisons.
    pub baseline: Option<&'a str>,
    /// Of all pairs: which.
    pub pair: Option<[u32; 2]>,
}

/// One call: the variables that its prompt gets beside `row`, `params` and `reference`.
pub(crate) struct Question {
    /// Ordinal among the questions of a row.
    pub number: usize,
    pub variables: Vec<(&'static str, TemplateValue)>,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Nothing,
    /// Which of two is better.
    Choice(Choice),
    /// A score per criterion, null where missing.
    Scores(Map<String, Value>),
    Label(String),
}

/// A reply, read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub status: VerdictStatus,
    pub told: Told,
    pub reason: Option<String>,
    /// What to tell the judge about an unreadable reply.
    pub error: String,
}

/// The completions that others are compared with: of a model of the stage's own input, or of a node of another
/// inference stage over the same dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opponent {
    /// None: the stage's own input.
    pub stage: Option<String>,
    pub model: String,
    /// As it is written: `base`, `answers_v1.tuned`.
    pub name: String,
}

impl Opponent {
    /// Reads what is written: a model, or a node.
    pub fn of(name: String) -> Opponent {
        let (stage, model) = match name.split_once('.') {
            Some((stage, model)) => (Some(stage.to_owned()), model.to_owned()),
            None => (None, name.clone()),
        };
        Opponent { stage, model, name }
    }
}

/// A judge method with its settings.
pub(crate) trait Method: Send + Sync {
    /// Returns the built-in template.
    fn default_prompt(&self) -> &'static str;

    /// Returns the variables of its prompts.
    fn variables(&self) -> &'static [&'static str];

    /// Returns what it compares with, if anything.
    fn baseline(&self) -> Option<&Opponent> {
        None
    }

    /// Returns true where each model is compared with each.
    fn is_all_pairs(&self) -> bool {
        false
    }

    /// Returns true where two completions are judged at once.
    fn is_pair(&self) -> bool {
        self.is_all_pairs() || self.baseline().is_some()
    }

    /// Returns of how many rows the same text is shown twice.
    fn identity_pairs(&self) -> u64 {
        0
    }

    /// Returns whether a tag that the prompt shows binds the verdict.
    fn binds_tag(&self) -> bool {
        true
    }

    /// Returns the JSON Schema of the reply to a question; none where the reply is no JSON.
    fn schema(&self, _question: &Question, _tag: Option<&str>) -> Option<Value> {
        None
    }

    /// Returns what was said as a number from 0 (worst) to 1 (best); none where that is undefined.
    fn worth(&self, said: &Said<'_>) -> Option<f64>;

    /// Returns the value that sums everything up, with what its 0 and 1 stand for.
    fn headline(&self) -> Option<(&'static str, (f64, f64))>;

    /// Returns the pass marks of criteria.
    fn pass_marks(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Returns what people are asked.
    fn sheet(&self) -> Sheet;

    /// Returns what people's labels may be.
    fn labels(&self) -> LabelKind;

    /// Returns the settings that enter the key, defaults omitted.
    fn settings(&self) -> Map<String, Value>;

    /// Returns the judgement that needs no call: an empty candidate.
    fn without_asking(&self, candidates: &Candidates<'_>) -> Option<Judgement>;

    /// Returns the calls to make.
    fn questions(&self, candidates: &Candidates<'_>) -> Vec<Question>;

    /// Returns how many calls a row takes, for plans.
    fn calls_per_row(&self) -> u64;

    /// Reads a reply to a question; `tag` binds where the prompt held it.
    fn read(&self, question: &Question, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> Reading;

    /// Returns what a retry asks for ("reply with only …").
    fn contract(&self, question: &Question, tag: Option<&str>) -> String;

    /// Combines the readings of a row's questions.
    fn judgement(&self, candidates: &Candidates<'_>, readings: &[Reading]) -> Judgement;

    /// Combines the votes of a panel: what each judge says on average, then what they say together.
    /// Fewer than half of them are not enough.
    fn combine(&self, votes: &Votes<'_>, into: &mut Judgement);

    /// Sums judgements up; `contestants` are the models that are compared with each other.
    fn tally(&self, seed: u64, contestants: &[String]) -> Box<dyn Tally>;

    /// Returns the values of the summary and how they read.
    fn values(&self) -> Vec<(String, Unit)>;
}

/// Returns the name of the value that sums everything up.
pub(crate) fn headline(method: &dyn Method) -> &'static str {
    method.headline().map_or("overall", |(name, _)| name)
}

/// Returns a judgement of a row without a verdict.
pub(crate) fn missing_of(id: &str) -> Judgement {
    missing(
        &Candidates { id, completion: "", finish_reason: None, baseline: None, pair: None },
        VerdictStatus::Missing,
        None,
    )
}

/// Returns a judgement without a verdict.
pub(crate) fn missing(candidates: &Candidates<'_>, status: VerdictStatus, reason: Option<String>) -> Judgement {
    Judgement {
        id: candidates.id.to_owned(),
        orders: Vec::new(),
        pair: None,
        reason,
        sample: 0,
        scores: None,
        status,
        verdict: None,
        votes: Vec::new(),
    }
}
