//! What a difference says.
//!
//! | verdict | |
//! |---|---|
//! | IMPROVED, REGRESSED | the 95 % interval of the difference leaves out 0 |
//! | SAME | the 90 % interval lies within the margin: two one-sided tests (Schuirmann 1987) |
//! | UNCLEAR | neither; more rows would tell |
//!
//! "Not significant" alone is never SAME: few rows show nothing, also where there is much to be seen.

use serde::Serialize;

use super::pairs::Pairs;
use crate::score::{Direction, Estimate, Reading};
use crate::stats::{Known, detectable_effect, estimate, mean_sums, rows_needed, sign_test};

/// The largest difference that counts as none, as a share of the range.
const MARGIN: f64 = 0.02;
/// The same for times, dollars and counts, as a share of the value before.
const MARGIN_OF_VALUE: f64 = 0.05;

const ALPHA: f64 = 0.05;
const POWER: f64 = 0.8;

/// How wide a 90 % interval is beside one of 95 %: a quotient of normal quantiles, which is too wide for few rows.
pub(super) const NINETY: f64 = 0.8393;

/// What a difference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Improved,
    Regressed,
    /// It changed, and nothing says whether that is better or worse.
    Changed,
    Same,
    Unclear,
}

impl Verdict {
    /// Returns the verdict's word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Improved => "IMPROVED",
            Verdict::Regressed => "REGRESSED",
            Verdict::Changed => "CHANGED",
            Verdict::Same => "SAME",
            Verdict::Unclear => "UNCLEAR",
        }
    }
}

/// The difference between two values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// After less before, with its 95 % interval; n is the number of shared rows.
    pub difference: Estimate,
    /// Two-sided p. Where scores are 0 or 1 it is exact (McNemar 1947). None without rows.
    pub p: Option<f64>,
    /// Row by row; otherwise from the two summaries.
    pub paired: bool,
    pub verdict: Verdict,
    /// The largest difference that counts as none.
    pub margin: f64,
    /// What a margin of 1 is for this value: its range, or the value before.
    #[serde(skip)]
    limit: f64,
    /// The smallest difference that so many rows show with 80 % power.
    pub smallest: Option<f64>,
    /// With UNCLEAR: how many rows would tell.
    pub rows_needed: Option<u64>,
    /// Both values over the shared rows.
    pub shared: Option<(f64, f64)>,
    /// Rows that only one run has.
    pub alone: u64,
    /// Rows that have another content in the other run.
    pub changed: u64,
}

impl Change {
    /// Returns true if the value is proven to be worse by no more than the margin, a share of its range.
    pub fn is_not_worse(&self, reading: &Reading, margin: f64) -> bool {
        let limit = self.limit * margin;
        match reading.direction {
            Direction::Higher => self.difference.low.is_some_and(|low| low >= -limit - 1e-9),
            Direction::Lower => self.difference.high.is_some_and(|high| high <= limit + 1e-9),
            Direction::Neither => true,
        }
    }
}

/// Returns the margin of a value. `asked` is what the user wants on a scale from 0 to 1.
fn margin_of(reading: &Reading, range: Option<(f64, f64)>, before: f64, asked: Option<f64>) -> f64 {
    let share = |usual: f64| asked.unwrap_or(usual);
    match range.or(reading.range()) {
        Some((low, high)) => (high - low) * share(MARGIN),
        None => before.abs() * share(MARGIN_OF_VALUE),
    }
}

/// Returns what a margin of 1 is for a value: its range, or the value itself.
fn unit_of(reading: &Reading, range: Option<(f64, f64)>, before: f64) -> f64 {
    range.or(reading.range()).map_or(before.abs(), |(low, high)| high - low)
}

