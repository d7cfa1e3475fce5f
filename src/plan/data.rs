//! The data that a plan reads, looked at: columns that no row has, files of models.

use std::collections::{BTreeMap, BTreeSet};

use super::{Plan, build_provider};
use crate::digest::Digest;
use crate::problem::{Place, Problem, suggest};
use crate::stage::Part;

/// Looks for columns that are read and that no row has. Reads no further than it must.
pub fn check_data(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen_stages: BTreeSet<&str> = BTreeSet::new();
    let mut wanted: BTreeMap<usize, Vec<(String, Place)>> = BTreeMap::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        if node.inputs.is_empty() {
            wanted.entry(index).or_default().extend(node.stage.columns());
        }
        if let Some((_, root)) = node.inputs.iter().find(|(part, _)| *part == Part::Rows)
            && seen_stages.insert(&node.stage_name)
        {
            wanted.entry(*root).or_default().extend(node.stage.columns());
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
        let columns = match node.stage.scan(&plan.workspace, &mut missing) {
            Ok(columns) => columns,
            Err(error) => {
                let place = spec.settings.get("path").map_or(&spec.place, |node| &node.place);
                problems.push(Problem::error("bad-data", error.to_string()).at(place));
                continue;
            }
        };
        for (column, place) in &reads {
            if missing.contains(column) {
                let help = suggest(column, &format!("columns of {}", node.name), columns.iter().map(String::as_str));
                let message = format!("no row of {} has a column `{column}`", node.name);
                problems.push(Problem::error("unknown-column", message).at(place).maybe_help(help));
                missing.remove(column);
            }
        }
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
