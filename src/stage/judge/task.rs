//! What is to be judged, and what came of it.

use std::sync::Arc;

use crate::digest::Digest;
use crate::row::Judgement;
use crate::stage::join::Joined;
use crate::stage::judge::evidence::canary::Canary;

/// Why something is judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Purpose {
    /// It is a row of the node.
    Row,
    /// People labelled these very texts, which are no longer what the models say.
    Labelled,
    Canary(Canary),
}

/// A text to be judged.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    /// What a model said: the node's own is 0, the baseline's 1.
    Of {
        contestant: usize,
        sample: usize,
    },
    Own(String),
}

/// One judgement to be made.
#[derive(Clone)]
pub(crate) struct Task {
    pub joined: Arc<Joined>,
    pub first: Text,
    /// For comparisons.
    pub second: Option<Text>,
    pub sample: u32,
    /// Of all pairs: which models.
    pub pair: Option<[u32; 2]>,
    pub purpose: Purpose,
    /// The judgement of an earlier result, where nothing that it depends on changed.
    pub kept: Option<Arc<Judgement>>,
}

/// A judgement with what led to it.
pub(crate) struct Judged {
    pub judgement: Judgement,
    pub purpose: Purpose,
    /// The message of a call that failed.
    pub failure: Option<String>,
    /// Characters of what was judged.
    pub length: usize,
    pub baseline_length: usize,
    /// Of the texts, where the row has labels.
    pub texts: Option<Digest>,
    /// Characters were left out.
    pub is_cut: bool,
}
