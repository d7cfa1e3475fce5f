//! `probe: true`: a server is asked what it serves, and its answer enters the key.
//!
//! Only facts are taken that stay the same as long as the weights do; times, random ids and state are left out. A digest
//! (Ollama's, TGI's commit, that of an entry in `/v1/models`) proves the content. Servers without one name a path or a commit: that shows when another model serves the
//! same address, but not when the weights under a path are replaced.
//!
//! | server | asked | taken |
//! |---|---|---|
//! | Ollama | `/api/tags` | `digest` of the model |
//! | llama.cpp | `/props` | `model_path`, `chat_template`, `build_info` |
//! | TGI | `/info` | `model_id`, `model_sha`, `version` |
//! | SGLang | `/model_info`, once `/get_model_info` | `model_path`, `weight_version`, `load_format` |
//! | vLLM, others | `/v1/models` | `root`, `parent`, `max_model_len`, `meta`, digests; `version` of `/version` |

use serde_json::{Map, Value};

use super::http::Endpoint;
use super::reply::start;
use super::{CallError, ErrorKind};

/// So many names of models fit into a message.
const MOST_NAMES: usize = 20;
/// What the entry of a model in `/v1/models` may say of it.
const ENTRY: &[&str] = &["root", "parent", "max_model_len", "meta", "digest", "sha256", "sha", "model_sha", "revision"];
/// Facts that may be a digest of the content.
const DIGESTS: &[&str] = &["digest", "sha256", "sha", "model_sha", "revision"];

/// Asks a server what it serves under the name of a model.
pub(super) async fn ask(endpoint: &Endpoint, model: &str) -> Result<Map<String, Value>, CallError> {
    let models = get(endpoint, "/v1/models").await?;
    if let Some(tags) = get(endpoint, "/api/tags").await?
        && let Some(digest) = ollama_digest(&tags, model)
    {
        return Ok(facts("ollama", [("digest".to_owned(), digest)]));
    }
    for (server, path, names) in [
        ("llama.cpp", "/props", &["model_path", "chat_template", "build_info"][..]),
        ("tgi", "/info", &["model_id", "model_sha", "version"]),
        ("sglang", "/model_info", &["model_path", "weight_version", "load_format"]),
        ("sglang", "/get_model_info", &["model_path", "weight_version", "load_format"]),
    ] {
        if let Some(answer) = get(endpoint, path).await?
            && answer.get(names[0]).is_some_and(Value::is_string)
        {
            return Ok(facts(server, taken(&answer, names)));
        }
    }
    let entry = models.as_ref().and_then(|models| models["data"].as_array()).and_then(|models| {
        let is_meant = |entry: &&Value| entry["id"] == model;
        models.iter().find(is_meant)
    });
    let said: Vec<(String, Value)> = entry.map(|entry| taken(entry, ENTRY)).unwrap_or_default();
    if said.is_empty() {
        let message = format!(
            "{} does not say what it serves as `{model}`; name the weights with `weights:` or `revision:` instead of `probe:`",
            endpoint.base_url
        );
        return Err(CallError::new(ErrorKind::Fatal, message));
    }
    let version = get(endpoint, "/version").await?.map(|answer| taken(&answer, &["version"]));
    Ok(facts("openai", said.into_iter().chain(version.unwrap_or_default())))
}

/// Returns the names of the models that a server has, at most 20; none if it does not tell.
pub(super) async fn models(endpoint: &Endpoint) -> Vec<String> {
    let listed = get(endpoint, "/v1/models").await.ok().flatten().unwrap_or_default();
    let models = listed["data"].as_array().into_iter().flatten();
    let names: Vec<String> = models.filter_map(|model| model["id"].as_str()).map(start).collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    let rest = (more > 0).then(|| format!("and {more} more"));
    names.into_iter().take(MOST_NAMES).chain(rest).collect()
}

/// Returns true for a full commit hash (SHA-1 or SHA-256), which no one can move.
pub(super) fn is_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns true if the facts prove the content, by a digest or a full commit hash.
pub(super) fn is_content(facts: &Map<String, Value>) -> bool {
    let is_digest = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        is_commit(text.rsplit_once(':').map_or(text, |(_, digest)| digest))
    };
    DIGESTS.iter().any(|name| facts.get(*name).is_some_and(is_digest))
}

/// Gets a document; none if the server has nothing at that path.
async fn get(endpoint: &Endpoint, path: &str) -> Result<Option<Value>, CallError> {
    match endpoint.get(path).await {
        Ok(text) => Ok(serde_json::from_str(&text).ok()),
        Err(error) if error.kind == ErrorKind::Permanent => Ok(None),
        Err(error) => Err(error),
    }
}

fn facts(server: &str, said: impl IntoIterator<Item = (String, Value)>) -> Map<String, Value> {
    std::iter::once(("server".to_owned(), server.into())).chain(said).collect()
}

/// Returns those of the named fields that are present. From `meta` the context length is left out, since it depends on
/// how the server was started, not on the weights.
fn taken(answer: &Value, names: &[&str]) -> Vec<(String, Value)> {
    let value = |name: &str| {
        let mut value = answer.get(name).filter(|value| !value.is_null())?.clone();
        if let Some(meta) = value.as_object_mut() {
            meta.shift_remove("n_ctx");
        }
        Some(value)
    };
    names.iter().filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect()
}

/// Returns the digest of a model; a name without a tag stands for `latest`.
fn ollama_digest(tags: &Value, model: &str) -> Option<Value> {
    let full = if model.contains(':') { model.to_owned() } else { format!("{model}:latest") };
    let entry = tags["models"].as_array()?.iter().find(|entry| entry["name"] == full || entry["model"] == full)?;
    entry.get("digest").filter(|digest| digest.is_string()).cloned()
}
