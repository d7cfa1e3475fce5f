//! What nodes say in comparison with others: shares of the ceiling, preferences of judges, and drift since the last
//! run.
//!
//! Shares and preferences are kept in the cache, under a key made from both nodes, so that a run with nothing to do
//! touches no row. Drift depends on which run came before, so it is kept in the run's own record only.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::json;

use super::session::Session;
use crate::digest::Digest;
use crate::record::{NodeDrift, NodeOutcome, Run};
use crate::score::Estimate;
use crate::spec::Role;
use crate::stage::{Contrast, StageError};
use crate::store::{Manifest, StoreError};

/// Bumped when the kept values change their meaning.
const REVISION: u32 = 5;

/// Adds to each node of a run the values that it has in comparison with the ceiling and the baseline of its stage.
pub(super) fn add_contrasts(session: &Session, manifests: &[Option<Manifest>], run: &mut Run) {
    let plan = &session.plan;
    for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.stage.has_contrasts()) {
        let (Some(own), Some(model)) = (&manifests[index], node.model.as_deref()) else { continue };
        let of_role = |role: Role| {
            let is_meant = |other: &crate::plan::Node| {
                let is_other = other.stage_name == node.stage_name && other.name != node.name;
                is_other && other.model.as_deref().is_some_and(|model| plan.role(model) == Some(role))
            };
            let found = plan.nodes.iter().position(is_meant)?;
            Some((plan.nodes[found].model.as_deref()?, manifests[found].as_ref()?))
        };
        for role in [Role::Ceiling, Role::Baseline] {
            let Some((other_model, other)) = of_role(role) else { continue };
            let contrast = Contrast { model, own, other_model, other, is_ceiling: role == Role::Ceiling };
            let said = match contrasted(session, index, &contrast) {
                Ok(said) => said,
                Err(error) => {
                    // The damaged artifact's manifest is removed, so the next run makes it again from completions in
                    // the log, without a call.
                    if let StageError::Store(StoreError::Corrupt { digest, .. }) = error {
                        let damaged = [own, other].into_iter().filter(|manifest| manifest.artifact.digest == digest);
                        damaged.for_each(|manifest| session.store.forget(&manifest.key));
                    }
                    continue;
                }
            };
            let values = run.summary.get_mut(&node.stage_name).and_then(|stage| stage.get_mut(node.column()));
            if let Some(values) = values {
                values.values.extend(said);
            }
        }
    }
}

/// Adds a note to each node whose values rest on other rows than those of the baseline, or of the first model if there
/// is no baseline.
pub(super) fn add_shared(session: &Session, manifests: &[Option<Manifest>], run: &mut Run) {
    let plan = &session.plan;
    for (index, node) in plan.nodes.iter().enumerate() {
        let others = || plan.nodes.iter().enumerate().filter(|(_, other)| other.stage_name == node.stage_name);
        let is_baseline = |(_, other): &(usize, &crate::plan::Node)| {
            other.model.as_deref().is_some_and(|model| plan.role(model) == Some(Role::Baseline))
        };
        let Some((place, other)) = others().find(is_baseline).or_else(|| others().next()) else { continue };
        let (Some(model), Some(other_model)) = (node.model.as_deref(), other.model.as_deref()) else { continue };
        let (Some(own), Some(other)) = (&manifests[index], &manifests[place]) else { continue };
        if place == index {
            continue;
        }
        let contrast = Contrast { model, own, other_model, other, is_ceiling: false };
        // Damage is found and mended where the rows themselves are read.
        let note = node.stage.shared_note(&session.store, &contrast).ok().flatten();
        if let (Some(note), Some(told)) = (note, run.nodes.iter_mut().find(|told| told.node == node.name)) {
            told.notes.push(note);
        }
    }
}

fn contrasted(
    session: &Session,
    index: usize,
    contrast: &Contrast<'_>,
) -> Result<IndexMap<String, Estimate>, StageError> {
    let stage = &session.plan.nodes[index].stage;
    let Contrast { own, other, is_ceiling, .. } = contrast;
    let facts = json!([
        REVISION,
        own.key,
        own.artifact.digest,
        other.key,
        other.artifact.digest,
        is_ceiling,
        stage.contrast_facts(contrast),
    ]);
    let key = Digest::of_json("etalon.contrast", &facts);
    if let Some(kept) = session.store.contrast(&key).and_then(|kept| serde_json::from_value(kept).ok()) {
        return Ok(kept);
    }
    let said = stage.contrast(&session.store, contrast)?;
    // If it cannot be kept, the next run computes it again.
    let _ = session.store.keep_contrast(&key, &serde_json::to_value(&said).expect("estimates serialise"));
    Ok(said)
}

/// Returns the drift of each node whose instrument was another one in the last run, by node name.
pub(super) fn drift(session: &Session, manifests: &[Option<Manifest>], run: &Run) -> BTreeMap<String, NodeDrift> {
    let mut found = BTreeMap::new();
    // Where all nodes are cached, an earlier run has reported the drift; then no record needs to be read.
    if run.nodes.iter().all(|node| node.outcome == NodeOutcome::Cached) {
        return found;
    }
    let records = session.records();
    for (node, manifest) in session.plan.nodes.iter().zip(manifests) {
        let Some(now) = manifest.as_ref().filter(|manifest| manifest.fingerprint.instrument.is_some()) else {
            continue;
        };
        let Some((last, key)) = records.last(&node.name) else { continue };
        let then = last.nodes.iter().find(|known| known.node == node.name).and_then(|known| known.instrument);
        if key == now.key || then.is_none() || then == now.fingerprint.instrument {
            continue;
        }
        let before = session.store.recall(&key);
        let drift = before.and_then(|before| node.stage.drift(&session.store, &before, now).ok().flatten());
        found.insert(node.name.clone(), NodeDrift { since: last.run.clone(), drift });
    }
    found
}
