//! A value over the runs of a pipeline: what each iteration gained over the best one before, and whether to go on.
//!
//! | state | |
//! |---|---|
//! | IMPROVED, REGRESSED | over the best run before: the 95 % interval of the difference leaves out 0 |
//! | PLATEAU | it gains less than the margin for certain: the 90 % bound lies below it |
//! | UNCLEAR | neither; more rows would tell |
//!
//! A run that is no better than the last one by chance alone would be called better in a long loop sooner or later. So each
//! run is compared with the best one before, and becomes the best only if it is proven to be better (after Blum & Hardt's
//! ladder, arXiv 1502.04585).

use serde::Serialize;

use super::values::{Found, full_name, values};
use super::{Change, Side, Terms, Verdict};
use crate::record::{Run, RunHead};
use crate::score::{Direction, Estimate, Rank, Reading};
use crate::spec::Role;

/// From so many runs on the held-out rows were looked at often.
const MANY_LOOKS: usize = 5;
/// From this iteration on, data are more likely at fault than settings.
const LATE: usize = 5;
/// So close to the end of its range a value cannot show a gain any more.
const SATURATED: f64 = 0.02;
/// So close to it the other end of its interval must lie: a few rows that are all right prove nothing.
const SURELY_SATURATED: f64 = 0.1;

/// What a run gained over the best run before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// The first run with data: there is nothing before.
    First,
    /// No row has a valid result.
    NoData,
    Improved,
    Regressed,
    Changed,
    Plateau,
    Unclear,
    /// It was measured in another way, and stands beside the others.
    Incomparable,
}

impl State {
    /// Returns the state's word.
    pub fn word(self) -> &'static str {
        match self {
            State::First => "",
            State::NoData => "NO DATA",
            State::Improved => "IMPROVED",
            State::Regressed => "REGRESSED",
            State::Changed => "CHANGED",
            State::Plateau => "PLATEAU",
            State::Unclear => "UNCLEAR",
            State::Incomparable => "NOT COMPARED",
        }
    }

    fn of(change: &Change, reading: &Reading) -> State {
        if change.difference.value.is_none() {
            return State::Unclear;
        }
        let (low, high) = change.ninety();
        let is_below = match reading.direction {
            Direction::Higher => high.is_some_and(|bound| bound < change.margin),
            Direction::Lower => low.is_some_and(|bound| bound > -change.margin),
            Direction::Neither => change.verdict == Verdict::Same,
        };
        match change.verdict {
            Verdict::Improved => State::Improved,
            Verdict::Regressed => State::Regressed,
            Verdict::Changed => State::Changed,
            Verdict::Same => State::Plateau,
            _ if is_below => State::Plateau,
            _ => State::Unclear,
        }
    }
}

/// The headlines of a pipeline over its runs.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    pub pipeline: String,
    /// How many runs there are, those with the same results as the one before left out.
    pub runs: usize,
    pub trails: Vec<Trail>,
    /// What to do next, in words.
    pub advice: Vec<String>,
}

/// A value over the runs.
#[derive(Clone, Debug, Serialize)]
pub struct Trail {
    pub stage: String,
    pub model: String,
    pub value: String,
    #[serde(flatten)]
    pub reading: Reading,
    pub points: Vec<Point>,
    /// The place of the best run among the points; none without data.
    pub best: Option<usize>,
}

impl Trail {
    /// Returns the full name of the value.
    pub fn name(&self) -> String {
        full_name(&self.stage, &self.model, &self.value)
    }

    /// Returns the best point; none without data.
    pub fn best_point(&self) -> Option<&Point> {
        self.points.get(self.best?)
    }
}

/// A value in a run.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    #[serde(flatten)]
    pub of: RunHead,
    pub estimate: Estimate,
    /// What it gained over the best run before.
    pub change: Option<Change>,
    pub state: State,
}

/// Returns the history of runs, the oldest first. Runs that are partial, failed or interrupted must be left out before.
pub fn history(pipeline: &str, sides: &[Side], terms: &Terms) -> History {
    let kept: Vec<&Side> = sides
        .iter()
        .enumerate()
        .filter(|(place, side)| *place == 0 || !sides[place - 1].run.is_of_same_results(&side.run))
        .map(|(_, side)| side)
        .collect();
    let all: Vec<Vec<Found>> = kept.iter().map(|side| values(&side.run)).collect();
    let mut trails = kept.last().zip(all.last()).map(|(last, found)| headlines(&last.run, found)).unwrap_or_default();
    for trail in &mut trails {
        // The best run so far.
        let mut best: Option<(&Side, &[Found])> = None;
        for (side, values) in kept.iter().copied().zip(&all) {
            let is_it = |found: &&Found| {
                (&found.stage, &found.model, &found.value) == (&trail.stage, &trail.model, &trail.value)
            };
            let Some(found) = values.iter().find(is_it) else { continue };
            let change = best.map(|(best, known)| super::only(best, known, side, terms, found));
            let state = match &change {
                _ if found.estimate.value.is_none() => State::NoData,
                None => State::First,
                Some(None) => State::Incomparable,
                Some(Some(change)) => State::of(change, &trail.reading),
            };
            // What was measured in another way begins anew.
            if matches!(state, State::First | State::Improved | State::Incomparable) {
                best = Some((side, values));
                trail.best = Some(trail.points.len());
            }
            let change = change.flatten().filter(|_| state != State::NoData);
            trail.points.push(Point { of: side.run.head(), estimate: found.estimate, change, state });
        }
    }
    let mut advice = advice(&trails, kept.len());
    advice.extend(gone(&trails, &all));
    History { pipeline: pipeline.to_owned(), runs: kept.len(), trails, advice }
}

