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
//! | `verdict` | a difference with its interval, and what it says |

mod history;
mod pairs;
mod verdict;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::record::{Run, RunScores, ScoredRows, ValueScores};
use crate::score::{Estimate, Rank, Reading};
use crate::stats::{Adjustment, adjust};

pub use history::{History, Point, State, Trail, history};
pub use pairs::Flip;
pub use verdict::{Change, Verdict};

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
    /// The largest difference that counts as none, for values from 0 to 1; others have it in proportion.
    pub margin: Option<f64>,
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
    pub run: String,
    pub label: Option<String>,
    pub pipeline: String,
    pub model: Option<String>,
    pub started: String,
    pub commit: Option<String>,
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
    /// How many rows became better and worse; of a value that is neither, how many rose and fell.
    pub fixed: u64,
    pub broken: u64,
    /// The rows that changed most, the worst first; at most as many as were asked for.
    pub flips: Vec<Flip>,
}

impl Line {
    /// Returns the full name of the value.
    pub fn name(&self) -> String {
        let model = if self.model == "_" { String::new() } else { format!(".{}", self.model) };
        format!("{}{model}.{}", self.stage, self.value)
    }
}

/// A value that is not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub of: String,
    pub because: String,
}

/// Compares two runs; `flips` is how many rows each line lists.
pub fn compare(before: &Side, after: &Side, terms: &Terms, flips: usize) -> Comparison {
    let mut found = Comparison {
        before: compared(before),
        after: compared(after),
        values: Vec::new(),
        differs: differs(&before.run, &after.run),
        refused: Vec::new(),
    };
    for (stage, models) in &after.run.summary {
        for (model, summary) in models {
            let (own, other) = match (&after.model, &before.model) {
                (Some(wanted), _) if wanted != model => continue,
                (Some(_), Some(other)) => (model, other),
                _ => (model, model),
            };
            let Some(earlier) = before.run.summary.get(stage).and_then(|models| models.get(other)) else {
                found.refused.push(Refused {
                    of: format!("{stage}.{own}"),
                    because: format!("the run before has no {stage}.{other}"),
                });
                continue;
            };
            if let Some(because) = other_judge(before, after, stage, own, other, terms) {
                found.refused.push(Refused { of: format!("{stage}.{own}"), because });
                continue;
            }
            let readings = after.run.values.get(stage);
            for (value, estimate) in &summary.values {
                let reading = readings.and_then(|readings| readings.get(value));
                let Some(reading) = reading.filter(|reading| reading.rank <= Rank::Detail) else { continue };
                let Some(earlier) = earlier.values.get(value) else { continue };
                if let Some(because) = other_metric(before, after, stage, value, terms) {
                    found.refused.push(Refused { of: format!("{stage}.{own}.{value}"), because });
                    continue;
                }
                let is_fact = |estimate: &Estimate| estimate.low.is_none() && estimate.high.is_none();
                if is_fact(earlier) && is_fact(estimate) {
                    found.differs.extend(other_coverage(stage, own, value, earlier, estimate));
                    continue;
                }
                let place = (stage.as_str(), own.as_str(), other.as_str(), value.as_str());
                found.values.push(line(before, after, place, (earlier, estimate), reading, terms, flips));
            }
        }
    }
    found.values.sort_by_key(|line| line.reading.rank);
    let headlines: Vec<usize> = (0..found.values.len())
        .filter(|index| found.values[*index].reading.rank == Rank::Headline && found.values[*index].change.p.is_some())
        .collect();
    let p_values: Vec<f64> = headlines.iter().filter_map(|index| found.values[*index].change.p).collect();
    for (index, p) in headlines.into_iter().zip(adjust(&p_values, Adjustment::Holm)) {
        found.values[index].p_holm = Some(p);
    }
    found
}

fn compared(side: &Side) -> Compared {
    let Run { run, label, pipeline, started, commit, .. } = &side.run;
    Compared {
        run: run.clone(),
        label: label.clone(),
        pipeline: pipeline.clone(),
        model: side.model.clone(),
        started: started.clone(),
        commit: commit.clone(),
    }
}

/// Compares one value of the same model in two runs; none where it is not in both, or was measured in another way.
fn only(before: &Side, after: &Side, terms: &Terms, (stage, model, value): (&str, &str, &str)) -> Option<Change> {
    let of = |side: &'_ Side| side.run.summary.get(stage)?.get(model)?.values.get(value).copied();
    let both = (of(before)?, of(after)?);
    if other_judge(before, after, stage, model, model, terms).is_some()
        || other_metric(before, after, stage, value, terms).is_some()
    {
        return None;
    }
    let reading = after.run.values.get(stage)?.get(value)?;
    Some(line(before, after, (stage, model, model, value), (&both.0, &both.1), reading, terms, 0).change)
}

