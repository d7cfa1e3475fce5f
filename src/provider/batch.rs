//! Batches: many requests sent at once, answered within a day, at a lower price.
//!
//! | API | submitted | polled | collected |
//! |---|---|---|---|
//! | OpenAI | a file of requests to `/files`, then `/batches` | `/batches/<id>` | the files that the batch names |
//! | Anthropic | `/messages/batches` | `/messages/batches/<id>` | `results_url`, at the same address |
//!
//! Every request has an id that we give it, and so has its answer. Who submitted a batch and died before it learnt the
//! batch's id finds it again: by a tag (OpenAI), or by the ids of its requests (Anthropic, which keeps no tags).

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::http::{Content, Endpoint};
use super::reply::start;
use super::{CallError, ErrorKind};

/// Which of the two APIs a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchApi {
    OpenAi,
    Anthropic,
}

/// One request of a batch.
#[derive(Clone, Debug)]
pub struct BatchRequest {
    /// At most 64 letters, digits, `_` and `-`.
    pub id: String,
    /// The wire body.
    pub body: String,
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchState {
    /// The server works on it: so many of its requests are done.
    Working(u64),
    /// It has ended; not all of its requests need to have been answered.
    Ended,
}

/// What a batch says to each request: an answer in the provider's own JSON, or why there is none.
pub type BatchAnswers = HashMap<String, Result<String, CallError>>;

/// A provider that takes batches.
pub trait Batch: Send + Sync {
    /// Sends requests as a batch with a tag; returns its id.
    ///
    /// # Errors
    ///
    /// The server does not take them, or did not answer: then it may have the batch all the same.
    fn submit<'a>(&'a self, requests: &'a [BatchRequest], tag: &'a str) -> BoxFuture<'a, Result<String, CallError>>;

    /// Returns the id of the batch that was submitted with a tag and requests of these ids, if the server has one.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    fn find<'a>(&'a self, tag: &'a str, ids: &'a [String]) -> BoxFuture<'a, Result<Option<String>, CallError>>;

    /// Returns how far a batch is.
    ///
    /// # Errors
    ///
    /// The server does not answer, or does not know the batch.
    fn state<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BatchState, CallError>>;

    /// Returns what a batch that has ended says to its requests.
    ///
    /// # Errors
    ///
    /// The server does not answer, or the batch failed as a whole.
    fn collect<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<BatchAnswers, CallError>>;
}

/// The batches of a server, for one model.
pub(super) struct Batches<'a> {
    pub api: BatchApi,
    pub endpoint: &'a Endpoint,
}

