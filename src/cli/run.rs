//! `etalon run`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use tokio::runtime::Runtime;

use super::exit::{self, Exit};
use super::progress::Display;
use super::sessions::scores;
use super::watch::{self, Seen};
use super::{Format, Global, Sets, Signals, Volume, open, print, runtime, talk, width};
use crate::compare::{self, Side, Terms};
use crate::digest::Digest;
use crate::execute::{self, Options, Session};
use crate::process;
use crate::record::{MOST_BYTES, Records, Run, label_problem};
use crate::report::{self, View};
use crate::spec::{KeyHost, Workspace};
use crate::stage::{Mode, Recorder};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon run ab\n  etalon run ab --limit 10 --label first-look\n  etalon run ab --budget 5.00 --strict\n  etalon run ab --set size=20 --only answers.tuned"
)]
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
    #[arg(long, value_name = "LABEL", value_parser = label)]
    label: Option<String>,
    /// Stop before the calls of this run cost more than this, in dollars; what was bought is kept, and the next run goes on
    #[arg(long, value_name = "USD", value_parser = dollars)]
    budget: Option<f64>,
    /// Let gates fail that hold at the estimates only (UNPROVEN), and those that were not part of the run (NOT_RUN)
    #[arg(long)]
    strict: bool,
    /// End the run at the first failure, whatever max_failures allows
    #[arg(long)]
    fail_fast: bool,
    /// Write what the models say into a file, from which `provider: replay` answers; what is in the cache is not bought again
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Let every program of the pipeline start, this once; with digests, those programs
    #[arg(long, value_name = "DIGEST", num_args = 0..=1, require_equals = true, value_delimiter = ',')]
    allow_commands: Option<Vec<Digest>>,
    /// Use what the cache has; call no server
    #[arg(long)]
    offline: bool,
    /// Go on, and run what a change touches whenever a file changes, until interrupted
    #[arg(long, conflicts_with = "refresh")]
    watch: bool,
}

pub(super) fn run(global: &Global, arguments: &RunArgs) -> Result<u8, Exit> {
    let runtime = runtime()?;
    let mut read = BTreeSet::new();
    let code = if arguments.watch {
        watched(global, arguments, &runtime, &mut read)
    } else {
        once(global, arguments, &runtime, &mut read)
    };
    // Nothing is left to wait for: connections and signal handlers end with the process. A shutdown in the background would
    // detach threads that are just ending, and glibc then reads what a thread with a large stack has unmapped already
    // (https://sourceware.org/bugzilla/show_bug.cgi?id=19951): a run whose work was done could end by a segmentation fault.
    std::mem::forget(runtime);
    code
}

/// Runs once, and again whenever files change, until it is interrupted.
fn watched(global: &Global, arguments: &RunArgs, runtime: &Runtime, read: &mut BTreeSet<PathBuf>) -> Result<u8, Exit> {
    loop {
        let workspace = Workspace::open(global.workspace.as_deref())?;
        let before = Seen::now(&workspace, &arguments.pipeline, read);
        let code = match once(global, arguments, runtime, read) {
            Ok(exit::INTERRUPTED) => return Ok(exit::INTERRUPTED),
            Ok(code) => code,
            // An error does not end the watch: the user mends it while this goes on.
            Err(exit) => exit.report(global.format),
        };
        // A file that changed during the run counts as changed. A file that this run read for the first time is watched
        // from now on.
        let now = Seen::now(&workspace, &arguments.pipeline, read);
        let before = before.with_new_of(&now);
        if global.volume() != Volume::Quiet {
            talk("\nwatching; ctrl-c ends it");
        }
        let changed = runtime.block_on(async {
            tokio::select! {
                path = watch::change(&workspace, &arguments.pipeline, read, &before) => Some(path),
                () = async { Signals::new().next().await } => None,
            }
        });
        let Some(path) = changed else {
            return Ok(code);
        };
        if global.volume() != Volume::Quiet {
            talk(&format!("\n── {} changed", path.display()));
        }
    }
}

