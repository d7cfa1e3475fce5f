//! `etalon history`.

use clap::Args;

use super::exit::{self, Exit};
use super::sessions::Sessions;
use super::{Format, Global, open, print, talk};
use crate::compare::{self, Margin, Side, Terms};
use crate::record::{Records, Run};
use crate::report;
use crate::spec::Workspace;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon history ab\n  etalon history ab --limit 10 --value exact_match")]
pub(super) struct HistoryArgs {
    /// The pipeline, by its name
    pipeline: String,
    /// Look at the last N runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Show values whose name holds this only
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// The largest difference that counts as none: a share of the value's range, or of the value before, such as 5%
    /// [default: 0.02, and 5% of times, costs and lengths]
    #[arg(long, value_name = "D")]
    margin: Option<Margin>,
}

pub(super) fn run(global: &Global, arguments: &HistoryArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    let pipeline = open::pipeline_name(&arguments.pipeline);
    let records = Records::new(&workspace.root, &pipeline);
    let is_whole = |run: &&Run| !run.partial && !run.interrupted && !run.has_failed();
    let mut runs: Vec<&Run> = records.runs().iter().filter(is_whole).take(arguments.limit as usize).collect();
    open::warn_unread(&records);
    if runs.is_empty() {
        let help = format!("etalon run {pipeline} keeps one under runs/; `etalon runs` lists those of all pipelines");
        return Err(Exit::usage(format!("no whole run of {pipeline} is kept"), Some(help)));
    }
    runs.reverse();
    let mut sessions = Sessions::new(&workspace);
    let side = |run: &Run| Side { scores: sessions.scores(&records, run), run: run.clone(), model: None };
    let sides: Vec<Side> = runs.into_iter().map(side).collect();
    let terms = Terms { margin: arguments.margin, ..Terms::default() };
    let mut found = compare::history(&pipeline, &sides, &terms);
    if let Some(wanted) = &arguments.value {
        found.trails.retain(|trail| trail.name().contains(wanted.as_str()));
        if found.trails.is_empty() {
            talk(&format!("no headline of {pipeline} has {wanted} in its name"));
        }
    }
    match global.format {
        Format::Text => print(&report::history(&found)),
        Format::Json => {
            let mut document = serde_json::to_value(&found).expect("histories serialise");
            document["etalon"] = 1.into();
            print(&document.to_string());
        }
    }
    Ok(exit::OK)
}
