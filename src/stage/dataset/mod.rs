//! `dataset`: rows with stable ids, from files, from the spec or from a program; sorted by id.
//!
//! ```text
//! source → records → shape (rename, derive, require, where, id, split)
//!        → dedupe, leakage → sample → sorted → artifact
//! ```
//!
//! Records are parsed and shaped on all cores, a batch at a time, and stay in order.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the settings of the stage, checked |
//! | `node` `produce` `scan` | the stage in the graph; how its rows are made; its first rows, for checks |
//! | `source` | where records come from: files, the spec, a program, the hub |
//! | `shape` `types` | from a record to a row; types of columns |
//! | `quality` | duplicates, and rows of the training data |
//! | `sample` `diverse` | which rows are used |

mod diverse;
mod node;
mod produce;
mod quality;
mod sample;
mod scan;
mod settings;
mod shape;
mod source;
mod types;

pub(super) use quality::LEAKAGE;
pub use sample::quotas;
pub(super) use settings::{Settings, parse};
