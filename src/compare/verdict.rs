//! What a difference says.
//!
//! | verdict | |
//! |---|---|
//! | IMPROVED, REGRESSED | the 95 % interval of the difference leaves out 0 |
//! | SAME | the 90 % interval lies within the margin: two one-sided tests (Schuirmann 1987) |
//! | UNCLEAR | neither; more rows would tell |
//!
//! "Not significant" alone is never SAME: few rows show nothing, also where there is much to be seen.

use std::str::FromStr;

use serde::Serialize;

use super::pairs::{Half, Pairs};
use crate::score::{Direction, Estimate, Reading};
use crate::stats::{Known, MeanSums, detectable_effect, mean_sums, rows_needed, sign_test};

/// The largest difference that counts as none, as a share of the range.
const MARGIN: f64 = 0.02;
/// The same for times, dollars and counts, as a share of the value before.
const MARGIN_OF_VALUE: f64 = 0.05;

const ALPHA: f64 = 0.05;
const POWER: f64 = 0.8;

/// How wide a 90 % interval is beside one of 95 %: a quotient of normal quantiles, which is too wide for few rows.
const NINETY: f64 = 0.8393;

/// A difference that is small enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// A share of the value's range, which for values from 0 to 1 is the difference itself; of a value without a range, a
    /// share of the value before.
    OfRange(f64),
    /// A share of the value before.
    OfValue(f64),
}

impl FromStr for Margin {
    type Err = String;

    fn from_str(text: &str) -> Result<Margin, String> {
        let (number, is_of_value) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
        let share = number.trim().parse::<f64>().ok().map(|number| if is_of_value { number / 100.0 } else { number });
        match share.filter(|share| (0.0..=1.0).contains(share)) {
            Some(share) => Ok(if is_of_value { Margin::OfValue(share) } else { Margin::OfRange(share) }),
            None => Err("a margin is a number from 0 to 1, or a share of the value before such as 5%".to_owned()),
        }
    }
}

impl std::fmt::Display for Margin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Margin::OfRange(share) => write!(formatter, "{share}"),
            Margin::OfValue(share) => write!(formatter, "{}%", share * 100.0),
        }
    }
}

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

/// Why two values were not compared row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpaired {
    /// The scores of a run are at hand neither beside it nor in the cache.
    NoScores,
    /// Rows do not have the value, as with an F1.
    NotOfRows,
    /// No row stands in both runs.
    NoSharedRow,
}

/// The difference between two values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// After less before over the rows that are valid in both runs, of which there are n. `missing` are those that are valid
    /// in one run only: the 95 % interval holds whatever they would have been.
    pub difference: Estimate,
    /// Two-sided p. Where scores are 0 or 1 it is exact (McNemar 1947). None without rows.
    pub p: Option<f64>,
    /// Why the summaries were compared in place of rows; none if the rows were.
    pub unpaired: Option<Unpaired>,
    pub verdict: Verdict,
    /// The largest difference that counts as none.
    pub margin: f64,
    /// What a margin of 1 is for this value: its range, or the value before.
    #[serde(skip)]
    unit: f64,
    /// The value before.
    #[serde(skip)]
    before: f64,
    /// The smallest difference that so many rows show with 80 % power.
    pub smallest: Option<f64>,
    /// With UNCLEAR: how many rows would tell.
    pub rows_needed: Option<u64>,
    /// Both values over the shared rows.
    pub shared: Option<(f64, f64)>,
    /// Rows with a valid result before that have none any more.
    pub lost: u64,
    /// Rows that only one run has.
    pub alone: u64,
    /// Rows that have another content in the other run.
    pub changed: u64,
}

