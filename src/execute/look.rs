//! The look: from a node's inputs to its key, and from the key to the stored result, or to the reason why it must be
//! made.
//!
//! ```text
//! fingerprint → key → refreshed? → lookup ─┬─ whole: hit
//!                                          └─ absent, damaged, rows failed: miss, with its reason
//! ```
//!
//! Runs, plans and `show` all look in this way, so that a hit in one of them is a hit in the others.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::reason::changes_since;
use super::session::Session;
use crate::digest::Digest;
use crate::stage::{Inputs, Part, StageError};
use crate::store::{Fingerprint, Lookup, Manifest, Store};

/// Why a node must be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum MissReason {
    /// No run had the node.
    FirstRun,
    /// A run had it, and the cache does not keep its result any more.
    NotKept,
    /// The user asked to buy it anew.
    Refreshed,
    /// The user asked to record what its models say.
    Recorded,
    /// Some of its calls failed the last time; `rows` is how many rows have no result.
    FailedBefore { rows: u64 },
    /// What was stored cannot be used.
    Damaged { what: String },
    /// Something that it depends on has changed; each change in words.
    Changed { changes: Vec<String> },
    /// Nodes that it depends on must be made first.
    DependsOn { nodes: Vec<String> },
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MissReason::FirstRun => f.write_str("first run"),
            MissReason::NotKept => f.write_str("no longer in the cache"),
            MissReason::Refreshed => f.write_str("refreshed"),
            MissReason::Recorded => f.write_str("recorded"),
            MissReason::FailedBefore { rows: 1 } => f.write_str("1 row failed before"),
            MissReason::FailedBefore { rows } => write!(f, "{rows} rows failed before"),
            MissReason::Damaged { what } => f.write_str(what),
            MissReason::Changed { changes } => match changes.len() {
                0 => f.write_str("changed"),
                1..=3 => f.write_str(&changes.join(", ")),
                n => write!(f, "{}, and {} more changes", changes[..3].join(", "), n - 3),
            },
            MissReason::DependsOn { nodes } => write!(f, "depends on {}", nodes.join(", ")),
        }
    }
}

/// What a look found.
pub(super) enum Look {
    Hit(Box<Manifest>),
    Miss { key: Digest, reason: MissReason },
}

/// Looks a node up; all its inputs exist.
///
/// With `counts_rows`, a changed dataset is read along with the earlier one, to say how many rows changed. Only plans
/// ask for that, since it takes time.
pub(super) fn look(session: &Session, index: usize, inputs: &Inputs, counts_rows: bool) -> Result<Look, StageError> {
    let fingerprint = session.fingerprint(index, inputs)?;
    let key = fingerprint.key();
    if session.is_refreshed(index) {
        return Ok(Look::Miss { key, reason: MissReason::Refreshed });
    }
    if session.options.recorder.is_some() && !session.plan.nodes[index].callees.is_empty() {
        return Ok(Look::Miss { key, reason: MissReason::Recorded });
    }
    let reason = match session.store.lookup(&key) {
        Lookup::Hit(manifest) if manifest.counts.failed == 0 => return Ok(Look::Hit(manifest)),
        Lookup::Hit(manifest) => MissReason::FailedBefore { rows: manifest.counts.failed },
        Lookup::Damaged(what) => MissReason::Damaged { what },
        Lookup::Absent => why_absent(session, index, &fingerprint, inputs, counts_rows),
    };
    Ok(Look::Miss { key, reason })
}

/// Returns why a node is not in the store, as the difference to the last run that had it.
pub(super) fn why_absent(
    session: &Session,
    index: usize,
    fingerprint: &Fingerprint,
    inputs: &Inputs,
    counts_rows: bool,
) -> MissReason {
    let node = &session.plan.nodes[index];
    let Some(earlier) = session.records().last_key(&node.name) else {
        return MissReason::FirstRun;
    };
    match session.store.recall(&earlier).filter(|_| earlier != fingerprint.key()) {
        Some(manifest) => {
            MissReason::Changed { changes: changes_since(session, &manifest, node, fingerprint, inputs, counts_rows) }
        }
        None => MissReason::NotKept,
    }
}

/// Finds the input whose artifact has the digest and is damaged, and removes its manifest, so that its key is a miss.
/// The next node that needs it has it made again, from completions that are in the log.
pub(super) fn heal(store: &Store, inputs: &Inputs, digest: Digest) -> Option<Part> {
    let (part, manifest) = inputs.iter().find(|(_, manifest)| manifest.holds(&digest))?;
    store.forget(&manifest.key);
    Some(*part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_words_and_are_kept_as_names() {
        let changes = |n: usize| (0..n).map(|number| format!("c{number} changed")).collect::<Vec<_>>();
        for (reason, words, name) in [
            (MissReason::FirstRun, "first run", "first_run"),
            (MissReason::NotKept, "no longer in the cache", "not_kept"),
            (MissReason::FailedBefore { rows: 1 }, "1 row failed before", "failed_before"),
            (MissReason::FailedBefore { rows: 3 }, "3 rows failed before", "failed_before"),
            (MissReason::Changed { changes: changes(2) }, "c0 changed, c1 changed", "changed"),
            (
                MissReason::Changed { changes: changes(5) },
                "c0 changed, c1 changed, c2 changed, and 2 more changes",
                "changed",
            ),
            (
                MissReason::DependsOn { nodes: vec!["answers.tuned".to_owned()] },
                "depends on answers.tuned",
                "depends_on",
            ),
        ] {
            assert_eq!(reason.to_string(), words);
            let document = serde_json::to_value(&reason).unwrap();
            assert_eq!(document["why"], name);
            assert_eq!(serde_json::from_value::<MissReason>(document).unwrap(), reason);
        }
    }
}
