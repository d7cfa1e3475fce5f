//! The closing table: metric × model, then the gates, then what it took.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value};

use super::{Tone, counted, printable, toned};
use crate::execute::{GateResult, NodeOutcome, RunSummary, Verdict};
use crate::plan::Plan;
use crate::score::{Estimate, Unit};
use crate::spec::Role;
use crate::stage::DriftVerdict;

/// Renders what a run says at its end, in lines of at most `width` characters where that is possible.
pub fn closing(plan: &Plan, run: &RunSummary, width: Option<usize>) -> String {
    let mut out = String::new();
    let models = models(plan, run);
    let tables = table(plan, &models, "", &lines(plan, run, &models), width)
        .into_iter()
        .chain(slices(plan, run, &models, width));
    for text in tables {
        out.push_str(&text);
        out.push_str("\n\n");
    }
    let signatures = signatures(run.signatures.values().flat_map(|metrics| metrics.values()));
    if !signatures.is_empty() {
        out.push_str(&toned(Tone::Dim, &signatures.join("\n")));
        out.push_str("\n\n");
    }
    let failures = failures(run);
    if !failures.is_empty() {
        out.push_str(&failures.join("\n"));
        out.push_str("\n\n");
    }
    let drifts = drifts(run);
    if !drifts.is_empty() {
        out.push_str(&drifts.join("\n"));
        out.push_str("\n\n");
    }
    if !run.gates.is_empty() {
        out.push_str(&gates(&run.gates));
        out.push('\n');
    }
    out.push_str(&took(run));
    out
}

/// Returns the signatures of metrics that have settings, each once.
pub(super) fn signatures<'a>(all: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for signature in all.filter(|signature| signature.contains('|')) {
        let signature = printable(signature);
        if !shown.contains(&signature) {
            shown.push(signature);
        }
    }
    shown
}

/// The column of what is said of all models together; no model can be called so.
const ALL: &str = "(all)";

/// A line of the table.
struct Line {
    name: String,
    unit: Unit,
    /// By model, in the order of the columns.
    estimates: Vec<Option<Estimate>>,
    /// What share of the ceiling it is, with its interval, where that is known; by model.
    shares: Vec<Option<Estimate>>,
}

/// Returns the models that have numbers, in the order of the columns.
fn models<'a>(plan: &'a Plan, run: &RunSummary) -> Vec<&'a str> {
    let mut models: Vec<&str> = Vec::new();
    for node in &plan.nodes {
        let is_shown = run.summary.get(&node.stage_name).is_some_and(|stage| stage.contains_key(node.column()));
        if let Some(model) = node.model.as_deref().filter(|_| is_shown)
            && !models.contains(&model)
        {
            models.push(model);
        }
    }
    // What a judge of all pairs says of them together.
    let is_over_all = |node: &&crate::plan::Node| node.model.is_none() && node.stage.kind() == "judge";
    let over_all = plan.nodes.iter().filter(is_over_all).any(|node| {
        let values = run.summary.get(&node.stage_name).and_then(|stage| stage.get("_"));
        let values = values.into_iter().flat_map(|summary| &summary.values);
        let is_shown = |value: &str| node.stage.values().iter().any(|name| name == value) && value != "coverage";
        values.into_iter().any(|(value, _)| is_shown(value))
    });
    if over_all {
        models.push(ALL);
    }
    models
}

/// Renders lines under the names of the models; none where there are none.
fn table(plan: &Plan, models: &[&str], title: &str, lines: &[Line], width: Option<usize>) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    let ceiling = models.iter().position(|model| plan.role(model) == Some(Role::Ceiling));
    let candidates: Vec<usize> =
        (0..models.len()).filter(|index| plan.role(models[*index]) == Some(Role::Candidate)).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec![title.to_owned()];
    header.extend(models.iter().map(|model| match plan.role(model) {
        Some(Role::Baseline) => format!("{model} (baseline)"),
        Some(Role::Ceiling) => format!("{model} (ceiling)"),
        _ => (*model).to_owned(),
    }));
    if ceiling.is_some() {
        header.extend(candidates.iter().map(|index| format!("{} of ceiling", models[*index])));
    }
    header.push("n".to_owned());
    table.set_header(header);
    for line in lines {
        let mut cells = vec![label(&line.name)];
        cells.extend(
            line.estimates
                .iter()
                .map(|estimate| estimate.map_or_else(|| "–".to_owned(), |estimate| cell(&estimate, line.unit))),
        );
        if let Some(ceiling) = ceiling {
            cells.extend(candidates.iter().map(|index| of_ceiling(line, *index, ceiling)));
        }
        cells.push(n(line));
        table.add_row(cells);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    let is_too_wide = width.is_some_and(|width| text.iter().any(|line| line.chars().count() > width));
    Some(if is_too_wide { stacked(plan, models, title, lines) } else { text.join("\n") })
}

