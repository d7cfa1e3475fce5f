//! Rows sent through a model: prompts are rendered, asked, and the completions written in order.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

use super::kept::Kept;
use super::settings::{Inference, Source};
use super::shape::shape;
use super::writer::CompletionWriter;
use crate::digest::{Digest, canonical};
use crate::provider::{Reply, Request};
use crate::row::{Completion, Meta, Row, Status};
use crate::score::Summary;
use crate::stage::desk::Bought;
use crate::stage::drive::{Sink, drive};
use crate::stage::join::of_sample;
use crate::stage::prompt::{Failures, Prompt, Variables, params_value};
use crate::stage::{Account, Job, Part, Produced, Progress, StageError, coverage};
use crate::store::{ByRow, Counts, StoreError, id_of};
use crate::template::{Attrs, TemplateError, to_json};
use crate::text::ReasoningTags;

/// One completion that is to be made.
struct Item {
    line: Arc<Vec<u8>>,
    sample: u32,
    /// In a chain: the completion that its prompt reads.
    draft: Option<Completion>,
}

/// The rows of the dataset, each once per sample, with the upstream completions of a chain.
struct Items {
    rows: Box<dyn Iterator<Item = Result<Vec<u8>, StoreError>> + Send>,
    /// The digest of the dataset's artifact.
    digest: Digest,
    drafts: Option<ByRow<Completion>>,
    samples: u32,
    queue: std::collections::VecDeque<Item>,
    is_done: bool,
}

impl Items {
    /// Opens all rows; if some completions are kept, only the rows that changed.
    fn open(job: &Job, samples: u32, kept: Option<&Kept>) -> Result<Items, StageError> {
        let store = &job.store;
        let rows = job.inputs.get(&Part::Rows).ok_or_else(|| StageError::failed("the dataset is missing"))?;
        let drafts = job.inputs.get(&Part::Draft);
        Ok(Items {
            rows: match kept {
                None => Box::new(store.read_lines(&rows.artifact)?),
                Some(kept) => {
                    let lines = kept.changed.now().flat_map(|(_, lines)| lines.iter().cloned().map(Ok));
                    Box::new(lines.collect::<Vec<_>>().into_iter())
                }
            },
            digest: rows.artifact.digest,
            drafts: drafts.map(|drafts| ByRow::open(store, &drafts.artifact)).transpose()?,
            samples,
            queue: Default::default(),
            is_done: false,
        })
    }

    fn add(&mut self, line: Vec<u8>) -> Result<(), StageError> {
        let drafts = match &mut self.drafts {
            Some(drafts) => drafts.take(&id_in(&line, self.digest)?)?,
            None => Vec::new(),
        };
        let line = Arc::new(line);
        for sample in 0..self.samples {
            let draft = of_sample(&drafts, sample).cloned();
            self.queue.push_back(Item { line: line.clone(), sample, draft });
        }
        Ok(())
    }
}

/// Returns the id of a row's stored line.
fn id_in(line: &[u8], artifact: Digest) -> Result<Cow<'_, str>, StoreError> {
    id_of(line).ok_or_else(|| StoreError::damaged(artifact))
}

impl Iterator for Items {
    type Item = Result<Item, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.queue.is_empty() && !self.is_done {
            let read = match self.rows.next() {
                Some(Ok(line)) => self.add(line),
                Some(Err(error)) => Err(error.into()),
                None => {
                    self.is_done = true;
                    self.drafts.as_mut().map_or(Ok(()), |drafts| drafts.finish().map_err(StageError::from))
                }
            };
            if let Err(error) = read {
                self.is_done = true;
                return Some(Err(error));
            }
        }
        self.queue.pop_front().map(Ok)
    }
}

/// What became of one item.
struct Completed {
    completion: Completion,
    meta: Meta,
    /// Nothing was asked, because the upstream completion is missing.
    is_without_draft: bool,
}

/// Writes completions, in order.
struct CompletionSink {
    writer: CompletionWriter,
    kept: Option<Kept>,
    failures: Failures,
    without_draft: u64,
    allowed: u64,
    account: Option<Arc<Account>>,
    progress: Arc<Progress>,
}

impl Sink<Completed> for CompletionSink {
    fn take(&mut self, completed: Completed) -> Result<bool, StageError> {
        let Completed { completion, meta, is_without_draft } = completed;
        let is_failed = completion.status == Status::Failed && !is_without_draft;
        if let (true, Some(message)) = (is_failed, &meta.error) {
            self.failures.add(message);
        }
        self.without_draft += u64::from(is_without_draft);
        self.progress.count(is_failed);
        self.copy_kept(Some(&completion.id))?;
        self.writer.push(&completion, &meta)?;
        let is_hopeless = self.account.as_ref().is_some_and(|account| account.fatal().is_some());
        Ok(self.failures.count <= self.allowed && !is_hopeless)
    }
}

