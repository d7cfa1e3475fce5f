//! Verdicts: what a judge's reply says, read tolerantly and never guessed.
//!
//! The last verdict counts; verdicts that contradict each other on one line are ambiguous, on
//! different lines they set `conflict`. A score outside the scale is no score. Where the prompt
//! carried a tag, only verdicts with that tag count: text quoted from a candidate cannot vote.
//!
//! The rules and their test vectors are those of `tests/vectors/verdict_parse.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::row::VerdictStatus;

const TOKEN: &str = r"A\s*>>\s*B|A\s*>\s*B|A\s*<<\s*B|A\s*<\s*B|B\s*>>\s*A|B\s*>\s*A|B\s*<<\s*A|B\s*<\s*A|A\s*=\s*B|B\s*=\s*A|A|B|C|TIE";

static THINK_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)</think\s*>"));
static THINK_START: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^\s*<think\s*>"));
static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i)\[\[\s*({TOKEN})\s*\]\]")));
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?im)^[\s>*#_`-]*(?:my\s+)?(?:final\s+)?(?:verdict|answer|winner|result|decision|choice)\s*(?:is)?\s*[*_]*\s*[:：]?\s*[*_]*\s*[\[("'`]*\s*(?:(?:assistant|response|answer|model|output)\s+)?({TOKEN})\b\s*[\])"'`*_.!]*\s*$"#
    ))
});
/// What stands behind a tag: a verdict; one that ends its line.
const BEHIND: &str =
    r#"(?im)\A\s*[*_]*\s*[:：]\s*[*_\[("'`]*\s*(?:(?:assistant|response|answer|model|output)\s+)?(TOKEN)\b"#;
static TAGGED: LazyLock<Regex> = LazyLock::new(|| pattern(&BEHIND.replace("TOKEN", TOKEN)));
static TAGGED_STRICT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"{}\s*[\])"'`*_.!]*[ \t\r]*$"#, BEHIND.replace("TOKEN", TOKEN))));
static TAGGED_LABEL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?im)\A\s*[*_]*\s*[:：]\s*(.*?)[ \t\r]*$"));
static BRACKETED_LABEL: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[\[\s*([^\[\]\n]+?)\s*\]\]"));
static LABELLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?im)^[\s>*#_`-]*(?:my\s+)?(?:final\s+)?(?:verdict|answer|label|class|category|result|decision|choice)\s*(?:is)?\s*[*_]*\s*[:：]\s*(.+?)\s*$",
    )
});
static ALONE: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r#"(?i)^[\s*_`"'\[(]*({TOKEN})[\s*_`"'\]).!]*$"#)));
static SCORE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^([+-]?[0-9]+(?:\.[0-9]+)?)(?:\s*(?:/|out\s+of)\s*([0-9]+))?$"));
static LITERAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(True|False|None)\b"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is constant")
}

/// Which of two responses is better; `+` means by far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    A,
    AStrong,
    B,
    BStrong,
    Tie,
}

impl Verdict {
    /// Returns the label: `A`, `A+`, `B`, `B+`, `tie`.
    pub fn label(self) -> &'static str {
        match self {
            Verdict::A => "A",
            Verdict::AStrong => "A+",
            Verdict::B => "B",
            Verdict::BStrong => "B+",
            Verdict::Tie => "tie",
        }
    }

    fn of(token: &str) -> Verdict {
        let token: String = token.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
        match token.as_str() {
            "A" | "A>B" | "B<A" => Verdict::A,
            "A>>B" | "B<<A" => Verdict::AStrong,
            "B" | "B>A" | "A<B" => Verdict::B,
            "B>>A" | "A<<B" => Verdict::BStrong,
            _ => Verdict::Tie,
        }
    }

    /// The side, without how strongly.
    fn side(self) -> u8 {
        match self {
            Verdict::A | Verdict::AStrong => 0,
            Verdict::B | Verdict::BStrong => 1,
            Verdict::Tie => 2,
        }
    }
}

/// A comparison, read.
#[derive(Clone, Debug, PartialEq)]
pub struct PairReading {
    pub status: VerdictStatus,
    pub verdict: Option<Verdict>,
    /// Earlier lines said something else.
    pub conflict: bool,
    pub notes: Vec<String>,
}

