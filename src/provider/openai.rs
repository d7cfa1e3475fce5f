//! `openai`: chat completions from any server with an OpenAI-compatible API.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::batch::BatchApi;
use super::http::Address;
use super::remote::{Api, chat_body, option_fields, tokens};
use super::reply::{all_text, error_of, reason_word, start};
use super::{BuildError, Building, CallError, Entry, ErrorKind, Provider, Reply, Request, network, remote};
use crate::row::Usage;

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
    batches: BatchApi::OpenAi,
    usage,
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
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<ChatMessage<'a>>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChatMessage<'a> {
    /// Text, or a list of parts with text in them.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    /// What the model thought: vLLM and DeepSeek.
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    /// The same: OpenRouter, newer vLLM.
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    /// The same: OpenRouter, in parts.
    #[serde(borrow)]
    reasoning_details: Option<&'a RawValue>,
    /// The same: Ollama.
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    /// The older form of one tool call.
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
}

/// Parses a field; null if it is absent.
fn value_of(raw: Option<&RawValue>) -> Result<Value, serde_json::Error> {
    raw.map_or(Ok(Value::Null), |raw| serde_json::from_str(raw.get()))
}

fn body(model: &str, request: &Request, out: &mut Vec<u8>) {
    let mut fields = option_fields(&request.options);
    if request.sample > 0 {
        let base = fields.get("seed").and_then(|seed| seed.as_i64()).unwrap_or(0);
        fields.insert("seed", Cow::Owned((base + i64::from(request.sample)).into()));
    }
    chat_body(model, &request.messages, &fields, out);
}

fn usage(said: &Value) -> Usage {
    let prompt = tokens(&said["prompt_tokens"]);
    let mut completion = tokens(&said["completion_tokens"]);
    let reasoning = tokens(&said["completion_tokens_details"]["reasoning_tokens"]);
    // Some servers count reasoning beside the completion; their total tells.
    if let (Some(prompt), Some(said_completion), Some(reasoning), Some(total)) =
        (prompt, completion, reasoning, tokens(&said["total_tokens"]))
        && reasoning > 0
        && total == prompt + said_completion + reasoning
    {
        completion = Some(said_completion + reasoning);
    }
    let cached = tokens(&said["prompt_tokens_details"]["cached_tokens"]);
    let cached = cached.or_else(|| tokens(&said["prompt_cache_hit_tokens"]));
    Usage { cached, reasoning, ..Usage::new(prompt, completion) }
}

