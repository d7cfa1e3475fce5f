//! Models: from a [`ModelSpec`] to a provider, weights digested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::problem::suggest;
use crate::provider::{BuildError, Building, PROVIDERS, Provider};
use crate::spec::{ModelSpec, Workspace};

/// Files of a weights folder that do not change what a model says: traces of its training, papers.
/// Everything else counts, also what etalon does not know: a rerun costs less than a stale result.
const TRAINING: &[&str] = &[
    "optimizer",
    "scheduler",
    "rng_state",
    "training_args",
    "scaler",
    "random_states",
    "trainer_state",
    "events.out",
    "all_results",
    "train_results",
    "eval_results",
    "readme",
    "license",
    "notice",
];
const PAPERS: &[&str] = &["md", "log", "png", "svg", "jpg", "pdf", "csv", "lock", "tmp"];

/// Builds a model's provider. `probe` is what its server said of itself, where it was asked;
/// `digest_file` returns the digest of a file.
pub fn build_provider(
    workspace: &Workspace,
    name: &str,
    spec: &ModelSpec,
    probe: Option<&Map<String, Value>>,
    digest_file: &dyn Fn(&Path) -> std::io::Result<Digest>,
) -> Result<Box<dyn Provider>, BuildError> {
    let provider = spec.provider.as_deref().unwrap_or_default();
    let Some((_, build)) = PROVIDERS.iter().find(|(known, _)| *known == provider) else {
        return Err(BuildError {
            message: format!("there is no provider `{provider}`"),
            help: alias(provider)
                .or_else(|| suggest(provider, "providers there are", PROVIDERS.iter().map(|(known, _)| *known))),
        });
    };
    let weights = weights(workspace, &spec.weights, digest_file)?;
    let (root, library) = (&*workspace.root, &workspace.library);
    build(&Building { name, spec, weights, probe, root, library, digest_file })
}

/// Returns what to write for a server or a vendor.
fn alias(provider: &str) -> Option<String> {
    let lower = provider.to_lowercase().replace(['_', ' ', '.'], "-");
    let port = match lower.as_str() {
        "vllm" => "127.0.0.1:8000",
        "ollama" => "127.0.0.1:11434",
        "llama-cpp" | "llamacpp" | "tgi" | "huggingface" | "lmstudio" | "lm-studio" => "127.0.0.1:8080",
        "sglang" => "127.0.0.1:30000",
        "litellm" => "127.0.0.1:4000",
        "claude" => return Some("provider: anthropic".to_owned()),
        "gpt" | "chatgpt" | "openai-chat" | "oai" => return Some("provider: openai".to_owned()),
        "azure" | "openrouter" | "together" | "mistral" | "groq" | "deepseek" | "gemini" | "google" | "fireworks" => {
            return Some(format!(
                "its API is like OpenAI's: `provider: openai, base_url: https://…, api_key_env: {}_API_KEY`",
                lower.to_uppercase()
            ));
        }
        _ => return None,
    };
    Some(format!("its API is like OpenAI's: `provider: openai, base_url: http://{port}/v1`"))
}

/// Returns the digests of all files of weights, by their name within their folder.
fn weights(
    workspace: &Workspace,
    patterns: &[String],
    digest_file: &dyn Fn(&Path) -> std::io::Result<Digest>,
) -> Result<BTreeMap<String, Digest>, BuildError> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let path = workspace.path(pattern);
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        if path.is_file() {
            files.push((file_name(&path), path.clone()));
        } else if path.is_dir() {
            in_folder(&path, &path, &mut files)?;
        } else {
            for path in glob::glob(&path.to_string_lossy()).into_iter().flatten().flatten() {
                if path.is_dir() {
                    in_folder(&path, &path, &mut files)?;
                } else {
                    files.push((file_name(&path), path));
                }
            }
        }
        if files.is_empty() {
            let what = if path.is_dir() { "holds no weights" } else { "names no file or folder" };
            return Err(BuildError {
                message: format!("`weights: {pattern}` {what}"),
                help: Some(
                    "a file, a folder or a glob, from the workspace; where the weights are on another machine, \
                     `revision: iter-3` or `probe: true`"
                        .to_owned(),
                ),
            });
        }
        for (name, path) in files {
            let digest = digest_file(&path).map_err(|error| BuildError {
                message: format!("failed to read {}: {error}", path.display()),
                help: None,
            })?;
            // Two folders may hold files of one name: each counts.
            let mut own = name.clone();
            while found.contains_key(&own) {
                own = format!("{own}+");
            }
            found.insert(own, digest);
        }
    }
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn in_folder(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<(), BuildError> {
    let unreadable = |error: std::io::Error| BuildError {
        message: format!("failed to read {}: {error}", folder.display()),
        help: None,
    };
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = file_name(&path);
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            // Checkpoints beside the final weights are other models.
            if !name.starts_with("checkpoint-") {
                in_folder(root, &path, files)?;
            }
        } else if is_weight(&name) {
            let within = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((within, path));
        }
    }
    Ok(())
}

fn is_weight(name: &str) -> bool {
    let lower = name.to_lowercase();
    let extension = lower.rsplit_once('.').map_or("", |(_, extension)| extension);
    !TRAINING.iter().any(|training| lower.starts_with(training)) && !PAPERS.contains(&extension)
}

#[cfg(test)]
mod tests {
    use super::is_weight;

    #[test]
    fn weights_are_told_from_training_files() {
        for name in [
            "model-00001-of-00002.safetensors",
            "adapter_model.bin",
            "tokenizer.json",
            "chat_template.jinja",
            "m.gguf",
            "Modelfile",
            "quantize_config.json",
            "modeling_x.py",
            "vocab.txt",
        ] {
            assert!(is_weight(name), "{name}");
        }
        for name in
            ["optimizer.pt", "trainer_state.json", "rng_state.pth", "training_args.bin", "README.md", "events.out"]
        {
            assert!(!is_weight(name), "{name}");
        }
    }
}
