//! `etalon check`.

use clap::Args;

use super::exit::{self, Exit};
use super::{Format, Global, Sets, open, print, talk};
use crate::plan;
use crate::problem::{Problem, Severity};
use crate::report;
use crate::spec::Workspace;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon check\n  etalon check pipelines/ab.yaml --format json")]
pub(super) struct CheckArgs {
    /// Pipeline files, or names in pipelines/ [default: all of pipelines/]
    pipelines: Vec<String>,
    #[command(flatten)]
    sets: Sets,
}

pub(super) fn run(global: &Global, arguments: &CheckArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    let pipelines =
        if arguments.pipelines.is_empty() { open::pipelines(&workspace) } else { arguments.pipelines.clone() };
    if pipelines.is_empty() {
        return Err(Exit::usage(
            "there is no pipeline in pipelines/",
            Some("`etalon init` writes one to begin with; or name a file".to_owned()),
        ));
    }
    let mut problems: Vec<Problem> = Vec::new();
    for pipeline in &pipelines {
        let (plan, found) = open::load(&workspace, pipeline, &arguments.sets.sets);
        problems.extend(found);
        if let Some(plan) = plan {
            problems.extend(plan::check_data(&plan));
        }
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    match global.format {
        Format::Json => print(&report::problems_json(&problems).to_string()),
        Format::Text => {
            if !problems.is_empty() {
                talk(report::problems(&problems, true).trim_end());
            }
            let warnings = problems.len() - errors;
            let names = pipelines.join(", ");
            match (errors, warnings) {
                (0, 0) => print(&format!("{names}: no problems")),
                (errors, warnings) => {
                    let counted =
                        |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
                    print(&format!("{names}: {}, {}", counted(errors, "error"), counted(warnings, "warning")));
                }
            }
        }
    }
    Ok(if errors > 0 { exit::USAGE } else { exit::OK })
}
