//! Values of a judge node that need another node: its share of the ceiling, and preferences of judges.
//!
//! A share of the ceiling is a ratio of means over the same rows, on a scale that starts at 0; otherwise a score of 1
//! on a scale of 1 to 5 would count as 20 %. Its interval is a percentile bootstrap that resamples the rows of both
//! nodes together.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::lineage::Kin;
use crate::metric::MeanTally;
use crate::row::Judgement;
use crate::score::Estimate;
use crate::stage::judge::method::{Method, Said, headline};
use crate::stage::judge::read::Scale;
use crate::stage::{RowValues, StageError};
use crate::stats::{Interval, Z95, estimate, resampled_sums, sums_interval, wilson};
use crate::store::{ByRow, Manifest, Store, outer};

/// How many resamples a ratio gets.
const RESAMPLES: usize = 2_000;

/// Up to so many rows a ratio is resampled; beyond, the delta method is used.
const RESAMPLED: usize = 5_000;

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
    let own = method.headline().filter(|(name, _)| *name == value).map(|(_, bounds)| bounds);
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
        let seed = crate::stage::seed_of("of_ceiling", &name.as_str().into());
        if let Some(estimate) = ratio(&pairs.both, seed) {
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
    let mut tally = MeanTally::new(crate::stage::seed_of("self_preference", &Value::Null));
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
        // If all rows are alike, resampling gives an interval without width, although other rows could have come out
        // otherwise.
        resampled.filter(|interval| interval.high > interval.low).or_else(|| {
            let (of_mine, of_top) = (wilson(mine * n, n, Z95)?, wilson(top * n, n, Z95)?);
            let high = if of_top.low > 0.0 { mine / of_top.low } else { value };
            Some(Interval { low: of_mine.low / top, high: high.max(of_mine.high / top) })
        })
    } else {
        // Delta method: the variance of the ratio is that of `mine − value · top`, divided by the squared mean of
        // `top`.
        let variance = mean(&|pair| (pair[0] - value * pair[1]).powi(2)) / (n - 1.0);
        let half = Z95 * variance.sqrt() / top;
        Some(Interval { low: value - half, high: value + half })
    };
    let interval = interval.filter(|_| pairs.len() > 1);
    Some(estimate(Some(value), interval, pairs.len() as u64, 0))
}
