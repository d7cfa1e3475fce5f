//! etalon tells teams who fine-tune language models whether the new model is really better.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod dataset;
pub mod digest;
pub mod execute;
pub mod metric;
pub mod plan;
pub mod problem;
pub mod provider;
pub mod report;
pub mod row;
pub mod score;
pub mod spec;
pub mod stage;
pub mod stats;
pub mod store;
pub mod template;
