//! The workspace: the directory with `etalon.toml`, where all relative paths start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::consent::Consent;
use super::decode::decode;
use super::toml;
use super::tree::{Node, NodeValue};
use crate::problem::{Problem, Source};
use crate::template::Library;

/// The file that marks a workspace.
pub const MARKER: &str = "etalon.toml";

/// A workspace that has been read.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub root: PathBuf,
    /// Where artifacts and completions are kept; `cache/` unless said.
    pub cache: PathBuf,
    /// Dollars that a run may cost, unless it says so itself.
    pub budget: Option<f64>,
    /// Every run keeps its scores row by row beside it, not only one with a label.
    pub keeps_scores: bool,
    /// The models of `etalon.toml`, which every pipeline may use. They are still trees, since `extends` and `${…}` may
    /// refer to the pipeline.
    pub(super) models: IndexMap<String, Node>,
    pub library: Library,
    /// What the user has consented to here.
    pub consent: Consent,
}

/// Why a workspace could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("there is no directory {}", .0.display())]
    NoDirectory(PathBuf),
    #[error("the settings have errors")]
    Problems(Vec<Problem>),
}

/// What `etalon.toml` may say, beside the models.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The directory of the cache.
    cache: Option<String>,
    /// Dollars that a run may cost.
    budget: Option<f64>,
    /// Keep the scores row by row beside every run, not only beside one with a label.
    #[serde(default)]
    scores: bool,
    /// Taken out before: it is here so that messages name it.
    #[serde(rename = "models")]
    _models: Option<IndexMap<String, serde_json::Value>>,
}

impl Workspace {
    /// Opens the workspace at `directory`; without one, the nearest workspace at or above the current directory. If
    /// there is no `etalon.toml`, the current directory is the workspace.
    ///
    /// # Errors
    ///
    /// The directory does not exist, or `etalon.toml` or the user's own settings have problems.
    pub fn open(directory: Option<&Path>) -> Result<Workspace, WorkspaceError> {
        // An absolute one, since globs leave a leading `./` out of the paths that they find.
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        let root = match directory {
            Some(directory) if directory.is_dir() => {
                std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned())
            }
            Some(directory) => return Err(WorkspaceError::NoDirectory(directory.to_owned())),
            None => std::env::current_dir()
                .ok()
                .and_then(|start| start.ancestors().find(|parent| parent.join(MARKER).is_file()).map(Path::to_owned))
                .unwrap_or(here),
        };
        let consent = Consent::read(&root).map_err(WorkspaceError::Problems)?;
        let library = Library::new(root.join("templates"));
        let mut workspace = Workspace {
            cache: root.join("cache"),
            budget: None,
            keeps_scores: false,
            models: IndexMap::new(),
            library: consent.folders().into_iter().fold(library, Library::within),
            root,
            consent,
        };
        let Ok(bytes) = std::fs::read(workspace.root.join(MARKER)) else {
            return Ok(workspace);
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let source = Arc::new(Source { path: MARKER.to_owned(), text });
        let mut node = toml::parse(&source).map_err(WorkspaceError::Problems)?;
        if let Some(models) = node.remove("models") {
            let NodeValue::Map(entries) = models.value else {
                let problem = Problem::error("wrong-type", "`models` is a table of models").at(&models.place);
                return Err(WorkspaceError::Problems(vec![problem]));
            };
            workspace.models = entries.into_iter().map(|(key, node)| (key.text, node)).collect();
        }
        let settings: Settings = decode(&node, "etalon.toml").map_err(WorkspaceError::Problems)?;
        let wrong = |field: &str, message: &str| {
            let place = node.get(field).map_or(&node.place, |node| &node.place);
            WorkspaceError::Problems(vec![Problem::error("wrong-value", message).at(place)])
        };
        if settings.budget.is_some_and(|dollars| !(dollars >= 0.0 && dollars.is_finite())) {
            return Err(wrong("budget", "`budget` is an amount of dollars, 0 or more"));
        }
        workspace.budget = settings.budget;
        workspace.keeps_scores = settings.scores;
        if let Some(cache) = settings.cache {
            if Path::new(cache.trim()).components().all(|part| matches!(part, std::path::Component::CurDir)) {
                return Err(wrong(
                    "cache",
                    "`cache` is a directory of its own, not the workspace: `cache = \"cache\"`",
                ));
            }
            workspace.cache = workspace.root.join(cache);
        }
        Ok(workspace)
    }

    /// Returns the problem of a file that a pipeline may not read, since it lies outside of the workspace and the user
    /// allows no pipeline to read there.
    pub fn refusal(&self, name: &str) -> Option<Problem> {
        let (message, help) = self.consent.refusal(name, &self.path(name))?;
        Some(Problem::error("outside-workspace", message).help(help))
    }

    /// Returns a path of the spec as a path of the file system.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}
