//! `judge`: a model that grades completions.
//!
//! ```text
//! row × sample → questions → render (twice, where the prompt reads `tag`) → ask → read
//!                                      ↑ a new turn that quotes the error ──┘ unreadable
//!             → judgement → tally
//! ```
//!
//! The tag is the first eight hex digits of the digest of the request without it: the same on every
//! run, unknown to a candidate. Raw replies are in the completion log, so that reading them anew
//! costs nothing. **Invariant:** what cannot be read is missing, never a score.
//!
//! **Adding a judge method:** one file with a `parse` function, one line in [`METHODS`], its
//! template, an example and its tests.

mod bias;
mod classify;
mod compare;
mod human;
mod method;
mod rubric;
pub mod verdict;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use human::{Calibration, Labels};
use method::{Candidates, Gathered, Method, Parse, Question, Reading, Tally, Votes, missing};

use super::desk::Outcome;
use super::drive::{Sink, drive};
use super::inference::{check_model, check_options, sample_id};
use super::join::{Join, Joined};
use super::prompt::{
    Conversation, CountOrShare, Failures, MaxFailures, MessageSetting, Prompt, Variables, add_completions, add_model,
    max_failures, merge_options, params_value,
};
use super::{
    Account, BASELINE, COMPLETIONS, Facts, Input, Job, Produced, Progress, Scope, Shown, Stage, StageError, coverage,
    seed_of,
};
use crate::digest::Digest;
use crate::problem::{Place, Problem, suggest};
use crate::provider::{Message, Request};
use crate::row::{Completion, Judgement, Status, VerdictStatus, Vote};
use crate::score::{Summary, Unit};
use crate::spec::{StageSpec, decode};
use crate::store::{ArtifactWriter, Counts, Fingerprint};
use crate::template::Attrs;

/// Bumped with the rules of reading verdicts, too.
const REVISION: u32 = 2;
const REFERENCE_VARIABLES: &[&str] = &["row", "params"];

/// The methods there are, by the field that holds their settings.
const METHODS: &[(&str, Parse)] =
    &[("rubric", rubric::parse), ("compare", compare::parse), ("classify", classify::parse)];

/// Values that there are where people have labelled, too.
const HUMAN_VALUES: &[&str] = &["agreement", "kappa"];

/// The parts that judges play, by their place in the panel.
const PARTS: &[&str] =
    &["judge", "judge.2", "judge.3", "judge.4", "judge.5", "judge.6", "judge.7", "judge.8", "judge.9"];

/// A model that grades completions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The inference stage whose completions are graded.
    input: String,
    /// The model that grades.
    model: Option<String>,
    /// Several models that grade, two to nine: what they say together counts.
    #[serde(default)]
    panel: Vec<String>,
    /// How often each judge is asked about each completion.
    #[serde(default = "one")]
    samples: u32,
    /// System turn: a template, or the name of one that ends in .j2.
    system: Option<String>,
    /// User turn: a template, or the name of one. Unless given, judge/rubric.j2, judge/pairwise.j2 or
    /// judge/classify.j2, which are built in.
    prompt: Option<String>,
    /// The whole conversation, instead of `system` and `prompt`.
    messages: Option<Vec<MessageSetting>>,
    /// What a good answer says, shown to the judge: `"{{ row.gold }}"`.
    reference: Option<String>,
    /// File of people's labels (JSON lines or CSV with `row`, `label` and, where needed, `model`, `criterion`,
    /// `rater`): the judge is held against them.
    human: Option<String>,
    /// Grades each completion by criteria.
    #[serde(rename = "rubric")]
    #[schemars(with = "Option<rubric::Settings>")]
    _rubric: Option<Value>,
    /// Compares each completion with that of a baseline.
    #[serde(rename = "compare")]
    #[schemars(with = "Option<compare::Settings>")]
    _compare: Option<Value>,
    /// Lets the judge pick a label.
    #[serde(rename = "classify")]
    #[schemars(with = "Option<classify::Settings>")]
    _classify: Option<Value>,
    /// Sent with every call, over those of the model; `null` removes one.
    #[serde(default)]
    options: Map<String, Value>,
    /// Sent as the option of that name.
    response_format: Option<Value>,
    /// How often an unreadable verdict is asked for again.
    #[serde(default = "one")]
    retries: u32,
    /// Lets a model grade its own completions.
    #[serde(default)]
    allow_self: bool,
    /// Calls that may fail: a count (`3`) or a share (`5%`, unless said).
    #[schemars(with = "Option<CountOrShare>")]
    max_failures: Option<Value>,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