/// Scores, read.
#[derive(Clone, Debug, PartialEq)]
pub struct RubricReading {
    pub status: VerdictStatus,
    /// By criterion; none where missing.
    pub scores: Vec<(String, Option<f64>)>,
    /// Why a criterion has no score.
    pub errors: BTreeMap<String, String>,
    pub notes: Vec<String>,
    /// The judge's own words, where the object has them.
    pub reason: Option<String>,
}

/// The scale of a rubric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
    /// Whether scores between whole numbers are allowed.
    pub fractional: bool,
}

/// Drops reasoning up to the last `</think>`; none where it never ended.
fn without_reasoning(text: &str) -> Option<&str> {
    if let Some(end) = THINK_END.find_iter(text).last() {
        return Some(&text[end.end()..]);
    }
    (!THINK_START.is_match(text)).then_some(text)
}

/// Reads a comparison.
pub fn read_pair(text: &str, allow_tie: bool, finish_reason: Option<&str>, tag: Option<&str>) -> PairReading {
    let mut reading =
        PairReading { status: VerdictStatus::Unparsable, verdict: None, conflict: false, notes: Vec::new() };
    if text.trim().is_empty() {
        reading.status = VerdictStatus::Empty;
        return reading;
    }
    let Some(body) = without_reasoning(text) else {
        reading.status = VerdictStatus::Truncated;
        reading.notes.push("truncated_reasoning".to_owned());
        return reading;
    };
    let verdicts = match tag {
        Some(tag) => tagged(body, tag, &mut reading),
        None => untagged(body, &mut reading),
    };
    if reading.status == VerdictStatus::Ambiguous {
        return reading;
    }
    let Some(last) = verdicts.last().copied() else {
        if is_length(finish_reason) {
            reading.status = VerdictStatus::Truncated;
        }
        return reading;
    };
    reading.verdict = Some(last);
    reading.conflict = verdicts.iter().any(|verdict| verdict.side() != last.side());
    if last == Verdict::Tie && !allow_tie {
        reading.status = VerdictStatus::InvalidLabel;
        reading.verdict = None;
    }
    reading
}

/// Returns what stands behind each `VERDICT-<tag>`, and where that begins. Case does not count.
fn after_tag<'a>(text: &'a str, tag: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let needle = format!("verdict-{tag}").to_ascii_lowercase();
    // As long as the text itself: only ASCII letters change.
    let lower = text.to_ascii_lowercase();
    let starts: Vec<usize> = lower.match_indices(&needle).map(|(start, _)| start).collect();
    starts.into_iter().map(move |start| (start, &text[start + needle.len()..]))
}

fn tagged(body: &str, tag: &str, reading: &mut PairReading) -> Vec<Verdict> {
    let found = |pattern: &Regex, text: &str| -> Vec<(usize, Verdict)> {
        after_tag(text, tag)
            .filter_map(|(start, rest)| Some((start, Verdict::of(&pattern.captures(rest)?[1]))))
            .collect()
    };
    // Loose: every verdict that a line names. Strict: a verdict that ends its line, as asked for.
    let hits = found(&TAGGED_STRICT, body);
    let Some((last, _)) = hits.last() else {
        return Vec::new();
    };
    reading.status = VerdictStatus::Ok;
    // A later verdict that does not end its line ("… A, because") is not passed over for an earlier one.
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

fn untagged(body: &str, reading: &mut PairReading) -> Vec<Verdict> {
    let hits: Vec<(usize, Verdict)> = BRACKETS
        .captures_iter(body)
        .filter_map(|found| Some((found.get(0)?.start(), Verdict::of(&found[1]))))
        .collect();
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
    let mut verdicts: Vec<Verdict> = LINE.captures_iter(body).map(|found| Verdict::of(&found[1])).collect();
    if !verdicts.is_empty() {
        reading.notes.push("labelled_line".to_owned());
    } else if let Some(found) =
        lines(body).filter(|line| !line.trim().is_empty()).last().and_then(|line| ALONE.captures(line))
    {
        verdicts.push(Verdict::of(&found[1]));
        reading.notes.push("bare_last_line".to_owned());
    }
    if !verdicts.is_empty() {
        reading.status = VerdictStatus::Repaired;
    }
    verdicts
}

/// A label, read.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReading {
    pub status: VerdictStatus,
    /// As the labels have it.
    pub label: Option<String>,
}

