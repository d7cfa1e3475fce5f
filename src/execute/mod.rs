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
//! | `consent` | programs that a run would start, and whether the user has said that they may |
//! | `models` | identities of models, what servers say of themselves |
//! | `run` `forecast` | the two ways through a plan |
//! | `look` | from inputs to a key, and to a hit or the reason of a miss |
//! | `make` | a stage is run, for a plan as for a run; what a run makes is published |
//! | `reason` `why` | why a node is a miss: in words, and down to the line |
//! | `gates` `pairs` | verdicts on gates; two values compared row by row |
//! | `deltas` | how far models lie from the baseline, row by row |
//! | `contrast` | values in comparison with other nodes: shares of the ceiling, preferences; drift of judges |
//! | `record` | what a run's record says of nodes, models and stages |
//! | `labels` | which rows people should label |
//! | `rows` `scores` | a node's rows with everything that led to them; the scores of a run, row by row |
//!
//! **Invariant:** `plan` and `run` complete a fingerprint by the same function, so that a hit in
//! one is a hit in the other.
//!
//! [`Run`]: crate::record::Run

mod consent;
mod contrast;
mod deltas;
mod forecast;
mod gates;
mod labels;
mod look;
mod make;
mod models;
mod pairs;
mod reason;
mod record;
mod rows;
mod run;
mod scores;
mod session;
mod why;

use std::sync::Arc;

pub use consent::Started;
pub use forecast::{Forecast, State, forecast};
pub use labels::{Stratum, items as label_items};
pub use look::MissReason;
pub use reason::Ids;
pub use record::summarize;
pub use rows::{Found, RowResult, ShownRow, each_row, find_rows, rows_of_run, verify_rows};
pub use run::run;
pub use scores::run_scores;
pub use session::Session;
pub use why::{Difference, Why, why};

use crate::problem::Problem;
use crate::record::{NodeRun, Records};
use crate::stage::{Progress, Recorder};
use crate::store::StoreError;

/// What the user asked of a run.
#[derive(Clone, Default)]
pub struct Options {
    /// The stage or node to run, with everything that it needs.
    pub only: Option<String>,
    /// Stage or node to buy anew.
    pub refresh: Vec<String>,
    /// At most so many rows of each dataset, after sampling.
    pub limit: Option<u64>,
    pub label: Option<String>,
    pub is_offline: bool,
    /// Dollars that the run may cost.
    pub budget_usd: Option<f64>,
    /// Where what the models say is recorded, besides; everything is asked then, from the log where it is there.
    pub recorder: Option<Arc<Recorder>>,
    /// The first failure ends the run.
    pub is_fail_fast: bool,
    /// The runs with which reasons compare; by default those of the workspace. A caller that passes its own can report
    /// afterwards which files could not be read as runs.
    pub records: Option<Arc<Records>>,
}

impl Options {
    /// Returns true for a run that does not cover the whole pipeline with all its rows.
    pub fn is_partial(&self) -> bool {
        self.only.is_some() || self.limit.is_some()
    }
}

/// Why a plan or a run failed as a whole. The failure of a single node is not such an error: it stands in the run.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The pipeline would start programs to which the user has not consented.
    #[error("programs need consent")]
    Unconsented(Vec<Problem>),
    /// The command line names something that does not exist.
    #[error("{message}")]
    Usage { message: String, help: Option<String> },
}

/// What execution reports while it goes on.
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
    /// Another process makes the same node, or buys from the same model; this one waits.
    NodeWaiting {
        node: String,
        /// For whom.
        why: String,
    },
    NodeFinished(Box<NodeRun>),
}

/// Whoever wants to hear of events. It may be called from several threads.
pub type Listener = Arc<dyn Fn(Event) + Send + Sync>;
