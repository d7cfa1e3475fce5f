//! Two nodes of a metric stage on the rows that both have a completion for.
//!
//! Where one model failed on some rows, the values of the two rest on different rows, and the difference between them
//! may be that of the rows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::measure::{Measure, MetricStage};
use super::scoring::{sum_up, tallies};
use crate::metric::RowScores;
use crate::row::{OfRow, Scores};
use crate::score::Summary;
use crate::stage::{Contrast, RowValues, StageError, is_mean};
use crate::store::{Manifest, Store};

/// Rows that a note names.
const SHOWN: usize = 5;

/// The scores of a row, by sample.
type Rows = BTreeMap<String, Vec<Scores>>;

/// Reads the scores of the rows that have some.
fn scored(store: &Store, manifest: &Manifest) -> Result<Rows, StageError> {
    let mut rows = Rows::new();
    for record in store.read_artifact::<Scores>(&manifest.artifact)? {
        let record = record?;
        if record.scores.values().any(|score| !score.is_null()) {
            rows.entry(record.row_id().to_owned()).or_default().push(record);
        }
    }
    Ok(rows)
}

impl MetricStage {
    /// Returns what there is to say where two models have scores for different rows: which rows only one has, and what
    /// both have on the others.
    pub fn shared_note(&self, store: &Store, contrast: &Contrast<'_>) -> Result<Option<String>, StageError> {
        let Contrast { model, own, other_model, other, .. } = contrast;
        if own.counts.missing == 0 && other.counts.missing == 0 {
            return Ok(None);
        }
        let (mine, theirs) = (scored(store, own)?, scored(store, other)?);
        let only = |of: &Rows, without: &Rows| -> Vec<String> {
            of.keys().filter(|id| !without.contains_key(*id)).cloned().collect()
        };
        let (only_mine, only_theirs) = (only(&mine, &theirs), only(&theirs, &mine));
        if only_mine.is_empty() && only_theirs.is_empty() {
            return Ok(None);
        }
        let named = |who: &str, ids: &[String]| {
            let more = if ids.len() > SHOWN { ", …" } else { "" };
            let rows = if ids.len() == 1 { "1 row".to_owned() } else { format!("{} rows", ids.len()) };
            format!("{rows} only of {who} ({}{more})", ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
        };
        let lacking = [(*other_model, &only_theirs), (*model, &only_mine)];
        let lacking: Vec<String> =
            lacking.into_iter().filter(|(_, ids)| !ids.is_empty()).map(|(who, ids)| named(who, ids)).collect();
        let shared = mine.keys().filter(|id| theirs.contains_key(*id)).count();
        let (of_mine, of_theirs) = (self.sum_of(&mine, &theirs), self.sum_of(&theirs, &mine));
        let values = self.measures.iter().filter_map(|measure| {
            let name = match measure.entry.main {
                "" => measure.name.clone(),
                main => format!("{}.{main}", measure.name),
            };
            let value = |summary: &Summary| summary.values.get(&name)?.value;
            let (own, other) = (value(&of_mine)?, value(&of_theirs)?);
            Some(format!("{name} {own:.3} against {other:.3}"))
        });
        let values: Vec<String> = values.collect();
        Ok(Some(format!(
            "{}; on the {shared} rows of both {model} has against {other_model}: {}",
            lacking.join(", "),
            if values.is_empty() { "nothing to compare".to_owned() } else { values.join(", ") }
        )))
    }

    /// Returns a value of each row; none if the scores of rows are no numbers under that name.
    pub fn row_values(&self, store: &Store, node: &Manifest, value: &str) -> Result<Option<RowValues>, StageError> {
        let of = |measure: &&Measure| {
            let rest = value.strip_prefix(measure.name.as_str())?;
            if rest.is_empty() { Some("") } else { rest.strip_prefix('.') }
        };
        let Some((measure, part)) = self.measures.iter().find_map(|measure| Some((measure, of(&measure)?))) else {
            return Ok(None);
        };
        // By the fields of scores; a score without fields has the empty one.
        let mut fields: BTreeMap<String, BTreeMap<String, (f64, f64)>> = BTreeMap::new();
        let mut add = |field: &str, id: &str, number: Option<f64>| {
            let Some(number) = number else { return };
            if !fields.contains_key(field) {
                fields.insert(field.to_owned(), BTreeMap::new());
            }
            let sum = fields.get_mut(field).expect("it is there").entry(id.to_owned()).or_default();
            *sum = (sum.0 + number, sum.1 + 1.0);
        };
        for record in store.read_artifact::<Scores>(&node.artifact)? {
            let record = record?;
            match record.scores.get(&measure.name) {
                Some(Value::Object(score)) => {
                    score.iter().for_each(|(field, number)| add(field, record.row_id(), number_of(number)));
                }
                Some(score) => add("", record.row_id(), number_of(score)),
                None => {}
            }
        }
        let rows = |sums: &BTreeMap<String, (f64, f64)>| -> RowValues {
            sums.iter().map(|(id, (sum, n))| (id.clone(), sum / n)).collect()
        };
        // The field of the main value has a name of its own; its mean tells which it is.
        let value = node.summary.values.get(value).and_then(|estimate| estimate.value).unwrap_or(f64::NAN);
        let is_it = |rows: &RowValues| is_mean(rows, value);
        Ok(fields.get(part).map(rows).or_else(|| fields.values().map(rows).find(is_it)))
    }

    /// Sums up the scores of the rows that another model has, too.
    fn sum_of(&self, rows: &Rows, others: &Rows) -> Summary {
        let mut all = tallies(self);
        for (_, records) in rows.iter().filter(|(id, _)| others.contains_key(*id)) {
            for (tally, measure) in all.iter_mut().zip(&self.measures) {
                let scores = records.iter().map(|record| record.scores.get(&measure.name));
                let scores: Vec<_> = scores.map(|score| score.filter(|score| !score.is_null())).collect();
                tally.add(&RowScores { scores: &scores, cluster: None });
            }
        }
        let mut summary = Summary::default();
        sum_up(self, all, &mut summary);
        summary
    }
}

/// Returns a score as a number; true is 1.
fn number_of(score: &Value) -> Option<f64> {
    score.as_f64().or_else(|| score.as_bool().map(|is_true| f64::from(u8::from(is_true))))
}