fn one() -> u32 {
    1
}

struct Judge {
    input: String,
    input_place: Place,
    place: Place,
    baseline_place: Place,
    /// The judges, with their places and the options that are sent to them.
    judges: Vec<Grader>,
    samples: u32,
    /// The file of people's labels, and what it says.
    human: Option<(String, Labels)>,
    conversation: Conversation,
    reference: Option<Prompt>,
    method: Box<dyn Method>,
    retries: u32,
    allow_self: bool,
    max_failures: MaxFailures,
}

/// A judge of the panel.
struct Grader {
    model: String,
    place: Place,
    options: Arc<Map<String, Value>>,
}

pub(super) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    let what = format!("stage {}", spec.name);
    let settings: Settings = decode(&spec.settings, &what)?;
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place).clone();
    let mut problems = Vec::new();
    let mut judges: Vec<(String, Place)> = Vec::new();
    match (&settings.model, settings.panel.as_slice()) {
        (Some(model), []) => judges.push((model.clone(), place("model"))),
        (None, panel @ [_, _, ..]) if panel.len() <= PARTS.len() => {
            let at = |index: usize| spec.settings.nearest(&["panel".to_owned(), index.to_string()]).place.clone();
            judges.extend(panel.iter().enumerate().map(|(index, model)| (model.clone(), at(index))));
        }
        (None, []) => problems.push(
            Problem::error("missing-field", format!("{what} needs `model`, or `panel`"))
                .at(&spec.place)
                .help("model: grader, a model of `models:`"),
        ),
        (None, _) => problems.push(
            Problem::error("wrong-value", format!("{what}: a `panel` has two to {} judges", PARTS.len()))
                .at(&place("panel")),
        ),
        (Some(_), _) => problems.push(
            Problem::error("conflict", format!("{what} has `model` and `panel`; one is enough")).at(&place("panel")),
        ),
    }
    for (index, (model, at)) in judges.iter().enumerate() {
        check_model(scope, model, at, true, &mut problems);
        if judges[..index].iter().any(|(known, _)| known == model) {
            let message = format!("{what}: `{model}` stands in the panel twice");
            let help = "`samples: 2` asks each judge twice";
            problems.push(Problem::error("conflict", message).at(at).help(help));
        }
    }
    if settings.samples == 0 {
        problems.push(Problem::error("wrong-value", format!("{what}: `samples` is at least 1")).at(&place("samples")));
    }
    check_options(&spec.settings, &settings.options, &mut problems);
    let given: Vec<&(&str, Parse)> = METHODS.iter().filter(|(field, _)| spec.settings.get(field).is_some()).collect();
    let method = match given.as_slice() {
        [(field, parse)] => spec.settings.get(field).and_then(|node| parse(node, &what, &mut problems)),
        [] => {
            let names: Vec<&str> = METHODS.iter().map(|(field, _)| *field).collect();
            problems.push(
                Problem::error("missing-field", format!("{what} needs one of {}", names.join(", ")))
                    .at(&spec.place)
                    .help("rubric: { criteria: { accuracy: Is the information correct? } }"),
            );
            None
        }
        [_, (second, _), ..] => {
            problems.push(
                Problem::error("conflict", format!("{what} has two methods; split it into two stages"))
                    .at(&place(second)),
            );
            None
        }
    };
    let Some(method) = method else {
        return Err(problems);
    };
    let human = settings.human.as_ref().and_then(|name| {
        let labels = Labels::read(scope.workspace, name, &method.labels(), &place("human"), &mut problems)?;
        Some((name.clone(), labels))
    });
    if settings.messages.is_some() && (settings.prompt.is_some() || settings.system.is_some()) {
        problems.push(
            Problem::error("conflict", format!("{what} has `messages` beside `system` or `prompt`"))
                .at(&place("messages")),
        );
    }
    let fields = (&settings.system, &settings.prompt, &settings.messages);
    let default = Some((method.default_prompt(), &spec.place));
    let conversation = Conversation::load(scope, &spec.settings, fields, default, method.variables(), &mut problems);
    let reference = settings.reference.as_ref().and_then(|text| {
        match Prompt::load_value(scope, "reference", text, &place("reference"), REFERENCE_VARIABLES) {
            Ok(prompt) => Some(prompt),
            Err(found) => {
                problems.extend(found);
                None
            }
        }
    });
    let max_failures = max_failures(&spec.settings, &settings.max_failures, &mut problems);
    let mut stage_options = settings.options;
    if let Some(format) = settings.response_format {
        stage_options.insert("response_format".to_owned(), format);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let judges = judges.into_iter().map(|(model, place)| {
        let own = scope.models.get(&model).map(|model| model.options.clone()).unwrap_or_default();
        Grader { options: Arc::new(merge_options(&own, &stage_options)), model, place }
    });
    Ok(Arc::new(Judge {
        input: settings.input,
        input_place: place("input"),
        place: spec.place.clone(),
        baseline_place: spec.settings.nearest(&["compare".to_owned(), "baseline".to_owned()]).place.clone(),
        judges: judges.collect(),
        samples: settings.samples,
        human,
        conversation,
        reference,
        method,
        retries: settings.retries,
        allow_self: settings.allow_self,
        max_failures,
    }))
}

