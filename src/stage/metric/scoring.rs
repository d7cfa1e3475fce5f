//! Scoring: rows with their completions become scores, and a summary over rows and slices.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use minijinja::Value as TemplateValue;
use serde_json::{Map, Value};

use super::{Measure, MetricStage};
use crate::metric::{Scored, Tally, TallySummary};
use crate::row::{Scores, Status};
use crate::score::Summary;
use crate::stage::join::Joined;
use crate::stage::prompt::{Variables, params_value};
use crate::stage::{StageError, coverage, seed_of};
use crate::template::{Attrs, to_json};

/// Values of a `by` column: beyond that it is no column to slice by.
const MAX_SLICES: usize = 200;

/// Scores as they come in.
pub(super) struct Scoring<'a> {
    stage: &'a MetricStage,
    params: TemplateValue,
    model: &'a str,
    row_reads: Attrs,
    tallies: Vec<Box<dyn Tally>>,
    /// By `by` column, then by value.
    slices: Vec<BTreeMap<String, Vec<Box<dyn Tally>>>>,
    /// Rows × samples.
    pub all: u64,
    /// Those with a completion.
    pub valid: u64,
}

impl<'a> Scoring<'a> {
    pub fn new(stage: &'a MetricStage, params: &IndexMap<String, Value>, model: Option<&'a str>) -> Scoring<'a> {
        Scoring {
            stage,
            params: params_value(params),
            model: model.unwrap_or("_"),
            row_reads: stage.row_reads(),
            tallies: tallies(stage),
            slices: stage.by.iter().map(|_| BTreeMap::new()).collect(),
            all: 0,
            valid: 0,
        }
    }

    /// Scores a row; returns the scores of its samples.
    pub fn add(&mut self, joined: &Joined) -> Result<Vec<Scores>, StageError> {
        let mut records = Vec::with_capacity(joined.completions.len());
        // By metric, then by sample.
        let mut columns: Vec<Vec<Option<Value>>> = vec![Vec::new(); self.stage.measures.len()];
        for (index, completion) in joined.completions.iter().enumerate() {
            let scores = self.score(joined, index)?;
            self.all += 1;
            self.valid += u64::from(completion.status == Status::Ok);
            let mut map = Map::new();
            for ((measure, score), column) in self.stage.measures.iter().zip(scores).zip(&mut columns) {
                map.insert(measure.name.clone(), score.clone().unwrap_or_default());
                column.push(score);
            }
            map.sort_keys();
            records.push(Scores { id: completion.id.clone(), sample: completion.sample, scores: map });
        }
        let columns: Vec<Vec<Option<&Value>>> =
            columns.iter().map(|column| column.iter().map(Option::as_ref).collect()).collect();
        let add = |tallies: &mut Vec<Box<dyn Tally>>| {
            tallies.iter_mut().zip(&columns).for_each(|(tally, column)| tally.add(column));
        };
        add(&mut self.tallies);
        for ((column, _), slices) in self.stage.by.iter().zip(&mut self.slices) {
            let value = slice_of(joined.row.columns.get(column));
            if !slices.contains_key(&value) && slices.len() == MAX_SLICES {
                return Err(StageError::failed(format!(
                    "`by: {column}`: the column has more than {MAX_SLICES} values; derive a coarser one in the dataset"
                )));
            }
            add(slices.entry(value).or_insert_with(|| tallies(self.stage)));
        }
        Ok(records)
    }

    /// Sums up.
    pub fn finish(self) -> Summary {
        let mut summary = Summary::default();
        sum_up(self.stage, self.tallies, &mut summary);
        for ((column, _), slices) in self.stage.by.iter().zip(self.slices) {
            let values = summary.slices.entry(column.clone()).or_default();
            for (value, tallies) in slices {
                let mut slice = Summary::default();
                sum_up(self.stage, tallies, &mut slice);
                values.insert(value, slice.values);
            }
        }
        summary.values.insert("coverage".to_owned(), coverage(self.valid, self.all));
        summary
    }

    /// Scores one completion by every metric; none where it failed.
    fn score(&self, joined: &Joined, index: usize) -> Result<Vec<Option<Value>>, StageError> {
        let completion = &joined.completions[index];
        let Some(text) = completion.text.as_ref().filter(|_| completion.status == Status::Ok) else {
            return Ok(vec![None; self.stage.measures.len()]);
        };
        let variables = Variables::new(&self.params)
            .with("model", self.model)
            .with("sample", completion.sample)
            .with("completion", text.as_str())
            .with(
                "finish_reason",
                completion.finish_reason.clone().map_or(TemplateValue::from(()), TemplateValue::from),
            )
            .with_row(&joined.row, &self.row_reads)
            .value();
        let plain = Value::from(text.as_str());
        self.stage
            .measures
            .iter()
            .map(|measure| {
                let failed = |field: &str, error: &dyn std::fmt::Display| {
                    StageError::failed(format!(
                        "row {}: `{field}` of metric {} failed: {error}",
                        completion.id, measure.name
                    ))
                };
                let prediction = match &measure.prediction {
                    None => Some(plain.clone()),
                    Some(prompt) => {
                        let value =
                            prompt.template.evaluate(&variables).map_err(|error| failed("prediction", &error))?;
                        (!value.is_none()).then(|| to_json(&value))
                    }
                };
                let reference = match measure.reference.as_ref().filter(|_| measure.metric.needs_reference()) {
                    None => None,
                    Some(prompt) => Some(to_json(
                        &prompt.template.evaluate(&variables).map_err(|error| failed("reference", &error))?,
                    )),
                };
                let scored = Scored {
                    prediction: prediction.as_ref(),
                    reference: reference.as_ref(),
                    latency: joined.meta.get(index).and_then(|meta| meta.latency),
                };
                measure.metric.score(&scored).map_err(|message| failed("score", &message))
            })
            .collect()
    }
}

fn tallies(stage: &MetricStage) -> Vec<Box<dyn Tally>> {
    let seed = |measure: &Measure| seed_of(&measure.name, &measure.signature());
    stage.measures.iter().map(|measure| measure.metric.tally(seed(measure))).collect()
}

fn sum_up(stage: &MetricStage, tallies: Vec<Box<dyn Tally>>, summary: &mut Summary) {
    for (measure, mut tally) in stage.measures.iter().zip(tallies) {
        let mut parts = TallySummary::default();
        tally.finish(&mut parts);
        parts.into_summary(&measure.name, summary);
    }
}

/// Returns the slice that a row belongs to.
fn slice_of(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(none)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => String::from_utf8_lossy(&crate::digest::canonical(other)).into_owned(),
    }
}
