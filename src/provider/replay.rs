//! `replay`: completions recorded in a file, looked up by what was asked.
//!
//! The file has one JSON object per line: `completion`, with either `messages` (the whole conversation must be equal)
//! or `prompt` (the last user message must be equal, whatever the system message says); and `model`, `sample`,
//! `reasoning`, `refusal`, `tool_calls`, `finish_reason` and `usage` if known. A request that is not recorded is an error, never a guess.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::local::{LocalAnswer, local_body, local_sent};
use super::{BuildError, Building, CallError, Entry, ErrorKind, Message, Provider, Reach, Reply, Request, Sent, check};
use crate::digest::{Digest, canonical};

struct Replay {
    /// The name of the file, as in the spec.
    file: String,
    path: PathBuf,
    /// The names under which records of this model stand in the file.
    names: Vec<String>,
    identity: Map<String, Value>,
    recorded: OnceLock<Result<HashMap<Digest, String>, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    prompt: Option<String>,
    #[serde(default)]
    sample: u32,
    #[serde(default)]
    completion: Option<String>,
    reasoning: Option<String>,
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Value,
    finish_reason: Option<String>,
    usage: Option<RecordedUsage>,
    /// For people: where the record comes from.
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Deserialize)]
struct RecordedUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

/// Returns the record of what a model said, as one line.
pub fn recorded(model: &str, request: &Request, reply: &Reply) -> String {
    let mut record = Map::new();
    record.insert("model".to_owned(), model.into());
    record.insert("messages".to_owned(), serde_json::to_value(&request.messages).expect("messages are JSON"));
    if request.sample > 0 {
        record.insert("sample".to_owned(), request.sample.into());
    }
    record.insert("completion".to_owned(), reply.text.as_str().into());
    for (name, said) in
        [("reasoning", &reply.reasoning), ("refusal", &reply.refusal), ("finish_reason", &reply.finish_reason)]
    {
        if let Some(said) = said {
            record.insert(name.to_owned(), said.as_str().into());
        }
    }
    if !reply.tool_calls.is_empty() {
        record.insert("tool_calls".to_owned(), reply.tool_calls.clone().into());
    }
    if reply.usage.is_known() {
        let usage = serde_json::json!({
            "prompt_tokens": reply.usage.prompt, "completion_tokens": reply.usage.completion,
        });
        record.insert("usage".to_owned(), usage);
    }
    Value::Object(record).to_string()
}

/// Settings of a replayed model.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// JSON lines of recorded completions.
    file: Option<String>,
}

pub(super) const ENTRY: Entry = Entry {
    name: "replay",
    about: "Completions recorded in a file, looked up by what was asked.",
    check: check::<Settings>,
    schema: Settings::json_schema,
    build,
};

fn build(building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    let Some(file) = building.settings::<Settings>()?.file else {
        return Err(BuildError::new(
            "provider replay needs `file`",
            "a JSONL file of recorded completions: `file: data/recorded.jsonl`",
        ));
    };
    let path = building.root.join(&file);
    if let Some((message, help)) = building.consent.refusal(&file, &path) {
        return Err(BuildError::new(message, help));
    }
    let digest = (building.digest_file)(&path)
        .map_err(|error| BuildError::new(format!("failed to read {file}: {error}"), "paths start at the workspace"))?;
    let mut identity = Map::new();
    identity.insert("provider".to_owned(), "replay".into());
    identity.insert("file".to_owned(), digest.to_string().into());
    // One file may hold several models, and the names decide which of its records count; so they are part of the
    // identity.
    let names: Vec<String> =
        [Some(building.name.to_owned()), building.spec.model.clone()].into_iter().flatten().collect();
    identity.insert("names".to_owned(), names.clone().into());
    Ok(Box::new(Replay { file, path, names, identity, recorded: OnceLock::new() }))
}

fn place(what: &str, value: &Value, sample: u32) -> Digest {
    Digest::of_json(what, &Value::Array(vec![value.clone(), sample.into()]))
}

