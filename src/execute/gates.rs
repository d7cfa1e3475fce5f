//! Gates: conditions on the summary that decide the exit code.
//!
//! A gate passes if it holds with every value at the unfavourable end of its interval, and also with every missing row at
//! its worst: rows are not missing at random. Values of the same rows are compared row by row (`pairs`).

use super::pairs::{Paired, is_mean, paired, with_missing};
use super::session::Session;
use crate::plan::{Figure, GateTerm, Plan, find_term};
use crate::record::{GateResult, GateVerdict, Run};
use crate::score::{Estimate, Unit};
use crate::spec::{Bounds, Comparison, Gate, Term};
use crate::stage::Makes;
use crate::store::Manifest;

/// Returns the verdict on every gate of a plan.
pub(super) fn judge(session: &Session, manifests: &[Option<Manifest>], run: &Run) -> Vec<GateResult> {
    let plan = &session.plan;
    let mean = |term: &GateTerm, value: f64| is_mean(session, manifests, term, value);
    let judged = plan.spec.gates.iter().map(|gate| {
        let value = |term: &Term| known(plan, run, term, &mean).map(|known| known.bounds);
        let paired = paired(session, manifests, run, gate, &value);
        judge_one(plan, run, gate, paired, &mean)
    });
    judged.collect()
}

/// Returns true if a value is a mean over rows.
type IsMean<'a> = dyn Fn(&GateTerm, f64) -> bool + 'a;

/// A value of a gate.
struct Known {
    bounds: Bounds,
    /// The bounds with every missing row at its worst and at its best.
    worst: Bounds,
    /// The value has an interval, or is a fact about its rows.
    is_bounded: bool,
    missing: u64,
}

fn judge_one(plan: &Plan, run: &Run, gate: &Gate, paired: Option<Paired>, mean: &IsMean<'_>) -> GateResult {
    let terms = || gate.left.terms().into_iter().chain(gate.right.terms());
    let was_run = terms().filter_map(|term| find_term(plan, term).ok()).all(|found| {
        let name = &plan.nodes[found.node].name;
        run.nodes.iter().any(|node| node.node == *name)
    });
    let side = |of: &dyn Fn(Known) -> Bounds, is_left: bool| {
        let side = if is_left { &gate.left } else { &gate.right };
        side.evaluate(&|term| known(plan, run, term, mean).map(of))
    };
    let of_bounds: &dyn Fn(Known) -> Bounds = &|known| known.bounds;
    let mut result = GateResult {
        gate: gate.text.clone(),
        verdict: GateVerdict::NotRun,
        left: side(of_bounds, true).map(|left| left.value),
        right: side(of_bounds, false).map(|right| right.value),
        difference: None,
        because: None,
    };
    if !was_run {
        return result;
    }
    let (Some(left), Some(right)) = (side(of_bounds, true), side(of_bounds, false)) else {
        result.verdict = GateVerdict::NoData;
        return result;
    };
    if let Some(paired) = paired {
        by_row(gate, &paired, &mut result);
        return result;
    }
    if !gate.comparison.holds(left.value, right.value) {
        result.verdict = GateVerdict::Fail;
        return result;
    }
    let known: Vec<(&Term, Known)> = terms().filter_map(|term| Some((term, known(plan, run, term, mean)?))).collect();
    let unbounded = known.iter().find(|(_, known)| !known.is_bounded);
    let worst: &dyn Fn(Known) -> Bounds = &|known| known.worst;
    let holds_at_worst =
        side(worst, true).zip(side(worst, false)).is_some_and(|(left, right)| gate.comparison.is_proven(left, right));
    result.verdict = GateVerdict::Unproven;
    if let Some((term, _)) = unbounded {
        result.because = Some(format!(
            "{} has no interval here, so nobody knows how far more rows would move it",
            term.path.join(".")
        ));
    } else if !gate.comparison.is_proven(left, right) {
        result.because = None;
    } else if holds_at_worst {
        result.verdict = GateVerdict::Pass;
    } else {
        let missing = known.iter().map(|(_, known)| known.missing).max().unwrap_or(0);
        result.because = Some(of_missing(missing));
    }
    result
}

