//! `etalon runs`.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use super::{Format, Global, open, print, talk};
use crate::problem::suggest;
use crate::record::{Records, Run};
use crate::report;
use crate::spec::Workspace;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon runs\n  etalon runs ab --limit 5")]
pub(super) struct RunsArgs {
    /// List the runs of this pipeline only, by its name
    pipeline: Option<String>,
    /// List at most N runs, the newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
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
    let shown = &meant[..meant.len().min(arguments.limit as usize)];
    match global.format {
        Format::Text if shown.is_empty() => talk(&none_is_kept(&records, &root, arguments.pipeline.as_deref())),
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

/// Returns why no run is listed.
fn none_is_kept(records: &Records, root: &Path, pipeline: Option<&str>) -> String {
    let partial = records.runs().len();
    if partial > 0 {
        return format!("only partial runs are kept ({partial}): `--all` lists them");
    }
    let all = Records::all(root);
    let known: BTreeSet<&str> = all.runs().iter().map(|run| run.pipeline.as_str()).collect();
    match pipeline.filter(|_| !known.is_empty()) {
        Some(pipeline) => {
            let help = suggest(pipeline, "there are runs of", known).unwrap_or_default();
            format!("no run of {pipeline} is kept under runs/; {help}")
        }
        None => "no run is kept under runs/: `etalon run` writes them".to_owned(),
    }
}
