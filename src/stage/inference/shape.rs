//! The shape of replies: what becomes of a reply as a completion, and what is unusual among the completions of a node.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::provider::Reply;
use crate::row::{Completion, Status, is_cut, is_refusal};
use crate::score::{Direction, Estimate, Rank, Reading, Unit};
use crate::stats::share_interval;
use crate::text::ReasoningTags;

/// The shares of answers that are not plain answers, in order.
pub(super) const SHARES: [&str; 4] = ["empty", "refused", "tool_calls", "cut"];

/// Returns how those shares are to be read: gates may use them, and tables stay as they are.
pub(super) fn readings() -> impl Iterator<Item = (String, Reading)> {
    let reading = |name: &str| {
        let direction = if name == "tool_calls" { Direction::Neither } else { Direction::Lower };
        Reading::of(Unit::Rate, Rank::Part).toward(direction)
    };
    SHARES.into_iter().map(move |name| (name.to_owned(), reading(name)))
}

/// Writes what a reply says into a completion.
pub(super) fn shape(reply: Reply, tags: &ReasoningTags, completion: &mut Completion) {
    let said = tags.split(&reply.text);
    let thoughts = [reply.reasoning, said.reasoning].into_iter().flatten().collect::<Vec<_>>();
    completion.reasoning = (!thoughts.is_empty()).then(|| thoughts.join("\n\n"));
    let answer = said.answer.into_owned();
    let is_blank = answer.trim().is_empty();
    let reason = reply.finish_reason.as_deref();
    completion.status = match () {
        () if reply.refusal.is_some() || is_refusal(reason) => Status::Refused,
        () if !reply.tool_calls.is_empty() => Status::ToolCalls,
        () if is_blank => Status::Empty,
        () if is_cut(reason) => Status::Cut,
        () => Status::Ok,
    };
    completion.raw = (answer != reply.text).then_some(reply.text);
    completion.text = Some(answer);
    completion.refusal = reply.refusal;
    completion.tool_calls = (!reply.tool_calls.is_empty()).then(|| reply.tool_calls.into());
    completion.finish_reason = reply.finish_reason;
}

/// Returns a completion that a dataset or a file already has: a text, with its reasoning if it has some.
pub(in crate::stage) fn given(text: String, id: &str, sample: u32) -> Completion {
    let mut completion = Completion::missing(id, sample, Status::Failed);
    shape(Reply { text, ..Reply::default() }, ReasoningTags::known(), &mut completion);
    completion
}

/// Counts the shapes of a node's completions.
#[derive(Default)]
pub(crate) struct Shapes {
    answered: u64,
    /// By reason why they ended; none where the server gives no reason.
    empty: BTreeMap<Option<String>, u64>,
    empty_with_reasoning: u64,
    refused: BTreeMap<Option<String>, u64>,
    tool_calls: u64,
    /// All that ran out of tokens, the empty ones among them.
    cut: u64,
    cut_with_text: u64,
}

impl Shapes {
    /// Counts a completion.
    pub fn add(&mut self, status: Status, reason: Option<&str>, has_reasoning: bool) {
        if !status.is_answered() {
            return;
        }
        self.answered += 1;
        self.cut += u64::from(is_cut(reason));
        match status {
            Status::Empty => {
                *self.empty.entry(reason.map(str::to_owned)).or_default() += 1;
                self.empty_with_reasoning += u64::from(has_reasoning);
            }
            Status::Refused => *self.refused.entry(reason.map(str::to_owned)).or_default() += 1,
            Status::ToolCalls => self.tool_calls += 1,
            _ => {}
        }
        self.cut_with_text += u64::from(is_cut(reason) && status != Status::Empty);
    }

    /// Adds the shares of the answers that are empty, refused, calls of tools, and cut off. If rows have several
    /// samples, the shares have no interval: samples of one row are no independent answers.
    pub fn add_to(&self, values: &mut IndexMap<String, Estimate>, samples: u32) {
        let counts = [self.empty.values().sum(), self.refused.values().sum(), self.tool_calls, self.cut];
        for (name, count) in SHARES.into_iter().zip(counts) {
            let n = self.answered;
            let mut estimate =
                Estimate { value: (n > 0).then(|| count as f64 / n as f64), low: None, high: None, n, missing: 0 };
            if n > 0 && samples == 1 {
                let interval = share_interval(count as f64, n as f64);
                (estimate.low, estimate.high) = (interval.map(|it| it.low), interval.map(|it| it.high));
            }
            values.insert(name.to_owned(), estimate);
        }
    }

    /// Returns what there is to say of unusual answers.
    pub fn notes(&self) -> Vec<String> {
        let n = self.answered;
        let mut notes = Vec::new();
        let empty: u64 = self.empty.values().sum();
        if empty > 0 {
            let mut note = format!("{empty} of {n} answers are empty: {}", by_reason(&self.empty));
            let with_reasoning = match self.empty_with_reasoning {
                0 => String::new(),
                count if count == empty => ", all with reasoning".to_owned(),
                count => format!(", {count} with reasoning"),
            };
            note.push_str(&with_reasoning);
            let is_cut_off = self.empty.keys().any(|reason| is_cut(reason.as_deref()));
            match (is_cut_off, self.empty_with_reasoning > 0) {
                (true, true) => note.push_str("; raise max_tokens or switch reasoning off"),
                (true, false) => note.push_str("; raise max_tokens"),
                (false, _) => {}
            }
            notes.push(note);
        }
        let refused: u64 = self.refused.values().sum();
        if refused > 0 {
            notes.push(format!("{refused} of {n} answers are refusals: {}", by_reason(&self.refused)));
        }
        if self.cut_with_text > 0 {
            notes.push(format!("{} of {n} answers were cut off (length); raise max_tokens", self.cut_with_text));
        }
        if self.tool_calls > 0 {
            notes.push(format!("{} of {n} answers call tools", self.tool_calls));
        }
        notes
    }
}

