//! Splits and samples: which rows are used. Both decide by digests of ids, so that neither the order of the file nor
//! added rows change what becomes of the other rows.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::digest::{Hasher, canonical_into};
use crate::problem::{Place, Problem, suggest};
use crate::spec::{Node, OneOrMany, Positive, Whole};
use crate::store::{Fingerprint, SortedLines, Sorter, StoreError};

/// Which rows are used.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "sample")]
#[serde(deny_unknown_fields)]
pub(super) struct Sample {
    /// How many rows.
    pub size: Whole<1>,
    /// How they are chosen.
    #[serde(default)]
    pub strategy: Strategy,
    /// Column, or columns: those whose values `stratified` keeps in proportion, or whose text `diverse`
    /// reads.
    #[serde(default)]
    pub by: OneOrMany,
    /// Column, or columns, whose values `diverse` keeps in proportion, each at least once.
    #[serde(default)]
    pub strata: OneOrMany,
    /// Sentence encoder whose vectors `diverse` goes by: a folder, or a name in the Hugging Face hub's
    /// cache. Without it words and runs of letters are counted.
    pub model: Option<String>,
    /// Another seed draws other rows.
    #[serde(default)]
    pub seed: u64,
}

/// How rows are chosen.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "strategy")]
#[serde(rename_all = "lowercase")]
pub(super) enum Strategy {
    /// The first rows of the file.
    #[default]
    First,
    /// The rows whose seeded digests of their ids are smallest: whatever the order of the file, and
    /// added rows displace few.
    Random,
    /// Random within each value of `by`, in the proportions of the dataset.
    Stratified,
    /// Rows whose texts are as different as can be: always the one that is farthest from those chosen.
    Diverse,
}

/// One part of a dataset that is cut into several.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "split")]
#[serde(deny_unknown_fields)]
pub(super) struct Split {
    /// The part to use: one of the names in `parts`.
    pub part: String,
    /// Parts with their weights: `{ train: 0.8, heldout: 0.2 }`.
    #[schemars(example = serde_json::json!({ "train": 0.8, "heldout": 0.2 }))]
    pub parts: IndexMap<String, Positive>,
    /// Column, or columns, whose rows stay together, such as a customer.
    #[serde(default)]
    pub by: OneOrMany,
    /// Another seed cuts otherwise.
    #[serde(default)]
    pub seed: u64,
}

impl Sample {
    /// Adds a problem for each setting that does not fit the strategy.
    pub fn check(&self, node: &Node, problems: &mut Vec<Problem>) {
        let place = |field: &str| node.get(field).map_or(&node.place, |node| &node.place);
        match (self.strategy, self.by.is_empty()) {
            (Strategy::Stratified, true) => problems.push(
                Problem::error("missing-field", "`strategy: stratified` needs `by`")
                    .at(&node.place)
                    .help("by: category, the column whose shares are kept"),
            ),
            (Strategy::Diverse, true) => problems.push(
                Problem::error("missing-field", "`strategy: diverse` needs `by`")
                    .at(&node.place)
                    .help("by: question, the column whose texts are to differ"),
            ),
            (Strategy::First | Strategy::Random, false) => problems.push(
                Problem::error("conflict", "`by` is read by `strategy: stratified` and `diverse` alone")
                    .at(place("by"))
                    .help("strategy: stratified"),
            ),
            _ => {}
        }
        for field in ["strata", "model"] {
            if self.strategy != Strategy::Diverse && node.get(field).is_some() {
                problems.push(
                    Problem::error("conflict", format!("`{field}` is read by `strategy: diverse` alone"))
                        .at(place(field)),
                );
            }
        }
    }

    /// Returns true if rows are drawn by digest, so that not all of them are needed at once.
    pub fn is_drawn(&self) -> bool {
        matches!(self.strategy, Strategy::Random | Strategy::Stratified)
    }

    /// Adds to a key everything that decides which rows are chosen.
    pub fn add_to(&self, fingerprint: &mut Fingerprint) {
        fingerprint.setting("sample.size", self.size.0);
        let name = match self.strategy {
            Strategy::First => return,
            Strategy::Random => "random",
            Strategy::Stratified => "stratified",
            Strategy::Diverse => "diverse",
        };
        fingerprint.setting("sample.strategy", name);
        fingerprint.setting("sample.seed", self.seed);
        if !self.by.is_empty() {
            fingerprint.setting("sample.by", self.by.to_vec());
        }
        if !self.strata.is_empty() {
            fingerprint.setting("sample.strata", self.strata.to_vec());
        }
    }
}

impl Split {
    /// Adds a problem if the part to use is not among the parts.
    pub fn check(&self, node: &Node, problems: &mut Vec<Problem>) {
        let place = |field: &str| -> &Place { node.get(field).map_or(&node.place, |node| &node.place) };
        if !self.parts.contains_key(&self.part) {
            let help = suggest(&self.part, "parts there are", self.parts.keys().map(String::as_str));
            problems.push(
                Problem::error("unknown-part", format!("`split.parts` has no part `{}`", self.part))
                    .at(place("part"))
                    .maybe_help(help),
            );
        }
    }

    /// Returns true if a row belongs to the wanted part. `key` is the row's id, or its value of `by`.
    pub fn has(&self, key: &str) -> bool {
        let mut hasher = Hasher::new("etalon.split");
        hasher.update(&self.seed.to_be_bytes());
        hasher.update(key.as_bytes());
        let total: f64 = self.parts.values().map(|weight| weight.0).sum();
        let mut at = hasher.finish().seed() as f64 / 2f64.powi(64) * total;
        for (part, weight) in &self.parts {
            at -= weight.0;
            if at < 0.0 {
                return *part == self.part;
            }
        }
        // Rounding may leave a gap at the end; it belongs to the last part.
        self.parts.keys().last() == Some(&self.part)
    }

