//! A tree of values that know the place where they were written.

use serde_json::{Map, Number, Value};

use crate::problem::Place;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: NodeValue,
    pub place: Place,
}

/// A value of the tree, by its sort.
#[derive(Clone, Debug)]
pub enum NodeValue {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map with its place.
#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub place: Place,
}

impl Node {
    /// Returns the value of a key, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Returns an entry of a map: its key and its value.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        self.entries().iter().find(|(name, _)| name.text == key).map(|(name, node)| (name, node))
    }

    /// Returns the place of a map's entry; without such an entry, the node's own place.
    pub fn place_of(&self, key: &str) -> &Place {
        self.get(key).map_or(&self.place, |node| &node.place)
    }

    /// Returns the entries of a map; empty for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            NodeValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Removes an entry of a map and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let NodeValue::Map(entries) = &mut self.value else {
            return None;
        };
        let index = entries.iter().position(|(name, _)| name.text == key)?;
        Some(entries.remove(index).1)
    }

    /// Returns the text; none for any other sort of value.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns true for null.
    pub fn is_null(&self) -> bool {
        matches!(self.value, NodeValue::Null)
    }

    /// Returns what sort of value this is (text, list, …), in a user's words.
    pub fn sort(&self) -> &'static str {
        match &self.value {
            NodeValue::Null => "nothing",
            NodeValue::Bool(_) => "a boolean",
            NodeValue::Number(_) => "a number",
            NodeValue::Text(_) => "text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }

    /// Returns the node as a JSON value, without places.
    pub fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(flag) => Value::Bool(*flag),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::Text(text) => Value::String(text.clone()),
            NodeValue::List(items) => items.iter().map(Node::to_json).collect(),
            NodeValue::Map(entries) => Value::Object(
                entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// Returns the tree of a JSON value; all its nodes have the same place.
    pub fn from_json(value: &Value, place: &Place) -> Node {
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(flag) => NodeValue::Bool(*flag),
            Value::Number(number) => NodeValue::Number(number.clone()),
            Value::String(text) => NodeValue::Text(text.clone()),
            Value::Array(items) => NodeValue::List(items.iter().map(|item| Node::from_json(item, place)).collect()),
            Value::Object(map) => NodeValue::Map(
                map.iter()
                    .map(|(key, value)| {
                        (Key { text: key.clone(), place: place.clone() }, Node::from_json(value, place))
                    })
                    .collect(),
            ),
        };
        Node { value, place: place.clone() }
    }

    /// Returns the node at a path of keys and indices, or the deepest node on the way that exists.
    pub fn nearest(&self, path: &[String]) -> &Node {
        let Some((first, rest)) = path.split_first() else {
            return self;
        };
        let next = match &self.value {
            NodeValue::Map(_) => self.get(first),
            NodeValue::List(items) => first.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        next.map_or(self, |next| next.nearest(rest))
    }

    /// Removes the node at a path. Returns false if there is none.
    pub(super) fn prune(&mut self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        match &mut self.value {
            NodeValue::Map(entries) => {
                let Some(index) = entries.iter().position(|(key, _)| key.text == *first) else {
                    return false;
                };
                if rest.is_empty() || !entries[index].1.prune(rest) {
                    entries.remove(index);
                }
                true
            }
            NodeValue::List(items) => {
                let Some(index) = first.parse::<usize>().ok().filter(|index| *index < items.len()) else {
                    return false;
                };
                if rest.is_empty() || !items[index].prune(rest) {
                    items.remove(index);
                }
                true
            }
            _ => false,
        }
    }
}
