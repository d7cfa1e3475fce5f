//! Position: how often the verdicts of two orders agree, and whether disagreements favour one place (Shi et al. 2024,
//! arXiv 2406.07791).

use serde_json::json;

use crate::outcome::Outcome;
use crate::row::Judgement;
use crate::score::{Estimate, Summary};
use crate::stats::{estimate, share_interval, sign_test};

/// Below this p a preference for a place counts as real.
const SIGNIFICANT: f64 = 0.01;

/// Below this consistency a verdict says more about the places than about the completions.
const CONSISTENT: f64 = 0.6;

/// Outcomes of pairs that were judged in both orders.
#[derive(Default)]
pub(crate) struct Positions {
    /// The outcome with the node's model in the first place (rows of the table) and in the second (columns).
    table: [[u64; 3]; 3],
    /// How many rows have orders that agree (with several samples or votes, their share counts), and how many have both
    /// orders.
    consistent: f64,
    rows: u64,
    /// How many rows have disagreements that favour the first place, and the second. A row counts once, since its
    /// disagreements are not independent.
    flips: (u64, u64),
}

/// Returns the outcomes by order: of the judgement, or of each of its votes.
pub(crate) fn orders_of(judgement: &Judgement) -> Vec<&[Option<Outcome>]> {
    if judgement.votes.is_empty() {
        return vec![judgement.orders.as_slice()];
    }
    judgement.votes.iter().map(|vote| vote.orders.as_slice()).collect()
}

/// Returns the index of an outcome's side in the table: win, tie, loss.
fn place_of(outcome: Outcome) -> usize {
    Outcome::SIDES.iter().position(|side| *side == outcome.side()).unwrap_or(0)
}

impl Positions {
    /// Adds the judgements of a row (or of one pair of models for it), one per sample.
    pub fn add_row<'a>(&mut self, judgements: impl Iterator<Item = &'a Judgement>) {
        let mut same = Vec::new();
        let mut lean = 0;
        for orders in judgements.flat_map(orders_of) {
            // The first question shows the node's model in the second place.
            if let [Some(second), Some(first)] = orders {
                let (first, second) = (first.side(), second.side());
                self.table[place_of(first)][place_of(second)] += 1;
                same.push(first == second);
                // If the model comes out better in the first place than in the second, the place has won.
                lean += (first < second) as i64 - (first > second) as i64;
            }
        }
        self.flips.0 += u64::from(lean > 0);
        self.flips.1 += u64::from(lean < 0);
        if !same.is_empty() {
            self.rows += 1;
            self.consistent += same.iter().filter(|same| **same).count() as f64 / same.len() as f64;
        }
    }

    /// Writes the values and notes; `all` is the number of all rows.
    pub fn finish(&self, all: u64, summary: &mut Summary, notes: &mut Vec<String>) {
        let pairs: u64 = self.table.iter().flatten().sum();
        if pairs == 0 {
            return;
        }
        let interval = share_interval(self.consistent, self.rows as f64);
        let consistency =
            estimate(Some(self.consistent / self.rows as f64), interval, self.rows, all.saturating_sub(self.rows));
        summary.values.insert("position_consistency".to_owned(), consistency);
        let (to_first, to_second) = self.flips;
        let flips = to_first + to_second;
        let p = sign_test(to_first, flips);
        let share = share_interval(to_first as f64, flips as f64);
        let of_share = |share: f64| 2.0 * share - 1.0;
        let primacy = Estimate {
            value: (flips > 0).then(|| of_share(to_first as f64 / flips as f64)),
            low: share.map(|share| of_share(share.low)),
            high: share.map(|share| of_share(share.high)),
            n: flips,
            missing: 0,
        };
        summary.values.insert("primacy".to_owned(), primacy);
        summary.tables.insert(
            "position".to_owned(),
            json!({
                "outcomes": Outcome::SIDES, "counts": self.table,
                "flips_to_first": to_first, "flips_to_second": to_second, "p": p,
            }),
        );
        let consistent = self.consistent / self.rows as f64;
        if consistent < CONSISTENT {
            notes.push(format!(
                "position: the two orders agree on {:.0} % of {} rows; the judge says more about places than about responses",
                100.0 * consistent,
                self.rows
            ));
        }
        if p < SIGNIFICANT {
            let place = if to_first > to_second { "first" } else { "second" };
            notes.push(format!(
                "position: where the orders disagree, the {place} place wins {} of {flips} ({}); asking in both orders evens that out",
                to_first.max(to_second),
                if p < 1e-12 { "p < 1e-12".to_owned() } else { format!("p = {p:.2e}") }
            ));
        }
    }
}
