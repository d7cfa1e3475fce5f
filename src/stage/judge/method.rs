//! What a judge method decides: what is asked, what a reply means, how verdicts sum up.

use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

use super::labels::LabelKind;
use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus, Vote};
use crate::score::{Estimate, Summary, Unit};
use crate::spec::Node;
use crate::stage::Sheet;

/// What the candidates are.
pub(super) struct Candidates<'a> {
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

/// What was said of one completion or pair, by whoever said it.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub scores: Option<&'a Map<String, Value>>,
    pub verdict: Option<&'a str>,
}

impl Said<'_> {
    pub fn of(judgement: &Judgement) -> Said<'_> {
        Said { scores: judgement.scores.as_ref(), verdict: judgement.verdict.as_deref() }
    }

    pub fn of_vote(vote: &Vote) -> Said<'_> {
        Said { scores: vote.scores.as_ref(), verdict: vote.verdict.as_deref() }
    }
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

/// A judgement, with how long what was judged is, in characters.
#[derive(Clone, Copy)]
pub(super) struct Gathered<'a> {
    pub judgement: &'a Judgement,
    pub length: usize,
    pub baseline_length: usize,
}

/// Returns what an estimate would be if everything that is missing were worst, and if it were best.
pub(super) fn bounds(estimate: &Estimate, (low, high): (f64, f64)) -> Option<(Estimate, Estimate)> {
    let (n, missing) = (estimate.n as f64, estimate.missing as f64);
    let sum = estimate.value.map_or(0.0, |value| value * n);
    (n + missing > 0.0).then(|| {
        let at = |end: f64| Estimate {
            value: Some((sum + end * missing) / (n + missing)),
            low: None,
            high: None,
            n: estimate.n + estimate.missing,
            missing: 0,
        };
        (at(low), at(high))
    })
}

/// Adds the bounds of a value, and says them where something is missing.
pub(super) fn add_bounds(name: &str, range: (f64, f64), summary: &mut Summary, notes: &mut Vec<String>) {
    let Some(estimate) = summary.values.get(name).copied() else { return };
    let Some((worst, best)) = bounds(&estimate, range) else { return };
    if estimate.missing > 0
        && estimate.n > 0
        && let (Some(low), Some(high)) = (worst.value, best.value)
    {
        notes.push(format!(
            "coverage: {} of {} rows have no verdict; whatever they would be, {name} lies between {low:.3} and {high:.3}",
            estimate.missing,
            estimate.n + estimate.missing
        ));
    }
    if estimate.n == 0 && estimate.missing > 0 {
        notes.push(format!("coverage: none of {} rows has a verdict", estimate.missing));
    }
    summary.values.insert(format!("{name}.worst"), worst);
    summary.values.insert(format!("{name}.best"), best);
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

/// Returns a judgement of a row without a verdict.
pub(super) fn missing_of(id: &str) -> Judgement {
    missing(
        &Candidates { id, completion: "", finish_reason: None, baseline: None, pair: None },
        VerdictStatus::Missing,
        None,
    )
}

/// Returns a judgement without a verdict.
pub(super) fn missing(candidates: &Candidates<'_>, status: VerdictStatus, reason: Option<String>) -> Judgement {
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