/// Compares one value.
fn line(
    before: &Side,
    after: &Side,
    (stage, own, other, value): (&str, &str, &str, &str),
    (earlier, later): (&Estimate, &Estimate),
    reading: &Reading,
    terms: &Terms,
    flips: usize,
) -> Line {
    let pairs = scored(before, stage, other, value)
        .zip(scored(after, stage, own, value))
        .map(|(before, after)| pairs::pairs(before, after));
    let node = |model: &str| if model == "_" { stage.to_owned() } else { format!("{stage}.{model}") };
    let identical = before.run.key(&node(other)).is_some_and(|key| after.run.key(&node(own)) == Some(key));
    let change = match &pairs {
        _ if identical => verdict::same(later, reading, terms.margin),
        Some(pairs) if !pairs.rows.is_empty() => verdict::paired(pairs, reading, terms.margin),
        _ => verdict::unpaired(earlier, later, reading, terms.margin),
    };
    let (fixed, broken, flips) = pairs.map_or((0, 0, Vec::new()), |pairs| pairs.flips(reading.direction, flips));
    Line {
        stage: stage.to_owned(),
        model: own.to_owned(),
        model_before: (own != other).then(|| other.to_owned()),
        value: value.to_owned(),
        reading: *reading,
        before: *earlier,
        after: *later,
        change,
        p_holm: None,
        identical,
        fixed,
        broken,
        flips,
    }
}

/// Returns a value row by row, if it is kept.
fn scored<'a>(side: &'a Side, stage: &str, model: &str, value: &str) -> Option<(&'a ScoredRows, &'a ValueScores)> {
    let scores = side.scores.as_ref()?;
    let value = scores.values.get(stage)?.get(model)?.get(value)?;
    Some((scores.rows.get(&value.rows)?, value))
}

/// Returns why two nodes of judges cannot be compared: they measured with different instruments.
fn other_judge(before: &Side, after: &Side, stage: &str, own: &str, other: &str, terms: &Terms) -> Option<String> {
    let instrument = |run: &Run, model: &str| {
        let name = if model == "_" { stage.to_owned() } else { format!("{stage}.{model}") };
        run.nodes.iter().find(|node| node.node == name).and_then(|node| node.instrument)
    };
    let (a, b) = instrument(&before.run, other).zip(instrument(&after.run, own))?;
    (a != b && !terms.allow.contains(&Allowed::Judge)).then(|| {
        "the judge is not the same in both runs (its model, prompt, criteria or settings): judge the old answers anew with \
         the present judge, or compare all the same with `--allow judge`"
            .to_owned()
    })
}

/// Returns why a value of a metric cannot be compared: the metric has other settings.
fn other_metric(before: &Side, after: &Side, stage: &str, value: &str, terms: &Terms) -> Option<String> {
    let signature = |run: &Run| -> Option<String> {
        let signatures = run.signatures.get(stage)?;
        let is_it = |name: &str| value == name || value.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        signatures.iter().find(|(name, _)| name.as_str() != "judge" && is_it(name)).map(|(_, said)| said.clone())
    };
    let (a, b) = signature(&before.run).zip(signature(&after.run))?;
    (a != b && !terms.allow.contains(&Allowed::Metric)).then(|| {
        format!("the metric has other settings: {a} before, {b} after; `--allow metric` compares all the same")
    })
}

/// Returns that fewer or more rows have a result than before, if that is so.
fn other_coverage(stage: &str, model: &str, value: &str, before: &Estimate, after: &Estimate) -> Option<String> {
    let (a, b) = before.value.zip(after.value).filter(|(a, b)| value == "coverage" && a != b)?;
    Some(format!("coverage of {stage}.{model}: {a:.3} before, {b:.3} after"))
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

/// Returns true if no headline is proven to be worse than before by more than a margin. A value whose interval reaches
/// beyond the margin is not proven.
pub fn is_not_worse(comparison: &Comparison, margin: f64) -> bool {
    let headlines = comparison.values.iter().filter(|line| line.reading.rank == Rank::Headline);
    headlines.clone().count() > 0 && headlines.into_iter().all(|line| line.change.is_not_worse(&line.reading, margin))
}
