//! Values of a judge node that need another node: its share of the ceiling, and preferences of judges.
//!
//! A share of the ceiling is a ratio of means over the same rows, on a scale that starts at 0; otherwise a score of 1
//! on a scale of 1 to 5 would count as 20 %. Its interval is a percentile bootstrap that resamples the rows of both
//! nodes together.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::lineage::Kin;
use crate::metric::MeanTally;
use crate::row::Judgement;
use crate::score::Estimate;
use crate::stage::judge::method::{Method, Said, headline};
use crate::stage::judge::read::Scale;
use crate::stage::{RowValues, StageError};
use crate::stats::{Interval, Known, MeanSums, estimate};
use crate::store::{ByRow, Manifest, Store, outer};

/// The values of one row in a node, by name, each on 0 to 1.
type Values = BTreeMap<String, f64>;

/// A node's judgements, row by row. Artifacts are sorted by id, so two nodes are merged without holding either in
/// memory.
pub(crate) struct JudgedRows<'a> {
    judgements: ByRow<Judgement>,
    reading: Numbers<'a>,
}

/// How judgements become numbers.
#[derive(Clone, Copy)]
struct Numbers<'a> {
    method: &'a dyn Method,
    scale: Option<Scale>,
}

impl<'a> JudgedRows<'a> {
    /// Opens the judgements of a node.
    pub fn open(
        store: &Store,
        manifest: &Manifest,
        method: &'a dyn Method,
        scale: Option<Scale>,
    ) -> Result<JudgedRows<'a>, StageError> {
        Ok(JudgedRows { judgements: ByRow::open(store, &manifest.artifact)?, reading: Numbers { method, scale } })
    }
}

impl Numbers<'_> {
    /// Returns the values of a row, averaged over its samples. A row passes a criterion if its mean score does.
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

/// The values of two nodes for the same rows, and how many rows have a value in one node only.
#[derive(Default)]
pub(crate) struct Pairs {
    /// The value of the own node and of the other, for each row that both have.
    pub both: Vec<[f64; 2]>,
    /// How many rows only one of the nodes has a value for.
    pub alone: u64,
}

/// Returns the values of two nodes for the same rows, by name.
pub(crate) fn paired_values(own: JudgedRows<'_>, other: JudgedRows<'_>) -> Result<BTreeMap<String, Pairs>, StageError> {
    let mut found: BTreeMap<String, Pairs> = BTreeMap::new();
    let (of_own, of_other) = (own.reading, other.reading);
    outer(own.judgements, other.judgements, |_, mine, theirs| {
        let mut theirs = of_other.values(theirs);
        for (name, value) in of_own.values(mine) {
            let pairs = found.entry(name.clone()).or_default();
            match theirs.remove(&name) {
                Some(other) => pairs.both.push([value, other]),
                None => pairs.alone += 1,
            }
        }
        for (name, _) in theirs {
            found.entry(name).or_default().alone += 1;
        }
        true
    })?;
    Ok(found)
}

/// Returns a value of each row, in the unit in which the node has it; none if rows have no such value.
pub(crate) fn row_values(
    store: &Store,
    node: &Manifest,
    method: &dyn Method,
    scale: Option<Scale>,
    value: &str,
) -> Result<Option<RowValues>, StageError> {
    let JudgedRows { mut judgements, reading } = JudgedRows::open(store, node, method, scale)?;
    // The mean of a rubric is its overall score, put on the scale.
    let is_mean = value == "mean" && scale.is_some();
    let value = if is_mean { "overall" } else { value };
    let own = method.headline().filter(|(name, _)| *name == value && !is_mean).map(|(_, bounds)| bounds);
    let is_share = value.ends_with(".pass_rate");
    let bounds = own.or_else(|| scale.filter(|_| !is_share).map(|scale| (scale.low, scale.high)));
    let mut found = RowValues::new();
    while let Some((id, row)) = judgements.next_row()? {
        if let Some(number) = reading.values(&row).get(value) {
            found.insert(id, bounds.map_or(*number, |(low, high)| low + number * (high - low)));
        }
    }
    Ok((!found.is_empty()).then_some(found))
}

