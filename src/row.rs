//! Rows: what a dataset holds and what the stages after it make of them.
//!
//! A [`Row`] is one dataset record with a stable id. A [`Completion`] is a model's answer to it, a [`Judgement`] what a
//! judge said of that answer. All of them are stored sorted by id (and sample), so order is not content, joins are
//! merges and readers stream.
//!
//! **Invariant:** fields stand in alphabetical order of their JSON names and maps are sorted, so that
//! a record serialises straight to canonical JSON (`store::artifact` asserts it in debug builds).

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::outcome::Outcome;

/// One dataset record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Unique text within the dataset.
    pub id: String,
    /// The record's own columns, the id's column included.
    #[serde(rename = "row")]
    pub columns: Map<String, Value>,
}

impl Row {
    /// Parses a stored row and keeps only the wanted columns; most readers need few of them.
    ///
    /// # Errors
    ///
    /// The line is not a stored row.
    pub fn narrow(line: &[u8], is_wanted: &dyn Fn(&str) -> bool) -> Result<Row, serde_json::Error> {
        #[derive(Deserialize)]
        struct Line<'a> {
            id: String,
            #[serde(borrow)]
            row: &'a RawValue,
        }
        let Line { id, row } = serde_json::from_slice(line)?;
        let columns = serde_json::Deserializer::from_str(row.get()).deserialize_map(Wanted(is_wanted))?;
        Ok(Row { id, columns })
    }
}

struct Wanted<'a>(&'a dyn Fn(&str) -> bool);

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the columns of a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut columns = Map::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if (self.0)(&name) {
                columns.insert(name.into_owned(), map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(columns)
    }
}

/// A record that belongs to a row.
pub trait OfRow {
    /// Returns the id of its row.
    fn row_id(&self) -> &str;
}

macro_rules! of_row {
    ($($record:ty),*) => {
        $(impl OfRow for $record {
            fn row_id(&self) -> &str {
                &self.id
            }
        })*
    };
}

of_row!(Row, Completion, Meta, Scores, Judgement);

/// The shape of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A whole answer.
    Ok,
    /// The model answered, and the answer has no text: often all that it was allowed to say was reasoning.
    Empty,
    /// The model or its provider declined to answer.
    Refused,
    /// The model calls tools; it may say something beside that.
    ToolCalls,
    /// An answer that ran into the limit of tokens.
    Cut,
    /// The call failed for good, or the dataset had no completion: it is missing for every node behind.
    Failed,
    /// Not bought yet. Only a plan makes such rows; they are never published.
    Unknown,
}

impl Status {
    /// Returns true if the model answered, in whatever shape; otherwise the completion is missing.
    pub fn is_answered(self) -> bool {
        !matches!(self, Status::Failed | Status::Unknown)
    }
}

/// One completion of one row by one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    pub finish_reason: Option<String>,
    pub id: String,
    /// Everything that was said, where the answer is only a part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// What the model thought before it answered, if it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// What the model said to decline, where its provider tells that apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Ordinal of the sample, from 0.
    pub sample: u32,
    pub status: Status,
    /// The answer: what follows the reasoning. None where there is no completion.
    pub text: Option<String>,
    /// A list of `{ arguments, name }`; arguments that are no JSON are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
}

impl Completion {
    /// Returns a completion that is not there.
    pub fn missing(id: &str, sample: u32, status: Status) -> Completion {
        Completion {
            finish_reason: None,
            id: id.to_owned(),
            raw: None,
            reasoning: None,
            refusal: None,
            sample,
            status,
            text: None,
            tool_calls: None,
        }
    }

    /// Returns the answer as people and judges are shown it: its text, and a line for each call of a tool.
    pub fn shown(&self) -> Option<Cow<'_, str>> {
        let text = self.text.as_deref()?;
        let Some(calls) = self.tool_calls.as_ref().and_then(Value::as_array) else { return Some(text.into()) };
        let line = |call: &Value| format!("{}({})", call["name"].as_str().unwrap_or_default(), call["arguments"]);
        let said = Some(text.trim_end()).filter(|text| !text.is_empty()).map(str::to_owned);
        Some(said.into_iter().chain(calls.iter().map(line)).collect::<Vec<_>>().join("\n").into())
    }

    /// Returns everything that was said.
    pub fn raw(&self) -> Option<&str> {
        self.raw.as_deref().or(self.text.as_deref())
    }
}

/// Returns true if the model ran out of tokens.
pub fn is_cut(finish_reason: Option<&str>) -> bool {
    matches!(finish_reason, Some("length" | "max_tokens" | "MAX_TOKENS" | "model_context_window_exceeded"))
}

/// Returns true if the provider or the model declined to answer.
pub fn is_refusal(finish_reason: Option<&str>) -> bool {
    matches!(finish_reason, Some("refusal" | "content_filter"))
        || finish_reason.is_some_and(|reason| {
            matches!(
                reason.to_ascii_uppercase().as_str(),
                "SAFETY" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII" | "RECITATION"
            )
        })
}

