//! The plan: a [`PipelineSpec`] resolved into nodes, checked.
//!
//! [`resolve`] types every stage, fans stages out over models, orders the nodes and checks what can
//! be checked without reading data; [`check_data`] then looks for columns that no row has. All
//! problems come back together. What is cached and what will run is not known here: that takes a
//! store (`execute`).

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
    /// `stage.model`, or `stage` where it has no model.
    pub name: String,
    pub stage_name: String,
    pub model: Option<String>,
    pub stage: Arc<dyn Stage>,
    /// Indices of the nodes that it reads, by their part.
    pub inputs: Vec<(Part, usize)>,
    /// Models that it calls, by their part.
    pub callees: Vec<(Callee, String)>,
}

impl Node {
    /// Returns the index of the node that plays a part for it.
    pub fn input(&self, part: Part) -> Option<usize> {
        self.inputs.iter().find(|(known, _)| *known == part).map(|(_, index)| *index)
    }

    /// Returns the model's name as it stands in summaries: `_` where there is none.
    pub fn column(&self) -> &str {
        self.model.as_deref().unwrap_or("_")
    }
}

impl Plan {
    /// Returns the nodes of a stage (`answers`) or the one node (`answers.tuned`).
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

    /// Returns the nodes that the given ones need, themselves included.
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

    /// Returns the role of a model, as text.
    pub fn role(&self, model: &str) -> Option<crate::spec::Role> {
        self.spec.models.get(model).and_then(|model| model.role)
    }
}

/// The identity of a model as facts.
pub type Identity = Map<String, Value>;

/// Returns all stages that a stage names, with their places.
fn all_reads(stage: &dyn Stage) -> Vec<(&str, &Place)> {
    stage.input().into_iter().chain(stage.also_reads()).collect()
}
