//! Gates over several values of the same rows, judged row by row.
//!
//! A gate such as `exact.tuned.exact_match > exact.base.exact_match` is a sum of values (left less right) that is compared
//! with 0. Where each value is a mean over rows, the sum has a value for each row, and rows that both models get right,
//! or wrong, say nothing of their difference. Its interval is much narrower than what two separate ones leave open.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::session::Session;
use crate::digest::{Digest, canonical};
use crate::plan::{Figure, GateTerm, find_term};
use crate::record::Run;
use crate::row::Row;
use crate::spec::{Bounds, Expression, Gate};
use crate::stage::{self, Part, RowValues, StageError};
use crate::stats::{Interval, Known, mean_interval, sign_test};
use crate::store::{ByRow, Manifest};

/// Bumped when the kept values change their meaning.
const REVISION: u32 = 2;
/// At most so many rows that only one model has are named.
const NAMED: usize = 5;

/// A gate's left side less its right side, row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Paired {
    /// The mean of the difference over the rows that have all values, with its interval.
    pub difference: Bounds,
    /// The same with every other row at its worst, and at its best.
    pub worst: Bounds,
    pub n: u64,
    /// Rows that lack one of the values.
    pub missing: u64,
    /// Some of the rows that have one value and lack another.
    pub alone: Vec<String>,
    /// The means of the values over the rows that have all, in the order of the terms.
    pub means: Vec<f64>,
    /// Of values that are 0 or 1: the exact two-sided p of the rows that differ (McNemar 1947).
    pub p: Option<f64>,
}

impl Paired {
    /// Returns both sides of the gate over the rows that have all values.
    pub fn sides(&self, gate: &Gate) -> Option<(f64, f64)> {
        let (sum, _) = gate.weighted()?;
        let mean = |term: &crate::spec::Term| {
            let place = sum.terms.iter().position(|(known, _)| known.path == term.path)?;
            self.means.get(place).copied().map(Bounds::exact)
        };
        Some((gate.left.evaluate(&mean)?.value, gate.right.evaluate(&mean)?.value))
    }
}

/// Returns true if a value of a gate is the mean of what its rows have.
pub(super) fn is_mean(session: &Session, manifests: &[Option<Manifest>], term: &GateTerm, value: f64) -> bool {
    let Some(manifest) = &manifests[term.node] else { return false };
    let found = Found { term: term.clone(), factor: 1.0, manifest, value, missing: 0 };
    row_values(session, &found).is_ok_and(|values| values.is_some())
}

/// A value of a gate, found.
struct Found<'a> {
    term: GateTerm,
    factor: f64,
    manifest: &'a Manifest,
    value: f64,
    missing: u64,
}

/// Returns a gate's difference row by row; none where it has no such difference: it has a single value, a value is no mean
/// over rows, or the values are of different datasets.
pub(super) fn paired(
    session: &Session,
    manifests: &[Option<Manifest>],
    run: &Run,
    gate: &Gate,
    lookup: &dyn Fn(&crate::spec::Term) -> Option<Bounds>,
) -> Option<Paired> {
    let (sum, divisor) = gate.weighted()?;
    let is_positive = |divisor: &Expression| divisor.evaluate(lookup).is_some_and(|bounds| bounds.low > 0.0);
    if sum.terms.len() < 2 || divisor.is_some_and(|divisor| !is_positive(divisor)) {
        return None;
    }
    let plan = &session.plan;
    let found = sum.terms.iter().map(|(term, factor)| {
        let term = find_term(plan, term).ok()?;
        let node = &plan.nodes[term.node];
        let values = &run.summary.get(&node.stage_name)?.get(node.column())?.values;
        let is_plain = term.figure == Figure::Value && node.input(Part::Rows).is_some();
        let estimate = values.get(&term.value).filter(|_| is_plain)?;
        let manifest = manifests[term.node].as_ref()?;
        Some(Found { factor: *factor, manifest, value: estimate.value?, missing: estimate.missing, term })
    });
    let found: Vec<Found<'_>> = found.collect::<Option<_>>()?;
    let roots: BTreeSet<usize> = found.iter().filter_map(|one| plan.nodes[one.term.node].input(Part::Rows)).collect();
    let [root] = roots.into_iter().collect::<Vec<_>>()[..] else { return None };
    let rows = manifests[root].as_ref()?;
    let facts = json!([
        REVISION,
        found
            .iter()
            .map(|one| json!([one.manifest.key, one.manifest.artifact.digest, one.term.value, one.factor]))
            .collect::<Vec<_>>(),
        sum.constant,
        rows.artifact.digest,
    ]);
    let key = Digest::of_json("etalon.gate", &facts);
    if let Some(kept) =
        session.store.contrast(&key).and_then(|kept| serde_json::from_value::<Option<Paired>>(kept).ok())
    {
        return kept;
    }
    // Damage is found and mended where the rows themselves are read; a gate falls back to separate intervals then.
    let paired = by_row(session, &found, sum.constant, rows).ok()?;
    _ = session.store.keep_contrast(&key, &serde_json::to_value(&paired).expect("numbers serialise"));
    paired
}

/// Returns the values of a node's rows, if their mean is the node's value.
fn row_values(session: &Session, found: &Found<'_>) -> Result<Option<RowValues>, StageError> {
    let stage = &session.plan.nodes[found.term.node].stage;
    let values = stage.row_values(&session.store, found.manifest, &found.term.value)?;
    Ok(values.filter(|values| stage::is_mean(values, found.value)))
}

