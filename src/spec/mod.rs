//! The spec: what the user wrote, read once into a tree that keeps positions.
//!
//! YAML (`yaml`) and TOML (`toml`) become the same [`Node`] tree; `${…}` is resolved on it
//! (`params`); typed values are decoded from it part by part (`decode`), so that every complaint,
//! also one found much later, points at its place, and all of them are found in one pass.
//!
//! [`load`] goes from a pipeline file to a [`PipelineSpec`]: models and gates typed, stages still
//! trees, because what a stage may say belongs to its kind (`stage`).

mod decode;
mod gate;
mod lock;
mod model;
mod params;
mod pipeline;
mod teach;
mod toml;
mod tree;
mod workspace;
mod yaml;

pub use decode::{OneOrMany, decode, one_or_many, unknown_field};
pub use gate::{Bounds, Comparison, Expression, Gate, Term};
pub use lock::Pins;
pub use model::{MODEL_FIELDS, ModelSettings, ModelSpec, Price, Role};
pub use pipeline::{PipelineSpec, StageSpec, load, value_of};
pub use tree::{Key, Node, NodeValue};
pub use workspace::{MARKER, Workspace, WorkspaceError};
