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

use super::{Change, Side, Terms, Verdict};
use crate::record::Run;
use crate::score::{Direction, Estimate, Rank, Reading};
use crate::spec::Role;

/// From so many runs on the held-out rows were looked at often.
const MANY_LOOKS: usize = 5;
/// From this iteration on, data are more likely at fault than settings.
const LATE: usize = 5;
/// So close to the end of its range a value cannot show a gain any more.
const SATURATED: f64 = 0.02;

/// What a run gained over the best run before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// The first run: there is nothing before.
    First,
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
            State::Improved => "IMPROVED",
            State::Regressed => "REGRESSED",
            State::Changed => "CHANGED",
            State::Plateau => "PLATEAU",
            State::Unclear => "UNCLEAR",
            State::Incomparable => "NOT COMPARED",
        }
    }

    fn of(change: &Change, reading: &Reading) -> State {
        let Estimate { value: Some(value), low, high, .. } = change.difference else { return State::Unclear };
        let bound = |end: Option<f64>| end.map(|end| value + super::verdict::NINETY * (end - value));
        let is_below = match reading.direction {
            Direction::Higher => bound(high).is_some_and(|bound| bound < change.margin),
            Direction::Lower => bound(low).is_some_and(|bound| bound > -change.margin),
            Direction::Neither => change.verdict == Verdict::Same,
        };
        match change.verdict {
            Verdict::Improved => State::Improved,
            Verdict::Regressed => State::Regressed,
            Verdict::Changed => State::Changed,
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
    /// The place of the best run among the points.
    pub best: usize,
}

impl Trail {
    /// Returns the full name of the value.
    pub fn name(&self) -> String {
        let model = if self.model == "_" { String::new() } else { format!(".{}", self.model) };
        format!("{}{model}.{}", self.stage, self.value)
    }
}

/// A value in a run.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    pub run: String,
    pub label: Option<String>,
    pub started: String,
    pub commit: Option<String>,
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
    let mut trails: Vec<Trail> = Vec::new();
    if let Some(last) = kept.last() {
        trails = headlines(&last.run);
    }
    for trail in &mut trails {
        for side in &kept {
            let estimate = side.run.summary.get(&trail.stage).and_then(|models| models.get(&trail.model));
            let Some(estimate) = estimate.and_then(|summary| summary.values.get(&trail.value)).copied() else {
                continue;
            };
            let best = trail.points.get(trail.best).map(|point| point.run.clone());
            let best = best.and_then(|run| kept.iter().find(|side| side.run.run == run));
            let place = (trail.stage.as_str(), trail.model.as_str(), trail.value.as_str());
            let change = best.map(|best| super::only(best, side, terms, place));
            let state = match &change {
                None => State::First,
                Some(None) => State::Incomparable,
                Some(Some(change)) => State::of(change, &trail.reading),
            };
            // What was measured in another way begins anew.
            if matches!(state, State::Improved | State::Incomparable) {
                trail.best = trail.points.len();
            }
            let Run { run, label, started, commit, .. } = &side.run;
            trail.points.push(Point {
                run: run.clone(),
                label: label.clone(),
                started: started.clone(),
                commit: commit.clone(),
                estimate,
                change: change.flatten(),
                state,
            });
        }
    }
    let advice = advice(&trails, kept.len());
    History { pipeline: pipeline.to_owned(), runs: kept.len(), trails, advice }
}

/// Returns the headlines of the models that a team works on, without points.
fn headlines(run: &Run) -> Vec<Trail> {
    let has_candidate = run.models.values().any(|model| model.role == Some(Role::Candidate));
    let is_meant = |model: &str| match run.role(model) {
        Some(Role::Candidate) => true,
        Some(_) => false,
        None => !has_candidate,
    };
    let mut trails = Vec::new();
    for (stage, models) in &run.summary {
        let Some(readings) = run.values.get(stage) else { continue };
        for (model, summary) in models.iter().filter(|(model, _)| *model == "_" || is_meant(model)) {
            for (value, estimate) in &summary.values {
                let Some(reading) = readings.get(value).filter(|reading| reading.rank == Rank::Headline) else {
                    continue;
                };
                if estimate.low.is_some() || estimate.high.is_some() {
                    trails.push(Trail {
                        stage: stage.clone(),
                        model: model.clone(),
                        value: value.clone(),
                        reading: *reading,
                        points: Vec::new(),
                        best: 0,
                    });
                }
            }
        }
    }
    trails
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
            [State::Regressed, ..] => advice.push(format!(
                "{name} got worse than in {}: `etalon compare {} last --rows broken` shows where",
                called(&trail.points[trail.best]),
                called(&trail.points[trail.best]),
            )),
            _ => {}
        }
        let last = trail.points.last().and_then(|point| point.estimate.value).zip(trail.reading.range());
        if let Some((value, (low, high))) = last {
            let room = match trail.reading.direction {
                Direction::Lower => value - low,
                _ => high - value,
            };
            if room <= SATURATED * (high - low) {
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

/// Returns the name by which a run can be asked for.
fn called(point: &Point) -> &str {
    point.label.as_deref().unwrap_or(&point.run)
}
