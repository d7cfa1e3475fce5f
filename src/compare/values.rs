//! The values of a run that are compared, each with the model it belongs to.

use crate::record::{Run, RunScores, ScoredRows, ValueScores};
use crate::score::{Estimate, Rank, Reading};

/// The column of a node over all models.
const ALL: &str = "_";

/// A value of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub stage: String,
    /// `_` for a value of all models together.
    pub model: String,
    pub value: String,
    /// Where the run has it: its column, and its name there. A node over all models has the values of each model under
    /// that model's name.
    column: String,
    flat: String,
    pub reading: Reading,
    pub estimate: Estimate,
}

impl Found {
    /// Returns the full name of the value.
    pub fn name(&self) -> String {
        full_name(&self.stage, &self.model, &self.value)
    }

    /// Returns the name of the node that made it.
    pub fn node(&self) -> String {
        if self.column == ALL { self.stage.clone() } else { format!("{}.{}", self.stage, self.column) }
    }

    /// Returns true for a plain number of which nothing says how far it may be off: a coverage, and details such as bounds. A
    /// headline may lack an interval as well, where rows are too few or do not differ; that proves nothing.
    pub fn is_fact(&self) -> bool {
        let is_plain = self.estimate.value.is_some() && self.estimate.low.is_none() && self.estimate.high.is_none();
        is_plain && (self.value == "coverage" || self.reading.rank != Rank::Headline)
    }

    /// Returns true for the same value of another run, or of another model: that of `model`.
    pub fn is_of(&self, model: &str, other: &Found) -> bool {
        self.model == model && self.stage == other.stage && self.value == other.value
    }

    /// Returns true if nodes of the same key have the same number here: a node over all models has one for each of them.
    pub fn is_same_entry(&self, other: &Found) -> bool {
        self.flat == other.flat
    }

    /// Returns the value row by row, if it is kept.
    pub fn scored<'a>(&self, scores: &'a RunScores) -> Option<(&'a ScoredRows, &'a ValueScores)> {
        let value = scores.values.get(&self.stage)?.get(&self.column)?.get(&self.flat)?;
        Some((scores.rows.get(&value.rows)?, value))
    }
}

/// Returns the full name of a value.
pub(super) fn full_name(stage: &str, model: &str, value: &str) -> String {
    if model == ALL { format!("{stage}.{value}") } else { format!("{stage}.{model}.{value}") }
}

/// Returns the headlines and details of a run, in its order.
pub(super) fn values(run: &Run) -> Vec<Found> {
    let mut all = Vec::new();
    for (stage, models) in &run.summary {
        let Some(readings) = run.values.get(stage) else { continue };
        for (column, summary) in models {
            for (flat, estimate) in &summary.values {
                let of_model =
                    || flat.split_once('.').filter(|(model, _)| column == ALL && run.models.contains_key(*model));
                let (model, value) = of_model().unwrap_or((column, flat));
                let Some(reading) = readings.get(value).filter(|reading| reading.rank <= Rank::Detail) else {
                    continue;
                };
                all.push(Found {
                    stage: stage.clone(),
                    model: model.to_owned(),
                    value: value.to_owned(),
                    column: column.clone(),
                    flat: flat.clone(),
                    reading: *reading,
                    estimate: *estimate,
                });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{NodeSummary, RunModel};
    use crate::score::Unit;

    #[test]
    fn a_node_over_all_models_has_values_of_each() {
        let mut run = Run::new("r", "p");
        run.models.insert("tuned".to_owned(), RunModel::default());
        let estimate = Estimate { value: Some(0.5), low: Some(0.4), high: Some(0.6), n: 9, missing: 0 };
        let values_of = |names: &[&str]| NodeSummary {
            values: names.iter().map(|name| ((*name).to_owned(), estimate)).collect(),
            ..NodeSummary::default()
        };
        let all = values_of(&["tuned.win_rate", "agreement", "tuned.beats.base", "other.win_rate"]);
        run.summary.insert("ranked".to_owned(), [(ALL.to_owned(), all)].into_iter().collect());
        let reading = |rank| Reading::of(Unit::Fraction, rank);
        let readings = [("win_rate", Rank::Headline), ("agreement", Rank::Detail), ("tuned.win_rate", Rank::Part)];
        let readings = readings.into_iter().map(|(name, rank)| (name.to_owned(), reading(rank))).collect();
        run.values.insert("ranked".to_owned(), readings);
        let found = values(&run);
        let names: Vec<String> = found.iter().map(Found::name).collect();
        assert_eq!(names, ["ranked.tuned.win_rate", "ranked.agreement"]);
        assert_eq!((found[0].node().as_str(), found[0].flat.as_str()), ("ranked", "tuned.win_rate"));
        assert!(found[0].is_of("tuned", &found[0]) && !found[0].is_fact());
    }
}
