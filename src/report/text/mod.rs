//! A run as text for a terminal.
//!
//! Renderers take a [`View`] and a width. They decide how something is written, never what is shown.
//!
//! | file | holds |
//! |---|---|
//! | `headline` | the answer in words |
//! | `table` | values of models as a table, in the widest layout that fits |
//! | `classes` | scores of labels, confusion matrices |
//! | `numbers` | one number, with its interval |

mod classes;
mod headline;
mod numbers;
mod table;

pub(super) use numbers::{cell, difference, number, size};
pub(super) use table::{cut, listed, wrapped};

use headline::headline;
use table::table;

use super::view::{Failures, Note, Slice, Took, View};
use super::{Tone, counted, printable, toned};
use crate::record::{Bill, Delta, GateResult, GateVerdict, NodeDrift, NodeOutcome};
use crate::score::{DriftVerdict, Estimate, Unit};

/// Renders what a run prints at its end, in lines of at most `width` characters where that is possible. With
/// `is_verbose`, the scores of every label are added.
///
/// The answer stands first; `since` is what changed since an earlier run, in words.
pub fn closing(view: &View, since: Option<&str>, width: Option<usize>, is_verbose: bool) -> String {
    let answer: Vec<String> = [headline(view, width), since.map(|since| wrapped(since, "", width)).unwrap_or_default()]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    let mut blocks: Vec<String> = (!answer.is_empty()).then(|| answer.join("\n")).into_iter().collect();
    blocks.extend(tables(view, width));
    if is_verbose {
        blocks.extend(classes(view, width));
    }
    let signatures: Vec<String> = view.signatures.iter().map(|signature| printable(signature)).collect();
    if !signatures.is_empty() {
        blocks.push(toned(Tone::Dim, &signatures.join("\n")));
    }
    for lines in [
        view.failures.iter().map(failures).collect::<Vec<_>>(),
        view.drifts.iter().map(|(node, found)| drift(node, found)).collect(),
    ] {
        if !lines.is_empty() {
            blocks.push(lines.join("\n"));
        }
    }
    if !view.gates.is_empty() {
        blocks.push(gates(&view.gates));
    }
    let took = took(view);
    let mut out = blocks.join("\n\n");
    if !out.is_empty() {
        out.push_str("\n\n");
    }
    out.push_str(&took);
    out
}

/// Renders a run for someone who did not see it: which run it is, its nodes, and what it printed at its end.
pub fn report(view: &View, width: Option<usize>, is_verbose: bool) -> String {
    let label = view.label.as_ref().map_or_else(String::new, |label| format!(" ({})", printable(label)));
    let mut head = format!("run {}{label} of {}", printable(&view.run), printable(&view.pipeline));
    if !view.started.is_empty() {
        head.push_str(&format!(", started {}", printable(&view.started)));
    }
    let mut blocks = vec![head];
    let named = |notes: &[Note], tone: Option<Tone>| -> Option<String> {
        let line = |note: &Note| {
            let node = printable(&note.node);
            format!("{}  {}", tone.map_or(node.clone(), |tone| toned(tone, &node)), printable(&note.text))
        };
        (!notes.is_empty()).then(|| notes.iter().map(line).collect::<Vec<_>>().join("\n"))
    };
    blocks.extend(named(&view.broken, Some(Tone::Bad)).map(|text| format!("no result\n{text}")));
    blocks.extend(named(&view.notes, None).map(|text| format!("notes\n{text}")));
    blocks.push(closing(view, None, width, is_verbose));
    blocks.join("\n\n")
}

/// Renders the values of a stage, with the scores of every label.
pub fn summary(view: &View, width: Option<usize>) -> String {
    let mut blocks = tables(view, width);
    blocks.extend(classes(view, width));
    blocks.join("\n\n")
}

/// Renders values, diagnostics and slices, each as a table.
fn tables(view: &View, width: Option<usize>) -> Vec<String> {
    let columns = &view.columns;
    let mut out: Vec<String> = table(columns, "", &view.lines, width).into_iter().collect();
    out.extend(table(columns, "diagnostics", &view.diagnostics, width));
    out.extend(view.slices.iter().filter_map(|slice| self::slice(view, slice, width)));
    let deltas = || view.lines.iter().flat_map(|line| line.deltas.iter().flatten());
    if deltas().next().is_some() {
        let legend = "Δ row by row, at 95 %: ▲ better than the baseline, ▼ worse, · not shown to differ";
        let open = if deltas().all(Delta::has_interval) { "" } else { ", ? without an interval" };
        out.push(wrapped(&format!("{legend}{open}"), "", width));
    }
    let intervals = view.slice_intervals();
    if intervals > 1 {
        out.push(format!("{intervals} intervals of slices, at 95 % each: one in twenty misses its truth by chance."));
    }
    out
}

fn slice(view: &View, slice: &Slice, width: Option<usize>) -> Option<String> {
    let column = printable(&slice.column);
    let mut text = table(&view.columns, &format!("by {column}"), &slice.lines, width)?;
    if slice.left_out > 0 {
        text.push_str(&format!("\n… and {} more values of {column}: --format json has them", slice.left_out));
    }
    Some(text)
}

fn classes(view: &View, width: Option<usize>) -> Vec<String> {
    view.classes.iter().map(|found| classes::classes(found, width)).collect()
}