/// Returns why missing rows leave a gate open.
fn of_missing(missing: u64) -> String {
    let rows = if missing == 1 { "1 row is".to_owned() } else { format!("{missing} rows are") };
    format!("{rows} missing, and at their worst it would not hold")
}

/// Judges a gate row by row.
fn by_row(gate: &Gate, paired: &Paired, result: &mut GateResult) {
    let none = Bounds::exact(0.0);
    let Paired { difference, worst, n, missing, .. } = paired;
    let end = |end: f64| Some(end).filter(|end| end.abs() < f64::MAX);
    let (low, high) = (end(difference.low), end(difference.high));
    result.difference = Some(Estimate { value: Some(difference.value), low, high, n: *n, missing: *missing });
    if let Some((left, right)) = paired.sides(gate) {
        (result.left, result.right) = (Some(left), Some(right));
    }
    let rows = match paired.alone.as_slice() {
        [] => None,
        alone => Some(format!(
            "on the {n} rows that both have; only one has {}{}",
            alone.join(", "),
            if *missing > alone.len() as u64 { ", …" } else { "" }
        )),
    };
    // Of rows that are right or wrong, chance is told exactly.
    let is_directed = matches!(
        gate.comparison,
        Comparison::Greater | Comparison::GreaterOrEqual | Comparison::Less | Comparison::LessOrEqual
    );
    let is_chance = is_directed && paired.p.is_some_and(|p| p > 0.05);
    let comparison = gate.comparison;
    (result.verdict, result.because) = if !comparison.holds(difference.value, 0.0) {
        (GateVerdict::Fail, rows)
    } else if is_chance || !comparison.is_proven(*difference, none) {
        (GateVerdict::Unproven, rows)
    } else if !comparison.is_proven(*worst, none) {
        (GateVerdict::Unproven, Some(of_missing(*missing)))
    } else {
        (GateVerdict::Pass, rows)
    };
}