/// Reads which of several labels a reply names: in the last line `VERDICT-<tag>: label` where there is a
/// tag; else in the last double brackets, in a line that says it is the verdict, or alone in the last
/// line. Case and marks around a label do not count.
pub fn read_label(text: &str, labels: &[String], finish_reason: Option<&str>, tag: Option<&str>) -> LabelReading {
    let of = |status, label| LabelReading { status, label };
    if text.trim().is_empty() {
        return of(VerdictStatus::Empty, None);
    }
    let Some(body) = without_reasoning(text) else {
        return of(VerdictStatus::Truncated, None);
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
            // Two labels where one was asked for, or one that there is not.
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
        // Two of them on the last line say two things.
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

/// Splits at every line boundary that Unicode knows.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    })
}

/// Returns true where the model ran out of tokens.
pub fn is_length(finish_reason: Option<&str>) -> bool {
    matches!(finish_reason, Some("length" | "max_tokens" | "MAX_TOKENS" | "model_context_window_exceeded"))
}

/// Returns true where the provider or the model declined.
pub fn is_refusal(finish_reason: Option<&str>) -> bool {
    matches!(finish_reason, Some("refusal" | "content_filter" | "SAFETY"))
}

/// Characters that the search for objects may look at: a reply of nothing but `{` stays cheap.
const SEARCH_BUDGET: usize = 20_000_000;

/// Returns the top-level balanced `{…}`, and whether one was left open.
fn objects(text: &str) -> (Vec<&str>, bool) {
    let bytes = text.as_bytes();
    let (mut found, mut is_open, mut at, mut looked_at) = (Vec::new(), false, 0, 0);
    while let Some(offset) = text[at..].find('{') {
        let start = at + offset;
        let (mut depth, mut in_string, mut escaped, mut end) = (0, false, false, None);
        for (index, byte) in bytes[start..].iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' if !in_string => depth += 1,
                b'}' if !in_string => {
                    depth -= 1;
                    if depth == 0 {
                        end = Some(start + index + 1);
                        break;
                    }
                }
                _ => {}
            }
        }
        looked_at += end.unwrap_or(bytes.len()) - start;
        match end {
            Some(end) => {
                found.push(&text[start..end]);
                at = end;
            }
            None => {
                is_open = true;
                at = start + 1;
            }
        }
        if looked_at > SEARCH_BUDGET {
            break;
        }
    }
    (found, is_open)
}

/// Why a text is no object.
#[derive(Debug, PartialEq)]
enum Defect {
    /// A key stands twice with different values.
    Duplicate,
    Syntax,
}

/// Parses strictly: RFC 8259, and no key twice with different values, at any depth.
fn strict(text: &str) -> Result<Value, Defect> {
    strict_within(text, MAX_DEPTH)
}

/// Levels that a verdict may nest: none needs more than a few.
const MAX_DEPTH: usize = 32;

fn strict_within(text: &str, depth: usize) -> Result<Value, Defect> {
    if depth == 0 {
        return Err(Defect::Syntax);
    }
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut map = Map::new();
            for (key, raw) in entries(text)? {
                let value = strict_within(raw.get(), depth - 1)?;
                if map.get(&key).is_some_and(|earlier| *earlier != value) {
                    return Err(Defect::Duplicate);
                }
                map.insert(key, value);
            }
            Ok(Value::Object(map))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Defect::Syntax)?;
            items.into_iter().map(|item| strict_within(item.get(), depth - 1)).collect()
        }
        _ => serde_json::from_str(text).map_err(|_| Defect::Syntax),
    }
}

/// Returns the entries of an object, repeated keys included.
fn entries(text: &str) -> Result<Vec<(String, &RawValue)>, Defect> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let entries = deserializer.deserialize_map(Entries).map_err(|_| Defect::Syntax)?;
    deserializer.end().map_err(|_| Defect::Syntax)?;
    Ok(entries)
}

