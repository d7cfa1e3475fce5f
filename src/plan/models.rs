//! From a [`ModelSpec`] to a provider: settings are checked by the provider's entry, weights are digested.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::problem::{Place, Problem, suggest};
use crate::provider::{BuildError, Building, Entry, PROVIDERS, Provider, is_credential, is_key};
use crate::spec::{Key, MODEL_FIELDS, ModelSpec, Workspace, unknown_field};

/// Files of a weights folder that do not change what a model says: traces of its training, papers. Every other file
/// counts, also one that etalon does not know, since a rerun costs less than a stale result.
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

/// Builds a model's provider. `probe` is what its server said about itself, if it was asked; `digest_file` returns the
/// digest of a file.
///
/// # Errors
///
/// The provider does not exist, a weight file cannot be read, or the provider refuses the model.
pub fn build_provider(
    workspace: &Workspace,
    name: &str,
    spec: &ModelSpec,
    probe: Option<&Map<String, Value>>,
    digest_file: &dyn Fn(&Path) -> std::io::Result<Digest>,
) -> Result<Box<dyn Provider>, BuildError> {
    let provider = spec.provider.as_deref().unwrap_or_default();
    let Some(entry) = find(provider) else {
        return Err(BuildError {
            message: format!("there is no provider `{provider}`"),
            help: alias(provider)
                .or_else(|| suggest(provider, "providers there are", PROVIDERS.iter().map(|entry| entry.name))),
        });
    };
    let weights = weights(workspace, &spec.weights, digest_file)?;
    let (root, library) = (&*workspace.root, &workspace.library);
    let place = spec.place.clone().unwrap_or_default();
    // Settings that were inherited from a model of another provider, and that this provider does not have, are left
    // out.
    let settings = &spec.settings.named(&entry.fields(), &place);
    (entry.build)(&Building {
        name,
        spec,
        settings,
        weights,
        probe,
        root,
        consent: &workspace.consent,
        library,
        digest_file,
    })
}

fn find(provider: &str) -> Option<&'static Entry> {
    PROVIDERS.iter().find(|entry| entry.name == provider)
}

/// Finds what is wrong with the settings of a model's provider. If the model has no provider, or one that does not
/// exist, it may have any setting that some provider has.
pub(super) fn check_settings(name: &str, model: &ModelSpec) -> Vec<Problem> {
    let what = format!("model {name}");
    let place = model.place.clone().unwrap_or_default();
    let entry = model.provider.as_deref().and_then(find);
    let entries: Vec<&Entry> = entry.map_or_else(|| PROVIDERS.iter().collect(), |entry| vec![entry]);
    let mut names: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for entry in entries {
        let fields = entry.fields();
        for problem in (entry.check)(&model.settings.named(&fields, &place), &what) {
            // Several providers have the same settings; one problem is reported once.
            if !found.contains(&problem) {
                found.push(problem);
            }
        }
        for field in fields {
            if !names.contains(&field) {
                names.push(field);
            }
        }
    }
    // Only the model's own settings are checked here: an inherited one that is unknown is reported where it stands, or
    // belongs to another provider. `base_url:` without a value takes an inherited value back, and is allowed for every
    // provider.
    let unknown = model.settings.own().filter(|(key, value)| {
        let is_taken_back = || value.is_null() && is_setting(&key.text);
        !names.contains(&key.text) && !is_taken_back()
    });
    let unknown = unknown.map(|(key, _)| no_setting(key, entry, &names, &what));
    let options = Value::Object(model.options.clone());
    let secrets = secret_option(&options).map(|name| secret_in(&what, &name, place_of_option(model, &name)));
    unknown.chain(found).chain(secrets).collect()
}

/// Returns the problem of a key that stands in the spec; it does not repeat the key.
pub(super) fn secret_in(what: &str, field: &str, place: Place) -> Problem {
    Problem::error("secret-in-spec", format!("{what}: `{field}` puts a key into the spec"))
        .at(&place)
        .help("put it into an environment variable and name that: `api_key_env: MY_KEY`; then make a new key, for this one may have been seen")
}

