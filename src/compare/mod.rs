//! Two runs side by side: what is better, what is worse, on which rows, and what cannot be told.
//!
//! Everything comes from the documents of the runs and from their scores row by row ([`RunScores`]), so that runs are
//! compared that nobody can repeat. The rows that both have with the same content are compared as pairs; where no rows are
//! kept, the summaries are, and that is said.
//!
//! | file | holds |
//! |---|---|
//! | `history` | a value over the runs of a pipeline, and what to do next |
//! | `pairs` | the rows that two values share, with their differences |
//! | `values` | the values of a run, each with its model |
//! | `verdict` | a difference with its interval, and what it says |

mod history;
mod pairs;
mod values;
mod verdict;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::record::{Run, RunHead, RunScores};
use crate::score::{Direction, Estimate, Rank, Reading};
use crate::stats::{Adjustment, adjust};
use values::{Found, full_name, values};

pub use history::{History, Point, State, Trail, history};
pub use pairs::{Flip, Turn};
pub use verdict::{Change, Margin, Unpaired, Verdict};

/// One of the two runs: its document, its scores, and the model that is meant; none for all models.
pub struct Side {
    pub run: Run,
    pub scores: Option<RunScores>,
    pub model: Option<String>,
}

/// How two runs are compared.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What may differ between the runs all the same.
    pub allow: BTreeSet<Allowed>,
    /// The largest difference that counts as none.
    pub margin: Option<Margin>,
}

/// What may be allowed to differ between two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Allowed {
    /// Judges, their prompts, criteria and settings.
    Judge,
    /// Metrics and their settings.
    Metric,
}

/// Two runs, compared.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub before: Compared,
    pub after: Compared,
    pub values: Vec<Line>,
    /// What stands in one run only, or is not the same in both, in words.
    pub differs: Vec<String>,
    /// Values that are not compared, with the reason.
    pub refused: Vec<Refused>,
}

/// Which run was compared.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    #[serde(flatten)]
    pub of: RunHead,
    pub pipeline: String,
    pub model: Option<String>,
}

/// A value in both runs.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub stage: String,
    pub model: String,
    /// The model of the run before, where it is another one.
    pub model_before: Option<String>,
    pub value: String,
    #[serde(flatten)]
    pub reading: Reading,
    pub before: Estimate,
    pub after: Estimate,
    #[serde(flatten)]
    pub change: Change,
    /// p after Holm's (1979) adjustment over all headlines.
    pub p_holm: Option<f64>,
    /// Both runs have the very same result: nothing was computed anew.
    pub identical: bool,
    /// How many rows became better; none for values that are neither better nor worse, and without rows.
    pub fixed: Option<u64>,
    /// How many rows became worse, as with `fixed`.
    pub broken: Option<u64>,
    /// The rows that changed, the worst first.
    pub flips: Vec<Flip>,
}

impl Line {
    /// Returns the full name of the value.
    pub fn name(&self) -> String {
        full_name(&self.stage, &self.model, &self.value)
    }

    /// Returns true for what a stage exists for.
    pub fn is_headline(&self) -> bool {
        self.reading.rank == Rank::Headline
    }
}

/// Values that are not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// A value, or the stage and model whose values are all meant.
    pub of: String,
    pub because: String,
    /// A headline is among them that the run before has, so that nobody can say that it is not worse.
    pub is_loss: bool,
}

/// Compares two runs. Each line lists all rows that changed.
pub fn compare(before: &Side, after: &Side, terms: &Terms) -> Comparison {
    let mut found = Comparison {
        before: compared(before),
        after: compared(after),
        values: Vec::new(),
        differs: differs(&before.run, &after.run),
        refused: Vec::new(),
    };
    let meant = |side: &Side| -> Vec<Found> {
        let is_meant = |value: &Found| side.model.as_ref().is_none_or(|model| *model == value.model);
        values(&side.run).into_iter().filter(is_meant).collect()
    };
    let (earlier, later) = (meant(before), meant(after));
    for now in &later {
        let model = before.model.as_deref().unwrap_or(&now.model);
        let Some(then) = earlier.iter().find(|then| then.is_of(model, now)) else {
            found.refuse(&earlier, model, now, "before", false);
            continue;
        };
        if let Some(because) = other_judge(before, after, then, now, terms) {
            found.refuse_all(now, because);
        } else if let Some(because) = other_metric(before, after, now, terms) {
            let is_loss = now.reading.rank == Rank::Headline;
            found.refused.push(Refused { of: now.name(), because, is_loss });
        } else if then.is_fact() && now.is_fact() {
            found.differs.extend(other_coverage(then, now));
        } else {
            found.values.push(line(before, after, then, now, terms));
        }
    }
    for then in &earlier {
        let model = after.model.as_deref().unwrap_or(&then.model);
        if !later.iter().any(|now| now.is_of(model, then)) && !then.is_fact() {
            found.refuse(&later, model, then, "after", true);
        }
    }
    found.values.sort_by_key(|line| line.reading.rank);
    let headlines: Vec<usize> = (0..found.values.len())
        .filter(|index| found.values[*index].is_headline() && found.values[*index].change.p.is_some())
        .collect();
    let p_values: Vec<f64> = headlines.iter().filter_map(|index| found.values[*index].change.p).collect();
    for (index, p) in headlines.into_iter().zip(adjust(&p_values, Adjustment::Holm)) {
        found.values[index].p_holm = Some(p);
    }
    found
}

