//! Records: runs as documents under `runs/`, small, uniquely named, made to be committed.
//!
//! A run describes itself: beside its numbers stand how each of them reads ([`Reading`]), what role each model plays
//! and which stages there are, in their order. So it can be tabled, compared and reported where the spec has moved on
//! or is not at hand.
//!
//! | file | holds |
//! |---|---|
//! | `run` | the document: a [`Run`] with its nodes, numbers and gates |
//! | `read` | from bytes to a run: versions, and why a file is none |
//! | `file` | finding, reading and writing the files |
//!
//! **Invariant:** fields are added, never renamed: what an older etalon wrote is read; what a newer one wrote is an
//! error that says so. A file that is no run is named, never passed over in silence.
//!
//! [`Reading`]: crate::score::Reading

mod file;
mod read;
mod run;

pub use file::{Missing, Records, RunId, Unread};
pub use read::{ReadError, VERSION, read};
pub use run::{
    GateResult, GateVerdict, NodeDrift, NodeOutcome, NodeRun, NodeSummary, Run, RunModel, RunStage, SummaryTable,
};
