//! What a judge method decides: what is asked, what a reply means, how verdicts sum up.

use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

use super::human::LabelKind;
use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus, Vote};
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
    /// Ordinal among the questions of a row.
    pub number: usize,
    pub variables: Vec<(&'static str, TemplateValue)>,
}

/// What the judges of a panel said of one completion, each once or several times.
pub(super) struct Votes<'a> {
    /// Judges that were asked.
    pub judges: u32,
    pub votes: &'a [Vote],
}

impl Votes<'_> {
    /// Returns what each judge says, by `of_judge` over its valid votes; none for a judge without any.
    pub fn by_judge<T>(&self, of_judge: impl Fn(&[&Vote]) -> Option<T>) -> Vec<T> {
        let votes = |judge| {
            let own: Vec<&Vote> = self.votes.iter().filter(|vote| vote.judge == judge).collect();
            of_judge(&own)
        };
        (0..self.judges).filter_map(votes).collect()
    }

    /// Returns whether so many judges are enough: half of them, rounded up.
    pub fn is_enough(&self, judges: usize) -> bool {
        judges > 0 && judges >= (self.judges as usize).div_ceil(2)
    }
}

/// Returns what most say; none where nothing is said most often.
pub(super) fn majority<'a>(said: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for word in said {
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    let mut first = counts.iter().filter(|(_, count)| *count == most);
    let (word, _) = first.next()?;
    first.next().is_none().then_some(word)
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

    /// Sums judgements up.
    fn tally(&self, seed: u64) -> Box<dyn Tally>;

    /// Returns the values of the summary and how they read.
    fn values(&self) -> Vec<(String, Unit)>;
}

/// A judgement, with how long what was judged is, in characters.
#[derive(Clone, Copy)]
pub(super) struct Gathered<'a> {
    pub judgement: &'a Judgement,
    pub length: usize,
    pub baseline_length: usize,
}

/// Sums up the judgements of rows.
pub(super) trait Tally: Send {
    /// Adds the judgements of one row, one per sample.
    fn add(&mut self, row: &[Gathered<'_>]);

    /// Writes the summary; `notes` are for people.
    fn finish(&mut self, summary: &mut Summary, notes: &mut Vec<String>);
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
        votes: Vec::new(),
    }
}