impl Comparison {
    /// Notes that the run on one side lacks a value: a headline alone, or with all others of a stage's model.
    fn refuse(&mut self, others: &[Found], model: &str, value: &Found, side: &str, is_loss: bool) {
        let has_node = others.iter().any(|other| other.stage == value.stage && other.model == model);
        let is_loss = is_loss && value.reading.rank == Rank::Headline;
        let (of, what) = match has_node {
            // A detail that comes or goes is seldom more than a setting.
            true if value.reading.rank == Rank::Headline => {
                (value.name(), full_name(&value.stage, model, &value.value))
            }
            true => return,
            false => (format!("{}.{}", value.stage, value.model), format!("{}.{model}", value.stage)),
        };
        self.refuse_once(
            of.trim_end_matches("._"),
            format!("the run {side} has no {}", what.trim_end_matches("._")),
            is_loss,
        );
    }

    /// Notes that none of the values of a judge stage's model is compared.
    fn refuse_all(&mut self, value: &Found, because: String) {
        let of = format!("{}.{}", value.stage, value.model);
        self.refuse_once(of.trim_end_matches("._"), because, value.reading.rank == Rank::Headline);
    }

    fn refuse_once(&mut self, of: &str, because: String, is_loss: bool) {
        match self.refused.iter_mut().find(|known| known.of == of && known.because == because) {
            Some(known) => known.is_loss |= is_loss,
            None => self.refused.push(Refused { of: of.to_owned(), because, is_loss }),
        }
    }
}

fn compared(side: &Side) -> Compared {
    Compared { of: side.run.head(), pipeline: side.run.pipeline.clone(), model: side.model.clone() }
}

/// Compares one value of the same model in two runs; none where it is not in both, or was measured in another way.
fn only(before: &Side, all_before: &[Found], after: &Side, terms: &Terms, now: &Found) -> Option<Change> {
    let then = all_before.iter().find(|then| then.is_of(&now.model, now))?;
    let is_same =
        other_judge(before, after, then, now, terms).is_none() && other_metric(before, after, now, terms).is_none();
    is_same.then(|| change(before, after, then, now, terms).0)
}

/// Compares one value.
fn line(before: &Side, after: &Side, then: &Found, now: &Found, terms: &Terms) -> Line {
    let reading = &now.reading;
    let (change, pairs) = change(before, after, then, now, terms);
    let pairs = pairs.filter(|_| change.unpaired.is_none());
    let turned = pairs.as_ref().and_then(|pairs| pairs.turned(reading.direction));
    Line {
        stage: now.stage.clone(),
        model: now.model.clone(),
        model_before: (then.model != now.model).then(|| then.model.clone()),
        value: now.value.clone(),
        reading: *reading,
        before: then.estimate,
        after: now.estimate,
        change,
        p_holm: None,
        identical: is_identical(before, after, then, now),
        fixed: turned.map(|(fixed, _)| fixed),
        broken: turned.map(|(_, broken)| broken),
        flips: pairs.map_or_else(Vec::new, |pairs| pairs.flips(reading.direction)),
    }
}

/// Returns true if both runs took a value from the same result.
fn is_identical(before: &Side, after: &Side, then: &Found, now: &Found) -> bool {
    let key = before.run.key(&then.node());
    key.is_some() && after.run.key(&now.node()) == key && then.is_same_entry(now)
}

