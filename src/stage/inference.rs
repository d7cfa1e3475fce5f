//! `inference`: a completion per row, model and sample.
//!
//! Stores raw completions; parsing belongs to whoever reads them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::desk::Outcome;
use super::drive::{Sink, drive};
use super::prompt::{
    Conversation, CountOrShare, Failures, MaxFailures, MessageSetting, Prompt, Variables, add_model, max_failures,
    merge_options, params_value,
};
use super::{Account, Facts, Input, Job, Produced, Progress, ROWS, Scope, Shown, Stage, StageError, coverage};
use crate::digest::{Digest, canonical};
use crate::problem::{Place, Problem, suggest};
use crate::provider::{Message, Request};
use crate::row::{Completion, Meta, Row, Status};
use crate::score::{Summary, Unit};
use crate::spec::{NodeValue, StageSpec, decode};
use crate::store::{Artifact, ArtifactWriter, Counts, Fingerprint, Store, StoreError};
use crate::template::{Attrs, to_json};

const REVISION: u32 = 1;
const VARIABLES: &[&str] = &["row", "params", "model", "sample"];

/// A completion per row, model and sample.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The dataset stage whose rows are asked.
    input: String,
    /// The model to ask; short for a list of one.
    model: Option<String>,
    /// The models to ask. Each becomes a node of its own, and so does everything behind it.
    models: Option<Vec<String>>,
    /// System turn: a template over `row`, `params`, `model`, `sample`, or the name of one that ends in
    /// .j2.
    system: Option<String>,
    /// User turn: a template over the same, or the name of one.
    prompt: Option<String>,
    /// The whole conversation, instead of `system` and `prompt`.
    messages: Option<Vec<MessageSetting>>,
    /// Completions that the dataset already has: `"{{ row[model ~ '_output'] }}"`. A prompt beside them is sent to
    /// nobody; it is what judges and people are shown as asked.
    completions: Option<String>,
    /// Sent with every call, over those of the model: temperature, max_tokens, and whatever else the
    /// server takes. `null` removes one of the model's.
    #[serde(default)]
    options: Map<String, Value>,
    /// Sent as the option of that name.
    response_format: Option<Value>,
    /// Completions per row; the first carries no added seed.
    #[serde(default = "one")]
    samples: u32,
    /// Calls that may fail: a count (`3`) or a share (`5%`, unless said). Beyond it the node fails.
    #[schemars(with = "Option<CountOrShare>")]
    max_failures: Option<Value>,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

fn one() -> u32 {
    1
}

struct Inference {
    input: String,
    input_place: Place,
    models: Vec<String>,
    source: Source,
    /// What is said to have been asked for completions that the dataset has.
    shown: Option<Conversation>,
    /// Merged options by model.
    options: IndexMap<String, Map<String, Value>>,
    samples: u32,
    max_failures: MaxFailures,
}

enum Source {
    Ask(Conversation),
    /// Completions that the dataset already has.
    Given(Box<Prompt>),
}

