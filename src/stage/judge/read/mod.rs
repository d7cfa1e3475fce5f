//! Verdicts: what a judge's reply says, read tolerantly and never guessed.
//!
//! The last verdict counts. Verdicts that contradict each other on one line are ambiguous; on different lines they set
//! `conflict`. A score outside the scale is not a score. If the prompt carried a tag, only verdicts with that tag
//! count, so that text quoted from a candidate cannot vote.
//!
//! The rules and their test vectors are those of `tests/vectors/verdict_parse.json`.
//!
//! | file | reads |
//! |---|---|
//! | `choice` | which of two completions is better |
//! | `scores` | a score per criterion |
//! | `label` | one of several labels |

mod choice;
mod label;
mod scores;

use regex::Regex;

use crate::row::VerdictStatus;
use crate::text::ReasoningTags;

pub use choice::{Choice, PairReading, read_pair};
pub use label::{LabelReading, read_label};
pub(crate) use scores::normal_key;
pub use scores::{RubricReading, Scale, read_rubric};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is constant")
}

/// What was read from a reply: a reading has a status and may carry notes.
trait Reading {
    fn status(&mut self) -> &mut VerdictStatus;

    /// Takes a note of what was odd.
    fn note(&mut self, _note: &str) {}
}

/// Reads what a reply says behind its reasoning.
///
/// Where only the end of the reasoning is marked and nothing behind it is a verdict, that mark was most likely quoted
/// from a candidate, and the whole reply is read.
fn read_answer<R: Reading>(text: &str, of: impl Fn(VerdictStatus) -> R, read: impl Fn(&str) -> R) -> R {
    if text.trim().is_empty() {
        return of(VerdictStatus::Empty);
    }
    let said = ReasoningTags::known().split(text);
    if said.is_open && said.ended == 0 && said.answer.trim().is_empty() {
        let mut reading = of(VerdictStatus::Truncated);
        reading.note("truncated_reasoning");
        return reading;
    }
    let mut reading = read(&said.answer);
    if said.is_unopened && !reading.status().is_valid() {
        let mut of_all = read(text);
        if of_all.status().is_valid() {
            *of_all.status() = VerdictStatus::Repaired;
            of_all.note("quoted_reasoning_tag");
            reading = of_all;
        }
    }
    reading
}

/// Returns what follows each `VERDICT-<tag>` in any case, and the offset where that begins.
fn after_tag<'a>(text: &'a str, tag: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let needle = format!("verdict-{tag}").to_ascii_lowercase();
    // Only ASCII letters change, so offsets are the same as in the text itself.
    let lower = text.to_ascii_lowercase();
    let starts: Vec<usize> = lower.match_indices(&needle).map(|(start, _)| start).collect();
    starts.into_iter().map(move |start| (start, &text[start + needle.len()..]))
}

/// Splits at every line boundary that Unicode knows.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    const SCALE: Scale = Scale { low: 1.0, high: 5.0, fractional: false };

    #[test]
    fn a_last_line_that_says_more_is_not_passed_over() {
        let read = |text: &str| read_pair(text, true, None, Some("ab12cd34")).status;
        let echo =
            "I end with\nVERDICT-ab12cd34: A\nor\nVERDICT-ab12cd34: B\n\nVERDICT-ab12cd34: A because it is right";
        assert_eq!(read(echo), VerdictStatus::Ambiguous);
        assert_eq!(
            read("VERDICT-ab12cd34: A\nOn reflection:\nVERDICT-ab12cd34: B (B is correct)"),
            VerdictStatus::Ambiguous
        );
        assert_eq!(read("VERDICT-ab12cd34: A\nVERDICT-ab12cd34: B"), VerdictStatus::Ok);
        let labels = ["right".to_owned(), "wrong".to_owned()];
        let label = |text: &str| read_label(text, &labels, None, Some("ab12cd34"));
        assert_eq!(label("VERDICT-ab12cd34: right or VERDICT-ab12cd34: wrong").status, VerdictStatus::Ambiguous);
        assert_eq!(label("VERDICT-ab12cd34: right\nVERDICT-ab12cd34: wrong").label.as_deref(), Some("wrong"));
    }

    #[test]
    fn a_tag_binds() {
        let pair = |text: &str| read_pair(text, true, None, Some("ab12cd34")).verdict;
        assert_eq!(pair("The response says [[A]].\nVERDICT-ab12cd34: B"), Some(Choice::B));
        assert_eq!(pair("[[A]]"), None);
        assert_eq!(pair("VERDICT-00000000: A"), None);
        assert_eq!(pair("**VERDICT-ab12cd34: tie**"), Some(Choice::Tie));
        assert_eq!(pair("VERDICT-ab12cd34: `Response B`."), Some(Choice::B));
        // Replies that say more than one verdict are unreadable; the judge is asked again, and nothing is guessed.
        for text in [
            "A tie",
            "A and B are equally good",
            "A/B",
            "A is much worse than B",
            "[A|B|TIE]",
            "A or VERDICT-ab12cd34: B",
        ] {
            assert_eq!(pair(&format!("VERDICT-ab12cd34: {text}")), None, "{text}");
        }
        let criteria = ["tone".to_owned()];
        let rubric = |text: &str| read_rubric(text, &criteria, SCALE, None, Some("ab12cd34")).scores[0].1;
        assert_eq!(rubric(r#"It says {"tone": 5}. {"tag": "ab12cd34", "tone": 2}"#), Some(2.0));
        assert_eq!(rubric(r#"{"tag": "ab12cd34", "tone": 2} and {"tone": 5}"#), Some(2.0));
        assert_eq!(rubric(r#"{"tone": 5}"#), None);
    }

    #[test]
    fn hostile_replies_are_cheap_and_never_score_outside_the_scale() {
        let criteria = ["tone".to_owned()];
        for text in [
            "{".repeat(200_000),
            "{\"a\":".repeat(100_000),
            "[[A]".repeat(50_000),
            r#"{"tone": 9}"#.to_owned(),
            r#"{"tone": 1e999}"#.to_owned(),
            "{\"tone\": 5".to_owned(),
            format!("{{\"x\": {}{}, \"y\": 1}}", "[".repeat(100_000), "]".repeat(100_000)),
            format!("{}{}", "{\"a\":".repeat(50_000), "}".repeat(50_000)),
        ] {
            let reading = read_rubric(&text, &criteria, SCALE, None, None);
            assert_eq!(reading.scores[0].1, None, "{:.30}", text);
            read_pair(&text, true, None, None);
        }
    }
}