/// What every row's work shares.
struct Work {
    judge: Arc<Judge>,
    /// By judge.
    accounts: Vec<Arc<Account>>,
    params: TemplateValue,
    model: String,
    row_reads: Attrs,
    reference_reads: Attrs,
    /// The stage whose prompts the judge's template shows, and the params that they read.
    upstream: Option<(Arc<dyn Stage>, indexmap::IndexMap<String, Value>)>,
}

/// A judgement, the message of a call that failed, and how long what was judged is.
struct Judged {
    judgement: Judgement,
    failure: Option<String>,
    length: usize,
    baseline_length: usize,
}

impl Judged {
    fn new(judgement: Judgement, failure: Option<String>) -> Judged {
        Judged { judgement, failure, length: 0, baseline_length: 0 }
    }
}

/// Where judgements go, in order.
struct JudgementSink {
    writer: ArtifactWriter,
    failures: Failures,
    allowed: u64,
    tally: Box<dyn Tally>,
    /// The judgements of the row that is being gathered, one per sample.
    of_row: Vec<Judged>,
    valid: u64,
    votes: VoteCounts,
    calibration: Option<Calibration>,
    accounts: Vec<Arc<Account>>,
    progress: Arc<Progress>,
}

impl Sink<Judged> for JudgementSink {
    fn take(&mut self, judged: Judged) -> Result<bool, StageError> {
        if let Some(message) = &judged.failure {
            self.failures.add(message);
        }
        self.progress.count(judged.failure.is_some());
        let judgement = &judged.judgement;
        self.valid += u64::from(judgement.status.is_valid());
        self.votes.add(judgement);
        if let Some(calibration) = &mut self.calibration {
            calibration.add(judgement);
        }
        self.writer.push(&sample_id(&judgement.id, judgement.sample), judgement)?;
        if self.of_row.first().is_some_and(|first| first.judgement.id != judgement.id) {
            self.tally.add(&gathered(&self.of_row));
            self.of_row.clear();
        }
        self.of_row.push(judged);
        let is_fatal = self.accounts.iter().any(|account| account.fatal().is_some());
        Ok(self.failures.count <= self.allowed && !is_fatal)
    }
}

