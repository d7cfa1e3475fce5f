//! Labels: what people said about rows, pairs and criteria.
//!
//! ```text
//! judged rows → sheet (texts, no names) + key (what each item is) → people → labels/STAGE.jsonl → judge
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `line` | one label, as files have it |
//! | `item` | what a label and a line of a sheet are about, by digest |
//! | `file` | files of labels: read, merged, written |
//! | `sheet` | what people are shown, and what their answers mean |
//!
//! **Invariant:** a label carries the texts that people saw, so that it stays true whatever the models say later.

mod file;
mod item;
mod line;
mod sheet;

pub use file::{LabelFile, Merged, read_labels};
pub use line::LabelLine;
pub use sheet::{Item, Key, Sheet, labels_of};
