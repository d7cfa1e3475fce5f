//! Halo: whether the score of one criterion colours the scores of others, seen in how they correlate.

use serde_json::{Value, json};

use crate::score::{Estimate, Summary};
use crate::stats::pearson;

/// From this mean correlation on, criteria hardly differ.
const HALO: f64 = 0.9;

/// How many rows correlations need at least, and how many they use at most.
const HALO_ROWS: std::ops::RangeInclusive<usize> = 10..=100_000;

/// Scores of rows, by criterion.
pub(crate) struct Halo {
    names: Vec<String>,
    rows: Vec<Vec<f64>>,
}

impl Halo {
    /// Returns an empty collection for the named criteria.
    pub fn new(names: Vec<String>) -> Halo {
        Halo { names, rows: Vec::new() }
    }

    /// Adds the scores of a row that has one for every criterion.
    pub fn add(&mut self, scores: Vec<f64>) {
        if self.rows.len() < *HALO_ROWS.end() {
            self.rows.push(scores);
        }
    }

    /// Writes the correlations, and a note if criteria hardly differ.
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