fn by_row(
    session: &Session,
    found: &[Found<'_>],
    constant: f64,
    rows: &Manifest,
) -> Result<Option<Paired>, StageError> {
    let mut columns = Vec::new();
    for one in found {
        let Some(values) = row_values(session, one)? else { return Ok(None) };
        columns.push(values);
    }
    let has_all = |id: &&String| columns.iter().all(|values| values.contains_key(*id));
    let all: BTreeSet<&String> = columns.iter().flat_map(RowValues::keys).collect();
    let (shared, alone): (Vec<&String>, Vec<&String>) = all.iter().partition(|id| has_all(id));
    if shared.is_empty() {
        return Ok(None);
    }
    let of = |id: &String| columns.iter().map(|values| values[id]).collect::<Vec<f64>>();
    let difference =
        |id: &&String| of(id).into_iter().zip(found).map(|(value, one)| value * one.factor).sum::<f64>() + constant;
    let differences: Vec<f64> = shared.iter().map(difference).collect();
    let ranges: Option<Vec<(f64, f64)>> =
        found.iter().map(|one| session.plan.nodes[one.term.node].stage.range(&one.term.value)).collect();
    let range = ranges.as_ref().map(|ranges| {
        ranges.iter().zip(found).fold((constant, constant), |(low, high), (range, one)| {
            let ends = (range.0 * one.factor, range.1 * one.factor);
            (low + ends.0.min(ends.1), high + ends.0.max(ends.1))
        })
    });
    let is_all_or_nothing = ranges.as_ref().is_some_and(|ranges| {
        let at_end = |(value, range): (f64, &(f64, f64))| value == range.0 || value == range.1;
        shared.iter().all(|id| of(id).into_iter().zip(ranges).all(at_end))
    });
    let clusters = clusters(session, found, rows)?;
    let clusters: Vec<u64> = match &clusters {
        Some(clusters) => shared.iter().map(|id| clusters.get(*id).copied().unwrap_or_default()).collect(),
        None => Vec::new(),
    };
    let n = shared.len() as f64;
    let value = differences.iter().sum::<f64>() / n;
    let known = Known { range, is_all_or_nothing, is_clustered: false };
    let open = Interval { low: f64::MIN, high: f64::MAX };
    let interval = mean_interval(&differences, &clusters, &known).unwrap_or(open);
    let bounds =
        Bounds { value, low: interval.low.max(f64::MIN).min(value), high: interval.high.min(f64::MAX).max(value) };
    let most = found.iter().zip(&columns).map(|(one, values)| values.len() as u64 + one.missing).max();
    let missing = most.unwrap_or(0).max(all.len() as u64) - shared.len() as u64;
    let is_plain = constant == 0.0 && found.iter().map(|one| one.factor).sum::<f64>() == 0.0 && found.len() == 2;
    Ok(Some(Paired {
        worst: with_missing(bounds, n, missing as f64, range),
        difference: bounds,
        n: shared.len() as u64,
        missing,
        alone: alone.iter().take(NAMED).map(|id| (*id).clone()).collect(),
        means: columns.iter().map(|values| shared.iter().map(|id| values[*id]).sum::<f64>() / n).collect(),
        p: (is_plain && is_all_or_nothing && clusters.is_empty()).then(|| sign_p(&differences)),
    }))
}

/// Returns the bounds of a mean over n rows if further rows count, each at the worst and at the best that it can be (Horowitz &
/// Manski 2000).
pub(super) fn with_missing(bounds: Bounds, n: f64, missing: f64, range: Option<(f64, f64)>) -> Bounds {
    if missing == 0.0 {
        return bounds;
    }
    let Some((least, greatest)) = range else {
        return Bounds { low: f64::MIN, high: f64::MAX, ..bounds };
    };
    let mix = |end: f64, other: f64| (n * end + missing * other) / (n + missing);
    Bounds { value: bounds.value, low: mix(bounds.low, least), high: mix(bounds.high, greatest) }
}

/// Returns the exact two-sided p of the rows that differ.
fn sign_p(differences: &[f64]) -> f64 {
    let better = differences.iter().filter(|d| **d > 0.0).count() as u64;
    let worse = differences.iter().filter(|d| **d < 0.0).count() as u64;
    sign_test(better, better + worse)
}

/// Returns the cluster of each row, if a stage of the gate has clusters.
fn clusters(
    session: &Session,
    found: &[Found<'_>],
    rows: &Manifest,
) -> Result<Option<BTreeMap<String, u64>>, StageError> {
    let stages = found.iter().map(|one| &session.plan.nodes[one.term.node].stage);
    let Some(column) = stages.filter_map(|stage| stage.cluster()).next() else { return Ok(None) };
    let mut clusters = BTreeMap::new();
    let mut by_row = ByRow::<Row>::open(&session.store, &rows.artifact)?;
    while let Some((id, row)) = by_row.next_row()? {
        let value = row.first().and_then(|row| row.columns.get(column)).filter(|value| !value.is_null());
        // A row that belongs to nothing stands for itself.
        let digest = value.map_or_else(|| Digest::of(id.as_bytes()), |value| Digest::of(&canonical(value)));
        clusters.insert(id, digest.seed());
    }
    Ok(Some(clusters))
}
