//! The settings of a metric stage, and what can be wrong with them.

use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::measure::{Measure, MetricStage};
use crate::metric::{METRICS, Metric, MetricName};
use crate::problem::{Place, Problem, suggest};
use crate::process::unseen;
use crate::score::RESERVED;
use crate::spec::{Described, Key, Node, NodeValue, OneOrMany, ShortOr, StageSpec, decode};
use crate::stage::prompt::Prompt;
use crate::stage::{Scope, Stage};

const VARIABLES: &[&str] =
    &["row", "params", "model", "sample", "completion", "raw", "reasoning", "refusal", "tool_calls", "finish_reason"];

/// Scores computed from completions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::stage) struct Settings {
    /// The inference stage whose completions are scored; or a list of such stages over one dataset, whose models then
    /// stand side by side as `stage.model`.
    input: OneOrMany<String, 1>,
    /// A list of names, or a map of names to settings: `{ exact_match: { mode: strict } }`. With
    /// `metric:` among the settings the name is free.
    #[schemars(schema_with = "metrics_schema")]
    metrics: ShortOr<Vec<String>, IndexMap<String, Value>>,
    /// What is scored, the completion unless said: `"{{ completion | json('intent') }}"`. A metric
    /// may have its own.
    prediction: Option<String>,
    /// What it is compared with: `"{{ row.gold }}"`. A metric may have its own.
    reference: Option<String>,
    /// Columns by whose values every metric is summed up once more.
    #[serde(default)]
    by: OneOrMany,
    /// Column whose rows belong together, such as a conversation or a customer: intervals then resample
    /// its values instead of rows.
    cluster: Option<String>,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

/// What any metric may have beside its own settings.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Common {
    /// The metric, where the name is a free one.
    metric: Option<MetricName>,
    /// What is scored, instead of the stage's.
    prediction: Option<String>,
    /// What it is compared with, instead of the stage's.
    reference: Option<String>,
}

/// Describes `metrics`: names, or names with settings.
fn metrics_schema(generator: &mut SchemaGenerator) -> Schema {
    let common = Common::json_schema(generator).to_value();
    let (mut by_name, mut by_metric) = (Map::new(), Vec::new());
    let mut metric = MetricName::json_schema(generator).to_value();
    metric["description"] = common["properties"]["metric"]["description"].clone();
    for entry in METRICS {
        let mut settings = entry.settings.schema(generator).to_value();
        let own = settings["properties"].take();
        let mut properties = common["properties"].clone();
        if let (Value::Object(properties), Value::Object(own)) = (&mut properties, own) {
            properties["metric"]["enum"] = json!([entry.name, null]);
            properties.extend(own);
        }
        settings["properties"] = properties;
        settings["description"] = entry.about.into();
        // A metric without required settings may be given by its name alone.
        if settings.get("required").is_none() {
            settings["type"] = json!(["object", "null"]);
        }
        let name = format!("metric_{}", entry.name);
        generator.definitions_mut().insert(name.clone(), settings);
        let settings = json!({ "$ref": format!("#/definitions/{name}") });
        by_name.insert(entry.name.to_owned(), json!({ "description": entry.about, "allOf": [settings] }));
        // Under a name of the user's own, `metric` says which metric it is.
        by_metric.push(json!({ "if": { "properties": { "metric": { "const": entry.name } } }, "then": settings }));
    }
    let names: Vec<Value> =
        METRICS.iter().map(|entry| json!({ "const": entry.name, "description": entry.about })).collect();
    json_schema!({
        "anyOf": [
            { "type": "array", "items": { "oneOf": names }, "minItems": 1 },
            {
                "type": "object",
                "minProperties": 1,
                "properties": by_name,
                "additionalProperties": {
                    "type": "object",
                    "properties": { "metric": metric },
                    "required": ["metric"],
                    "allOf": by_metric,
                }
            }
        ]
    })
}

