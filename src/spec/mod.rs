//! The spec: what the user wrote, read once into a tree that keeps positions.
//!
//! YAML (`yaml`) and TOML (`toml`) become the same [`Node`] tree; `${…}` is resolved on it
//! (`params`); typed values (`values`, `forms`) are decoded from it part by part (`decode`), so that every complaint,
//! also one found much later, points at its place, and all of them are found in one pass. The types say what
//! they take (`described`).
//!
//! [`load`] goes from a pipeline file to a [`PipelineSpec`]: models and gates typed, stages still
//! trees, because what a stage may say belongs to its kind (`stage`).

mod decode;
mod described;
mod forms;
mod gate;
mod lock;
mod model;
mod params;
mod pipeline;
mod teach;
mod toml;
mod tree;
mod values;
mod workspace;
mod yaml;

pub use decode::{decode, unknown_field};
pub use described::{Described, Field};
pub use forms::{OneOrMany, Short, ShortOr, one_or_many};
pub use gate::{Bounds, Comparison, Expression, Gate, Term};
pub use lock::Pins;
pub use model::{MODEL_FIELDS, ModelSettings, ModelSpec, Price, Role};
pub use pipeline::{PipelineSpec, StageSpec, load, value_of};
pub use tree::{Key, Node, NodeValue};
pub use values::{Amount, Positive, Scalar, Share, Template, Whole};
pub use workspace::{MARKER, Workspace, WorkspaceError};