/// Renders counts of failures, the most frequent first.
pub(super) fn failure_counts(counts: &[(String, u64)]) -> String {
    let mut shown: Vec<String> =
        counts.iter().take(4).map(|(failure, count)| format!("{count} × {}", printable(failure))).collect();
    if counts.len() > shown.len() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// Renders where predictions fail a schema.
fn failures(failures: &Failures) -> String {
    format!("{} fails: {}", printable(&failures.of), failure_counts(&failures.counts))
}

/// Renders how a judge differs from that of the run before.
fn drift(node: &str, found: &NodeDrift) -> String {
    let (node, since) = (printable(node), printable(&found.since));
    let Some(drift) = &found.drift else {
        return format!(
            "{node}: another instrument than in {since}, and nothing that both judged: their numbers cannot be compared. Labels with their texts (`etalon labels`) or `canaries` make a golden set."
        );
    };
    let verdict = match drift.verdict {
        DriftVerdict::Drifted => toned(Tone::Bad, "do not compare its numbers with earlier ones"),
        DriftVerdict::Same => "no drift beyond 0.05".to_owned(),
        DriftVerdict::Unknown => {
            toned(Tone::Doubtful, "too few rows to say that it is the same: mind that when you compare")
        }
    };
    let shifts: Vec<String> =
        drift.shifts.iter().map(|(name, shift)| format!("{} {}", printable(name), cell(shift, Unit::Rate))).collect();
    format!(
        "{node}: another instrument than in {since}. On {} of {}, new less old (0 to 1): {}. {} of {} changed sides (p {}): {verdict}",
        drift.compared,
        printable(&drift.basis),
        shifts.join(", "),
        drift.flips,
        drift.compared,
        number(drift.p, Unit::PValue),
    )
}

fn gates(gates: &[GateResult]) -> String {
    let mut lines = Vec::new();
    for gate in gates {
        let (word, tone) = match gate.verdict {
            GateVerdict::Pass => ("PASS", Tone::Good),
            GateVerdict::Unproven => ("UNPROVEN", Tone::Doubtful),
            GateVerdict::Fail => ("FAIL", Tone::Bad),
            GateVerdict::NoData => ("NO_DATA", Tone::Bad),
            GateVerdict::NotRun => ("NOT_RUN", Tone::Dim),
        };
        let mut line = format!("{} {}", toned(tone, &format!("{word:<9}")), printable(&gate.gate));
        if let (Some(left), Some(right)) = (gate.left, gate.right) {
            line.push_str(&format!("   ({left:.3} against {right:.3}"));
            if let Some(Estimate { value: Some(value), low: Some(low), high: Some(high), .. }) = gate.difference {
                line.push_str(&format!("; by row {value:+.3} [{low:+.3}, {high:+.3}]"));
            }
            line.push(')');
        }
        if let Some(because) = &gate.because {
            line.push_str(&format!("\n{:10}{}", "", printable(because)));
        }
        lines.push(line);
    }
    if gates.iter().any(|gate| gate.verdict == GateVerdict::Unproven) {
        let why =
            "UNPROVEN: it holds at the estimates, and the intervals allow that it does not; more rows would tell.";
        lines.push(why.to_owned());
    }
    lines.join("\n")
}

/// Renders what became of the requests, beside the number of calls: `, 12 sent, 2 refused, 40 reused`. What went as it
/// should is not said twice.
fn calls(took: &Took) -> String {
    let Bill { sent, refused, useless, .. } = took.bill;
    let mut out = String::new();
    for (count, word) in [
        (if sent > took.calls { sent } else { 0 }, "sent"),
        (refused, "refused"),
        (useless, "of no use"),
        (took.reused, "reused"),
    ] {
        if count > 0 {
            out.push_str(&format!(", {count} {word}"));
        }
    }
    out
}

/// Renders dollars: `$1.2000, $0.0100 of it wasted, $0.3000 reused`; none where no price is known.
fn dollars(took: &Took) -> Option<String> {
    let Bill { unpriced, wasted_usd, reused_usd, .. } = took.bill;
    let positive = |cost: Option<f64>| cost.filter(|cost| *cost > 0.0);
    let parts = [
        positive(Some(took.cost_usd)).map(money),
        positive(wasted_usd).map(|cost| format!("{} of it wasted", money(cost))),
        (unpriced > 0).then(|| format!("{} of unknown cost", counted(unpriced, "call"))),
        positive(reused_usd).map(|cost| format!("{} reused", money(cost))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Renders dollars with as many digits as small sums need.
pub(super) fn money(dollars: f64) -> String {
    match dollars {
        cost if cost >= 0.01 || cost == 0.0 => format!("${cost:.4}"),
        cost => {
            let digits = (2 - cost.abs().log10().floor() as i32).clamp(4, 12) as usize;
            format!("${}", format!("{cost:.digits$}").trim_end_matches('0'))
        }
    }
}

fn took(view: &View) -> String {
    let took = &view.took;
    let word = |outcome: NodeOutcome| match outcome {
        NodeOutcome::Ran => "ran",
        NodeOutcome::Cached => "cached",
        NodeOutcome::Failed => "failed",
        NodeOutcome::Skipped => "skipped",
    };
    let outcomes: Vec<String> = took.outcomes.iter().map(|(outcome, n)| format!("{n} {}", word(*outcome))).collect();
    let mut text =
        format!("{}: {} · {}", counted(took.nodes, "node"), outcomes.join(", "), counted(took.calls, "call"));
    text.push_str(&calls(took));
    if let Some(dollars) = dollars(took) {
        text.push_str(&format!(" · {dollars}"));
    }
    text.push_str(&format!(" · {:.2} s", took.seconds));
    if took.is_partial {
        text.push_str(" · partial");
    }
    text
}