/// Names that other tools have for metrics, each with what to write here.
const ALIASES: &[(&str, &str)] = &[
    ("accuracy", "`classification` has `.accuracy`; `exact_match` is the share that equals the reference"),
    ("f1", "`classification` has `.f1_macro`, `.f1_micro`, `.f1_weighted` and `.f1.<label>`"),
    ("f1_macro", "`classification` has `.f1_macro`"),
    ("precision", "`classification` has `.precision_macro` and `.precision.<label>`"),
    ("recall", "`classification` has `.recall_macro` and `.recall.<label>`"),
    ("em", "it is called `exact_match` here"),
    ("equals", "it is called `exact_match` here"),
    ("includes", "it is called `contains` here"),
    ("icontains", "`contains: { ignore_case: true }`"),
    ("match", "`exact_match`, `contains` or `regex`"),
    ("is-json", "it is called `json_valid` here"),
    ("is_json", "it is called `json_valid` here"),
    ("json", "`json_valid`, or `json_schema: { schema: data/reply.schema.json }`"),
    ("schema", "`json_schema: { schema: data/reply.schema.json }`"),
    ("rouge", "`rouge1`, `rouge2`, `rouge3`, `rougeL` or `rougeLsum`"),
    ("rouge_l", "it is called `rougeL` here"),
    ("rouge-l", "it is called `rougeL` here"),
    ("sacrebleu", "it is called `bleu` here"),
    ("chrfpp", "it is called `chrf++` here"),
    ("levenshtein", "it is called `edit_distance` here"),
    ("similarity", "`embedding_similarity`, or `edit_distance` with its part `.similarity`"),
    ("bert_score", "it is called `bertscore` here"),
    ("is-refusal", "it is called `refusal` here"),
    ("pass@k", "it is called `pass_at_k` here"),
    ("tool_calls", "it is called `tool_call` here"),
    ("function_call", "it is called `tool_call` here"),
    ("extraction", "`json_fields: { fields: [intent, order.id] }`"),
    ("python", "`command: { command: python3 metrics/mine.py }`"),
    ("javascript", "`command: { command: node metrics/mine.js }`"),
    ("mae", "`numeric` has `.error`, the mean absolute difference"),
    ("words", "`length: { unit: words }`"),
];

pub(in crate::stage) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    stage_of(spec, scope).map(|stage| Arc::new(stage) as Arc<dyn Stage>)
}

