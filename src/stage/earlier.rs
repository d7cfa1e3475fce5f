//! Earlier results of a node, whose unchanged rows are taken over.
//!
//! When a node is made anew because some rows of its inputs changed, it takes the result of every other row from its
//! last result: those rows are neither rendered nor looked up again. The bytes are the same either way, for two
//! reasons: the result of a row depends on the records of that row alone (a stage takes nothing over where it does
//! not: `Metric::is_by_row`), and the earlier result was made in the same way (`Fingerprint::is_made_alike`).
//!
//! ```text
//! earlier result   a b c d e        what changed in its inputs: c, and f is new
//! made now             c     f
//! result           a b c d e f
//! ```

use std::sync::Arc;

use super::{Inputs, Part};
use crate::store::{Changed, Changes, Manifest, Store};

/// An earlier result of a node, with the inputs from which it was made.
#[derive(Clone)]
pub struct Earlier {
    pub manifest: Manifest,
    pub inputs: Inputs,
    /// Shared by the nodes of a run, so that the same two artifacts are compared once.
    pub changes: Arc<Changes>,
}

impl Earlier {
    /// Returns which rows of an input have changed since. None if too many did, or if it cannot be told.
    pub(super) fn changed(&self, store: &Store, inputs: &Inputs, part: Part) -> Option<Arc<Changed>> {
        self.changes.between(store, &self.inputs.get(&part)?.artifact, &inputs.get(&part)?.artifact)
    }
}