/// Who is asked: a judge of the panel, for the how many-th time, with the reference.
struct Asking<'a> {
    judge: usize,
    ordinal: u32,
    reference: Option<&'a TemplateValue>,
}

fn gathered(of_row: &[Judged]) -> Vec<Gathered<'_>> {
    of_row
        .iter()
        .map(|Judged { judgement, length, baseline_length, .. }| Gathered {
            judgement,
            length: *length,
            baseline_length: *baseline_length,
        })
        .collect()
}

/// How many verdicts each judge of a panel has, so that nobody leaves it unseen.
#[derive(Default)]
struct VoteCounts {
    /// By judge: valid votes, all votes.
    counts: Vec<[u64; 2]>,
}

impl VoteCounts {
    fn add(&mut self, judgement: &Judgement) {
        for vote in &judgement.votes {
            let judge = vote.judge as usize;
            if self.counts.len() <= judge {
                self.counts.resize(judge + 1, [0; 2]);
            }
            self.counts[judge][0] += u64::from(vote.status.is_valid());
            self.counts[judge][1] += 1;
        }
    }

    /// Says what each judge has, in the order of the panel.
    fn finish(&self, judges: &[Grader], summary: &mut Summary, notes: &mut Vec<String>) {
        if self.counts.is_empty() {
            return;
        }
        let rows = self
            .counts
            .iter()
            .zip(1..)
            .map(|([valid, all], judge)| json!({ "judge": judge, "valid": valid, "votes": all }));
        summary.tables.insert("votes".to_owned(), rows.collect());
        let said =
            judges.iter().zip(&self.counts).map(|(judge, [valid, all])| format!("{} {valid}/{all}", judge.model));
        if self.counts.iter().any(|[valid, all]| valid < all) {
            notes.push(format!("valid votes: {}", said.collect::<Vec<_>>().join(", ")));
        }
    }
}

/// What came of one question.
enum Asked {
    Read(Reading),
    Failed(String),
    Unknown,
}

impl Work {
    async fn judge(self: Arc<Self>, joined: Arc<Joined>, sample: usize) -> Result<Judged, StageError> {
        let completion = &joined.completions[sample];
        let baseline = joined.baseline.get(sample).or(joined.baseline.first());
        let candidates = Candidates {
            id: &joined.row.id,
            completion: completion.text.as_deref().unwrap_or_default(),
            finish_reason: completion.finish_reason.as_deref(),
            baseline: baseline.and_then(|baseline| baseline.text.as_deref()),
        };
        let mut judged = self.judge_candidates(&joined, completion, baseline, &candidates).await?;
        judged.judgement.sample = completion.sample;
        judged.length = candidates.completion.chars().count();
        judged.baseline_length = candidates.baseline.map_or(0, |text| text.chars().count());
        Ok(judged)
    }