fn read(raw: &str) -> Result<Reply, CallError> {
    let answer: ChatAnswer<'_> = serde_json::from_str(raw).map_err(|error| {
        CallError::new(ErrorKind::Transient, format!("no chat completion: `{}` ({error})", start(raw)))
    })?;
    // What is only told beside the answer may have any form: it must not cost an answer that was paid.
    let aside = |raw: Option<&RawValue>| value_of(raw).unwrap_or_default();
    let choice = answer.choices.into_iter().flatten().next();
    let reason = choice.as_ref().map(|choice| aside(choice.finish_reason)).unwrap_or_default();
    let errors = [answer.error, choice.as_ref().and_then(|choice| choice.error)];
    if let Some(error) = errors.into_iter().find_map(|error| error_of(&aside(error))) {
        return Err(error);
    }
    if reason == "error" {
        return Err(CallError::new(ErrorKind::Transient, "finish_reason `error` in place of an answer"));
    }
    let Some(choice) = choice else {
        return Err(CallError::new(ErrorKind::Transient, format!("no choice in it: `{}`", start(raw))));
    };
    let Some(message) = choice.message else {
        return Err(CallError::new(ErrorKind::Transient, format!("no message in it: `{}`", start(raw))));
    };
    let mut reply = Reply {
        finish_reason: reason.as_str().map(reason_word),
        usage: usage(&aside(answer.usage)),
        served_model: aside(answer.model).as_str().map(str::to_owned),
        ..Reply::default()
    };
    // A model that answers something unreadable does so again: another attempt would only be paid once more.
    let unreadable = |message: String| CallError::new(ErrorKind::Permanent, message);
    let content = value_of(message.content).map_err(|error| {
        // What is JSON and yet no text holds half a character.
        let is_json =
            message.content.is_some_and(|raw| serde_json::from_str::<serde::de::IgnoredAny>(raw.get()).is_ok());
        unreadable(match is_json {
            true => format!("content with half a character in it, a lone surrogate: {error}"),
            false => format!("content that is no text: {error}"),
        })
    })?;
    reply.add_content(&content).map_err(unreadable)?;
    for thought in [message.reasoning_content, message.reasoning, message.thinking] {
        reply.think(Some(all_text(&aside(thought))));
    }
    if reply.reasoning.is_none() {
        reply.think(Some(all_text(&aside(message.reasoning_details))));
    }
    if let Some(refusal) = aside(message.refusal).as_str().filter(|refusal| !refusal.trim().is_empty()) {
        reply.refusal = Some(refusal.to_owned());
    }
    let calls =
        value_of(message.tool_calls).map_err(|error| unreadable(format!("tool calls that are no JSON: {error}")))?;
    reply.add_calls(&calls);
    if let function @ Value::Object(_) = aside(message.function_call) {
        reply.add_calls(&Value::Array(vec![function]));
    }
    Ok(reply.finished())
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
            consent: &Default::default(),
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
                    Message {
                        role: "user".into(),
                        content: json!([{"type": "text", "text": "x"}]),
                        more: json!({"name": "n"}).as_object().unwrap().clone(),
                    },
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

    fn told(answer: Value) -> Reply {
        read(&answer.to_string()).unwrap()
    }

    #[test]
    fn replies_are_told_apart_by_their_shape() {
        let choice =
            |reason: Value, message: Value| json!({ "choices": [{ "finish_reason": reason, "message": message }] });
        let cut =
            told(choice(json!("length"), json!({ "content": null, "reasoning_content": "hm", "reasoning": "hm" })));
        assert_eq!((cut.text.as_str(), cut.reasoning.as_deref()), ("", Some("hm")));
        assert_eq!(cut.finish_reason.as_deref(), Some("length"));
        let call = json!([{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"b\": 1, \"a\": 2}" } }]);
        let called = told(choice(json!("tool_calls"), json!({ "content": null, "tool_calls": call })));
        assert_eq!(called.tool_calls, [json!({ "arguments": { "a": 2, "b": 1 }, "name": "f" })]);
        let broken = json!([{ "function": { "name": "f", "arguments": "{\"a\"" } }]);
        let broken = told(choice(json!("length"), json!({ "content": "", "tool_calls": broken })));
        assert_eq!(broken.tool_calls[0]["arguments"], "{\"a\"");
        let old = told(choice(json!("function_call"), json!({ "function_call": { "name": "f", "arguments": "" } })));
        assert_eq!((old.tool_calls.len(), old.finish_reason.as_deref()), (1, Some("tool_calls")));
        let refused = told(choice(json!("stop"), json!({ "content": null, "refusal": "I can't." })));
        assert_eq!((refused.text.as_str(), refused.finish_reason.as_deref()), ("I can't.", Some("refusal")));
        let bare = told(
            json!({ "choices": [{ "message": { "content": "a", "refusal": 3, "reasoning": {} } }], "model": 1, "usage": "x" }),
        );
        assert_eq!(bare, Reply { text: "a".into(), ..Reply::default() });
    }

    #[test]
    fn errors_that_come_as_answers_are_errors() {
        for (answer, kind) in [
            (
                r#"{"choices":[{"finish_reason":"error","error":{"code":502},"message":{"content":""}}]}"#,
                ErrorKind::Transient,
            ),
            (r#"{"choices":[{"finish_reason":"error","message":{"content":"half"}}]}"#, ErrorKind::Transient),
            (r#"{"choices":[],"error":{"code":400,"message":"too long"}}"#, ErrorKind::Permanent),
            (r#"{"error":{"message":"busy","code":429}}"#, ErrorKind::RateLimited),
            (r#"{"choices":[]}"#, ErrorKind::Transient),
            (r#"{"choices":null}"#, ErrorKind::Transient),
            (r#"{"choices":[{"finish_reason":"stop"}]}"#, ErrorKind::Transient),
            (r#"{"choices":[{"message":{"content":{"a":1}}}]}"#, ErrorKind::Permanent),
            (r#"{"choices":[{"message":{"content":"\ud800"}}]}"#, ErrorKind::Permanent),
            ("<html>", ErrorKind::Transient),
        ] {
            assert_eq!(read(answer).unwrap_err().kind, kind, "{answer}");
        }
    }
}