/// Mends what models commonly break; every repair is named. Strings are not touched otherwise, and
/// an object that was never closed stays open.
fn repair(text: &str) -> (String, BTreeSet<&'static str>) {
    let mut out = String::with_capacity(text.len());
    let mut notes = BTreeSet::new();
    let (mut at, mut in_string) = (0, false);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if in_string {
            match c {
                '\\' => {
                    let next = rest[1..].chars().next();
                    if let Some(next) = next.filter(|next| "\"\\/bfnrtu".contains(*next)) {
                        out.push('\\');
                        out.push(next);
                        at += 2;
                        continue;
                    }
                    out.push_str("\\\\");
                    notes.insert("invalid_escape");
                }
                '\n' | '\r' | '\t' => {
                    out.push_str(match c {
                        '\n' => "\\n",
                        '\r' => "\\r",
                        _ => "\\t",
                    });
                    notes.insert("raw_control_char");
                }
                _ => {
                    in_string = c != '"';
                    out.push(c);
                }
            }
            at += c.len_utf8();
            continue;
        }
        if c == ',' && rest[1..].trim_start_matches([' ', '\t', '\r', '\n']).starts_with(['}', ']']) {
            notes.insert("trailing_comma");
            at += 1;
        } else if let Some(literal) = LITERAL.find(rest) {
            out.push_str(match literal.as_str() {
                "True" => "true",
                "False" => "false",
                _ => "null",
            });
            notes.insert("python_literal");
            at += literal.len();
        } else if rest.starts_with("//") {
            notes.insert("comment");
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            in_string = c == '"';
            out.push(c);
            at += c.len_utf8();
        }
    }
    (out, notes)
}

/// Keys match without case, space, `_` and `-`.
fn normal_key(key: &str) -> String {
    key.chars().filter(|c| !c.is_whitespace() && *c != '_' && *c != '-').collect::<String>().to_lowercase()
}

type Coerced = (Result<f64, &'static str>, Option<&'static str>);

fn coerce(value: &Value, scale: Scale) -> Coerced {
    let (number, note) = match value {
        Value::Object(map) => {
            let inner = ["score", "rating", "value", "grade"].iter().find_map(|key| map.get(*key));
            return inner.map_or((Err("missing"), None), |inner| coerce(inner, scale));
        }
        Value::Null => return (Err("missing"), None),
        Value::Bool(_) | Value::Array(_) => return (Err("wrong_type"), None),
        Value::String(text) => {
            let text = text.trim();
            let Some(found) = SCORE.captures(text) else {
                let says_nothing = ["", "n/a", "na", "none", "null", "-"].contains(&text.to_lowercase().as_str());
                return (Err(if says_nothing { "missing" } else { "wrong_type" }), None);
            };
            if found.get(2).is_some_and(|of| of.as_str().parse::<f64>() != Ok(scale.high)) {
                return (Err("scale_mismatch"), None);
            }
            (found[1].parse::<f64>().unwrap_or(f64::NAN), Some("string_number"))
        }
        Value::Number(number) => (number.as_f64().unwrap_or(f64::NAN), None),
    };
    if number.is_nan() {
        return (Err("wrong_type"), None);
    }
    if number != number.trunc() && !scale.fractional {
        return (Err("non_integer"), note);
    }
    if number < scale.low || number > scale.high {
        return (Err("out_of_range"), note);
    }
    (Ok(number), note)
}

