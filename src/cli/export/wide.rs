//! Everything about a row side by side: a column for each thing that a node says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::{Map, Value};

use super::plain::{Documents, Rows};
use crate::cli::exit::Exit;
use crate::plan::Plan;
use crate::stage::Part;

/// Rows with what all nodes say of them. They are held in memory, since nodes are read one after the other.
pub(super) struct Wide<'a>(pub Rows<'a>);

/// What says which row it is, or what the row itself has.
const OF_ROW: [&str; 6] = ["id", "sample", "row", "prompt", "model", "pair"];

/// Checks that all nodes rest on the same dataset: rows of others may have the same ids.
pub(super) fn check(plan: &Plan, nodes: &[usize]) -> Result<(), Exit> {
    let root = |node: &usize| plan.nodes[*node].input(Part::Rows).unwrap_or(*node);
    let roots: BTreeSet<&str> = nodes.iter().map(|node| plan.nodes[root(node)].name.as_str()).collect();
    if roots.len() < 2 {
        return Ok(());
    }
    let names = roots.into_iter().collect::<Vec<_>>().join(", ");
    let help = "export the stages over each dataset by themselves".to_owned();
    Err(Exit::usage(format!("rows of different datasets cannot stand side by side: {names}"), Some(help)))
}

impl Documents for Wide<'_> {
    fn each(&self, take: &mut dyn FnMut(&Map<String, Value>) -> io::Result<()>) -> Result<(), Exit> {
        let plan = &self.0.session.plan;
        let mut all: BTreeMap<(String, u64), Map<String, Value>> = BTreeMap::new();
        self.0.each(&mut |index, row, document| {
            let sample = document.get("sample").and_then(Value::as_u64).unwrap_or(0);
            let wide = all.entry((row.row.id.clone(), sample)).or_default();
            for name in &OF_ROW[..4] {
                if let Some(value) = document.get(*name).filter(|_| !wide.contains_key(*name)) {
                    wide.insert((*name).to_owned(), value.clone());
                }
            }
            let node = &plan.nodes[index].name;
            let pair = row.pair.as_ref().map_or_else(String::new, |[a, b]| format!(".{a}-{b}"));
            for (name, value) in document.iter().filter(|(name, _)| !OF_ROW.contains(&name.as_str())) {
                match value {
                    Value::Object(inner) if name == "scores" => {
                        wide.extend(inner.iter().map(|(name, value)| (format!("{node}{pair}.{name}"), value.clone())));
                    }
                    // The answers stand under the stage that bought them, if that is there, too.
                    _ if name == "completion" && self.has_answers_of(index) => {}
                    _ => _ = wide.insert(format!("{node}{pair}.{name}"), value.clone()),
                }
            }
            Ok(())
        })?;
        for wide in all.values() {
            match take(wide) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(Exit::internal(&format!("failed to write: {error}"))),
            }
        }
        Ok(())
    }
}

impl Wide<'_> {
    /// Returns true if the node whose answers a node reads is exported, too.
    fn has_answers_of(&self, index: usize) -> bool {
        let node = &self.0.session.plan.nodes[index];
        let is_exported = |input: &usize| self.0.found.iter().any(|(known, _)| known == input);
        let of_model = |input: &usize| self.0.session.plan.nodes[*input].model == node.model;
        node.model.is_some()
            && node.inputs.iter().map(|(_, input)| input).any(|input| is_exported(input) && of_model(input))
    }
}
