//! `anthropic`: the messages API of Anthropic, or of a server that speaks it.
//!
//! System turns become `system`, and `stop` becomes `stop_sequences`. The API demands `max_tokens`, which is 4096 by
//! default. There is no seed: a further sample is the same request once more. Finish reasons are translated to OpenAI's
//! words, so that stages need to know only one vocabulary.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::batch::BatchApi;
use super::http::Address;
use super::remote::{Api, chat_body, option_fields, tokens};
use super::reply::{error_of, reason_word, start};
use super::{BuildError, Building, CallError, Entry, ErrorKind, Message, Provider, Reply, Request, network, remote};
use crate::row::Usage;

const MAX_TOKENS: u64 = 4096;

static API: Api = Api {
    name: "anthropic",
    example: "claude-sonnet-4-5-20250929",
    address: Address {
        default_url: "https://api.anthropic.com/v1",
        path: "/messages",
        default_key: ("ANTHROPIC_API_KEY", "api.anthropic.com"),
        key_header: |key| ("x-api-key", key.to_owned()),
        // The version of the API whose answers this file can read.
        fixed: &[("anthropic-version", "2023-06-01")],
        has_bare_root: true,
    },
    body,
    read,
    batches: BatchApi::Anthropic,
    usage,
};

pub(super) const ENTRY: Entry = Entry {
    name: "anthropic",
    about: "Anthropic's messages API, there or at a server that speaks it.",
    check: remote::check,
    schema: network::Settings::json_schema,
    build,
};

fn build(building: &Building<'_>) -> Result<Box<dyn Provider>, BuildError> {
    remote::build(&API, building)
}

/// Returns the system turns in the form of the API, and the other turns.
fn without_system(messages: &[Message]) -> (Option<Value>, Vec<Message>) {
    let (system, turns): (Vec<&Message>, Vec<&Message>) =
        messages.iter().partition(|message| matches!(message.role.as_str(), "system" | "developer"));
    let turns = turns.into_iter().map(turn).collect();
    let all_text = system.iter().all(|message| message.content.is_string());
    let system = match system.as_slice() {
        [] => None,
        [one] => Some(one.content.clone()),
        several if all_text => {
            Some(several.iter().map(|message| message.text()).collect::<Vec<_>>().join("\n\n").into())
        }
        several => Some(
            several
                .iter()
                .flat_map(|message| match &message.content {
                    Value::Array(parts) => parts.clone(),
                    text => vec![serde_json::json!({ "type": "text", "text": text })],
                })
                .collect(),
        ),
    };
    (system, turns)
}

/// Returns a turn in the form of the API: calls of tools and their results are parts of a content.
fn turn(message: &Message) -> Message {
    let parts = |content: &Value| match content {
        Value::Array(parts) => parts.clone(),
        Value::Null => Vec::new(),
        text => vec![json!({ "type": "text", "text": text })],
    };
    if matches!(message.role.as_str(), "tool" | "function") {
        let id = message.more.get("tool_call_id").or(message.more.get("name")).cloned().unwrap_or_default();
        let result = json!([{ "type": "tool_result", "tool_use_id": id, "content": message.content }]);
        return Message { role: "user".to_owned(), content: result, more: Map::new() };
    }
    let Some(Value::Array(calls)) = message.more.get("tool_calls") else {
        // This API refuses fields that it does not know.
        return Message { more: Map::new(), ..message.clone() };
    };
    let mut content = parts(&message.content);
    for call in calls {
        let function = if call["function"].is_object() { &call["function"] } else { call };
        let input = match &function["arguments"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| json!({})),
            other => other.clone(),
        };
        content.push(json!({ "type": "tool_use", "id": call["id"], "name": function["name"], "input": input }));
    }
    Message { role: message.role.clone(), content: content.into(), more: Map::new() }
}

