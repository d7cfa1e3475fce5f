//! The rows that two values share.

use std::collections::HashMap;

use serde::Serialize;

use crate::record::{ScoredRows, ValueScores};
use crate::score::Direction;

/// Scores that differ by no more than this are the same.
const SAME: f64 = 1e-9;

/// The rows of two values that are the same rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    /// The id and both scores of each row, in the order of the later run.
    pub rows: Vec<(String, f64, f64)>,
    /// The cluster of each row; empty where rows are independent.
    pub clusters: Vec<u64>,
    pub range: Option<(f64, f64)>,
    /// Rows that only one run has, that have another content, or that lack a valid result in one run.
    pub alone: u64,
    pub changed: u64,
    pub missing: u64,
}

/// A row whose score changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    pub id: String,
    pub before: f64,
    pub after: f64,
}

/// Puts the rows of two values together: those with the same id and the same content.
pub(super) fn pairs(
    (before_rows, before): (&ScoredRows, &ValueScores),
    (after_rows, after): (&ScoredRows, &ValueScores),
) -> Pairs {
    let places: HashMap<&str, usize> =
        before_rows.ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
    let clusters = after.cluster.as_ref().and_then(|column| after_rows.clusters.get(column));
    let mut found = Pairs { range: after.range.filter(|range| before.range == Some(*range)), ..Pairs::default() };
    let mut known = 0;
    for (place, id) in after_rows.ids.iter().enumerate() {
        let Some(earlier) = places.get(id.as_str()) else {
            found.alone += 1;
            continue;
        };
        known += 1;
        if before_rows.digests[*earlier] != after_rows.digests[place] {
            found.changed += 1;
            continue;
        }
        let (Some(a), Some(b)) = (before.scores[*earlier], after.scores[place]) else {
            found.missing += 1;
            continue;
        };
        found.rows.push((id.clone(), a, b));
        found.clusters.extend(clusters.map(|clusters| u64::from(clusters[place])));
    }
    found.alone += (before_rows.ids.len() - known) as u64;
    found
}

impl Pairs {
    /// Returns how many rows became better and worse, and those that changed most: the worst first, half of the list for
    /// rows that became better.
    pub fn flips(&self, direction: Direction, most: usize) -> (u64, u64, Vec<Flip>) {
        let gain = |flip: &Flip| match direction {
            Direction::Lower => flip.before - flip.after,
            _ => flip.after - flip.before,
        };
        let flip = |(id, before, after): &(String, f64, f64)| Flip { id: id.clone(), before: *before, after: *after };
        let changed = self.rows.iter().filter(|(_, a, b)| (a - b).abs() > SAME).map(flip);
        let (mut fixed, mut broken): (Vec<Flip>, Vec<Flip>) = changed.partition(|flip| gain(flip) > 0.0);
        let counts = (fixed.len() as u64, broken.len() as u64);
        fixed.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
        broken.sort_by(|a, b| gain(a).total_cmp(&gain(b)));
        let of_fixed = fixed.len().min((most / 2).max(most.saturating_sub(broken.len())));
        broken.truncate(most - of_fixed);
        fixed.truncate(of_fixed);
        broken.extend(fixed);
        (counts.0, counts.1, broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: &[&str], digests: &[&str]) -> ScoredRows {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ScoredRows { ids: own(ids), digests: own(digests), ..ScoredRows::default() }
    }

    fn value(scores: &[Option<f64>]) -> ValueScores {
        ValueScores { rows: "rows".to_owned(), range: Some((0.0, 1.0)), cluster: None, scores: scores.to_vec() }
    }

    #[test]
    fn only_the_same_rows_are_pairs() {
        let before =
            (rows(&["a", "b", "c", "x"], &["1", "2", "3", "9"]), value(&[Some(0.0), Some(1.0), None, Some(1.0)]));
        let after =
            (rows(&["a", "b", "c", "d"], &["1", "7", "3", "4"]), value(&[Some(1.0), Some(1.0), Some(1.0), Some(0.0)]));
        let found = pairs((&before.0, &before.1), (&after.0, &after.1));
        assert_eq!(found.rows, [("a".to_owned(), 0.0, 1.0)]);
        assert_eq!((found.alone, found.changed, found.missing), (2, 1, 1));
    }

    #[test]
    fn the_worst_rows_come_first() {
        let ids: Vec<String> = (0..6).map(|row| row.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let scores = |of: [f64; 6]| value(&of.map(Some));
        let found = pairs(
            (&rows(&ids, &["1"; 6]), &scores([1.0, 1.0, 0.0, 0.5, 0.2, 0.3])),
            (&rows(&ids, &["1"; 6]), &scores([0.0, 0.5, 1.0, 0.5, 0.4, 0.2])),
        );
        let listed = |direction, most| {
            let (fixed, broken, flips) = found.flips(direction, most);
            (fixed, broken, flips.into_iter().map(|flip| flip.id).collect::<Vec<_>>().join(""))
        };
        assert_eq!(listed(Direction::Higher, 9), (2, 3, "01524".to_owned()));
        assert_eq!(listed(Direction::Higher, 2), (2, 3, "02".to_owned()));
        assert_eq!(listed(Direction::Lower, 9), (3, 2, "24015".to_owned()));
    }
}