pub(super) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    let what = format!("stage {}", spec.name);
    let settings: Settings = decode(&spec.settings, &what)?;
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place).clone();
    let mut problems = Vec::new();
    let models = match (settings.model, settings.models) {
        (Some(model), None) => vec![model],
        (None, Some(models)) => models,
        (Some(_), Some(_)) => {
            problems.push(
                Problem::error("conflict", format!("{what} has `model` and `models`; one is enough"))
                    .at(&place("model")),
            );
            Vec::new()
        }
        (None, None) => {
            let help = format!("models: [{}]", scope.models.keys().cloned().collect::<Vec<_>>().join(", "));
            problems.push(Problem::error("missing-field", format!("{what} needs `models`")).at(&spec.place).help(help));
            Vec::new()
        }
    };
    let mut seen = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let at = spec.settings.nearest(&["models".to_owned(), index.to_string()]).place.clone();
        let at = if spec.settings.get("model").is_some() { place("model") } else { at };
        check_model(scope, model, &at, settings.completions.is_none(), &mut problems);
        if seen.contains(&model) {
            problems.push(Problem::error("conflict", format!("{what} names the model `{model}` twice")).at(&at));
        }
        seen.push(model);
    }
    check_options(&spec.settings, &settings.options, &mut problems);
    if settings.samples == 0 {
        problems
            .push(Problem::error("wrong-value", format!("{what}: `samples` must be at least 1")).at(&place("samples")));
    }
    let asks = settings.prompt.is_some() || settings.system.is_some() || settings.messages.is_some();
    if settings.messages.is_some() && (settings.prompt.is_some() || settings.system.is_some()) {
        problems.push(
            Problem::error("conflict", format!("{what} has `messages` beside `system` or `prompt`"))
                .at(&place("messages")),
        );
    }
    let fields = (&settings.system, &settings.prompt, &settings.messages);
    let mut shown = None;
    if settings.completions.is_some() && asks {
        shown = Some(Conversation::load(scope, &spec.settings, fields, None, VARIABLES, &mut problems));
    }
    let source = match &settings.completions {
        Some(text) => match Prompt::load_value(scope, "completions", text, &place("completions"), VARIABLES) {
            Ok(prompt) => Some(Source::Given(Box::new(prompt))),
            Err(found) => {
                problems.extend(found);
                None
            }
        },
        None => {
            if settings.prompt.is_none() && settings.messages.is_none() {
                problems.push(
                    Problem::error("missing-field", format!("{what} needs `prompt`, `messages` or `completions`"))
                        .at(&spec.place)
                        .help("prompt: \"{{ row.question }}\""),
                );
            }
            Some(Source::Ask(Conversation::load(scope, &spec.settings, fields, None, VARIABLES, &mut problems)))
        }
    };
    let max_failures = max_failures(&spec.settings, &settings.max_failures, &mut problems);
    let mut stage_options = settings.options;
    if let Some(format) = settings.response_format {
        stage_options.insert("response_format".to_owned(), format);
    }
    let options = models
        .iter()
        .filter_map(|name| Some((name.clone(), merge_options(&scope.models.get(name)?.options, &stage_options))))
        .collect();
    let (Some(source), true) = (source, problems.is_empty()) else {
        return Err(problems);
    };
    Ok(Arc::new(Inference {
        input: settings.input,
        input_place: place("input"),
        models,
        source,
        shown,
        options,
        samples: settings.samples,
        max_failures,
    }))
}

/// Finds a model that is not there, or that cannot be asked.
pub(super) fn check_model(scope: &Scope<'_>, name: &str, place: &Place, is_asked: bool, problems: &mut Vec<Problem>) {
    match scope.models.get(name) {
        None if scope.broken.contains(name) => {}
        None => {
            let help = suggest(name, "models there are", scope.models.keys().map(String::as_str))
                .unwrap_or_else(|| "declare it under `models:`".to_owned());
            problems.push(Problem::error("unknown-model", format!("there is no model `{name}`")).at(place).help(help));
        }
        Some(model) if is_asked && model.provider.is_none() => problems.push(
            Problem::error("missing-field", format!("model `{name}` has no `provider`, so it cannot be asked"))
                .at(model.place.as_ref().unwrap_or(place))
                .help(
                    "provider: openai, with base_url and model; or give the stage `completions:` that the dataset has",
                ),
        ),
        Some(_) => {}
    }
}

/// Finds options that would break how answers are read.
pub(super) fn check_options(settings: &crate::spec::Node, options: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let place = |name: &str| settings.nearest(&["options".to_owned(), name.to_owned()]).place.clone();
    if options.get("stream").is_some_and(|stream| stream == &Value::Bool(true)) {
        problems.push(
            Problem::error("wrong-value", "`options.stream` cannot be used: answers are stored whole")
                .at(&place("stream")),
        );
    }
    if options.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        problems.push(
            Problem::error("wrong-value", "`options.n` would pay for completions that nobody reads")
                .at(&place("n"))
                .help("samples: 3 on the stage asks for three completions per row"),
        );
    }
    for name in ["messages", "model"] {
        if options.contains_key(name) {
            problems.push(Problem::error("wrong-value", format!("`{name}` is not an option")).at(&place(name)));
        }
    }
    if let Some(node) = settings.get("options")
        && !matches!(node.value, NodeValue::Map(_))
    {
        problems.push(Problem::error("wrong-type", "`options` is a map").at(&node.place));
    }
}

/// Writes completions and what they cost, with the digests of the columns that others read.
pub(super) struct CompletionWriter {
    value: ArtifactWriter,
    meta: ArtifactWriter,
    pub valid: u64,
}