impl Change {
    fn new(
        difference: Estimate,
        before: f64,
        reading: &Reading,
        range: Option<(f64, f64)>,
        asked: Option<Margin>,
    ) -> Change {
        let range = range.or(reading.range());
        let unit = range.map_or(before.abs(), |(low, high)| high - low);
        let usual = Margin::OfRange(if range.is_some() { MARGIN } else { MARGIN_OF_VALUE });
        let mut change = Change {
            difference,
            p: None,
            unpaired: None,
            verdict: Verdict::Unclear,
            margin: 0.0,
            unit,
            before,
            smallest: None,
            rows_needed: None,
            shared: None,
            lost: 0,
            alone: 0,
            changed: 0,
        };
        change.margin = change.size_of(asked.unwrap_or(usual));
        change
    }

    /// Notes which rows are not compared.
    pub(super) fn over(self, pairs: &Pairs<'_>) -> Change {
        Change { alone: pairs.alone, changed: pairs.changed, ..self }
    }

    /// Returns a margin in the unit of the value.
    fn size_of(&self, margin: Margin) -> f64 {
        match margin {
            Margin::OfRange(share) => self.unit * share,
            Margin::OfValue(share) => self.before.abs() * share,
        }
    }

    /// Returns true if the value is proven to be worse by no more than the margin.
    pub fn is_not_worse(&self, reading: &Reading, margin: Margin) -> bool {
        let limit = self.size_of(margin) + 1e-9;
        match reading.direction {
            Direction::Higher => self.difference.low.is_some_and(|low| low >= -limit),
            Direction::Lower => self.difference.high.is_some_and(|high| high <= limit),
            Direction::Neither => true,
        }
    }

    /// Returns both ends of the 90 % interval. Where rows are missing, what they might have been does not shrink with
    /// chance, and the ends are those at 95 %.
    pub(super) fn ninety(&self) -> (Option<f64>, Option<f64>) {
        let Estimate { value, low, high, missing, .. } = self.difference;
        let end = |end: Option<f64>| match value.filter(|_| missing == 0) {
            Some(value) => end.map(|end| value + NINETY * (end - value)),
            None => end,
        };
        (end(low), end(high))
    }
}

/// Compares a value row by row.
pub(super) fn paired(pairs: &Pairs<'_>, reading: &Reading, asked: Option<Margin>) -> Change {
    let n = pairs.rows.len() as f64;
    let at_end = |value: f64| pairs.range.is_some_and(|(low, high)| value == low || value == high);
    let halves = || pairs.lost.iter().chain(&pairs.gained);
    let is_all_or_nothing =
        pairs.rows.iter().all(|row| at_end(row.before) && at_end(row.after)) && halves().all(|half| at_end(half.score));
    let known = Known {
        range: pairs.range.map(|(low, high)| (low - high, high - low)),
        is_all_or_nothing,
        is_clustered: pairs.is_clustered,
    };
    let shared = (n > 0.0).then(|| {
        let (before, after) = pairs.rows.iter().fold((0.0, 0.0), |(a, b), row| (a + row.before, b + row.after));
        (before / n, after / n)
    });
    // Rows that are valid in one run only count at their worst for the low end, and at their best for the high end.
    let missing = (pairs.lost.len() + pairs.gained.len()) as u64;
    let own = Differences::of(pairs, None, known);
    let imputed = pairs.range.filter(|_| missing > 0).map(|(least, greatest)| {
        let with = |after, before| Differences::of(pairs, Some((after, before)), known);
        (with(least, greatest), with(greatest, least))
    });
    let (low, high) = match &imputed {
        // Nothing bounds what a row may have been of a value without a range.
        None if missing > 0 => (None, None),
        None => own.interval().unzip(),
        Some((worst, best)) => (worst.interval().map(|it| it.0), best.interval().map(|it| it.1)),
    };
    let finite = |end: Option<f64>| end.filter(|end| end.is_finite());
    let difference = Estimate {
        value: shared.map(|(before, after)| after - before),
        low: finite(low),
        high: finite(high),
        n: n as u64,
        missing,
    };
    let p = match &imputed {
        None if missing > 0 => None,
        None => own.p(),
        Some((worst, best)) => match worst.sums.value().zip(best.sums.value()) {
            // They may have been such that there is no difference.
            Some((low, high)) if low <= 0.0 && high >= 0.0 => Some(1.0),
            _ => worst.p().zip(best.p()).map(|(a, b)| a.max(b)),
        },
    };
    // Rows that all differ alike, up to rounding, have no deviation from which to plan.
    let is_real = |error: &f64| *error > 1e-9 * difference.value.unwrap_or_default().abs();
    let sd = own.sums.planning_error(&known).filter(is_real).map_or(0.0, |error| error * n.sqrt());
    let before = shared.map_or(0.0, |(before, _)| before);
    let mut change = Change {
        p,
        smallest: (sd > 0.0).then(|| detectable_effect(sd, n, ALPHA, POWER)),
        shared,
        lost: pairs.lost.len() as u64,
        ..Change::new(difference, before, reading, pairs.range, asked).over(pairs)
    };
    change.verdict = verdict(&change, reading);
    if change.verdict == Verdict::Unclear && sd > 0.0 && missing == 0 {
        let effect = difference.value.unwrap_or_default().abs().max(change.margin);
        let needed = rows_needed(sd, effect, ALPHA, POWER).ceil();
        change.rows_needed = (needed.is_finite() && needed > n).then_some(needed as u64);
    }
    change
}