    async fn judge_candidates(
        &self,
        joined: &Joined,
        completion: &Completion,
        baseline: Option<&Completion>,
        candidates: &Candidates<'_>,
    ) -> Result<Judged, StageError> {
        let method = &*self.judge.method;
        let sides: Vec<Option<Status>> = match method.baseline() {
            Some(_) => vec![Some(completion.status), baseline.map(|baseline| baseline.status)],
            None => vec![Some(completion.status)],
        };
        let without = |status, reason: &str| Judged::new(missing(candidates, status, Some(reason.to_owned())), None);
        if sides.iter().any(|side| !matches!(side, Some(Status::Ok | Status::Unknown))) {
            return Ok(without(VerdictStatus::Missing, "there is no completion to judge"));
        }
        if sides.contains(&Some(Status::Unknown)) {
            let calls = method.calls_per_row() * u64::from(self.judge.samples);
            self.accounts.iter().for_each(|account| account.expect_calls(calls));
            return Ok(without(VerdictStatus::Unknown, "not bought yet"));
        }
        if let Some(judgement) = method.without_asking(candidates) {
            return Ok(Judged::new(judgement, None));
        }
        let reference = match &self.judge.reference {
            None => None,
            Some(prompt) => {
                let variables = Variables::new(&self.params).with_row(&joined.row, &self.reference_reads).value();
                Some(prompt.template.evaluate(&variables).map_err(|error| format!("`reference` failed: {error}")))
            }
        };
        let reference = match reference.transpose() {
            Ok(reference) => reference,
            Err(message) => {
                let judgement = missing(candidates, VerdictStatus::Error, Some(message.clone()));
                return Ok(Judged::new(judgement, Some(message)));
            }
        };
        let questions = method.questions(candidates);
        let mut votes = Vec::new();
        let mut failure = None;
        let mut judgement = None;
        for judge in 0..self.judge.judges.len() {
            for ordinal in 0..self.judge.samples {
                let asking = Asking { judge, ordinal, reference: reference.as_ref() };
                let (said, failed) = self.vote(joined, completion.sample, candidates, &questions, &asking).await?;
                failure = failure.or(failed);
                votes.push(Vote {
                    judge: judge as u32,
                    orders: said.orders.clone(),
                    reason: said.reason.clone(),
                    sample: ordinal,
                    scores: said.scores.clone(),
                    status: said.status,
                    verdict: said.verdict.clone(),
                });
                judgement = Some(said);
            }
        }
        let mut judgement = judgement.unwrap_or_else(|| missing(candidates, VerdictStatus::Missing, None));
        if votes.len() > 1 {
            judgement = missing(candidates, VerdictStatus::Missing, None);
            if votes.iter().any(|vote| vote.status == VerdictStatus::Unknown) {
                judgement.status = VerdictStatus::Unknown;
            } else {
                let panel = Votes { judges: self.judge.judges.len() as u32, votes: &votes };
                method.combine(&panel, &mut judgement);
                judgement.votes = votes;
            }
        }
        Ok(Judged::new(judgement, failure))
    }

    /// Asks one judge everything about a completion, once.
    async fn vote(
        &self,
        joined: &Joined,
        sample: u32,
        candidates: &Candidates<'_>,
        questions: &[Question],
        asking: &Asking<'_>,
    ) -> Result<(Judgement, Option<String>), StageError> {
        let mut readings = Vec::new();
        for question in questions {
            match self.ask(joined, sample, question, asking).await? {
                Asked::Read(reading) => readings.push(reading),
                Asked::Failed(message) => {
                    let judgement = missing(candidates, VerdictStatus::Error, Some(message.clone()));
                    return Ok((judgement, Some(message)));
                }
                Asked::Unknown => readings.push(Reading {
                    status: VerdictStatus::Unknown,
                    said: Value::Null,
                    reason: None,
                    error: "not bought yet".to_owned(),
                }),
            }
        }
        Ok((self.judge.method.judgement(candidates, &readings), None))
    }

    /// Asks one question, and once more where the reply cannot be read.
    async fn ask(
        &self,
        joined: &Joined,
        sample: u32,
        question: &Question,
        asking: &Asking<'_>,
    ) -> Result<Asked, StageError> {
        let (mut messages, tag) = match self.render(joined, sample, question, asking.reference) {
            Ok(rendered) => rendered,
            Err(error) => return Ok(Asked::Failed(format!("the prompt failed: {error}"))),
        };
        let mut options = self.judge.judges[asking.judge].options.clone();
        for attempt in 0.. {
            let request = Request { messages: messages.clone(), options: options.clone(), sample: asking.ordinal };
            let reply = match self.accounts[asking.judge].ask(&request).await? {
                Outcome::Reply(reply, _) => reply,
                Outcome::Failed(message) => return Ok(Asked::Failed(message)),
                Outcome::Unknown => return Ok(Asked::Unknown),
            };
            let finish_reason = reply.finish_reason.as_deref();
            let mut reading = self.judge.method.read(question, &reply.text, finish_reason, tag.as_deref());
            if !reading.status.is_valid() && verdict::is_refusal(finish_reason) {
                reading.status = VerdictStatus::Refused;
                reading.error = "the judge refused".to_owned();
            }
            if reading.status.is_valid() || attempt >= self.judge.retries {
                return Ok(Asked::Read(reading));
            }
            let contract = self.judge.method.contract(question, tag.as_deref());
            if reading.status == VerdictStatus::Truncated
                && let Some(limit) = options.get("max_tokens").and_then(Value::as_u64)
            {
                Arc::make_mut(&mut options).insert("max_tokens".to_owned(), (limit * 2).into());
            }
            messages.push(Message::new("assistant", reply.text));
            messages.push(Message::new(
                "user",
                format!("Your reply could not be read: {}. Reply with only {contract}.", reading.error),
            ));
        }
        unreachable!("the last attempt returns")
    }

