//! Scores summed up: an [`Estimate`] is a value with its interval, its n and what is missing.

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

/// How a value reads: what a table shows and what can be compared with a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
