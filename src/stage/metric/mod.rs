//! `metric`: scores computed from completions, summed up over rows.
//!
//! | file | holds |
//! |---|---|
//! | `scoring` | from rows with completions to scores and their summary |
//! | `file` | the same over a file of predictions, without a pipeline |

mod file;
mod scoring;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use file::{FileScores, ScoreError, ScoreFile, score_file};
use scoring::Scoring;

use super::dataset::LEAKAGE;
use super::inference::sample_id;
use super::join::{Join, Joined};
use super::prompt::{Prompt, add_columns, add_completions};
use super::{Callee, Facts, Input, Job, Makes, Part, Produced, Reads, Scope, Stage, StageError};
use crate::metric::{Entry, METRICS, Metric, Takes};
use crate::problem::{Place, Problem, suggest};
use crate::score::{Direction, Rank, Reading, SLICES, Unit};
use crate::spec::{Node, NodeValue, OneOrMany, StageSpec, decode, one_or_many};
use crate::store::{Counts, Fingerprint, Manifest};
use crate::template::Attrs;

const REVISION: u32 = 2;
const VARIABLES: &[&str] = &["row", "params", "model", "sample", "completion", "finish_reason"];

/// Scores computed from completions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The inference stage whose completions are scored.
    input: String,
    /// A list of names, or a map of names to settings: `{ exact_match: { mode: strict } }`. With
    /// `metric:` among the settings the name is free.
    #[serde(rename = "metrics")]
    #[schemars(schema_with = "metrics_schema")]
    _metrics: Value,
    /// What is scored, the completion unless said: `"{{ completion | json('intent') }}"`. A metric
    /// may have its own.
    prediction: Option<String>,
    /// What it is compared with: `"{{ row.gold }}"`. A metric may have its own.
    reference: Option<String>,
    /// Columns by whose values every metric is summed up once more.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    by: Vec<String>,
    /// Column whose rows belong together, such as a conversation or a customer: intervals then resample
    /// its values instead of rows.
    cluster: Option<String>,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

/// Describes `metrics`: names, or names with settings.
fn metrics_schema(_generator: &mut SchemaGenerator) -> Schema {
    let setting = |takes: Takes| match takes {
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Number => json!({ "type": "number", "minimum": 0 }),
        Takes::Whole => json!({ "type": "integer", "minimum": 0 }),
        Takes::Text | Takes::Template => json!({ "type": "string" }),
        Takes::List => json!({ "type": "array" }),
        Takes::Texts => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
        Takes::Choice(choices) => {
            // A number may stand for a choice that is one.
            let numbers = choices.iter().filter_map(|choice| choice.parse::<u64>().ok()).map(Value::from);
            json!({ "enum": choices.iter().map(|choice| Value::from(*choice)).chain(numbers).collect::<Vec<_>>() })
        }
        Takes::Any => json!({}),
    };
    let common = || {
        Map::from_iter([
            (
                "metric".to_owned(),
                json!({ "enum": METRICS.iter().map(|entry| entry.name).collect::<Vec<_>>(), "description": "The metric, where the name is a free one." }),
            ),
            (
                "prediction".to_owned(),
                json!({ "type": "string", "description": "What is scored, instead of the stage's." }),
            ),
            (
                "reference".to_owned(),
                json!({ "type": "string", "description": "What it is compared with, instead of the stage's." }),
            ),
        ])
    };
    let settings = |entry: &Entry| {
        let mut properties = common();
        for known in entry.settings {
            let mut schema = setting(known.takes);
            schema["description"] = known.about.into();
            properties.insert(known.name.to_owned(), schema);
        }
        let about = entry.about;
        json!({ "type": ["object", "null"], "description": about, "properties": properties, "additionalProperties": false })
    };
    let by_name: Map<String, Value> = METRICS.iter().map(|entry| (entry.name.to_owned(), settings(entry))).collect();
    let names: Vec<Value> =
        METRICS.iter().map(|entry| json!({ "const": entry.name, "description": entry.about })).collect();
    json_schema!({
        "anyOf": [
            { "type": "array", "items": { "oneOf": names }, "minItems": 1 },
            {
                "type": "object",
                "properties": by_name,
                "additionalProperties": { "type": "object", "properties": common(), "required": ["metric"] }
            }
        ]
    })
}