/// Runs once, and adds to `read` the files that were read.
fn once(global: &Global, arguments: &RunArgs, runtime: &Runtime, read: &mut BTreeSet<PathBuf>) -> Result<u8, Exit> {
    let mut workspace = Workspace::open(global.workspace.as_deref())?;
    match arguments.allow_commands.as_deref() {
        None => {}
        Some([]) => workspace.consent.to_all(),
        Some(programs) => programs.iter().for_each(|program| workspace.consent.to(*program)),
    }
    let (plan, warnings) = open::plan_in(&workspace, &arguments.pipeline, &arguments.sets.sets)?;
    open::warn(&warnings);
    let store = open::store(&plan)?;
    let records = Arc::new(open::records(&plan));
    let recorder = arguments.record.as_deref().map(Recorder::create).transpose();
    let recorder = recorder.map_err(|error| Exit::usage(format!("--record: {error}"), None))?.map(Arc::new);
    let options = Options {
        only: arguments.only.clone(),
        refresh: arguments.refresh.clone(),
        limit: arguments.limit,
        label: arguments.label.clone(),
        is_offline: arguments.offline,
        budget_usd: arguments.budget.or(plan.workspace.budget),
        is_fail_fast: arguments.fail_fast,
        recorder: recorder.clone(),
        records: Some(records.clone()),
    };
    let mode = if arguments.offline { Mode::Offline } else { Mode::Live };
    let session = Arc::new(runtime.block_on(Session::open(plan.clone(), store, options, mode))?);
    if !arguments.offline {
        for KeyHost { variable, host } in plan.workspace.consent.new_hosts(session.key_hosts()) {
            talk(&format!("the key {variable} goes to {host}, for the first time from here"));
        }
    }
    let display = Display::new(global.volume());
    let run = runtime.block_on(async {
        let signals = tokio::spawn(stop_on_signal(session.stop_flag(), display.clone()));
        let run = execute::run(session.clone(), display.listener()).await;
        signals.abort();
        run
    });
    display.end();
    read.extend(session.files());
    let run = run?;
    if let (Some(recorder), Some(path)) = (&recorder, &arguments.record) {
        match recorder.finish() {
            Ok(count) => talk(&format!("recorded {count} completions → {}", path.display())),
            Err(error) => talk(&format!("warning: the recording could not be put in order: {error}")),
        }
    }
    open::warn_unread(&records);
    keep(global, &session, &records, &run);
    let is_verbose = global.volume() == Volume::Verbose;
    match global.format {
        Format::Text => {
            let since = since(&session, &records, &run);
            print(&format!("\n{}", report::closing(&View::of(&run), since.as_deref(), width(), is_verbose)));
        }
        Format::Json => print(&serde_json::to_string(&run).expect("runs serialise")),
    }
    Ok(exit::of_run(&run, arguments.strict))
}

/// From so many rows on, what changed since the last run is left to `compare`: reading them would take a while.
const MOST_ROWS: u64 = 20_000;

/// Returns what changed since the last whole run, if something did.
fn since(session: &Session, records: &Records, run: &Run) -> Option<String> {
    let is_whole = |run: &Run| !run.partial && !run.interrupted && !run.has_failed();
    let is_small = run.nodes.iter().all(|node| node.rows <= MOST_ROWS);
    if run.is_unchanged() || !is_whole(run) || !is_small {
        return None;
    }
    let before = records.runs().iter().find(|before| is_whole(before))?;
    let side = |run: &Run| Side { run: run.clone(), scores: scores(records, run, || Some(session)), model: None };
    Some(report::since(&compare::compare(&side(before), &side(run), &Terms::default())))
}

/// Reads a label.
fn label(text: &str) -> Result<String, String> {
    label_problem(text).map_or_else(|| Ok(text.to_owned()), Err)
}

/// Reads an amount of dollars.
fn dollars(text: &str) -> Result<f64, String> {
    let amount: f64 =
        text.trim_start_matches('$').parse().map_err(|_| "an amount of dollars, such as 5.00".to_owned())?;
    if amount >= 0.0 && amount.is_finite() { Ok(amount) } else { Err("dollars are 0 or more".to_owned()) }
}

/// Keeps the run under `runs/`, unless it changed nothing; beside a run with a label its scores row by row.
fn keep(global: &Global, session: &Session, records: &Records, run: &Run) {
    // A label that names these very results already is not given twice.
    let is_named = || {
        let same = |known: &&Run| known.label == run.label && known.is_of_same_results(run);
        records.runs().iter().find(same).is_some()
    };
    if run.is_unchanged() && (run.label.is_none() || is_named()) {
        return;
    }
    let root = &session.plan.workspace.root;
    let keeps_scores = run.label.is_some() || session.plan.workspace.keeps_scores;
    if keeps_scores && !run.partial && !run.interrupted {
        let written = execute::run_scores(session, run).map(|scores| records.write_scores(&scores));
        match written {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(size))) => talk(&format!(
                "note: the scores of all rows are {} and are not kept beside the run (at most {}): `compare` reads them from the cache",
                report::bytes(size as u64),
                report::bytes(MOST_BYTES as u64)
            )),
            Ok(Err(error)) => talk(&format!("warning: the scores could not be kept under runs/: {error}")),
            Err(error) => talk(&format!("warning: the scores could not be read: {error}")),
        }
    }
    match records.write(run) {
        Ok(_) if global.volume() == Volume::Quiet => {}
        Ok(path) => talk(&format!("\nrun {} → {}", run.run, path.strip_prefix(root).unwrap_or(&path).display())),
        Err(error) => talk(&format!("warning: the run could not be kept under runs/: {error}")),
    }
}

/// On the first signal, nothing new is sent and what is in flight may arrive. On the second, etalon ends at once.
async fn stop_on_signal(stop: Arc<AtomicBool>, display: Arc<Display>) {
    let mut signals = Signals::new();
    loop {
        signals.next().await;
        let is_second = stop.swap(true, Ordering::Relaxed);
        // Programs are ended at once: unlike calls, an unfinished program has no result that would be worth waiting
        // for.
        process::end_all();
        if is_second {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        display.say("stopping: nothing new is sent, what is in flight is kept; once more leaves at once");
    }
}