/// Returns the name of an option that carries a credential, at any depth.
pub(super) fn secret_option(options: &Value) -> Option<String> {
    match options {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match value {
            Value::String(text) if !text.is_empty() && (is_credential(name) || is_key(text)) => Some(name.clone()),
            value => secret_option(value),
        }),
        Value::Array(items) => items.iter().find_map(secret_option),
        _ => None,
    }
}

/// Returns where an option stands; one that stands deeper is told at the model.
fn place_of_option(model: &ModelSpec, name: &str) -> Place {
    let own = model.option_places.iter().find(|(option, _)| option == name).or(model.option_places.first());
    own.map(|(_, place)| place.clone()).or_else(|| model.place.clone()).unwrap_or_default()
}

/// Returns true if some provider has this setting.
fn is_setting(field: &str) -> bool {
    PROVIDERS.iter().any(|entry| entry.fields().iter().any(|name| name == field))
}

/// Returns the problem of a setting that a model cannot have; `names` are the settings of its provider.
fn no_setting(key: &Key, entry: Option<&Entry>, names: &[String], what: &str) -> Problem {
    let field = key.text.as_str();
    if is_credential(field) {
        return secret_in(what, field, key.place.clone());
    }
    if let Some(entry) = entry.filter(|_| is_setting(field)) {
        let message = format!("{what}: `{field}` is no setting of provider {}", entry.name);
        return Problem::error("unknown-field", message).at(&key.place).help(format!("it has: {}", names.join(", ")));
    }
    let names: Vec<&str> = MODEL_FIELDS.iter().copied().chain(names.iter().map(String::as_str)).collect();
    unknown_field(field, &names, &key.place, what)
}

/// Returns what to write instead of the name of a server or a vendor.
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

/// Returns the digests of all files of weights, by their names within their folders.
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
            // Two folders may hold files of the same name; both count.
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
            // Checkpoints beside the final weights are other models, so they are left out.
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
    use serde_json::{Value, json};

    use super::{check_settings, is_weight};
    use crate::problem::Place;
    use crate::provider::PROVIDERS;
    use crate::spec::{MODEL_FIELDS, ModelSettings, ModelSpec};

    fn messages(provider: Option<&str>, settings: Value) -> Vec<String> {
        let place = Place::default();
        let settings = ModelSettings::from_json(&settings, &place);
        let provider = provider.map(str::to_owned);
        let model = ModelSpec { provider, settings, place: Some(place), ..ModelSpec::default() };
        let problems = check_settings("m", &model);
        problems.into_iter().map(|problem| [problem.message, problem.help.unwrap_or_default()].join("; ")).collect()
    }

    #[test]
    fn a_setting_of_another_provider_is_told_from_a_typo() {
        let found = messages(Some("scripted"), json!({ "reply": "x", "base_url": "http://a", "sed": 1 }));
        assert_eq!(
            found,
            [
                "model m: `base_url` is no setting of provider scripted; it has: reply, seed",
                "model m has no field `sed`; did you mean `seed`?",
            ]
        );
        assert!(messages(Some("scripted"), json!({ "base_url": null })).is_empty(), "it takes back what is inherited");
        assert_eq!(messages(Some("scripted"), json!({ "sed": null })).len(), 1);
        assert!(messages(Some("openai"), json!({ "base_url": "http://a", "max_attempts": 2 })).is_empty());
        let secret = messages(Some("scripted"), json!({ "api-key": "sk" }));
        assert!(secret[0].starts_with("model m: `api-key` puts a key into the spec"), "{secret:?}");
    }

    #[test]
    fn a_model_without_a_provider_may_say_what_any_understands() {
        assert!(messages(None, json!({ "base_url": "http://a", "file": "f", "seed": 1 })).is_empty());
        assert_eq!(messages(None, json!({ "timeout": 0 })), ["model m: `timeout` is a number of seconds above 0; "]);
        assert_eq!(messages(Some("none"), json!({ "timeout": 0, "tmeout": 1 })).len(), 2);
    }

    #[test]
    fn no_setting_of_a_provider_is_a_field_of_every_model() {
        for entry in PROVIDERS {
            let fields = entry.fields();
            assert!(fields.iter().all(|field| !MODEL_FIELDS.contains(&field.as_str())), "{}", entry.name);
        }
    }

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
