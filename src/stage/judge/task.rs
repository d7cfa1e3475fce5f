//! Tasks: what is to be judged, and the judgement that came of it.

use std::sync::Arc;

use crate::digest::Digest;
use crate::row::Judgement;
use crate::stage::join::Joined;
use crate::stage::judge::evidence::canary::Canary;

/// Why something is judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Purpose {
    /// It belongs to a row of the node.
    Row,
    /// People labelled these texts, and the models say something else now.
    Labelled,
    Canary(Canary),
}

/// A text that is to be judged.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    /// What a model said; 0 is the node's own model, 1 the baseline.
    Of {
        contestant: usize,
        sample: usize,
    },
    Own(String),
}

/// One judgement that is to be made.
#[derive(Clone)]
pub(crate) struct Task {
    pub joined: Arc<Joined>,
    pub first: Text,
    /// In a comparison: the second text.
    pub second: Option<Text>,
    pub sample: u32,
    /// Where all pairs are compared: which two models.
    pub pair: Option<[u32; 2]>,
    pub purpose: Purpose,
    /// The judgement of an earlier result, if nothing that it depends on has changed.
    pub kept: Option<Arc<Judgement>>,
}

/// A judgement, with the task that led to it.
pub(crate) struct Judged {
    pub judgement: Judgement,
    pub purpose: Purpose,
    /// The error message, if a call failed.
    pub failure: Option<String>,
    /// How many characters the judged text has.
    pub length: usize,
    pub baseline_length: usize,
    /// The digest of the judged texts, if the row has labels.
    pub texts: Option<Digest>,
    /// `truncate_candidates` left characters out.
    pub is_cut: bool,
}
