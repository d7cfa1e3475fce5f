//! Models that are called: each can be built, and is told from others by more than its address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build_provider;
use crate::digest::Digest;
use crate::problem::{Place, Problem};
use crate::provider::PROVIDERS;
use crate::spec::{PipelineSpec, Workspace};

/// Builds every model that is called, as far as that needs no digest of weights.
pub(super) fn check_models(
    workspace: &Workspace,
    spec: &PipelineSpec,
    used: &BTreeMap<String, Place>,
    unread: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) {
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
            }
        }
    }
}