/// Returns whether the dataset found rows of training among its own.
fn has_leakage(rows: Option<&Manifest>) -> bool {
    let is_marked =
        |rows: &Manifest| rows.artifact.columns.contains_key(LEAKAGE) && rows.summary.values.contains_key("leaked");
    rows.is_some_and(is_marked)
}

struct MetricStage {
    input: String,
    input_place: Place,
    measures: Vec<Measure>,
    by: Vec<(String, Place)>,
    cluster: Option<(String, Place)>,
}

/// What other tools call a metric, with what to write.
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
    ("python", "`command: { command: python3 metrics/mine.py }`"),
    ("javascript", "`command: { command: node metrics/mine.js }`"),
    ("mae", "`numeric` has `.error`, the mean absolute difference"),
    ("words", "`length: { unit: words }`"),
];

/// One metric of the stage.
struct Measure {
    /// As the user calls it.
    name: String,
    entry: &'static Entry,
    metric: Box<dyn Metric>,
    settings: Map<String, Value>,
    prediction: Option<Arc<Prompt>>,
    reference: Option<Arc<Prompt>>,
    /// What `sample_weight` says.
    weight: Option<Arc<Prompt>>,
}

pub(super) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    stage_of(spec, scope).map(|stage| Arc::new(stage) as Arc<dyn Stage>)
}

