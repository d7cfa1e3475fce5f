//! Nodes that are compared row by row.

use std::collections::BTreeMap;

use crate::store::Manifest;

/// A value of each row that has one, by id.
pub type RowValues = BTreeMap<String, f64>;

/// A mean over rows that differs by no more than this from the node's own value is that value.
const SAME: f64 = 1e-9;

/// Returns true if a value of a node is the mean of its rows' values.
pub fn is_mean(rows: &RowValues, value: f64) -> bool {
    let mean = rows.values().sum::<f64>() / rows.len() as f64;
    (mean - value).abs() <= SAME * value.abs().max(1.0)
}

/// Two nodes of a stage that are compared with each other.
pub struct Contrast<'a> {
    pub model: &'a str,
    pub own: &'a Manifest,
    pub other_model: &'a str,
    pub other: &'a Manifest,
    pub is_ceiling: bool,
}
