//! Two runs side by side, as text.

use std::collections::HashMap;

use comfy_table::presets;
use serde_json::{Map, Value};

use super::text::{cut, difference, listed, number, size};
use super::{Tone, counted, printable, toned};
use crate::compare::{Change, Compared, Comparison, Line, Unpaired, Verdict};
use crate::score::Unit;

/// Renders a comparison: the answer first, then each value with its difference, then what cannot be told.
///
/// With `is_verbose` details are shown, too, and values of results that did not change.
pub fn comparison(found: &Comparison, width: Option<usize>, is_verbose: bool) -> String {
    let mut blocks = vec![format!("{}\n{} → {}", answer(found), side(&found.before), side(&found.after))];
    let is_shown = |line: &&Line| is_verbose || line.is_headline() && !line.identical;
    let shown: Vec<&Line> = found.values.iter().filter(is_shown).collect();
    if !shown.is_empty() {
        blocks.push(table(&shown, width));
    }
    let notes = notes(found);
    if !notes.is_empty() {
        blocks.push(notes.join("\n"));
    }
    blocks.join("\n\n")
}

/// Renders what changed since an earlier run, in a line.
pub fn since(found: &Comparison) -> String {
    format!("since {}: {}", printable(found.before.of.name()), answer(found))
}

/// Returns the answer in a line: what is lost, what regressed and improved, what cannot be told.
fn answer(found: &Comparison) -> String {
    let headlines: Vec<&Line> = found.values.iter().filter(|line| line.is_headline() && !line.identical).collect();
    let mut parts = Vec::new();
    let mut add = |tone: Tone, word: &str, names: Vec<String>| {
        let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
        if !names.is_empty() {
            let some = names.iter().take(3).map(|name| printable(name)).collect::<Vec<_>>().join(", ");
            parts.push(format!("{} {some}{more}", toned(tone, word)));
        }
    };
    let lost = |line: &&&Line| line.change.lost > 0;
    let rows = |line: &&Line| format!("{} ({} without a result)", line.name(), counted(line.change.lost, "row"));
    add(Tone::Bad, "LOST", headlines.iter().filter(lost).map(rows).collect());
    add(Tone::Bad, "GONE", found.refused.iter().filter(|one| one.is_loss).map(|one| one.of.clone()).collect());
    for (verdict, tone) in [
        (Verdict::Regressed, Tone::Bad),
        (Verdict::Improved, Tone::Good),
        (Verdict::Changed, Tone::Doubtful),
        (Verdict::Unclear, Tone::Doubtful),
        (Verdict::Same, Tone::Dim),
    ] {
        let is_it = |line: &&&Line| line.change.verdict == verdict;
        add(tone, verdict.word(), headlines.iter().filter(is_it).map(|line| line.name()).collect());
    }
    match parts.is_empty() {
        false => parts.join(" · "),
        true if found.values.is_empty() => "nothing to compare".to_owned(),
        true if found.values.iter().any(|line| !line.identical) => {
            "no headline differs; -v shows the details, which do".to_owned()
        }
        true => format!("{} both runs have the same results", toned(Tone::Dim, Verdict::Same.word())),
    }
}

fn side(side: &Compared) -> String {
    let label = side.of.label.as_ref().map_or_else(String::new, |label| format!(" ({})", printable(label)));
    let model = side.model.as_ref().map_or_else(String::new, |model| format!(":{}", printable(model)));
    format!("{}{model}{label}", printable(&side.of.run))
}

fn table(lines: &[&Line], width: Option<usize>) -> String {
    let is_narrow = width.is_some_and(|width| width < 120);
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    let header = ["", "before", "after", "Δ", "p", "n", "fixed", "broken", "verdict"];
    table.set_header(header);
    for line in lines {
        let change = &line.change;
        let unit = line.reading.unit;
        let (before, after) = change.shared.map_or((line.before.value, line.after.value), |(a, b)| (Some(a), Some(b)));
        let value = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| number(value, unit));
        let rows = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
        let name = printable(&line.name());
        table.add_row([
            if is_narrow { name.replacen('.', "\n.", name.matches('.').count().min(1)) } else { name },
            value(before),
            value(after),
            difference(&change.difference, unit).replacen(' ', if is_narrow { "\n" } else { " " }, 1),
            change.p.map_or_else(|| "–".to_owned(), |p| number(p, Unit::PValue)),
            format!("{}{}", change.difference.n, if change.unpaired.is_none() { "" } else { " unpaired" }),
            rows(line.fixed),
            rows(line.broken),
            verdict(change.verdict),
        ]);
    }
    listed(&mut table, &[0, 8])
}

fn verdict(verdict: Verdict) -> String {
    let tone = match verdict {
        Verdict::Improved => Tone::Good,
        Verdict::Regressed => Tone::Bad,
        Verdict::Changed | Verdict::Unclear => Tone::Doubtful,
        Verdict::Same => Tone::Dim,
    };
    toned(tone, verdict.word())
}

