//! Text encoders: with weights on this machine they compute vectors of tokens and of texts.
//!
//! A model is a folder with `config.json`, `tokenizer.json` and safetensors weights of BERT, RoBERTa or a relative of
//! theirs; or the name of one in the Hugging Face hub's cache. Finding a model reads only the disk; computing needs the
//! cargo feature `local`.
//!
//! | file | holds |
//! |---|---|
//! | `bert` `bias` | the models, and the one step of them that is written here |
//! | `sentence` `cache` | sentence vectors, computed once per text and kept on disk |
//! | `bertscore` | the similarity of two texts by the vectors of their tokens |
//!
//! **Invariant:** a vector depends on its text alone. Texts are encoded many at a time without padding: their tokens
//! stand one text behind the other, and attention stays within a text.

#[cfg(feature = "local")]
mod bert;
#[cfg(feature = "local")]
mod bertscore;
#[cfg(feature = "local")]
mod bias;
mod cache;
#[cfg(feature = "local")]
mod sentence;

use std::path::{Path, PathBuf};

use serde::Deserialize;

#[cfg(feature = "local")]
pub use bert::{Encoder, TokenVectors};
#[cfg(feature = "local")]
pub use bertscore::{Similarity, TokenWeights, bertscore};
pub use cache::EmbeddingCache;
#[cfg(feature = "local")]
pub use sentence::{SentenceEncoder, cosine};

/// The message when weights are needed and this etalon was built without the feature `local`.
pub const WITHOUT_LOCAL: &str = "this etalon was built without `local`";
/// What to do about an etalon that was built without the feature `local`.
pub const LOCAL_HELP: &str = "build it with `cargo install --path . --features local`";

/// The default sentence encoder.
pub const SENTENCE_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// A model on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFolder {
    pub path: PathBuf,
    pub config: Config,
}

/// The fields of `config.json` that are used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    pub model_type: String,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    #[serde(default)]
    pub pad_token_id: usize,
    #[serde(default = "default_activation")]
    pub hidden_act: String,
}

fn default_epsilon() -> f64 {
    1e-12
}

fn default_activation() -> String {
    "gelu".to_owned()
}

/// Supported model types whose positions start at 0.
const BERT: &[&str] = &["bert"];
/// Supported model types whose positions start behind the number of the padding token.
const ROBERTA: &[&str] = &["roberta", "xlm-roberta", "camembert"];

impl Config {
    fn is_roberta(&self) -> bool {
        ROBERTA.contains(&self.model_type.as_str())
    }

    /// Returns how many tokens a text may have.
    pub fn max_tokens(&self) -> usize {
        if self.is_roberta() {
            self.max_position_embeddings.saturating_sub(self.pad_token_id + 1)
        } else {
            self.max_position_embeddings
        }
    }
}

/// Returns the folder in which the Python libraries keep what they downloaded from the hub.
pub fn hub_cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home =
        || variable("HF_HOME").unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".cache/huggingface"));
    variable("HF_HUB_CACHE").unwrap_or_else(|| home().join("hub"))
}

impl ModelFolder {
    /// Finds a model: a folder of the workspace, or a name in the hub's cache. `@revision` behind the name chooses
    /// another revision than that of `main`.
    ///
    /// # Errors
    ///
    /// The model is not there, lacks a file, or is of a type that is not supported.
    pub fn find(name: &str, root: &Path) -> Result<ModelFolder, String> {
        let folder = root.join(name);
        let path = if folder.is_dir() { folder } else { in_hub(name)? };
        let text = std::fs::read_to_string(path.join("config.json"))
            .map_err(|error| format!("{name} has no config.json: {error}"))?;
        let config: Config =
            serde_json::from_str(&text).map_err(|error| format!("config.json of {name} is not understood: {error}"))?;
        if !BERT.iter().chain(ROBERTA).any(|known| *known == config.model_type) {
            let known: Vec<&str> = BERT.iter().chain(ROBERTA).copied().collect();
            return Err(format!("{name} is a {}; computed are {}", config.model_type, known.join(", ")));
        }
        let model = ModelFolder { path, config };
        if !model.path.join("tokenizer.json").is_file() {
            return Err(format!("{name} has no tokenizer.json"));
        }
        if model.weights().is_empty() {
            return Err(format!("{name} has no *.safetensors"));
        }
        Ok(model)
    }

    /// Returns the paths of the safetensors files.
    fn weights(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .collect();
        // A repository may hold the same weights both whole and in pieces; the whole file is preferred.
        let whole = self.path.join("model.safetensors");
        if found.contains(&whole) {
            return vec![whole];
        }
        found.sort();
        found
    }

    /// Returns the files that decide the vectors, with their names.
    pub fn files(&self) -> Vec<(String, PathBuf)> {
        let named = |path: PathBuf| {
            let name = path.strip_prefix(&self.path).unwrap_or(&path).to_string_lossy().into_owned();
            (name, path)
        };
        let mut files: Vec<(String, PathBuf)> = self.weights().into_iter().map(named).collect();
        for name in ["config.json", "tokenizer.json", POOLING, SENTENCE] {
            files.push((name.to_owned(), self.path.join(name)));
        }
        files.retain(|(_, path)| path.is_file());
        files
    }

    /// Returns how many tokens of a text enter its sentence vector, at most.
    pub fn sentence_tokens(&self) -> usize {
        #[derive(Deserialize)]
        struct Sentence {
            max_seq_length: Option<usize>,
        }
        let said = read::<Sentence>(&self.path.join(SENTENCE)).and_then(|sentence| sentence.max_seq_length);
        said.unwrap_or(usize::MAX).min(self.config.max_tokens())
    }

    /// Returns true if a sentence vector is the vector of the first token, false if it is the mean over all tokens.
    pub fn pools_first(&self) -> bool {
        #[derive(Deserialize)]
        struct Pooling {
            #[serde(default)]
            pooling_mode_cls_token: bool,
        }
        read::<Pooling>(&self.path.join(POOLING)).is_some_and(|pooling| pooling.pooling_mode_cls_token)
    }
}

/// The file in which sentence-transformers says how token vectors become one vector.
const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "sentence_bert_config.json";

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Finds a model in the hub's cache.
fn in_hub(name: &str) -> Result<PathBuf, String> {
    let (repo, revision) = name.split_once('@').unwrap_or((name, "main"));
    let missing = || {
        format!(
            "there is no folder {name} in the workspace, and the hub's cache has no {name}; `hf download {repo}` fetches it"
        )
    };
    let is_name = repo.split('/').count() <= 2
        && repo.split('/').all(|part| {
            !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
        });
    if !is_name || revision.contains(['/', '\\']) || revision.starts_with('.') {
        return Err(format!("there is no folder {name} in the workspace"));
    }
    let folder = hub_cache().join(format!("models--{}", repo.replace('/', "--")));
    let commit = std::fs::read_to_string(folder.join("refs").join(revision))
        .map_or_else(|_| revision.to_owned(), |text| text.trim().to_owned());
    Some(folder.join("snapshots").join(commit)).filter(|path| path.is_dir()).ok_or_else(missing)
}
