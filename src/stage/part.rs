//! Parts: the part that an input plays in a node, and the part that a called model plays in it.
//!
//! A key names inputs and models by their parts, not by the names in the spec.
//!
//! **Invariant:** the names of parts never change; a renamed part would make every stored result of its kind a miss.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::store::Manifest;

/// At most so many models can be compared with each other in one node.
pub const MAX_CONTESTANTS: u8 = 12;
/// At most so many judges can sit in a panel.
pub const MAX_JUDGES: u8 = 9;

/// The part that an input plays in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The rows of the dataset at the root.
    Rows,
    /// Completions that are judged or measured. Number 0 are those of the node's own model; where all models are
    /// compared with each other, the others follow.
    Completions(u8),
    /// The completions with which a comparison compares the node's own.
    Baseline,
    /// The completions that a prompt reads, in an inference stage that reads another inference stage.
    Draft,
}

impl Part {
    /// The node's own completions.
    pub const OWN: Part = Part::Completions(0);

    /// Returns its name in keys.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Part::Rows => "rows".into(),
            Part::Completions(0) => "completions".into(),
            Part::Completions(place) => format!("completions.{}", place + 1).into(),
            Part::Baseline => "baseline".into(),
            Part::Draft => "draft".into(),
        }
    }

    /// Returns the part that has a name in keys; none if no part has it.
    pub fn of(name: &str) -> Option<Part> {
        [Part::Rows, Part::Baseline, Part::Draft]
            .into_iter()
            .chain(Part::contestants())
            .find(|part| part.name() == name)
    }

    /// Returns the parts of all models that can be compared with each other, in order.
    pub fn contestants() -> impl Iterator<Item = Part> {
        (0..MAX_CONTESTANTS).map(Part::Completions)
    }

    /// Returns true for completions, whatever the node does with them.
    pub fn is_completions(self) -> bool {
        self != Part::Rows
    }
}

/// The part that a model plays in a node that calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callee {
    /// It answers the rows.
    Model,
    /// It judges; the number is its place in the panel, from 0.
    Judge(u8),
}

impl Callee {
    /// Returns its name in keys.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Callee::Model => "model".into(),
            Callee::Judge(0) => "judge".into(),
            Callee::Judge(place) => format!("judge.{}", place + 1).into(),
        }
    }
}

/// Upstream results by the part that they play.
pub type Inputs = BTreeMap<Part, Manifest>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_stay_what_they_are_in_keys() {
        let names: Vec<String> = [Part::Rows, Part::OWN, Part::Completions(1), Part::Completions(11), Part::Baseline]
            .map(|part| part.name().into_owned())
            .to_vec();
        assert_eq!(names, ["rows", "completions", "completions.2", "completions.12", "baseline"]);
        assert_eq!(Callee::Judge(8).name(), "judge.9");
        assert_eq!((Callee::Model.name(), Callee::Judge(0).name()), ("model".into(), "judge".into()));
    }

    #[test]
    fn every_part_is_found_by_its_name() {
        for part in Part::contestants().chain([Part::Rows, Part::Baseline, Part::Draft]) {
            assert_eq!(Part::of(&part.name()), Some(part));
        }
        assert_eq!(Part::of("completions.13"), None);
    }
}