pub(super) fn stage_of(spec: &StageSpec, scope: &Scope<'_>) -> Result<MetricStage, Vec<Problem>> {
    // A file that is scored has no stages.
    let what = if scope.stages.is_empty() { "score".to_owned() } else { format!("stage {}", spec.name) };
    let settings: Settings = decode(&spec.settings, &what)?;
    let mut problems = Vec::new();
    let mut load = |node: &Node, field: &str, text: &Option<String>| {
        let text = text.as_ref()?;
        let place = node.get(field).map_or(&node.place, |node| &node.place);
        match Prompt::load_value(scope, field, text, place, VARIABLES) {
            Ok(prompt) => Some(Arc::new(prompt)),
            Err(found) => {
                problems.extend(found);
                None
            }
        }
    };
    let input_place = spec.settings.get("input").map_or(&spec.place, |node| &node.place);
    let prediction = load(&spec.settings, "prediction", &settings.prediction);
    let reference = match load(&spec.settings, "reference", &settings.reference) {
        None if settings.reference.is_none() => {
            cut_answer(scope, settings.input.first().map_or("", String::as_str), input_place)
        }
        reference => reference,
    };
    let mut measures = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for (name, place, node) in entries(&settings.metrics, &spec.settings, &what, &mut problems) {
        if seen.contains(&name) {
            problems.push(Problem::error("conflict", format!("{what} has the metric `{name}` twice")).at(&place));
            continue;
        }
        seen.push(name.clone());
        // A reference that could not be read has been reported; it is not reported as missing, too.
        let has_reference = spec.settings.get("reference").is_some();
        match measure(scope, &what, (&name, &place), node.as_ref(), (&prediction, &reference), has_reference) {
            Ok(measure) => measures.push(measure),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let place_of = |index: usize| match settings.input {
        OneOrMany::One(_) => input_place.clone(),
        OneOrMany::Many(_) => spec.settings.nearest(&["input".to_owned(), index.to_string()]).place.clone(),
    };
    let inputs = settings.input.iter().enumerate().map(|(index, input)| (input.clone(), place_of(index))).collect();
    let by_node = spec.settings.get("by");
    let place_of = |index: usize| by_node.map_or(&spec.place, |node| &node.nearest(&[index.to_string()]).place).clone();
    let by = settings.by.into_vec().into_iter().enumerate().map(|(index, column)| (column, place_of(index))).collect();
    let cluster = settings.cluster.map(|column| {
        let place = spec.settings.get("cluster").map_or(&spec.place, |node| &node.place);
        (column, place.clone())
    });
    let prices = scope.models.iter().filter_map(|(name, model)| Some((name.clone(), model.call_price()?))).collect();
    Ok(MetricStage { inputs, measures, by, cluster, prices })
}

/// Returns the reference of a stage that has none, where the conversations that it scores were cut: what the assistant
/// says in the data behind the last turn of the user.
fn cut_answer(scope: &Scope<'_>, input: &str, place: &Place) -> Option<Arc<Prompt>> {
    let input = &scope.stages.get(input)?.settings;
    let text = |field: &str| input.get(field).and_then(Node::as_text);
    if text("until") != Some("last_user") {
        return None;
    }
    let messages = text("messages")?.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let text = format!("{{{{ ({}) | last_answer }}}}", messages.trim());
    // What is wrong with it is wrong with the other stage, and told there.
    Prompt::load_value(scope, "reference", &text, place, VARIABLES).ok().map(Arc::new)
}

/// Returns the metrics as written: each with its name, place and settings.
fn entries(
    metrics: &ShortOr<Vec<String>, IndexMap<String, Value>>,
    settings: &Node,
    what: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(String, Place, Option<Node>)> {
    let node = settings.get("metrics").unwrap_or(settings);
    let entries: Vec<(String, Place, Option<Node>)> = match metrics {
        ShortOr::Short(names) => {
            let place = |index: usize| node.nearest(&[index.to_string()]).place.clone();
            names.iter().enumerate().map(|(index, name)| (name.clone(), place(index), None)).collect()
        }
        ShortOr::Full(_) => {
            let own = |node: &Node| (!node.is_null()).then(|| node.clone());
            node.entries().iter().map(|(key, node)| (key.text.clone(), key.place.clone(), own(node))).collect()
        }
    };
    if entries.is_empty() {
        problems.push(
            Problem::error("missing-field", format!("{what} has no metrics"))
                .at(&node.place)
                .help("metrics: [exact_match]"),
        );
    }
    entries
}

/// Takes the settings that every metric may have out of one metric's settings.
fn common(settings: &mut Node) -> Node {
    static NAMES: LazyLock<Vec<String>> =
        LazyLock::new(|| Described::of::<Common>().fields().map(|field| field.name.to_owned()).collect());
    let mut common = Node { value: NodeValue::Map(Vec::new()), place: settings.place.clone() };
    if let (NodeValue::Map(all), NodeValue::Map(common)) = (&mut settings.value, &mut common.value) {
        let is_common = |entry: &mut (Key, Node)| NAMES.contains(&entry.0.text);
        common.extend(all.extract_if(.., is_common));
    }
    common
}

fn unknown_metric(name: &str, place: &Place) -> Vec<Problem> {
    let alias = ALIASES.iter().find(|(word, _)| *word == name.to_lowercase()).map(|(_, help)| (*help).to_owned());
    let help = alias.or_else(|| suggest(name, "metrics there are", METRICS.iter().map(|entry| entry.name)));
    let problem = Problem::error("unknown-metric", format!("there is no metric `{name}`"));
    vec![problem.at(place).maybe_help(help)]
}

/// Returns the settings of a metric as a map.
fn settings_of(node: Option<&Node>, place: &Place, what: &str, name: &str) -> Result<Node, Vec<Problem>> {
    match node {
        None => Ok(Node { value: NodeValue::Map(Vec::new()), place: place.clone() }),
        Some(node) if matches!(node.value, NodeValue::Map(_)) => Ok(node.clone()),
        Some(node) => {
            let message = format!("{what}: the settings of `{name}` are {}, expected a map", node.sort());
            Err(vec![Problem::error("wrong-type", message).at(&node.place)])
        }
    }
}

/// Returns how a reference is given, in a pipeline or where a file is scored without one.
fn reference_help(scope: &Scope<'_>) -> &'static str {
    match scope.stages.is_empty() {
        true => "--reference COLUMN names the column that it is compared with",
        false => "reference: \"{{ row.gold }}\", on the stage or on the metric",
    }
}

fn measure(
    scope: &Scope<'_>,
    what: &str,
    (name, place): (&str, &Place),
    node: Option<&Node>,
    (prediction, reference): (&Option<Arc<Prompt>>, &Option<Arc<Prompt>>),
    has_reference: bool,
) -> Result<Measure, Vec<Problem>> {
    let is_name = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '+')) && !name.is_empty();
    if !is_name {
        let message = format!("{what}: `{name}` cannot be the name of a metric");
        return Err(vec![Problem::error("bad-name", message).at(place).help("letters, digits, `_`, `-` and `+`")]);
    }
    if RESERVED.contains(&name) {
        let message = format!("{what}: `{name}` cannot be the name of a metric");
        return Err(vec![Problem::error("bad-name", message).at(place).help("the summary has it for another thing")]);
    }
    let mut settings = settings_of(node, place, what, name)?;
    let common_node = common(&mut settings);
    let own_what = format!("{what}: metric `{name}`");
    let own: Common = decode(&common_node, &own_what)?;
    let kind_place = common_node.get("metric").map_or(place, |node| &node.place);
    let kind_name = own.metric.map_or_else(|| name.to_owned(), |MetricName(name)| name);
    let entry = crate::metric::find(&kind_name).ok_or_else(|| unknown_metric(&kind_name, kind_place))?;
    let mut problems = Vec::new();
    let mut load = |field: &str, text: Option<&str>, place: &Place| {
        Prompt::load_value(scope, &format!("{name}.{field}"), text?, place, VARIABLES)
            .map_err(|found| problems.extend(found))
            .ok()
            .map(Arc::new)
    };
    let mut instead = |field: &str, text: &Option<String>, inherited: &Option<Arc<Prompt>>| match text {
        Some(text) => load(field, Some(text), common_node.place_of(field)),
        None => inherited.clone(),
    };
    let prediction = instead("prediction", &own.prediction, prediction);
    let reference = instead("reference", &own.reference, reference);
    let read = entry.read(&settings, &own_what, &scope.workspace.root);
    let mut weight = None;
    for field in entry.templates() {
        let Some(node) = settings.remove(&field) else { continue };
        weight = load(&field, node.as_text(), &node.place);
    }
    let mut metric = match read {
        Ok(metric) => metric,
        Err(found) => {
            problems.extend(found);
            return Err(problems);
        }
    };
    problems.extend(wrong_files(&*metric, scope, &settings, &own_what));
    metric.keep_in(&scope.workspace.cache.join("embeddings"));
    let Value::Object(settings) = settings.to_json() else { unreachable!("it is a map") };
    // What the metric itself takes says more than what the stage gives to all its metrics.
    let mut unless_given = |field: &str, text: Option<&str>, given: Option<Arc<Prompt>>| match text {
        Some(text) if common_node.get(field).is_none() => {
            let loaded = Prompt::load_value(scope, &format!("{name}.{field}"), text, place, VARIABLES);
            loaded.map_err(|found| problems.extend(found)).ok().map(Arc::new)
        }
        _ => given,
    };
    let prediction = unless_given("prediction", metric.own_prediction(), prediction);
    let reference = unless_given("reference", metric.own_reference(), reference);
    if metric.needs_reference() && reference.is_none() && !has_reference && problems.is_empty() {
        problems.push(
            Problem::error("missing-field", format!("{what}: metric `{name}` needs a `reference`"))
                .at(place)
                .help(reference_help(scope)),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Measure { name: name.to_owned(), entry, metric, settings, prediction, reference, weight })
}

/// Returns what is wrong with the files of a metric: nobody can tell which it runs, or the user lets no pipeline read
/// them. What a program reads is a matter of the consent to it.
fn wrong_files(metric: &dyn Metric, scope: &Scope<'_>, settings: &Node, what: &str) -> Vec<Problem> {
    if metric.launch().is_some() {
        return metric.unseen().map(|why| unseen(what, &why, settings.place_of("command"))).into_iter().collect();
    }
    let refused = |(field, files): (&str, Vec<(String, _)>)| {
        let refused = files.iter().find_map(|(name, _)| scope.workspace.refusal(name))?;
        Some(refused.at(settings.place_of(field)))
    };
    metric.files().into_iter().filter_map(refused).collect()
}
