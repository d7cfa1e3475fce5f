//! Gates: conditions on the summary that decide the exit code.

use serde::{Deserialize, Serialize};

use super::RunSummary;
use crate::plan::{Figure, Plan, find_term};
use crate::score::Estimate;
use crate::spec::{Bounds, Gate, Term};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// It holds, also with every value at its unfavourable end.
    Pass,
    /// It holds at the estimates, and chance could explain it. Passes.
    Unproven,
    Fail,
    /// A value has no data.
    NoData,
    /// A node was not part of this run.
    NotRun,
}

/// A gate, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    pub gate: String,
    pub verdict: Verdict,
    pub left: Option<f64>,
    pub right: Option<f64>,
}

/// Judges every gate of a plan.
pub(super) fn judge(plan: &Plan, run: &RunSummary) -> Vec<GateResult> {
    plan.spec.gates.iter().map(|gate| judge_one(plan, run, gate)).collect()
}

fn judge_one(plan: &Plan, run: &RunSummary, gate: &Gate) -> GateResult {
    let lookup = |term: &Term| bounds(plan, run, term);
    let (left, right) = (gate.left.evaluate(&lookup), gate.right.evaluate(&lookup));
    let terms = gate.left.terms().into_iter().chain(gate.right.terms());
    let was_run = terms.filter_map(|term| find_term(plan, term).ok()).all(|found| {
        let name = &plan.nodes[found.node].name;
        run.nodes.iter().any(|node| node.node == *name)
    });
    let verdict = match (left, right) {
        _ if !was_run => Verdict::NotRun,
        (Some(left), Some(right)) if !gate.comparison.holds(left.value, right.value) => Verdict::Fail,
        (Some(left), Some(right)) if gate.comparison.is_proven(left, right) => Verdict::Pass,
        (Some(_), Some(_)) => Verdict::Unproven,
        _ => Verdict::NoData,
    };
    GateResult {
        gate: gate.text.clone(),
        verdict,
        left: left.map(|left| left.value),
        right: right.map(|right| right.value),
    }
}

fn bounds(plan: &Plan, run: &RunSummary, term: &Term) -> Option<Bounds> {
    let found = find_term(plan, term).ok()?;
    let node = &plan.nodes[found.node];
    let estimate: &Estimate = run.summary.get(&node.stage_name)?.get(node.column())?.values.get(&found.value)?;
    match found.figure {
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
