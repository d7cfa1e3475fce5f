//! Reads which of several labels a reply names.

use std::sync::LazyLock;

use regex::Regex;

use super::{after_tag, body_of, is_length, lines, pattern};
use crate::row::VerdictStatus;

static TAGGED_LABEL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?im)\A\s*[*_]*\s*[:：]\s*(.*?)[ \t\r]*$"));

static BRACKETED_LABEL: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[\[\s*([^\[\]\n]+?)\s*\]\]"));

static LABELLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?im)^[\s>*#_`-]*(?:my\s+)?(?:final\s+)?(?:verdict|answer|label|class|category|result|decision|choice)\s*(?:is)?\s*[*_]*\s*[:：]\s*(.+?)\s*$",
    )
});

/// What was read from the reply to a classification.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReading {
    pub status: VerdictStatus,
    /// The label as the settings spell it.
    pub label: Option<String>,
}

/// Reads which of several labels a reply names. With a tag, that is the label in the last line `VERDICT-<tag>: label`.
/// Without one it is the label in the last double brackets, in a line that says it is the verdict, or alone in the last
/// line. Case and marks around a label do not matter.
pub fn read_label(text: &str, labels: &[String], finish_reason: Option<&str>, tag: Option<&str>) -> LabelReading {
    let of = |status, label| LabelReading { status, label };
    let body = match body_of(text) {
        Ok(body) => body,
        Err((status, _)) => return of(status, None),
    };
    let plain = |text: &str| {
        let marks = |c: char| c.is_whitespace() || "*_`\"'[]().!<>".contains(c);
        text.trim_matches(marks).to_lowercase()
    };
    let known = |text: &str| labels.iter().find(|label| plain(label) == plain(text)).cloned();
    let last_of = |pattern: &Regex| pattern.captures_iter(body).last().map(|found| found[1].to_owned());
    let missing = || if is_length(finish_reason) { VerdictStatus::Truncated } else { VerdictStatus::Unparsable };
    let judged = |said: Option<&String>, status: VerdictStatus| {
        said.map(|said| match known(said) {
            Some(label) => of(status, Some(label)),
            // The reply names two labels where one was asked for, or a label that does not exist.
            None if labels.iter().filter(|label| said.to_lowercase().contains(&plain(label))).count() > 1 => {
                of(VerdictStatus::Ambiguous, None)
            }
            None => of(VerdictStatus::InvalidLabel, None),
        })
    };
    if let Some(tag) = tag {
        let said: Vec<(usize, String)> = after_tag(body, tag)
            .filter_map(|(start, rest)| Some((start, TAGGED_LABEL.captures(rest)?[1].to_owned())))
            .collect();
        let Some((last, label)) = said.last() else {
            return of(missing(), None);
        };
        // Two different labels on the last line contradict each other.
        let line = body[..*last].rfind('\n').map_or(0, |at| at + 1);
        if said.iter().filter(|(start, _)| *start >= line).count() > 1 {
            return of(VerdictStatus::Ambiguous, None);
        }
        return judged(Some(label), VerdictStatus::Ok).unwrap_or_else(|| of(missing(), None));
    }
    let last = lines(body).filter(|line| !line.trim().is_empty()).last().map(str::to_owned);
    judged(last_of(&BRACKETED_LABEL).as_ref(), VerdictStatus::Ok)
        .or_else(|| judged(last_of(&LABELLED).as_ref(), VerdictStatus::Repaired))
        .or_else(|| last.and_then(|line| known(&line)).map(|label| of(VerdictStatus::Repaired, Some(label))))
        .unwrap_or_else(|| of(missing(), None))
}
