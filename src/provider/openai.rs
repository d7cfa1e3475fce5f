//! `openai`: chat completions from any server with an OpenAI-compatible API.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::http::Address;
use super::remote::{Api, chat_body, option_fields, tokens};
use super::{BuildError, Building, Entry, Provider, Reply, Request, network, remote};

static API: Api = Api {
    name: "openai",
    example: "qwen2.5-3b-instruct",
    address: Address {
        default_url: "https://api.openai.com/v1",
        path: "/chat/completions",
        default_key: ("OPENAI_API_KEY", "api.openai.com"),
        key_header: |key| ("authorization", format!("Bearer {key}")),
        fixed: &[],
        has_bare_root: false,
    },
    body,
    read,
};

pub(super) const ENTRY: Entry = Entry {
    name: "openai",
    about: "Chat completions of OpenAI, or of any server that speaks its API.",
    check: remote::check,
    schema: network::Settings::json_schema,
    build,
};

fn build(building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    remote::build(&API, building)
}

#[derive(Deserialize)]
struct ChatAnswer<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
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
    /// Text, or a list of parts with text in them.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
}

/// Returns the text of a message's content, given as JSON; none for null.
fn text_of(content: &str) -> Option<String> {
    match serde_json::from_str(content) {
        Ok(Value::String(text)) => Some(text),
        Ok(Value::Array(parts)) => Some(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect()),
        _ => None,
    }
}

fn body(model: &str, request: &Request, out: &mut Vec<u8>) {
    let mut fields = option_fields(&request.options);
    if request.sample > 0 {
        let base = fields.get("seed").and_then(|seed| seed.as_i64()).unwrap_or(0);
        fields.insert("seed", Cow::Owned((base + i64::from(request.sample)).into()));
    }
    chat_body(model, &request.messages, &fields, out);
}

fn read(raw: &str) -> Result<Reply, String> {
    let answer: ChatAnswer<'_> = serde_json::from_str(raw).map_err(|error| {
        let start: String = raw.chars().take(200).collect();
        format!("no chat completion: `{start}` ({error})")
    })?;
    let Some(choice) = answer.choices.into_iter().next() else {
        return Err("no choice in it".to_owned());
    };
    let content = choice.message.content.and_then(|content| text_of(content.get()));
    let refusal = choice.message.refusal.filter(|_| content.is_none());
    let finish_reason = match &refusal {
        Some(_) => Some("refusal".to_owned()),
        None => choice.finish_reason.map(Cow::into_owned),
    };
    // Token counts in an unexpected form are ignored: they must not cost an answer that was paid.
    let usage: Value = answer.usage.and_then(|usage| serde_json::from_str(usage.get()).ok()).unwrap_or_default();
    Ok(Reply {
        text: content.or(refusal.map(Cow::into_owned)).unwrap_or_default(),
        finish_reason,
        prompt_tokens: tokens(&usage["prompt_tokens"]),
        completion_tokens: tokens(&usage["completion_tokens"]),
        served_model: answer.model.map(Cow::into_owned),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::digest::canonical;
    use crate::problem::Place;
    use crate::provider::Message;
    use crate::spec::{ModelSpec, Node};
    use crate::template::Library;

    #[test]
    fn the_body_is_canonical_and_holds_what_was_asked() {
        let spec = ModelSpec { model: Some("m\"é".to_owned()), ..ModelSpec::default() };
        let settings = Node::from_json(&json!({ "base_url": "http://127.0.0.1:1/v1" }), &Place::default());
        let provider = build(&Building {
            name: "m",
            spec: &spec,
            settings: &settings,
            weights: BTreeMap::new(),
            probe: None,
            root: std::path::Path::new("."),
            library: &Library::new("templates".into()),
            digest_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
        })
        .unwrap();
        let options =
            json!({"temperature": 0.5, "extra": {"top_k": 3, "model": "no"}, "seed": 7, "zz": {"b": 1, "a": [1.0]}});
        for sample in [0, 2] {
            let request = Request {
                messages: vec![
                    Message::new("system", "s\n"),
                    Message { role: "user".into(), content: json!([{"type": "text", "text": "x"}]) },
                ],
                options: Arc::new(options.as_object().unwrap().clone()),
                sample,
            };
            let mut body = Vec::new();
            provider.body(&request, &mut body);
            let value: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(String::from_utf8(canonical(&value)).unwrap(), String::from_utf8(body).unwrap());
            assert_eq!(value["model"], "m\"é");
            assert_eq!((value["top_k"].as_i64(), value["seed"].as_i64()), (Some(3), Some(7 + i64::from(sample))));
            assert_eq!(value["messages"], serde_json::to_value(&request.messages).unwrap());
        }
    }
}
