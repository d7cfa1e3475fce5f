//! What models reply, told apart once for all providers: text, reasoning, calls of tools, refusals, and errors that come
//! as if they were answers.

use serde_json::{Map, Value};

use super::quota::is_out_of_money;
use super::{CallError, ErrorKind};
use crate::row::Usage;

/// What a model replied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Everything that was said to the reader; empty if nothing was. It may begin with reasoning between tags.
    pub text: String,
    /// What the model thought, where the provider tells it apart.
    pub reasoning: Option<String>,
    /// What the model said to decline, where the provider tells it apart. Without other text it is the text, too.
    pub refusal: Option<String>,
    /// The tools that it calls: each `{ arguments, name }`, with arguments that are no JSON as text.
    pub tool_calls: Vec<Value>,
    /// In OpenAI's words: `stop`, `length`, `content_filter`, `refusal`, `tool_calls`, …; none if the server gives no
    /// reason.
    pub finish_reason: Option<String>,
    pub usage: Usage,
    /// The server's own name for the model that answered.
    pub served_model: Option<String>,
}

impl Reply {
    /// Adds what a message says: text, or a list of parts.
    ///
    /// # Errors
    ///
    /// It is neither, or it has parts but none of a known sort; the text says what it is.
    pub(super) fn add_content(&mut self, content: &Value) -> Result<(), String> {
        match content {
            Value::Null => Ok(()),
            Value::String(text) => {
                self.text.push_str(text);
                Ok(())
            }
            Value::Array(parts) => {
                let mut unknown = Vec::new();
                let mut is_known = parts.is_empty();
                for part in parts {
                    match self.add_part(part) {
                        true => is_known = true,
                        false => unknown.push(part["type"].as_str().unwrap_or("no type").to_owned()),
                    }
                }
                match is_known {
                    true => Ok(()),
                    false => Err(format!("content without text in it: parts of {}", unknown.join(", "))),
                }
            }
            other => Err(format!("content that is no text but {}: `{}`", sort(other), start(&other.to_string()))),
        }
    }

    /// Adds one part of a message; returns false if its sort is not known.
    fn add_part(&mut self, part: &Value) -> bool {
        let text = |name: &str| part[name].as_str().map(str::to_owned);
        match part["type"].as_str() {
            _ if part.is_string() => self.text.push_str(part.as_str().unwrap_or_default()),
            Some("thinking" | "reasoning" | "reasoning_content") => {
                let thought = ["thinking", "reasoning", "text", "content", "summary"].iter();
                self.think(thought.map(|name| all_text(&part[name])).find(|text| !text.is_empty()));
            }
            Some("redacted_thinking") => self.think(Some("[redacted]".to_owned())),
            Some("refusal") => self.refusal = text("refusal").or(text("text")).or(self.refusal.take()),
            Some("tool_use") => self.tool_calls.push(call(&part["name"], part["input"].clone())),
            _ => match text("text") {
                Some(text) => self.text.push_str(&text),
                None => return false,
            },
        }
        true
    }

    /// Adds what the model thought.
    pub(super) fn think(&mut self, thought: Option<String>) {
        let Some(thought) = thought.filter(|thought| !thought.trim().is_empty()) else { return };
        match &mut self.reasoning {
            // Some servers send the same thoughts under two names.
            Some(known) if known.contains(&thought) => {}
            Some(known) => *known = format!("{known}\n{thought}"),
            None => self.reasoning = Some(thought),
        }
    }

    /// Adds calls of tools, in OpenAI's shape: `[{ function: { name, arguments } }]`.
    pub(super) fn add_calls(&mut self, calls: &Value) {
        for called in calls.as_array().into_iter().flatten() {
            let function = if called["function"].is_object() { &called["function"] } else { called };
            if function["name"].is_string() {
                self.tool_calls.push(call(&function["name"], function["arguments"].clone()));
            }
        }
    }

    /// Completes a reply: a refusal without other text is what was said.
    pub(super) fn finished(mut self) -> Reply {
        if let Some(refusal) = &self.refusal
            && self.text.trim().is_empty()
        {
            self.text.clone_from(refusal);
            self.finish_reason = Some("refusal".to_owned());
        }
        self
    }
}

/// Returns a call of a tool in the form that is stored.
fn call(name: &Value, arguments: Value) -> Value {
    let arguments = match arguments {
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Value::Null => Value::Object(Map::new()),
        other => other,
    };
    let mut call = serde_json::json!({ "arguments": arguments, "name": name });
    call.sort_all_objects();
    call
}

