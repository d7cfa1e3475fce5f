//! Training examples from judged rows, in the columns that TRL and axolotl read.
//!
//! | kind | columns |
//! |---|---|
//! | SFT | `messages`: what was asked, and the answer to learn |
//! | DPO | `prompt`: what was asked; `chosen` and `rejected`: two answers, each a list of one message |
//!
//! Every example has the `id` of its row. A row that makes no example is left out for a reason, which is counted.

use serde_json::{Map, Value, json};

use crate::execute::{RowResult, ShownRow};
use crate::provider::Message;
use crate::row::{Completion, Status, is_cut};

/// Why a row makes no example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// The same row, or the same question, is held out in this pipeline.
    HeldOut,
    /// What was asked cannot be rendered any more, or nothing was asked.
    NoPrompt,
    /// An answer is missing or empty.
    NoAnswer,
    /// The answer to learn was cut off, or declines.
    Unfinished,
    /// Neither answer was preferred.
    Tie,
    /// There is no valid verdict.
    NoVerdict,
    /// Both answers are the same text.
    Same,
    /// The answer to prefer was scored no better.
    NotBetter,
    /// One answer is much longer than the other.
    Lengths,
}

impl LeftOut {
    /// Returns the reason in words, as what stands behind a count.
    pub fn words(self) -> &'static str {
        match self {
            LeftOut::HeldOut => "that are held out by another dataset of the pipeline",
            LeftOut::NoPrompt => "without a prompt",
            LeftOut::NoAnswer => "without an answer",
            LeftOut::Unfinished => "whose answer to learn was cut off or declined",
            LeftOut::Tie => "tied",
            LeftOut::NoVerdict => "without a verdict",
            LeftOut::Same => "with the same text twice",
            LeftOut::NotBetter => "where the answer to prefer was scored no better",
            LeftOut::Lengths => "whose answers differ too much in length",
        }
    }
}

/// Makes an example of one answer.
///
/// # Errors
///
/// What was asked, or the answer, is missing.
pub fn sft(id: &str, prompt: Option<&[Message]>, answer: Option<&str>) -> Result<Map<String, Value>, LeftOut> {
    let mut messages = asked(prompt)?;
    messages.push(said(text(answer)?));
    let mut example = Map::new();
    example.insert("id".to_owned(), id.into());
    example.insert("messages".to_owned(), messages.into());
    Ok(example)
}

/// Makes an example of two answers. With `ratio`, the longer one has at most so many times the characters of the other:
/// preferences otherwise teach length (Park et al. 2024, arXiv 2403.19159).
///
/// # Errors
///
/// What was asked, or an answer, is missing; the answers are the same, or differ too much in length.
pub fn dpo(
    id: &str,
    prompt: Option<&[Message]>,
    (chosen, rejected): (Option<&str>, Option<&str>),
    ratio: Option<f64>,
) -> Result<Map<String, Value>, LeftOut> {
    let (asked, chosen, rejected) = (asked(prompt)?, text(chosen)?, text(rejected)?);
    if chosen.trim() == rejected.trim() {
        return Err(LeftOut::Same);
    }
    let (a, b) = (chosen.chars().count() as f64, rejected.chars().count() as f64);
    if ratio.is_some_and(|ratio| a.max(b) > ratio * a.min(b)) {
        return Err(LeftOut::Lengths);
    }
    let mut example = Map::new();
    example.insert("id".to_owned(), id.into());
    example.insert("prompt".to_owned(), asked.into());
    example.insert("chosen".to_owned(), json!([said(chosen)]));
    example.insert("rejected".to_owned(), json!([said(rejected)]));
    Ok(example)
}

/// Returns the preferred answer of a comparison and the other. `people` is what people said of it, as a sum: above 0 where
/// they preferred the first, which then counts instead of the judge.
///
/// # Errors
///
/// Neither is preferred, or nobody said so.
pub fn preferred(row: &ShownRow, people: Option<i64>) -> Result<(&str, &str), LeftOut> {
    let RowResult::Judgement(judgement, _) = &row.result else { return Err(LeftOut::NoVerdict) };
    let own = row.completion.as_ref().and_then(|completion| completion.text.as_deref()).ok_or(LeftOut::NoAnswer)?;
    let other = row.baseline.as_ref().and_then(|completion| completion.text.as_deref()).ok_or(LeftOut::NoAnswer)?;
    let verdict = match people {
        Some(0) => "tie",
        Some(sum) if sum > 0 => "win",
        Some(_) => "loss",
        None => judgement.verdict.as_deref().ok_or(LeftOut::NoVerdict)?,
    };
    let (chosen, texts) = match verdict {
        "win" | "win+" | "half_win" => (&row.completion, (own, other)),
        "loss" | "loss+" | "half_loss" => (&row.baseline, (other, own)),
        _ => return Err(LeftOut::Tie),
    };
    if chosen.as_ref().is_some_and(is_whole) { Ok(texts) } else { Err(LeftOut::Unfinished) }
}

/// Returns true for an answer that came to its own end: a model that learns others learns to stop in the middle.
pub fn is_whole(completion: &Completion) -> bool {
    completion.status == Status::Ok && !is_cut(completion.finish_reason.as_deref())
}

fn asked(prompt: Option<&[Message]>) -> Result<Vec<Value>, LeftOut> {
    let messages = prompt.filter(|messages| !messages.is_empty()).ok_or(LeftOut::NoPrompt)?;
    Ok(messages.iter().map(|message| serde_json::to_value(message).unwrap_or_default()).collect())
}

fn text(answer: Option<&str>) -> Result<&str, LeftOut> {
    answer.filter(|answer| !answer.trim().is_empty()).ok_or(LeftOut::NoAnswer)
}

fn said(text: &str) -> Value {
    json!({ "role": "assistant", "content": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt() -> Vec<Message> {
        vec![serde_json::from_value(json!({ "role": "user", "content": "Where is it?" })).unwrap()]
    }

    #[test]
    fn examples_have_the_columns_that_trainers_read() {
        let asked = prompt();
        let example = Value::Object(sft("1", Some(&asked), Some("Here.")).unwrap());
        let expected = json!({ "id": "1", "messages": [
            { "role": "user", "content": "Where is it?" }, { "role": "assistant", "content": "Here." }
        ] });
        assert_eq!(example, expected);
        let example = Value::Object(dpo("1", Some(&asked), (Some("Here."), Some("No idea.")), None).unwrap());
        let expected = json!({
            "id": "1", "prompt": [{ "role": "user", "content": "Where is it?" }],
            "chosen": [{ "role": "assistant", "content": "Here." }],
            "rejected": [{ "role": "assistant", "content": "No idea." }],
        });
        assert_eq!(example, expected);
    }

    #[test]
    fn what_makes_no_example_has_a_reason() {
        let asked = prompt();
        assert_eq!(sft("1", None, Some("a")), Err(LeftOut::NoPrompt));
        assert_eq!(sft("1", Some(&[]), Some("a")), Err(LeftOut::NoPrompt));
        assert_eq!(sft("1", Some(&asked), Some(" \n")), Err(LeftOut::NoAnswer));
        let pair = |chosen, rejected, ratio| dpo("1", Some(&asked), (Some(chosen), Some(rejected)), ratio).unwrap_err();
        assert_eq!(pair("a", "a ", None), LeftOut::Same);
        assert_eq!(pair("äöü", "äöüäöüä", Some(2.0)), LeftOut::Lengths);
        assert!(dpo("1", Some(&asked), (Some("äöü"), Some("äöüäöü")), Some(2.0)).is_ok());
    }
}
