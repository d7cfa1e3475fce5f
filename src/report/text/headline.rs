//! The answer in words, before all numbers: the gates, what is better than the baseline, where most is missing.

use super::table::wrapped;
use crate::record::GateVerdict;
use crate::report::view::{Line, View};
use crate::report::{Tone, counted, printable, toned};
use crate::score::Rank;
use crate::spec::Role;

/// How many names stand in a line.
const NAMES: usize = 3;

/// Renders the answer, a line for each part; empty for a run that has none.
pub(super) fn headline(view: &View, width: Option<usize>) -> String {
    let mut lines: Vec<String> = [broken(view), gates(view)].into_iter().flatten().collect();
    for (index, column) in view.columns.iter().enumerate().filter(|(_, column)| column.is_of_interest()) {
        if column.role != Some(Role::Baseline) {
            lines.extend(against_baseline(view, index));
            lines.extend(against_ceiling(view, index));
        }
    }
    lines.iter().map(|line| wrapped(line, "", width)).collect::<Vec<_>>().join("\n")
}

fn broken(view: &View) -> Option<String> {
    let names: Vec<String> = view.broken.iter().map(|note| printable(&note.node)).collect();
    let text = format!("{} without a result: {}", counted(names.len() as u64, "node"), some(&names));
    (!names.is_empty()).then(|| format!("{} {text}", toned(Tone::Bad, "FAILED")))
}

fn gates(view: &View) -> Option<String> {
    let of = |wanted: &[GateVerdict]| -> Vec<String> {
        let found = view.gates.iter().filter(|gate| wanted.contains(&gate.verdict));
        found.map(|gate| printable(&gate.gate)).collect()
    };
    let (failed, open) = (of(&[GateVerdict::Fail, GateVerdict::NoData]), of(&[GateVerdict::Unproven]));
    let (passed, judged) = (of(&[GateVerdict::Pass]).len(), view.gates.len() - of(&[GateVerdict::NotRun]).len());
    let all = counted(judged as u64, "gate");
    match () {
        () if judged == 0 => None,
        () if !failed.is_empty() => {
            Some(format!("{} {} of {all}: {}", toned(Tone::Bad, "FAIL"), failed.len(), some(&failed)))
        }
        () if !open.is_empty() => {
            Some(format!("{} {passed} of {all} pass; not proven: {}", toned(Tone::Doubtful, "UNPROVEN"), some(&open)))
        }
        () if judged == 1 => Some(format!("{} the gate holds", toned(Tone::Good, "PASS"))),
        () => Some(format!("{} all {all} hold", toned(Tone::Good, "PASS"))),
    }
}

fn headlines(view: &View) -> impl Iterator<Item = &Line> {
    view.lines.iter().filter(|line| line.reading.rank == Rank::Headline)
}

/// Returns in which headlines a model is better and worse than the baseline.
fn against_baseline(view: &View, index: usize) -> Option<String> {
    let (mut better, mut worse, mut open, mut baseline) = (Vec::new(), Vec::new(), Vec::new(), None);
    for line in headlines(view) {
        let Some(delta) = &line.deltas[index] else { continue };
        baseline = Some(printable(&delta.against));
        let list = match delta.is_better(line.reading.direction) {
            Some(true) => &mut better,
            Some(false) => &mut worse,
            None if !delta.has_interval() => continue,
            None => &mut open,
        };
        list.push(printable(&line.name));
    }
    let baseline = baseline.filter(|_| !(better.is_empty() && worse.is_empty() && open.is_empty()))?;
    let mut parts = Vec::new();
    for (names, what) in [
        (&better, format!("▲ better than {baseline} in")),
        (&worse, format!("▼ worse than {baseline} in")),
        (&open, "· not shown to differ in".to_owned()),
    ] {
        if !names.is_empty() {
            parts.push(format!("{what} {}", some(names)));
        }
    }
    Some(format!("{}: {}", printable(view.columns[index].name()), parts.join("; ")))
}

/// Returns where a candidate lies furthest behind the ceiling.
fn against_ceiling(view: &View, index: usize) -> Option<String> {
    let shares = view.lines.iter().filter_map(|line| Some((line, line.shares[index].as_ref()?.value?)));
    let (line, share) = shares.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, share)| *share < 1.0)?;
    let ceiling = view.columns.iter().find(|column| column.role == Some(Role::Ceiling))?.name();
    Some(format!(
        "{}: furthest behind {} in {} ({:.0} %)",
        printable(view.columns[index].name()),
        printable(ceiling),
        printable(&line.name),
        100.0 * share
    ))
}

/// Returns the first names, and how many more there are.
fn some(names: &[String]) -> String {
    let more = if names.len() > NAMES { format!(" and {} more", names.len() - NAMES) } else { String::new() };
    format!("{}{more}", names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", "))
}
