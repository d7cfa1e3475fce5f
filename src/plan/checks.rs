//! Models that are called: each can be built, and is told from others by more than its address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build_provider;
use crate::digest::Digest;
use crate::problem::{Place, Problem};
use crate::provider::{PROVIDERS, Provider};
use crate::spec::{PipelineSpec, Workspace};

/// Returns what is wrong with two models that the key cannot tell apart, and that stand at different addresses.
pub fn twins(name: &str, other: &str) -> String {
    format!(
        "model {name} and model {other} are the same to the cache, and stand at different addresses: one would be served with the other's answers"
    )
}

/// How to tell twins apart.
const TWINS_HELP: &str = "`weights:` or `revision:` with the commit of its own for each; or one name for both";

/// Finds models that the key cannot tell apart, and that the network can. Digests of weights are not known here, so what
/// is written counts.
fn check_twins(spec: &PipelineSpec, built: &[(&String, Box<dyn Provider>)], problems: &mut Vec<Problem>) {
    for (index, (name, provider)) in built.iter().enumerate() {
        let model = &spec.models[*name];
        let is_twin = |(other, known): &&(&String, Box<dyn Provider>)| {
            let other = &spec.models[*other];
            known.identity() == provider.identity()
                && known.address() != provider.address()
                && (&other.weights, other.probe) == (&model.weights, model.probe)
        };
        if let Some((other, _)) = built[..index].iter().find(is_twin) {
            let place = model.place.clone().unwrap_or_default();
            problems.push(Problem::error("M-TWINS", twins(name, other)).at(&place).help(TWINS_HELP));
        }
    }
}

/// Builds every model that is called, as far as that needs no digest of weights.
pub(super) fn check_models(
    workspace: &Workspace,
    spec: &PipelineSpec,
    used: &BTreeMap<String, Place>,
    unread: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) {
    let mut built = Vec::new();
    for (name, model) in &spec.models {
        // Those of the pipeline itself, and those of the workspace that it calls.
        let is_own = model.place.as_ref().is_some_and(|place| Arc::ptr_eq(&place.source, &spec.source));
        let Some(place) = used.get(name).or(model.place.as_ref().filter(|_| is_own)) else {
            continue;
        };
        if model.provider.is_none() || unread.contains(name.as_str()) {
            continue;
        }
        let exists = |path: &std::path::Path| std::fs::metadata(path).map(|_| Digest::of(b""));
        match build_provider(workspace, name, model, None, &exists) {
            Err(error) => {
                let is_unknown = PROVIDERS.iter().all(|entry| Some(entry.name) != model.provider.as_deref());
                let provider_place = model.provider_place.as_ref().filter(|_| is_unknown);
                let at = provider_place.or(model.place.as_ref()).unwrap_or(place);
                problems.push(
                    Problem::error("bad-model", format!("model {name}: {}", error.message))
                        .at(at)
                        .maybe_help(error.help),
                );
            }
            Ok(provider) => {
                let base_url = model.settings.text("base_url");
                let has_no_path = base_url.is_some_and(|url| {
                    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                    !rest.trim_end_matches('/').contains('/')
                });
                if has_no_path && model.provider.as_deref() == Some("openai") {
                    let url = base_url.unwrap_or_default().trim_end_matches('/');
                    problems.push(
                        Problem::warning(
                            "bare-address",
                            format!(
                                "model {name}: nothing is behind the host of `{url}`; servers have this API below /v1"
                            ),
                        )
                        .at(model.place.as_ref().unwrap_or(place))
                        .help(format!("base_url: {url}/v1")),
                    );
                }
                let is_self_hosted = base_url.is_some() && provider.reach().needs_network();
                if is_self_hosted && model.weights.is_empty() && model.revision.is_none() && !model.probe {
                    problems.push(
                        Problem::warning("floating-weights", format!("model {name} is known by its address alone: other weights behind it would not be noticed"))
                            .at(model.place.as_ref().unwrap_or(place))
                            .help("weights: out/iter-3 (files on this machine), revision: iter-3, or probe: true (asks the server)"),
                    );
                }
                if used.contains_key(name) {
                    built.push((name, provider));
                }
            }
        }
    }
    check_twins(spec, &built, problems);
}
