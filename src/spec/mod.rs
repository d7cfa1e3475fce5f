//! The spec: what the user wrote, read once into a tree that keeps positions.
//!
//! YAML (`yaml`) and TOML (`toml`) become the same [`Node`] tree, on which `${…}` is resolved (`params`). Typed values
//! (`values`, `forms`) are decoded from the tree part by part (`decode`). So every problem points at its place, even
//! one that is found much later, and all problems are found in one pass. The types say themselves which values they
//! take (`described`); `teach` knows what to write instead.
//!
//! [`load`] goes from a pipeline file to a [`PipelineSpec`]: models and gates are typed, while stages stay trees,
//! because the settings of a stage depend on its kind (`stage`).
//!
//! | file | holds |
//! |---|---|
//! | `yaml` `toml` `tree` | text to a tree of nodes with positions |
//! | `pipeline` `workspace` `model` `gate` | a pipeline file, `etalon.toml`, models, gates |
//! | `params` | `${…}` resolved on the tree |
//! | `decode` `values` `forms` `described` `teach` | the tree to typed values; types of settings; messages that say what to write |
//! | `lock` | `etalon.lock`: pins of remote data |
//! | `consent` | the user's own settings: what pipelines may start and read |

mod consent;
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

pub use consent::{Consent, KeyHost};
pub use decode::{decode, unknown_field};
pub use described::{Described, Field};
pub use forms::{OneOrMany, Short, ShortOr, TextOrList, one_or_many};
pub use gate::{Bounds, Comparison, Expression, Gate, Term, Weighted};
pub use lock::Pins;
pub use model::{MODEL_FIELDS, ModelSettings, ModelSpec, Price, Role, RowsRole};
pub use pipeline::{PipelineSpec, StageSpec, load, value_of};
pub use tree::{Key, Node, NodeValue};
pub use values::{Amount, Positive, Scalar, Share, Template, Whole};
pub use workspace::{MARKER, Workspace, WorkspaceError};