    fn render(
        &self,
        joined: &Joined,
        sample: u32,
        question: &Question,
        reference: Option<&TemplateValue>,
    ) -> Result<(Vec<Message>, Option<String>), crate::template::TemplateError> {
        let conversation = &self.judge.conversation;
        let prompt = self.prompt(joined, sample);
        let render = |tag: &str| {
            let mut variables = Variables::new(&self.params)
                .with("model", self.model.as_str())
                .with("sample", sample)
                .with("tag", tag)
                .with("prompt", prompt.clone())
                .with("reference", reference.cloned().unwrap_or(TemplateValue::from(())))
                .with_row(&joined.row, &self.row_reads);
            for (name, value) in &question.variables {
                variables = variables.with(name, value.clone());
            }
            conversation.render(&variables.value())
        };
        let messages = render("")?;
        if !conversation.reads("tag") {
            return Ok((messages, None));
        }
        let request = serde_json::to_value(&messages).expect("messages are JSON");
        let tag = Digest::of_json("etalon.tag", &request).short();
        let messages = render(&tag)?;
        let is_shown = messages.iter().any(|message| message.text().contains(&tag));
        Ok((messages, is_shown.then_some(tag)))
    }
}

impl Work {
    /// Returns what the judged model was asked, without its system message.
    fn prompt(&self, joined: &Joined, sample: u32) -> TemplateValue {
        let Some((stage, params)) = &self.upstream else {
            return TemplateValue::from(());
        };
        let shown = Shown { model: Some(&self.model), params, row: &joined.row, sample };
        let messages = stage.asked(&shown).unwrap_or_default();
        let turns: Vec<&Message> = messages.iter().filter(|message| message.role != "system").collect();
        match turns.as_slice() {
            [one] => TemplateValue::from(one.text()),
            several => several
                .iter()
                .map(|turn| format!("{}: {}", turn.role, turn.text()))
                .collect::<Vec<_>>()
                .join("\n\n")
                .into(),
        }
    }
}