/// Returns a name for one cell: values of columns are anybody's text.
fn label(name: &str) -> String {
    let flat: String = printable(name).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(80).collect();
    if flat.chars().count() < name.chars().count() { format!("{flat}…") } else { flat }
}

/// Renders lines for a narrow terminal: a block per value, a line per model.
fn stacked(plan: &Plan, models: &[&str], title: &str, lines: &[Line]) -> String {
    let ceiling = models.iter().position(|model| plan.role(model) == Some(Role::Ceiling));
    let longest = models.iter().map(|model| model.chars().count()).max().unwrap_or(0);
    let mut out: Vec<String> = (!title.is_empty()).then(|| title.to_owned()).into_iter().collect();
    for line in lines {
        let n = n(line);
        out.push(format!("{}{}", label(&line.name), if n.is_empty() { n } else { format!("  n {n}") }));
        for (index, (model, estimate)) in models.iter().zip(&line.estimates).enumerate() {
            let Some(estimate) = estimate else { continue };
            let mut text = format!("  {model:<longest$}  {}", cell(estimate, line.unit));
            if plan.role(model) == Some(Role::Candidate)
                && let Some(share) =
                    ceiling.map(|ceiling| of_ceiling(line, index, ceiling)).filter(|text| !text.is_empty())
            {
                text.push_str(&format!("  {share} of ceiling"));
            }
            out.push(text);
        }
    }
    out.join("\n")
}

/// Slices shown of a column, the largest first.
const MAX_SLICES: usize = 12;

/// Renders the slices of every stage and column, each as a table.
fn slices(plan: &Plan, run: &RunSummary, models: &[&str], width: Option<usize>) -> Vec<String> {
    let mut out = Vec::new();
    let mut intervals = 0;
    for (name, summaries) in &run.summary {
        let Some(stage) = plan.nodes.iter().find(|node| node.stage_name == *name).map(|node| &node.stage) else {
            continue;
        };
        let mut columns: Vec<&String> = Vec::new();
        for column in summaries.values().flat_map(|summary| summary.slices.keys()) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        for column in columns {
            let of_model = |model: &str| summaries.get(model).and_then(|summary| summary.slices.get(column));
            let mut sizes: BTreeMap<&String, u64> = BTreeMap::new();
            for (value, estimates) in models.iter().filter_map(|model| of_model(model)).flatten() {
                let size = estimates.values().map(|estimate| estimate.n + estimate.missing).max().unwrap_or(0);
                let known = sizes.entry(value).or_default();
                *known = size.max(*known);
            }
            let mut values: Vec<(&String, u64)> = sizes.into_iter().collect();
            values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
            let left_out = values.len().saturating_sub(MAX_SLICES);
            let mut lines = Vec::new();
            for metric in stage.values().iter().filter(|metric| *metric != "coverage") {
                for (value, _) in values.iter().take(MAX_SLICES) {
                    let estimates: Vec<Option<Estimate>> =
                        models.iter().map(|model| of_model(model)?.get(*value)?.get(metric).copied()).collect();
                    intervals += estimates.iter().flatten().filter(|estimate| estimate.low.is_some()).count();
                    let unit = stage.unit(metric).unwrap_or(Unit::Rate);
                    lines.push(Line {
                        name: format!("{name}.{metric} · {value}"),
                        unit,
                        estimates,
                        shares: Vec::new(),
                    });
                }
            }
            if let Some(mut text) = table(plan, models, &format!("by {column}"), &lines, width) {
                if left_out > 0 {
                    text.push_str(&format!("\n… and {left_out} more values of {column}: --format json has them"));
                }
                out.push(text);
            }
        }
    }
    if intervals > 1 {
        out.push(format!("{intervals} intervals of slices, at 95 % each: one in twenty misses its truth by chance."));
    }
    out
}

