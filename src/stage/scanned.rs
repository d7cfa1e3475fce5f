//! What a look at a dataset found: its columns, and what in them may surprise.

use std::collections::{BTreeMap, BTreeSet};

/// What a look at a dataset found.
#[derive(Default)]
pub struct Scanned {
    /// All columns that some row has.
    pub columns: BTreeSet<String>,
    /// It was read, and holds no row.
    pub is_empty: bool,
    /// By watched column.
    pub values: BTreeMap<String, Values>,
}

/// What stands in a column, as far as it may surprise.
#[derive(Default)]
pub struct Values {
    pub null: Seen,
    /// Rows without the column.
    pub absent: Seen,
    pub text: Seen,
}

/// Rows that have something in common: how many, and where the first of them are.
#[derive(Default)]
pub struct Seen {
    pub rows: u64,
    places: Vec<String>,
}

impl Seen {
    /// How many places are kept.
    const SHOWN: usize = 3;

    /// Adds a row.
    pub fn add(&mut self, place: &str) {
        self.rows += 1;
        if self.places.len() < Seen::SHOWN && !place.is_empty() {
            self.places.push(place.to_owned());
        }
    }

    /// Returns the places in words.
    pub fn places(&self) -> String {
        let more = if self.rows > self.places.len() as u64 { ", …" } else { "" };
        format!("{}{more}", self.places.join(", "))
    }
}
