//! `openai`: chat completions of any OpenAI-compatible server.

use std::borrow::Cow;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::http::Endpoint;
use super::{BuildError, Building, CallError, ErrorKind, Provider, Reply, Request, Sent};

const DEFAULT_URL: &str = "https://api.openai.com/v1";

struct OpenAi {
    model: String,
    endpoint: Endpoint,
    headers: Vec<(String, String)>,
    identity: Map<String, Value>,
}

pub(super) fn build(building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    let spec = building.spec;
    let Some(model) = spec.model.clone() else {
        return Err(BuildError::new(
            "provider openai needs `model`",
            "the id that the server knows: `model: qwen2.5-3b-instruct`",
        ));
    };
    let endpoint = Endpoint::new(
        spec.base_url.as_deref().unwrap_or(DEFAULT_URL),
        "/chat/completions",
        spec.api_key_env.as_deref(),
        ("OPENAI_API_KEY", "api.openai.com"),
        spec.connect_timeout,
        spec.timeout,
    )?;
    let mut identity = Map::new();
    identity.insert("provider".to_owned(), "openai".into());
    identity.insert("model".to_owned(), model.clone().into());
    // Weights or a revision say which model it is, wherever it is served; else the address must.
    if !building.weights.is_empty() {
        let weights = building
            .weights
            .iter()
            .map(|(name, digest)| (name.clone(), Value::from(digest.to_string())));
        identity.insert("weights".to_owned(), Value::Object(weights.collect()));
    }
    if let Some(revision) = &spec.revision {
        identity.insert("revision".to_owned(), revision.clone().into());
    }
    if building.weights.is_empty() && spec.revision.is_none() {
        identity.insert("base_url".to_owned(), endpoint.base_url.clone().into());
    }
    if !spec.headers.is_empty() {
        let headers = spec
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), Value::from(value.as_str())));
        identity.insert("headers".to_owned(), Value::Object(headers.collect()));
    }
    let headers = spec
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(Box::new(OpenAi {
        model,
        endpoint,
        headers,
        identity,
    }))
}

#[derive(Deserialize)]
struct ChatAnswer<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: ChatMessage<'a>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ChatMessage<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl Provider for OpenAi {
    fn identity(&self) -> Map<String, Value> {
        self.identity.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn body(&self, request: &Request) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("model".to_owned(), self.model.clone().into());
        body.insert(
            "messages".to_owned(),
            serde_json::to_value(&request.messages).expect("messages are JSON"),
        );
        for (name, value) in &request.options {
            match (name.as_str(), value) {
                ("extra", Value::Object(extra)) => body.extend(extra.clone()),
                _ => {
                    body.insert(name.clone(), value.clone());
                }
            }
        }
        if request.sample > 0 {
            let base = body.get("seed").and_then(Value::as_i64).unwrap_or(0);
            body.insert("seed".to_owned(), (base + i64::from(request.sample)).into());
        }
        body
    }

    fn send<'a>(
        &'a self,
        body: &'a [u8],
        _request: &'a Request,
    ) -> BoxFuture<'a, Result<Sent, CallError>> {
        Box::pin(async move {
            let key = self.endpoint.key()?;
            let mut headers: Vec<(&str, String)> = self
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect();
            if let Some(key) = key {
                headers.push(("authorization", format!("Bearer {key}")));
            }
            let raw = self.endpoint.post(body, &headers, key).await?;
            match self.read(&raw) {
                Ok(reply) => Ok(Sent { raw, reply }),
                // A broken body behind a 200 is a proxy or a server in trouble.
                Err(message) => Err(CallError::new(
                    ErrorKind::Transient,
                    format!("{} answered 200 with {message}", self.endpoint.base_url),
                )),
            }
        })
    }

    fn read(&self, raw: &str) -> Result<Reply, String> {
        let answer: ChatAnswer<'_> = serde_json::from_str(raw).map_err(|error| {
            let start: String = raw.chars().take(80).collect();
            format!("no chat completion: {error} in `{start}`")
        })?;
        let Some(choice) = answer.choices.into_iter().next() else {
            return Err("no choice in it".to_owned());
        };
        let refusal = choice
            .message
            .refusal
            .filter(|_| choice.message.content.is_none());
        let finish_reason = match &refusal {
            Some(_) => Some("refusal".to_owned()),
            None => choice.finish_reason.map(Cow::into_owned),
        };
        Ok(Reply {
            text: choice
                .message
                .content
                .or(refusal)
                .map(Cow::into_owned)
                .unwrap_or_default(),
            finish_reason,
            prompt_tokens: answer.usage.as_ref().and_then(|usage| usage.prompt_tokens),
            completion_tokens: answer
                .usage
                .as_ref()
                .and_then(|usage| usage.completion_tokens),
            served_model: answer.model.map(Cow::into_owned),
        })
    }

    fn endpoint(&self) -> String {
        self.endpoint.base_url.clone()
    }
}
