//! What a judge method decides: what is asked, what a reply means, how verdicts sum up.

use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus};
use crate::score::{Summary, Unit};
use crate::spec::Node;

/// What the candidates are.
pub(super) struct Candidates<'a> {
    pub id: &'a str,
    /// The node's model.
    pub completion: &'a str,
    pub finish_reason: Option<&'a str>,
    /// The baseline's completion, for comparisons.
    pub baseline: Option<&'a str>,
}

/// One call: the variables that its prompt gets beside `row`, `params` and `reference`.
pub(super) struct Question {
    pub variables: Vec<(&'static str, TemplateValue)>,
}

/// A reply, read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub status: VerdictStatus,
    /// What the reply says, in the method's own terms.
    pub said: Value,
    pub reason: Option<String>,
    /// What to tell the judge about an unreadable reply.
    pub error: String,
}

/// A judge method with its settings.
pub(super) trait Method: Send + Sync {
    /// Returns the built-in template.
    fn default_prompt(&self) -> &'static str;

    /// Returns the variables of its prompts.
    fn variables(&self) -> &'static [&'static str];

    /// Returns the model compared with, if any.
    fn baseline(&self) -> Option<&str> {
        None
    }

    /// Returns the settings that enter the key, defaults omitted.
    fn settings(&self) -> Map<String, Value>;

    /// Returns the judgement that needs no call: an empty candidate.
    fn without_asking(&self, candidates: &Candidates<'_>) -> Option<Judgement>;

    /// Returns the calls to make.
    fn questions(&self, candidates: &Candidates<'_>) -> Vec<Question>;

    /// Returns how many calls a row takes, for plans.
    fn calls_per_row(&self) -> u64;

    /// Reads a reply; `tag` binds where the prompt held it.
    fn read(&self, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> Reading;

    /// Returns what a retry asks for ("reply with only …").
    fn contract(&self, tag: Option<&str>) -> String;

    /// Combines the readings of a row's questions.
    fn judgement(&self, candidates: &Candidates<'_>, readings: &[Reading]) -> Judgement;

    /// Sums judgements up.
    fn tally(&self, seed: u64) -> Box<dyn Tally>;

    /// Returns the values of the summary and how they read.
    fn values(&self) -> Vec<(String, Unit)>;
}

/// Sums up the judgements of rows.
pub(super) trait Tally: Send {
    /// Adds the judgements of one row, one per sample.
    fn add(&mut self, judgements: &[Judgement]);

    fn finish(&mut self, summary: &mut Summary);
}

/// Parses a method's settings.
pub(super) type Parse = fn(&Node, &str, &mut Vec<Problem>) -> Option<Box<dyn Method>>;

/// Returns a judgement without a verdict.
pub(super) fn missing(candidates: &Candidates<'_>, status: VerdictStatus, reason: Option<String>) -> Judgement {
    Judgement {
        id: candidates.id.to_owned(),
        orders: Vec::new(),
        reason,
        sample: 0,
        scores: None,
        status,
        verdict: None,
    }
}
