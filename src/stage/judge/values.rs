//! The summary values of a judge stage, with their units.

use super::node::Judge;
use crate::score::Unit;

/// Further values of a stage that has people's labels.
const HUMAN_VALUES: &[&str] = &["agreement", "kappa"];

impl Judge {
    /// Returns the unit of a value; none if there is no such value.
    pub fn unit_of(&self, value: &str) -> Option<Unit> {
        let known =
            |value: &str| self.method.values().into_iter().find(|(name, _)| name == value).map(|(_, unit)| unit);
        match value {
            "coverage" => return Some(Unit::Rate),
            "canaries" => return (self.canaries > 0).then_some(Unit::Rate),
            "identity_ties" => return (self.method.identity_pairs() > 0).then_some(Unit::Rate),
            "self_preference" => return (self.judges.len() > 1).then_some(Unit::Rate),
            "stability" => return (self.samples > 1).then_some(Unit::Rate),
            "length_correlation" => return self.has_worths().then_some(Unit::Rate),
            _ => {}
        }
        if self.human.is_some() {
            if HUMAN_VALUES.contains(&value) {
                return Some(Unit::Rate);
            }
            if let Some(raw) = value.strip_suffix(".corrected").filter(|raw| self.is_correctable(raw)) {
                return known(raw);
            }
        }
        if let Some(raw) = value.strip_suffix(".of_ceiling").filter(|_| self.has_worths() && self.lineage.has_ceiling())
        {
            return known(raw).map(|_| Unit::Rate);
        }
        if self.method.is_all_pairs()
            && let Some((model, own)) = value.split_once('.')
            && self.model_names.iter().any(|name| name == model)
        {
            let is_other = |own: &str| {
                own.strip_prefix("beats.").is_some_and(|other| self.model_names.iter().any(|name| name == other))
            };
            return match own {
                "win_rate" | "elo" => known(own),
                _ if is_other(own) => Some(Unit::Rate),
                _ => None,
            };
        }
        known(value)
    }

    /// Returns the names of values that are known before a run, for suggestions.
    pub fn value_names(&self) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for (name, _) in self.method.values() {
            values.push(name.clone());
            if self.is_correctable(&name) {
                values.push(format!("{name}.corrected"));
            }
        }
        if self.method.is_all_pairs() {
            values.extend(self.model_names.iter().map(|name| format!("beats.{name}")));
        }
        values.extend(HUMAN_VALUES.iter().filter(|_| self.human.is_some()).map(|name| (*name).to_owned()));
        for (name, is_there) in [
            ("length_correlation", self.has_worths()),
            ("stability", self.samples > 1),
            ("self_preference", self.judges.len() > 1),
            ("canaries", self.canaries > 0),
            ("identity_ties", self.method.identity_pairs() > 0),
            ("coverage", true),
        ] {
            values.extend(is_there.then(|| name.to_owned()));
        }
        values
    }
}
