//! `dataset`: rows with stable ids, from files, from the spec or from a program; sorted by id.
//!
//! ```text
//! source → records → shape (rename, derive, require, where, id, split)
//!        → dedupe, leakage → sample → sorted → artifact
//! ```
//!
//! Records are parsed and shaped on all cores, a batch at a time, and stay in order.

mod diverse;
mod node;
mod produce;
mod quality;
mod sample;
mod scan;
mod settings;
mod shape;
mod source;

pub(super) use quality::LEAKAGE;
pub use sample::quotas;
pub(super) use settings::{Settings, parse};