/// Returns the headlines of the models that a team works on, without points.
fn headlines(run: &Run, found: &[Found]) -> Vec<Trail> {
    let has_candidate = run.models.values().any(|model| model.role == Some(Role::Candidate));
    let is_meant = |found: &&Found| {
        let is_of_interest = match run.role(&found.model) {
            Some(Role::Candidate) => true,
            Some(_) => false,
            None => !has_candidate || !run.models.contains_key(&found.model),
        };
        is_of_interest && found.reading.rank == Rank::Headline && !found.is_fact()
    };
    let trail = |found: &Found| Trail {
        stage: found.stage.clone(),
        model: found.model.clone(),
        value: found.value.clone(),
        reading: found.reading,
        points: Vec::new(),
        best: None,
    };
    found.iter().filter(is_meant).map(trail).collect()
}

/// Returns which headlines of the run before the last one have no successor.
fn gone(trails: &[Trail], all: &[Vec<Found>]) -> Option<String> {
    let [.., before, last] = all else { return None };
    let is_there = |name: &String| last.iter().any(|found| found.name() == *name);
    let is_headline = |found: &&Found| found.reading.rank == Rank::Headline && !found.is_fact();
    let names: Vec<String> =
        before.iter().filter(is_headline).map(Found::name).filter(|name| !is_there(name)).collect();
    let some = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    (!names.is_empty() && !trails.is_empty())
        .then(|| format!("the last run has no {some}{more}, which the one before has"))
}

/// Returns what the runs advise.
fn advice(trails: &[Trail], runs: usize) -> Vec<String> {
    let mut advice = Vec::new();
    let judged: Vec<&Trail> = trails.iter().filter(|trail| trail.reading.direction != Direction::Neither).collect();
    for trail in &judged {
        let states: Vec<State> = trail.points.iter().rev().take(2).map(|point| point.state).collect();
        let name = trail.name();
        match states[..] {
            [State::Plateau, State::Plateau] => advice.push(format!(
                "{name} is on a plateau: two iterations gained less than the margin for certain. Stop, or change the data; size and \
                 hyperparameters seldom help here"
            )),
            [State::Unclear, State::Unclear] => {
                let needed = trail.points.last().and_then(|point| point.change.as_ref()?.rows_needed);
                let rows = needed.map_or_else(String::new, |rows| format!(" to about {rows} rows"));
                advice.push(format!(
                    "{name}: two iterations are unclear: these rows cannot tell. Enlarge the held-out set{rows}, rather than train \
                     again"
                ));
            }
            [State::NoData, ..] => advice.push(format!("{name}: no row of the last run has a valid result")),
            [State::Regressed, ..] => advice.extend(trail.best_point().map(|best| {
                let best = best.of.name();
                format!("{name} got worse than in {best}: `etalon compare {best} last --rows broken` shows where")
            })),
            _ => {}
        }
        let last = trail.points.last().map(|point| point.estimate).zip(trail.reading.range());
        if let Some((estimate, (low, high))) = last {
            let (far, room): (_, fn(f64, f64, f64) -> f64) = match trail.reading.direction {
                Direction::Lower => (estimate.high, |value, low, _| value - low),
                _ => (estimate.low, |value, _, high| high - value),
            };
            let is_within = |value: Option<f64>, share: f64| {
                value.is_some_and(|value| room(value, low, high) <= share * (high - low))
            };
            if is_within(estimate.value, SATURATED) && is_within(far, SURELY_SATURATED) {
                advice
                    .push(format!("{name} is saturated: it can hardly gain, and shows losses only. Take harder rows"));
            }
        }
    }
    let is_gain = |trail: &&Trail| trail.points.iter().rev().take(2).any(|point| point.state == State::Improved);
    if runs >= LATE && !judged.is_empty() && !judged.iter().any(is_gain) {
        advice.push(
            "typical loops end after two to four iterations: past five without a gain, look at the quality of the data, not at \
             their size or at hyperparameters"
                .to_owned(),
        );
    }
    if runs >= MANY_LOOKS {
        advice.push(format!(
            "the held-out rows were looked at in {runs} runs: what was chosen by them looks better on them than it is. Keep fresh \
             rows for the final number"
        ));
    }
    advice
}