impl CompletionWriter {
    pub fn new(store: &Arc<Store>) -> Result<CompletionWriter, StoreError> {
        Ok(CompletionWriter { value: store.write_artifact()?, meta: store.write_artifact()?, valid: 0 })
    }

    pub fn push(&mut self, completion: &Completion, meta: &Meta) -> Result<(), StoreError> {
        let id = sample_id(&completion.id, completion.sample);
        self.value.push(&id, completion)?;
        for (name, value) in [
            ("text", serde_json::to_vec(&(completion.status, &completion.text))),
            ("finish_reason", serde_json::to_vec(&completion.finish_reason)),
        ] {
            self.value.column(name, &id, &value.expect("text is JSON"));
        }
        self.meta.push(&id, meta)?;
        self.valid += u64::from(completion.status == Status::Ok);
        Ok(())
    }

    pub fn finish(self) -> Result<(Artifact, Artifact), StoreError> {
        Ok((self.value.finish()?, self.meta.finish()?))
    }
}

/// Where completions go, in order.
struct CompletionSink {
    writer: CompletionWriter,
    failures: Failures,
    allowed: u64,
    account: Option<Arc<Account>>,
    progress: Arc<Progress>,
}

impl Sink<(Completion, Meta)> for CompletionSink {
    fn take(&mut self, (completion, meta): (Completion, Meta)) -> Result<bool, StageError> {
        let is_failed = completion.status == Status::Failed;
        if let (true, Some(message)) = (is_failed, &meta.error) {
            self.failures.add(message);
        }
        self.progress.count(is_failed);
        self.writer.push(&completion, &meta)?;
        let is_hopeless = self.account.as_ref().is_some_and(|account| account.fatal().is_some());
        Ok(self.failures.count <= self.allowed && !is_hopeless)
    }
}

/// Returns the id under which a sample enters digests.
pub(super) fn sample_id(id: &str, sample: u32) -> String {
    if sample == 0 { id.to_owned() } else { format!("{id}\u{0}{sample}") }
}

/// What every row's work shares.
struct Work {
    stage: Arc<Inference>,
    account: Option<Arc<Account>>,
    params: TemplateValue,
    model: String,
    options: Arc<Map<String, Value>>,
    row_reads: Attrs,
    /// Whether anything but the row is read.
    reads_names: bool,
    /// The dataset's artifact.
    rows: Digest,
}

impl Work {
    fn variables(&self, row: &Row, sample: u32) -> TemplateValue {
        // Variables that nothing reads are left out: this runs for every row.
        let mut variables = Variables::default();
        if self.reads_names {
            variables = Variables::new(&self.params).with("model", self.model.as_str()).with("sample", sample);
        }
        variables.with_row(row, &self.row_reads).value()
    }

    async fn complete(self: Arc<Self>, line: Arc<Vec<u8>>, sample: u32) -> Result<(Completion, Meta), StageError> {
        let is_read = |name: &str| match &self.row_reads {
            Attrs::All => true,
            Attrs::Some(names) => names.contains(name),
        };
        let damaged = |_| StoreError::Corrupt { digest: self.rows, reason: "damaged".to_owned() };
        let row = Row::narrow(&line, &is_read).map_err(damaged)?;
        let variables = self.variables(&row, sample);
        let outcome = match &self.stage.source {
            Source::Given(prompt) => given(prompt, &variables),
            Source::Ask(conversation) => match (conversation.render(&variables), &self.account) {
                (Ok(messages), Some(account)) => {
                    account.ask(&Request { messages, options: self.options.clone(), sample }).await?
                }
                (Ok(_), None) => Outcome::Failed("the model cannot be asked".to_owned()),
                (Err(error), _) => Outcome::Failed(format!("the prompt failed: {error}")),
            },
        };
        let mut completion =
            Completion { finish_reason: None, id: row.id.clone(), sample, status: Status::Failed, text: None };
        let mut meta = Meta::default();
        match outcome {
            Outcome::Reply(reply, cost) => {
                completion.status = Status::Ok;
                completion.text = Some(reply.text);
                completion.finish_reason = reply.finish_reason;
                meta = cost;
            }
            Outcome::Failed(message) => meta.error = Some(message),
            Outcome::Unknown => {
                completion.status = Status::Unknown;
                // No two plans write the same unfinished artifact, so each can remove its own.
                completion.finish_reason = Some(format!("plan {}", std::process::id()));
            }
        }
        (meta.id, meta.sample) = (row.id.clone(), sample);
        Ok((completion, meta))
    }
}