/// Returns the change of a value, and the rows that it was found by; none for a result that is the same.
fn change<'a>(
    before: &Side,
    after: &'a Side,
    then: &Found,
    now: &Found,
    terms: &Terms,
) -> (Change, Option<pairs::Pairs<'a>>) {
    let (reading, margin) = (&now.reading, terms.margin);
    if is_identical(before, after, then, now) {
        return (verdict::same(&now.estimate, reading, margin), None);
    }
    let unpaired = |because| verdict::unpaired((&then.estimate, &now.estimate), because, reading, margin);
    let Some((earlier, later)) = before.scores.as_ref().zip(after.scores.as_ref()) else {
        return (unpaired(Unpaired::NoScores), None);
    };
    let Some((earlier, later)) = then.scored(earlier).zip(now.scored(later)) else {
        return (unpaired(Unpaired::NotOfRows), None);
    };
    let pairs = pairs::pairs(earlier, later);
    let change = match pairs.is_empty() {
        true => unpaired(Unpaired::NoSharedRow).over(&pairs),
        false => verdict::paired(&pairs, reading, margin),
    };
    (change, Some(pairs))
}

/// Returns why two nodes of judges cannot be compared: they measured with different instruments.
fn other_judge(before: &Side, after: &Side, then: &Found, now: &Found, terms: &Terms) -> Option<String> {
    let instrument = |run: &Run, name: &str| run.nodes.iter().find(|node| node.node == name)?.instrument;
    let (a, b) = instrument(&before.run, &then.node()).zip(instrument(&after.run, &now.node()))?;
    (a != b && !terms.allow.contains(&Allowed::Judge)).then(|| {
        "the judge is not the same in both runs (its model, prompt, criteria or settings): judge the old answers anew with \
         the present judge, or compare all the same with `--allow judge`"
            .to_owned()
    })
}

/// Returns why a value of a metric cannot be compared: the metric has other settings.
fn other_metric(before: &Side, after: &Side, of: &Found, terms: &Terms) -> Option<String> {
    let signature = |run: &Run| -> Option<String> {
        let signatures = run.signatures.get(&of.stage)?;
        let is_it =
            |name: &str| of.value.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        signatures.iter().find(|(name, _)| name.as_str() != "judge" && is_it(name)).map(|(_, said)| said.clone())
    };
    let (a, b) = signature(&before.run).zip(signature(&after.run))?;
    (a != b && !terms.allow.contains(&Allowed::Metric)).then(|| {
        format!("the metric has other settings: {a} before, {b} after; `--allow metric` compares all the same")
    })
}

/// Returns that fewer or more rows have a result than before, if that is so.
fn other_coverage(then: &Found, now: &Found) -> Option<String> {
    let (a, b) = then.estimate.value.zip(now.estimate.value).filter(|(a, b)| now.value == "coverage" && a != b)?;
    Some(format!("{}: {a:.3} before, {b:.3} after", now.name()))
}

/// Returns what is not the same in both runs, in words.
fn differs(before: &Run, after: &Run) -> Vec<String> {
    let mut found = Vec::new();
    if before.pipeline != after.pipeline {
        found.push(format!("pipelines: {} before, {} after", before.pipeline, after.pipeline));
    }
    for (name, value) in &after.params {
        match before.params.get(name) {
            Some(earlier) if earlier != value => found.push(format!("param {name}: {earlier} before, {value} after")),
            _ => {}
        }
    }
    for (run, which) in [(before, "before"), (after, "after")] {
        if run.partial {
            found.push(format!("the run {which} is partial (`--only` or `--limit`)"));
        }
        if run.has_failed() {
            found.push(format!("the run {which} has failed nodes"));
        }
    }
    found
}

/// Returns the headlines that are not proven to be worse by no more than a margin, by name: those whose interval reaches
/// beyond it, and those of the run before that are not compared. Without any headline, that is said.
pub fn not_proven(comparison: &Comparison, margin: Margin) -> Vec<String> {
    let headlines: Vec<&Line> = comparison.values.iter().filter(|line| line.is_headline()).collect();
    let is_open = |line: &&&Line| !line.identical && !line.change.is_not_worse(&line.reading, margin);
    let mut names: Vec<String> = headlines.iter().filter(is_open).map(|line| line.name()).collect();
    names.extend(comparison.refused.iter().filter(|one| one.is_loss).map(|one| one.of.clone()));
    if names.is_empty() && !headlines.iter().any(|line| line.reading.direction != Direction::Neither) {
        names.push("no headline was compared".to_owned());
    }
    names
}