impl Batches<'_> {
    /// Sends requests as a batch with a tag; returns its id.
    pub async fn submit(&self, requests: &[BatchRequest], tag: &str) -> Result<String, CallError> {
        let answer = match self.api {
            BatchApi::OpenAi => {
                let file = self.upload(requests, tag).await?;
                let body = json!({
                    "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h",
                    "metadata": { TAG: tag },
                });
                self.send(Method::POST, "/batches", Some(Content::json(body.to_string()))).await?
            }
            BatchApi::Anthropic => {
                let mut body = String::from("{\"requests\":[");
                for (index, request) in requests.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    body.push_str(&format!("{comma}{{\"custom_id\":\"{}\",\"params\":{}}}", request.id, request.body));
                }
                body.push_str("]}");
                self.send(Method::POST, "/messages/batches", Some(Content::json(body))).await?
            }
        };
        text(&answer, "id").ok_or_else(|| unexpected("has no id", &answer))
    }

    async fn upload(&self, requests: &[BatchRequest], tag: &str) -> Result<String, CallError> {
        let mut lines = String::new();
        for BatchRequest { id, body } in requests {
            lines.push_str(&format!(
                "{{\"custom_id\":\"{id}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{body}}}\n"
            ));
        }
        let content = Content::form(&[("purpose", "batch")], ("file", &format!("{tag}.jsonl"), &lines));
        let answer = self.send(Method::POST, "/files", Some(content)).await?;
        text(&answer, "id").ok_or_else(|| unexpected("has no id", &answer))
    }

    /// Returns the id of the batch with a tag, if the server has one.
    pub async fn find(&self, tag: &str, ids: &[String]) -> Result<Option<String>, CallError> {
        let path = match self.api {
            BatchApi::OpenAi => "/batches?limit=100",
            BatchApi::Anthropic => "/messages/batches?limit=100",
        };
        let listed = self.send(Method::GET, path, None).await?;
        for batch in listed["data"].as_array().into_iter().flatten() {
            let Some(id) = text(batch, "id") else { continue };
            let is_it = match self.api {
                BatchApi::OpenAi => batch["metadata"][TAG] == tag,
                BatchApi::Anthropic => self.has(&id, batch, ids).await?,
            };
            if is_it {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Returns true if a batch of Anthropic's holds these requests. One that goes on may: then its results tell, later.
    async fn has(&self, id: &str, batch: &Value, ids: &[String]) -> Result<bool, CallError> {
        let counts = batch["request_counts"].as_object();
        let count: u64 = counts.into_iter().flat_map(Map::values).filter_map(Value::as_u64).sum();
        if count != ids.len() as u64 {
            return Ok(false);
        }
        if batch["processing_status"] != "ended" {
            return Ok(true);
        }
        let answers = self.collect(id).await?;
        Ok(ids.iter().any(|id| answers.contains_key(id)))
    }

    /// Returns how far a batch is.
    pub async fn state(&self, id: &str) -> Result<BatchState, CallError> {
        let batch = self.batch(id).await?;
        let count = |name: &str| batch["request_counts"][name].as_u64().unwrap_or(0);
        Ok(match self.api {
            BatchApi::OpenAi => match batch["status"].as_str() {
                Some("completed" | "failed" | "expired" | "cancelled") => BatchState::Ended,
                _ => BatchState::Working(count("completed") + count("failed")),
            },
            BatchApi::Anthropic if batch["processing_status"] == "ended" => BatchState::Ended,
            BatchApi::Anthropic => BatchState::Working(count("succeeded") + count("errored")),
        })
    }

    async fn batch(&self, id: &str) -> Result<Value, CallError> {
        let path = match self.api {
            BatchApi::OpenAi => format!("/batches/{id}"),
            BatchApi::Anthropic => format!("/messages/batches/{id}"),
        };
        self.send(Method::GET, &path, None).await
    }

    /// Returns what a batch that has ended says to its requests.
    pub async fn collect(&self, id: &str) -> Result<BatchAnswers, CallError> {
        let mut answers = BatchAnswers::new();
        match self.api {
            BatchApi::OpenAi => {
                let batch = self.batch(id).await?;
                for name in ["output_file_id", "error_file_id"] {
                    if let Some(file) = text(&batch, name) {
                        let lines =
                            self.endpoint.exchange(Method::GET, &format!("/files/{file}/content"), None).await?;
                        answers.extend(lines.lines().filter_map(openai_line));
                    }
                }
                if answers.is_empty() {
                    let said = batch["errors"]["data"].as_array().into_iter().flatten();
                    let said: Vec<String> = said.filter_map(|error| text(error, "message")).collect();
                    let status = batch["status"].as_str().unwrap_or("ended");
                    let message = format!("the batch {id} is {status}, without an answer: {}", start(&said.join("; ")));
                    return Err(CallError::new(ErrorKind::Permanent, message));
                }
            }
            BatchApi::Anthropic => {
                let path = format!("/messages/batches/{id}/results");
                let lines = self.endpoint.exchange(Method::GET, &path, None).await?;
                answers.extend(lines.lines().filter_map(anthropic_line));
            }
        }
        Ok(answers)
    }

    async fn send(&self, method: Method, path: &str, content: Option<Content>) -> Result<Value, CallError> {
        let answer = self.endpoint.exchange(method, path, content).await?;
        serde_json::from_str(&answer).map_err(|_| unexpected("is no JSON", &Value::from(answer)))
    }
}

/// The name of the tag among a batch's metadata.
const TAG: &str = "etalon";

fn text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}

fn unexpected(what: &str, answer: &Value) -> CallError {
    let message = format!("the answer about a batch {what}: `{}`", start(&answer.to_string()));
    CallError::new(ErrorKind::Permanent, message)
}

fn failed(error: &Value) -> CallError {
    let inner = [&error["error"]["message"], &error["message"], &error["error"]].into_iter().find_map(Value::as_str);
    let said = inner.map_or_else(|| error.to_string(), str::to_owned);
    CallError::new(ErrorKind::Permanent, format!("in a batch: {}", start(&said)))
}

/// Returns the value of a part that is kept as it came; null if it is none.
fn value(raw: Option<&RawValue>) -> Value {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Reads a line of a result file of OpenAI's. The answer stays as it came.
fn openai_line(line: &str) -> Option<(String, Result<String, CallError>)> {
    #[derive(Deserialize)]
    struct Line<'a> {
        custom_id: String,
        #[serde(borrow)]
        response: Option<Response<'a>>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Response<'a> {
        status_code: u16,
        #[serde(borrow)]
        body: Option<&'a RawValue>,
    }
    let Line { custom_id, response, error } = serde_json::from_str(line).ok()?;
    let answer = match &response {
        Some(Response { status_code: 200, body: Some(body) }) => Ok(body.get().to_owned()),
        _ => {
            let body = response.and_then(|response| response.body);
            let error = Some(value(error)).filter(|error| !error.is_null()).unwrap_or_else(|| value(body));
            Err(failed(&error))
        }
    };
    Some((custom_id, answer))
}

/// Reads a line of the results of Anthropic's. The answer stays as it came.
fn anthropic_line(line: &str) -> Option<(String, Result<String, CallError>)> {
    #[derive(Deserialize)]
    struct Line<'a> {
        custom_id: String,
        #[serde(borrow)]
        result: Outcome<'a>,
    }
    #[derive(Deserialize)]
    struct Outcome<'a> {
        #[serde(rename = "type")]
        kind: String,
        #[serde(borrow)]
        message: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let Line { custom_id, result } = serde_json::from_str(line).ok()?;
    let answer = match (result.kind.as_str(), result.message) {
        ("succeeded", Some(message)) => Ok(message.get().to_owned()),
        ("errored", _) => Err(failed(&value(result.error))),
        (other, _) => {
            let message = format!("in a batch: the request was {other}");
            Err(CallError::new(ErrorKind::Permanent, message))
        }
    };
    Some((custom_id, answer))
}