/// The best object so far: criteria found, the object, what was repaired.
type Best = (usize, Option<(Map<String, Value>, Map<String, Value>)>, BTreeSet<&'static str>);

/// Reads the scores of a rubric.
pub fn read_rubric(
    text: &str,
    criteria: &[String],
    scale: Scale,
    finish_reason: Option<&str>,
    tag: Option<&str>,
) -> RubricReading {
    let mut reading = RubricReading {
        status: VerdictStatus::Unparsable,
        scores: criteria.iter().map(|criterion| (criterion.clone(), None)).collect(),
        errors: BTreeMap::new(),
        notes: Vec::new(),
        reason: None,
    };
    if text.trim().is_empty() {
        reading.status = VerdictStatus::Empty;
        return reading;
    }
    let Some(body) = without_reasoning(text) else {
        reading.status = VerdictStatus::Truncated;
        reading.notes.push("truncated_reasoning".to_owned());
        return reading;
    };
    let (found, is_open) = objects(body);
    let best = best_object(&found, criteria, tag);
    let Some((_, Some((object, whole)), repairs)) = best else {
        reading.notes = best.map(|(_, _, notes)| notes.into_iter().map(str::to_owned).collect()).unwrap_or_default();
        if is_length(finish_reason) || is_open {
            reading.status = VerdictStatus::Truncated;
        }
        return reading;
    };
    let mut notes: BTreeSet<String> = repairs.into_iter().map(str::to_owned).collect();
    for (criterion, score) in &mut reading.scores {
        let key = if object.contains_key(criterion) {
            Some(criterion.as_str())
        } else {
            let normal = normal_key(criterion);
            object.keys().find(|key| normal_key(key) == normal).map(String::as_str)
        };
        let Some(key) = key else {
            reading.errors.insert(criterion.clone(), "missing".to_owned());
            continue;
        };
        if key != criterion {
            notes.insert("key_normalised".to_owned());
        }
        let (coerced, note) = coerce(&object[key], scale);
        notes.extend(note.map(str::to_owned));
        match coerced {
            Ok(value) => *score = Some(value),
            Err(reason) => {
                reading.errors.insert(criterion.clone(), reason.to_owned());
            }
        }
    }
    reading.reason = ["reason", "reasoning", "rationale", "explanation", "justification"]
        .iter()
        .find_map(|key| whole.get(*key).or(object.get(*key)).and_then(Value::as_str))
        .map(str::to_owned);
    reading.notes = notes.into_iter().collect();
    let scored = reading.scores.iter().filter(|(_, score)| score.is_some()).count();
    reading.status = match scored {
        0 => VerdictStatus::Unparsable,
        n if n < criteria.len() => VerdictStatus::Partial,
        _ if reading.notes.is_empty() => VerdictStatus::Ok,
        _ => VerdictStatus::Repaired,
    };
    reading
}

/// Returns the last object that holds the most criteria.
fn best_object(found: &[&str], criteria: &[String], tag: Option<&str>) -> Option<Best> {
    let mut best: Option<Best> = None;
    for text in found {
        let (parsed, repairs) = match strict(text) {
            Ok(value) => (Ok(value), BTreeSet::new()),
            Err(Defect::Duplicate) => (Err(Defect::Duplicate), BTreeSet::new()),
            Err(Defect::Syntax) => {
                let (mended, notes) = repair(text);
                (strict(&mended), notes)
            }
        };
        let whole = match parsed {
            Ok(Value::Object(whole)) => whole,
            Err(Defect::Duplicate) => {
                best = best.or_else(|| Some((0, None, BTreeSet::from(["duplicate_key"]))));
                continue;
            }
            _ => continue,
        };
        if tag.is_some_and(|tag| whole.get("tag").and_then(Value::as_str) != Some(tag)) {
            continue;
        }
        let inner =
            ["scores", "ratings", "criteria", "evaluation"].iter().filter_map(|key| whole.get(*key)?.as_object());
        for object in std::iter::once(&whole).chain(inner) {
            let keys: BTreeSet<String> = object.keys().map(|key| normal_key(key)).collect();
            let hits = criteria.iter().filter(|criterion| keys.contains(&normal_key(criterion))).count();
            if hits > 0 && best.as_ref().is_none_or(|(most, _, _)| hits >= *most) {
                best = Some((hits, Some((object.clone(), whole.clone())), repairs.clone()));
            }
        }
    }
    best
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
        assert_eq!(pair("The response says [[A]].\nVERDICT-ab12cd34: B"), Some(Verdict::B));
        assert_eq!(pair("[[A]]"), None);
        assert_eq!(pair("VERDICT-00000000: A"), None);
        assert_eq!(pair("**VERDICT-ab12cd34: tie**"), Some(Verdict::Tie));
        assert_eq!(pair("VERDICT-ab12cd34: `Response B`."), Some(Verdict::B));
        // What says more than a verdict is asked again, never guessed.
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
