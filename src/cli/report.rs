//! `etalon report`.

use clap::Args;

use super::exit::{self, Exit};
use super::{Format, Global, Volume, open, print, width};
use crate::record::Records;
use crate::report::{self, View};
use crate::spec::Workspace;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon report\n  etalon report last~1")]
pub(super) struct ReportArgs {
    /// The run: its id or the beginning of it, its label, `last` or `last~1`
    #[arg(default_value = "last")]
    run: String,
    /// Look at the runs of this pipeline only
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &ReportArgs) -> Result<u8, Exit> {
    let root = Workspace::open(global.workspace.as_deref())?.root;
    let records = match &arguments.pipeline {
        Some(pipeline) => Records::new(&root, pipeline),
        None => Records::all(&root),
    };
    let run = open::run(&records, &arguments.run)?;
    open::warn_unread(&records);
    let is_verbose = global.volume() == Volume::Verbose;
    match global.format {
        Format::Text => print(&report::report(&View::of(&run), width(), is_verbose)),
        Format::Json => print(&serde_json::to_string(&run).expect("runs serialise")),
    }
    Ok(exit::OK)
}
