//! Asking judges: a task becomes prompts, replies, readings, votes and one judgement.

use std::sync::Arc;

use minijinja::Value as TemplateValue;
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::provider::{Message, Request};
use crate::row::{Completion, Judgement, Status, VerdictStatus, Vote, is_refusal};
use crate::stage::desk::Bought;
use crate::stage::join::{Joined, of_sample};
use crate::stage::judge::evidence::canary::Canary;
use crate::stage::judge::method::{Candidates, Question, ReadReply, Told, Votes, missing};
use crate::stage::judge::node::Judge;
use crate::stage::judge::people::labels::{Sides, texts_digest};
use crate::stage::judge::task::{Judged, Purpose, Task, Text};
use crate::stage::prompt::Variables;
use crate::stage::{Account, Shown, Stage, StageError};
use crate::template::{Attrs, from_json};

/// The value of `response_format` that stands for the JSON Schema of the verdict.
pub(crate) const JSON_SCHEMA: &str = "json_schema";

/// What the work on every task shares.
pub(crate) struct Work {
    pub judge: Arc<Judge>,
    /// One account per judge, in the order of the panel.
    pub accounts: Vec<Arc<Account>>,
    pub params: TemplateValue,
    /// The node's own model; where all pairs are compared, all models.
    pub contestants: Vec<String>,
    pub row_reads: Attrs,
    pub reference_reads: Attrs,
    /// The stage whose prompts the judge's template shows, with the params that those prompts read.
    pub upstream: Option<(Arc<dyn Stage>, indexmap::IndexMap<String, Value>)>,
}

/// Who is asked: which judge of the panel, for which of the times that it is asked, with which reference.
struct Asking<'a> {
    judge: usize,
    ordinal: u32,
    reference: Option<&'a TemplateValue>,
}

/// What came of asking one question.
enum Asked {
    Read(ReadReply),
    Failed(String),
    Unknown,
}

/// A text, with the side on which it stands.
struct Side {
    status: Option<Status>,
    text: String,
    finish_reason: Option<String>,
}

impl Side {
    fn of(text: &Text, joined: &Joined) -> Side {
        match text {
            Text::Own(text) => Side { status: Some(Status::Ok), text: text.clone(), finish_reason: None },
            Text::Of { contestant, sample } => {
                // A model with fewer samples takes part with its first one.
                let found = joined.of(*contestant).and_then(|all| all.get(*sample).or(all.first()));
                let text = |found: &Completion| found.shown().unwrap_or_default().into_owned();
                Side {
                    status: found.map(|found| found.status),
                    text: found.map(text).unwrap_or_default(),
                    finish_reason: found.and_then(|found| found.finish_reason.clone()),
                }
            }
        }
    }
}

