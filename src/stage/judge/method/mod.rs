//! Judge methods: what is asked, what a reply means, how verdicts sum up.
//!
//! **Adding a judge method:** one file with `Settings` and a `parse` function, one line in [`METHODS`], and in the
//! stage's own `Settings` a field of that name, for the schema. Its built-in template stands in `templates/judge/` and
//! in the list of `template::library`. If no reader in `read/` fits its replies, add one, and a variant of [`Told`].
//! Then an example and its tests.
//!
//! | file | holds |
//! |---|---|
//! | `rubric/` `compare/` `classify` | the methods; `pairs` sums up comparisons of all pairs |
//! | `votes` | the votes of a panel, combined |
//! | `tally` | the trait that sums judgements up |

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
use crate::score::Reading;
use crate::spec::Node;
use crate::stage::judge::people::labels::LabelKind;
use crate::stage::judge::read::Choice;

/// All methods, each with the field of the stage that holds its settings.
pub(crate) const METHODS: &[(&str, Parse)] =
    &[("rubric", rubric::parse), ("compare", compare::parse), ("classify", classify::parse)];

/// Parses a method's settings.
pub(crate) type Parse = fn(&Node, &str, &mut Vec<Problem>) -> Option<Box<dyn Method>>;

/// The texts that are judged.
pub(crate) struct Candidates<'a> {
    pub id: &'a str,
    /// The completion of the node's model.
    pub completion: &'a str,
    pub finish_reason: Option<&'a str>,
    /// In a comparison: the completion on the other side.
    pub baseline: Option<&'a str>,
    /// Where all pairs are compared: which two models.
    pub pair: Option<[u32; 2]>,
}

/// One call: the variables of its prompt, beside `row`, `params` and `reference`.
pub(crate) struct Question {
    /// The question's place among the questions about a row, from 0.
    pub number: usize,
    pub variables: Vec<(&'static str, TemplateValue)>,
}

/// What a reply says, parsed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Nothing,
    /// Which of two is better.
    Choice(Choice),
    /// A score per criterion, null where missing.
    Scores(Map<String, Value>),
    Label(String),
}

/// A reply that has been read.
#[derive(Clone, Debug)]
pub(crate) struct ReadReply {
    pub status: VerdictStatus,
    pub told: Told,
    pub reason: Option<String>,
    /// What is wrong with an unreadable reply, in words for the judge.
    pub error: String,
}

/// Whose completions others are compared with: those of a model of the stage's own input, or those of a node of another
/// inference stage over the same dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opponent {
    /// None: the inference stage that is the stage's own input.
    pub stage: Option<String>,
    pub model: String,
    /// The name as written: `base`, `answers_v1.tuned`.
    pub name: String,
}

impl Opponent {
    /// Reads a name: that of a model, or of a node.
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
    /// Returns the name of the built-in template.
    fn default_prompt(&self) -> &'static str;

    /// Returns the variables of its prompts.
    fn variables(&self) -> &'static [&'static str];

    /// Returns the models of the input that are judged; none: all.
    fn only_models(&self) -> Option<&[String]> {
        None
    }

    /// Returns the baseline; none for a method without one.
    fn baseline(&self) -> Option<&Opponent> {
        None
    }

    /// Returns true if each model is compared with each other one.
    fn is_all_pairs(&self) -> bool {
        false
    }

    /// Returns true if one verdict is about two completions.
    fn is_pair(&self) -> bool {
        self.is_all_pairs() || self.baseline().is_some()
    }

    /// Returns for how many rows the judge is shown the same text on both sides.
    fn identity_pairs(&self) -> u64 {
        0
    }

    /// Returns true if only verdicts with the tag count where the prompt shows one.
    fn binds_tag(&self) -> bool {
        true
    }

    /// Returns how a template asks for the tag beside the verdict.
    fn tagged(&self) -> &'static str {
        "VERDICT-{{ tag }}: <verdict>"
    }

    /// Returns the JSON Schema of the reply to a question; none for a method whose replies are not JSON.
    fn schema(&self, _question: &Question, _tag: Option<&str>) -> Option<Value> {
        None
    }

    /// Returns a verdict as a number from 0 (worst) to 1 (best); none where that is undefined.
    fn worth(&self, said: &Said<'_>) -> Option<f64>;

    /// Returns the name of the value that sums everything up, with what its 0 and 1 stand for in units of that value.
    fn headline(&self) -> Option<(&'static str, (f64, f64))>;

    /// Returns the criteria that have a pass mark, with the mark.
    fn pass_marks(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Returns what people are asked when they label rows.
    fn sheet(&self) -> Sheet;

    /// Returns which labels people may give.
    fn labels(&self) -> LabelKind;

    /// Returns the settings that enter the key, defaults omitted.
    fn settings(&self) -> Map<String, Value>;

    /// Returns the judgement of candidates for which no call is needed, such as an empty completion; none if a judge
    /// must be asked.
    fn without_asking(&self, candidates: &Candidates<'_>) -> Option<Judgement>;

    /// Returns the questions about the candidates; each is one call.
    fn questions(&self, candidates: &Candidates<'_>) -> Vec<Question>;

    /// Returns how many calls a row takes, for plans.
    fn calls_per_row(&self) -> u64;

    /// Reads a reply to a question. `tag` is the tag that the prompt showed; none if it showed none.
    fn read(&self, question: &Question, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> ReadReply;

    /// Returns what a retry demands of the reply ("reply with only …").
    fn contract(&self, question: &Question, tag: Option<&str>) -> String;

    /// Combines the readings of all questions about a row into one judgement.
    fn judgement(&self, candidates: &Candidates<'_>, readings: &[ReadReply]) -> Judgement;

    /// Combines the votes of a panel: first each judge's own votes to what it says on average, then the judges. If
    /// fewer than half of the judges have a valid vote, there is no verdict.
    fn combine(&self, votes: &Votes<'_>, into: &mut Judgement);

    /// Returns what sums judgements up. `contestants` are the models that are compared with each other.
    fn tally(&self, seed: u64, contestants: &[String]) -> Box<dyn Tally>;

    /// Returns the summary's values in the order of tables, each with how it is to be read.
    fn values(&self) -> Vec<(String, Reading)>;
}

/// Returns the name of the value that sums everything up.
pub(crate) fn headline(method: &dyn Method) -> &'static str {
    method.headline().map_or("overall", |(name, _)| name)
}

/// Returns the judgement of a row that has no verdict.
pub(crate) fn missing_of(id: &str) -> Judgement {
    missing(
        &Candidates { id, completion: "", finish_reason: None, baseline: None, pair: None },
        VerdictStatus::Missing,
        None,
    )
}

/// Returns a judgement without a verdict, with the reason why.
pub(crate) fn missing(candidates: &Candidates<'_>, status: VerdictStatus, reason: Option<String>) -> Judgement {
    Judgement {
        id: candidates.id.to_owned(),
        orders: Vec::new(),
        pair: None,
        reason,
        sample: 0,
        scores: None,
        shown: Vec::new(),
        status,
        verdict: None,
        votes: Vec::new(),
    }
}
