//! `tool_call`: whether an answer calls the tools that the reference calls.
//!
//! The prediction is the calls that the model made (`tool_calls`), or a text in which it wrote them: JSON with `name` and
//! `arguments`, one, a list, or each between `<tool_call>` tags. The reference is such a call or a list of them; an
//! empty list or null says that no tool is to be called. Arguments are compared as values; null and absent are the same.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::value::{Equality, Lists, Mode, RULE};
use super::{Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, share};
use crate::spec::{Amount, ShortOr};
use crate::text::find_json;

pub(super) const ENTRY: Entry = Entry {
    name: "tool_call",
    about: "Share of answers that call the tools of the reference, with its arguments and no others.",
    source: "as the AST check of the Berkeley Function-Calling Leaderboard (Patil et al. 2025), by JSON value",
    score: "`{ right, names, arguments, none, unreadable }`, each 0 or 1, and null where it says nothing",
    parts: &[
        ("names", "share of answers that call the right tools, whatever the arguments"),
        ("arguments", "of the answers that call the right tools, the share with the right arguments"),
        ("none", "of the rows where no tool is to be called, the share where none is"),
        ("unreadable", "share of answers with a call whose arguments are no JSON"),
    ],
    equality: RULE,
    ..share::<Settings>()
};

/// How one argument is compared.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields, default)]
struct Argument {
    /// How texts are compared.
    mode: Option<Mode>,
    /// How lists are compared: item by item, or as sets.
    lists: Lists,
    /// Largest difference of numbers that counts as equal.
    tolerance: Option<Amount>,
}

/// Whether the order of calls counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Strict,
    Any,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Whether several calls must come in the order of the reference.
    #[schemars(example = Order::Any)]
    order: Order,
    /// How texts are compared, as in exact_match.
    #[schemars(example = Mode::Casefold)]
    mode: Mode,
    /// By the name of an argument: how it is compared, where not as all others; false takes any value.
    #[schemars(example = serde_json::json!({ "note": false }))]
    arguments: IndexMap<String, ShortOr<bool, Argument>>,
}

struct ToolCall {
    order: Order,
    plain: Equality,
    /// By name; none: any value will do.
    arguments: IndexMap<String, Option<Equality>>,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        let plain = Equality { mode: self.mode, ..Equality::default() };
        let of = |argument: ShortOr<bool, Argument>| match argument {
            ShortOr::Short(is_compared) => is_compared.then_some(plain),
            ShortOr::Full(Argument { mode, lists, tolerance }) => Some(Equality {
                mode: mode.unwrap_or(plain.mode),
                lists,
                tolerance: tolerance.map_or(0.0, |amount| amount.0),
            }),
        };
        Ok(Box::new(ToolCall {
            order: self.order,
            plain,
            arguments: self.arguments.into_iter().map(|(name, argument)| (name, of(argument))).collect(),
        }))
    }
}

/// A call of a tool.
struct Call {
    name: String,
    /// None: they are no JSON object.
    arguments: Option<Map<String, Value>>,
}

impl Call {
    /// Reads `{ name, arguments }`, or that below `function`; arguments may be JSON as text.
    fn of(value: &Value) -> Option<Call> {
        let value = value.get("function").filter(|function| function.is_object()).unwrap_or(value);
        let name = value.get("name")?.as_str()?.to_owned();
        let arguments = ["arguments", "parameters", "input"].iter().find_map(|name| value.get(*name));
        let arguments = match arguments {
            None | Some(Value::Null) => Some(Map::new()),
            Some(Value::Object(map)) => Some(map.clone()),
            Some(Value::String(text)) if text.trim().is_empty() => Some(Map::new()),
            Some(Value::String(text)) => serde_json::from_str(text).ok(),
            Some(_) => None,
        };
        Some(Call { name, arguments })
    }

    /// Reads all calls in a value; none if it holds something else.
    fn all_of(value: &Value) -> Option<Vec<Call>> {
        match value {
            Value::Null => Some(Vec::new()),
            Value::Array(items) => items.iter().map(Call::of).collect(),
            Value::Object(_) => Some(vec![Call::of(value)?]),
            Value::String(text) if text.contains("<tool_call>") => {
                let blocks = text.split("<tool_call>").skip(1);
                let inside = blocks.map(|block| block.split("</tool_call>").next().unwrap_or_default());
                inside.map(|block| Call::of(&find_json(block, &is_call).ok()?)).collect()
            }
            Value::String(text) => match find_json(text, &is_call) {
                Ok(value @ (Value::Object(_) | Value::Array(_))) => Call::all_of(&value),
                _ => Some(Vec::new()),
            },
            _ => None,
        }
    }
}

fn is_call(value: &Value) -> bool {
    Call::of(value).is_some()
}

impl ToolCall {
    fn has_same_arguments(&self, made: &Call, wanted: &Call) -> bool {
        let (Some(made), Some(wanted)) = (&made.arguments, &wanted.arguments) else { return false };
        let null = Value::Null;
        made.keys().chain(wanted.keys()).all(|name| {
            let (made, wanted) = (made.get(name).unwrap_or(&null), wanted.get(name).unwrap_or(&null));
            match self.arguments.get(name) {
                Some(None) => true,
                Some(Some(equality)) => equality.holds(made, wanted),
                None => self.plain.holds(made, wanted),
            }
        })
    }