/// Takes a completion that the dataset has.
fn given(prompt: &Prompt, variables: &TemplateValue) -> Outcome {
    match prompt.template.evaluate(variables) {
        Ok(value) if value.is_none() => Outcome::Failed("the dataset has no completion for this row".to_owned()),
        Ok(value) => {
            let text = match to_json(&value) {
                Value::String(text) => text,
                other => String::from_utf8_lossy(&canonical(&other)).into_owned(),
            };
            Outcome::Reply(Box::new(crate::provider::Reply { text, ..Default::default() }), Meta::default())
        }
        Err(error) => Outcome::Failed(format!("`completions` failed: {error}")),
    }
}

impl Inference {
    fn row_reads(&self) -> Attrs {
        match &self.source {
            Source::Ask(conversation) => conversation.row.clone(),
            Source::Given(prompt) => prompt.template.reads.of("row"),
        }
    }

    fn work(self: &Arc<Self>, job: &Job, model: &str) -> Work {
        Work {
            stage: self.clone(),
            account: job.accounts.get(model).cloned(),
            params: params_value(&job.params),
            model: model.to_owned(),
            options: Arc::new(self.options.get(model).cloned().unwrap_or_default()),
            row_reads: self.row_reads(),
            rows: job.inputs.get(ROWS).map_or_else(|| Digest::of(b""), |rows| rows.artifact.digest),
            reads_names: ["params", "model", "sample"].iter().any(|name| match &self.source {
                Source::Ask(conversation) => conversation.reads(name),
                Source::Given(prompt) => prompt.template.reads.reads(name),
            }),
        }
    }

    async fn produce(self: Arc<Self>, job: Job) -> Result<Produced, StageError> {
        let model = job.model.clone().unwrap_or_default();
        let rows = job.inputs.get(ROWS).ok_or_else(|| StageError::failed("the dataset is missing"))?;
        let all = rows.artifact.rows * u64::from(self.samples);
        job.progress.total.store(all, Ordering::Relaxed);
        let allowed = self.max_failures.of(all);
        let work = Arc::new(self.work(&job, &model));
        let samples = self.samples;
        let items = job.store.read_lines(&rows.artifact)?.flat_map(move |line| match line {
            Ok(line) => {
                let line = Arc::new(line);
                (0..samples).map(|sample| Ok((line.clone(), sample))).collect::<Vec<_>>()
            }
            Err(error) => vec![Err(StageError::from(error))],
        });
        // Rows that the dataset has no completion for are missing, however many.
        let may_fail = matches!(self.source, Source::Given(_));
        let account = work.account.clone();
        let sink = CompletionSink {
            writer: CompletionWriter::new(&job.store)?,
            failures: Failures::default(),
            allowed: if may_fail { all } else { allowed },
            account: account.clone(),
            progress: job.progress.clone(),
        };
        let concurrency = account.as_ref().map_or(2, |account| account.desk().concurrency());
        let idle = || account.as_ref().map_or(0, |account| account.desk().idle());
        let complete = move |(row, sample)| -> BoxFuture<'static, _> { Box::pin(work.clone().complete(row, sample)) };
        let (CompletionSink { writer, failures, .. }, result) = drive(items, complete, concurrency, idle, sink).await;
        if let Some(account) = &account {
            account.sync()?;
            if let Some(message) = account.fatal() {
                return Err(StageError::Failed(message));
            }
        }
        result?;
        if !may_fail && failures.count > allowed {
            return Err(failures.error(allowed, all));
        }
        let valid = writer.valid;
        let (artifact, meta) = writer.finish()?;
        let mut notes = Vec::new();
        if failures.count > 0 {
            notes.push(format!("{} of {all} rows failed: {}", failures.count, failures.describe()));
        }
        let mut summary = Summary::default();
        summary.values.insert("coverage".to_owned(), coverage(valid, all));
        let account = account.as_deref();
        let counts = Counts {
            rows: all,
            failed: if may_fail { 0 } else { failures.count },
            missing: all - valid,
            calls: account.map_or(0, Account::calls),
            reused: account.map_or(0, Account::reused),
            cost_usd: account.and_then(Account::cost_usd),
            seconds: 0.0,
        };
        Ok(Produced { artifact, meta: Some(meta), counts, summary, notes })
    }
}

