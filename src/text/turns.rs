//! Conversations as data sets hold them, in the shapes of OpenAI and of ShareGPT.

use serde_json::{Map, Value, json};

/// A turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// `system`, `developer`, `user`, `assistant`, `tool` or `function`.
    pub role: String,
    /// Text, or a list of parts; null beside calls of tools.
    pub content: Value,
    /// What else the turn has, such as `tool_calls`; nothing in it is null.
    pub more: Map<String, Value>,
}

/// Roles of turns, as chat APIs know them.
const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool", "function"];

/// Returns how many turns there are up to the last one of the user.
///
/// # Errors
///
/// The user says nothing.
pub fn question(turns: &[Turn]) -> Result<usize, String> {
    let last = turns.iter().rposition(|turn| turn.role == "user");
    last.map(|last| last + 1).ok_or_else(|| "the conversation has no turn of the user".to_owned())
}

/// Returns what the assistant answers to the last turn of the user: the turn that `until: last_user` cuts off. None if
/// the conversation ends there.
///
/// # Errors
///
/// The value is no conversation.
pub fn last_answer(value: &Value) -> Result<Option<Value>, String> {
    let turns = conversation(value)?;
    let answer = turns.get(question(&turns)?).filter(|turn| turn.role == "assistant");
    Ok(answer.map(|turn| match (&turn.content, turn.more.get("tool_calls")) {
        (Value::Null, Some(calls)) => calls.clone(),
        (content, _) => content.clone(),
    }))
}

/// Reads a conversation: a list of turns as OpenAI writes them (`role`, `content`) or as ShareGPT does (`from`,
/// `value`), the same as text, or a map that has it under `messages` or `conversations`.
///
/// # Errors
///
/// It is something else; the text says what is wrong, and in which turn.
pub fn conversation(value: &Value) -> Result<Vec<Turn>, String> {
    match value {
        Value::Array(turns) => turns
            .iter()
            .enumerate()
            .map(|(index, turn)| {
                message(turn).map_err(|error| format!("turn {} of the conversation {error}", index + 1))
            })
            .collect(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(parsed) if !parsed.is_string() => conversation(&parsed),
            _ => Err("`messages` is text, expected a list of turns".to_owned()),
        },
        Value::Object(map) => match ["messages", "conversations", "conversation"].iter().find_map(|it| map.get(*it)) {
            Some(turns) => conversation(turns),
            None => Err("`messages` is a map, expected a list of turns".to_owned()),
        },
        Value::Null => Err("`messages` is null, expected a list of turns".to_owned()),
        _ => Err("`messages` is no list of turns".to_owned()),
    }
}

fn message(turn: &Value) -> Result<Turn, String> {
    let Value::Object(turn) = turn else { return Err("is no map with `role` and `content`".to_owned()) };
    let text = |name: &str| turn.get(name).and_then(Value::as_str);
    if let (None, Some(from)) = (turn.get("role"), text("from")) {
        return shared(from, turn.get("value").cloned().unwrap_or_default());
    }
    let Some(role) = text("role") else { return Err("has no `role`".to_owned()) };
    if !ROLES.contains(&role) {
        let known = ROLES[..5].join(", ");
        return Err(format!("has the role `{role}`, expected one of {known}"));
    }
    let mut more: Map<String, Value> = turn
        .iter()
        .filter(|(name, _)| !["role", "content"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Data sets write null for what a turn does not have, and APIs refuse it.
    more.retain(|_, value| !value.is_null());
    more.sort_keys();
    let content = turn.get("content").cloned().unwrap_or_default();
    match content {
        Value::String(_) | Value::Array(_) => {}
        Value::Null if more.contains_key("tool_calls") || more.contains_key("function_call") => {}
        Value::Null => return Err("has no `content`".to_owned()),
        _ => return Err("has a `content` that is neither text nor a list of parts".to_owned()),
    }
    Ok(Turn { role: role.to_owned(), content, more })
}

/// Returns a turn as ShareGPT writes it.
fn shared(from: &str, value: Value) -> Result<Turn, String> {
    let role = match from.to_lowercase().as_str() {
        "human" | "user" => "user",
        "gpt" | "assistant" | "chatgpt" | "bing" | "bard" | "model" | "bot" => "assistant",
        "system" => "system",
        "tool" | "observation" | "function_response" | "tool_response" => "tool",
        "function_call" | "tool_call" => {
            let call = match &value {
                Value::String(text) => {
                    serde_json::from_str(text).map_err(|_| "has a call that is no JSON".to_owned())?
                }
                other => other.clone(),
            };
            let calls = json!([{ "type": "function", "function": { "name": call["name"], "arguments": call["arguments"].to_string() } }]);
            let more = Map::from_iter([("tool_calls".to_owned(), calls)]);
            return Ok(Turn { role: "assistant".to_owned(), content: Value::Null, more });
        }
        _ => return Err(format!("is from `{from}`, expected human, gpt, system or tool")),
    };
    match value {
        Value::String(_) => Ok(Turn { role: role.to_owned(), content: value, more: Map::new() }),
        _ => Err("has a `value` that is no text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(value: Value) -> Result<Vec<String>, String> {
        conversation(&value).map(|turns| turns.into_iter().map(|turn| turn.role).collect())
    }

    #[test]
    fn both_shapes_are_read_and_roles_are_checked() {
        let openai = json!([
            { "role": "system", "content": "s" },
            { "role": "user", "content": [{ "type": "text", "text": "q" }], "name": null },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "1" }] },
            { "role": "tool", "content": "r", "tool_call_id": "1" },
        ]);
        assert_eq!(roles(openai.clone()).unwrap(), ["system", "user", "assistant", "tool"]);
        assert_eq!(roles(Value::from(openai.to_string())).unwrap().len(), 4);
        assert_eq!(conversation(&openai).unwrap()[3].more["tool_call_id"], "1");
        assert!(conversation(&openai).unwrap()[1].more.is_empty());
        let shared = json!({ "conversations": [{ "from": "human", "value": "q" }, { "from": "gpt", "value": "a" }] });
        assert_eq!(roles(shared).unwrap(), ["user", "assistant"]);
        for (wrong, says) in [
            (json!([{ "role": "robot", "content": "x" }]), "turn 1 of the conversation has the role `robot`"),
            (
                json!([{ "role": "user", "content": "x" }, { "role": "user" }]),
                "turn 2 of the conversation has no `content`",
            ),
            (json!([{ "content": "x" }]), "has no `role`"),
            (json!([3]), "no map"),
            (json!("hello"), "is text"),
            (json!(null), "is null"),
            (json!([{ "from": "alien", "value": "x" }]), "is from `alien`"),
        ] {
            let error = conversation(&wrong).map(|_| ()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_answer_behind_the_last_question_is_found() {
        let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
        let asked = json!([turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]);
        assert_eq!(last_answer(&asked), Ok(Some(json!("d"))));
        assert_eq!(last_answer(&json!([turn("user", "a")])), Ok(None));
        assert!(last_answer(&json!([turn("system", "a")])).is_err());
        assert_eq!(question(&conversation(&asked).unwrap()), Ok(3));
    }
}