/// Renders counts of failures, the most frequent first.
pub(super) fn failures_text(table: &Map<String, Value>) -> String {
    let mut shown: Vec<String> =
        table.iter().take(4).map(|(failure, count)| format!("{count} × {}", printable(failure))).collect();
    if table.len() > shown.len() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// Says where predictions fail a schema, the most frequent first.
fn failures(run: &RunSummary) -> Vec<String> {
    let mut out = Vec::new();
    for (stage, models) in &run.tables {
        for (model, tables) in models {
            for (name, table) in tables {
                let (Some(metric), Some(table)) = (name.strip_suffix(".failures"), table.as_object()) else {
                    continue;
                };
                out.push(format!("{stage}.{model}.{metric} fails: {}", failures_text(table)));
            }
        }
    }
    out
}

/// Says which judges are not those of the run before, and how they differ.
fn drifts(run: &RunSummary) -> Vec<String> {
    let of = |(node, found): (&String, &crate::execute::NodeDrift)| {
        let since = &found.since;
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
            drift.shifts.iter().map(|(name, shift)| format!("{name} {}", cell(shift, Unit::Rate))).collect();
        format!(
            "{node}: another instrument than in {since}. On {} of {}, new less old (0 to 1): {}. {} of {} changed sides (p {}): {verdict}",
            drift.compared,
            drift.basis,
            shifts.join(", "),
            drift.flips,
            drift.compared,
            number(drift.p, Unit::PValue),
        )
    };
    run.drift.iter().map(of).collect()
}

fn lines(plan: &Plan, run: &RunSummary, models: &[&str]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut stages: Vec<&str> = Vec::new();
    for node in &plan.nodes {
        if !stages.contains(&node.stage_name.as_str()) && matches!(node.stage.kind(), "metric" | "judge") {
            stages.push(&node.stage_name);
        }
    }
    for name in stages {
        let Some(stage) = plan.nodes.iter().find(|node| node.stage_name == name).map(|node| &node.stage) else {
            continue;
        };
        let Some(summaries) = run.summary.get(name) else {
            continue;
        };
        for value in stage.values() {
            let unit = stage.unit(&value).unwrap_or(Unit::Rate);
            let of = |value: &str| -> Vec<Option<Estimate>> {
                models
                    .iter()
                    .map(|model| {
                        let column = if *model == ALL { "_" } else { model };
                        let own = summaries.get(column).and_then(|summary| summary.values.get(value));
                        // A node over all models has their values under their names.
                        let of_all = || summaries.get("_")?.values.get(&format!("{model}.{value}"));
                        own.or_else(of_all).copied()
                    })
                    .collect()
            };
            let estimates = of(&value);
            // Coverage stands beside every number as what is missing; it has a line where it matters. So do bounds.
            let is_bound = value.ends_with(".worst") || value.ends_with(".best");
            let is_whole = || {
                let raw = value.rsplit_once('.').map_or(value.as_str(), |(raw, _)| raw);
                of(raw).iter().flatten().all(|estimate| estimate.missing == 0)
            };
            let is_full = value == "coverage" && estimates.iter().flatten().all(|estimate| estimate.missing == 0)
                || is_bound && is_whole();
            if estimates.iter().all(Option::is_none) || unit == Unit::Count || is_full {
                continue;
            }
            let shares = of(&format!("{value}.of_ceiling"));
            lines.push(Line { name: format!("{name}.{value}"), unit, estimates, shares });
        }
    }
    lines
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Scale => format!("{value:.2}"),
        Unit::Amount => format!("{value:.1}"),
        Unit::Seconds => format!("{value:.3} s"),
        Unit::Dollars => format!("${value:.6}"),
        Unit::Points => format!("{value:.2}"),
        Unit::Count => format!("{value:.0}"),
        Unit::PValue if value < 0.0005 => "< 0.001".to_owned(),
        Unit::PValue => format!("{value:.3}"),
        Unit::Fraction | Unit::Rate => format!("{value:.3}"),
    }
}

