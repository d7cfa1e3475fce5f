//! Reads which of two completions a reply calls better.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::{Reading, after_tag, lines, pattern, read_answer};
use crate::outcome::Outcome;
use crate::row::{VerdictStatus, is_cut};

const TOKEN: &str = r"A\s*>>\s*B|A\s*>\s*B|A\s*<<\s*B|A\s*<\s*B|B\s*>>\s*A|B\s*>\s*A|B\s*<<\s*A|B\s*<\s*A|A\s*=\s*B|B\s*=\s*A|A|B|C|TIE";

static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i)\[\[\s*({TOKEN})\s*\]\]")));

static LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?im)^[\s>*#_`-]*(?:my\s+)?(?:final\s+)?(?:verdict|answer|winner|result|decision|choice)\s*(?:is)?\s*[*_]*\s*[:：]?\s*[*_]*\s*[\[("'`]*\s*(?:(?:assistant|response|answer|model|output)\s+)?({TOKEN})\b\s*[\])"'`*_.!]*\s*$"#
    ))
});

/// What may follow a tag: a verdict, which must end its line.
const BEHIND: &str =
    r#"(?im)\A\s*[*_]*\s*[:：]\s*[*_\[("'`]*\s*(?:(?:assistant|response|answer|model|output)\s+)?(TOKEN)\b"#;

static TAGGED: LazyLock<Regex> = LazyLock::new(|| pattern(&BEHIND.replace("TOKEN", TOKEN)));

static TAGGED_STRICT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"{}\s*[\])"'`*_.!]*[ \t\r]*$"#, BEHIND.replace("TOKEN", TOKEN))));

static ALONE: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r#"(?i)^[\s*_`"'\[(]*({TOKEN})[\s*_`"'\]).!]*$"#)));

/// Which of the two shown completions is better; `+` means by far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    A,
    AStrong,
    B,
    BStrong,
    Tie,
}

impl Choice {
    /// Returns the outcome for one of the two: for the one that was shown first, or for the other.
    pub fn outcome(self, is_first: bool) -> Outcome {
        let of_first = match self {
            Choice::A => Outcome::Win,
            Choice::AStrong => Outcome::StrongWin,
            Choice::B => Outcome::Loss,
            Choice::BStrong => Outcome::StrongLoss,
            Choice::Tie => Outcome::Tie,
        };
        if is_first { of_first } else { of_first.turned() }
    }

    fn of(token: &str) -> Choice {
        let token: String = token.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
        match token.as_str() {
            "A" | "A>B" | "B<A" => Choice::A,
            "A>>B" | "B<<A" => Choice::AStrong,
            "B" | "B>A" | "A<B" => Choice::B,
            "B>>A" | "A<<B" => Choice::BStrong,
            _ => Choice::Tie,
        }
    }

    /// Returns the side alone, without how strong the choice is.
    fn side(self) -> u8 {
        match self {
            Choice::A | Choice::AStrong => 0,
            Choice::B | Choice::BStrong => 1,
            Choice::Tie => 2,
        }
    }
}

/// What was read from the reply to a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct PairReading {
    pub status: VerdictStatus,
    pub verdict: Option<Choice>,
    /// An earlier line said something else.
    pub conflict: bool,
    pub notes: Vec<String>,
}

impl PairReading {
    fn of(status: VerdictStatus) -> PairReading {
        PairReading { status, verdict: None, conflict: false, notes: Vec::new() }
    }
}

impl Reading for PairReading {
    fn status(&mut self) -> &mut VerdictStatus {
        &mut self.status
    }

    fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }
}

/// Reads the reply to a comparison.
pub fn read_pair(text: &str, allow_tie: bool, finish_reason: Option<&str>, tag: Option<&str>) -> PairReading {
    read_answer(text, PairReading::of, |body| pair_in(body, allow_tie, finish_reason, tag))
}

