//! Conversations that are sent: turns written as templates, or the conversation that each row has of its own.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::prompt::Prompt;
use super::{Facts, Scope};
use crate::problem::{Place, Problem};
use crate::provider::Message;
use crate::row::{Completion, Row};
use crate::spec::{Node, TextOrList};
use crate::store::Fingerprint;
use crate::template::{Attrs, TemplateError, to_json};
use crate::text::{Turn, conversation, question};

/// A turn of a conversation.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "message")]
#[serde(deny_unknown_fields)]
pub(super) struct MessageSetting {
    /// system, user or assistant.
    pub role: String,
    /// A template, or the name of one that ends in .j2.
    pub content: String,
}

/// The turns of a conversation, or a template of the row's own conversation.
pub(super) type MessagesSetting = TextOrList<MessageSetting>;

/// Where a row's own conversation is cut.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "snake_case")]
pub(super) enum Until {
    /// Behind its last turn of the user; what follows is no part of the question.
    LastUser,
}

/// The fields of a stage that say what is asked.
pub(super) struct Asked<'a> {
    pub system: &'a Option<String>,
    pub prompt: &'a Option<String>,
    pub messages: &'a Option<MessagesSetting>,
    pub until: Option<Until>,
}

/// A conversation: turns whose contents are templates (`system` and `prompt`, or `messages`), and the row's own turns.
pub(super) struct Conversation {
    turns: Vec<(String, Prompt)>,
    /// The row's own turns, which follow the others.
    own: Option<Prompt>,
    until: Option<Until>,
    /// Everything that the turns read of the row.
    pub row: Attrs,
}

impl Conversation {
    /// Loads `system`, `prompt`, `messages` of a stage. `default` is the prompt if none is given.
    pub fn load(
        scope: &Scope<'_>,
        settings: &Node,
        asked: &Asked<'_>,
        default: Option<(&str, &Place)>,
        variables: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Conversation {
        let place_of = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            settings.nearest(&path).place.clone()
        };
        let mut turns = Vec::new();
        let mut own = None;
        let mut add = |role: &str, label: &str, text: &str, place: Place| match Prompt::load(
            scope, label, text, &place, variables,
        ) {
            Ok(prompt) => turns.push((role.to_owned(), prompt)),
            Err(found) => problems.extend(found),
        };
        if let Some(system) = asked.system {
            add("system", "system", system, place_of(&["system"]));
        }
        match asked.messages {
            Some(TextOrList::List(messages)) => {
                for (index, message) in messages.iter().enumerate() {
                    let index = index.to_string();
                    add(
                        &message.role,
                        &format!("messages.{index}"),
                        &message.content,
                        place_of(&["messages", &index, "content"]),
                    );
                }
            }
            Some(TextOrList::Text(text)) => {
                match Prompt::load_value(scope, "messages", text, &place_of(&["messages"]), variables) {
                    Ok(prompt) => own = Some(prompt),
                    Err(found) => problems.extend(found),
                }
            }
            None => match (asked.prompt, default) {
                (Some(prompt), _) => add("user", "prompt", prompt, place_of(&["prompt"])),
                (None, Some((default, place))) => add("user", "prompt", default, place.clone()),
                (None, None) => {}
            },
        }
        let mut row = Attrs::default();
        for prompt in turns.iter().map(|(_, prompt)| prompt).chain(&own) {
            row.merge(&prompt.template.reads.of("row"));
        }
        Conversation { turns, own, until: asked.until, row }
    }

    /// Returns the templates of all turns.
    pub fn prompts(&self) -> impl Iterator<Item = &Prompt> {
        self.turns.iter().map(|(_, prompt)| prompt).chain(&self.own)
    }

    /// Returns true if some turn reads the variable.
    pub fn reads(&self, variable: &str) -> bool {
        self.prompts().any(|prompt| prompt.template.reads.reads(variable))
    }

    /// Returns the templates that become text; the row's own conversation does not.
    pub fn texts(&self) -> impl Iterator<Item = &Prompt> {
        self.turns.iter().map(|(_, prompt)| prompt)
    }

    /// Adds everything about the conversation to a key.
    pub fn add_to(&self, fingerprint: &mut Fingerprint, facts: &Facts<'_>) {
        self.add_as(fingerprint, facts, "");
    }

    /// Adds the conversation to the key of another stage, whose prompts show what was asked here.
    pub fn add_as(&self, fingerprint: &mut Fingerprint, facts: &Facts<'_>, prefix: &str) {
        for prompt in self.prompts() {
            prompt.add_to(fingerprint, facts, prefix);
        }
        // The key says which template stands in which role. It leaves out file names, since a file may merely have
        // moved.
        let turns = self.turns.iter().map(|(role, prompt)| (role.as_str(), prompt));
        let own = self.own.iter().map(|prompt| ("messages", prompt));
        let roles: Vec<Value> = turns
            .chain(own)
            .map(|(role, prompt)| Value::from(vec![role, prompt.template.name_or(&prompt.label)]))
            .collect();
        fingerprint.setting(&format!("{prefix}conversation"), roles);
        if self.until.is_some() {
            fingerprint.setting(&format!("{prefix}until"), "last_user");
        }
    }

    /// Renders every turn.
    ///
    /// # Errors
    ///
    /// A template fails, or what the row has is no conversation that can be answered.
    pub fn render(&self, variables: &minijinja::Value) -> Result<Vec<Message>, TemplateError> {
        let turn = |(role, prompt): &(String, Prompt)| Ok(Message::new(role, prompt.template.render(variables)?));
        let mut messages = self.turns.iter().map(turn).collect::<Result<Vec<Message>, TemplateError>>()?;
        if let Some(own) = &self.own {
            let value = to_json(&own.template.evaluate(variables)?);
            let wrong = |message: String| TemplateError { message, place: Some(own.place.clone()) };
            let mut turns = conversation(&value).map_err(wrong)?;
            match self.until {
                Some(Until::LastUser) => turns.truncate(question(&turns).map_err(wrong)?),
                None => check_end(&turns).map_err(wrong)?,
            }
            messages.extend(turns.into_iter().map(|Turn { role, content, more }| Message { role, content, more }));
        }
        Ok(messages)
    }
}

fn check_end(turns: &[Turn]) -> Result<(), String> {
    match turns.last().map(|turn| turn.role.as_str()) {
        None => Err("the conversation has no turns".to_owned()),
        Some("assistant") => {
            Err("the conversation ends with a turn of the assistant; `until: last_user` cuts it off".to_owned())
        }
        Some("system" | "developer") => Err("the conversation has no turn of the user".to_owned()),
        Some(_) => Ok(()),
    }
}

/// A row for which the prompt is rendered again, to be shown.
pub struct Shown<'a> {
    pub model: Option<&'a str>,
    pub params: &'a IndexMap<String, Value>,
    pub row: &'a Row,
    /// Which sample of the row it is, from 0.
    pub sample: u32,
    /// The completion of an earlier inference stage that its prompt reads, if it reads one.
    pub draft: Option<&'a Completion>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn a_conversation_ends_with_a_question() {
        let end = |roles: &[&str]| {
            let turn = |role: &&str| Turn { role: (*role).to_owned(), content: json!("x"), more: Map::new() };
            check_end(&roles.iter().map(turn).collect::<Vec<_>>())
        };
        assert!(end(&["user", "assistant"]).unwrap_err().contains("until: last_user"));
        assert!(end(&["system"]).is_err() && end(&[]).is_err());
        assert!(end(&["user"]).is_ok() && end(&["user", "assistant", "tool"]).is_ok());
    }
}
