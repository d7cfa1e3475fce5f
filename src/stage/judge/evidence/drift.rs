//! Drift: how a judge's verdicts differ from those of an earlier instrument.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::contrast::{JudgedRows, Pairs, paired_values};
use crate::score::Estimate;
use crate::stage::judge::method::{Method, headline};
use crate::stage::judge::read::Scale;
use crate::stage::{Drift, DriftVerdict, Part, StageError};
use crate::stats::{Adjustment, Interval, Z95, adjust, estimate, mcnemar, paired, wilson};
use crate::store::{Manifest, Store};

/// From this share of flipped verdicts on, the judge has drifted.
const FLIPPED: f64 = 0.10;

/// A verdict worth more than this is good, on 0 to 1.
const GOOD: f64 = 0.5;

/// An interval that lies within this distance of zero shows that nothing shifted, on 0 to 1.
const SAME: f64 = 0.05;

const ALPHA: f64 = 0.05;

/// Returns how the verdicts of two instruments differ: on the same completions if both judged the same ones, else on
/// the golden set (labelled texts and canaries) of both. None if they have nothing in common.
pub(crate) fn drift(
    store: &Store,
    before: &Manifest,
    now: &Manifest,
    method: &dyn Method,
    scale: Option<Scale>,
) -> Result<Option<Drift>, StageError> {
    let completions = |manifest: &Manifest| -> Vec<_> {
        let inputs = manifest.fingerprint.inputs.clone().into_iter();
        inputs.filter(|(part, _)| **part != Part::Rows.name()).collect()
    };
    let is_same_input = completions(before) == completions(now);
    let golden = |manifest: &Manifest| -> BTreeMap<String, f64> {
        let entries = manifest.summary.tables.get("golden").and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(|entry| Some((entry["item"].as_str()?.to_owned(), entry["worth"].as_f64()?))).collect()
    };
    let open = |manifest| JudgedRows::open(store, manifest, method, scale);
    let (basis, said) = if is_same_input {
        ("the same completions", paired_values(open(before)?, open(now)?)?)
    } else {
        let (then, since) = (golden(before), golden(now));
        let both = then.iter().filter_map(|(item, then)| Some([*then, *since.get(item)?])).collect();
        ("the golden set", BTreeMap::from([(headline(method).to_owned(), Pairs { both, alone: 0 })]))
    };
    let pairs = |name: &str| -> Vec<(f64, f64)> {
        said.get(name).into_iter().flat_map(|pairs| &pairs.both).map(|[a, b]| (*a, *b)).collect()
    };
    let whole = pairs(headline(method));
    if whole.is_empty() {
        return Ok(None);
    }
    let count = |holds: fn(&(f64, f64)) -> bool| whole.iter().filter(|pair| holds(pair)).count() as u64;
    let (up, down) = (count(|(a, b)| *a <= GOOD && *b > GOOD), count(|(a, b)| *a > GOOD && *b <= GOOD));
    let (n, flips) = (whole.len() as u64, up + down);
    let mut shifts = IndexMap::new();
    let mut p_values = Vec::new();
    for name in std::iter::once(headline(method)).chain(said.keys().map(String::as_str)) {
        let both = pairs(name);
        if !both.is_empty() && !shifts.contains_key(name) {
            let (shift, p) = shift(&both);
            shifts.insert(name.to_owned(), shift);
            p_values.push(p);
        }
    }
    let is_real = adjust(&p_values, Adjustment::Holm).into_iter().any(|p| p < ALPHA);
    let is_within =
        |shift: &Estimate| shift.low.is_some_and(|low| low > -SAME) && shift.high.is_some_and(|high| high < SAME);
    let verdict = if is_real || flips as f64 > FLIPPED * n as f64 {
        DriftVerdict::Drifted
    } else if shifts.values().next().is_some_and(is_within) {
        DriftVerdict::Same
    } else {
        DriftVerdict::Unknown
    };
    let p = mcnemar(up, down, n).map_or(1.0, |found| found.p(flips));
    Ok(Some(Drift { basis: basis.to_owned(), compared: n, flips, p, shifts, verdict }))
}

/// Returns the mean of second minus first over pairs, with its p.
fn shift(both: &[(f64, f64)]) -> (Estimate, f64) {
    let (a, b): (Vec<f64>, Vec<f64>) = both.iter().copied().unzip();
    let n = both.len() as f64;
    let value = both.iter().map(|(a, b)| b - a).sum::<f64>() / n;
    let is_constant = both.iter().all(|(a, b)| ((b - a) - value).abs() < 1e-12);
    let found = paired(&a, &b).filter(|_| !is_constant);
    let (interval, p) = match found {
        Some(found) => (Some(found.t_interval), found.t.map_or(1.0, |(_, p)| p)),
        // All rows shift alike, so there is no variance; yet other rows could have shifted otherwise.
        None => {
            let half = wilson(0.0, n, Z95).map_or(1.0, |interval| interval.high);
            let is_real = value.abs() > half;
            (Some(Interval { low: value - half, high: value + half }), if is_real { 0.0 } else { 1.0 })
        }
    };
    let estimate = estimate(Some(value), interval, both.len() as u64, 0);
    (estimate, p)
}
