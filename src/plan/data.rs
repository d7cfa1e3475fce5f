//! The data that a plan reads, looked at: columns that no row has, files of models.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, build_provider};
use crate::digest::Digest;
use crate::problem::{Place, Problem, suggest};
use crate::stage::{Part, Scanned, Values};
use crate::template::{ColumnUse, Usage};

/// Looks for columns that are read and that no row has. Reads no further than it must.
pub fn check_data(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen_stages: BTreeSet<&str> = BTreeSet::new();
    let mut wanted: BTreeMap<usize, Vec<(String, Place)>> = BTreeMap::new();
    let mut uses: BTreeMap<usize, Vec<ColumnUse>> = BTreeMap::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        if node.inputs.is_empty() {
            wanted.entry(index).or_default().extend(node.stage.columns());
            uses.entry(index).or_default().extend(node.stage.column_uses());
        }
        if let Some((_, root)) = node.inputs.iter().find(|(part, _)| *part == Part::Rows)
            && seen_stages.insert(&node.stage_name)
        {
            wanted.entry(*root).or_default().extend(node.stage.columns());
            uses.entry(*root).or_default().extend(node.stage.column_uses());
        }
    }
    let callees: BTreeSet<&str> =
        plan.nodes.iter().flat_map(|node| node.callees.iter().map(|(_, model)| model.as_str())).collect();
    for (name, model) in callees.into_iter().filter_map(|name| Some((name, plan.spec.models.get(name)?))) {
        let digest = |path: &std::path::Path| std::fs::metadata(path).map(|_| Digest::of(b""));
        let provider = build_provider(&plan.workspace, name, model, None, &digest);
        if let (Ok(provider), Some(place)) = (provider, &model.place)
            && let Err(message) = provider.check()
        {
            problems.push(Problem::error("bad-model", format!("model {name}: {message}")).at(place));
        }
    }
    for (root, reads) in wanted {
        let node = &plan.nodes[root];
        let spec = &plan.spec.stages[&node.stage_name];
        let mut missing: BTreeSet<String> =
            reads.iter().map(|(column, _)| column.clone()).filter(|column| column != "id").collect();
        let uses = uses.remove(&root).unwrap_or_default();
        let watched = uses.iter().map(|used| used.column.clone()).collect();
        let Scanned { columns, values, is_empty } = match node.stage.scan(&plan.workspace, &mut missing, &watched) {
            Ok(scanned) => scanned,
            Err(error) => {
                let place = spec.settings.get("path").map_or(&spec.place, |node| &node.place);
                problems.push(Problem::error("bad-data", error.to_string()).at(place));
                continue;
            }
        };
        if is_empty {
            let place = spec.settings.get("path").map_or(&spec.place, |node| &node.place);
            let message = format!("{} has no rows: there is nothing to evaluate", node.name);
            problems.push(Problem::error("no-rows", message).at(place));
            continue;
        }
        for (column, place) in &reads {
            if missing.contains(column) {
                let help = suggest(column, &format!("columns of {}", node.name), columns.iter().map(String::as_str));
                let message = format!("no row of {} has a column `{column}`", node.name);
                problems.push(Problem::error("unknown-column", message).at(place).maybe_help(help));
                missing.remove(column);
            }
        }
        problems.extend(
            uses.iter()
                .filter(|used| columns.contains(&used.column))
                .filter_map(|used| surprise(used, values.get(&used.column)?, &node.name)),
        );
        for column in missing {
            let place = spec.settings.get("id").map_or(&spec.place, |node| &node.place);
            let help = suggest(&column, &format!("columns of {}", node.name), columns.iter().map(String::as_str));
            problems.push(
                Problem::error("unknown-column", format!("no row of {} has the id column `{column}`", node.name))
                    .at(place)
                    .maybe_help(help),
            );
        }
    }
    problems
}

/// Returns what will surprise the user about how a column is used: a null that is printed, text that is compared with a
/// number or taken for true. `values` is what stands in the column, `dataset` the name of its stage.
fn surprise(used: &ColumnUse, values: &Values, dataset: &str) -> Option<Problem> {
    let column = &used.column;
    let rows = |count: u64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
    let problem = match used.usage {
        Usage::Printed if values.null.rows > 0 => {
            let message = format!(
                "`{column}` is null in {} ({}): the text says `none` there",
                rows(values.null.rows),
                values.null.places()
            );
            let help = format!(
                "`{{{{ row.{column} | default('') }}}}` writes nothing, `where: row.{column} is not none` on {dataset} leaves those rows out"
            );
            Problem::warning("null-column", message).help(help)
        }
        Usage::Printed if values.absent.rows > 0 => {
            let message = format!(
                "`{column}` is absent in {} of {dataset} ({}): the text cannot be made there",
                rows(values.absent.rows),
                values.absent.places()
            );
            let help = format!(
                "`{{{{ row.{column} | default('') }}}}` writes nothing, `where: row.{column} is defined` on {dataset} leaves those rows out"
            );
            Problem::warning("absent-column", message).help(help)
        }
        Usage::Compared if values.text.rows > 0 => {
            let message =
                format!("`row.{column}` is text in {}, and is compared with a number", rows(values.text.rows));
            let help = format!("`types: {{ {column}: number }}` on {dataset} makes numbers of it");
            Problem::error("mixed-types", message).help(help)
        }
        Usage::Condition if values.text.rows > 0 => {
            let message = format!(
                "`row.{column}` is text in {}, and any text but the empty one is true, `False` too",
                rows(values.text.rows)
            );
            let help = format!(
                "`types: {{ {column}: boolean }}` on {dataset} makes true and false of it; for text: `row.{column} != \"\"`"
            );
            Problem::error("mixed-types", message).help(help)
        }
        _ => return None,
    };
    Some(problem.at(&used.place))
}