/// The tokens of a call, as far as its server tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt, with those that the server had cached.
    pub prompt: Option<u64>,
    /// Of the completion, with those of its reasoning.
    pub completion: Option<u64>,
    /// Those of the prompt that the server read from a cache.
    pub cached: Option<u64>,
    /// Those of the prompt that the server wrote into a cache.
    pub cache_written: Option<u64>,
    /// Those of the completion that were reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Returns the tokens of a prompt and a completion, of which no more is known.
    pub fn new(prompt: Option<u64>, completion: Option<u64>) -> Usage {
        Usage { prompt, completion, ..Usage::default() }
    }

    /// Returns true if the server told anything.
    pub fn is_known(&self) -> bool {
        self.prompt.is_some() || self.completion.is_some()
    }
}

/// What a call took and how it went; in the *meta* artifact, beside the rows. What it cost follows from the price of its
/// model, which may change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_written_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    /// Why the row failed.
    pub error: Option<String>,
    pub id: String,
    /// Seconds from sending to the complete answer, when it was bought.
    pub latency: Option<f64>,
    pub prompt_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Ordinal of the sample, from 0.
    pub sample: u32,
    /// The model that the server says it served.
    pub served_model: Option<String>,
}

impl Meta {
    /// Returns what a call took; the row is still to be named.
    pub fn of_call(usage: Usage, latency: Option<f64>, served_model: Option<String>) -> Meta {
        Meta {
            cache_written_tokens: usage.cache_written,
            cached_tokens: usage.cached,
            completion_tokens: usage.completion,
            latency,
            prompt_tokens: usage.prompt,
            reasoning_tokens: usage.reasoning,
            served_model,
            ..Meta::default()
        }
    }

    /// Returns the tokens of the call.
    pub fn usage(&self) -> Usage {
        Usage {
            prompt: self.prompt_tokens,
            completion: self.completion_tokens,
            cached: self.cached_tokens,
            cache_written: self.cache_written_tokens,
            reasoning: self.reasoning_tokens,
        }
    }
}

/// The scores of one completion: metric names to values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    pub id: String,
    /// Ordinal of the sample, from 0.
    pub sample: u32,
    pub scores: Map<String, Value>,
}

/// How a judge's reply was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictStatus {
    Ok,
    /// Readable after a repair, which is named.
    Repaired,
    /// Some criteria are readable, others are not.
    Partial,
    Ambiguous,
    Unparsable,
    #[serde(rename = "invalid_label")]
    InvalidLabel,
    Truncated,
    Refused,
    Empty,
    /// The call itself failed.
    Error,
    /// What was to be judged is missing.
    Missing,
    /// Not bought yet; only in plans.
    Unknown,
}

impl VerdictStatus {
    /// Returns true if the whole reply could be read.
    pub fn is_valid(self) -> bool {
        matches!(self, VerdictStatus::Ok | VerdictStatus::Repaired)
    }
}

/// One order in which a judge was shown two completions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownOrder {
    /// The completion of the node's model stood first, as A.
    pub first: bool,
    /// What the judge said of this order.
    pub reason: Option<String>,
}

/// What one judge of a panel said, one of the times it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    /// The judge's place in the panel, from 0.
    pub judge: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Option<Outcome>>,
    pub reason: Option<String>,
    /// Which of the times that this judge was asked, from 0.
    pub sample: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<ShownOrder>,
    pub status: VerdictStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

/// What a judge said of one completion (or of a pair of them), parsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub id: String,
    /// Comparison: what each order of the two texts gave for the node's model, in the order in which they were asked;
    /// none for an order without a verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Option<Outcome>>,
    /// Comparison of all pairs: the two models, as their places among the models of the input, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<[u32; 2]>,
    /// The judge's reason, or why there is no verdict.
    pub reason: Option<String>,
    /// Ordinal of the sample of the completion, from 0.
    pub sample: u32,
    /// Rubric: a score per criterion, null where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Map<String, Value>>,
    /// Comparison: the orders in which the two texts were shown, beside `orders`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown: Vec<ShownOrder>,
    pub status: VerdictStatus,
    /// Comparison: `win`, `tie` or `loss` for the node's model against the baseline. Classification: the
    /// label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The single votes, where several judges were asked, or one judge several times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
}

impl Vote {
    /// Returns the outcome of a comparison.
    pub fn outcome(&self) -> Option<Outcome> {
        Outcome::of_word(self.verdict.as_deref()?)
    }
}

impl Judgement {
    /// Returns the outcome of a comparison for the node's model; none for other verdicts.
    pub fn outcome(&self) -> Option<Outcome> {
        Outcome::of_word(self.verdict.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_row_has_the_wanted_columns_alone() {
        let line = br#"{"id":"1","row":{"a":9007199254740993,"b":{"c":[1]},"d":"\u00e9"}}"#;
        let row = Row::narrow(line, &|name| name != "b").unwrap();
        assert_eq!(serde_json::to_string(&row).unwrap(), "{\"id\":\"1\",\"row\":{\"a\":9007199254740993,\"d\":\"é\"}}");
        assert!(Row::narrow(b"{\"id\":\"1\"}", &|_| true).is_err());
    }
}
