//! The command line: one file per command. No other module uses clap.
//!
//! Every command takes `--format text|json` and `--workspace DIR`. Data go to standard output, talk to standard error.
//! Only `exit` turns errors into text and an exit code.
//!
//! | file | holds |
//! |---|---|
//! | `filter` | `--where` of commands that go through rows; templates on the command line |
//! | `open` | what most commands begin with: from arguments to a plan, a store, a session |
//! | `sessions` | what commands over runs look up in the cache |
//! | `exit` | exit codes, and errors as text |
//! | `output` | what is printed where, and how much of it |
//! | `progress` `watch` | bars and lines while a run goes on; `run --watch` |
//! | all others | one command each; `labels/` one file per subcommand, `export/` one per kind of rows |
//!
//! **Adding a command:** one file with its `Args` and a `run` function, one variant of `Command` with a line of help,
//! and one line in the `match` of `dispatch`; then its tests.

mod cache;
mod check;
mod compare;
mod completions;
mod diagnose;
mod exit;
mod export;
mod filter;
mod graph;
mod history;
mod init;
mod labels;
mod open;
mod output;
mod plan;
mod progress;
mod report;
mod run;
mod runs;
mod schema;
mod score;
mod sessions;
mod show;
mod templates;
mod trust;
mod watch;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use exit::Exit;
use output::{Format, is_read, print, talk};

/// Stack of every thread, in bytes: templates are compiled and rendered on them, and long chains recurse deeply.
const STACK: usize = 256 * 1024 * 1024;

/// Tells whether a fine-tuned language model is really better.
#[derive(Parser)]
#[command(name = "etalon", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// What to print on standard output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, help_heading = "For every command")]
    format: Format,
    /// The directory with etalon.toml [default: the nearest one around the current directory]
    #[arg(long, global = true, value_name = "DIR", help_heading = "For every command")]
    workspace: Option<PathBuf>,
    /// Say only results, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "For every command")]
    quiet: bool,
    /// Say what begins and what is cached, too
    #[arg(short, long, global = true, help_heading = "For every command")]
    verbose: bool,
}

impl Global {
    fn volume(&self) -> Volume {
        match (self.quiet, self.verbose) {
            (true, _) => Volume::Quiet,
            (_, true) => Volume::Verbose,
            _ => Volume::Plain,
        }
    }
}

/// How much a command says while it works.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Volume {
    Quiet,
    Plain,
    Verbose,
}

/// Returns how wide a line may be, in characters: `COLUMNS` if it is set, else the width of the terminal; none if there
/// is no limit.
fn width() -> Option<usize> {
    let named = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    let is_seen = std::io::IsTerminal::is_terminal(&std::io::stdout());
    named.or_else(|| terminal_size::terminal_size().filter(|_| is_seen).map(|(width, _)| usize::from(width.0)))
}

#[derive(Subcommand)]
enum Command {
    /// Make a workspace that runs offline at once; overwrites nothing
    Init(init::InitArgs),
    /// Run a pipeline: only what changed is computed and bought
    Run(run::RunArgs),
    /// Show what would run, why, and how many calls it would make; buys nothing
    Plan(plan::PlanArgs),
    /// Find every problem in pipelines, templates and data; calls nothing
    Check(check::CheckArgs),
    /// Show the rows of a stage with prompts, completions, scores and verdicts
    Show(show::ShowArgs),
    /// Report a run from its file under runs/: numbers, notes, gates
    Report(report::ReportArgs),
    /// List the runs that are kept under runs/: labels, gates, headlines
    Runs(runs::RunsArgs),
    /// Compare two runs row by row: what improved, what regressed, on which rows, and what cannot be told
    Compare(compare::CompareArgs),
    /// Show each headline over the runs of a pipeline: what each gained over the best before, and what to do next
    History(history::HistoryArgs),
    /// Say what is wrong with a model, where it is weakest, which rows show it, and what usually helps
    Diagnose(diagnose::DiagnoseArgs),
    /// Show what changed since the last run, down to template lines and rows, and why a node will run
    Why(why::WhyArgs),
    /// Draw the graph of a pipeline
    Graph(graph::GraphArgs),
    /// Write the rows of a stage as JSON lines, CSV or Parquet
    Export(export::ExportArgs),
    /// Let people label judged rows, and hold the judge against them
    Labels(labels::LabelsArgs),
    /// Score a file of predictions and references, without a pipeline
    Score(score::ScoreArgs),
    /// Look after the cache: what it holds and what that cost, what is damaged, what can go
    Cache(cache::CacheArgs),
    /// Let the programs of a pipeline start; those that you have not read do not
    Trust(trust::TrustArgs),
    /// Print the JSON Schema of pipelines, for editors
    Schema,
    /// List the templates there are, or print one: those that are built in, too
    Templates(templates::TemplatesArgs),
    /// Print what makes a shell complete commands and flags
    ShellCompletions(completions::CompletionsArgs),
}

