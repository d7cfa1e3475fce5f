//! The summary values of a judge stage, each with how it is to be read.

use super::node::Judge;
use crate::score::{Direction, Rank, Reading, Unit};

impl Judge {
    /// Returns the values that can be named before a run, in the order of tables.
    pub fn readings(&self) -> Vec<(String, Reading)> {
        let mut values: Vec<(String, Reading)> = Vec::new();
        for (name, reading) in self.method.values() {
            let corrected = self.is_correctable(&name).then(|| (format!("{name}.corrected"), reading));
            values.extend([(name, reading)].into_iter().chain(corrected));
        }
        let rate = |rank| Reading::of(Unit::Rate, rank);
        if self.method.is_all_pairs() {
            values.extend(self.model_names.iter().map(|name| (format!("beats.{name}"), rate(Rank::Detail))));
        }
        let diagnostic = rate(Rank::Diagnostic);
        let neither = diagnostic.toward(Direction::Neither);
        let own = [
            ("agreement", rate(Rank::Detail), self.human.is_some()),
            ("kappa", rate(Rank::Detail), self.human.is_some()),
            ("length_correlation", neither, self.has_worths()),
            ("stability", diagnostic, self.samples > 1),
            ("self_preference", neither, self.judges.len() > 1),
            ("canaries", diagnostic, self.canaries > 0),
            ("identity_ties", diagnostic, self.method.identity_pairs() > 0),
            ("coverage", Reading::COVERAGE, true),
        ];
        values.extend(own.iter().filter(|(.., is_there)| *is_there).map(|(name, of, _)| ((*name).to_owned(), *of)));
        values
    }

    /// Returns how a value is to be read; none if there can be no such value.
    pub fn reading_of(&self, value: &str) -> Option<Reading> {
        let values = self.readings();
        let known = |value: &str| values.iter().find(|(name, _)| name == value).map(|(_, reading)| *reading);
        let is_model = |name: &str| self.model_names.iter().any(|model| model == name);
        if let Some(raw) = value.strip_suffix(".of_ceiling").filter(|_| self.has_worths() && self.lineage.has_ceiling())
        {
            return known(raw).map(|_| Reading::of(Unit::Rate, Rank::Part));
        }
        // The node over all models has each model's values under that model's name.
        if self.method.is_all_pairs()
            && let Some((_, own)) = value.split_once('.').filter(|(model, _)| is_model(model))
        {
            return match own {
                "win_rate" | "elo" => known(own),
                _ if own.strip_prefix("beats.").is_some_and(is_model) => known(own),
                _ => None,
            };
        }
        let is_of_a_model = self.method.is_all_pairs() && value.starts_with("beats.");
        known(value).filter(|_| !is_of_a_model)
    }
}