/// Differences row by row.
struct Differences {
    values: Vec<f64>,
    sums: MeanSums,
    known: Known,
}

impl Differences {
    /// Returns the differences of the shared rows; with `missing`, also of those that one run lacks: what counts in place of
    /// a score after, and in place of one before.
    fn of(pairs: &Pairs<'_>, missing: Option<(f64, f64)>, known: Known) -> Differences {
        let shared = pairs.rows.iter().map(|row| (row.after - row.before, row.cluster));
        let mut rows: Vec<(f64, u64)> = shared.collect();
        if let Some((after, before)) = missing {
            rows.extend(pairs.lost.iter().map(|Half { score, cluster, .. }| (after - score, *cluster)));
            rows.extend(pairs.gained.iter().map(|Half { score, cluster, .. }| (score - before, *cluster)));
        }
        let (values, mut clusters): (Vec<f64>, Vec<u64>) = rows.into_iter().unzip();
        if !known.is_clustered {
            clusters.clear();
        }
        Differences { sums: mean_sums(&values, &clusters), values, known }
    }

    /// Returns the 95 % interval of the mean.
    fn interval(&self) -> Option<(f64, f64)> {
        match self.sums.interval(&self.known) {
            Some(interval) => Some((interval.low, interval.high)),
            // Values without a range that are all the same in both runs.
            None if !self.values.is_empty() && self.values.iter().all(|value| *value == 0.0) => Some((0.0, 0.0)),
            None => None,
        }
    }

    fn p(&self) -> Option<f64> {
        if !self.known.is_all_or_nothing || self.known.is_clustered {
            return self.sums.p(&self.known);
        }
        let better = self.values.iter().filter(|value| **value > 0.0).count() as u64;
        let worse = self.values.iter().filter(|value| **value < 0.0).count() as u64;
        Some(sign_test(better, better + worse))
    }
}

