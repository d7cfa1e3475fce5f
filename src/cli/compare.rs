//! `etalon compare`.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::exit::{self, Exit};
use super::sessions::Sessions;
use super::{Format, Global, Volume, open, print, talk, width};
use crate::compare::{self, Allowed, Comparison, Flip, Line, Margin, Side, Terms, Turn};
use crate::record::{Records, Run};
use crate::report;
use crate::spec::Workspace;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon compare iter-2 last\n  etalon compare last:base last:tuned --rows broken\n  etalon compare last~1 last --fail-if-worse 0.02"
)]
pub(super) struct CompareArgs {
    /// The run before: its id or the beginning of it, its label, `last` or `last~1`; `RUN:MODEL` for one model of it
    before: String,
    /// The run after
    #[arg(default_value = "last")]
    after: String,
    /// Look at the runs of this pipeline only
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Show the rows that changed, with prompt, answers and verdicts
    #[arg(long, value_enum, value_name = "WHICH")]
    rows: Option<Which>,
    /// List at most N rows of each value
    #[arg(long, value_name = "N", default_value_t = 5)]
    limit: usize,
    /// Compare although this is not the same in both runs; may be repeated
    #[arg(long, value_enum, value_name = "WHAT")]
    allow: Vec<AllowArg>,
    /// The largest difference that counts as none: a share of the value's range, or of the value before, such as 5%
    /// [default: 0.02, and 5% of times, costs and lengths]
    #[arg(long, value_name = "D")]
    margin: Option<Margin>,
    /// Exit with 1 unless every headline is proven to be worse by no more than this: 0.02 of its range, or 5% of the value
    /// before
    #[arg(long, value_name = "D", num_args = 0..=1, default_missing_value = "0.02")]
    fail_if_worse: Option<Margin>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    Fixed,
    Broken,
    Both,
    All,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AllowArg {
    Judge,
    Metric,
}

pub(super) fn run(global: &Global, arguments: &CompareArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    let records = match &arguments.pipeline {
        Some(pipeline) => Records::new(&workspace.root, &open::pipeline_name(pipeline)),
        None => Records::all(&workspace.root),
    };
    let (before, after) = (named(&records, &arguments.before)?, named(&records, &arguments.after)?);
    open::warn_unread(&records);
    if before.1.is_some() != after.1.is_some() {
        let help = Some(format!("etalon compare {0}:MODEL {1}:MODEL", before.0.run, after.0.run));
        return Err(Exit::usage("name a model on both sides, or on none".to_owned(), help));
    }
    let mut sessions = Sessions::new(&workspace);
    let mut side = |(run, model): (Run, Option<String>)| -> Side {
        let scores = sessions.scores(&records, &run);
        Side { run, scores, model }
    };
    let (before, after) = (side(before), side(after));
    let allow = arguments.allow.iter().map(|what| match what {
        AllowArg::Judge => Allowed::Judge,
        AllowArg::Metric => Allowed::Metric,
    });
    let terms = Terms { allow: allow.collect(), margin: arguments.margin };
    let mut found = compare::compare(&before, &after, &terms);
    for line in &mut found.values {
        choose(line, arguments.rows, arguments.limit);
    }
    match global.format {
        Format::Json => {
            let mut document = serde_json::to_value(&found).expect("comparisons serialise");
            document["etalon"] = json!(1);
            print(&document.to_string());
        }
        Format::Text => {
            print(&report::comparison(&found, width(), global.volume() == Volume::Verbose));
            if arguments.rows.is_some() {
                show_rows(&mut sessions, &before, &after, &found);
            }
        }
    }
    if found.values.is_empty() {
        let why = match found.refused.is_empty() {
            true => "nothing can be compared: the runs have no value in common",
            false => "nothing can be compared, for the reasons above",
        };
        talk(&format!("error: {why}"));
        return Ok(exit::USAGE);
    }
    let Some(margin) = arguments.fail_if_worse else { return Ok(exit::OK) };
    let open = compare::not_proven(&found, margin);
    if open.is_empty() {
        return Ok(exit::OK);
    }
    talk(&format!(
        "worse, or not proven to be worse by no more than {margin}: {}",
        report::printable(&open.join(", "))
    ));
    Ok(exit::GATE)
}

/// Finds a run and the model that the user named: `RUN` or `RUN:MODEL`.
fn named(records: &Records, text: &str) -> Result<(Run, Option<String>), Exit> {
    // A label may have a colon of its own.
    let (name, model) = match text.rsplit_once(':') {
        Some((name, model)) if !model.is_empty() && records.find(text).is_err() => (name, Some(model)),
        _ => (text, None),
    };
    let run = open::run(records, name)?;
    if let Some(model) = model
        && !run.summary.values().any(|models| models.contains_key(model))
    {
        let known: BTreeSet<&str> = run.summary.values().flat_map(|models| models.keys().map(String::as_str)).collect();
        let help = crate::problem::suggest(model, "its models", known.into_iter().filter(|name| *name != "_"));
        return Err(Exit::usage(format!("run {} has no model {model}", run.run), help));
    }
    Ok((run, model.map(str::to_owned)))
}

/// Keeps those of the changed rows that were asked for.
pub(super) fn choose(line: &mut Line, which: Option<Which>, limit: usize) {
    // The broken rows stand first.
    let (mut broken, mut fixed): (Vec<Flip>, Vec<Flip>) =
        line.flips.drain(..).partition(|flip| matches!(flip.turn, Turn::Broken | Turn::Lost));
    match which {
        Some(Which::Broken) => fixed.clear(),
        Some(Which::Fixed) => {
            broken.clear();
            fixed.retain(|flip| flip.turn != Turn::Changed);
        }
        Some(Which::All | Which::Both) | None => {}
    }
    if which != Some(Which::All) {
        let of_fixed = fixed.len().min((limit / 2).max(limit.saturating_sub(broken.len())));
        fixed.truncate(of_fixed);
        broken.truncate(limit - of_fixed);
    }
    line.flips = broken;
    line.flips.extend(fixed);
}

/// Shows the rows that changed, with what led to them as far as the cache has it.
fn show_rows(sessions: &mut Sessions<'_>, before: &Side, after: &Side, found: &Comparison) {
    let mut has_texts = true;
    for line in found.values.iter().filter(|line| line.is_headline() && !line.flips.is_empty()) {
        let rows = sessions.row_texts(before, after, line);
        has_texts &= rows.iter().any(|row| row.before.is_some() || row.after.is_some());
        print(&format!("\n{}", report::flips(line, &rows).trim_end()));
    }
    if !has_texts {
        talk(
            "note: what led to some of these scores is not shown: the cache here has the rows of neither run, or the pipeline is \
             not there; `etalon run` makes them again",
        );
    }
}
