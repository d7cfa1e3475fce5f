//! Gates: conditions on the summary that decide the exit code.

use crate::plan::{Figure, Plan, find_term};
use crate::record::{GateResult, GateVerdict, Run};
use crate::score::Estimate;
use crate::spec::{Bounds, Gate, Term};

/// Returns the verdict on every gate of a plan.
pub(super) fn judge(plan: &Plan, run: &Run) -> Vec<GateResult> {
    plan.spec.gates.iter().map(|gate| judge_one(plan, run, gate)).collect()
}

fn judge_one(plan: &Plan, run: &Run, gate: &Gate) -> GateResult {
    let lookup = |term: &Term| bounds(plan, run, term);
    let (left, right) = (gate.left.evaluate(&lookup), gate.right.evaluate(&lookup));
    let terms = gate.left.terms().into_iter().chain(gate.right.terms());
    let was_run = terms.filter_map(|term| find_term(plan, term).ok()).all(|found| {
        let name = &plan.nodes[found.node].name;
        run.nodes.iter().any(|node| node.node == *name)
    });
    let verdict = match (left, right) {
        _ if !was_run => GateVerdict::NotRun,
        (Some(left), Some(right)) if !gate.comparison.holds(left.value, right.value) => GateVerdict::Fail,
        (Some(left), Some(right)) if gate.comparison.is_proven(left, right) => GateVerdict::Pass,
        (Some(_), Some(_)) => GateVerdict::Unproven,
        _ => GateVerdict::NoData,
    };
    GateResult {
        gate: gate.text.clone(),
        verdict,
        left: left.map(|left| left.value),
        right: right.map(|right| right.value),
    }
}

fn bounds(plan: &Plan, run: &Run, term: &Term) -> Option<Bounds> {
    let found = find_term(plan, term).ok()?;
    let node = &plan.nodes[found.node];
    let values = &run.summary.get(&node.stage_name)?.get(node.column())?.values;
    let verbatim = found.verbatim.as_ref().and_then(|name| values.get(name));
    let figure = if verbatim.is_some() { Figure::Value } else { found.figure };
    let estimate: &Estimate = verbatim.or_else(|| values.get(&found.value))?;
    match figure {
        Figure::Value => {
            let value = estimate.value?;
            Some(Bounds { value, low: estimate.low.unwrap_or(value), high: estimate.high.unwrap_or(value) })
        }
        Figure::Low => estimate.low.map(Bounds::exact),
        Figure::High => estimate.high.map(Bounds::exact),
        Figure::N => Some(Bounds::exact(estimate.n as f64)),
        Figure::Missing => Some(Bounds::exact(estimate.missing as f64)),
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

    #[test]
    fn verdicts_are_what_intervals_say() {
        for (gate, verdict) in [
            ("exact.tuned.exact_match >= 0.5", GateVerdict::Pass),
            ("exact.tuned.exact_match >= 0.75", GateVerdict::Unproven),
            ("exact.tuned.exact_match.low >= 0.65", GateVerdict::Pass),
            ("exact.tuned.exact_match >= 0.81", GateVerdict::Fail),
            ("exact.tuned.exact_match.missing <= 1", GateVerdict::Fail),
            ("exact.base.exact_match >= 0.5", GateVerdict::NoData),
            ("exact.tuned.exact_match >= exact.base.exact_match", GateVerdict::NoData),
            ("late.tuned.json_valid >= 0.5", GateVerdict::NotRun),
            ("exact.tuned.exact_match >= late.base.json_valid", GateVerdict::NotRun),
        ] {
            let judged = judge(&plan(&[gate]), &run());
            assert_eq!((judged[0].gate.as_str(), judged[0].verdict), (gate, verdict));
        }
    }

    #[test]
    fn both_sides_are_told() {
        let judged = judge(&plan(&["exact.tuned.exact_match.n + 1 <= 2 * exact.tuned.exact_match.missing"]), &run());
        assert_eq!((judged[0].left, judged[0].right), (Some(9.0), Some(4.0)));
    }
}
