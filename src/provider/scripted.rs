//! `scripted`: a Jinja template answers. For tests and offline demos, never for results.
//!
//! The reply reads `messages`, `prompt` (the last user message), `model` (its name in the spec),
//! `sample`, and calls `random()`: numbers in [0, 1) seeded by the request and `seed`.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

use super::{
    BuildError, Building, CallError, ErrorKind, LocalAnswer, Message, Provider, Reply, Request, Sent, local_body,
    local_sent,
};
use crate::digest::Hasher;
use crate::problem::Place;
use crate::template::{Template, from_json};

const VARIABLES: &[&str] = &["messages", "prompt", "model", "sample", "random"];

struct Scripted {
    name: String,
    reply: Template,
    seed: u64,
    identity: Map<String, Value>,
}

pub(super) fn build(building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    let spec = building.spec;
    let Some(reply) = &spec.reply else {
        return Err(BuildError::new(
            "provider scripted needs `reply`",
            "Jinja text or a template name: `reply: \"You said {{ prompt }}\"`",
        ));
    };
    let place = spec.place.clone().unwrap_or_else(|| {
        Place::start_of(&std::sync::Arc::new(crate::problem::Source { path: String::new(), text: String::new() }))
    });
    let template = Template::load(building.library, reply, &place, VARIABLES).map_err(|problems| BuildError {
        message: problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; "),
        help: problems.first().and_then(|problem| problem.help.clone()),
    })?;
    let closure = serde_json::to_value(template.closure()).expect("digests are JSON");
    let mut identity = Map::new();
    identity.insert("provider".to_owned(), "scripted".into());
    identity.insert("reply".to_owned(), closure);
    identity.insert("seed".to_owned(), spec.seed.unwrap_or(0).into());
    if template.reads.reads("model") {
        identity.insert("model".to_owned(), building.name.into());
    }
    Ok(Box::new(Scripted { name: building.name.to_owned(), reply: template, seed: spec.seed.unwrap_or(0), identity }))
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
        };
        Ok(serde_json::to_string(&answer).expect("answers are JSON"))
    }
}

impl Provider for Scripted {
    fn identity(&self) -> Map<String, Value> {
        self.identity.clone()
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn body(&self, request: &Request, out: &mut Vec<u8>) {
        local_body(request, out);
    }

    fn send<'a>(&'a self, body: &'a Bytes, request: &'a Request) -> BoxFuture<'a, Result<Sent, CallError>> {
        Box::pin(std::future::ready(self.answer(body, request).and_then(local_sent)))
    }

    fn read(&self, raw: &str) -> Result<Reply, String> {
        LocalAnswer::read(raw)
    }
}