impl Replay {
    fn load(&self) -> Result<HashMap<Digest, String>, String> {
        let text =
            std::fs::read_to_string(&self.path).map_err(|error| format!("failed to read {}: {error}", self.file))?;
        let mut recorded = HashMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = |message: String| format!("{}:{}: {message}", self.file, number + 1);
            let record: Value = serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
            let record: Recorded = serde_json::from_value(record).map_err(|error| at(error.to_string()))?;
            if record.model.as_ref().is_some_and(|model| !self.names.contains(model)) {
                continue;
            }
            let key = match (&record.messages, &record.prompt) {
                (Some(messages), None) => {
                    place("messages", &serde_json::to_value(messages).expect("messages are JSON"), record.sample)
                }
                (None, Some(prompt)) => place("prompt", &Value::from(prompt.as_str()), record.sample),
                _ => return Err(at("a record has either `messages` or `prompt`".to_owned())),
            };
            let says_more = record.refusal.is_some() || record.tool_calls.is_array() || record.reasoning.is_some();
            let Some(text) = record.completion.or_else(|| says_more.then(String::new)) else {
                return Err(at("a record has a `completion`, `tool_calls` or a `refusal`".to_owned()));
            };
            let answer = LocalAnswer {
                text,
                reasoning: record.reasoning,
                refusal: record.refusal,
                tool_calls: record.tool_calls,
                finish_reason: record.finish_reason,
                prompt_tokens: record.usage.as_ref().and_then(|usage| usage.prompt_tokens),
                completion_tokens: record.usage.as_ref().and_then(|usage| usage.completion_tokens),
            };
            let answer = serde_json::to_string(&answer).expect("answers are JSON");
            if recorded.get(&key).is_some_and(|earlier| *earlier != answer) {
                return Err(at("another completion is recorded for the same request".to_owned()));
            }
            recorded.insert(key, answer);
        }
        Ok(recorded)
    }

    fn find(&self, request: &Request) -> Result<String, CallError> {
        let recorded = self.recorded.get_or_init(|| self.load());
        let recorded = recorded.as_ref().map_err(|message| CallError::new(ErrorKind::Fatal, message.clone()))?;
        let messages = serde_json::to_value(&request.messages).expect("messages are JSON");
        let prompt =
            request.messages.iter().rev().find(|message| message.role == "user").map(Message::text).unwrap_or_default();
        let keys =
            [place("messages", &messages, request.sample), place("prompt", &Value::from(prompt), request.sample)];
        keys.iter().find_map(|key| recorded.get(key)).cloned().ok_or_else(|| {
            let shown: String = prompt.chars().take(60).collect();
            let digest = Digest::of(&canonical(&messages)).short();
            CallError::new(
                ErrorKind::Permanent,
                format!(
                    "{} holds no completion of {} for this request ({digest}, sample {}): `{}…`; record it, or give the model a provider that can answer",
                    self.file, self.names[0], request.sample, shown.replace('\n', " ")
                ),
            )
        })
    }
}

impl Provider for Replay {
    fn identity(&self) -> Map<String, Value> {
        self.identity.clone()
    }

    fn reach(&self) -> Reach {
        Reach::Instant
    }

    fn check(&self) -> Result<(), String> {
        self.recorded.get_or_init(|| self.load()).as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn body(&self, request: &Request, out: &mut Vec<u8>) {
        local_body(request, out);
    }

    fn send<'a>(&'a self, _body: &'a Bytes, request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>> {
        Box::pin(std::future::ready(self.find(request).and_then(local_sent)))
    }

    fn read(&self, raw: &str) -> Result<Reply, CallError> {
        LocalAnswer::read(raw)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::local::testing::{self, ask};
    use super::*;

    fn build_at(root: &Path, settings: Value) -> Result<Box<dyn Provider>, BuildError> {
        testing::build_at(build, root, &settings)
    }

    #[test]
    fn what_is_recorded_is_found_by_prompt_and_sample_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let lines = [
            json!({ "prompt": "hi", "completion": "one" }),
            json!({ "prompt": "hi", "completion": "two", "sample": 1 }),
            json!({ "prompt": "hi", "completion": "theirs", "model": "another" }),
        ];
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(folder.path().join("r.jsonl"), text).unwrap();
        let provider = build_at(folder.path(), json!({ "file": "r.jsonl" })).map_err(|error| error.message).unwrap();
        assert_eq!((provider.reach(), provider.check()), (Reach::Instant, Ok(())));
        assert_eq!(
            (ask(&*provider, "hi", 0).unwrap(), ask(&*provider, "hi", 1).unwrap()),
            ("one".into(), "two".into())
        );
        assert_eq!(ask(&*provider, "ho", 0).unwrap_err().kind, ErrorKind::Permanent);
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(build_at(folder.path(), json!({})).err().unwrap().message, "provider replay needs `file`");
        assert!(build_at(folder.path(), json!({ "file": "r.jsonl" })).is_err());
        std::fs::write(folder.path().join("r.jsonl"), "\n{\"completion\": \"x\"}\n").unwrap();
        let provider = build_at(folder.path(), json!({ "file": "r.jsonl" })).map_err(|error| error.message).unwrap();
        assert_eq!(provider.check().unwrap_err(), "r.jsonl:2: a record has either `messages` or `prompt`");
    }
}
