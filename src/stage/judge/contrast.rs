//! What two nodes of a judge stage say of each other, and what a judge says that it did not say before.
//!
//! A share of the ceiling is a ratio of means over the same rows, on a scale that starts at 0 (on 1 to 5 a score
//! of 1 would count as 20 % otherwise); its interval is a percentile bootstrap over rows, of both together.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::method::{Method, Said};
use super::panel::Kin;
use super::verdict::Scale;
use crate::metric::MeanTally;
use crate::row::Judgement;
use crate::score::Estimate;
use crate::stage::{Drift, DriftVerdict, StageError};
use crate::stats::{
    Adjustment, Interval, Z95, adjust, estimate, mcnemar, paired, resampled_sums, sums_interval, wilson,
};
use crate::store::{Manifest, Store};

/// Resamples of a ratio.
const RESAMPLES: usize = 2_000;
/// Rows up to which a ratio is resampled; beyond, the delta method serves.
const RESAMPLED: usize = 5_000;
/// Flipped verdicts from which a judge is another one.
const FLIPPED: f64 = 0.10;
/// Above this what is said is good, on 0 to 1.
const GOOD: f64 = 0.5;
/// Shifts within this are none.
const SAME: f64 = 0.05;
const ALPHA: f64 = 0.05;

/// What a node says of its rows, by value and row: on 0 to 1.
type Values = BTreeMap<String, BTreeMap<String, f64>>;

/// Reads what a node says of its rows, averaged over samples.
fn values(store: &Store, manifest: &Manifest, method: &dyn Method, scale: Option<Scale>) -> Result<Values, StageError> {
    let mut sums: BTreeMap<String, BTreeMap<String, (f64, f64)>> = BTreeMap::new();
    let headline = headline(method);
    for judgement in store.read_artifact::<Judgement>(&manifest.artifact)? {
        let judgement = judgement?;
        let mut add = |name: &str, value: f64| {
            let of_row = sums.entry(name.to_owned()).or_default().entry(judgement.id.clone()).or_default();
            *of_row = (of_row.0 + value, of_row.1 + 1.0);
        };
        if let Some(worth) = method.worth(&Said::of(&judgement)) {
            add(headline, worth);
        }
        if let (Some(scale), Some(scores)) = (scale, &judgement.scores) {
            for (name, score) in scores.iter().filter_map(|(name, score)| Some((name, score.as_f64()?))) {
                add(name, (score - scale.low) / (scale.high - scale.low));
            }
            for (name, pass_at) in method.pass_marks() {
                if let Some(score) = scores.get(&name).and_then(Value::as_f64) {
                    add(&format!("{name}.pass_rate"), f64::from(u8::from(score >= pass_at)));
                }
            }
        }
    }
    let means = |rows: BTreeMap<String, (f64, f64)>| rows.into_iter().map(|(id, (sum, n))| (id, sum / n)).collect();
    Ok(sums.into_iter().map(|(name, rows)| (name, means(rows))).collect())
}

/// Returns what share of the ceiling each value reaches: `overall.of_ceiling`, `accuracy.of_ceiling`.
pub(super) fn of_ceiling(
    store: &Store,
    own: &Manifest,
    ceiling: &Manifest,
    method: &dyn Method,
    scale: Option<Scale>,
) -> Result<IndexMap<String, Estimate>, StageError> {
    let (own, ceiling) = (values(store, own, method, scale)?, values(store, ceiling, method, scale)?);
    let mut found = IndexMap::new();
    for (name, rows) in &own {
        let Some(tops) = ceiling.get(name) else { continue };
        let pairs: Vec<[f64; 2]> = rows.iter().filter_map(|(id, mine)| Some([*mine, *tops.get(id)?])).collect();
        let seed = crate::stage::seed_of("of_ceiling", &name.as_str().into());
        if let Some(estimate) = ratio(&pairs, seed) {
            let missing = (rows.len().max(tops.len()) - pairs.len()) as u64;
            found.insert(format!("{name}.of_ceiling"), Estimate { missing, ..estimate });
        }
    }
    Ok(found)
}

/// Returns how much more judges give their own kin than the judges do that are kin of neither model: the difference
/// of their differences, over the rows that both models have.
pub(super) fn self_preference(
    store: &Store,
    own: &Manifest,
    other: &Manifest,
    method: &dyn Method,
    kin: &[Kin],
) -> Result<IndexMap<String, Estimate>, StageError> {
    let mut found = IndexMap::new();
    let has = |wanted: Kin| kin.contains(&wanted);
    if !(has(Kin::None) && (has(Kin::Own) || has(Kin::Other))) {
        return Ok(found);
    }
    let (own, other) = (by_judge(store, own, method)?, by_judge(store, other, method)?);
    let mut tally = MeanTally::new(crate::stage::seed_of("self_preference", &Value::Null));
    for (id, mine) in &own {
        let Some(theirs) = other.get(id) else { continue };
        // Own model less the other, by judges of a kind.
        let gap = |wanted: Kin| {
            let gaps: Vec<f64> = (0..kin.len())
                .filter(|judge| kin[*judge] == wanted)
                .filter_map(|judge| Some(mine.get(&(judge as u32))? - theirs.get(&(judge as u32))?))
                .collect();
            (!gaps.is_empty()).then(|| gaps.iter().sum::<f64>() / gaps.len() as f64)
        };
        let Some(rest) = gap(Kin::None) else { continue };
        let more: Vec<f64> = [gap(Kin::Own).map(|gap| gap - rest), gap(Kin::Other).map(|gap| rest - gap)]
            .into_iter()
            .flatten()
            .collect();
        if !more.is_empty() {
            tally.add_value(Some(more.iter().sum::<f64>() / more.len() as f64));
        }
    }
    found.insert("self_preference".to_owned(), tally.estimate());
    Ok(found)
}