/// Compares a value row by row.
pub(super) fn paired(pairs: &Pairs, reading: &Reading, asked: Option<f64>) -> Change {
    let differences: Vec<f64> = pairs.rows.iter().map(|(_, a, b)| b - a).collect();
    let n = differences.len() as f64;
    let at_end = |value: f64| pairs.range.is_some_and(|(low, high)| value == low || value == high);
    let is_all_or_nothing = pairs.rows.iter().all(|(_, a, b)| at_end(*a) && at_end(*b));
    let known = Known {
        range: pairs.range.map(|(low, high)| (low - high, high - low)),
        is_all_or_nothing,
        is_clustered: !pairs.clusters.is_empty(),
    };
    let sums = mean_sums(&differences, &pairs.clusters);
    let mean = |of: fn(&(String, f64, f64)) -> f64| pairs.rows.iter().map(of).sum::<f64>() / n;
    let shared = (mean(|row| row.1), mean(|row| row.2));
    let is_equal = differences.iter().all(|difference| *difference == 0.0);
    let difference = match sums.interval(&known) {
        // Values without a range that are all the same in both runs.
        None if is_equal => Estimate { value: Some(0.0), low: Some(0.0), high: Some(0.0), n: n as u64, missing: 0 },
        interval => estimate(Some(shared.1 - shared.0), interval, n as u64, 0),
    };
    let exact = || {
        let better = differences.iter().filter(|difference| **difference > 0.0).count() as u64;
        let worse = differences.iter().filter(|difference| **difference < 0.0).count() as u64;
        sign_test(better, better + worse)
    };
    let p = if is_all_or_nothing && pairs.clusters.is_empty() { Some(exact()) } else { sums.p(&known) };
    // Rows that all differ alike, up to rounding, have no deviation from which to plan.
    let sd = Some(sums.deviation()).filter(|sd| *sd > 1e-9 * (shared.1 - shared.0).abs()).unwrap_or(0.0);
    let mut change = Change {
        difference: Estimate { missing: pairs.missing, ..difference },
        p,
        paired: true,
        verdict: Verdict::Unclear,
        margin: margin_of(reading, pairs.range, shared.0, asked),
        limit: unit_of(reading, pairs.range, shared.0),
        smallest: (sd > 0.0).then(|| detectable_effect(sd, n, ALPHA, POWER)),
        rows_needed: None,
        shared: Some(shared),
        alone: pairs.alone,
        changed: pairs.changed,
    };
    change.verdict = verdict(&change, reading);
    if change.verdict == Verdict::Unclear && sd > 0.0 {
        let effect = (shared.1 - shared.0).abs().max(change.margin);
        let needed = rows_needed(sd, effect, ALPHA, POWER).ceil();
        change.rows_needed = (needed.is_finite() && needed > n).then_some(needed as u64);
    }
    change
}

/// Compares two values of which no rows are at hand, as if they were of different rows: safe and wide (Newcombe 1998).
pub(super) fn unpaired(before: &Estimate, after: &Estimate, reading: &Reading, asked: Option<f64>) -> Change {
    let value = before.value.zip(after.value).map(|(a, b)| b - a);
    let ends = |own: Option<f64>, end: Option<f64>| own.zip(end).map(|(own, end)| (own - end).powi(2));
    let low = ends(after.value, after.low).zip(ends(before.value, before.high)).map(|(a, b)| (a + b).sqrt());
    let high = ends(after.value, after.high).zip(ends(before.value, before.low)).map(|(a, b)| (a + b).sqrt());
    let difference = Estimate {
        value,
        low: value.zip(low).map(|(value, low)| value - low),
        high: value.zip(high).map(|(value, high)| value + high),
        n: before.n.min(after.n),
        missing: before.missing.max(after.missing),
    };
    let mut change = Change {
        difference,
        p: None,
        paired: false,
        verdict: Verdict::Unclear,
        margin: margin_of(reading, None, before.value.unwrap_or_default(), asked),
        limit: unit_of(reading, None, before.value.unwrap_or_default()),
        smallest: None,
        rows_needed: None,
        shared: None,
        alone: 0,
        changed: 0,
    };
    change.verdict = verdict(&change, reading);
    change
}

/// Returns the change of a value that both runs took from the same result.
pub(super) fn same(value: &Estimate, reading: &Reading, asked: Option<f64>) -> Change {
    Change {
        difference: Estimate { value: value.value.map(|_| 0.0), low: Some(0.0), high: Some(0.0), ..*value },
        p: None,
        paired: true,
        verdict: Verdict::Same,
        margin: margin_of(reading, None, value.value.unwrap_or_default(), asked),
        limit: unit_of(reading, None, value.value.unwrap_or_default()),
        smallest: None,
        rows_needed: None,
        shared: None,
        alone: 0,
        changed: 0,
    }
}

