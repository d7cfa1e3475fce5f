//! `etalon labels`: sheets for people to fill in, and their labels read back.
//!
//! | file | holds |
//! |---|---|
//! | `export` `import` | the two subcommands |
//! | `files` | the files of keys and labels on disk |

mod export;
mod files;
mod import;

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::show::selected;
use super::{Format, Global, Sets, open, print, runtime, talk};
use crate::label::Sheet;
use crate::plan::Plan;

#[derive(Args)]
pub(super) struct LabelsArgs {
    #[command(subcommand)]
    command: LabelsCommand,
}

#[derive(Subcommand)]
enum LabelsCommand {
    /// Write a blind sheet of judged rows for people to label
    Export(export::ExportArgs),
    /// Read a sheet back into the labels of a stage
    Import(import::ImportArgs),
}

pub(super) fn run(global: &Global, arguments: &LabelsArgs) -> Result<u8, Exit> {
    match &arguments.command {
        LabelsCommand::Export(arguments) => export::run(global, arguments),
        LabelsCommand::Import(arguments) => import::run(global, arguments),
    }
}

/// Returns the stage's name and what people are asked about its rows.
fn sheet_of(plan: &Plan, stage: &str) -> Result<(String, Sheet), Exit> {
    let name = stage.split('.').next().unwrap_or(stage).to_owned();
    let node = selected(plan, stage, None)?.first().map(|index| &plan.nodes[*index]);
    match node.and_then(|node| node.stage.sheet()) {
        Some(sheet) => Ok((name, sheet)),
        None => Err(Exit::usage(format!("{name} is no judge stage: there is nothing to hold labels against"), None)),
    }
}