/// Returns what each judge says of each row, averaged over samples.
fn by_judge(
    store: &Store,
    manifest: &Manifest,
    method: &dyn Method,
) -> Result<BTreeMap<String, BTreeMap<u32, f64>>, StageError> {
    let mut sums: BTreeMap<String, BTreeMap<u32, (f64, f64)>> = BTreeMap::new();
    for judgement in store.read_artifact::<Judgement>(&manifest.artifact)? {
        let judgement = judgement?;
        for vote in &judgement.votes {
            if let Some(worth) = method.worth(&Said::of_vote(vote)) {
                let sum = sums.entry(judgement.id.clone()).or_default().entry(vote.judge).or_default();
                *sum = (sum.0 + worth, sum.1 + 1.0);
            }
        }
    }
    let means = |judges: BTreeMap<u32, (f64, f64)>| judges.into_iter().map(|(judge, (sum, n))| (judge, sum / n));
    Ok(sums.into_iter().map(|(id, judges)| (id, means(judges).collect())).collect())
}

/// Returns the ratio of two means with its interval; none where the second is 0.
fn ratio(pairs: &[[f64; 2]], seed: u64) -> Option<Estimate> {
    let n = pairs.len() as f64;
    let mean = |of: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (mine, top) = (mean(&|pair| pair[0]), mean(&|pair| pair[1]));
    if pairs.is_empty() || top <= 0.0 {
        return None;
    }
    let value = mine / top;
    let interval = if pairs.len() <= RESAMPLED {
        let units: Vec<f64> = pairs.iter().flatten().copied().collect();
        let sums = resampled_sums(&units, 2, RESAMPLES, seed);
        let resampled = sums_interval(&sums, 2, |sums| (sums[1] > 0.0).then(|| sums[0] / sums[1]));
        // Where all rows are alike there is nothing to resample, and yet other rows could have come out otherwise.
        resampled.filter(|interval| interval.high > interval.low).or_else(|| {
            let (of_mine, of_top) = (wilson(mine * n, n, Z95)?, wilson(top * n, n, Z95)?);
            let high = if of_top.low > 0.0 { mine / of_top.low } else { value };
            Some(Interval { low: of_mine.low / top, high: high.max(value) })
        })
    } else {
        // Delta method: the ratio moves as mine − value · top does, over the mean of the top.
        let variance = mean(&|pair| (pair[0] - value * pair[1]).powi(2)) / (n - 1.0);
        let half = Z95 * variance.sqrt() / top;
        Some(Interval { low: value - half, high: value + half })
    };
    let interval = interval.filter(|_| pairs.len() > 1);
    Some(estimate(Some(value), interval, pairs.len() as u64, 0))
}

/// Returns how another judge judges what was judged before: the same rows where nothing else changed, else the
/// labelled texts and canaries of both. None where there is nothing to hold one against the other.
pub(super) fn drift(
    store: &Store,
    before: &Manifest,
    now: &Manifest,
    method: &dyn Method,
    scale: Option<Scale>,
) -> Result<Option<Drift>, StageError> {
    let completions = |manifest: &Manifest| -> Vec<_> {
        let inputs = manifest.fingerprint.inputs.clone().into_iter();
        inputs.filter(|(part, _)| part != crate::stage::ROWS).collect()
    };
    let is_same_input = completions(before) == completions(now);
    let golden = |manifest: &Manifest| -> Values {
        let entries = manifest.summary.tables.get("golden").and_then(Value::as_array).into_iter().flatten();
        let worths =
            entries.filter_map(|entry| Some((entry["item"].as_str()?.to_owned(), entry["worth"].as_f64()?))).collect();
        BTreeMap::from([(headline(method).to_owned(), worths)])
    };
    let (basis, then, since) = if is_same_input {
        ("the same completions", values(store, before, method, scale)?, values(store, now, method, scale)?)
    } else {
        ("the golden set", golden(before), golden(now))
    };
    let pairs = |name: &str| -> Vec<(f64, f64)> {
        let (Some(then), Some(since)) = (then.get(name), since.get(name)) else { return Vec::new() };
        then.iter().filter_map(|(id, then)| Some((*then, *since.get(id)?))).collect()
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
    for name in std::iter::once(headline(method)).chain(then.keys().map(String::as_str)) {
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

/// Returns the mean difference of pairs, second less first, with its p.
fn shift(both: &[(f64, f64)]) -> (Estimate, f64) {
    let (a, b): (Vec<f64>, Vec<f64>) = both.iter().copied().unzip();
    let n = both.len() as f64;
    let value = both.iter().map(|(a, b)| b - a).sum::<f64>() / n;
    let is_constant = both.iter().all(|(a, b)| ((b - a) - value).abs() < 1e-12);
    let found = paired(&a, &b).filter(|_| !is_constant);
    let (interval, p) = match found {
        Some(found) => (Some(found.t_interval), found.t.map_or(1.0, |(_, p)| p)),
        // All rows shift alike: other rows could have shifted otherwise.
        None => {
            let half = wilson(0.0, n, Z95).map_or(1.0, |interval| interval.high);
            let is_real = value.abs() > half;
            (Some(Interval { low: value - half, high: value + half }), if is_real { 0.0 } else { 1.0 })
        }
    };
    let estimate = estimate(Some(value), interval, both.len() as u64, 0);
    (estimate, p)
}

fn headline(method: &dyn Method) -> &'static str {
    method.headline().map_or("overall", |(name, _)| name)
}
