//! `metric`: scores computed from completions, summed up over rows.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | what is written, read |
//! | `measure` | the metrics of a stage, with their settings and templates |
//! | `node` | the stage in the graph: key, run, values |
//! | `scoring` | from rows with completions to scores and their summary |
//! | `kept` | scores of rows that did not change |
//! | `extract` | what its templates take out, for people |
//! | `shared` | two models on the rows that both have |
//! | `file` | the same over a file of predictions, without a pipeline |

mod extract;
mod file;
mod kept;
mod measure;
mod node;
mod scoring;
mod settings;
mod shared;

pub use file::{FileScores, ScoreError, ScoreFile, score_file};
pub(super) use settings::{Settings, parse};
