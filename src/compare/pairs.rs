//! The rows that two values share.

use std::cell::OnceCell;
use std::collections::HashMap;

use serde::Serialize;

use crate::record::{ScoredRows, ValueScores};
use crate::score::Direction;

/// Scores that differ by no more than this are the same.
const SAME: f64 = 1e-9;

/// The rows of two values that are the same rows: those with the same id and the same content.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs<'a> {
    /// The rows with a valid result in both runs, in the order of the later run.
    pub rows: Vec<Pair<'a>>,
    /// Rows whose result is valid in the first run only, with their score there.
    pub lost: Vec<Half<'a>>,
    /// Rows whose result is valid in the second run only, with their score there.
    pub gained: Vec<Half<'a>>,
    /// Rows belong to clusters.
    pub is_clustered: bool,
    pub range: Option<(f64, f64)>,
    /// Rows that only one run has.
    pub alone: u64,
    /// Rows that have another content in the other run.
    pub changed: u64,
}

/// A row with its score in both runs.
#[derive(Clone, Debug)]
pub(super) struct Pair<'a> {
    pub id: &'a str,
    pub before: f64,
    pub after: f64,
    pub cluster: u64,
}

/// A row with a score in one run.
#[derive(Clone, Debug)]
pub(super) struct Half<'a> {
    pub id: &'a str,
    pub score: f64,
    pub cluster: u64,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// Its score is worse.
    Broken,
    /// It has no valid result any more.
    Lost,
    /// Its score is better.
    Fixed,
    /// It has a valid result, and had none.
    Gained,
    /// Its score is another one, and nothing says whether that is better.
    Changed,
}

/// A row whose score changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    pub id: String,
    /// None without a valid result.
    pub before: Option<f64>,
    pub after: Option<f64>,
    pub turn: Turn,
}

/// Puts the rows of two values together.
pub(super) fn pairs<'a>(
    (before_rows, before): (&ScoredRows, &ValueScores),
    (after_rows, after): (&'a ScoredRows, &ValueScores),
) -> Pairs<'a> {
    let index: OnceCell<HashMap<&str, usize>> = OnceCell::new();
    let places =
        || index.get_or_init(|| before_rows.ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect());
    let clusters = after.cluster.as_ref().and_then(|column| after_rows.clusters.get(column));
    let range = after.range.filter(|range| before.range == Some(*range));
    let mut found = Pairs { range, is_clustered: clusters.is_some(), ..Pairs::default() };
    let mut known = 0;
    for (place, id) in after_rows.ids.iter().enumerate() {
        // Most runs have the same rows in the same places.
        let is_there = before_rows.ids.get(place).is_some_and(|known| known == id);
        let Some(earlier) = (if is_there { Some(place) } else { places().get(id.as_str()).copied() }) else {
            found.alone += 1;
            continue;
        };
        known += 1;
        if before_rows.digests[earlier] != after_rows.digests[place] {
            found.changed += 1;
            continue;
        }
        let cluster = clusters.map_or(0, |clusters| u64::from(clusters[place]));
        let half = |score: f64| Half { id, score, cluster };
        match (before.scores[earlier], after.scores[place]) {
            (Some(before), Some(after)) => found.rows.push(Pair { id, before, after, cluster }),
            (Some(before), None) => found.lost.push(half(before)),
            (None, Some(after)) => found.gained.push(half(after)),
            (None, None) => {}
        }
    }
    found.alone += (before_rows.ids.len() - known) as u64;
    found
}

