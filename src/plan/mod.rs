//! The plan: a [`PipelineSpec`] resolved into nodes, checked.
//!
//! [`resolve`] types every stage, makes one node per stage and model, orders the nodes, and checks what can be checked
//! without reading data; [`check_data`] then looks for columns that no row has. Both return all problems together. A
//! plan does not know what is cached and what will run: that takes a store (`execute`).
//!
//! | file | holds |
//! |---|---|
//! | `resolve` | from a spec to nodes, with all problems |
//! | `checks` `warnings` `data` | models that cannot be called; what is hardly meant; columns that no row has |
//! | `models` | from a model of the spec to its provider; weights |
//! | `gates` | from the paths of gates to nodes and values |
//! | `schema` | the JSON Schema of a pipeline |

mod checks;
mod data;
mod gates;
mod models;
mod resolve;
mod schema;
mod warnings;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::problem::Place;
use crate::spec::{PipelineSpec, Workspace};
use crate::stage::{Callee, Part, Stage};

pub use checks::twins;
pub use data::check_data;
pub use gates::{Figure, GateTerm, find_term};
pub use models::build_provider;
pub use resolve::resolve;
pub use schema::schema;

/// A pipeline resolved into nodes, each after those that it reads.
#[derive(Clone)]
pub struct Plan {
    pub workspace: Workspace,
    pub spec: PipelineSpec,
    pub nodes: Vec<Node>,
}

/// A stage resolved for one model: `answers.tuned`.
#[derive(Clone)]
pub struct Node {
    /// `stage.model`, or `stage` for a node without a model.
    pub name: String,
    pub stage_name: String,
    pub model: Option<String>,
    pub stage: Arc<dyn Stage>,
    /// The nodes that it reads, as indices into the plan, with the part that each plays.
    pub inputs: Vec<(Part, usize)>,
    /// The models that it calls, with the part that each plays.
    pub callees: Vec<(Callee, String)>,
}

impl Node {
    /// Returns the index of the node that plays a part in this one.
    pub fn input(&self, part: Part) -> Option<usize> {
        self.inputs.iter().find(|(known, _)| *known == part).map(|(_, index)| *index)
    }

    /// Returns the name under which it stands in summaries: that of its model, or `_` without one.
    pub fn column(&self) -> &str {
        self.model.as_deref().unwrap_or("_")
    }
}

impl Plan {
    /// Returns the nodes of a stage (`answers`), or one node (`answers.tuned`), as indices.
    pub fn find(&self, name: &str) -> Vec<usize> {
        let is_meant = |node: &Node| node.name == name || node.stage_name == name;
        (0..self.nodes.len()).filter(|index| is_meant(&self.nodes[*index])).collect()
    }

    /// Returns the names of stages and nodes, for suggestions.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.spec.stages.keys().cloned().collect();
        names.extend(self.nodes.iter().filter(|node| node.model.is_some()).map(|node| node.name.clone()));
        names
    }

    /// Returns for each node whether the given nodes need it; they need themselves.
    pub fn needed(&self, of: &[usize]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        for index in of {
            needed[*index] = true;
        }
        for index in (0..self.nodes.len()).rev() {
            if needed[index] {
                for (_, input) in &self.nodes[index].inputs {
                    needed[*input] = true;
                }
            }
        }
        needed
    }

    /// Returns the role of a model, if it has one.
    pub fn role(&self, model: &str) -> Option<crate::spec::Role> {
        let models = &self.spec.models;
        // Where several stages stand side by side, the name of the stage comes first.
        let behind = || models.get(model.split_once('.')?.1);
        models.get(model).or_else(behind).and_then(|model| model.role)
    }
}

/// The identity of a model: the facts that say which model answers.
pub type Identity = Map<String, Value>;

/// Returns all stages that a stage names, with their places.
fn all_reads(stage: &dyn Stage) -> Vec<(&str, &Place)> {
    stage.input().into_iter().chain(stage.also_reads()).collect()
}