    /// Returns true if each call that was made has one that was wanted, and the other way round.
    fn matches(&self, made: &[Call], wanted: &[Call], is_same: &dyn Fn(&Call, &Call) -> bool) -> bool {
        if made.len() != wanted.len() {
            return false;
        }
        if self.order == Order::Strict {
            return made.iter().zip(wanted).all(|(made, wanted)| is_same(made, wanted));
        }
        // For each call, the one that stands for it, as far as they have been found: paths that augment the matching.
        let mut matched: Vec<Option<usize>> = vec![None; wanted.len()];
        fn place(
            call: usize,
            edges: &dyn Fn(usize, usize) -> bool,
            matched: &mut Vec<Option<usize>>,
            seen: &mut Vec<bool>,
        ) -> bool {
            for other in 0..matched.len() {
                if seen[other] || !edges(call, other) {
                    continue;
                }
                seen[other] = true;
                let holder = matched[other];
                if holder.is_none_or(|holder| place(holder, edges, matched, seen)) {
                    matched[other] = Some(call);
                    return true;
                }
            }
            false
        }
        let edges = |call: usize, other: usize| is_same(&made[call], &wanted[other]);
        (0..made.len()).all(|call| place(call, &edges, &mut matched, &mut vec![false; wanted.len()]))
    }
}

impl Metric for ToolCall {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some(reference) = scored.reference else { return Ok(None) };
        let Some(wanted) = Call::all_of(reference) else {
            return Err("the reference is no call of a tool, `{ name, arguments }`, or a list of them".to_owned());
        };
        let made = scored.prediction.and_then(Call::all_of);
        let is_unreadable = made.as_ref().is_none_or(|made| made.iter().any(|call| call.arguments.is_none()));
        let made = made.unwrap_or_else(|| vec![Call { name: String::new(), arguments: None }]);
        let names = self.matches(&made, &wanted, &|made, wanted| made.name == wanted.name);
        let is_right = names
            && self.matches(&made, &wanted, &|made, wanted| {
                made.name == wanted.name && self.has_same_arguments(made, wanted)
            });
        let says = |is_said: bool, value: bool| if is_said { Value::from(u8::from(value)) } else { Value::Null };
        Ok(Some(json!({
            "right": u8::from(is_right),
            "names": u8::from(names),
            "arguments": says(names && !wanted.is_empty(), is_right),
            "none": says(wanted.is_empty(), made.is_empty()),
            "unreadable": u8::from(is_unreadable),
        })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let share = || Box::new(MeanTally::share()) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![
            ("", "right", share()),
            ("names", "names", share()),
            ("arguments", "arguments", share()),
            ("none", "none", share()),
            ("unreadable", "unreadable", share()),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn knows_null(&self) -> bool {
        true
    }

    fn own_prediction(&self) -> Option<&str> {
        Some("{{ tool_calls }}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn score(settings: &Value, prediction: &Value, reference: &Value) -> Value {
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).map_err(|p| format!("{p:?}")).unwrap();
        let scored = Scored { prediction: Some(prediction), reference: Some(reference), ..Scored::default() };
        metric.score(&scored).unwrap().unwrap()
    }

    #[test]
    fn calls_are_compared_by_name_and_value() {
        let wanted = json!([{ "name": "weather", "arguments": { "city": "Paris", "days": 3 } }]);
        let call = |arguments: Value| json!([{ "name": "weather", "arguments": arguments }]);
        for (made, right, names) in [
            (call(json!({ "days": 3.0, "city": "Paris" })), 1, 1),
            (call(json!({ "days": "3", "city": " Paris", "unit": null })), 1, 1),
            (call(json!("{\"city\": \"Paris\", \"days\": 3}")), 1, 1),
            (call(json!({ "city": "Paris" })), 0, 1),
            (call(json!({ "city": "Paris", "days": 3, "unit": "C" })), 0, 1),
            (call(json!("{\"city\"")), 0, 1),
            (json!([{ "name": "time", "arguments": {} }]), 0, 0),
            (json!([]), 0, 0),
            (json!(null), 0, 0),
            (
                json!(
                    "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}\n</tool_call>"
                ),
                1,
                1,
            ),
            (json!("I call {\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}"), 1, 1),
            (json!("It is sunny."), 0, 0),
        ] {
            let score = score(&json!({}), &made, &wanted);
            assert_eq!((&score["right"], &score["names"]), (&json!(right), &json!(names)), "{made}");
        }
        let settings = json!({ "arguments": { "days": false, "city": { "mode": "casefold" } } });
        assert_eq!(score(&settings, &call(json!({ "city": "PARIS" })), &wanted)["right"], 1);
        assert_eq!(score(&json!({}), &call(json!("{\"city\"")), &wanted)["unreadable"], 1);
        let openai = json!([{ "id": "1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": \"Paris\", \"days\": 3}" } }]);
        assert_eq!(score(&json!({}), &openai, &wanted)["right"], 1);
    }

    #[test]
    fn none_may_be_expected_and_order_may_not_matter() {
        let call = |name: &str| json!({ "name": name, "arguments": {} });
        for none in [json!([]), json!(null)] {
            let held_back = score(&json!({}), &json!([]), &none);
            assert_eq!((&held_back["right"], &held_back["none"]), (&json!(1), &json!(1)));
            let called = score(&json!({}), &json!([call("a")]), &none);
            assert_eq!((&called["right"], &called["none"], &called["arguments"]), (&json!(0), &json!(0), &Value::Null));
        }
        let (made, wanted) = (json!([call("b"), call("a")]), json!([call("a"), call("b")]));
        assert_eq!(score(&json!({}), &made, &wanted)["right"], 0);
        assert_eq!(score(&json!({ "order": "any" }), &made, &wanted)["right"], 1);
        assert_eq!(score(&json!({ "order": "any" }), &json!([call("a"), call("a")]), &wanted)["right"], 0);
    }
}
