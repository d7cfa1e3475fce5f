//! What is known to sway judges, measured: the place of a response, its length, one criterion colouring
//! another.
//!
//! Position: how often two orders agree, whether disagreements favour the first place (Shi et al. 2024,
//! arXiv 2406.07791). Length: how often the longer response wins, and the win rate at equal length
//! (Dubois et al. 2024, arXiv 2404.04475, in its minimal form). Halo: the correlation of criteria.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::compare::side;
use crate::row::Judgement;
use crate::score::{Estimate, Summary};
use crate::stats::{
    Comparison, Z95, correlation, estimate, length_control, length_interval, pearson, sign_test, wilson,
};

/// What the value of a whole judgement is called beside its criteria.
const WHOLE: &str = "overall";
/// Outcomes in the order of the table of positions.
const OUTCOMES: [&str; 3] = ["win", "tie", "loss"];
/// Below this consistency a judge says more about places than about responses.
const CONSISTENT: f64 = 0.6;
/// Below this p a preference for a place is taken for real.
const SIGNIFICANT: f64 = 0.01;
/// Points between the raw and the length-controlled win rate from which a warning is given.
const LENGTH_GAP: f64 = 0.10;
/// Comparisons up to which the interval of the length-controlled win rate is a bootstrap.
const FITTED: usize = 5_000;
/// Mean correlation of criteria from which they hardly differ.
const HALO: f64 = 0.9;
/// Rows from which correlations of criteria are computed; and of which at most.
const HALO_ROWS: std::ops::RangeInclusive<usize> = 10..=100_000;

/// Outcomes of pairs that were judged in both orders.
#[derive(Default)]
pub(super) struct Positions {
    /// Rows: with the node's model in the first place; columns: in the second.
    table: [[u64; 3]; 3],
    /// Rows whose orders agree (of several samples or votes, their share), and rows with both orders.
    consistent: f64,
    rows: u64,
    /// Rows whose disagreements favour the first place, and the second: those of one row go together.
    flips: (u64, u64),
}

/// Returns the outcomes by order of a judgement, or of each of its votes.
pub(super) fn orders_of(judgement: &Judgement) -> Vec<&[Option<String>]> {
    if judgement.votes.is_empty() {
        return vec![judgement.orders.as_slice()];
    }
    judgement.votes.iter().map(|vote| vote.orders.as_slice()).collect()
}

/// Returns where an outcome stands in the table.
fn place_of(outcome: &str) -> Option<usize> {
    OUTCOMES.iter().position(|known| *known == outcome)
}