impl Judge {
    async fn produce(self: Arc<Self>, job: Job) -> Result<Produced, StageError> {
        let account_of = |grader: &Grader| {
            let account = job.accounts.get(&grader.model).cloned();
            account.ok_or_else(|| StageError::failed(format!("the judge {} cannot be asked", grader.model)))
        };
        let accounts: Vec<Arc<Account>> = self.judges.iter().map(account_of).collect::<Result<_, _>>()?;
        let all = job.inputs.get(COMPLETIONS).map_or(0, |completions| completions.artifact.rows);
        job.progress.total.store(all, Ordering::Relaxed);
        let allowed = self.max_failures.of(all);
        let work = Arc::new(Work {
            accounts: accounts.clone(),
            params: params_value(&job.params),
            model: job.model.clone().unwrap_or_default(),
            row_reads: self.conversation.row.clone(),
            upstream: job
                .upstream
                .clone()
                .filter(|_| self.conversation.reads("prompt"))
                .map(|stage| (stage, job.params.clone())),
            reference_reads: self.reference.as_ref().map(|prompt| prompt.template.reads.of("row")).unwrap_or_default(),
            judge: self.clone(),
        });
        let items = Join::open(&job.store, &job.inputs, false)?.flat_map(|joined| match joined {
            Ok(joined) => {
                let joined = Arc::new(joined);
                (0..joined.completions.len()).map(|sample| Ok((joined.clone(), sample))).collect::<Vec<_>>()
            }
            Err(error) => vec![Err(error)],
        });
        let seed = seed_of("judge", &Value::Object(self.method.settings()));
        let sink = JudgementSink {
            writer: job.store.write_artifact()?,
            failures: Failures::default(),
            allowed,
            tally: self.method.tally(seed),
            of_row: Vec::new(),
            valid: 0,
            votes: VoteCounts::default(),
            calibration: self.human.as_ref().map(|(_, labels)| {
                Calibration::new(labels.clone(), self.method.labels(), job.model.as_deref().unwrap_or_default())
            }),
            accounts: accounts.clone(),
            progress: job.progress.clone(),
        };
        let judge = move |(joined, sample)| -> BoxFuture<'static, _> { Box::pin(work.clone().judge(joined, sample)) };
        // A row asks one judge after the other, so that the busiest of them decides how many go on at once.
        let concurrency = accounts.iter().map(|account| account.desk().concurrency()).max().unwrap_or(1);
        let idle = || accounts.iter().map(|account| account.desk().idle()).max().unwrap_or(0);
        let (sink, result) = drive(items, judge, concurrency, idle, sink).await;
        for account in &accounts {
            account.sync()?;
        }
        if let Some(message) = accounts.iter().find_map(|account| account.fatal()) {
            return Err(StageError::Failed(message));
        }
        result?;
        let JudgementSink { writer, failures, mut tally, of_row, valid, votes, calibration, .. } = sink;
        if failures.count > allowed {
            return Err(failures.error(allowed, all));
        }
        if !of_row.is_empty() {
            tally.add(&gathered(&of_row));
        }
        let artifact = writer.finish()?;
        let mut summary = Summary::default();
        let mut notes = Vec::new();
        tally.finish(&mut summary, &mut notes);
        votes.finish(&self.judges, &mut summary, &mut notes);
        if let Some(calibration) = calibration {
            calibration.finish(&mut summary, &mut notes);
        }
        summary.values.insert("coverage".to_owned(), coverage(valid, all));
        if failures.count > 0 {
            notes.push(format!("{} of {all} rows failed: {}", failures.count, failures.describe()));
        }
        let counts = Counts {
            rows: all,
            failed: failures.count,
            missing: all - valid,
            calls: accounts.iter().map(|account| account.calls()).sum(),
            reused: accounts.iter().map(|account| account.reused()).sum(),
            cost_usd: accounts.iter().filter_map(|account| account.cost_usd()).reduce(|a, b| a + b),
            seconds: 0.0,
        };
        Ok(Produced { artifact, meta: None, counts, summary, notes })
    }
}

