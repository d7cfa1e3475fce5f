//! Stages: what the nodes of a pipeline are, and what they do.
//!
//! A [`Stage`] is the typed settings of a stage. It says which nodes it becomes and what they depend on
//! ([`Stage::fingerprint`]), and makes the rows of a node ([`Stage::run`]). A plan and a run go through the same code:
//! a plan gives it desks that never buy ([`Mode::Dry`]), so a plan counts exactly what a run will send.
//!
//! | file | holds |
//! |---|---|
//! | `dataset/` `inference/` `metric/` `judge/` | the kinds |
//! | `part` | the parts that inputs and models play in a node |
//! | `desk` | buying completions: log first, one buyer per model, nothing twice |
//! | `drive` | concurrent work on rows, with results in order |
//! | `earlier` | earlier results, whose unchanged rows are taken over |
//! | `join` | streaming joins of artifacts by id |
//! | `conversation` | what is asked: turns written as templates, or a row's own |
//! | `paired` | nodes that are compared row by row |
//! | `prompt` | templates with what they add to a key; variables |
//! | `progress` | how far a node is |
//! | `scanned` | what a look at a dataset found |
//!
//! **Adding a stage kind:** one folder with `Settings` and a `parse` function, one line in [`KINDS`], an example
//! pipeline and its tests. If its nodes make something new, [`Makes`] gets a variant, and `execute::rows` shows it; if
//! tables should show its values, `report::view` names the kind. A kind has a revision, which is bumped whenever its
//! output changes its meaning.

mod conversation;
mod dataset;
mod desk;
mod drive;
mod earlier;
mod inference;
mod join;
mod judge;
mod metric;
mod paired;
mod part;
mod progress;
mod prompt;
mod scanned;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

pub use conversation::Shown;
pub use dataset::quotas;
pub use desk::{Account, Budget, Buyer, Checked, Desk, Mode, Preflight, Quote, Recorder, Unready, Waiting};
pub use earlier::Earlier;
pub use join::{Join, Joined, of_sample};
pub use judge::read;
pub use metric::{FileScores, ScoreError, ScoreFile, score_file};
pub use paired::{Contrast, RowValues, is_mean};
pub use part::{Callee, Inputs, MAX_CONTESTANTS, MAX_JUDGES, Part};
pub use progress::Progress;
pub use scanned::{Scanned, Seen, Values};

use crate::digest::Digest;
use crate::label::Sheet;
use crate::problem::{Place, Problem};
use crate::process::Launch;
use crate::provider::Message;
use crate::row::{Completion, Row};
pub use crate::score::{Drift, DriftVerdict};
use crate::score::{Estimate, Reading, Summary, Unit};
use crate::spec::{ModelSpec, RowsRole, StageSpec, Workspace};
use crate::store::{Artifact, Counts, Fingerprint, Manifest, Store, StoreError};
use crate::template::ColumnUse;

/// A kind of stage.
pub struct Kind {
    pub name: &'static str,
    /// The kinds that its `input` may have; empty for a kind without an input.
    pub input: &'static [&'static str],
    pub parse: Parse,
    /// Returns the JSON Schema of its settings.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// The kinds there are.
pub const KINDS: &[Kind] = &[
    Kind { name: "dataset", input: &[], parse: dataset::parse, schema: dataset::Settings::json_schema },
    Kind {
        name: "inference",
        input: &["dataset", "inference"],
        parse: inference::parse,
        schema: inference::Settings::json_schema,
    },
    Kind { name: "metric", input: &["inference"], parse: metric::parse, schema: metric::Settings::json_schema },
    Kind { name: "judge", input: &["inference"], parse: judge::parse, schema: judge::Settings::json_schema },
];

