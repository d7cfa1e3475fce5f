//! The votes of a panel; and verdicts in one form, be they of the whole panel or of one vote.

use serde_json::{Map, Value};

use crate::outcome::Outcome;
use crate::row::{Judgement, Vote};

/// The votes of a panel on one completion; each judge was asked once or several times.
pub(crate) struct Votes<'a> {
    /// How many judges were asked.
    pub judges: u32,
    pub votes: &'a [Vote],
}

impl Votes<'_> {
    /// Returns what each judge says: `of_judge` gets its valid votes. A judge without any is left out.
    pub fn by_judge<T>(&self, of_judge: impl Fn(&[&Vote]) -> Option<T>) -> Vec<T> {
        let votes = |judge| {
            let own: Vec<&Vote> = self.votes.iter().filter(|vote| vote.judge == judge).collect();
            of_judge(&own)
        };
        (0..self.judges).filter_map(votes).collect()
    }

    /// Returns true if so many judges are enough: at least half of the panel, rounded up.
    pub fn is_enough(&self, judges: usize) -> bool {
        judges > 0 && judges >= (self.judges as usize).div_ceil(2)
    }
}

/// Returns what is said most often; none if two are said equally often.
pub(crate) fn majority<'a>(said: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
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

/// A verdict on one completion or pair, of the whole panel or of one vote.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub scores: Option<&'a Map<String, Value>>,
    pub verdict: Option<&'a str>,
}

impl Said<'_> {
    /// Returns the outcome, if the verdict is that of a comparison.
    pub fn outcome(&self) -> Option<Outcome> {
        Outcome::of_word(self.verdict?)
    }

    /// Returns what the whole judgement says.
    pub fn of(judgement: &Judgement) -> Said<'_> {
        Said { scores: judgement.scores.as_ref(), verdict: judgement.verdict.as_deref() }
    }

    /// Returns what a single vote says.
    pub fn of_vote(vote: &Vote) -> Said<'_> {
        Said { scores: vote.scores.as_ref(), verdict: vote.verdict.as_deref() }
    }
}

/// Returns the points of a comparison, 0 to 1. If one judge was asked several times, they are the mean of its votes,
/// not the points of the nearest word.
pub(crate) fn points_of(judgement: &Judgement) -> Option<f64> {
    let verdict = judgement.outcome()?;
    let is_one_judge = judgement.votes.iter().all(|vote| vote.judge == 0);
    let said: Vec<f64> = judgement.votes.iter().filter_map(Vote::outcome).map(Outcome::points).collect();
    if !is_one_judge || said.is_empty() {
        return Some(verdict.points());
    }
    Some(said.iter().sum::<f64>() / said.len() as f64)
}
