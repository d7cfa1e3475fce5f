//! What is allowed and hardly meant: stages, models and params that nothing uses, judges with moving names.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::models::{secret_in, secret_option};
use super::{Plan, all_reads, build_provider};
use crate::digest::Digest;
use crate::problem::{Place, Problem, nearest};
use crate::spec::{Node, PipelineSpec, Workspace};
use crate::stage::{Makes, Stage};

/// An option: its name, what its value is in words, and whether a value is that.
type KnownOption = (&'static str, &'static str, fn(&Value) -> bool);

/// Options that most servers know.
const OPTIONS: &[KnownOption] = &[
    ("temperature", "a number, 0 or more", |value| value.as_f64().is_some_and(|value| value >= 0.0)),
    ("top_p", "a number, 0 to 1", |value| value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))),
    ("top_k", "a whole number", |value| value.as_i64().is_some()),
    ("min_p", "a number, 0 to 1", |value| value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))),
    ("max_tokens", "a whole number above 0", |value| value.as_u64().is_some_and(|value| value > 0)),
    ("max_completion_tokens", "a whole number above 0", |value| value.as_u64().is_some_and(|value| value > 0)),
    ("seed", "a whole number", |value| value.as_i64().is_some()),
    ("stop", "a text or a list of texts", |value| value.is_string() || value.is_array()),
    ("frequency_penalty", "a number", Value::is_number),
    ("presence_penalty", "a number", Value::is_number),
    ("repetition_penalty", "a number", Value::is_number),
    ("logprobs", "true or false", |value| value.is_boolean() || value.is_u64()),
    ("reasoning_effort", "a text, such as low", Value::is_string),
    ("response_format", "a map, or its short form", |value| value.is_object() || value.is_string()),
];

/// Warns of options that are hardly meant: a name that is a slip of a common one, or a value of another type. Servers
/// know many more, so other names are passed on.
pub(super) fn warn_options(spec: &PipelineSpec, problems: &mut Vec<Problem>) {
    let mut warn = |what: &str, name: &str, value: &Value, place: &Place| {
        let problem = match OPTIONS.iter().find(|(known, ..)| *known == name) {
            Some((_, kind, is_fine)) if !value.is_null() && !is_fine(value) => {
                let message = format!("{what}: `{name}` is {kind}, and here it is `{value}`");
                Problem::warning("odd-option", message)
            }
            Some(_) => return,
            None => match nearest(name, OPTIONS.iter().map(|(known, ..)| *known)) {
                Some(known) => {
                    let message = format!("{what}: `{name}` is no option that servers usually know");
                    Problem::warning("odd-option", message).help(format!("did you mean `{known}`?"))
                }
                None => return,
            },
        };
        problems.push(problem.at(place));
    };
    let (mut told, mut secrets): (Vec<&Place>, Vec<Problem>) = (Vec::new(), Vec::new());
    for (name, model) in &spec.models {
        for (option, place) in &model.option_places {
            // An inherited option is told once, where it stands.
            if let Some(value) = model.options.get(option).filter(|_| !told.contains(&place)) {
                warn(&format!("model {name}"), option, value, place);
                told.push(place);
            }
        }
    }
    for (name, stage) in &spec.stages {
        for (key, node) in stage.settings.get("options").map(Node::entries).unwrap_or_default() {
            if let Some(secret) = secret_option(&serde_json::json!({ &*key.text: node.to_json() })) {
                secrets.push(secret_in(&format!("stage {name}"), &secret, key.place.clone()));
                continue;
            }
            warn(&format!("stage {name}"), &key.text, &node.to_json(), &key.place);
        }
    }
    problems.extend(secrets);
}

/// Warns of what nothing uses.
pub(super) fn warn_unused(plan: &Plan, stages: &IndexMap<String, Arc<dyn Stage>>, problems: &mut Vec<Problem>) {
    let spec = &plan.spec;
    let read: BTreeSet<&str> = stages.values().flat_map(|stage| all_reads(&**stage)).map(|(read, _)| read).collect();
    for (name, stage) in stages {
        let message = match stage.makes() {
            Makes::Rows => format!("no stage reads the dataset {name}"),
            Makes::Completions => format!("no stage reads the completions of {name}"),
            Makes::Scores | Makes::Judgements => continue,
        };
        if !read.contains(name.as_str()) {
            problems.push(Problem::warning("unused-stage", message).at(&spec.stages[name].place));
        }
    }
    let is_called = |name: &str| {
        plan.nodes
            .iter()
            .any(|node| node.model.as_deref() == Some(name) || node.callees.iter().any(|(_, callee)| callee == name))
    };
    let is_extended = |name: &str| {
        let models = spec.source.text.lines().filter(|line| line.contains("extends"));
        models
            .clone()
            .any(|line| line.split(|c: char| !(c.is_alphanumeric() || "_-".contains(c))).any(|word| word == name))
    };
    for (name, model) in &spec.models {
        let Some(place) = model.place.as_ref().filter(|place| Arc::ptr_eq(&place.source, &spec.source)) else {
            continue;
        };
        if !is_called(name) && !is_extended(name) {
            problems.push(Problem::warning("unused-model", format!("no stage uses the model {name}")).at(place));
        }
    }
    let templates: Vec<(String, String)> = stages.values().flat_map(|stage| stage.sources()).collect();
    for name in spec.params.keys() {
        let reads = |text: &str| {
            text.contains(&format!("params.{name}"))
                || text.contains(&format!("params['{name}']"))
                || text.contains(&format!("params[\"{name}\"]"))
                || text.contains("params|")
                || text.contains("params |")
        };
        if !reads(&spec.source.text) && !templates.iter().any(|(_, text)| reads(text)) {
            let place = spec.params_place(name);
            problems.push(
                Problem::warning("unused-param", format!("nothing reads the param {name}"))
                    .at(&place)
                    .help(format!("`${{params.{name}}}` in the pipeline, `{{{{ params.{name} }}}}` in a template")),
            );
        }
    }
}

/// Warns of judges that their vendor may exchange: every score would change with them.
pub(super) fn warn_floating_judges(workspace: &Workspace, plan: &Plan, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for node in plan.nodes.iter().filter(|node| node.stage.makes() == Makes::Judgements) {
        for (_, name) in &node.callees {
            let Some(model) = plan.spec.models.get(name).filter(|_| seen.insert(name.clone())) else { continue };
            let Some(id) = model.model.as_deref().filter(|_| model.revision.is_none() && model.weights.is_empty())
            else {
                continue;
            };
            // Where there is an address, `floating-weights` has been said.
            let is_hosted = model.settings.text("base_url").is_none()
                && model.settings.text("api_key_env").is_none()
                && build_provider(workspace, name, model, None, &|_| Ok(Digest::of(b"")))
                    .is_ok_and(|provider| provider.reach().needs_network());
            if is_hosted && !is_dated(id) {
                problems.push(
                    Problem::warning("floating-judge", format!("judge {name}: `{id}` is a moving name; when the vendor puts another model behind it, all scores change"))
                        .at(model.place.as_ref().unwrap_or(&plan.spec.stages[&node.stage_name].place))
                        .help("take an id that ends in its date, as the vendor lists them, or say `revision:` what it is now"),
                );
            }
        }
    }
}

/// Returns true for an id that ends in a date or a build: `-2025-04-14`, `-20250929`, `-0613`, `@001`.
fn is_dated(id: &str) -> bool {
    let tail: String = id.chars().rev().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    tail.chars().filter(char::is_ascii_digit).count() >= 4 || id.contains('@')
}
