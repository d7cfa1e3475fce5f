//! `etalon diagnose`.

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use super::sessions::Sessions;
use super::{Format, Global, open, print, talk, width};
use crate::diagnose::{Diagnosis, Evidence, diagnose};
use crate::problem::suggest;
use crate::record::{Records, Run};
use crate::report;
use crate::spec::{Role, Workspace};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon diagnose\n  etalon diagnose iter-2 --model tuned\n  etalon diagnose --format json"
)]
pub(super) struct DiagnoseArgs {
    /// The run: its id or the beginning of it, its label, `last` or `last~1`
    #[arg(default_value = "last")]
    run: String,
    /// Look at the runs of this pipeline only
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Diagnose this model; every candidate unless said
    #[arg(long)]
    model: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &DiagnoseArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    let records = match &arguments.pipeline {
        Some(pipeline) => Records::new(&workspace.root, &open::pipeline_name(pipeline)),
        None => Records::all(&workspace.root),
    };
    let run = open::run(&records, &arguments.run)?;
    open::warn_unread(&records);
    let models = models(&run, arguments.model.as_deref())?;
    let mut sessions = Sessions::new(&workspace);
    let scores = sessions.scores(&records, &run).unwrap_or_default();
    let session = sessions.of(&run.pipeline);
    let mut found: Vec<Diagnosis> = Vec::new();
    for model in models {
        let mut evidence = Evidence::of_run(&run, scores.clone(), &model);
        match session.as_ref().map(|session| evidence.read(session)) {
            Some(Ok(())) => {}
            Some(Err(error)) => talk(&format!("warning: some answers of {} cannot be read: {error}", run.run)),
            None => {
                talk(&format!("warning: the pipeline {} is not here, so that no answers are looked at", run.pipeline))
            }
        }
        found.push(diagnose(&evidence));
    }
    match global.format {
        Format::Text => print(&report::diagnoses(&found, &run, width())),
        Format::Json => print(&json!({ "etalon": 1, "run": run.run, "models": found }).to_string()),
    }
    Ok(exit::OK)
}

/// Returns the models to look at: the one that was named, else the candidates, else those without a role.
fn models(run: &Run, named: Option<&str>) -> Result<Vec<String>, Exit> {
    let known =
        || run.models.keys().map(String::as_str).filter(|model| run.summary.values().any(|it| it.contains_key(*model)));
    if let Some(named) = named {
        return match known().any(|model| model == named) {
            true => Ok(vec![named.to_owned()]),
            false => {
                Err(Exit::usage(format!("run {} has no model {named}", run.run), suggest(named, "its models", known())))
            }
        };
    }
    let of =
        |role: Option<Role>| known().filter(|model| run.role(model) == role).map(str::to_owned).collect::<Vec<_>>();
    let candidates = of(Some(Role::Candidate));
    let models = if candidates.is_empty() { of(None) } else { candidates };
    match models.is_empty() {
        true => Err(Exit::usage(
            format!("run {} has no model to look at", run.run),
            Some("say which: `--model NAME`, or `role: candidate` in the pipeline".to_owned()),
        )),
        false => Ok(models),
    }
}