/// Returns a tool in the form of the API; one that is in that form already stays as it is.
fn tool(tool: &Value) -> Value {
    let Some(function) = tool.get("function").filter(|function| function.is_object()) else { return tool.clone() };
    let schema = function.get("parameters").cloned().unwrap_or_else(|| json!({ "type": "object" }));
    let mut tool = json!({ "name": function["name"], "input_schema": schema });
    if let Some(description) = function.get("description") {
        tool["description"] = description.clone();
    }
    tool
}

/// Returns a choice of tools in the form of the API.
fn tool_choice(choice: &Value) -> Value {
    match (choice.as_str(), choice["function"]["name"].as_str()) {
        (Some("required"), _) => json!({ "type": "any" }),
        (Some(word), _) => json!({ "type": word }),
        (None, Some(name)) => json!({ "type": "tool", "name": name }),
        (None, None) => choice.clone(),
    }
}

fn body(model: &str, request: &Request, out: &mut Vec<u8>) {
    let (system, turns) = without_system(&request.messages);
    let mut fields = option_fields(&request.options);
    if let Some(stop) = fields.remove("stop") {
        let list = match stop.into_owned() {
            Value::Array(list) => list,
            one => vec![one],
        };
        fields.entry("stop_sequences").or_insert(Cow::Owned(list.into()));
    }
    if let Some(most) = fields.remove("max_completion_tokens") {
        fields.entry("max_tokens").or_insert(most);
    }
    if let Some(format) = fields.remove("response_format") {
        // This API wants the schema in another field.
        let schema = format.get("json_schema").and_then(|named| named.get("schema"));
        if let Some(schema) = schema {
            let config = serde_json::json!({ "format": { "type": "json_schema", "schema": schema } });
            fields.entry("output_config").or_insert(Cow::Owned(config));
        } else {
            fields.insert("response_format", format);
        }
    }
    if let Some(Value::Array(tools)) = fields.get("tools").map(Cow::as_ref) {
        let tools = tools.iter().map(tool).collect();
        fields.insert("tools", Cow::Owned(tools));
    }
    if let Some(choice) = fields.remove("tool_choice") {
        fields.insert("tool_choice", Cow::Owned(tool_choice(&choice)));
    }
    fields.entry("max_tokens").or_insert_with(|| Cow::Owned(MAX_TOKENS.into()));
    if let Some(system) = system {
        fields.insert("system", Cow::Owned(system));
    }
    chat_body(model, &turns, &fields, out);
}