impl CompletionSink {
    /// Copies the kept completions of the rows before an id; without an id, all that are left.
    fn copy_kept(&mut self, end: Option<&str>) -> Result<(), StageError> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let before = kept.count;
        kept.copy(end, &mut self.writer, self.account.as_deref())?;
        self.progress.done.fetch_add(kept.count - before, Ordering::Relaxed);
        Ok(())
    }
}

/// What the work on every row shares.
struct Work {
    stage: Arc<Inference>,
    account: Option<Arc<Account>>,
    params: TemplateValue,
    model: String,
    options: Arc<Map<String, Value>>,
    row_reads: Attrs,
    /// Whether the prompt reads anything beside the row.
    reads_names: bool,
    /// The digest of the dataset's artifact.
    rows: Digest,
}

impl Work {
    fn new(stage: &Arc<Inference>, job: &Job, model: &str) -> Work {
        Work {
            stage: stage.clone(),
            account: job.accounts.get(model).cloned(),
            params: params_value(&job.params),
            model: model.to_owned(),
            options: Arc::new(stage.options.get(model).cloned().unwrap_or_default()),
            row_reads: stage.row_reads(),
            rows: job.inputs.get(&Part::Rows).map_or_else(|| Digest::of(b""), |rows| rows.artifact.digest),
            reads_names: ["params", "model", "sample", "inputs"].iter().any(|name| stage.reads(name)),
        }
    }

    fn variables(&self, row: &Row, item: &Item) -> TemplateValue {
        // Variables that no template reads are left out, since this runs for every row.
        let mut variables = Variables::default();
        if self.reads_names {
            variables = Variables::new(&self.params).with("model", self.model.as_str()).with("sample", item.sample);
        }
        if let Some(draft) = &item.draft {
            variables = variables.with_input(&self.stage.input, draft);
        }
        variables.with_row(row, &self.row_reads).value()
    }

    async fn complete(self: Arc<Self>, item: Item) -> Result<Completed, StageError> {
        let is_read = |name: &str| match &self.row_reads {
            Attrs::All => true,
            Attrs::Some(names) => names.contains(name),
        };
        let row = Row::narrow(&item.line, &is_read).map_err(|_| StoreError::damaged(self.rows))?;
        let draft = item.draft.as_ref().map(|draft| draft.status);
        let is_without_draft = draft == Some(Status::Failed);
        let bought = match draft {
            Some(Status::Failed) => Bought::Failed(format!("{} has no completion for this row", self.stage.input)),
            Some(Status::Unknown) => {
                self.account.iter().for_each(|account| account.expect_calls(1));
                Bought::Unknown
            }
            _ => self.ask(&row, &item).await?,
        };
        let mut completion = Completion::missing(&row.id, item.sample, Status::Failed);
        let mut meta = Meta::default();
        match bought {
            Bought::Reply(reply, cost) => {
                shape(*reply, self.stage.tags_of(&self.model), &mut completion);
                meta = cost;
            }
            Bought::Failed(message) => meta.error = Some(message),
            Bought::Unknown => {
                completion.status = Status::Unknown;
                // Makes the artifact of this plan unlike that of any other, so that each plan can remove its own.
                completion.finish_reason = Some(format!("plan {}", std::process::id()));
            }
        }
        (meta.id, meta.sample) = (row.id.clone(), item.sample);
        Ok(Completed { completion, meta, is_without_draft })
    }

    async fn ask(&self, row: &Row, item: &Item) -> Result<Bought, StageError> {
        let variables = self.variables(row, item);
        let conversation = match &self.stage.source {
            Source::Given(prompt) => return Ok(given(prompt, &variables)),
            Source::Ask(conversation) => conversation,
        };
        let Some(account) = &self.account else {
            return Ok(Bought::Failed("the model cannot be asked".to_owned()));
        };
        let messages = conversation.render(&variables).and_then(|messages| Ok((messages, self.options(&variables)?)));
        match messages {
            Ok((messages, options)) => {
                let (bought, _) = account.ask(&Request { messages, options, sample: item.sample }).await?;
                Ok(bought)
            }
            Err(error) => Ok(Bought::Failed(format!("the prompt failed: {error}"))),
        }
    }

