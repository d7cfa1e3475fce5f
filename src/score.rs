//! Scores summed up: an [`Estimate`] is a value with its interval, its n and what is missing.
//!
//! A [`Reading`] says how a value reads: in which unit, which values are better, and how much it matters. It stands
//! beside the values in every run, so that they can be read without the spec.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One aggregate number, with what it takes to defend it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate; none when nothing was valid, or where it is undefined.
    pub value: Option<f64>,
    /// Lower end of the 95 % interval; none where no interval is known.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Rows (ids) that the value rests on.
    pub n: u64,
    /// Rows (ids) that should be there and are not: failed, unparsed.
    pub missing: u64,
}

impl Estimate {
    /// Returns an estimate without a value: there was nothing to estimate from.
    pub fn none(missing: u64) -> Estimate {
        Estimate { value: None, low: None, high: None, n: 0, missing }
    }
}

/// Everything a node says in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// By flat name: `json_valid`, `classification.f1_macro`, `win_rate`, `coverage`, …
    pub values: IndexMap<String, Estimate>,
    /// Tables that do not fit one number: confusion matrices, position tables.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub tables: IndexMap<String, Value>,
    /// What defines the values of a metric: its name and every setting.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub signatures: IndexMap<String, String>,
    /// The same values over some of the rows.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub slices: Slices,
}

/// The name under which slices stand beside the values of a node.
pub const SLICES: &str = "slices";

/// Values by column, by value of the column, by flat name.
pub type Slices = IndexMap<String, IndexMap<String, IndexMap<String, Estimate>>>;

/// What a value is measured in: how a table writes it, and whether it can be compared with a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0 to 1, more is better: can be put as a share of the ceiling.
    Fraction,
    /// 0 to 1, and no share of the ceiling: win rates, consistency, coverage.
    Rate,
    /// A probability under chance alone, 0 to 1.
    PValue,
    /// 0 to 100, more is better: can be put as a share of the ceiling.
    Points,
    /// In units of a rubric's scale, more is better.
    Scale,
    /// A quantity of its own, neither better nor worse: characters, words.
    Amount,
    /// Seconds, less is better.
    Seconds,
    Dollars,
    /// A count of rows.
    Count,
}

/// Which values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Higher,
    Lower,
    #[serde(rename = "none")]
    Neither,
}

/// How much a value matters to whoever reads a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// What the stage is there for; tables begin with it.
    Headline,
    /// Shown behind the headlines.
    Detail,
    /// Tells of the judge rather than of the models; shown by itself.
    Diagnostic,
    /// Part of another value, such as the F1 of one label; in JSON and in gates, and in no table.
    Part,
}

/// How a value reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub unit: Unit,
    pub direction: Direction,
    pub rank: Rank,
}

/// What a stage is there for, by the names of values.
const HEADLINES: &[&str] = &["coverage", "mean", "overall", "score", "win_rate", "elo"];

/// What tells of a judge rather than of the models, by how the names of values begin.
const DIAGNOSTICS: &[&str] = &[
    "position_consistency",
    "primacy",
    "longer_wins",
    "length_",
    "halo",
    "stability",
    "self_preference",
    "canaries",
    "identity_ties",
];

/// Better or worse only in company, by how the names of values begin.
const NEITHER: &[&str] =
    &["primacy", "longer_wins", "length_correlation", "halo", "self_preference", "strong", "share."];

/// Better where they are low, by how the names of values begin.
const LOWER: &[&str] = &["duplicates", "leaked", "covering_radius"];

impl Reading {
    /// Returns how a value reads by its name and unit, where its stage knows no better.
    pub fn by_name(value: &str, unit: Unit) -> Reading {
        let raw = value.strip_suffix(".corrected").unwrap_or(value);
        let begins = |names: &[&str]| names.iter().any(|name| raw.starts_with(name));
        let rank = if HEADLINES.contains(&raw) {
            Rank::Headline
        } else if begins(DIAGNOSTICS) {
            Rank::Diagnostic
        } else {
            Rank::Detail
        };
        let is_lower = matches!(unit, Unit::Seconds | Unit::Dollars) || begins(LOWER);
        let is_quantity = matches!(unit, Unit::PValue | Unit::Amount | Unit::Count) && raw != "elo";
        let direction = match () {
            () if is_lower => Direction::Lower,
            () if is_quantity || begins(NEITHER) => Direction::Neither,
            () => Direction::Higher,
        };
        Reading { unit, direction, rank }
    }
}

/// How another judge judges what was judged before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// What both judged.
    pub basis: String,
    pub compared: u64,
    /// Verdicts that changed sides: from a win (or the upper half of the scale) to less, or back.
    pub flips: u64,
    /// McNemar's p of the flips.
    pub p: f64,
    /// New less old, paired, on 0 to 1: of the whole and of each criterion and pass rate.
    pub shifts: IndexMap<String, Estimate>,
    pub verdict: DriftVerdict,
}

/// Whether another instrument measures the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftVerdict {
    /// Some shift is real (Holm over all of them), or more than a tenth changed sides.
    Drifted,
    /// The interval of the whole lies within 0.05.
    Same,
    /// Neither.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_rank_and_direction() {
        let of = |name, unit| {
            let reading = Reading::by_name(name, unit);
            (reading.rank, reading.direction)
        };
        assert_eq!(of("win_rate.corrected", Unit::Rate), (Rank::Headline, Direction::Higher));
        assert_eq!(of("win_rate.worst", Unit::Rate), (Rank::Detail, Direction::Higher));
        assert_eq!(of("elo", Unit::Amount), (Rank::Headline, Direction::Higher));
        assert_eq!(of("sign_p", Unit::PValue), (Rank::Detail, Direction::Neither));
        assert_eq!(of("halo", Unit::Rate), (Rank::Diagnostic, Direction::Neither));
        assert_eq!(of("leaked", Unit::Rate).1, Direction::Lower);
    }
}
