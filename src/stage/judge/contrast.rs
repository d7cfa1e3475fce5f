//! What two nodes of a judge stage say of each other, and what a judge says that it did not say before.
//!
//! A share of the ceiling is a ratio of means over the same rows, on a scale that starts at 0 (on 1 to 5 a score
//! of 1 would count as 20 % otherwise); its interval is a percentile bootstrap over rows, of both together.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;

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
use crate::store::{ArtifactReader, Manifest, Store};

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

/// What a node says of a row, by value: on 0 to 1.
type Values = BTreeMap<String, f64>;

/// A node's judgements, row by row. Artifacts are sorted by id, so that two of them are merged without holding
/// either.
struct Rows<'a> {
    judgements: Peekable<ArtifactReader<Judgement>>,
    method: &'a dyn Method,
    scale: Option<Scale>,
}

impl<'a> Rows<'a> {
    fn open(
        store: &Store,
        manifest: &Manifest,
        method: &'a dyn Method,
        scale: Option<Scale>,
    ) -> Result<Rows<'a>, StageError> {
        Ok(Rows { judgements: store.read_artifact(&manifest.artifact)?.peekable(), method, scale })
    }

    /// Returns the judgements of the next row.
    fn next_row(&mut self) -> Result<Option<(String, Vec<Judgement>)>, StageError> {
        let Some(first) = self.judgements.next().transpose()? else { return Ok(None) };
        let id = first.id.clone();
        let mut row = vec![first];
        while let Some(judgement) =
            self.judgements.next_if(|judgement| judgement.as_ref().map_or(true, |judgement| judgement.id == id))
        {
            row.push(judgement?);
        }
        Ok(Some((id, row)))
    }

    /// Returns what is said of a row, averaged over samples; a pass is one of the mean score.
    fn values(&self, row: &[Judgement]) -> Values {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        let mut add = |name: &'static str, value: Option<f64>| {
            if let Some(value) = value {
                let sum = sums.entry(name).or_default();
                *sum = (sum.0 + value, sum.1 + 1.0);
            }
        };
        for judgement in row {
            add(headline(self.method), self.method.worth(&Said::of(judgement)));
        }
        let mut values: Values = sums.iter().map(|(name, (sum, n))| ((*name).to_owned(), sum / n)).collect();
        let Some(scale) = self.scale else { return values };
        let mut scores: BTreeMap<&String, (f64, f64)> = BTreeMap::new();
        for (name, score) in row.iter().filter_map(|judgement| judgement.scores.as_ref()).flatten() {
            if let Some(score) = score.as_f64() {
                let sum = scores.entry(name).or_default();
                *sum = (sum.0 + score, sum.1 + 1.0);
            }
        }
        let marks = self.method.pass_marks();
        for (name, (sum, n)) in scores {
            let mean = sum / n;
            values.insert(name.clone(), (mean - scale.low) / (scale.high - scale.low));
            if let Some((_, pass_at)) = marks.iter().find(|(criterion, _)| criterion == name) {
                values.insert(format!("{name}.pass_rate"), f64::from(u8::from(mean >= *pass_at)));
            }
        }
        values
    }
}

/// Goes through the rows of two nodes together; a row that one of them lacks has none there.
fn merged(
    mut own: Rows<'_>,
    mut other: Rows<'_>,
    mut each: impl FnMut(Option<&[Judgement]>, Option<&[Judgement]>, (&Rows<'_>, &Rows<'_>)),
) -> Result<(), StageError> {
    let (mut mine, mut theirs) = (own.next_row()?, other.next_row()?);
    loop {
        let order = match (&mine, &theirs) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let first = mine.as_ref().filter(|_| order != Ordering::Greater).map(|(_, row)| row.as_slice());
        let second = theirs.as_ref().filter(|_| order != Ordering::Less).map(|(_, row)| row.as_slice());
        each(first, second, (&own, &other));
        if order != Ordering::Greater {
            mine = own.next_row()?;
        }
        if order != Ordering::Less {
            theirs = other.next_row()?;
        }
    }
}

