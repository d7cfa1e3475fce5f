//! How far models lie from the baseline of their stage, row by row: what a table shows beside their values.

use super::pairs::paired;
use super::session::Session;
use crate::problem::Place;
use crate::record::{Delta, Run};
use crate::score::{Direction, Estimate, Rank};
use crate::spec::{Gate, Role};
use crate::store::Manifest;

/// Adds to a run, for each model beside a baseline, the difference of each value that is a mean over rows. Like the gates
/// that compare two models, they are kept in the cache, so that a run with nothing to do touches no row.
pub(super) fn add_deltas(session: &Session, manifests: &[Option<Manifest>], run: &mut Run) {
    let plan = &session.plan;
    let place = Place::start_of(&plan.spec.source);
    for node in &plan.nodes {
        let Some(model) = node.model.as_deref().filter(|model| plan.role(model) != Some(Role::Baseline)) else {
            continue;
        };
        // Where several stages stand side by side, a model is held against the baseline that answered in its own.
        let stage_of = |model: &str| model.split_once('.').map(|(stage, _)| stage.to_owned());
        let is_baseline = |other: &&crate::plan::Node| {
            let is_of_role =
                |other: &str| plan.role(other) == Some(Role::Baseline) && stage_of(other) == stage_of(model);
            other.stage_name == node.stage_name && other.model.as_deref().is_some_and(is_of_role)
        };
        let Some(baseline) = plan.nodes.iter().find(is_baseline).and_then(|other| other.model.as_deref()) else {
            continue;
        };
        let Some(readings) = run.values.get(&node.stage_name) else { continue };
        let is_meant = |rank: Rank, direction: Direction| rank <= Rank::Detail && direction != Direction::Neither;
        let names = readings.iter().filter(|(_, reading)| is_meant(reading.rank, reading.direction));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            let path = |model: &str| format!("{}.{model}.{name}", node.stage_name);
            let Some(gate) = Gate::between(&path(model), &path(baseline), &place) else { continue };
            let Some(found) = paired(session, manifests, run, &gate, &|_| None) else { continue };
            let end = |end: f64| Some(end).filter(|end| end.abs() < f64::MAX);
            let difference = Estimate {
                value: Some(found.difference.value),
                low: end(found.worst.low),
                high: end(found.worst.high),
                n: found.n,
                missing: found.missing,
            };
            let models = run.deltas.entry(node.stage_name.clone()).or_default();
            let values = models.entry(model.to_owned()).or_default();
            values.insert(name, Delta { against: baseline.to_owned(), difference, p: found.p });
        }
    }
}