    /// Returns the options of a call, with those that the row has of its own.
    fn options(&self, variables: &TemplateValue) -> Result<Arc<Map<String, Value>>, TemplateError> {
        let mut options = self.options.clone();
        for (name, prompt) in &self.stage.row_options {
            let value = to_json(&prompt.template.evaluate(variables)?);
            // A cell of a CSV file holds its list as text.
            let value = match value {
                Value::String(text) if text.trim_start().starts_with(['[', '{']) => {
                    serde_json::from_str(&text).unwrap_or(Value::String(text))
                }
                other => other,
            };
            let all = Arc::make_mut(&mut options);
            let is_none = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if is_none {
                all.shift_remove(*name)
            } else {
                all.insert((*name).to_owned(), value)
            };
        }
        Ok(options)
    }
}

/// Takes a completion that the dataset already has.
fn given(prompt: &Prompt, variables: &TemplateValue) -> Bought {
    match prompt.template.evaluate(variables) {
        Ok(value) if value.is_none() => Bought::Failed("the dataset has no completion for this row".to_owned()),
        Ok(value) => {
            let text = match to_json(&value) {
                Value::String(text) => text,
                other => String::from_utf8_lossy(&canonical(&other)).into_owned(),
            };
            Bought::Reply(Box::new(Reply { text, ..Default::default() }), Meta::default())
        }
        Err(error) => Bought::Failed(format!("`completions` failed: {error}")),
    }
}

impl Inference {
    fn tags_of(&self, model: &str) -> &ReasoningTags {
        match self.tags.get(model) {
            Some(tags) => tags.tags(),
            None => ReasoningTags::known(),
        }
    }

    /// Makes a node's completions.
    pub(super) async fn produce(self: Arc<Self>, job: Job) -> Result<Produced, StageError> {
        let model = job.model.clone().unwrap_or_default();
        let rows = job.inputs.get(&Part::Rows).map_or(0, |rows| rows.artifact.rows);
        let all = rows * u64::from(self.samples);
        job.progress.total.store(all, Ordering::Relaxed);
        let allowed = if job.is_fail_fast { 0 } else { self.max_failures.of(all) };
        let work = Arc::new(Work::new(&self, &job, &model));
        let kept = self.kept(&job)?;
        let items = Items::open(&job, self.samples, kept.as_ref())?;
        // Rows for which the dataset has no completion are missing; there may be any number of them.
        let may_fail = matches!(self.source, Source::Given(_));
        let account = work.account.clone();
        let sink = CompletionSink {
            writer: CompletionWriter::new(&job.store)?,
            kept,
            failures: Failures::default(),
            without_draft: 0,
            allowed: if may_fail { all } else { allowed },
            account: account.clone(),
            progress: job.progress.clone(),
        };
        let concurrency = account.as_ref().map_or(2, |account| account.desk().concurrency());
        let idle = || account.as_ref().map_or(0, |account| account.desk().idle());
        let complete = move |item| -> BoxFuture<'static, _> { Box::pin(work.clone().complete(item)) };
        let (mut sink, result) = drive(items, complete, concurrency, idle, sink).await;
        if let Some(account) = &account {
            account.sync()?;
            if let Some(message) = account.fatal() {
                return Err(StageError::Failed(message));
            }
        }
        result?;
        sink.copy_kept(None)?;
        if !may_fail && sink.failures.count > allowed {
            let error = sink.failures.error(allowed, all);
            return Err(match &account {
                Some(account) => StageError::Failed(account.blame(&error.to_string())),
                None => error,
            });
        }
        self.summed_up(sink, all, may_fail)
    }

    fn summed_up(&self, sink: CompletionSink, all: u64, may_fail: bool) -> Result<Produced, StageError> {
        let CompletionSink { mut writer, failures, without_draft, account, .. } = sink;
        let valid = writer.valid;
        let shapes = std::mem::take(&mut writer.shapes);
        let (artifact, meta) = writer.finish()?;
        let mut notes = Vec::new();
        if failures.count > 0 {
            notes.push(format!("{} of {all} rows failed: {}", failures.count, failures.describe()));
        }
        if without_draft > 0 {
            notes.push(format!("{without_draft} of {all} rows have no completion of {} to read", self.input));
        }
        notes.extend(shapes.notes());
        notes.extend(account.as_ref().and_then(|account| account.mixed()));
        let mut summary = Summary::default();
        summary.values.insert("coverage".to_owned(), coverage(valid, all));
        shapes.add_to(&mut summary.values, self.samples);
        let account = account.as_deref();
        let counts = Counts {
            rows: all,
            failed: if may_fail { 0 } else { failures.count },
            missing: all - valid,
            calls: account.map_or(0, Account::calls),
            reused: account.map_or(0, Account::reused),
            cost_usd: account.and_then(|account| account.bill().bought_usd),
            seconds: 0.0,
        };
        Ok(Produced { artifact, meta: Some(meta), counts, summary, notes })
    }
}
