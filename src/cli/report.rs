//! `etalon report`.

use std::path::PathBuf;

use clap::Args;

use super::compare::choose;
use super::exit::{self, Exit};
use super::sessions::Sessions;
use super::{Format, Global, Volume, open, print, width};
use crate::compare::{self, Comparison, Line, Side, Terms};
use crate::record::{Records, Run};
use crate::report::{self, Flipped, View};
use crate::score::{Direction, Rank};
use crate::spec::{Role, Workspace};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon report\n  etalon report last~1\n  etalon report --markdown --against main --junit report.xml > report.md"
)]
pub(super) struct ReportArgs {
    /// The run: its id or the beginning of it, its label, `last` or `last~1`
    #[arg(default_value = "last")]
    run: String,
    /// Look at the runs of this pipeline only
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Write Markdown for a pull request: gates, values, what changed, the worst rows
    #[arg(long)]
    markdown: bool,
    /// With --markdown: what changed since this run; without it, the candidates against the baseline
    #[arg(long, value_name = "RUN", requires = "markdown")]
    against: Option<String>,
    /// Write the gates as JUnit XML into this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// With --markdown or --junit: a gate that is not proven fails
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(global: &Global, arguments: &ReportArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    let root = workspace.root.clone();
    let records = match &arguments.pipeline {
        Some(pipeline) => Records::new(&root, pipeline),
        None => Records::all(&root),
    };
    let run = open::run(&records, &arguments.run)?;
    open::warn_unread(&records);
    let is_verbose = global.volume() == Volume::Verbose;
    if let Some(path) = &arguments.junit {
        let text = report::junit(&run, arguments.strict);
        let written = crate::files::write(path, text.as_bytes());
        written.map_err(|error| Exit::usage(format!("{}: {error}", path.display()), None))?;
    }
    if arguments.markdown {
        print(markdown(&workspace, &records, &run, arguments.against.as_deref())?.trim_end());
        return Ok(exit::of_run(&run, arguments.strict));
    }
    match global.format {
        Format::Text => print(&report::report(&View::of(&run), width(), is_verbose)),
        Format::Json => print(&serde_json::to_string(&run).expect("runs serialise")),
    }
    // Who asks for tests wants to know whether they pass.
    Ok(if arguments.junit.is_some() { exit::of_run(&run, arguments.strict) } else { exit::OK })
}

/// How many rows of each value are listed.
const ROWS: usize = 5;

/// Renders a run for a pull request: against another run, or each candidate against the baseline.
fn markdown(workspace: &Workspace, records: &Records, run: &Run, against: Option<&str>) -> Result<String, Exit> {
    let mut sessions = Sessions::new(workspace);
    let mut side = |run: &Run, model: Option<&str>| Side {
        scores: sessions.scores(records, run),
        run: run.clone(),
        model: model.map(str::to_owned),
    };
    let of_role = |role: Role| run.models.iter().filter(move |(_, model)| model.role == Some(role));
    let sides: Vec<(Side, Side)> = match against {
        Some(name) => vec![(side(&open::run(records, name)?, None), side(run, None))],
        None => match of_role(Role::Baseline).next() {
            Some((baseline, _)) => of_role(Role::Candidate)
                .map(|(candidate, _)| (side(run, Some(baseline)), side(run, Some(candidate))))
                .collect(),
            None => Vec::new(),
        },
    };
    let mut comparisons: Vec<Comparison> =
        sides.iter().map(|(a, b)| compare::compare(a, b, &Terms::default())).collect();
    let mut texts = Vec::new();
    for (comparison, (before, after)) in comparisons.iter_mut().zip(&sides) {
        for line in &mut comparison.values {
            choose(line, None, ROWS);
            let is_meant = line.reading.rank == Rank::Headline && !line.flips.is_empty();
            texts.push(if is_meant { sessions.row_texts(before, after, line) } else { Vec::new() });
        }
    }
    let lines = comparisons.iter().flat_map(|comparison| &comparison.values);
    let is_shown = |line: &&Line| line.reading.rank == Rank::Headline && line.reading.direction != Direction::Neither;
    let flips: Vec<Flipped<'_>> =
        lines.zip(texts).filter(|(line, _)| is_shown(line) && !line.flips.is_empty()).collect();
    Ok(report::markdown(&View::of(run), &comparisons, &flips))
}