fn pair_in(body: &str, allow_tie: bool, finish_reason: Option<&str>, tag: Option<&str>) -> PairReading {
    let mut reading = PairReading::of(VerdictStatus::Unparsable);
    let verdicts = match tag {
        Some(tag) => tagged(body, tag, &mut reading),
        None => untagged(body, &mut reading),
    };
    if reading.status == VerdictStatus::Ambiguous {
        return reading;
    }
    let Some(last) = verdicts.last().copied() else {
        if is_cut(finish_reason) {
            reading.status = VerdictStatus::Truncated;
        }
        return reading;
    };
    reading.verdict = Some(last);
    reading.conflict = verdicts.iter().any(|verdict| verdict.side() != last.side());
    if last == Choice::Tie && !allow_tie {
        reading.status = VerdictStatus::InvalidLabel;
        reading.verdict = None;
    }
    reading
}

fn tagged(body: &str, tag: &str, reading: &mut PairReading) -> Vec<Choice> {
    let found = |pattern: &Regex, text: &str| -> Vec<(usize, Choice)> {
        after_tag(text, tag)
            .filter_map(|(start, rest)| Some((start, Choice::of(&pattern.captures(rest)?[1]))))
            .collect()
    };
    // Two searches: loose, for every verdict that a line names; strict, for a verdict that ends its line, as asked for.
    let hits = found(&TAGGED_STRICT, body);
    let Some((last, _)) = hits.last() else {
        return Vec::new();
    };
    reading.status = VerdictStatus::Ok;
    // If a later line names a verdict without ending in it ("… A, because"), the earlier verdict does not count.
    let later = found(&TAGGED, body).into_iter().rfind(|(start, _)| start > last);
    if later.is_some_and(|(_, verdict)| hits.last().is_some_and(|(_, said)| said.side() != verdict.side())) {
        reading.status = VerdictStatus::Ambiguous;
        reading.conflict = true;
    }
    let line_start = body[..*last].rfind('\n').map_or(0, |at| at + 1);
    let line = body[line_start..].lines().next().unwrap_or_default();
    let sides: BTreeSet<u8> = found(&TAGGED, line).into_iter().map(|(_, verdict)| verdict.side()).collect();
    if sides.len() > 1 {
        reading.status = VerdictStatus::Ambiguous;
        reading.conflict = true;
    }
    hits.into_iter().map(|(_, verdict)| verdict).collect()
}

fn untagged(body: &str, reading: &mut PairReading) -> Vec<Choice> {
    let hits: Vec<(usize, Choice)> =
        BRACKETS.captures_iter(body).filter_map(|found| Some((found.get(0)?.start(), Choice::of(&found[1])))).collect();
    if let Some((last, _)) = hits.last() {
        reading.status = VerdictStatus::Ok;
        let last_line = body[..*last].rfind('\n').map_or(0, |at| at + 1);
        let sides: BTreeSet<u8> =
            hits.iter().rev().take_while(|(at, _)| *at >= last_line).map(|(_, verdict)| verdict.side()).collect();
        if sides.len() > 1 {
            reading.status = VerdictStatus::Ambiguous;
            reading.conflict = true;
        }
        return hits.into_iter().map(|(_, verdict)| verdict).collect();
    }
    // A verdict that stands alone in the last line beats the lines above it, which may be quoted.
    let last = lines(body).filter(|line| !line.trim().is_empty()).last();
    let alone = last.and_then(|line| ALONE.captures(line)).map(|found| Choice::of(&found[1]));
    let mut verdicts: Vec<Choice> = LINE.captures_iter(body).map(|found| Choice::of(&found[1])).collect();
    if let Some(alone) = alone {
        verdicts.push(alone);
        reading.notes.push("bare_last_line".to_owned());
    } else if !verdicts.is_empty() {
        reading.notes.push("labelled_line".to_owned());
    }
    if !verdicts.is_empty() {
        reading.status = VerdictStatus::Repaired;
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_beats_what_is_quoted_above_it() {
        let read = |text: &str| {
            let reading = read_pair(text, true, None, None);
            (reading.status, reading.verdict)
        };
        let repaired = |choice| (VerdictStatus::Repaired, Some(choice));
        assert_eq!(read("Answer: A\nwhich is wrong.\n\n**B**"), repaired(Choice::B));
        assert_eq!(read("Verdict: A\nis what it asks for.\nVerdict: B"), repaired(Choice::B));
        assert_eq!(read("Verdict: A\nB would be wrong."), repaired(Choice::A));
    }
}
