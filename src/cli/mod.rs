//! The command line: one file per command, the only user of clap.
//!
//! Every command takes `--format text|json` and `--workspace DIR`. Data go to standard output, talk
//! to standard error. `exit` alone turns what went wrong into text and an exit code.

mod check;
mod exit;
mod open;
mod plan;
mod run;
mod show;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use exit::Exit;

/// Stack of every thread: templates are compiled and rendered on them, and long chains recurse.
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
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The directory with etalon.toml [default: the nearest one around the current directory]
    #[arg(long, global = true, value_name = "DIR")]
    workspace: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Run a pipeline: only what changed is computed and bought
    Run(run::RunArgs),
    /// Show what would run, why, and how many calls it would make; buys nothing
    Plan(plan::PlanArgs),
    /// Find every problem in pipelines, templates and data; calls nothing
    Check(check::CheckArgs),
    /// Show the rows of a stage with prompts, completions, scores and verdicts
    Show(show::ShowArgs),
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
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Runs the program; returns its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let work = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || dispatch(&cli));
    let result = match work.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        // The panic has printed itself.
        Ok(Err(_)) => Err(Exit::internal(
            "etalon itself failed; please report it with the lines above",
        )),
        Err(error) => Err(Exit::internal(&format!(
            "failed to start a thread: {error}"
        ))),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(exit) => exit.report(),
    }
}

fn dispatch(cli: &Cli) -> Result<u8, Exit> {
    match &cli.command {
        Command::Run(arguments) => run::run(&cli.global, arguments),
        Command::Plan(arguments) => plan::run(&cli.global, arguments),
        Command::Check(arguments) => check::run(&cli.global, arguments),
        Command::Show(arguments) => show::run(&cli.global, arguments),
    }
}

/// Returns a runtime whose threads have room for templates.
fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()
        .map_err(|error| Exit::internal(&format!("failed to start the runtime: {error}")))
}

/// Prints to standard output; a reader that went away is no error.
fn print(text: &str) {
    use std::io::Write;
    let mut out = anstream::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Prints to standard error.
fn talk(text: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}
