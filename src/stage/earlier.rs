//! Rows of an earlier result that did not change.
//!
//! A node that is made anew because some rows of what it reads changed takes the others over from its last result:
//! they are neither rendered nor looked up again. What a row's result depends on is the row's own records alone, and
//! the earlier result was made in the same way (`Fingerprint::is_made_alike`), so that both ways give the same bytes.
//!
//! ```text
//! earlier result   a b c d e        what changed in its inputs: c, and f is new
//! made now             c     f
//! result           a b c d e f
//! ```

use std::sync::Arc;

use super::{Inputs, Part};
use crate::store::{Changed, Changes, Manifest, Store};

/// An earlier result of a node, with what it was made of.
#[derive(Clone)]
pub struct Earlier {
    pub manifest: Manifest,
    pub inputs: Inputs,
    /// Shared by the nodes of a run, so that two artifacts are compared once.
    pub changes: Arc<Changes>,
}

impl Earlier {
    /// Returns what changed in an input since; none where that is too much to be of use.
    pub(super) fn changed(&self, store: &Store, inputs: &Inputs, part: Part) -> Option<Arc<Changed>> {
        self.changes.between(store, &self.inputs.get(&part)?.artifact, &inputs.get(&part)?.artifact)
    }
}