/// `--set name=value`.
#[derive(Args)]
struct Sets {
    /// Override a param of the pipeline
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_set)]
    sets: Vec<(String, String)>,
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Runs the program; returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let wants_json = arguments.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json")
                || arguments.iter().any(|argument| argument == "--format=json");
            if wants_json && error.use_stderr() {
                let text = error.render().to_string();
                let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                print(&crate::report::problems_json(&[crate::problem::Problem::error("usage", message)]).to_string());
            }
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let format = cli.global.format;
    let work = std::thread::Builder::new().stack_size(STACK).spawn(move || dispatch(&cli));
    let result = match work.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        // The panic has printed its own message.
        Ok(Err(_)) => Err(Exit::internal("etalon itself failed; please report it with the lines above")),
        Err(error) => Err(Exit::internal(&format!("failed to start a thread: {error}"))),
    };
    let code = match result {
        Ok(code) => code,
        Err(exit) => exit.report(format),
    };
    // Programs that still run are ended: the command that started one has its result by now, or has given up on it.
    crate::process::end_all();
    // A reader that went away changes nothing; a result that could not be written is etalon's fault.
    let is_lost = output::is_lost();
    ExitCode::from(if is_lost && code != exit::INTERRUPTED { exit::INTERNAL } else { code })
}

fn dispatch(cli: &Cli) -> Result<u8, Exit> {
    match &cli.command {
        Command::Init(arguments) => init::run(&cli.global, arguments),
        Command::Run(arguments) => run::run(&cli.global, arguments),
        Command::Plan(arguments) => plan::run(&cli.global, arguments),
        Command::Check(arguments) => check::run(&cli.global, arguments),
        Command::Show(arguments) => show::run(&cli.global, arguments),
        Command::Report(arguments) => report::run(&cli.global, arguments),
        Command::Runs(arguments) => runs::run(&cli.global, arguments),
        Command::Compare(arguments) => compare::run(&cli.global, arguments),
        Command::History(arguments) => history::run(&cli.global, arguments),
        Command::Diagnose(arguments) => diagnose::run(&cli.global, arguments),
        Command::Why(arguments) => why::run(&cli.global, arguments),
        Command::Graph(arguments) => graph::run(&cli.global, arguments),
        Command::Export(arguments) => export::run(&cli.global, arguments),
        Command::Labels(arguments) => labels::run(&cli.global, arguments),
        Command::Score(arguments) => score::run(&cli.global, arguments),
        Command::Cache(arguments) => cache::run(&cli.global, arguments),
        Command::Trust(arguments) => trust::run(&cli.global, arguments),
        Command::Schema => schema::run(),
        Command::Templates(arguments) => templates::run(&cli.global, arguments),
        Command::ShellCompletions(arguments) => completions::run(arguments),
    }
}

/// Returns a runtime whose threads have a stack that is large enough for templates.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    // From the second command in a process on this is an error, since the pool exists; that is fine.
    let _ = rayon::ThreadPoolBuilder::new().stack_size(STACK).build_global();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()
        .map_err(|error| Exit::internal(&format!("failed to start the runtime: {error}")))
}

/// The signals by which a user ends a run: an interrupt, a request to terminate, a terminal that is closed.
struct Signals(Vec<tokio::signal::unix::Signal>);

impl Signals {
    /// Listens from now on.
    fn new() -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Signals(kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect())
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        let waiting: Vec<_> = self.0.iter_mut().map(|signal| Box::pin(signal.recv())).collect();
        match waiting.is_empty() {
            // No signal can be heard: there is nothing to wait for.
            true => std::future::pending().await,
            false => _ = futures_util::future::select_all(waiting).await,
        }
    }
}
