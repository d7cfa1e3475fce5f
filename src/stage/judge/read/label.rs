//! Reads which of several labels a reply names.

use std::sync::LazyLock;

use regex::Regex;

use super::{Reading, after_tag, lines, pattern, read_answer};
use crate::row::{VerdictStatus, is_cut};

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

impl Reading for LabelReading {
    fn status(&mut self) -> &mut VerdictStatus {
        &mut self.status
    }
}

/// Reads which of several labels a reply names. With a tag, that is the label in the last line `VERDICT-<tag>: label`.
/// Without one it is the label in the last double brackets, in a line that says it is the verdict, or alone in the last
/// line. Case and marks around a label do not matter.
pub fn read_label(text: &str, labels: &[String], finish_reason: Option<&str>, tag: Option<&str>) -> LabelReading {
    let none = |status| LabelReading { status, label: None };
    read_answer(text, none, |body| label_in(body, labels, finish_reason, tag))
}

/// Returns a label in the form in which labels are compared.
fn plain(text: &str) -> String {
    let marks = |c: char| c.is_whitespace() || "*_`\"'[]().!<>".contains(c);
    text.trim_matches(marks).to_lowercase()
}

/// Returns the label with which a text begins, if only remarks follow it (`incorrect (wrong year)`). Of labels that
/// begin alike the longest counts. None if the text names a second label, too.
fn label_before_remark<'a>(said: &str, labels: &'a [String]) -> Option<&'a String> {
    let said = plain(said);
    let begins = |label: &&String| {
        let rest = said.strip_prefix(&plain(label))?.trim_start_matches(['*', '_', '`', '"', '\'', ']']);
        rest.trim_start().starts_with(['(', ',', ';', ':', '-', '–', '—', '.', '\n']).then_some(rest)
    };
    let label = labels.iter().filter(|label| begins(label).is_some()).max_by_key(|label| label.len())?;
    let remark = begins(&label)?;
    let others = named(remark, labels);
    (others.iter().all(|other| *other == label)).then_some(label)
}

/// Returns the labels that a text names as whole words, without those that are only part of a longer one.
fn named<'a>(text: &str, labels: &'a [String]) -> Vec<&'a String> {
    let text = text.to_lowercase();
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut by_length: Vec<&String> = labels.iter().filter(|label| !plain(label).is_empty()).collect();
    by_length.sort_by_key(|label| std::cmp::Reverse(label.len()));
    let mut taken: Vec<(usize, usize)> = Vec::new();
    let mut found = Vec::new();
    for label in by_length {
        let word = plain(label);
        for (start, _) in text.match_indices(&word) {
            let end = start + word.len();
            let is_whole = !is_word(text[..start].chars().next_back()) && !is_word(text[end..].chars().next());
            if is_whole && !taken.iter().any(|(from, to)| start >= *from && end <= *to) {
                taken.push((start, end));
                if !found.contains(&label) {
                    found.push(label);
                }
            }
        }
    }
    found
}

fn label_in(body: &str, labels: &[String], finish_reason: Option<&str>, tag: Option<&str>) -> LabelReading {
    let of = |status, label| LabelReading { status, label };
    let known = |text: &str| labels.iter().find(|label| plain(label) == plain(text)).cloned();
    let last_of = |pattern: &Regex| pattern.captures_iter(body).last().map(|found| found[1].to_owned());
    let missing = || if is_cut(finish_reason) { VerdictStatus::Truncated } else { VerdictStatus::Unparsable };
    let judged = |said: Option<&String>, status: VerdictStatus| {
        said.map(|said| match known(said) {
            Some(label) => of(status, Some(label)),
            None => match label_before_remark(said, labels) {
                Some(label) => of(VerdictStatus::Repaired, Some(label.clone())),
                // The reply names two labels where one was asked for, or a label that does not exist.
                None if named(said, labels).len() > 1 => of(VerdictStatus::Ambiguous, None),
                None => of(VerdictStatus::InvalidLabel, None),
            },
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
    // A label alone in the last line beats what was said, or quoted, on earlier ones.
    let alone = last.and_then(|line| known(&line)).map(|label| of(VerdictStatus::Repaired, Some(label)));
    alone
        .or_else(|| judged(last_of(&BRACKETED_LABEL).as_ref(), VerdictStatus::Ok))
        .or_else(|| judged(last_of(&LABELLED).as_ref(), VerdictStatus::Repaired))
        .unwrap_or_else(|| of(missing(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_within_labels_are_told_apart() {
        let labels = ["correct".to_owned(), "incorrect".to_owned(), "partly correct".to_owned()];
        let read = |text: &str, tag| {
            let LabelReading { status, label } = read_label(text, &labels, None, tag);
            (status, label.unwrap_or_default())
        };
        let tag = Some("ab12cd34");
        for (text, tag, status, label) in [
            ("VERDICT-ab12cd34: incorrect (wrong year)", tag, VerdictStatus::Repaired, "incorrect"),
            ("VERDICT-ab12cd34: partly correct, the year is wrong", tag, VerdictStatus::Repaired, "partly correct"),
            ("VERDICT-ab12cd34: incorrect", tag, VerdictStatus::Ok, "incorrect"),
            ("VERDICT-ab12cd34: correct, not incorrect", tag, VerdictStatus::Ambiguous, ""),
            ("VERDICT-ab12cd34: correct or incorrect", tag, VerdictStatus::Ambiguous, ""),
            ("VERDICT-ab12cd34: not correct", tag, VerdictStatus::InvalidLabel, ""),
            ("VERDICT-ab12cd34: wrong", tag, VerdictStatus::InvalidLabel, ""),
            ("It says [[correct]].\n\n**incorrect**", None, VerdictStatus::Repaired, "incorrect"),
            ("Verdict: correct\nwas quoted.\nVerdict: incorrect", None, VerdictStatus::Repaired, "incorrect"),
            ("VERDICT-ab12cd34: incorrect\nIt wrote </think> at its end.", tag, VerdictStatus::Repaired, "incorrect"),
            ("maybe correct</think>VERDICT-ab12cd34: incorrect", tag, VerdictStatus::Ok, "incorrect"),
        ] {
            assert_eq!(read(text, tag), (status, label.to_owned()), "{text}");
        }
    }
}
