//! The programs that a run would start, and whether the user has consented to them.

use std::collections::BTreeSet;

use super::ExecuteError;
use crate::plan::Plan;
use crate::problem::{Place, Problem};
use crate::process::Launch;
use crate::stage::DigestFile;

/// A program that a run starts.
#[derive(Clone, Debug)]
pub struct Started {
    pub launch: Launch,
    /// What starts it: `stage rows`, `model tuned`.
    pub by: String,
    pub place: Option<Place>,
}

impl Started {
    /// Returns the program that answers for a model.
    pub(super) fn by_model(plan: &Plan, model: &str, launch: Launch) -> Started {
        let place = plan.spec.models.get(model).and_then(|spec| spec.place.clone());
        Started { launch, by: format!("model {model}"), place }
    }
}

/// Returns the programs that the selected nodes' stages start. Those that answer for models are not among them.
pub(super) fn launched_by_stages(
    plan: &Plan,
    selected: &[bool],
    digest_file: &DigestFile<'_>,
) -> Result<Vec<Started>, ExecuteError> {
    let mut seen = BTreeSet::new();
    let mut launches = Vec::new();
    let nodes = plan.nodes.iter().zip(selected).filter(|(_, is_selected)| **is_selected);
    for (node, _) in nodes.filter(|(node, _)| seen.insert(node.stage_name.as_str())) {
        let found = node.stage.launches(&plan.workspace, digest_file);
        let found = found.map_err(|error| ExecuteError::Usage { message: error.to_string(), help: None })?;
        launches.extend(found.into_iter().map(|launch| Started {
            launch,
            by: format!("stage {}", node.stage_name),
            place: plan.spec.stages.get(&node.stage_name).map(|stage| stage.place.clone()),
        }));
    }
    Ok(launches)
}

/// Checks that the user has consented to all programs.
///
/// # Errors
///
/// Every program without consent, each with what to do about it.
pub(super) fn check_consent(plan: &Plan, launches: &[Started]) -> Result<(), ExecuteError> {
    let mut problems: Vec<Problem> = Vec::new();
    for started in launches.iter().filter(|started| !plan.workspace.consent.may_start(&started.launch)) {
        let Launch { command, digest } = &started.launch;
        let message = format!("{} starts a program, and you have not said yet that it may: {command}", started.by);
        let help = format!(
            "read it; then `etalon trust {}` lets it start from now on, `--allow-commands={digest}` this once",
            plan.spec.source.path
        );
        let problem = Problem::error("untrusted-program", message).help(help);
        problems.push(match &started.place {
            Some(place) => problem.at(place),
            None => problem,
        });
    }
    if problems.is_empty() { Ok(()) } else { Err(ExecuteError::Unconsented(problems)) }
}