/// Compares two values of which no rows are at hand, as if they were of different rows: safe and wide (Newcombe 1998).
/// Rows that are missing after, and were not before, count at their worst and at their best.
pub(super) fn unpaired(
    (before, after): (&Estimate, &Estimate),
    because: Unpaired,
    reading: &Reading,
    asked: Option<Margin>,
) -> Change {
    let value = before.value.zip(after.value).map(|(a, b)| b - a);
    let ends = |own: Option<f64>, end: Option<f64>| own.zip(end).map(|(own, end)| (own - end).powi(2));
    let low = ends(after.value, after.low).zip(ends(before.value, before.high)).map(|(a, b)| (a + b).sqrt());
    let high = ends(after.value, after.high).zip(ends(before.value, before.low)).map(|(a, b)| (a + b).sqrt());
    let (low, high) =
        (value.zip(low).map(|(value, low)| value - low), value.zip(high).map(|(value, high)| value + high));
    let lost = after.missing.saturating_sub(before.missing);
    let share = lost as f64 / (after.n + lost).max(1) as f64;
    // The mean is a mixture of what is known and of what is missing.
    let mixed = |end: Option<f64>, least: Option<f64>| match lost {
        0 => end,
        _ => end.zip(least).zip(after.value).map(|((end, least), value)| end + share * (least - value)),
    };
    let range = reading.range();
    let difference = Estimate {
        value,
        low: mixed(low, range.map(|(low, _)| low)),
        high: mixed(high, range.map(|(_, high)| high)),
        n: before.n.min(after.n),
        missing: lost,
    };
    let mut change = Change {
        unpaired: Some(because),
        lost,
        ..Change::new(difference, before.value.unwrap_or_default(), reading, None, asked)
    };
    change.verdict = verdict(&change, reading);
    change
}

/// Returns the change of a value that both runs took from the same result.
pub(super) fn same(value: &Estimate, reading: &Reading, asked: Option<Margin>) -> Change {
    let none = Estimate { value: value.value.map(|_| 0.0), low: Some(0.0), high: Some(0.0), missing: 0, ..*value };
    Change { verdict: Verdict::Same, ..Change::new(none, value.value.unwrap_or_default(), reading, None, asked) }
}