impl Pairs<'_> {
    /// Returns true if no row has a valid result in either run.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.lost.is_empty() && self.gained.is_empty()
    }

    /// Returns how many rows became better and worse; none where nothing says which is which.
    pub fn turned(&self, direction: Direction) -> Option<(u64, u64)> {
        let count = |wanted| self.rows.iter().filter(|row| row.turn(direction) == Some(wanted)).count() as u64;
        (direction != Direction::Neither).then(|| (count(Turn::Fixed), count(Turn::Broken)))
    }

    /// Returns the rows that changed, those that lost most first, then those without a valid result any more, then those
    /// that gained most.
    pub fn flips(&self, direction: Direction) -> Vec<Flip> {
        let shared = self.rows.iter().filter_map(|row| {
            let turn = row.turn(direction)?;
            Some(Flip { id: row.id.to_owned(), before: Some(row.before), after: Some(row.after), turn })
        });
        let lost = self.lost.iter();
        let lost =
            lost.map(|half| Flip { id: half.id.to_owned(), before: Some(half.score), after: None, turn: Turn::Lost });
        let gained = self.gained.iter();
        let gained = gained.map(|half| Flip {
            id: half.id.to_owned(),
            before: None,
            after: Some(half.score),
            turn: Turn::Gained,
        });
        let mut flips: Vec<Flip> = shared.chain(lost).chain(gained).collect();
        // The sort is stable: rows that changed by as much keep their order.
        flips.sort_by(|a, b| (a.turn as u8).cmp(&(b.turn as u8)).then(b.size().total_cmp(&a.size())));
        flips
    }
}

impl Pair<'_> {
    fn turn(&self, direction: Direction) -> Option<Turn> {
        let gain = self.after - self.before;
        let is_better = (gain > 0.0) == (direction != Direction::Lower);
        match direction {
            _ if gain.abs() <= SAME => None,
            Direction::Neither => Some(Turn::Changed),
            _ => Some(if is_better { Turn::Fixed } else { Turn::Broken }),
        }
    }
}

impl Flip {
    /// Returns by how much the score changed; of a row with one score, how much it says of the row.
    fn size(&self) -> f64 {
        match (self.before, self.after) {
            (Some(before), Some(after)) => (after - before).abs(),
            _ => 0.0,
        }
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
        let before = (
            rows(&["a", "b", "c", "x", "e", "f"], &["1", "2", "3", "9", "5", "6"]),
            value(&[Some(0.0), Some(1.0), None, Some(1.0), Some(1.0), None]),
        );
        let after = (
            rows(&["a", "b", "c", "d", "e", "f"], &["1", "7", "3", "4", "5", "6"]),
            value(&[Some(1.0), Some(1.0), Some(1.0), Some(0.0), None, None]),
        );
        let found = pairs((&before.0, &before.1), (&after.0, &after.1));
        let shared: Vec<_> = found.rows.iter().map(|row| (row.id, row.before, row.after)).collect();
        assert_eq!(shared, [("a", 0.0, 1.0)]);
        assert_eq!((found.alone, found.changed), (2, 1));
        let ids = |halves: &[Half<'_>]| halves.iter().map(|half| half.id).collect::<String>();
        assert_eq!((ids(&found.lost).as_str(), ids(&found.gained).as_str()), ("e", "c"));
        let turns: Vec<Turn> = found.flips(Direction::Higher).into_iter().map(|flip| flip.turn).collect();
        assert_eq!(turns, [Turn::Lost, Turn::Fixed, Turn::Gained]);
    }

    #[test]
    fn the_worst_rows_come_first() {
        let ids: Vec<String> = (0..6).map(|row| row.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let scores = |of: [f64; 6]| value(&of.map(Some));
        let after = rows(&ids, &["1"; 6]);
        let found = pairs(
            (&rows(&ids, &["1"; 6]), &scores([1.0, 1.0, 0.0, 0.5, 0.2, 0.3])),
            (&after, &scores([0.0, 0.5, 1.0, 0.5, 0.4, 0.2])),
        );
        let listed = |direction| found.flips(direction).into_iter().map(|flip| flip.id).collect::<String>();
        assert_eq!((listed(Direction::Higher).as_str(), listed(Direction::Lower).as_str()), ("01524", "24015"));
        assert_eq!((found.turned(Direction::Higher), found.turned(Direction::Lower)), (Some((2, 3)), Some((3, 2))));
        assert_eq!((listed(Direction::Neither).as_str(), found.turned(Direction::Neither)), ("02145", None));
    }
}