impl Positions {
    /// Adds the judgements of a row (of a pair), one per sample.
    pub fn add_row<'a>(&mut self, judgements: impl Iterator<Item = &'a Judgement>) {
        let mut same = Vec::new();
        let mut lean = 0;
        for orders in judgements.flat_map(orders_of) {
            // The node's model is asked about in the second place first.
            if let [Some(second), Some(first)] = orders {
                self.add(side(first), side(second));
                same.push(side(first) == side(second));
                // Better in the first place than in the second: the place won.
                lean += match (place_of(side(first)), place_of(side(second))) {
                    (Some(first), Some(second)) => (first < second) as i64 - (first > second) as i64,
                    _ => 0,
                };
            }
        }
        self.flips.0 += u64::from(lean > 0);
        self.flips.1 += u64::from(lean < 0);
        if !same.is_empty() {
            self.rows += 1;
            self.consistent += same.iter().filter(|same| **same).count() as f64 / same.len() as f64;
        }
    }

    /// Adds a pair: what was said with the node's model in the first and in the second place.
    fn add(&mut self, first: &str, second: &str) {
        if let (Some(row), Some(column)) = (place_of(first), place_of(second)) {
            self.table[row][column] += 1;
        }
    }

    /// Writes the report; `all` are the rows that there are.
    pub fn finish(&self, all: u64, summary: &mut Summary, notes: &mut Vec<String>) {
        let pairs: u64 = self.table.iter().flatten().sum();
        if pairs == 0 {
            return;
        }
        let interval = wilson(self.consistent, self.rows as f64, Z95);
        let consistency =
            estimate(Some(self.consistent / self.rows as f64), interval, self.rows, all.saturating_sub(self.rows));
        summary.values.insert("position_consistency".to_owned(), consistency);
        let (to_first, to_second) = self.flips;
        let flips = to_first + to_second;
        let p = sign_test(to_first, flips);
        let share = wilson(to_first as f64, flips as f64, Z95);
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
                "outcomes": OUTCOMES, "counts": self.table,
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

/// Outcomes with the lengths of what was compared.
#[derive(Default)]
pub(super) struct Lengths {
    comparisons: Vec<Comparison>,
}

impl Lengths {
    /// Adds a comparison: points of the node's model, and characters of both.
    pub fn add(&mut self, outcome: f64, length: f64, baseline_length: f64) {
        self.comparisons.push(Comparison { outcome, length, baseline_length });
    }

    pub fn finish(&self, seed: u64, summary: &mut Summary, notes: &mut Vec<String>) {
        let Some(found) = length_control(&self.comparisons) else {
            return;
        };
        let n = self.comparisons.len() as u64;
        let (longer, decisive) = found.longer_wins;
        summary.values.insert("longer_wins".to_owned(), longer_wins(longer, decisive));
        let interval = found.fit.and_then(|fit| {
            // Each resample is a fit: many comparisons do without.
            if self.comparisons.len() <= FITTED { length_interval(&self.comparisons, seed) } else { fit.interval() }
        });
        let controlled = estimate(found.fit.map(|fit| fit.win_rate), interval, n, 0);
        summary.values.insert("length_controlled_win_rate".to_owned(), controlled);
        summary.tables.insert(
            "length".to_owned(),
            json!({
                "mean_characters": found.mean_length, "mean_characters_baseline": found.mean_baseline_length,
                "effect_of_length": found.fit.map(|fit| fit.phi), "p": found.fit.and_then(|fit| fit.phi_p),
            }),
        );
        if let Some(fit) = found.fit {
            let (raw, even) = (found.win_rate, fit.win_rate);
            let is_swayed = fit.phi_p.is_some_and(|p| p < SIGNIFICANT);
            if is_swayed && ((raw - 0.5) * (even - 0.5) < 0.0 || (raw - even).abs() > LENGTH_GAP) {
                notes.push(format!(
                    "length: the win rate is {raw:.3}, at equal length {even:.3}: the longer response wins {longer} of {decisive}"
                ));
            }
        }
    }
}

/// What was said of single completions, with their lengths.
#[derive(Default)]
pub(super) struct Verbosity {
    /// By criterion, and the whole under `overall`: lengths and what was said.
    said: BTreeMap<String, (Vec<f64>, Vec<f64>)>,
}

impl Verbosity {
    /// Adds the judgements of a row, one per sample, with what each is worth and the characters of what was judged.
    pub fn add_row<'a>(&mut self, row: impl Iterator<Item = (&'a Judgement, Option<f64>, usize)>) {
        let mut sums: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
        for (judgement, worth, length) in row {
            let scores = judgement.scores.iter().flatten();
            let scores = scores.filter_map(|(name, score)| Some((name.as_str(), score.as_f64()?)));
            for (name, value) in scores.chain(worth.map(|worth| (WHOLE, worth))) {
                let sum = sums.entry(name).or_default();
                *sum = [sum[0] + length as f64, sum[1] + value, sum[2] + 1.0];
            }
        }
        for (name, [length, value, n]) in sums {
            let (lengths, said) = self.said.entry(name.to_owned()).or_default();
            if said.len() < *HALO_ROWS.end() {
                lengths.push(length / n);
                said.push(value / n);
            }
        }
    }

    /// Writes Spearman's correlation of what is said with length; the interval of the whole is that of Fieller et
    /// al. (1957).
    pub fn finish(&self, summary: &mut Summary) {
        let mut table = Map::new();
        for (name, (lengths, said)) in &self.said {
            if said.len() < *HALO_ROWS.start() {
                continue;
            }
            let found = correlation(lengths, said).and_then(|found| found.spearman);
            table.insert(name.clone(), json!(found));
            if name == WHOLE {
                let half = Z95 * (1.06 / (said.len() as f64 - 3.0)).sqrt();
                let end = |half: f64| found.filter(|r| r.abs() < 1.0).map(|r| (r.atanh() + half).tanh());
                let estimate =
                    Estimate { value: found, low: end(-half), high: end(half), n: said.len() as u64, missing: 0 };
                summary.values.insert("length_correlation".to_owned(), estimate);
            }
        }
        if !table.is_empty() {
            summary.tables.insert("length".to_owned(), Value::Object(table));
        }
    }
}

pub(super) fn longer_wins(longer: u64, decisive: u64) -> Estimate {
    let share = wilson(longer as f64, decisive as f64, Z95);
    estimate((decisive > 0).then(|| longer as f64 / decisive as f64), share, decisive, 0)
}

/// Scores of rows, by criterion.
pub(super) struct Halo {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Halo {
    pub fn new(names: Vec<String>) -> Halo {
        Halo { names, rows: Vec::new() }
    }

    /// Adds a row that has a score for every criterion.
    pub fn add(&mut self, scores: Vec<f64>) {
        if self.rows.len() < *HALO_ROWS.end() {
            self.rows.push(scores);
        }
    }

    pub fn finish(&self, summary: &mut Summary, notes: &mut Vec<String>) {
        if self.names.len() < 2 || !HALO_ROWS.contains(&self.rows.len()) {
            return;
        }
        let column = |index: usize| -> Vec<f64> { self.rows.iter().map(|row| row[index]).collect() };
        let columns: Vec<Vec<f64>> = (0..self.names.len()).map(column).collect();
        let mut table = Vec::new();
        let mut all = Vec::new();
        for a in 0..columns.len() {
            for b in a + 1..columns.len() {
                let correlation = pearson(&columns[a], &columns[b]);
                all.extend(correlation);
                table.push(json!([self.names[a], self.names[b], correlation]));
            }
        }
        let mean = (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
        let n = self.rows.len() as u64;
        summary.values.insert("halo".to_owned(), Estimate { value: mean, low: None, high: None, n, missing: 0 });
        let nearest = table
            .iter()
            .filter_map(|row| Some((row[0].as_str()?, row[1].as_str()?, row[2].as_f64()?)))
            .filter(|(_, _, correlation)| *correlation >= HALO)
            .max_by(|a, b| a.2.total_cmp(&b.2));
        if let Some((a, b, correlation)) = nearest.filter(|_| mean.is_some_and(|mean| mean < HALO)) {
            notes
                .push(format!("halo: {a} and {b} correlate by {correlation:.2}; they hardly measure different things"));
        }
        summary.tables.insert("criteria".to_owned(), Value::Array(table));
        if mean.is_some_and(|mean| mean >= HALO) {
            notes.push(format!(
                "halo: the criteria correlate by {:.2} on average; they hardly measure different things: `calls: per_criterion` asks for each alone",
                mean.unwrap_or_default()
            ));
        }
    }
}