/// Reads usage; the API counts what it cached beside the other tokens of the prompt.
fn usage(said: &Value) -> Usage {
    let count = |name: &str| tokens(&said[name]);
    let (cached, cache_written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let prompt = count("input_tokens").map(|tokens| tokens + cached.unwrap_or(0) + cache_written.unwrap_or(0));
    Usage { cached, cache_written, ..Usage::new(prompt, count("output_tokens")) }
}

fn read(raw: &str) -> Result<Reply, CallError> {
    let answer: Value = serde_json::from_str(raw)
        .map_err(|error| CallError::new(ErrorKind::Transient, format!("no message: `{}` ({error})", start(raw))))?;
    if let Some(error) = error_of(&answer["error"]) {
        return Err(error);
    }
    let Some(content) = answer.get("content").filter(|content| !content.is_null()) else {
        return Err(CallError::new(ErrorKind::Transient, format!("no content in it: `{}`", start(raw))));
    };
    let mut reply = Reply {
        finish_reason: answer["stop_reason"].as_str().map(reason_word),
        usage: usage(&answer["usage"]),
        served_model: answer["model"].as_str().map(str::to_owned),
        ..Reply::default()
    };
    reply.add_content(content).map_err(|message| CallError::new(ErrorKind::Permanent, message))?;
    Ok(reply.finished())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::problem::Place;
    use crate::spec::{ModelSpec, Node};
    use crate::template::Library;

    fn provider(base_url: &str) -> Box<dyn Provider> {
        let spec = ModelSpec { model: Some("m".to_owned()), ..ModelSpec::default() };
        let settings = Node::from_json(&json!({ "base_url": base_url }), &Place::default());
        build(&Building {
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
        .map_err(|error| error.message)
        .unwrap()
    }

    fn body(messages: Vec<Message>, options: Value) -> Value {
        let options = Arc::new(options.as_object().unwrap().clone());
        let mut body = Vec::new();
        provider("http://127.0.0.1:1").body(&Request { messages, options, sample: 1 }, &mut body);
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn system_turns_and_options_take_the_shape_of_the_api() {
        let turns = vec![Message::new("system", "a"), Message::new("user", "b"), Message::new("system", "c")];
        assert_eq!(
            body(turns, json!({"stop": "x", "temperature": 0, "extra": {"top_k": 3}})),
            json!({
                "max_tokens": 4096, "messages": [{"content": "b", "role": "user"}], "model": "m",
                "stop_sequences": ["x"], "system": "a\n\nc", "temperature": 0, "top_k": 3
            })
        );
        let schema = json!({"type": "object", "properties": {"reason": {"type": "string"}, "a": {"type": "integer"}}});
        let format = json!({"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}});
        let body_of = body(vec![Message::new("user", "b")], json!({"response_format": format}));
        assert_eq!(body_of["output_config"], json!({"format": {"type": "json_schema", "schema": schema}}));
        let written: Vec<&String> =
            body_of["output_config"]["format"]["schema"]["properties"].as_object().unwrap().keys().collect();
        assert_eq!(written, ["reason", "a"], "the judge writes its reason first");
        assert_eq!(body_of.get("response_format"), None);
        let one = body(vec![Message::new("user", "b")], json!({"max_completion_tokens": 7}));
        assert_eq!(one, json!({"max_tokens": 7, "messages": [{"content": "b", "role": "user"}], "model": "m"}));
    }

    #[test]
    fn tools_take_the_shape_of_the_api() {
        let call = json!([{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\": 1}" } }]);
        let more = |value: Value| value.as_object().unwrap().clone();
        let turns = vec![
            Message::new("user", "q"),
            Message { role: "assistant".into(), content: Value::Null, more: more(json!({ "tool_calls": call })) },
            Message { role: "tool".into(), content: json!("r"), more: more(json!({ "tool_call_id": "1" })) },
        ];
        let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
        let body = body(turns, json!({ "tools": [tool], "tool_choice": "required" }));
        assert_eq!(body["tools"], json!([{ "input_schema": { "type": "object" }, "name": "f" }]));
        assert_eq!(body["tool_choice"], json!({ "type": "any" }));
        assert_eq!(
            body["messages"][1]["content"],
            json!([{ "id": "1", "input": { "a": 1 }, "name": "f", "type": "tool_use" }])
        );
        assert_eq!(
            body["messages"][2],
            json!({ "role": "user", "content": [{ "content": "r", "tool_use_id": "1", "type": "tool_result" }] })
        );
    }

    #[test]
    fn answers_are_told_in_common_words() {
        let provider = provider("http://127.0.0.1:1/v1/");
        assert_eq!(provider.identity()["base_url"], "http://127.0.0.1:1/v1");
        let answer = json!({
            "model": "m-1", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Par"}, {"type": "text", "text": "is"}],
            "stop_reason": "max_tokens", "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 3}
        });
        let reply = provider.read(&answer.to_string()).unwrap();
        assert_eq!((reply.text.as_str(), reply.finish_reason.as_deref()), ("Paris", Some("length")));
        assert_eq!(reply.reasoning.as_deref(), Some("hm"));
        assert_eq!((reply.usage.prompt, reply.usage.completion), (Some(7), Some(3)));
        assert!(provider.read("{\"type\": \"error\"}").is_err());
        let odd =
            provider.read(r#"{"content": "hello", "usage": {"input_tokens": -1, "output_tokens": 2.0}}"#).unwrap();
        assert_eq!((odd.text.as_str(), odd.usage.prompt, odd.usage.completion), ("hello", None, Some(2)));
    }
}