fn verdict(change: &Change, reading: &Reading) -> Verdict {
    let Estimate { value: Some(_), low, high, .. } = change.difference else { return Verdict::Unclear };
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
    let (low, high) = change.ninety();
    let within = |end: Option<f64>| end.is_some_and(|end| end.abs() <= change.margin);
    if within(low) && within(high) { Verdict::Same } else { Verdict::Unclear }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::pairs::Pair;
    use crate::score::{Rank, Unit};

    const ACCURACY: Reading = Reading::of(Unit::Fraction, Rank::Headline);

    /// Returns rows of which `fixed` and `broken` changed, and half of the others are right.
    fn rows(n: usize, fixed: usize, broken: usize) -> Pairs<'static> {
        let row = |index: usize| {
            let stays = f64::from(u8::from(index.is_multiple_of(2)));
            let (a, b) = match index {
                index if index < fixed => (0.0, 1.0),
                index if index < fixed + broken => (1.0, 0.0),
                _ => (stays, stays),
            };
            Pair { id: "row", before: a, after: b, cluster: 0 }
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
            assert!(change.unpaired.is_none() && change.difference.n == n as u64);
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
        let change = unpaired((&of(0.5, 0.03), &of(0.6, 0.04)), Unpaired::NoScores, &ACCURACY, None);
        assert!((change.difference.low.unwrap() - 0.05).abs() < 1e-12, "{change:?}");
        assert_eq!((change.verdict, change.unpaired, change.p), (Verdict::Improved, Some(Unpaired::NoScores), None));
        let none = Estimate::none(3);
        assert_eq!(unpaired((&none, &of(0.6, 0.04)), Unpaired::NoScores, &ACCURACY, None).verdict, Verdict::Unclear);
        // Half of the rows are gone: what is left says little.
        let half = Estimate { n: 50, missing: 50, ..of(0.6, 0.04) };
        let change = unpaired((&of(0.5, 0.03), &half), Unpaired::NoScores, &ACCURACY, None);
        assert_eq!((change.verdict, change.lost), (Verdict::Unclear, 50));
        assert!((change.difference.low.unwrap() - (0.05 - 0.3)).abs() < 1e-12, "{change:?}");
    }

    #[test]
    fn no_worse_is_decided_by_the_interval() {
        let of = |n, fixed, broken| paired(&rows(n, fixed, broken), &ACCURACY, None);
        assert!(of(5_000, 20, 20).is_not_worse(&ACCURACY, Margin::OfRange(0.02)));
        assert!(
            !of(200, 10, 10).is_not_worse(&ACCURACY, Margin::OfRange(0.02))
                && of(200, 10, 10).is_not_worse(&ACCURACY, Margin::OfRange(0.1))
        );
        assert!(!of(200, 0, 20).is_not_worse(&ACCURACY, Margin::OfRange(0.02)));
    }

    #[test]
    fn rows_without_a_result_any_more_count_at_their_worst() {
        let with_lost = |n: usize, lost: usize| {
            let mut pairs = rows(n, 0, 0);
            pairs.lost = vec![Half { id: "row", score: 1.0, cluster: 0 }; lost];
            pairs
        };
        // 200 rows that are the same prove nothing of 800 that failed.
        let change = paired(&with_lost(200, 800), &ACCURACY, None);
        assert_eq!((change.verdict, change.lost, change.difference.missing), (Verdict::Unclear, 800, 800));
        assert!(change.difference.low.unwrap() < -0.79 && change.difference.value == Some(0.0), "{change:?}");
        assert!(!change.is_not_worse(&ACCURACY, Margin::OfRange(0.5)));
        // Few of many change little.
        assert_eq!(paired(&with_lost(5_000, 10), &ACCURACY, None).verdict, Verdict::Same);
        // No row is left.
        let none = paired(&with_lost(0, 20), &ACCURACY, None);
        assert_eq!((none.verdict, none.difference.value, none.shared), (Verdict::Unclear, None, None));
        assert!(!none.is_not_worse(&ACCURACY, Margin::OfRange(0.1)));
        // A gain that lost rows could undo is none.
        let mut gain = rows(100, 20, 0);
        assert_eq!(paired(&gain, &ACCURACY, None).verdict, Verdict::Improved);
        gain.lost = with_lost(0, 40).lost;
        let change = paired(&gain, &ACCURACY, None);
        assert_eq!((change.verdict, change.p), (Verdict::Unclear, Some(1.0)));
        // Times have no bound: one row may have taken for ever.
        let latency = Reading::of(Unit::Seconds, Rank::Headline);
        let times = Pairs { range: None, ..with_lost(50, 50) };
        let change = paired(&times, &latency, None);
        assert_eq!((change.difference.low, change.difference.high, change.p), (None, None, None), "{change:?}");
        assert!(change.verdict == Verdict::Unclear && !change.is_not_worse(&latency, Margin::OfValue(1.0)));
    }

    #[test]
    fn clusters_leave_fewer_differences_to_be_seen() {
        let alone = paired(&rows(100, 10, 10), &ACCURACY, None);
        let mut pairs = rows(100, 10, 10);
        pairs.is_clustered = true;
        pairs.rows.iter_mut().enumerate().for_each(|(index, row)| row.cluster = index as u64 / 10);
        let change = paired(&pairs, &ACCURACY, None);
        assert!(change.smallest.unwrap() > alone.smallest.unwrap(), "{change:?} {alone:?}");
        assert!(change.rows_needed.unwrap() > alone.rows_needed.unwrap());
        // Clusters that cancel out are no proof that there is nothing to see.
        pairs.rows.iter_mut().enumerate().for_each(|(index, row)| row.cluster = index as u64 % 10);
        assert!(paired(&pairs, &ACCURACY, None).smallest.unwrap() > 0.05);
    }

    #[test]
    fn margins_are_shares_of_the_range_or_of_the_value() {
        assert_eq!(("0.02".parse(), "5%".parse()), (Ok(Margin::OfRange(0.02)), Ok(Margin::OfValue(0.05))));
        for text in ["2", "-0.1", "nan", "x", "101%", "", "%"] {
            assert!(text.parse::<Margin>().is_err(), "{text}");
        }
        let change = paired(&rows(5_000, 20, 20), &ACCURACY, Some(Margin::OfValue(0.1)));
        assert!((change.margin - 0.1 * change.shared.unwrap().0).abs() < 1e-12);
    }
}
