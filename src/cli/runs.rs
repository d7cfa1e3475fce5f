//! `etalon runs`.

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use super::{Format, Global, open, print, talk};
use crate::record::{Records, Run};
use crate::report;
use crate::spec::Workspace;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon runs\n  etalon runs ab --limit 5")]
pub(super) struct RunsArgs {
    /// List the runs of this pipeline only, by its name
    pipeline: Option<String>,
    /// List at most N runs, the newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// List runs that `--only` or `--limit` cut, too
    #[arg(long)]
    all: bool,
}

pub(super) fn run(global: &Global, arguments: &RunsArgs) -> Result<u8, Exit> {
    let root = Workspace::open(global.workspace.as_deref())?.root;
    let records = match &arguments.pipeline {
        Some(pipeline) => Records::new(&root, &open::pipeline_name(pipeline)),
        None => Records::all(&root),
    };
    let meant: Vec<&Run> = records.runs().iter().filter(|run| arguments.all || !run.partial).collect();
    open::warn_unread(&records);
    let shown = &meant[..meant.len().min(arguments.limit)];
    match global.format {
        Format::Text if shown.is_empty() => talk("no run is kept under runs/: `etalon run` writes them"),
        Format::Text => {
            print(&report::runs(shown));
            if shown.len() < meant.len() {
                talk(&format!("… and {} more: --limit", meant.len() - shown.len()));
            }
        }
        Format::Json => {
            let line = |run: &&Run| {
                json!({
                    "run": run.run, "pipeline": run.pipeline, "label": run.label, "started": run.started,
                    "commit": run.commit, "params": run.params, "partial": run.partial,
                    "interrupted": run.interrupted, "failed": run.has_failed(), "seconds": run.seconds,
                    "calls": run.nodes.iter().map(|node| node.calls).sum::<u64>(), "summary": run.summary,
                    "gates": run.gates,
                })
            };
            let lines: Vec<_> = shown.iter().map(line).collect();
            print(&json!({ "etalon": 1, "runs": lines, "more": meant.len() - shown.len() }).to_string());
        }
    }
    Ok(exit::OK)
}
