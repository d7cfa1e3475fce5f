//! What nodes say of each other: shares of the ceiling, and drift since the last run.
//!
//! Shares are kept in the cache under the digests of both nodes, so that a run with nothing to do touches no row.
//! Drift depends on which run came before, and belongs to the run alone.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::json;

use super::record::Records;
use super::session::Session;
use super::{NodeDrift, NodeOutcome, RunSummary};
use crate::digest::Digest;
use crate::score::Estimate;
use crate::spec::Role;
use crate::stage::StageError;
use crate::store::Manifest;

/// Bumped when what is kept changes meaning.
const REVISION: u32 = 2;

/// Adds to the nodes of a run what share of the ceiling they reach.
pub(super) fn add_shares(session: &Session, manifests: &[Option<Manifest>], run: &mut RunSummary) {
    let plan = &session.plan;
    for (index, node) in plan.nodes.iter().enumerate().filter(|(_, node)| node.stage.has_contrasts()) {
        let is_ceiling = |name: &str| plan.role(name) == Some(Role::Ceiling);
        let (Some(own), false) = (&manifests[index], node.model.as_deref().is_none_or(is_ceiling)) else {
            continue;
        };
        let ceiling = plan
            .nodes
            .iter()
            .position(|other| other.stage_name == node.stage_name && other.model.as_deref().is_some_and(is_ceiling));
        let Some(ceiling) = ceiling.and_then(|ceiling| manifests[ceiling].as_ref()) else { continue };
        let Ok(shares) = shares(session, index, own, ceiling) else { continue };
        let values = run.summary.get_mut(&node.stage_name).and_then(|stage| stage.get_mut(node.column()));
        if let Some(values) = values {
            values.values.extend(shares);
        }
    }
}

fn shares(
    session: &Session,
    index: usize,
    own: &Manifest,
    ceiling: &Manifest,
) -> Result<IndexMap<String, Estimate>, StageError> {
    let facts = json!([REVISION, own.key, own.artifact.digest, ceiling.key, ceiling.artifact.digest]);
    let key = Digest::of_json("etalon.contrast", &facts);
    if let Some(kept) = session.store.contrast(&key).and_then(|kept| serde_json::from_value(kept).ok()) {
        return Ok(kept);
    }
    let shares = session.plan.nodes[index].stage.of_ceiling(&session.store, own, ceiling)?;
    // Without it the next run computes them again.
    let _ = session.store.keep_contrast(&key, &serde_json::to_value(&shares).expect("estimates serialise"));
    Ok(shares)
}

/// Returns, by node, how those measure that had another instrument in the last run.
pub(super) fn drift(
    session: &Session,
    manifests: &[Option<Manifest>],
    run: &RunSummary,
) -> BTreeMap<String, NodeDrift> {
    let mut found = BTreeMap::new();
    // A run with nothing to do has said it before, and reads no runs.
    if run.nodes.iter().all(|node| node.outcome == NodeOutcome::Cached) {
        return found;
    }
    let records = Records::of(session);
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
