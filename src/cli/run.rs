//! `etalon run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::exit::{self, Exit};
use super::{Format, Global, Sets, open, print, runtime, talk};
use crate::execute::{self, Event, Listener, Options, Records, RunSummary, Session};
use crate::report;
use crate::stage::Mode;

#[derive(Args)]
pub(super) struct RunArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    #[command(flatten)]
    sets: Sets,
    /// Run this stage or node, and what it needs
    #[arg(long, value_name = "STAGE")]
    only: Option<String>,
    /// Buy the completions of this stage or node anew
    #[arg(long, value_name = "STAGE")]
    refresh: Vec<String>,
    /// Use the first N rows of every dataset, after sampling
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Name the run, to find it again
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Use what the cache has; call no server
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(global: &Global, arguments: &RunArgs) -> Result<u8, Exit> {
    let (plan, warnings) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    open::warn(&warnings);
    let store = open::store(&plan)?;
    let options = Options {
        only: arguments.only.clone(),
        refresh: arguments.refresh.clone(),
        limit: arguments.limit,
        label: arguments.label.clone(),
        is_offline: arguments.offline,
        since: None,
    };
    let mode = if arguments.offline { Mode::Offline } else { Mode::Live };
    let runtime = runtime()?;
    let session = Arc::new(runtime.block_on(Session::open(plan.clone(), store, options, mode))?);
    let listener: Listener = Arc::new(|event: Event| {
        if let Some(line) = report::line(&event) {
            talk(&line);
        }
    });
    let summary = runtime.block_on(async {
        tokio::spawn(stop_on_signal(session.stop_flag()));
        execute::run(session.clone(), listener).await
    })?;
    // Nothing is left to wait for: connections and signal handlers end with the process.
    runtime.shutdown_background();
    record(&plan.workspace.root, &summary);
    match global.format {
        Format::Text => print(&format!("\n{}", report::closing(&plan, &summary))),
        Format::Json => print(&serde_json::to_string(&summary).expect("runs serialise")),
    }
    Ok(exit::of_run(&summary))
}

/// Keeps the run under `runs/`, unless it changed nothing.
fn record(root: &std::path::Path, summary: &RunSummary) {
    if summary.is_unchanged() && summary.label.is_none() {
        return;
    }
    let records = Records::new(root, &summary.pipeline);
    match records.write(summary) {
        Ok(path) => talk(&format!("\nrun {} → {}", summary.run, path.strip_prefix(root).unwrap_or(&path).display())),
        Err(error) => talk(&format!("warning: the run could not be kept under runs/: {error}")),
    }
}

/// The first signal stops dispatching and lets what is in flight arrive; the second leaves at once.
async fn stop_on_signal(stop: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        talk("stopping: nothing new is sent, what is in flight is kept; once more leaves at once");
    }
}
