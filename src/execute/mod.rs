//! Execution: Plan × Store → events and a [`Run`].
//!
//! ```text
//! Session       what one run knows: identities of models, digests of files, desks
//!   ├─ run      nodes as their inputs become ready: fingerprint → lookup → stage.run → publish
//!   └─ forecast the same with desks that never buy: what would run, why, how many calls
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `session` | fingerprints, lookups, desks |
//! | `run` `forecast` | the two ways through a plan |
//! | `look` | from inputs to a key, and to a hit or the reason of a miss |
//! | `make` | a node that is a miss is made and published |
//! | `reason` `why` | why a node is a miss: in words, and down to the line |
//! | `gates` | verdicts on gates |
//! | `contrast` | shares of the ceiling; drift of judges |
//! | `record` | what a run says of itself |
//! | `labels` | rows for people to label |
//! | `rows` | a node's rows with everything that led to them |
//!
//! **Invariant:** `plan` and `run` complete a fingerprint by the same function, so what is a hit in
//! one is a hit in the other.
//!
//! [`Run`]: crate::record::Run

mod contrast;
mod forecast;
mod gates;
mod labels;
mod look;
mod make;
mod reason;
mod record;
mod rows;
mod run;
mod session;
mod why;

use std::sync::Arc;

pub use forecast::{Forecast, State, forecast};
pub use labels::{Stratum, items as label_items};
pub use look::MissReason;
pub use reason::Ids;
pub use record::summarize;
pub use rows::{Found, RowResult, ShownRow, each_row, find_rows};
pub use run::run;
pub use session::Session;
pub use why::{Difference, Why, why};

use crate::record::{NodeRun, Records};
use crate::stage::Progress;
use crate::store::StoreError;

/// What the user asked of a run.
#[derive(Clone, Default)]
pub struct Options {
    /// Stage or node to run, with what it needs.
    pub only: Option<String>,
    /// Stage or node to buy anew.
    pub refresh: Vec<String>,
    /// Rows per dataset, after sampling.
    pub limit: Option<u64>,
    pub label: Option<String>,
    pub is_offline: bool,
    /// The runs that reasons are told against; those of the workspace unless given. Whoever gives them can say which
    /// files were no runs.
    pub records: Option<Arc<Records>>,
}

impl Options {
    /// Returns true for a run that does not stand for the whole pipeline.
    pub fn is_partial(&self) -> bool {
        self.only.is_some() || self.limit.is_some()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The command line names something that is not there.
    #[error("{message}")]
    Usage { message: String, help: Option<String> },
}

/// What execution tells while it goes on.
#[derive(Clone)]
pub enum Event {
    Started {
        run: String,
        nodes: usize,
    },
    NodeStarted {
        node: String,
        kind: &'static str,
        reason: String,
        progress: Arc<Progress>,
    },
    /// Another process makes the same node.
    NodeWaiting {
        node: String,
    },
    NodeFinished(Box<NodeRun>),
}

/// Whoever listens.
pub type Listener = Arc<dyn Fn(Event) + Send + Sync>;
