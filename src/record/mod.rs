//! Records: runs as documents under `runs/`, small, uniquely named, made to be committed.
//!
//! A run describes itself: beside its numbers it holds how each of them is to be read ([`Reading`]), which role each
//! model plays, and which stages there are, in order. So it can be tabled, compared and reported when the spec has
//! changed or is not at hand.
//!
//! | file | holds |
//! |---|---|
//! | `bill` | what a node bought, in calls and dollars |
//! | `run` | the document: a [`Run`] with its nodes, numbers and gates |
//! | `read` | from bytes to a run: which versions are read, and why a file is not a run |
//! | `file` | finding, reading and writing the files |
//! | `scores` | the scores row by row, beside a run: what two runs are compared by |
//! | `git` | which commit a workspace stands at |
//!
//! **Invariant:** fields are added, never renamed. A run that an older etalon wrote can be read; one that a newer
//! etalon wrote is an error that says so. A file that is not a run is named to the user, never ignored in silence.
//!
//! [`Reading`]: crate::score::Reading

mod bill;
mod file;
mod git;
mod read;
mod run;
mod scores;

pub use bill::Bill;
pub use file::{Missing, Records, RunId, Unread, label_problem};
pub use git::commit;
pub use read::{ReadError, VERSION, read};
pub use run::{
    Delta, GateResult, GateVerdict, NodeDrift, NodeOutcome, NodeRun, NodeSummary, Run, RunHead, RunModel, RunStage,
    StageDeltas, SummaryTable,
};
pub use scores::{MOST_BYTES, RunScores, ScoredRows, ValueScores};
