//! `etalon show`.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::exit::{self, Exit};
use super::filter::Filter;
use super::{Format, Global, Sets, is_read, open, print, talk, width};
use crate::execute;
use crate::plan::Plan;
use crate::problem::suggest;
use crate::report::{self, View};
use crate::stage::StageError;
use crate::store::StoreError;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon show ab answers --limit 3\n  etalon show ab duel.tuned --where 'verdict == \"loss\"'\n  etalon show ab answers --failed"
)]
pub(super) struct ShowArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    /// Stage or node: `answers`, `answers.tuned`
    stage: String,
    #[command(flatten)]
    sets: Sets,
    /// Show this model's rows only
    #[arg(long)]
    model: Option<String>,
    /// Show rows for which an expression holds: `row.intent == "billing" and scores.exact_match == 0`
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
    /// Show rows without a valid result only
    #[arg(long)]
    failed: bool,
    /// Show at most N rows of each node
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Add latency, usage and cost
    #[arg(long)]
    meta: bool,
    /// Show what the rows come to in place of them: values, scores of labels, confusion matrices
    #[arg(long, conflicts_with_all = ["filter", "failed", "limit", "meta"])]
    summary: bool,
}

pub(super) fn run(global: &Global, arguments: &ShowArgs) -> Result<u8, Exit> {
    let (plan, _) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    let nodes = selected(&plan, &arguments.stage, arguments.model.as_deref())?;
    if arguments.summary {
        return summary(global, arguments, &plan, nodes);
    }
    let filter = arguments.filter.as_deref().map(|text| Filter::load(&plan.workspace.library, text)).transpose()?;
    let session = open::reader(&plan)?;
    let mut is_missing = false;
    let records = session.options.records.clone();
    for index in nodes {
        let name = &plan.nodes[index].name;
        let Some(found) = execute::find_rows(&session, index)? else {
            talk(&format!("{name} has not run yet: etalon run {}", arguments.pipeline));
            is_missing = true;
            continue;
        };
        open::whole(&session, name, &found, &arguments.pipeline)?;
        if found.is_stale {
            talk(&format!("{name}: the pipeline or its data have changed; these are the rows of the last run"));
        }
        let mut shown = 0;
        let mut problem = None;
        let result = execute::each_row(&session, index, &found, |row| {
            if arguments.limit.is_some_and(|limit| shown >= limit) {
                return false;
            }
            if arguments.failed && !row.is_failed() {
                return true;
            }
            let document = row.document(arguments.meta);
            match filter.as_ref().map_or(Ok(true), |filter| filter.holds(&document)) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    problem = Some(error);
                    return false;
                }
            }
            shown += 1;
            match global.format {
                Format::Json => print(&Value::Object(document).to_string()),
                Format::Text => print(&report::row(&document)),
            }
            is_read()
        });
        if let Err(StageError::Store(StoreError::Corrupt { .. })) = &result {
            // The manifest is removed, so that the next run makes the node again.
            for manifest in found.inputs.values().chain([&found.manifest]) {
                session.store.forget(&manifest.key);
            }
            talk(&format!(
                "{name}: its stored rows are damaged; `etalon run {}` makes them again without a call",
                arguments.pipeline
            ));
            return Ok(exit::STAGE);
        }
        result?;
        if let Some(error) = problem {
            return Err(Exit::usage(format!("--where: {error}"), None));
        }
        if shown == 0 {
            talk(&format!("{name}: no rows to show"));
        }
    }
    records.iter().for_each(|records| open::warn_unread(records));
    Ok(if is_missing { exit::STAGE } else { exit::OK })
}

/// Shows the summary of nodes instead of their rows.
fn summary(global: &Global, arguments: &ShowArgs, plan: &Arc<Plan>, nodes: Vec<usize>) -> Result<u8, Exit> {
    let session = open::reader(plan)?;
    let found = open::found(&session, nodes, &arguments.pipeline)?;
    let run = execute::summarize(&session, &found);
    match global.format {
        Format::Text => print(&report::summary(&View::of(&run), width())),
        Format::Json => print(
            &json!({
                "etalon": 1, "models": run.models, "stages": run.stages, "summary": run.summary, "values": run.values,
                "tables": run.tables, "signatures": run.signatures,
            })
            .to_string(),
        ),
    }
    Ok(exit::OK)
}

/// Returns the nodes of a stage, or only the one of a model.
pub(super) fn selected(plan: &Plan, stage: &str, model: Option<&str>) -> Result<Vec<usize>, Exit> {
    let mut nodes = plan.find(stage);
    if nodes.is_empty() {
        let names = plan.names();
        let help = suggest(stage, "stages and nodes there are", names.iter().map(String::as_str));
        return Err(Exit::usage(format!("there is no stage or node {stage}"), help));
    }
    if let Some(model) = model {
        let models: Vec<String> = nodes.iter().filter_map(|index| plan.nodes[*index].model.clone()).collect();
        nodes.retain(|index| plan.nodes[*index].model.as_deref() == Some(model));
        if nodes.is_empty() {
            let help = suggest(model, "its models", models.iter().map(String::as_str));
            return Err(Exit::usage(format!("{stage} has no model {model}"), help));
        }
    }
    Ok(nodes)
}
