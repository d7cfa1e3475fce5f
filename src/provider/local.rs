//! What providers within this process share: the shape of their answers, and the body of their requests.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::reason_word;
use super::{CallError, ErrorKind, Reply, Request, Sent, messages_into};
use crate::digest::canonical_map_into;
use crate::row::Usage;

/// The answer of a provider within this process; all of them have this shape.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct LocalAnswer {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// In OpenAI's shape, or as `{ name, arguments }`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub tool_calls: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
}

impl LocalAnswer {
    /// Reads an answer as it stands in the completion log.
    pub fn read(raw: &str) -> Result<Reply, CallError> {
        let answer: LocalAnswer =
            serde_json::from_str(raw).map_err(|error| CallError::new(ErrorKind::Permanent, error.to_string()))?;
        let mut reply = Reply {
            text: answer.text,
            reasoning: answer.reasoning,
            refusal: answer.refusal,
            finish_reason: answer.finish_reason.as_deref().map(reason_word),
            usage: Usage::new(answer.prompt_tokens, answer.completion_tokens),
            ..Reply::default()
        };
        reply.add_calls(&answer.tool_calls);
        Ok(reply.finished())
    }
}

/// Appends the wire body of a provider within this process: the messages, with the options beside them.
pub(super) fn local_body(request: &Request, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"messages\":");
    messages_into(&request.messages, out);
    if !request.options.is_empty() {
        out.extend_from_slice(b",\"options\":");
        canonical_map_into(&request.options, out);
    }
    out.push(b'}');
}

/// Reads an answer that was made within this process.
pub(super) fn local_sent(raw: String) -> Result<Sent, CallError> {
    let reply = LocalAnswer::read(&raw)?;
    Ok(Sent { raw, reply, pause: None })
}

#[cfg(test)]
pub(super) mod testing {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use futures_util::FutureExt;
    use serde_json::Value;

    use crate::digest::Digest;
    use crate::problem::Place;
    use crate::provider::{Build, BuildError, Building, CallError, Message, Provider, Request};
    use crate::spec::{ModelSpec, Node};
    use crate::template::Library;

    /// Builds a provider whose files lie below `root`.
    pub fn build_at(build: Build, root: &Path, settings: &Value) -> Result<Box<dyn Provider>, BuildError> {
        build(&Building {
            name: "m",
            spec: &ModelSpec::default(),
            settings: &Node::from_json(settings, &Place::default()),
            weights: BTreeMap::new(),
            probe: None,
            root,
            consent: &Default::default(),
            library: &Library::new("templates".into()),
            digest_file: &|path| std::fs::read(path).map(|bytes| Digest::of(&bytes)),
        })
    }

    /// Asks a provider that answers at once.
    pub fn ask(provider: &dyn Provider, prompt: &str, sample: u32) -> Result<String, CallError> {
        let request = Request { messages: vec![Message::new("user", prompt)], options: Arc::default(), sample };
        let mut body = Vec::new();
        provider.body(&request, &mut body);
        let sent = provider.send(&body.into(), &request).now_or_never().expect("it is instant");
        sent.map(|sent| sent.reply.text)
    }
}
