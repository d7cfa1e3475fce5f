//! `etalon trust`.

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use super::{Format, Global, Sets, open, print, runtime, talk};
use crate::execute::{Options, Session, Started};
use crate::process::Launch;
use crate::spec::{Consent, Workspace};
use crate::stage::Mode;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon trust ab --list\n  etalon trust ab\n  etalon trust --workspace-is-mine")]
pub(super) struct TrustArgs {
    /// Pipeline file, or the name of one in pipelines/
    #[arg(required_unless_present = "workspace_is_mine")]
    pipeline: Option<String>,
    #[command(flatten)]
    sets: Sets,
    /// Show the programs, and change nothing
    #[arg(long)]
    list: bool,
    /// Trust this workspace as your own: whatever its pipelines become, they may start programs and read files anywhere
    #[arg(long, conflicts_with_all = ["pipeline", "list"])]
    workspace_is_mine: bool,
}

pub(super) fn run(global: &Global, arguments: &TrustArgs) -> Result<u8, Exit> {
    let Some(pipeline) = &arguments.pipeline else {
        let workspace = Workspace::open(global.workspace.as_deref())?;
        workspace.consent.trust_workspace().map_err(|error| unwritten(&workspace.consent, &error))?;
        let root = std::fs::canonicalize(&workspace.root).unwrap_or(workspace.root);
        talk(&format!("{} is yours: its pipelines may start any program and read any file", root.display()));
        return Ok(exit::OK);
    };
    let (plan, warnings) = open::plan(global, pipeline, &arguments.sets.sets)?;
    open::warn(&warnings);
    let store = open::scratch(&plan)?;
    let options = Options { is_offline: true, ..Options::default() };
    let session = runtime()?.block_on(Session::open(plan.clone(), store, options, Mode::Dry))?;
    let consent = &plan.workspace.consent;
    if global.format == Format::Text {
        print(&listed(session.launches(), consent));
    }
    if !arguments.list {
        let launches: Vec<Launch> = session.launches().iter().map(|started| started.launch.clone()).collect();
        consent.trust(&launches).map_err(|error| unwritten(consent, &error))?;
        if !launches.is_empty() {
            talk("they may start from now on, in this workspace, as they are now");
        }
    }
    if global.format == Format::Json {
        let programs = session.launches().iter().map(|started| {
            let Launch { command, digest } = &started.launch;
            let is_trusted = !arguments.list || consent.may_start(&started.launch);
            json!({ "by": started.by, "command": command, "digest": digest, "trusted": is_trusted })
        });
        print(&json!({ "etalon": 1, "programs": programs.collect::<Vec<_>>() }).to_string());
    }
    Ok(exit::OK)
}

/// Lists programs: what starts each, and its digest.
fn listed(launches: &[Started], consent: &Consent) -> String {
    if launches.is_empty() {
        return "the pipeline starts no programs".to_owned();
    }
    let lines = launches.iter().map(|Started { launch, by, .. }| {
        let known = if consent.may_start(launch) { "trusted" } else { "new" };
        format!("{known:<8}{by}: {}\n        {}", launch.command, launch.digest)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn unwritten(consent: &Consent, error: &std::io::Error) -> Exit {
    let file = consent.file().map_or_else(|| "your settings".to_owned(), |file| file.display().to_string());
    Exit::internal(&format!("failed to write {file}: {error}"))
}