/// Parses a stage's settings.
pub type Parse = fn(&StageSpec, &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>>;

/// What a stage's settings may refer to.
pub struct Scope<'a> {
    pub workspace: &'a Workspace,
    pub models: &'a IndexMap<String, ModelSpec>,
    pub params: &'a IndexMap<String, Value>,
    /// Names of models and stages whose own definition has problems. A reference to one is not reported as a mistake,
    /// since the definition is reported already.
    pub broken: &'a BTreeSet<String>,
    /// All stages as they are written.
    pub stages: &'a IndexMap<String, StageSpec>,
}

/// An artifact that a node reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The part that it plays in the node.
    pub part: Part,
    pub stage: String,
    pub model: Option<String>,
}

/// A stage that another one reads.
pub struct Upstream<'a> {
    pub name: &'a str,
    pub stage: &'a dyn Stage,
    /// The models of its nodes, in order; empty for a stage with a single node without a model.
    pub models: Vec<String>,
    /// The name of the dataset stage at the start of its chain of inputs.
    pub root: String,
}

/// The stages that a stage reads.
pub struct Reads<'a> {
    pub input: Upstream<'a>,
    /// In the order of [`Stage::also_reads`]; stages that do not exist are left out.
    pub others: Vec<Upstream<'a>>,
}

/// Names that other tools have for our kinds, for suggestions.
pub const KIND_ALIASES: &[(&str, &str)] = &[
    ("data", "dataset"),
    ("rows", "dataset"),
    ("source", "dataset"),
    ("input", "dataset"),
    ("llm", "inference"),
    ("model", "inference"),
    ("generate", "inference"),
    ("generation", "inference"),
    ("completion", "inference"),
    ("prompt", "inference"),
    ("task", "inference"),
    ("eval", "metric"),
    ("evaluation", "metric"),
    ("metrics", "metric"),
    ("score", "metric"),
    ("scorer", "metric"),
    ("assert", "metric"),
    ("grader", "judge"),
    ("rubric", "judge"),
    ("llm_judge", "judge"),
    ("model_graded", "judge"),
    ("compare", "judge"),
    ("pairwise", "judge"),
];

/// Returns the digest of a file.
pub type DigestFile<'a> = dyn Fn(&Path) -> std::io::Result<Digest> + Sync + 'a;

/// What a node's key is made from, beside the stage's settings.
pub struct Facts<'a> {
    pub model: Option<&'a str>,
    pub params: &'a IndexMap<String, Value>,
    /// Upstream results by part.
    pub inputs: &'a Inputs,
    /// The models of upstream results, by part.
    pub input_models: &'a BTreeMap<Part, String>,
    /// Identities of models by name.
    pub identities: &'a BTreeMap<String, Map<String, Value>>,
    /// The stage that `input` names.
    pub upstream: Option<&'a dyn Stage>,
    /// At most so many rows of each dataset (`--limit`).
    pub limit: Option<u64>,
    pub workspace: &'a Workspace,
    pub digest_file: &'a DigestFile<'a>,
}

/// Everything that is needed to make a node's rows.
pub struct Job {
    pub node: String,
    pub model: Option<String>,
    pub params: IndexMap<String, Value>,
    /// At most so many rows of each dataset (`--limit`).
    pub limit: Option<u64>,
    pub workspace: Workspace,
    pub store: Arc<Store>,
    /// Upstream results by part.
    pub inputs: Inputs,
    /// The models of upstream results, by part.
    pub input_models: BTreeMap<Part, String>,
    /// The stage that `input` names.
    pub upstream: Option<Arc<dyn Stage>>,
    /// The accounts of the models that the node calls, by model name.
    pub accounts: BTreeMap<String, Arc<Account>>,
    pub progress: Arc<Progress>,
    /// Set when the user wants to stop: nothing new is sent.
    pub stop: Arc<AtomicBool>,
    /// No row may fail.
    pub is_fail_fast: bool,
    /// An earlier result of the node, made in the same way from other inputs.
    pub earlier: Option<Earlier>,
}

/// What a node made.
#[derive(Clone, Debug)]
pub struct Produced {
    pub artifact: Artifact,
    pub meta: Option<Artifact>,
    pub counts: Counts,
    pub summary: Summary,
    /// Things a user should know, such as rows that were skipped.
    pub notes: Vec<String>,
}