fn stage_of(spec: &StageSpec, scope: &Scope<'_>) -> Result<MetricStage, Vec<Problem>> {
    let what = format!("stage {}", spec.name);
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
    let prediction = load(&spec.settings, "prediction", &settings.prediction);
    let reference = load(&spec.settings, "reference", &settings.reference);
    let mut measures = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for (name, place, node) in entries(&spec.settings, &what, &mut problems) {
        if seen.contains(&name) {
            problems.push(Problem::error("conflict", format!("{what} has the metric `{name}` twice")).at(&place));
            continue;
        }
        seen.push(name.clone());
        // One that could not be read has been complained about.
        let has_reference = spec.settings.get("reference").is_some();
        match measure(scope, &what, (&name, &place), node.as_ref(), (&prediction, &reference), has_reference) {
            Ok(measure) => measures.push(measure),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let input_place = spec.settings.get("input").map_or(&spec.place, |node| &node.place).clone();
    let by_node = spec.settings.get("by");
    let place_of = |index: usize| by_node.map_or(&spec.place, |node| &node.nearest(&[index.to_string()]).place).clone();
    let by = settings.by.into_iter().enumerate().map(|(index, column)| (column, place_of(index))).collect();
    let cluster = settings.cluster.map(|column| {
        let place = spec.settings.get("cluster").map_or(&spec.place, |node| &node.place);
        (column, place.clone())
    });
    Ok(MetricStage { input: settings.input, input_place, measures, by, cluster })
}

/// Returns the metrics as written: name, place, settings.
fn entries(settings: &Node, what: &str, problems: &mut Vec<Problem>) -> Vec<(String, Place, Option<Node>)> {
    let Some(metrics) = settings.get("metrics") else {
        return Vec::new();
    };
    let entries: Vec<(String, Place, Option<Node>)> = match &metrics.value {
        NodeValue::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), key.place.clone(), (!node.is_null()).then(|| node.clone())))
            .collect(),
        NodeValue::List(items) => items
            .iter()
            .filter_map(|item| match item.as_text() {
                Some(name) => Some((name.to_owned(), item.place.clone(), None)),
                None => {
                    let message = format!("{what}: a metric in a list is a name, this is {}", item.sort());
                    let help = "give settings in a map: `metrics: { exact_match: { mode: strict } }`";
                    problems.push(Problem::error("wrong-type", message).at(&item.place).help(help));
                    None
                }
            })
            .collect(),
        _ => {
            problems.push(
                Problem::error(
                    "wrong-type",
                    format!("{what}: `metrics` is {}, expected a list of names or a map", metrics.sort()),
                )
                .at(&metrics.place)
                .help(format!("metrics: [{}]", metrics.as_text().unwrap_or("exact_match"))),
            );
            return Vec::new();
        }
    };
    if entries.is_empty() && problems.is_empty() {
        problems.push(
            Problem::error("missing-field", format!("{what} has no metrics"))
                .at(&metrics.place)
                .help("metrics: [exact_match]"),
        );
    }
    entries
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
    if [SLICES, "coverage"].contains(&name) {
        let message = format!("{what}: `{name}` cannot be the name of a metric");
        return Err(vec![Problem::error("bad-name", message).at(place).help("the summary has it for another thing")]);
    }
    let mut settings = match node {
        None => Node { value: NodeValue::Map(Vec::new()), place: place.clone() },
        Some(node) if matches!(node.value, NodeValue::Map(_)) => node.clone(),
        Some(node) => {
            let message = format!("{what}: the settings of `{name}` are {}, expected a map", node.sort());
            return Err(vec![Problem::error("wrong-type", message).at(&node.place)]);
        }
    };
    let written = settings.clone();
    let kind = settings.remove("metric");
    let (kind_name, kind_place) = match &kind {
        None => (name.to_owned(), place),
        Some(node) => (node.as_text().unwrap_or_default().to_owned(), &node.place),
    };
    let Some(entry) = crate::metric::find(&kind_name) else {
        let alias =
            ALIASES.iter().find(|(word, _)| *word == kind_name.to_lowercase()).map(|(_, help)| (*help).to_owned());
        let help = alias.or_else(|| suggest(&kind_name, "metrics there are", METRICS.iter().map(|entry| entry.name)));
        return Err(vec![
            Problem::error("unknown-metric", format!("there is no metric `{kind_name}`"))
                .at(kind_place)
                .maybe_help(help),
        ]);
    };
    let mut problems = Vec::new();
    let mut own = |field: &str, inherited: &Option<Arc<Prompt>>| {
        let Some(node) = settings.remove(field) else {
            return inherited.clone();
        };
        let Some(text) = node.as_text() else {
            problems.push(
                Problem::error("wrong-type", format!("{what}: `{name}.{field}` is {}, expected text", node.sort()))
                    .at(&node.place),
            );
            return None;
        };
        match Prompt::load_value(scope, &format!("{name}.{field}"), text, &node.place, VARIABLES) {
            Ok(prompt) => Some(Arc::new(prompt)),
            Err(found) => {
                problems.extend(found);
                None
            }
        }
    };
    let prediction = own("prediction", prediction);
    let reference = own("reference", reference);
    let weight = entry
        .settings
        .iter()
        .find(|setting| setting.takes == Takes::Template)
        .and_then(|setting| own(setting.name, &None));
    let Value::Object(settings) = settings.to_json() else { unreachable!("it is a map") };
    let metric = match entry.make(&settings, &scope.workspace.root) {
        Ok(mut metric) => {
            metric.keep_in(&scope.workspace.cache.join("embeddings"));
            metric
        }
        Err(error) => {
            let at = error.field.as_ref().and_then(|field| written.entry(field)).map_or(place, |(key, _)| &key.place);
            problems.push(
                Problem::error("wrong-setting", format!("{what}: metric `{name}`: {}", error.message))
                    .at(at)
                    .maybe_help(error.help),
            );
            return Err(problems);
        }
    };
    if metric.needs_reference() && reference.is_none() && !has_reference && problems.is_empty() {
        problems.push(
            Problem::error("missing-field", format!("{what}: metric `{name}` needs a `reference`"))
                .at(place)
                .help("reference: \"{{ row.gold }}\", on the stage or on the metric"),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Measure { name: name.to_owned(), entry, metric, settings, prediction, reference, weight })
}

impl Measure {
    fn prompts(&self) -> impl Iterator<Item = &Arc<Prompt>> {
        let reference = self.reference.as_ref().filter(|_| self.metric.wants_reference());
        [self.prediction.as_ref(), reference, self.weight.as_ref()].into_iter().flatten()
    }

    /// What identifies it in the key and seeds its bootstrap.
    fn signature(&self) -> Value {
        let templates: Vec<Value> = self
            .prompts()
            .map(|prompt| serde_json::to_value(prompt.template.closure()).expect("digests are JSON"))
            .collect();
        serde_json::json!({ "metric": self.entry.name, "settings": self.settings, "templates": templates })
    }
}

impl MetricStage {
    fn prompts(&self) -> impl Iterator<Item = &Arc<Prompt>> {
        self.measures.iter().flat_map(Measure::prompts)
    }