impl Inference {
    /// Returns what was asked, or is said to have been.
    fn conversation(&self) -> Option<&Conversation> {
        match &self.source {
            Source::Ask(conversation) => Some(conversation),
            Source::Given(_) => self.shown.as_ref(),
        }
    }
}

impl Stage for Inference {
    fn kind(&self) -> &'static str {
        "inference"
    }

    fn input(&self) -> Option<(&str, &Place)> {
        Some((&self.input, &self.input_place))
    }

    fn models(&self, _of_input: &[String]) -> Option<Vec<String>> {
        Some(self.models.clone())
    }

    fn inputs(&self, _model: Option<&str>, _of_input: &[String]) -> Vec<Input> {
        Vec::new()
    }

    fn callees(&self, model: Option<&str>) -> Vec<(&'static str, String)> {
        match (&self.source, model) {
            (Source::Ask(_), Some(model)) => vec![("model", model.to_owned())],
            _ => Vec::new(),
        }
    }

    fn columns(&self) -> Vec<(String, Place)> {
        match &self.source {
            Source::Ask(conversation) => conversation.prompts().flat_map(Prompt::columns).collect(),
            Source::Given(prompt) => {
                let shown = self.shown.iter().flat_map(Conversation::prompts);
                shown.chain([&**prompt]).flat_map(Prompt::columns).collect()
            }
        }
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("inference", REVISION);
        match &self.source {
            Source::Ask(conversation) => {
                conversation.add_to(&mut fingerprint, facts);
                if let Some(name) = facts.model {
                    let options = self.options.get(name).cloned().unwrap_or_default();
                    add_model(&mut fingerprint, "model", facts, name, &options);
                }
            }
            Source::Given(prompt) => prompt.add_to(&mut fingerprint, facts, ""),
        }
        if self.samples != 1 {
            fingerprint.setting("samples", self.samples);
        }
        if let Some(rows) = facts.inputs.get(ROWS) {
            fingerprint.inputs.entry(ROWS.to_owned()).or_default().insert("ids".to_owned(), Some(rows.artifact.ids));
        }
        Ok(fingerprint)
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(self.produce(job))
    }

    fn unit(&self, value: &str) -> Option<Unit> {
        (value == "coverage").then_some(Unit::Rate)
    }

    fn values(&self) -> Vec<String> {
        vec!["coverage".to_owned()]
    }

    fn sources(&self) -> Vec<(String, String)> {
        match &self.source {
            Source::Ask(conversation) => conversation.prompts().flat_map(Prompt::sources).collect(),
            Source::Given(prompt) => {
                let shown = self.shown.iter().flat_map(Conversation::prompts);
                shown.chain([&**prompt]).flat_map(Prompt::sources).collect()
            }
        }
    }

    fn warnings(&self) -> Vec<Problem> {
        match &self.source {
            Source::Ask(conversation) if conversation.row.is_empty() => {
                let place = conversation.prompts().last().map_or(&self.input_place, |prompt| &prompt.place);
                let message = "the prompt reads no column: every row asks the same";
                vec![
                    Problem::warning("constant-prompt", message)
                        .at(place)
                        .help("columns stand below `row`: `{{ row.question }}`"),
                ]
            }
            Source::Ask(_) => Vec::new(),
            Source::Given(prompt) => prompt.constant_warning().into_iter().collect(),
        }
    }

    fn has_prompt(&self) -> bool {
        self.conversation().is_some()
    }

    fn asked(&self, shown: &Shown<'_>) -> Option<Vec<Message>> {
        let conversation = self.conversation()?;
        let variables = Variables::new(&params_value(shown.params))
            .with("model", shown.model.unwrap_or("_"))
            .with("sample", shown.sample)
            .with_row(shown.row, &conversation.row)
            .value();
        conversation.render(&variables).ok()
    }

    fn add_prompt(&self, fingerprint: &mut Fingerprint, facts: &Facts<'_>) {
        if let Some(conversation) = self.conversation() {
            conversation.add_as(fingerprint, facts, "input.");
        }
    }
}