/// Why a node could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node's own input or endpoint is at fault.
    #[error("{0}")]
    Failed(String),
    /// A model that is to be asked about what the node makes cannot be asked, so nothing is bought for it.
    #[error("{}", .0.message)]
    Behind(Unready),
    #[error("interrupted")]
    Interrupted,
}

impl StageError {
    /// Returns the error of a node whose own input or endpoint is at fault.
    pub fn failed(message: impl Into<String>) -> StageError {
        StageError::Failed(message.into())
    }
}

/// A stage's typed settings.
pub trait Stage: Send + Sync {
    fn kind(&self) -> &'static str;

    /// Returns what the nodes of the stage make.
    fn makes(&self) -> Makes;

    /// Returns the stage that `input` names, with its place.
    fn input(&self) -> Option<(&str, &Place)>;

    /// Returns what its rows are for, if it reads rows into the pipeline.
    fn rows_role(&self) -> Option<RowsRole> {
        None
    }

    /// Returns the models of its nodes, given the models of its input; none for a single node without a model.
    fn models(&self, reads: Option<&Reads<'_>>) -> Option<Vec<String>>;

    /// Returns the stages that it reads beside its input, with their places.
    fn also_reads(&self) -> Vec<(&str, &Place)> {
        Vec::new()
    }

    /// Finds what is wrong between this stage and the stages and models that it reads.
    fn check_input(&self, _reads: &Reads<'_>, _problems: &mut Vec<Problem>) {}

    /// Finds what is allowed but hardly what the user meant.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Returns what a node reads. The rows of the dataset at the root, and what the prompts of its input read, are left
    /// out; the plan adds them.
    fn inputs(&self, model: Option<&str>, reads: &Reads<'_>) -> Vec<Input>;

    /// Returns true if its prompts show what the judged model was asked.
    fn shows_prompt(&self) -> bool {
        false
    }

    /// Returns the models that a node calls, each with the part it plays in the node.
    fn callees(&self, model: Option<&str>) -> Vec<(Callee, String)>;

    /// Returns the columns of the root dataset that its templates read by name, with the places where they do.
    fn columns(&self) -> Vec<(String, Place)>;

    /// Returns how its templates use the columns of the root dataset: what they print, compare with numbers, take for
    /// true.
    fn column_uses(&self) -> Vec<ColumnUse> {
        Vec::new()
    }

    /// Finds out which columns a dataset has. It removes from `wanted` the columns that some row has, and returns all
    /// columns that it met, with what stands in the `watched` ones. Other kinds want nothing.
    fn scan(
        &self,
        _workspace: &Workspace,
        wanted: &mut BTreeSet<String>,
        _watched: &BTreeSet<String>,
    ) -> Result<Scanned, StageError> {
        wanted.clear();
        Ok(Scanned::default())
    }

    /// Fetches remote data that this machine does not have yet.
    fn prepare<'a>(&'a self, _workspace: &'a Workspace, _is_offline: bool) -> BoxFuture<'a, Result<(), StageError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns the programs that its nodes start, beside those that answer for models.
    fn launches(&self, _workspace: &Workspace, _digest_file: &DigestFile<'_>) -> Result<Vec<Launch>, StageError> {
        Ok(Vec::new())
    }

    /// Returns everything that a node's output depends on.
    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError>;

    /// Makes a node's rows.
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>>;

    /// Returns what people are asked when they label the rows; none for a kind whose rows nobody labels.
    fn sheet(&self) -> Option<Sheet> {
        None
    }

    /// Returns what there is to say of two nodes whose values rest on different rows.
    fn shared_note(&self, _store: &Store, _contrast: &Contrast<'_>) -> Result<Option<String>, StageError> {
        Ok(None)
    }

    /// Returns the least and the greatest number that a value can be; none if it has no bounds.
    fn range(&self, value: &str) -> Option<(f64, f64)> {
        self.reading(value)?.range()
    }

    /// Returns a value row by row, each averaged over its samples; none if it is nothing that rows have.
    fn row_values(&self, _store: &Store, _node: &Manifest, _value: &str) -> Result<Option<RowValues>, StageError> {
        Ok(None)
    }

    /// Returns the column whose values put rows that depend on each other into clusters.
    fn cluster(&self) -> Option<&str> {
        None
    }

    /// Returns true if its nodes can be compared with each other.
    fn has_contrasts(&self) -> bool {
        false
    }

    /// Returns the settings that decide how two nodes compare, beside their rows; part of the key under which the
    /// comparison is kept.
    fn contrast_facts(&self, _contrast: &Contrast<'_>) -> Value {
        Value::Null
    }

    /// Returns the values that a node has only in comparison with another one, such as `overall.of_ceiling`, by flat
    /// name.
    fn contrast(&self, _store: &Store, _contrast: &Contrast<'_>) -> Result<IndexMap<String, Estimate>, StageError> {
        Ok(IndexMap::new())
    }

    /// Returns how a node's verdicts shifted because its instrument changed; none if it did not, or where the kind has
    /// no instrument.
    fn drift(&self, _store: &Store, _before: &Manifest, _now: &Manifest) -> Result<Option<Drift>, StageError> {
        Ok(None)
    }

    /// Returns the summary values that can be named before a run, in the order of tables, each with how it is to be
    /// read.
    fn values(&self) -> Vec<(String, Reading)>;

    /// Returns how a value of its summary is to be read; none if there can be no such value. A stage overrides it that
    /// has values which only a run can name.
    fn reading(&self, value: &str) -> Option<Reading> {
        self.values().into_iter().find(|(name, _)| name == value).map(|(_, reading)| reading)
    }

    /// Returns the unit of a value of its summary; none if there can be no such value.
    fn unit(&self, value: &str) -> Option<Unit> {
        self.reading(value).map(|reading| reading.unit)
    }

    /// Returns the path of a file that the fingerprint names by a label.
    fn file(&self, _label: &str) -> Option<String> {
        None
    }

    /// Returns the texts of its templates and of everything that they include, by their names in the fingerprint.
    fn sources(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Returns true if its rows come from prompts that can be rendered again.
    fn has_prompt(&self) -> bool {
        false
    }

    /// Renders what was asked for a row and a sample: a list of messages.
    fn asked(&self, _shown: &Shown<'_>) -> Option<Vec<Message>> {
        None
    }

    /// Adds to the key of a stage that shows this stage's prompts what those prompts depend on.
    fn add_prompt(&self, _fingerprint: &mut Fingerprint, _facts: &Facts<'_>) {}

    /// Returns what its templates take out of a completion and its row, as `show` prints it: `prediction` and
    /// `reference`, or a map of them by metric under `extracted`. Other kinds take nothing out.
    fn extracted(
        &self,
        _row: &Row,
        _completion: &Completion,
        _model: Option<&str>,
        _params: &IndexMap<String, Value>,
    ) -> Map<String, Value> {
        Map::new()
    }
}

/// What the nodes of a stage make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Rows of a dataset.
    Rows,
    /// Completions, each with its row, model and sample.
    Completions,
    /// Scores of completions.
    Scores,
    /// Judgements of completions, or of pairs of them.
    Judgements,
}

/// Returns the `coverage` of a stage: valid rows as a share of all, 0 to 1. It is a fact, not an estimate, so it has no
/// interval.
fn coverage(valid: u64, all: u64) -> Estimate {
    Estimate {
        value: (all > 0).then(|| valid as f64 / all as f64),
        low: None,
        high: None,
        n: all,
        missing: all - valid,
    }
}

/// Returns the seed of a summary's bootstrap. It depends only on what is summed up and how, so unchanged data keep
/// their interval.
fn seed_of(name: &str, settings: &Value) -> u64 {
    Digest::of_json("etalon.seed", &Value::Array(vec![name.into(), settings.clone()])).seed()
}