fn known(plan: &Plan, run: &Run, term: &Term, mean: &IsMean<'_>) -> Option<Known> {
    let found = find_term(plan, term).ok()?;
    let node = &plan.nodes[found.node];
    let values = &run.summary.get(&node.stage_name)?.get(node.column())?.values;
    let verbatim = found.verbatim.as_ref().filter(|name| values.contains_key(*name));
    let figure = if verbatim.is_some() { Figure::Value } else { found.figure };
    let name = verbatim.unwrap_or(&found.value);
    let estimate: &Estimate = values.get(name)?;
    let fact = |value: f64| {
        let bounds = Bounds::exact(value);
        Some(Known { bounds, worst: bounds, is_bounded: true, missing: 0 })
    };
    match figure {
        Figure::N => return fact(estimate.n as f64),
        Figure::Missing => return fact(estimate.missing as f64),
        _ => {}
    }
    let value = estimate.value?;
    let unit = node.stage.unit(name);
    // What is counted, and what a dataset is, more rows do not move.
    let is_total = unit == Some(Unit::Dollars) && name.ends_with(".total");
    if name == "coverage" || is_total || unit == Some(Unit::Count) || node.stage.makes() == Makes::Rows {
        return fact(value);
    }
    let bounds = Bounds { value, low: estimate.low.unwrap_or(value), high: estimate.high.unwrap_or(value) };
    let missing = estimate.missing;
    let range = node.stage.range(name);
    let worst = match missing {
        0 => bounds,
        _ if mean(&GateTerm { value: name.clone(), ..found.clone() }, value) => {
            with_missing(bounds, estimate.n as f64, missing as f64, range)
        }
        // Nobody knows by how much a row moves what is no mean.
        _ => {
            range.map_or(Bounds { low: f64::MIN, high: f64::MAX, ..bounds }, |(low, high)| Bounds { value, low, high })
        }
    };
    let is_bounded = estimate.low.is_some() || unit == Some(Unit::PValue);
    match figure {
        Figure::Low => {
            Some(Known { bounds: Bounds::exact(estimate.low?), worst: Bounds::exact(worst.low), is_bounded, missing })
        }
        Figure::High => {
            Some(Known { bounds: Bounds::exact(estimate.high?), worst: Bounds::exact(worst.high), is_bounded, missing })
        }
        _ => Some(Known { bounds, worst, is_bounded, missing }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{NodeOutcome, NodeRun, NodeSummary};

    /// Returns a plan with gates over two models.
    fn plan(gates: &[&str]) -> Plan {
        let root = tempfile::tempdir().unwrap();
        let gates: String = gates.iter().map(|gate| format!("  - {gate}\n")).collect();
        let text = format!(
            "etalon: 1\nname: p\nmodels:\n  base: {{ provider: scripted, reply: a }}\n  tuned: {{ provider: scripted, reply: b }}\nstages:\n  rows: {{ kind: dataset, rows: [{{ key: a, gold: b }}], id: key }}\n  answers: {{ kind: inference, input: rows, models: [base, tuned], prompt: hello }}\n  exact: {{ kind: metric, input: answers, reference: \"{{{{ row.gold }}}}\", metrics: [exact_match] }}\n  late: {{ kind: metric, input: answers, metrics: [json_valid] }}\ngates:\n{gates}"
        );
        std::fs::create_dir(root.path().join("pipelines")).unwrap();
        std::fs::write(root.path().join("etalon.toml"), "").unwrap();
        std::fs::write(root.path().join("pipelines/p.yaml"), text).unwrap();
        let workspace = crate::spec::Workspace::open(Some(root.path())).unwrap();
        let spec = crate::spec::load(&workspace, "p", &[]).0.unwrap();
        crate::plan::resolve(&workspace, spec).0.unwrap()
    }

    /// Returns a run in which `exact` was measured and `late` was not.
    fn run() -> Run {
        let mut run = Run::new("r", "p");
        for (model, value, missing) in [("base", None, 10), ("tuned", Some(0.8), 2)] {
            let interval = value.map(|value: f64| (value - 0.1, value + 0.1));
            let (low, high) = interval.unzip();
            let estimate = Estimate { value, low, high, n: 8, missing };
            let values = [("exact_match".to_owned(), estimate)].into_iter().collect();
            let summary = NodeSummary { values, ..NodeSummary::default() };
            run.summary.entry("exact".to_owned()).or_default().insert(model.to_owned(), summary);
            let ran = NodeRun::new(&format!("exact.{model}"), "metric", NodeOutcome::Ran, String::new());
            run.nodes.push(NodeRun { rows: 10, missing, ..ran });
        }
        run
    }

    /// Judges all gates, each by itself.
    fn judged_all(plan: &Plan, run: &Run) -> Vec<GateResult> {
        plan.spec.gates.iter().map(|gate| judge_one(plan, run, gate, None, &|_, _| true)).collect()
    }

    #[test]
    fn verdicts_are_what_intervals_say() {
        for (gate, verdict) in [
            ("exact.tuned.exact_match >= 0.5", GateVerdict::Pass),
            ("exact.tuned.exact_match >= 0.75", GateVerdict::Unproven),
            ("exact.tuned.exact_match.low >= 0.55", GateVerdict::Pass),
            // Two of ten rows are missing: at their worst it is 0.56.
            ("exact.tuned.exact_match.low >= 0.65", GateVerdict::Unproven),
            ("exact.tuned.exact_match >= 0.81", GateVerdict::Fail),
            ("exact.tuned.exact_match.missing <= 1", GateVerdict::Fail),
            ("exact.base.exact_match >= 0.5", GateVerdict::NoData),
            ("exact.tuned.exact_match >= exact.base.exact_match", GateVerdict::NoData),
            ("late.tuned.json_valid >= 0.5", GateVerdict::NotRun),
            ("exact.tuned.exact_match >= late.base.json_valid", GateVerdict::NotRun),
        ] {
            let judged = judged_all(&plan(&[gate]), &run());
            assert_eq!((judged[0].gate.as_str(), judged[0].verdict), (gate, verdict));
        }
    }

    #[test]
    fn both_sides_are_told() {
        let judged =
            judged_all(&plan(&["exact.tuned.exact_match.n + 1 <= 2 * exact.tuned.exact_match.missing"]), &run());
        assert_eq!((judged[0].left, judged[0].right), (Some(9.0), Some(4.0)));
    }
}
