//! What a node or a run bought.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What a node or a run bought, in calls and dollars. Dollars are none where no price or no usage is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bill {
    /// Requests that were sent, those that were sent again included.
    pub sent: u64,
    /// Requests that a server refused, because there were too many.
    pub refused: u64,
    /// Answers that came.
    pub answered: u64,
    /// Answers whose record is in the completion log.
    pub kept: u64,
    /// Answers that came and were of no use: without anything in them, or verdicts that could not be read.
    pub useless: u64,
    /// Paid calls whose price is not known, because the server did not tell their tokens.
    pub unpriced: u64,
    /// What all calls cost, the useless ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bought_usd: Option<f64>,
    /// What the useless answers cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wasted_usd: Option<f64>,
    /// What the completions that came from the log would cost today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused_usd: Option<f64>,
}

impl Bill {
    /// Returns true if nothing was sent and nothing of a known price came from the log.
    pub fn is_empty(&self) -> bool {
        *self == Bill::default()
    }
}

impl AddAssign for Bill {
    fn add_assign(&mut self, other: Bill) {
        let add = |sum: &mut Option<f64>, more: Option<f64>| *sum = sum.zip(more).map(|(a, b)| a + b).or(*sum).or(more);
        self.sent += other.sent;
        self.refused += other.refused;
        self.answered += other.answered;
        self.kept += other.kept;
        self.useless += other.useless;
        self.unpriced += other.unpriced;
        add(&mut self.bought_usd, other.bought_usd);
        add(&mut self.wasted_usd, other.wasted_usd);
        add(&mut self.reused_usd, other.reused_usd);
    }
}