pub(super) fn cell(estimate: &Estimate, unit: Unit) -> String {
    let mut text = match estimate.value {
        Some(value) => number(value, unit),
        None => "no data".to_owned(),
    };
    if let (Some(low), Some(high)) = (estimate.low, estimate.high) {
        let short = |value: f64| number(value, unit).trim_end_matches(" s").to_owned();
        text.push_str(&format!(" [{}, {}]", short(low), short(high)));
    }
    if estimate.missing > 0 && estimate.low.is_some() {
        text.push_str(&format!(" {} missing", estimate.missing));
    }
    text
}

/// The share of the ceiling, on a scale that starts at 0: scores on 1–5 have it in `overall`.
fn of_ceiling(line: &Line, candidate: usize, ceiling: usize) -> String {
    if let Some(Estimate { value: Some(value), low, high, .. }) = line.shares.get(candidate).copied().flatten() {
        let interval = low.zip(high).map(|(low, high)| format!(" [{:.0}, {:.0}]", 100.0 * low, 100.0 * high));
        return format!("{:.0} %{}", 100.0 * value, interval.unwrap_or_default());
    }
    let value = |index: usize| line.estimates[index].and_then(|estimate| estimate.value);
    match (value(candidate), value(ceiling)) {
        (Some(mine), Some(top)) if matches!(line.unit, Unit::Fraction | Unit::Points) && top > 0.0 => {
            format!("{:.0} %", 100.0 * mine / top)
        }
        _ => String::new(),
    }
}

fn n(line: &Line) -> String {
    let counts: Vec<u64> = line.estimates.iter().flatten().map(|estimate| estimate.n).collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least}–{most}"),
        _ => String::new(),
    }
}

fn gates(gates: &[GateResult]) -> String {
    let mut out = String::new();
    for gate in gates {
        let (word, tone) = match gate.verdict {
            Verdict::Pass => ("PASS", Tone::Good),
            Verdict::Unproven => ("UNPROVEN", Tone::Doubtful),
            Verdict::Fail => ("FAIL", Tone::Bad),
            Verdict::NoData => ("NO_DATA", Tone::Bad),
            Verdict::NotRun => ("NOT_RUN", Tone::Dim),
        };
        out.push_str(&format!("{} {}", toned(tone, &format!("{word:<9}")), gate.gate));
        if let (Some(left), Some(right)) = (gate.left, gate.right) {
            out.push_str(&format!("   ({left:.3} against {right:.3})"));
        }
        out.push('\n');
    }
    if gates.iter().any(|gate| gate.verdict == Verdict::Unproven) {
        out.push_str(
            "UNPROVEN: it holds at the estimates, and the intervals allow that it does not; more rows would tell.\n",
        );
    }
    out
}

fn took(run: &RunSummary) -> String {
    let count = |outcome: NodeOutcome| run.nodes.iter().filter(|node| node.outcome == outcome).count();
    let mut parts = Vec::new();
    for (outcome, word) in [
        (NodeOutcome::Ran, "ran"),
        (NodeOutcome::Cached, "cached"),
        (NodeOutcome::Failed, "failed"),
        (NodeOutcome::Skipped, "skipped"),
    ] {
        if count(outcome) > 0 {
            parts.push(format!("{} {word}", count(outcome)));
        }
    }
    let reused: u64 = run.nodes.iter().map(|node| node.reused).sum();
    let cost: f64 = run.nodes.iter().filter_map(|node| node.cost_usd).sum();
    let mut text =
        format!("{}: {} · {}", counted(run.nodes.len() as u64, "node"), parts.join(", "), counted(run.calls(), "call"));
    if reused > 0 {
        text.push_str(&format!(", {reused} reused"));
    }
    if cost > 0.0 {
        text.push_str(&format!(" · ${cost:.4}"));
    }
    text.push_str(&format!(" · {:.2} s", run.seconds));
    if run.partial {
        text.push_str(" · partial");
    }
    text
}
