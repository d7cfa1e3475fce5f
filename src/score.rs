//! Scores summed up: an [`Estimate`] is a value with its interval, its n and what is missing.
//!
//! A [`Reading`] says how a value is to be read: in which unit, whether high or low is better, and how much it matters.
//! Every run holds readings beside its values, so that the values can be understood without the spec.

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
    /// Rows (ids) that should count and do not, because they failed or could not be parsed.
    pub missing: u64,
}

impl Estimate {
    /// Returns an estimate without a value: there was nothing to estimate from.
    pub fn none(missing: u64) -> Estimate {
        Estimate { value: None, low: None, high: None, n: 0, missing }
    }
}

/// All numbers of a node.
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
    /// The same values over parts of the rows, by the values of a column.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub slices: Slices,
}

/// The name under which slices stand beside the values of a node.
pub const SLICES: &str = "slices";

/// Names that the numbers of a node have for something of their own: no metric and no criterion may have them.
pub const RESERVED: [&str; 2] = [SLICES, "coverage"];

/// Estimates by column, then by value of that column, then by flat name.
pub type Slices = IndexMap<String, IndexMap<String, IndexMap<String, Estimate>>>;

/// What a value is measured in. It decides how a table writes the value, and whether it can be put as a share of the
/// ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0 to 1, more is better: can be put as a share of the ceiling.
    Fraction,
    /// 0 to 1, never put as a share of the ceiling: win rates, consistency, coverage.
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

/// Whether high or low values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Higher,
    Lower,
    #[serde(rename = "none")]
    Neither,
}

/// How much a value matters to a reader of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// What the stage exists for; tables begin with it.
    Headline,
    /// Shown behind the headlines.
    Detail,
    /// Says something about the judge rather than about the models; shown apart.
    Diagnostic,
    /// Part of another value, such as the F1 of one label: in JSON and for gates, but in no table.
    Part,
}

/// How a value is to be read: its unit, its direction and its rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub unit: Unit,
    pub direction: Direction,
    pub rank: Rank,
}

impl Reading {
    /// The share of rows that have a value, which every stage has.
    pub const COVERAGE: Reading = Reading::of(Unit::Rate, Rank::Headline);

    /// Returns the reading of a value whose direction follows from its unit: times and costs are better low,
    /// quantities and counts neither, everything else better high.
    pub const fn of(unit: Unit, rank: Rank) -> Reading {
        let direction = match unit {
            Unit::Seconds | Unit::Dollars => Direction::Lower,
            Unit::PValue | Unit::Amount | Unit::Count => Direction::Neither,
            Unit::Fraction | Unit::Rate | Unit::Points | Unit::Scale => Direction::Higher,
        };
        Reading { unit, direction, rank }
    }

    /// Returns the least and the greatest number that a value can be; none if it has no bounds that are known here. A rate
    /// of which neither end is better may be a correlation.
    pub fn range(self) -> Option<(f64, f64)> {
        match self.unit {
            Unit::Rate if self.direction == Direction::Neither => Some((-1.0, 1.0)),
            Unit::Fraction | Unit::Rate | Unit::PValue => Some((0.0, 1.0)),
            Unit::Points => Some((0.0, 100.0)),
            Unit::Scale | Unit::Amount | Unit::Seconds | Unit::Dollars | Unit::Count => None,
        }
    }

    /// Returns the same reading with another direction.
    pub const fn toward(self, direction: Direction) -> Reading {
        Reading { direction, ..self }
    }

    /// Returns the same reading with another rank.
    pub const fn ranked(self, rank: Rank) -> Reading {
        Reading { rank, ..self }
    }
}

/// How the verdicts of a changed instrument differ from the earlier ones on the same completions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Which completions both instruments judged, in words.
    pub basis: String,
    /// How many verdicts both instruments gave.
    pub compared: u64,
    /// Verdicts that changed sides: a win became less than a win (on a scale: the upper half became the lower), or the
    /// reverse.
    pub flips: u64,
    /// McNemar's p of the flips.
    pub p: f64,
    /// Mean of new minus old, paired, each on 0 to 1: of the whole, of each criterion and of each pass rate.
    pub shifts: IndexMap<String, Estimate>,
    pub verdict: DriftVerdict,
}

/// Whether the changed instrument still measures the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftVerdict {
    /// Some shift is significant (Holm over all shifts), or more than a tenth of the verdicts changed sides.
    Drifted,
    /// The interval of the shift of the whole lies within 0.05 of zero.
    Same,
    /// Neither could be shown.
    Unknown,
}