    fn row_reads(&self) -> Attrs {
        let mut reads = Attrs::Some(self.slicing().map(|(column, _)| column.clone()).collect());
        for prompt in self.prompts() {
            reads.merge(&prompt.template.reads.of("row"));
        }
        reads
    }

    /// Returns the columns by which rows are put together, with their places.
    fn slicing(&self) -> impl Iterator<Item = &(String, Place)> {
        self.by.iter().chain(&self.cluster)
    }

    fn needs_meta(&self) -> bool {
        self.measures.iter().any(|measure| measure.metric.needs_meta())
    }

    fn reads(&self, variable: &str) -> bool {
        self.prompts().any(|prompt| prompt.template.reads.reads(variable))
    }

    fn produce(&self, job: &Job) -> Result<Produced, StageError> {
        let mut writer = job.store.write_artifact()?;
        let rows = job.inputs.get(&Part::Rows).map_or(0, |rows| rows.artifact.rows);
        job.progress.total.store(rows, Ordering::Relaxed);
        let has_leakage = has_leakage(job.inputs.get(&Part::Rows));
        let mut scoring = Scoring::new(self, &job.params, job.model.as_deref(), has_leakage);
        let size = scoring.batch();
        let mut joins = Join::open(&job.store, &job.inputs, self.needs_meta())?;
        loop {
            let batch: Vec<Joined> = joins.by_ref().take(size).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                break;
            }
            let records = scoring.add(&batch);
            // A program that was ended is no failure.
            if job.stop.load(Ordering::Relaxed) {
                return Err(StageError::Interrupted);
            }
            for record in records? {
                writer.push(&sample_id(&record.id, record.sample), &record)?;
            }
            batch.iter().for_each(|_| job.progress.count(false));
        }
        let artifact = writer.finish()?;
        let (all, valid) = (scoring.all, scoring.valid);
        let (summary, notes) = scoring.finish();
        let counts = Counts { rows: all, missing: all - valid, ..Counts::default() };
        Ok(Produced { artifact, meta: None, counts, summary, notes })
    }
}