impl Stage for Judge {
    fn kind(&self) -> &'static str {
        "judge"
    }

    fn input(&self) -> Option<(&str, &Place)> {
        Some((&self.input, &self.input_place))
    }

    fn models(&self, of_input: &[String]) -> Option<Vec<String>> {
        let baseline = self.method.baseline();
        Some(of_input.iter().filter(|model| Some(model.as_str()) != baseline).cloned().collect())
    }

    fn check_input(&self, input: &dyn Stage, of_input: &[String], problems: &mut Vec<Problem>) {
        if self.conversation.reads("prompt") && !input.has_prompt() {
            let message = format!(
                "the judge's template shows `prompt`, and `{}` takes its completions from the dataset",
                self.input
            );
            let place = self
                .conversation
                .prompts()
                .find(|prompt| prompt.template.reads.reads("prompt"))
                .map_or(&self.place, |prompt| &prompt.place);
            problems.push(Problem::error("no-prompt", message).at(place).help(
                "write a template of your own that shows the columns that were asked, such as {{ row.question }}",
            ));
        }
        if let Some(baseline) = self.method.baseline() {
            if !of_input.iter().any(|model| model == baseline) {
                let help = suggest(baseline, &format!("models of {}", self.input), of_input.iter().map(String::as_str));
                problems.push(
                    Problem::error(
                        "unknown-model",
                        format!("`{}` has no model `{baseline}` to compare with", self.input),
                    )
                    .at(&self.baseline_place)
                    .maybe_help(help),
                );
            } else if of_input.len() < 2 {
                problems.push(
                    Problem::error(
                        "missing-model",
                        format!("`{}` has only the baseline: there is nothing to compare it with", self.input),
                    )
                    .at(&self.place),
                );
            }
        }
        for grader in self.judges.iter().filter(|grader| of_input.contains(&grader.model) && !self.allow_self) {
            problems.push(
                Problem::error("judge-is-contestant", format!("`{}` judges its own completions", grader.model))
                    .at(&grader.place)
                    .help(
                        "take another judge, or say `allow_self: true` and mind that models prefer their own answers",
                    ),
            );
        }
    }

    fn inputs(&self, model: Option<&str>) -> Vec<Input> {
        let input =
            |part, model: Option<&str>| Input { part, stage: self.input.clone(), model: model.map(str::to_owned) };
        let mut inputs = vec![input(COMPLETIONS, model)];
        inputs.extend(self.method.baseline().map(|baseline| input(BASELINE, Some(baseline))));
        inputs
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(&'static str, String)> {
        PARTS.iter().copied().zip(self.judges.iter().map(|grader| grader.model.clone())).collect()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.conversation.prompts().chain(self.reference.as_ref()).flat_map(Prompt::columns).collect()
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("judge", REVISION);
        for (name, value) in self.method.settings() {
            fingerprint.setting(&name, value);
        }
        if self.retries != 1 {
            fingerprint.setting("retries", self.retries);
        }
        self.conversation.add_to(&mut fingerprint, facts);
        if let Some(reference) = &self.reference {
            reference.add_to(&mut fingerprint, facts, "");
        }
        if self.conversation.reads("prompt")
            && let Some(upstream) = facts.upstream
        {
            upstream.add_prompt(&mut fingerprint, facts);
        }
        if self.samples != 1 {
            fingerprint.setting("samples", self.samples);
        }
        if let Some((name, _)) = &self.human {
            let path = facts.workspace.path(name);
            let digest = (facts.digest_file)(&path)
                .map_err(|error| StageError::failed(format!("failed to read {name}: {error}")))?;
            fingerprint.files.insert("human".to_owned(), digest);
        }
        for (part, grader) in PARTS.iter().zip(&self.judges) {
            add_model(&mut fingerprint, part, facts, &grader.model, &grader.options);
        }
        let columns: &[&str] =
            if self.conversation.reads("finish_reason") { &["text", "finish_reason"] } else { &["text"] };
        add_completions(&mut fingerprint, COMPLETIONS, facts.inputs.get(COMPLETIONS), columns);
        if self.method.baseline().is_some() {
            add_completions(&mut fingerprint, BASELINE, facts.inputs.get(BASELINE), columns);
        }
        Ok(fingerprint)
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(self.produce(job))
    }

    fn sources(&self) -> Vec<(String, String)> {
        self.conversation.prompts().chain(&self.reference).flat_map(Prompt::sources).collect()
    }

    fn unit(&self, value: &str) -> Option<Unit> {
        if value == "coverage" {
            return Some(Unit::Rate);
        }
        if self.human.is_some() && HUMAN_VALUES.contains(&value) {
            return Some(Unit::Rate);
        }
        self.method.values().into_iter().find(|(name, _)| name == value).map(|(_, unit)| unit)
    }

    fn file(&self, label: &str) -> Option<String> {
        self.human.as_ref().filter(|_| label == "human").map(|(name, _)| name.clone())
    }

    fn values(&self) -> Vec<String> {
        let of_people = HUMAN_VALUES.iter().filter(|_| self.human.is_some()).map(|name| (*name).to_owned());
        let own = self.method.values().into_iter().map(|(name, _)| name);
        own.chain(of_people).chain(["coverage".to_owned()]).collect()
    }
}
