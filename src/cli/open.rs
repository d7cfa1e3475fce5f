//! From the command line to a plan, a store and a session: what most commands begin with.

use std::sync::Arc;

use super::exit::Exit;
use super::{Global, runtime, talk};
use crate::execute::{self, Found, Options, Session};
use crate::plan::{self, Plan};
use crate::problem::{Place, Problem, Severity, suggest};
use crate::record::{Missing, Records, Run};
use crate::report;
use crate::spec::{self, Workspace};
use crate::stage::Mode;
use crate::store::Store;

/// Loads and resolves a pipeline. Errors end the command; warnings are returned with the plan.
pub(super) fn plan(
    global: &Global,
    pipeline: &str,
    sets: &[(String, String)],
) -> Result<(Arc<Plan>, Vec<Problem>), Exit> {
    plan_in(&Workspace::open(global.workspace.as_deref())?, pipeline, sets)
}

/// Loads and resolves a pipeline of a workspace that is open.
pub(super) fn plan_in(
    workspace: &Workspace,
    pipeline: &str,
    sets: &[(String, String)],
) -> Result<(Arc<Plan>, Vec<Problem>), Exit> {
    let (plan, problems) = load(workspace, pipeline, sets);
    match plan {
        Some(plan) if !has_error(&problems) => Ok((Arc::new(plan), problems)),
        _ => Err(Exit::problems(problems)),
    }
}

/// Loads and resolves a pipeline as far as possible, and returns all problems.
pub(super) fn load(workspace: &Workspace, pipeline: &str, sets: &[(String, String)]) -> (Option<Plan>, Vec<Problem>) {
    let (spec, mut problems) = spec::load(workspace, pipeline, sets);
    let Some(spec) = spec else {
        return (None, problems);
    };
    let (plan, found) = plan::resolve(workspace, spec);
    // A value whose `${…}` could not be resolved has the wrong type, too; one message about it is enough.
    let unresolved: Vec<Place> = problems
        .iter()
        .filter(|problem| matches!(problem.code, "undefined-param" | "unclosed-expression"))
        .filter_map(|problem| problem.place.clone())
        .collect();
    let is_news = |problem: &Problem| {
        let place = problem.place.as_ref().filter(|_| problem.code == "wrong-type");
        !place.is_some_and(|place| {
            unresolved.iter().any(|other| place.range.start <= other.range.start && other.range.end <= place.range.end)
        })
    };
    problems.extend(found.into_iter().filter(is_news));
    (plan, problems)
}

/// Returns the pipelines of a workspace, by their files.
pub(super) fn pipelines(workspace: &Workspace) -> Vec<String> {
    let mut found: Vec<String> = ["pipelines/*.yaml", "pipelines/*.yml"]
        .iter()
        .flat_map(|pattern| glob::glob(&workspace.path(pattern).to_string_lossy()).into_iter().flatten().flatten())
        .filter_map(|path| Some(path.strip_prefix(&workspace.root).ok()?.to_string_lossy().into_owned()))
        .collect();
    found.sort();
    found
}

/// Returns the name that a user's word for a pipeline means among runs: that of its file, without folder and ending.
pub(super) fn pipeline_name(word: &str) -> String {
    let file = std::path::Path::new(word);
    let is_file = file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let stem = file.file_stem().filter(|_| is_file).and_then(|stem| stem.to_str());
    stem.unwrap_or(word).to_owned()
}

/// Returns the runs of a plan's pipeline.
pub(super) fn records(plan: &Plan) -> Records {
    Records::new(&plan.workspace.root, &plan.spec.name)
}

/// Finds a run by the name that the user gave.
pub(super) fn run(records: &Records, name: &str) -> Result<Run, Exit> {
    records.find(name).cloned().map_err(|missing| match missing {
        Missing::Unread(unread) => Exit::usage(
            unread.to_string(),
            Some(format!("restore runs/{0}, take it out of runs/, or name another run by its id", unread.name)),
        ),
        Missing::Ambiguous(several) => {
            let some = several.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            Exit::usage(format!("{} runs begin with {name}", several.len()), Some(format!("write more of it: {some}")))
        }
        Missing::Unknown => {
            let mut known: Vec<&str> = records.runs().iter().take(5).map(|run| run.run.as_str()).collect();
            known.extend(records.runs().iter().filter_map(|run| run.label.as_deref()).take(5));
            let help = suggest(name, "the latest are", known)
                .unwrap_or_else(|| "no run is kept under runs/: `etalon run` writes them".to_owned());
            Exit::usage(format!("there is no run {name}"), Some(help))
        }
    })
}

/// Warns about the files under `runs/` that could not be read as runs.
pub(super) fn warn_unread(records: &Records) {
    for unread in records.unread() {
        talk(&format!("warning: {unread}"));
    }
}

pub(super) fn has_error(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

pub(super) fn store(plan: &Plan) -> Result<Arc<Store>, Exit> {
    Ok(Arc::new(Store::open(&plan.workspace.cache)?))
}

/// Opens the store for looking only: what is made lies in a scratch directory.
pub(super) fn scratch(plan: &Plan) -> Result<Arc<Store>, Exit> {
    Ok(Arc::new(Store::open_scratch(&plan.workspace.cache)?))
}

/// Opens a session that reads results of earlier runs and buys nothing.
pub(super) fn reader(plan: &Arc<Plan>) -> Result<Session, Exit> {
    let records = Some(Arc::new(records(plan)));
    let options = Options { is_offline: true, records, ..Options::default() };
    Ok(runtime()?.block_on(Session::open(plan.clone(), store(plan)?, options, Mode::Dry))?)
}

/// Finds the rows of nodes, and reads them once whole; a node without any ends the command.
pub(super) fn rows(session: &Session, nodes: Vec<usize>, pipeline: &str) -> Result<Vec<(usize, Found)>, Exit> {
    let found = found(session, nodes, pipeline)?;
    for (index, rows) in &found {
        whole(session, &session.plan.nodes[*index].name, rows, pipeline)?;
    }
    Ok(found)
}

/// Finds the results of nodes; a node without any ends the command.
pub(super) fn found(session: &Session, nodes: Vec<usize>, pipeline: &str) -> Result<Vec<(usize, Found)>, Exit> {
    let found = |index: usize| {
        let name = &session.plan.nodes[index].name;
        let Some(rows) = execute::find_rows(session, index)? else {
            return Err(Exit::stage(&format!("{name} has not run yet, or failed: etalon run {pipeline}")));
        };
        if rows.is_stale {
            talk(&format!("{name}: the pipeline or its data have changed; these are the rows of the last run"));
        }
        Ok((index, rows))
    };
    let found = nodes.into_iter().map(found).collect();
    session.options.records.iter().for_each(|records| warn_unread(records));
    found
}

/// Reads once what will be shown, before a line of it is: half of a table is no result.
pub(super) fn whole(session: &Session, name: &str, rows: &Found, pipeline: &str) -> Result<(), Exit> {
    execute::verify_rows(session, rows).map_err(|damage| {
        Exit::stage(&format!("the rows of {name} cannot be shown, {damage}: `etalon run {pipeline}` makes them again"))
    })
}

/// Prints warnings.
pub(super) fn warn(problems: &[Problem]) {
    if !problems.is_empty() {
        talk(report::problems(problems, true).trim_end());
    }
}