    /// Adds to a key everything that decides which rows belong to the part.
    pub fn add_to(&self, fingerprint: &mut Fingerprint) {
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|(part, weight)| Value::from(vec![Value::from(part.as_str()), weight.0.into()]))
            .collect();
        fingerprint.setting("split.part", self.part.as_str());
        fingerprint.setting("split.parts", parts);
        fingerprint.setting("split.seed", self.seed);
        if !self.by.is_empty() {
            fingerprint.setting("split.by", self.by.to_vec());
        }
    }
}

/// Returns the values of columns as one text without tabs: each as canonical JSON, an absent value as null.
pub(super) fn group(columns: &Map<String, Value>, by: &[String]) -> String {
    let mut text = Vec::new();
    for name in by {
        canonical_into(columns.get(name).unwrap_or(&Value::Null), &mut text);
        text.push(b',');
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Draws a sample from rows that come in any order, without holding them in memory.
pub(super) struct Drawing<'a> {
    sample: Sample,
    sorter: Sorter<'a>,
    /// How many rows each stratum has.
    strata: BTreeMap<String, u64>,
}

impl<'a> Drawing<'a> {
    /// Starts a drawing; the sorter holds the rows until it ends.
    pub fn new(sample: Sample, sorter: Sorter<'a>) -> Drawing<'a> {
        Drawing { sample, sorter, strata: BTreeMap::new() }
    }

    /// Adds a row, by its stratum, id and line.
    pub fn push(&mut self, stratum: &str, id: &str, line: &[u8]) -> Result<(), StoreError> {
        match self.strata.get_mut(stratum) {
            Some(count) => *count += 1,
            None => {
                self.strata.insert(stratum.to_owned(), 1);
            }
        }
        self.sorter.push(&format!("{stratum}\t{}\t{id}", draw(self.sample.seed, id)), line)
    }

    /// Hands out the rows of the sample, at most `limit`.
    pub fn finish(
        self,
        limit: u64,
        mut each: impl FnMut(&str, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let quotas = quotas(&self.strata, self.sample.size.0.min(limit));
        let (mut lines, mut key, mut line): (SortedLines<'_>, _, _) =
            (self.sorter.finish()?, String::new(), Vec::new());
        let (mut current, mut left) = (None::<String>, 0);
        while lines.next_into(&mut key, &mut line)? {
            let mut parts = key.splitn(3, '\t');
            let stratum = parts.next().unwrap_or_default();
            if current.as_deref() != Some(stratum) {
                left = quotas.get(stratum).copied().unwrap_or(0);
                current = Some(stratum.to_owned());
            }
            if left > 0 {
                left -= 1;
                each(parts.nth(1).unwrap_or_default(), &line)?;
            }
        }
        Ok(())
    }
}

/// Divides a size among strata in proportion, by largest remainders; of equal remainders the first name wins.
pub fn quotas(strata: &BTreeMap<String, u64>, size: u64) -> BTreeMap<&str, u64> {
    let total: u64 = strata.values().sum();
    let size = size.min(total);
    let mut quotas: BTreeMap<&str, u64> = BTreeMap::new();
    let mut remainders: Vec<(u128, &str)> = Vec::new();
    for (stratum, count) in strata {
        let share = u128::from(*count) * u128::from(size);
        quotas.insert(stratum, (share / u128::from(total)) as u64);
        remainders.push((share % u128::from(total), stratum));
    }
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let given: u64 = quotas.values().sum();
    for (_, stratum) in remainders.into_iter().take((size - given) as usize) {
        *quotas.entry(stratum).or_default() += 1;
    }
    quotas
}

/// Returns a text by which an id sorts in a seeded random order.
pub(super) fn draw(seed: u64, id: &str) -> String {
    let mut hasher = Hasher::new("etalon.sample");
    hasher.update(&seed.to_be_bytes());
    hasher.update(id.as_bytes());
    hasher.finish().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_in_proportion_and_add_up() {
        let strata = |counts: &[u64]| counts.iter().enumerate().map(|(i, n)| (format!("s{i}"), *n)).collect();
        let of = |counts: &[u64], size: u64| quotas(&strata(counts), size).into_values().collect::<Vec<_>>();
        assert_eq!(of(&[50, 30, 20], 10), [5, 3, 2]);
        assert_eq!(of(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(of(&[7, 2, 1], 5), [4, 1, 0]);
        assert_eq!(of(&[3], 10), [3]);
        assert_eq!(of(&[], 10), [] as [u64; 0]);
    }

    #[test]
    fn parts_of_a_split_are_disjoint_and_near_their_weights() {
        let split = |part: &str| Split {
            part: part.to_owned(),
            parts: [("train".to_owned(), Positive(3.0)), ("heldout".to_owned(), Positive(1.0))].into_iter().collect(),
            by: OneOrMany::default(),
            seed: 1,
        };
        let (train, heldout) = (split("train"), split("heldout"));
        let ids: Vec<String> = (0..4_000).map(|i| i.to_string()).collect();
        assert!(ids.iter().all(|id| train.has(id) != heldout.has(id)));
        let share = ids.iter().filter(|id| heldout.has(id)).count();
        assert!((900..1_100).contains(&share), "{share}");
    }
}