/// Returns all text in a value, however deep.
pub(super) fn all_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(all_text).collect(),
        Value::Object(map) => {
            ["text", "summary", "thinking", "content"].iter().filter_map(|name| map.get(*name)).map(all_text).collect()
        }
        _ => String::new(),
    }
}

/// Returns a reason for the end of a reply in OpenAI's words; one that is not known stays as it is.
pub(super) fn reason_word(reason: &str) -> String {
    match reason {
        "end_turn" | "stop_sequence" | "eos" | "eos_token" | "STOP" => "stop".to_owned(),
        "max_tokens" | "MAX_TOKENS" | "model_context_window_exceeded" => "length".to_owned(),
        "tool_use" | "function_call" => "tool_calls".to_owned(),
        _ => reason.to_owned(),
    }
}

/// Returns the error that a body says, whatever the status was under which it came; none if it says none.
pub(super) fn error_of(error: &Value) -> Option<CallError> {
    let is_none = match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if is_none {
        return None;
    }
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let code = [&error["code"], &error["status"], &error["http_status"]].into_iter().find_map(number);
    let word = [&error["type"], &error["code"], &error["status"]].into_iter().find_map(Value::as_str).unwrap_or("");
    let kind = match code {
        _ if is_out_of_money(error) => ErrorKind::Fatal,
        Some(402) => ErrorKind::Fatal,
        Some(429) => ErrorKind::RateLimited,
        Some(408 | 409 | 500..=599) => ErrorKind::Transient,
        Some(400..=499) => ErrorKind::Permanent,
        _ if word.contains("rate_limit") => ErrorKind::RateLimited,
        _ if ["invalid_request", "authentication", "permission", "not_found"].iter().any(|it| word.contains(it)) => {
            ErrorKind::Permanent
        }
        _ => ErrorKind::Transient,
    };
    let said = [&error["message"], error].into_iter().find_map(Value::as_str).unwrap_or_default();
    let said = match (said.is_empty(), code) {
        (false, _) => start(said),
        (true, Some(code)) => format!("code {code}"),
        (true, None) => start(&error.to_string()),
    };
    Some(CallError::new(kind, format!("an error in place of an answer: {said}")))
}

/// Returns the beginning of a text, for messages.
pub(super) fn start(text: &str) -> String {
    let mut short: String = text.chars().take(200).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace(['\n', '\r'], " ")
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "an object",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn content_is_text_or_parts() {
        let read = |content: Value| {
            let mut reply = Reply::default();
            reply.add_content(&content).map(|()| reply.finished())
        };
        assert_eq!(read(json!("a")).unwrap().text, "a");
        assert_eq!(read(json!(null)).unwrap(), Reply::default());
        assert_eq!(read(json!([])).unwrap(), Reply::default());
        let parts = json!([
            { "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] },
            { "type": "text", "text": "Par" }, { "type": "output_text", "text": "is" }, "!"
        ]);
        let reply = read(parts).unwrap();
        assert_eq!((reply.text.as_str(), reply.reasoning.as_deref()), ("Paris!", Some("hm")));
        let refused = read(json!([{ "type": "refusal", "refusal": "No." }])).unwrap();
        assert_eq!((refused.text.as_str(), refused.finish_reason.as_deref()), ("No.", Some("refusal")));
        let called = read(json!([{ "type": "tool_use", "name": "f", "input": { "b": 1, "a": 2 } }])).unwrap();
        assert_eq!(called.tool_calls, [json!({ "arguments": { "a": 2, "b": 1 }, "name": "f" })]);
        assert!(read(json!({ "answer": 1 })).unwrap_err().contains("an object"));
        assert!(read(json!(3)).is_err());
        assert!(read(json!([{ "type": "image_url" }])).unwrap_err().contains("image_url"));
    }

    #[test]
    fn errors_say_whether_to_try_again() {
        for (error, kind) in [
            (json!({ "code": 502 }), ErrorKind::Transient),
            (json!({ "code": "429", "message": "slow" }), ErrorKind::RateLimited),
            (json!({ "code": 400, "message": "too long" }), ErrorKind::Permanent),
            (json!({ "type": "overloaded_error" }), ErrorKind::Transient),
            (json!({ "type": "rate_limit_error" }), ErrorKind::RateLimited),
            (json!({ "type": "invalid_request_error" }), ErrorKind::Permanent),
            (json!("upstream broke"), ErrorKind::Transient),
        ] {
            assert_eq!(error_of(&error).unwrap().kind, kind, "{error}");
        }
        for none in [json!(null), json!({}), json!(""), json!(false)] {
            assert_eq!(error_of(&none), None);
        }
    }
}
