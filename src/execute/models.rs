//! The models of a run: what says which model answers, and what must not be asked at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Map, Value};

use super::ExecuteError;
use crate::digest::Digest;
use crate::plan::{Identity, Plan, build_provider, twins};
use crate::provider::Provider;
use crate::spec::ModelSpec;
use crate::stage::StageError;
use crate::store::{FileDigests, Store, Watch};

pub(super) fn model_spec<'a>(plan: &'a Plan, model: &str) -> Result<&'a ModelSpec, StageError> {
    plan.spec.models.get(model).ok_or_else(|| StageError::failed(format!("there is no model {model}")))
}

/// What servers said of themselves, by model.
pub(super) type Probes = BTreeMap<String, Result<Map<String, Value>, String>>;

/// Asks the servers of models with `probe: true`, all at once, what they serve.
///
/// Offline, each server's last answer is used.
pub(super) async fn probe(
    plan: &Plan,
    store: &Store,
    digests: &FileDigests,
    models: BTreeSet<&str>,
    is_offline: bool,
) -> Probes {
    let probed = models.into_iter().filter(|model| plan.spec.models.get(*model).is_some_and(|spec| spec.probe));
    let asked = probed.map(|model| async move {
        let asked = async {
            let spec = model_spec(plan, model).map_err(|error| error.to_string())?;
            let provider = build_provider(&plan.workspace, model, spec, None, &|path| digests.of(path))
                .map_err(|error| error.message)?;
            let kept = Digest::of_json("etalon.probe", &Value::Object(provider.identity()));
            if is_offline {
                let unknown = || "offline, and its server has never been probed".to_owned();
                return store.probe(&kept).ok_or_else(unknown);
            }
            let said = provider.probe().await.map_err(|error| error.message)?;
            store.keep_probe(&kept, &said).map_err(|error| error.to_string())?;
            Ok(said)
        };
        (model.to_owned(), asked.await)
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// Returns the digest of a file, which is watched from then on.
pub(super) fn watched(digests: &FileDigests, watch: &Mutex<Watch>) -> impl Fn(&Path) -> std::io::Result<Digest> {
    move |path| {
        watch.lock().expect("no panic while locked").add(path);
        digests.of(path)
    }
}

/// Makes models that the key cannot tell apart, and that stand at different addresses, an error of each: else one would
/// be served with the other's answers.
pub(super) fn refuse_twins(
    identities: &mut BTreeMap<String, Result<Identity, String>>,
    addresses: &BTreeMap<String, Option<String>>,
) {
    let mut found = Vec::new();
    for (name, identity) in identities.iter() {
        let is_twin = |(other, known): &(&String, &Result<Identity, String>)| {
            *other != name && identity.is_ok() && *known == identity && addresses[*other] != addresses[name]
        };
        if let Some((other, _)) = identities.iter().find(is_twin) {
            found.push((name.clone(), twins(name, other)));
        }
    }
    for (name, message) in found {
        identities.insert(name, Err(message));
    }
}

/// Refuses a budget for a model whose calls nobody can price.
pub(super) fn check_price(plan: &Plan, model: &str) -> Result<(), ExecuteError> {
    if plan.spec.models.get(model).is_none_or(|spec| spec.price.is_some()) {
        return Ok(());
    }
    Err(ExecuteError::Usage {
        message: format!("model {model} has no price, so a budget cannot bound what it costs"),
        help: Some(
            "`price: { input: 0.4, output: 1.6 }`, dollars per million tokens; zeros for a server of your own"
                .to_owned(),
        ),
    })
}

/// Builds the provider of a model.
pub(super) fn provider(
    plan: &Plan,
    digest_file: &dyn Fn(&Path) -> std::io::Result<Digest>,
    probes: &Probes,
    model: &str,
) -> Result<Box<dyn Provider>, String> {
    let spec = model_spec(plan, model).map_err(|error| error.to_string())?;
    let failed = |message: &String| format!("model {model}: {message}");
    let probe = probes.get(model).map(Result::as_ref).transpose().map_err(failed)?;
    build_provider(&plan.workspace, model, spec, probe, digest_file).map_err(|error| failed(&error.message))
}