/// Returns what there is to say beside the table.
fn notes(found: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    let unclear = found.values.iter().filter(|line| line.is_headline());
    for line in unclear.filter(|line| line.change.verdict == Verdict::Unclear) {
        let unit = line.reading.unit;
        let mut parts = Vec::new();
        if let Some(smallest) = line.change.smallest {
            parts.push(format!("{} rows show a difference of {}", line.change.difference.n, size(smallest, unit)));
        }
        if let Some(needed) = line.change.rows_needed {
            parts.push(format!("{needed} would tell"));
        }
        if !parts.is_empty() {
            notes.push(format!("UNCLEAR {}: {}", printable(&line.name()), parts.join("; ")));
        }
    }
    let most = |of: fn(&Change) -> u64| found.values.iter().map(|line| of(&line.change)).max().unwrap_or(0);
    for (count, what) in [
        (most(|change| change.alone), "stand in one run only, and are left out"),
        (most(|change| change.changed), "have another content than before, and are left out"),
        (
            most(|change| change.difference.missing),
            "have a valid result in one run only: the interval holds whatever they would have been",
        ),
    ] {
        if count > 0 {
            notes.push(format!("{} {what}", counted(count, "row")));
        }
    }
    let identical = found.values.iter().filter(|line| line.is_headline() && line.identical).count();
    if identical > 0 {
        notes.push(format!("{} of results that did not change: not shown", counted(identical as u64, "headline")));
    }
    for (because, text) in [
        (
            Unpaired::NoScores,
            "the scores row by row of a run are neither beside it nor in the cache (`run --label` keeps them beside the run)",
        ),
        (Unpaired::NotOfRows, "rows do not have the value"),
        (Unpaired::NoSharedRow, "no row stands in both runs"),
    ] {
        let is_it = |line: &&Line| line.is_headline() && line.change.unpaired == Some(because);
        let names: Vec<String> = found.values.iter().filter(is_it).map(|line| printable(&line.name())).collect();
        if !names.is_empty() {
            notes.push(format!("unpaired, and wider than it needs to be: {text}: {}", names.join(", ")));
        }
    }
    notes.extend(found.differs.iter().map(|text| format!("differs: {}", printable(text))));
    notes.extend(
        found.refused.iter().map(|one| format!("not compared: {}: {}", printable(&one.of), printable(&one.because))),
    );
    let tested: Vec<f64> = found.values.iter().filter_map(|line| line.p_holm).collect();
    let holm = tested.iter().filter(|p| **p <= 0.05).count();
    if tested.len() > 1 {
        notes.push(format!(
            "{} headlines, each at 95 %: {holm} differ also after Holm's adjustment for that many looks",
            tested.len()
        ));
    }
    notes
}

/// What is known of a row in both runs: its prompt, completion, scores and reasons.
#[derive(Clone, Debug, Default)]
pub struct RowTexts {
    pub id: String,
    pub before: Option<Map<String, Value>>,
    pub after: Option<Map<String, Value>>,
}

/// Returns how many rows changed, in words.
pub(super) fn turns(line: &Line) -> String {
    let mut parts: Vec<String> = [(line.fixed, "fixed"), (line.broken, "broken")]
        .into_iter()
        .filter_map(|(count, word)| Some(format!("{} {word}", count?)))
        .collect();
    let gained = line.change.difference.missing - line.change.lost;
    for (count, word) in [(line.change.lost, "without a valid result any more"), (gained, "with one that had none")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if parts.is_empty() { "rows that changed".to_owned() } else { parts.join(", ") }
}

/// Returns a row's score as text.
pub(super) fn score(score: Option<f64>, unit: Unit) -> String {
    score.map_or_else(|| "no valid result".to_owned(), |score| number(score, unit))
}

/// Renders the rows that changed, with what led to each.
pub fn flips(line: &Line, texts: &[RowTexts]) -> String {
    let unit = line.reading.unit;
    let mut out = format!("{}: {}\n", printable(&line.name()), turns(line));
    let texts: HashMap<&str, &RowTexts> = texts.iter().map(|texts| (texts.id.as_str(), texts)).collect();
    for flip in &line.flips {
        out.push_str(&format!(
            "── {}  {} → {}\n",
            cut(&flip.id, ID),
            score(flip.before, unit),
            score(flip.after, unit)
        ));
        let Some(RowTexts { before, after, .. }) = texts.get(flip.id.as_str()) else { continue };
        let either = after.as_ref().or(before.as_ref());
        if let Some(prompt) = either.and_then(|row| row.get("prompt")) {
            field(&mut out, "prompt", prompt);
        }
        for (name, row) in [("before", before), ("after", after)] {
            let Some(row) = row else { continue };
            if let Some(completion) = row.get("completion") {
                field(&mut out, name, completion);
            }
            for said in ["verdict", "reason", "reasons", "scores"] {
                if let Some(value) = row.get(said).filter(|value| !value.is_null()) {
                    field(&mut out, &format!("{name} {said}"), value);
                }
            }
        }
    }
    out
}

/// Returns a field of a row as text; of messages, what they say.
pub(super) fn plain(value: &Value) -> String {
    let of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(messages) if messages.iter().all(|message| message.get("content").is_some()) => {
            messages.iter().map(|message| of(&message["content"])).collect::<Vec<_>>().join("\n")
        }
        other => of(other),
    }
}

/// How many characters of a text are shown, and of an id.
const SHOWN: usize = 400;
const ID: usize = 80;

fn field(out: &mut String, name: &str, value: &Value) {
    let text = printable(&plain(value));
    let short: String = text.chars().take(SHOWN).collect();
    let more = if short.len() < text.len() { " …" } else { "" };
    let lines: Vec<&str> = short.lines().collect();
    match lines.as_slice() {
        [] => out.push_str(&format!("  {name}: (empty)\n")),
        [one] => out.push_str(&format!("  {name}: {one}{more}\n")),
        many => out.push_str(&format!("  {name}:\n    {}{more}\n", many.join("\n    "))),
    }
}