impl Stage for MetricStage {
    fn kind(&self) -> &'static str {
        "metric"
    }

    fn makes(&self) -> Makes {
        Makes::Scores
    }

    fn input(&self) -> Option<(&str, &Place)> {
        Some((&self.input, &self.input_place))
    }

    fn models(&self, of_input: &[String]) -> Option<Vec<String>> {
        Some(of_input.to_vec())
    }

    fn inputs(&self, model: Option<&str>, _reads: &Reads<'_>) -> Vec<Input> {
        vec![Input { part: Part::OWN, stage: self.input.clone(), model: model.map(str::to_owned) }]
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(Callee, String)> {
        Vec::new()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.prompts().flat_map(|prompt| prompt.columns()).chain(self.slicing().cloned()).collect()
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("metric", REVISION);
        for measure in &self.measures {
            let mut setting = measure.settings.clone();
            for (name, files) in measure.metric.files() {
                // The content of a file counts, not its name; a schema that stands here counts itself.
                if setting.get(name).is_some_and(Value::is_string) {
                    setting.shift_remove(name);
                }
                for (index, (_, digest)) in files.into_iter().enumerate() {
                    fingerprint.files.insert(format!("{}.{name}.{index}", measure.name), digest);
                }
            }
            for (name, path) in measure.metric.weights() {
                let digest = (facts.digest_file)(&path)
                    .map_err(|error| StageError::failed(format!("failed to read {}: {error}", path.display())))?;
                fingerprint.files.insert(format!("{}.model.{name}", measure.name), digest);
                // Where the weights lie does not count.
                setting.shift_remove("model");
            }
            setting.retain(|name, _| !measure.entry.indifferent.contains(&name.as_str()));
            if measure.entry.name != measure.name {
                setting.insert("metric".to_owned(), measure.entry.name.into());
            }
            for (field, prompt) in [
                ("prediction", &measure.prediction),
                ("reference", &measure.reference),
                ("sample_weight", &measure.weight),
            ] {
                if let Some(prompt) = prompt {
                    setting.insert(field.to_owned(), prompt.template.name_or(&prompt.label).into());
                }
            }
            fingerprint.setting(&format!("metrics.{}", measure.name), Value::Object(setting));
        }
        for prompt in self.prompts() {
            prompt.add_to(&mut fingerprint, facts, "");
        }
        let rows = facts.inputs.get(&Part::Rows);
        if has_leakage(rows) {
            add_columns(&mut fingerprint, rows, &Attrs::Some([LEAKAGE.to_owned()].into()));
        }
        let columns = || self.slicing().map(|(column, _)| column.clone());
        if self.slicing().next().is_some() {
            add_columns(&mut fingerprint, facts.inputs.get(&Part::Rows), &Attrs::Some(columns().collect()));
        }
        if !self.by.is_empty() {
            fingerprint.setting("by", self.by.iter().map(|(column, _)| column.clone()).collect::<Vec<_>>());
        }
        if let Some((column, _)) = &self.cluster {
            fingerprint.setting("cluster", column.as_str());
        }
        let reads_reason = self.measures.iter().any(|measure| measure.metric.needs_finish_reason());
        let columns: &[&str] =
            if reads_reason || self.reads("finish_reason") { &["text", "finish_reason"] } else { &["text"] };
        add_completions(&mut fingerprint, Part::OWN, facts.inputs.get(&Part::OWN), columns);
        if self.needs_meta()
            && let Some(completions) = facts.inputs.get(&Part::OWN)
        {
            let digest = completions.meta.as_ref().map(|meta| meta.digest);
            fingerprint.inputs.entry(Part::OWN.name().into_owned()).or_default().insert("meta".to_owned(), digest);
        }
        Ok(fingerprint)
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(async move {
            tokio::task::spawn_blocking(move || self.produce(&job))
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        })
    }

    fn sources(&self) -> Vec<(String, String)> {
        self.prompts().flat_map(|prompt| prompt.sources()).collect()
    }

    fn file(&self, label: &str) -> Option<String> {
        self.measures.iter().find_map(|measure| {
            let files = measure.metric.files();
            files.into_iter().find_map(|(name, files)| {
                let index = label.strip_prefix(&format!("{}.{name}.", measure.name))?;
                Some(files.get(index.parse::<usize>().ok()?)?.0.clone())
            })
        })
    }

    fn warnings(&self) -> Vec<Problem> {
        let mut places = Vec::new();
        let mut warnings: Vec<Problem> = self.prompts().filter_map(|prompt| prompt.constant_warning()).collect();
        // What the stage says for all its metrics is said once.
        warnings.retain(|warning| {
            let is_new = !places.contains(&warning.place);
            places.push(warning.place.clone());
            is_new
        });
        warnings
    }

    fn unit(&self, value: &str) -> Option<Unit> {
        if value == "coverage" {
            return Some(Unit::Rate);
        }
        self.measures.iter().find_map(|measure| {
            let part = value.strip_prefix(measure.name.as_str())?;
            if part.is_empty() {
                return measure.entry.main.is_empty().then(|| (measure.entry.unit)(""));
            }
            let has_part = |part: &&str| measure.entry.has_part(part) && measure.metric.has_part(part);
            let part = part.strip_prefix('.').filter(has_part)?;
            Some((measure.entry.unit)(part))
        })
    }

    fn reading(&self, value: &str) -> Option<Reading> {
        let unit = self.unit(value)?;
        let (name, part) = value.split_once('.').unwrap_or((value, ""));
        let Some(measure) = self.measures.iter().find(|measure| measure.name == name) else {
            return Some(Reading::by_name(value, unit));
        };
        let direction = match part {
            "error" => Direction::Lower,
            _ if part.starts_with("distinct_") => Direction::Higher,
            _ if matches!(unit, Unit::Fraction | Unit::Points) => Direction::Higher,
            _ => measure.entry.direction,
        };
        let rank = if part == measure.entry.main { Rank::Headline } else { Rank::Part };
        Some(Reading { unit, direction, rank })
    }

    fn values(&self) -> Vec<String> {
        let mut values: Vec<String> = self
            .measures
            .iter()
            .map(|measure| match measure.entry.main {
                "" => measure.name.clone(),
                main => format!("{}.{main}", measure.name),
            })
            .collect();
        values.push("coverage".to_owned());
        values
    }
}