/// Returns each value as a share of the ceiling's: `overall.of_ceiling`, `accuracy.of_ceiling`.
pub(crate) fn of_ceiling(
    store: &Store,
    own: &Manifest,
    ceiling: &Manifest,
    method: &dyn Method,
    scale: Option<Scale>,
) -> Result<IndexMap<String, Estimate>, StageError> {
    let open = |manifest| JudgedRows::open(store, manifest, method, scale);
    let mut found = IndexMap::new();
    for (name, pairs) in paired_values(open(own)?, open(ceiling)?)? {
        if let Some(estimate) = ratio(&pairs.both) {
            found.insert(format!("{name}.of_ceiling"), Estimate { missing: pairs.alone, ..estimate });
        }
    }
    Ok(found)
}

/// Returns how much judges favour their own kin. Kin judges and judges that are kin of neither model each see a
/// difference between the two models; the result is the difference of those differences, over the rows that both models
/// have.
pub(crate) fn self_preference(
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
    let mut tally = MeanTally::new();
    let open = |manifest: &Manifest| ByRow::<Judgement>::open(store, &manifest.artifact);
    outer(open(own)?, open(other)?, |_, mine, theirs| {
        let (mine, theirs) = (by_judge(mine, method), by_judge(theirs, method));
        // The own model's value minus the other's, averaged over the judges that are this kin.
        let gap = |wanted: Kin| {
            let gaps: Vec<f64> = (0..kin.len())
                .filter(|judge| kin[*judge] == wanted)
                .filter_map(|judge| Some(mine.get(&(judge as u32))? - theirs.get(&(judge as u32))?))
                .collect();
            (!gaps.is_empty()).then(|| gaps.iter().sum::<f64>() / gaps.len() as f64)
        };
        let Some(rest) = gap(Kin::None) else { return true };
        let more: Vec<f64> = [gap(Kin::Own).map(|gap| gap - rest), gap(Kin::Other).map(|gap| rest - gap)]
            .into_iter()
            .flatten()
            .collect();
        if !more.is_empty() {
            tally.add_value(Some(more.iter().sum::<f64>() / more.len() as f64));
        }
        true
    })?;
    found.insert("self_preference".to_owned(), tally.estimate());
    Ok(found)
}

/// Returns the worth of a row's verdicts by judge, averaged over samples.
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

/// Returns the ratio of two means with its interval; none if the second mean is 0.
///
/// The interval holds every ratio θ for which the mean of `mine − θ · top` over rows may be 0 (Fieller 1954), so that it
/// never contradicts a gate that compares the two row by row. Its upper end is open if `top` may be 0.
fn ratio(pairs: &[[f64; 2]]) -> Option<Estimate> {
    let n = pairs.len() as f64;
    let mean = |of: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (mine, top) = (mean(&|pair| pair[0]), mean(&|pair| pair[1]));
    if pairs.is_empty() || top <= 0.0 {
        return None;
    }
    let value = mine / top;
    let is_all_or_nothing = pairs.iter().flatten().all(|value| *value == 0.0 || *value == 1.0);
    let of = |ratio: f64| {
        let mut sums = MeanSums::default();
        pairs.iter().for_each(|pair| sums.add(pair[0] - ratio * pair[1], 1.0));
        let known = Known { range: Some((-ratio, 1.0)), is_all_or_nothing, is_clustered: false };
        sums.interval(&known).unwrap_or(Interval { low: f64::NEG_INFINITY, high: f64::INFINITY })
    };
    let most = 1_000.0 * value.max(1.0);
    let low = if of(0.0).low <= 0.0 { 0.0 } else { turn(0.0, value, |ratio| of(ratio).low <= 0.0) };
    let high = if of(most).high >= 0.0 { f64::INFINITY } else { turn(value, most, |ratio| of(ratio).high < 0.0) };
    let interval = (pairs.len() > 1).then_some(Interval { low: low.min(value), high: high.max(value) });
    Some(estimate(Some(value), interval, pairs.len() as u64, 0))
}

/// Returns where a condition turns true between two numbers, by bisection.
fn turn(mut below: f64, mut above: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..40 {
        let middle = (below + above) / 2.0;
        if holds(middle) { above = middle } else { below = middle }
    }
    (below + above) / 2.0
}