fn verdict(change: &Change, reading: &Reading) -> Verdict {
    let Estimate { value: Some(value), low, high, .. } = change.difference else { return Verdict::Unclear };
    // An exact test and the interval must agree: neither alone proves a change.
    let is_real = change.p.is_none_or(|p| p <= ALPHA);
    let (is_more, is_less) = (low.is_some_and(|low| low > 0.0), high.is_some_and(|high| high < 0.0));
    if is_real && (is_more || is_less) {
        return match (reading.direction, is_more) {
            (Direction::Neither, _) => Verdict::Changed,
            (Direction::Higher, true) | (Direction::Lower, false) => Verdict::Improved,
            _ => Verdict::Regressed,
        };
    }
    let within = |end: Option<f64>| end.is_some_and(|end| (value + NINETY * (end - value)).abs() <= change.margin);
    if within(low) && within(high) { Verdict::Same } else { Verdict::Unclear }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{Rank, Unit};

    const ACCURACY: Reading = Reading::of(Unit::Fraction, Rank::Headline);

    /// Returns rows of which `fixed` and `broken` changed, and half of the others are right.
    fn rows(n: usize, fixed: usize, broken: usize) -> Pairs {
        let row = |index: usize| {
            let stays = f64::from(u8::from(index.is_multiple_of(2)));
            let (a, b) = match index {
                index if index < fixed => (0.0, 1.0),
                index if index < fixed + broken => (1.0, 0.0),
                _ => (stays, stays),
            };
            (index.to_string(), a, b)
        };
        Pairs { rows: (0..n).map(row).collect(), range: Some((0.0, 1.0)), ..Pairs::default() }
    }

    #[test]
    fn verdicts_follow_from_rows() {
        for (n, fixed, broken, expected) in [
            (200, 20, 0, Verdict::Improved),
            (200, 0, 20, Verdict::Regressed),
            (200, 10, 10, Verdict::Unclear),
            (5_000, 20, 20, Verdict::Same),
            (20, 0, 0, Verdict::Unclear),
            (10, 5, 0, Verdict::Unclear),
        ] {
            let change = paired(&rows(n, fixed, broken), &ACCURACY, None);
            assert_eq!(change.verdict, expected, "{n} {fixed} {broken}: {change:?}");
            assert!(change.paired && change.difference.n == n as u64);
        }
        let change = paired(&rows(200, 20, 0), &ACCURACY, None);
        assert!(change.p.unwrap() < 1e-5 && change.shared.is_some());
        // A latency is better low.
        let latency = Reading::of(Unit::Seconds, Rank::Headline);
        let slower = Pairs { range: None, ..rows(200, 20, 0) };
        assert_eq!(paired(&slower, &latency, None).verdict, Verdict::Regressed);
    }

    #[test]
    fn unclear_says_how_many_rows_would_tell() {
        let change = paired(&rows(50, 6, 3), &ACCURACY, None);
        assert_eq!(change.verdict, Verdict::Unclear);
        let needed = change.rows_needed.unwrap();
        // ((1.96 + 0.84) · sd / 0.06)², sd ≈ 0.424.
        assert!((380..410).contains(&needed), "{needed}");
    }

    #[test]
    fn without_rows_the_summaries_are_compared() {
        let of = |value: f64, half: f64| Estimate {
            value: Some(value),
            low: Some(value - half),
            high: Some(value + half),
            n: 100,
            missing: 0,
        };
        let change = unpaired(&of(0.5, 0.03), &of(0.6, 0.04), &ACCURACY, None);
        assert!((change.difference.low.unwrap() - 0.05).abs() < 1e-12, "{change:?}");
        assert_eq!((change.verdict, change.paired, change.p), (Verdict::Improved, false, None));
        let none = Estimate::none(3);
        assert_eq!(unpaired(&none, &of(0.6, 0.04), &ACCURACY, None).verdict, Verdict::Unclear);
    }

    #[test]
    fn no_worse_is_decided_by_the_interval() {
        let of = |n, fixed, broken| paired(&rows(n, fixed, broken), &ACCURACY, None);
        assert!(of(5_000, 20, 20).is_not_worse(&ACCURACY, 0.02));
        assert!(!of(200, 10, 10).is_not_worse(&ACCURACY, 0.02) && of(200, 10, 10).is_not_worse(&ACCURACY, 0.1));
        assert!(!of(200, 0, 20).is_not_worse(&ACCURACY, 0.02));
    }
}