fn by_reason(counts: &BTreeMap<Option<String>, u64>) -> String {
    let mut counts: Vec<(&str, u64)> =
        counts.iter().map(|(reason, count)| (reason.as_deref().unwrap_or("no reason given"), *count)).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts.iter().map(|(reason, count)| format!("{count} × {reason}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shaped(reply: Reply) -> Completion {
        let mut completion = Completion::missing("1", 0, Status::Failed);
        shape(reply, ReasoningTags::known(), &mut completion);
        completion
    }

    #[test]
    fn each_shape_has_its_status() {
        let text = |text: &str| Reply { text: text.to_owned(), ..Reply::default() };
        let ended = |text: &str, reason: &str| Reply {
            text: text.to_owned(),
            finish_reason: Some(reason.to_owned()),
            ..Reply::default()
        };
        let called = Reply { tool_calls: vec![json!({ "arguments": {}, "name": "f" })], ..Reply::default() };
        for (reply, status) in [
            (text("a"), Status::Ok),
            (text(" \n"), Status::Empty),
            (text("<think>a"), Status::Empty),
            (ended("a", "length"), Status::Cut),
            (ended("", "length"), Status::Empty),
            (ended("a", "content_filter"), Status::Refused),
            (called, Status::ToolCalls),
        ] {
            assert_eq!(shaped(reply.clone()).status, status, "{reply:?}");
        }
        let said = shaped(text("<think>Lyon? Paris?</think>Lyon"));
        assert_eq!((said.text.as_deref(), said.raw()), (Some("Lyon"), Some("<think>Lyon? Paris?</think>Lyon")));
        assert_eq!(said.reasoning.as_deref(), Some("Lyon? Paris?"));
    }

    #[test]
    fn what_is_unusual_is_told() {
        let mut shapes = Shapes::default();
        for _ in 0..20 {
            shapes.add(Status::Empty, Some("length"), true);
        }
        let told =
            "20 of 20 answers are empty: 20 × length, all with reasoning; raise max_tokens or switch reasoning off";
        assert_eq!(shapes.notes(), [told]);
        shapes.add(Status::Failed, None, false);
        shapes.add(Status::Ok, None, false);
        shapes.add(Status::Empty, None, false);
        shapes.add(Status::Refused, Some("content_filter"), false);
        shapes.add(Status::Cut, Some("length"), false);
        assert_eq!(
            shapes.notes(),
            [
                "21 of 24 answers are empty: 20 × length, 1 × no reason given, 20 with reasoning; raise max_tokens or \
                 switch reasoning off",
                "1 of 24 answers are refusals: 1 × content_filter",
                "1 of 24 answers were cut off (length); raise max_tokens",
            ]
        );
        let mut values = IndexMap::new();
        shapes.add_to(&mut values, 1);
        assert_eq!((values["empty"].value, values["cut"].value), (Some(21.0 / 24.0), Some(21.0 / 24.0)));
    }

    proptest! {
        /// A model scores for what it answers to the reader, and for nothing that it thought, declined or called.
        #[test]
        fn only_the_answer_scores(
            said in prop::sample::select(vec!["green", "red", "", "<think>green</think>red", "<think>green", "red</think>green"]),
            thoughts in prop::option::of(prop::sample::select(vec!["green", "red"])),
            refusal in prop::option::of(Just("I can't say green.")),
            reason in prop::option::of(prop::sample::select(vec!["stop", "length", "content_filter"])),
        ) {
            let reply = Reply {
                text: said.to_owned(),
                reasoning: thoughts.map(str::to_owned),
                refusal: refusal.map(str::to_owned),
                finish_reason: reason.map(str::to_owned),
                ..Reply::default()
            };
            let completion = shaped(reply);
            let metric = crate::metric::find("exact_match").unwrap().make(&serde_json::Map::new(), std::path::Path::new(".")).unwrap();
            let (prediction, reference) = (json!(completion.text), json!("green"));
            let scored = crate::metric::Scored { prediction: Some(&prediction), reference: Some(&reference), ..Default::default() };
            let is_right = matches!(said, "green" | "red</think>green");
            prop_assert_eq!(metric.score(&scored).unwrap(), Some(json!(u8::from(is_right))), "{:?}", completion);
        }

        #[test]
        fn status_and_text_agree(
            text in r"(<think>|</think>|[a-z \n`]){0,8}",
            reason in prop::option::of(prop::sample::select(vec!["stop", "length", "content_filter", "odd"])),
            calls in 0..2_usize,
            thoughts in prop::option::of("[a-z ]{0,4}"),
        ) {
            let reply = Reply {
                text: text.clone(),
                reasoning: thoughts,
                tool_calls: vec![json!({ "arguments": {}, "name": "f" }); calls],
                finish_reason: reason.map(str::to_owned),
                ..Reply::default()
            };
            let said = shaped(reply);
            let answer = said.text.clone().unwrap();
            prop_assert_eq!(said.raw(), Some(text.as_str()));
            prop_assert!(!answer.trim_start().starts_with("<think>"));
            match said.status {
                Status::Ok => prop_assert!(!answer.trim().is_empty() && reason != Some("length") && calls == 0),
                Status::Empty => prop_assert!(answer.trim().is_empty() && calls == 0),
                Status::Cut => prop_assert!(!answer.trim().is_empty() && reason == Some("length")),
                Status::Refused => prop_assert_eq!(reason, Some("content_filter")),
                Status::ToolCalls => prop_assert!(calls > 0 && said.tool_calls.is_some()),
                Status::Failed | Status::Unknown => prop_assert!(false),
            }
        }
    }
}