impl Work {
    /// Returns the models that a task compares or judges.
    pub fn sides(&self, pair: Option<[u32; 2]>) -> Sides<'_> {
        let name = |index: usize| self.contestants.get(index).map_or("", String::as_str);
        match pair {
            Some([first, second]) => Sides { model: name(first as usize), against: Some(name(second as usize)) },
            None => {
                Sides { model: name(0), against: self.judge.method.baseline().map(|baseline| baseline.name.as_str()) }
            }
        }
    }

    /// Carries out a task: asks every judge as often as needed, and combines what they say.
    pub async fn judge(self: Arc<Self>, task: Task) -> Result<Judged, StageError> {
        let mut first = Side::of(&task.first, &task.joined);
        let mut second = task.second.as_ref().map(|text| Side::of(text, &task.joined));
        if task.purpose == Purpose::Canary(Canary::Reference) {
            match self.reference_text(&task.joined) {
                Some(text) => first.text = text,
                None => first.status = Some(Status::Failed),
            }
        }
        let id = &task.joined.row.id;
        let labels = self.judge.human.as_ref().map(|(_, labels)| labels);
        let texts = labels.filter(|labels| labels.has(id)).map(|_| {
            let second = second.as_ref().map(|second| second.text.as_str());
            texts_digest(&first.text, second)
        });
        let (length, baseline_length) =
            (first.text.chars().count(), second.as_ref().map_or(0, |side| side.text.chars().count()));
        let mut is_cut = false;
        if let Some(truncate) = &self.judge.truncate {
            for side in [Some(&mut first), second.as_mut()].into_iter().flatten() {
                is_cut |= truncate.cut(&mut side.text);
            }
        }
        let candidates = Candidates {
            id,
            completion: &first.text,
            finish_reason: first.finish_reason.as_deref(),
            baseline: second.as_ref().map(|second| second.text.as_str()),
            pair: task.pair,
        };
        let statuses: Vec<Option<Status>> =
            [Some(&first), second.as_ref()].into_iter().flatten().map(|side| side.status).collect();
        let (mut judgement, failure) = self.judge_candidates(&task, &statuses, &candidates).await?;
        judgement.sample = task.sample;
        judgement.pair = task.pair;
        Ok(Judged { judgement, purpose: task.purpose, failure, length, baseline_length, texts, is_cut })
    }

    async fn judge_candidates(
        &self,
        task: &Task,
        statuses: &[Option<Status>],
        candidates: &Candidates<'_>,
    ) -> Result<(Judgement, Option<String>), StageError> {
        let method = &*self.judge.method;
        let without = |status, reason: &str| (missing(candidates, status, Some(reason.to_owned())), None);
        if statuses
            .iter()
            .any(|status| !matches!(status, Some(status) if status.is_answered() || *status == Status::Unknown))
        {
            return Ok(without(VerdictStatus::Missing, "there is no completion to judge"));
        }
        if statuses.contains(&Some(Status::Unknown)) {
            let calls = method.calls_per_row() * u64::from(self.judge.samples);
            self.accounts.iter().for_each(|account| account.expect_calls(calls));
            return Ok(without(VerdictStatus::Unknown, "not bought yet"));
        }
        if let Some(judgement) = method.without_asking(candidates) {
            return Ok((judgement, None));
        }
        if let Some(kept) = &task.kept {
            let calls = method.calls_per_row() * u64::from(self.judge.samples);
            self.accounts.iter().for_each(|account| account.keep_calls(calls));
            return Ok((Judgement::clone(kept), None));
        }
        let reference = match self.reference(&task.joined) {
            Ok(reference) => reference,
            Err(message) => {
                return Ok((missing(candidates, VerdictStatus::Error, Some(message.clone())), Some(message)));
            }
        };
        let questions = method.questions(candidates);
        let mut votes = Vec::new();
        let mut failure = None;
        let mut judgement = None;
        for judge in 0..self.judge.judges.len() {
            for ordinal in 0..self.judge.samples {
                let asking = Asking { judge, ordinal, reference: reference.as_ref() };
                let (said, failed) = self.vote(task, candidates, &questions, &asking).await?;
                failure = failure.or(failed);
                votes.push(Vote {
                    judge: judge as u32,
                    orders: said.orders.clone(),
                    reason: said.reason.clone(),
                    sample: ordinal,
                    scores: said.scores.clone(),
                    shown: said.shown.clone(),
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
        Ok((judgement, failure))
    }

    /// Returns the reference of a row: what a good answer says.
    pub fn reference(&self, joined: &Joined) -> Result<Option<TemplateValue>, String> {
        let Some(prompt) = &self.judge.reference else { return Ok(None) };
        let variables = Variables::new(&self.params).with_row(&joined.row, &self.reference_reads).value();
        prompt.template.evaluate(&variables).map(Some).map_err(|error| format!("`reference` failed: {error}"))
    }

    /// Returns the reference as a text; of several references the first.
    fn reference_text(&self, joined: &Joined) -> Option<String> {
        let reference = self.reference(joined).ok()??;
        let first = match reference.kind() {
            minijinja::value::ValueKind::Seq => reference.get_item_by_index(0).ok()?,
            _ => reference,
        };
        let text = if first.is_none() || first.is_undefined() { String::new() } else { first.to_string() };
        (!text.trim().is_empty()).then_some(text)
    }

    /// Asks one judge all questions about a completion, once.
    async fn vote(
        &self,
        task: &Task,
        candidates: &Candidates<'_>,
        questions: &[Question],
        asking: &Asking<'_>,
    ) -> Result<(Judgement, Option<String>), StageError> {
        let mut readings = Vec::new();
        for question in questions {
            match self.ask(task, question, asking).await? {
                Asked::Read(reading) => readings.push(reading),
                Asked::Failed(message) => {
                    let judgement = missing(candidates, VerdictStatus::Error, Some(message.clone()));
                    return Ok((judgement, Some(message)));
                }
                Asked::Unknown => readings.push(ReadReply {
                    status: VerdictStatus::Unknown,
                    told: Told::Nothing,
                    reason: None,
                    error: "not bought yet".to_owned(),
                }),
            }
        }
        Ok((self.judge.method.judgement(candidates, &readings), None))
    }

    /// Asks one question. While the reply cannot be read, it is asked again, `retries` times at most.
    async fn ask(&self, task: &Task, question: &Question, asking: &Asking<'_>) -> Result<Asked, StageError> {
        let method = &*self.judge.method;
        let (mut messages, tag) = match self.render(task, question, asking.reference) {
            Ok(rendered) => rendered,
            Err(error) => return Ok(Asked::Failed(format!("the prompt failed: {error}"))),
        };
        let tag = tag.filter(|_| method.binds_tag());
        let mut options = self.judge.judges[asking.judge].options.clone();
        if options.get("response_format").is_some_and(|format| format == JSON_SCHEMA)
            && let Some(schema) = method.schema(question, tag.as_deref())
        {
            let format = json!({
                "type": JSON_SCHEMA,
                JSON_SCHEMA: { "name": "verdict", "strict": true, "schema": schema },
            });
            Arc::make_mut(&mut options).insert("response_format".to_owned(), format);
        }
        for attempt in 0.. {
            let request = Request { messages: messages.clone(), options: options.clone(), sample: asking.ordinal };
            let account = &self.accounts[asking.judge];
            let (reply, meta, is_new) = match account.ask(&request).await? {
                (Bought::Reply(reply, meta), is_new) => (reply, meta, is_new),
                (Bought::Failed(message), _) => return Ok(Asked::Failed(message)),
                (Bought::Unknown, _) => return Ok(Asked::Unknown),
            };
            let finish_reason = reply.finish_reason.as_deref();
            let said = self.judge.judges[asking.judge].tags.own().map(|tags| tags.split(&reply.text).answer);
            let text = said.as_deref().unwrap_or(&reply.text);
            let mut reading = method.read(question, text, finish_reason, tag.as_deref());
            if !reading.status.is_valid() && is_refusal(finish_reason) {
                reading.status = VerdictStatus::Refused;
                reading.error = "the judge refused".to_owned();
            }
            if !reading.status.is_valid() {
                account.unreadable(&meta, is_new);
            }
            if reading.status.is_valid() || attempt >= self.judge.retries {
                return Ok(Asked::Read(reading));
            }
            let contract = method.contract(question, tag.as_deref());
            for name in ["max_tokens", "max_completion_tokens"] {
                let limit = options.get(name).and_then(Value::as_u64);
                // The limit is doubled only once: a reply cut at twice the length will not end at four times.
                if let (Some(limit), true, 0) = (limit, reading.status == VerdictStatus::Truncated, attempt) {
                    Arc::make_mut(&mut options).insert(name.to_owned(), limit.saturating_mul(2).into());
                }
            }
            // An empty reply is not quoted, since some servers refuse an empty turn.
            if !reply.text.trim().is_empty() {
                messages.push(Message::new("assistant", reply.text));
            }
            messages.push(Message::new(
                "user",
                format!("Your reply could not be read: {}. Reply with only {contract}.", reading.error),
            ));
        }
        unreachable!("the last attempt returns")
    }

    fn render(
        &self,
        task: &Task,
        question: &Question,
        reference: Option<&TemplateValue>,
    ) -> Result<(Vec<Message>, Option<String>), crate::template::TemplateError> {
        let conversation = &self.judge.conversation;
        let asked = self.asked(task);
        let prompt = shown(&asked);
        let turns = match conversation.reads("messages") {
            true => from_json(&serde_json::to_value(&asked).unwrap_or_default()),
            false => TemplateValue::from(()),
        };
        let model = self.contestants.first().map_or("", String::as_str);
        let said = match (&task.first, &task.second) {
            (Text::Of { contestant, sample }, None) => {
                task.joined.of(*contestant).and_then(|all| all.get(*sample).or(all.first()))
            }
            _ => None,
        };
        let render = |tag: &str| {
            let mut variables = Variables::new(&self.params)
                .with("model", model)
                .with("sample", task.sample)
                .with("tag", tag)
                .with("prompt", prompt.clone())
                .with("messages", turns.clone())
                .with("reference", reference.cloned().unwrap_or(TemplateValue::from(())))
                .with_row(&task.joined.row, &self.row_reads);
            if let Some(said) = said {
                variables = variables.with_said(said);
            }
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
        let tag = Digest::of_json("etalon.tag", &request).tag();
        let messages = render(&tag)?;
        let is_shown = messages.iter().any(|message| message.text().contains(&tag));
        Ok((messages, is_shown.then_some(tag)))
    }

    /// Returns what the judged model was asked.
    fn asked(&self, task: &Task) -> Vec<Message> {
        let Some((stage, params)) = &self.upstream else { return Vec::new() };
        let model = self.contestants.first().map(String::as_str);
        let draft = of_sample(&task.joined.drafts, task.sample);
        let shown = Shown { model, params, row: &task.joined.row, sample: task.sample, draft };
        stage.asked(&shown).unwrap_or_default()
    }
}

/// Returns a conversation as a judge reads it, without its system message; none if nothing was asked.
fn shown(messages: &[Message]) -> TemplateValue {
    let turns: Vec<&Message> = messages.iter().filter(|message| message.role != "system").collect();
    match turns.as_slice() {
        [] if messages.is_empty() => TemplateValue::from(()),
        [] => TemplateValue::from(""),
        [one] => TemplateValue::from(one.shown()),
        several => {
            let turns = several.iter().map(|turn| format!("{}: {}", turn.role, turn.shown()));
            turns.collect::<Vec<_>>().join("\n\n").into()
        }
    }
}