/// Two nodes' values of the same rows, and how many rows only one of them has a value for.
#[derive(Default)]
struct Pairs {
    both: Vec<[f64; 2]>,
    alone: u64,
}

/// Returns what two nodes say of the same rows, by value.
fn paired_values(own: Rows<'_>, other: Rows<'_>) -> Result<BTreeMap<String, Pairs>, StageError> {
    let mut found: BTreeMap<String, Pairs> = BTreeMap::new();
    merged(own, other, |mine, theirs, (own, other)| {
        let mine = mine.map(|row| own.values(row)).unwrap_or_default();
        let mut theirs = theirs.map(|row| other.values(row)).unwrap_or_default();
        for (name, value) in mine {
            let pairs = found.entry(name.clone()).or_default();
            match theirs.remove(&name) {
                Some(other) => pairs.both.push([value, other]),
                None => pairs.alone += 1,
            }
        }
        for (name, _) in theirs {
            found.entry(name).or_default().alone += 1;
        }
    })?;
    Ok(found)
}

/// Returns what share of the ceiling each value reaches: `overall.of_ceiling`, `accuracy.of_ceiling`.
pub(super) fn of_ceiling(
    store: &Store,
    own: &Manifest,
    ceiling: &Manifest,
    method: &dyn Method,
    scale: Option<Scale>,
) -> Result<IndexMap<String, Estimate>, StageError> {
    let open = |manifest| Rows::open(store, manifest, method, scale);
    let mut found = IndexMap::new();
    for (name, pairs) in paired_values(open(own)?, open(ceiling)?)? {
        let seed = crate::stage::seed_of("of_ceiling", &name.as_str().into());
        if let Some(estimate) = ratio(&pairs.both, seed) {
            found.insert(format!("{name}.of_ceiling"), Estimate { missing: pairs.alone, ..estimate });
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
    let mut tally = MeanTally::new(crate::stage::seed_of("self_preference", &Value::Null));
    let open = |manifest| Rows::open(store, manifest, method, None);
    merged(open(own)?, open(other)?, |mine, theirs, _| {
        let (Some(mine), Some(theirs)) = (mine, theirs) else { return };
        let (mine, theirs) = (by_judge(mine, method), by_judge(theirs, method));
        // Own model less the other, by judges of a kind.
        let gap = |wanted: Kin| {
            let gaps: Vec<f64> = (0..kin.len())
                .filter(|judge| kin[*judge] == wanted)
                .filter_map(|judge| Some(mine.get(&(judge as u32))? - theirs.get(&(judge as u32))?))
                .collect();
            (!gaps.is_empty()).then(|| gaps.iter().sum::<f64>() / gaps.len() as f64)
        };
        let Some(rest) = gap(Kin::None) else { return };
        let more: Vec<f64> = [gap(Kin::Own).map(|gap| gap - rest), gap(Kin::Other).map(|gap| rest - gap)]
            .into_iter()
            .flatten()
            .collect();
        if !more.is_empty() {
            tally.add_value(Some(more.iter().sum::<f64>() / more.len() as f64));
        }
    })?;
    found.insert("self_preference".to_owned(), tally.estimate());
    Ok(found)
}

/// Returns what each judge says of a row, averaged over samples.
fn by_judge(row: &[Judgement], method: &dyn Method) -> BTreeMap<u32, f64> {
    let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for vote in row.iter().flat_map(|judgement| &judgement.votes) {
        if let Some(worth) = method.worth(&Said::of_vote(vote)) {
            let sum = sums.entry(vote.judge).or_default();
            *sum = (sum.0 + worth, sum.1 + 1.0);
        }
    }
    sums.into_iter().map(|(judge, (sum, n))| (judge, sum / n)).collect()
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
            Some(Interval { low: of_mine.low / top, high: high.max(of_mine.high / top) })
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
    let golden = |manifest: &Manifest| -> BTreeMap<String, f64> {
        let entries = manifest.summary.tables.get("golden").and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(|entry| Some((entry["item"].as_str()?.to_owned(), entry["worth"].as_f64()?))).collect()
    };
    let open = |manifest| Rows::open(store, manifest, method, scale);
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
