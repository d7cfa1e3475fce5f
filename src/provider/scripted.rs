//! `scripted`: a Jinja template writes the replies. For tests and offline demonstrations, never for results.
//!
//! The template reads `messages`, `prompt` (the last user message), `model` (its name in the spec) and `sample`. It may
//! call `random()`, which returns numbers in [0, 1), seeded by the request and `seed`.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::local::{LocalAnswer, local_body, local_sent};
use super::{BuildError, Building, CallError, Entry, ErrorKind, Message, Provider, Reach, Reply, Request, Sent, check};
use crate::digest::Hasher;
use crate::template::{Template, from_json};

const VARIABLES: &[&str] = &["messages", "prompt", "model", "sample", "random"];

struct Scripted {
    name: String,
    reply: Template,
    seed: u64,
    identity: Map<String, Value>,
}

/// Settings of a scripted model.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Jinja text, or a template name.
    reply: Option<String>,
    /// Seed of `random()`; 0 unless said.
    seed: Option<u64>,
}

pub(super) const ENTRY: Entry = Entry {
    name: "scripted",
    about: "A template answers, in this process. For tests and demos.",
    check: check::<Settings>,
    schema: Settings::json_schema,
    build,
};

fn build(building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    let spec = building.spec;
    let Settings { reply, seed } = building.settings()?;
    let seed = seed.unwrap_or(0);
    let Some(reply) = &reply else {
        return Err(BuildError::new(
            "provider scripted needs `reply`",
            "Jinja text or a template name: `reply: \"You said {{ prompt }}\"`",
        ));
    };
    let place = spec.place.clone().unwrap_or_default();
    let template = Template::load(building.library, reply, &place, VARIABLES).map_err(|problems| BuildError {
        message: problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; "),
        help: problems.first().and_then(|problem| problem.help.clone()),
    })?;
    let closure = serde_json::to_value(template.closure()).expect("digests are JSON");
    let mut identity = Map::new();
    identity.insert("provider".to_owned(), "scripted".into());
    identity.insert("reply".to_owned(), closure);
    identity.insert("seed".to_owned(), seed.into());
    if template.reads.reads("model") {
        identity.insert("model".to_owned(), building.name.into());
    }
    Ok(Box::new(Scripted { name: building.name.to_owned(), reply: template, seed, identity }))
}

impl Scripted {
    fn answer(&self, body: &[u8], request: &Request) -> Result<String, CallError> {
        let messages = from_json(&serde_json::to_value(&request.messages).expect("messages are JSON"));
        let prompt =
            request.messages.iter().rev().find(|message| message.role == "user").map(Message::text).unwrap_or_default();
        let mut hasher = Hasher::new("etalon.scripted");
        hasher.update(&self.seed.to_be_bytes());
        hasher.update(&request.sample.to_be_bytes());
        hasher.update(body);
        let seed = hasher.finish();
        let drawn = AtomicU64::new(0);
        let random = TemplateValue::from_function(move || -> f64 {
            let mut hasher = Hasher::new("etalon.random");
            hasher.update(seed.bytes());
            hasher.update(&drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            (hasher.finish().seed() >> 11) as f64 / (1u64 << 53) as f64
        });
        let variables = minijinja::context! {
            messages, prompt, model => self.name.as_str(), sample => request.sample, random,
        };
        let text = self
            .reply
            .render(&variables)
            .map_err(|error| CallError::new(ErrorKind::Permanent, format!("the scripted reply failed: {error}")))?;
        let words = |text: &str| text.split_whitespace().count() as u64;
        let answer = LocalAnswer {
            prompt_tokens: Some(request.messages.iter().map(|message| words(message.text())).sum()),
            completion_tokens: Some(words(&text)),
            text,
            finish_reason: Some("stop".to_owned()),
            ..LocalAnswer::default()
        };
        Ok(serde_json::to_string(&answer).expect("answers are JSON"))
    }
}

impl Provider for Scripted {
    fn identity(&self) -> Map<String, Value> {
        self.identity.clone()
    }

    fn reach(&self) -> Reach {
        Reach::Instant
    }

    fn body(&self, request: &Request, out: &mut Vec<u8>) {
        local_body(request, out);
    }

    fn send<'a>(&'a self, body: &'a Bytes, request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>> {
        Box::pin(std::future::ready(self.answer(body, request).and_then(local_sent)))
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
    fn a_reply_reads_the_request_and_repeats_itself() {
        let build = |seed: u64| {
            let settings = json!({ "reply": "{{ prompt }} {{ sample }} {{ random() }}", "seed": seed });
            build_at(Path::new("."), settings).map_err(|error| error.message).unwrap()
        };
        let (one, other) = (build(1), build(2));
        assert_eq!(one.reach(), Reach::Instant);
        let reply = ask(&*one, "hi", 0).unwrap();
        assert!(reply.starts_with("hi 0 0."), "{reply}");
        assert_eq!(ask(&*build(1), "hi", 0).unwrap(), reply);
        assert_ne!(ask(&*other, "hi", 0).unwrap(), reply, "the seed counts");
        assert_ne!(one.identity(), other.identity());
        assert!(ask(&*one, "hi", 1).unwrap().starts_with("hi 1"));
    }

    #[test]
    fn without_a_reply_there_is_no_model() {
        let error = build_at(Path::new("."), json!({})).err().unwrap();
        assert_eq!(error.message, "provider scripted needs `reply`");
        assert!(build_at(Path::new("."), json!({ "reply": "{{ nothing }}" })).is_err());
    }
}
