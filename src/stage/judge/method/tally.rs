//! Tallies: what sums up the judgements of rows.

use crate::row::Judgement;
use crate::score::{Estimate, Summary};

/// A judgement, with the lengths of the judged texts in characters.
#[derive(Clone, Copy)]
pub(crate) struct Gathered<'a> {
    pub judgement: &'a Judgement,
    /// Characters of the completion of the node's model.
    pub length: usize,
    /// Characters of the completion with which it is compared; 0 without one.
    pub baseline_length: usize,
}

/// Sums up the judgements of rows.
pub(crate) trait Tally: Send {
    /// Adds the judgements of one row, one per sample.
    fn add(&mut self, row: &[Gathered<'_>]);

    /// Writes the summary; `notes` are for people.
    fn finish(&mut self, summary: &mut Summary, notes: &mut Vec<String>);
}

/// Returns what an estimate would be if every missing row were worst, and if every one were best.
pub(crate) fn bounds(estimate: &Estimate, (low, high): (f64, f64)) -> Option<(Estimate, Estimate)> {
    let (n, missing) = (estimate.n as f64, estimate.missing as f64);
    let sum = estimate.value.map_or(0.0, |value| value * n);
    (n + missing > 0.0).then(|| {
        let at = |end: f64| Estimate {
            value: Some((sum + end * missing) / (n + missing)),
            low: None,
            high: None,
            n: estimate.n + estimate.missing,
            missing: 0,
        };
        (at(low), at(high))
    })
}

/// Adds the bounds of a value to the summary, and a note if rows are missing.
pub(crate) fn add_bounds(name: &str, range: (f64, f64), summary: &mut Summary, notes: &mut Vec<String>) {
    let Some(estimate) = summary.values.get(name).copied() else { return };
    let Some((worst, best)) = bounds(&estimate, range) else { return };
    if estimate.missing > 0
        && estimate.n > 0
        && let (Some(low), Some(high)) = (worst.value, best.value)
    {
        notes.push(format!(
            "coverage: {} of {} rows have no verdict; whatever they would be, {name} lies between {low:.3} and {high:.3}",
            estimate.missing,
            estimate.n + estimate.missing
        ));
    }
    if estimate.n == 0 && estimate.missing > 0 {
        notes.push(format!("coverage: none of {} rows has a verdict", estimate.missing));
    }
    summary.values.insert(format!("{name}.worst"), worst);
    summary.values.insert(format!("{name}.best"), best);
}
