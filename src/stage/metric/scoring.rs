//! Scoring: rows with their completions become scores, and a summary over rows and slices.
//!
//! ```text
//! a batch of rows → templates rendered, on all cores → each metric scores all of them → tallies
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::Value as TemplateValue;
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::measure::{Measure, MetricStage};
use crate::digest::{Digest, canonical};
use crate::metric::{RowScores, Score, Scored, Tally, TallySummary};
use crate::row::{Completion, Row, Scores};
use crate::score::Summary;
use crate::spec::Price;
use crate::stage::dataset::LEAKAGE;
use crate::stage::join::Joined;
use crate::stage::prompt::{Prompt, Variables, params_value};
use crate::stage::{StageError, coverage, seed_of};
use crate::template::{Attrs, NoValue, to_json};

/// Values of a `by` column: beyond that it is no column to slice by.
const MAX_SLICES: usize = 200;
/// Different reasons for missing scores that are told.
const MAX_REASONS: usize = 5;
/// Share of the completions from which a caution is told.
const CAUTION: f64 = 0.2;

/// What a template made of a completion and its row, or why it found nothing.
type Extracted = Result<Value, NoValue>;

/// Scores as they come in.
pub(super) struct Scoring<'a> {
    stage: &'a MetricStage,
    params: TemplateValue,
    model: &'a str,
    row_reads: Attrs,
    /// The templates of all metrics, each once.
    prompts: Vec<Arc<Prompt>>,
    /// By metric: where its templates stand among those.
    places: Vec<Places>,
    tallies: Vec<Box<dyn Tally>>,
    /// The columns that are sliced by: those of `by`, and `leakage` where the dataset found some.
    by: Vec<&'a str>,
    /// By column, then by value.
    slices: Vec<BTreeMap<String, Vec<Box<dyn Tally>>>>,
    /// By metric: why scores are missing, and what makes them doubtful, with how often.
    reasons: Vec<BTreeMap<String, u64>>,
    /// By metric: why predictions could not be read, with how often. They are scored as what they are: wrong.
    unread: Vec<BTreeMap<String, u64>>,
    cautions: Vec<BTreeMap<&'static str, u64>>,
    /// What the model costs, if a metric asks.
    price: Option<Price>,
    /// Rows × samples.
    pub all: u64,
    /// Those with a completion.
    pub valid: u64,
}

/// A row's scores.
pub(super) struct ScoredRow {
    row: Row,
    /// By sample.
    pub records: Vec<Scores>,
    /// By metric, then by sample.
    columns: Vec<Vec<Option<Value>>>,
}

impl ScoredRow {
    /// Returns the id of the row.
    pub fn id(&self) -> &str {
        &self.row.id
    }
}

struct Places {
    prediction: Option<usize>,
    reference: Option<usize>,
    weight: Option<usize>,
}

impl<'a> Scoring<'a> {
    pub fn new(
        stage: &'a MetricStage,
        params: &IndexMap<String, Value>,
        model: Option<&'a str>,
        has_leakage: bool,
    ) -> Scoring<'a> {
        let mut by: Vec<&str> = stage.by.iter().map(|(column, _)| column.as_str()).collect();
        if has_leakage && !by.contains(&LEAKAGE) {
            by.push(LEAKAGE);
        }
        let mut prompts: Vec<Arc<Prompt>> = Vec::new();
        let mut place = |prompt: Option<&Arc<Prompt>>| {
            let prompt = prompt?;
            let known = prompts.iter().position(|known| Arc::ptr_eq(known, prompt));
            Some(known.unwrap_or_else(|| {
                prompts.push(prompt.clone());
                prompts.len() - 1
            }))
        };
        let places = stage
            .measures
            .iter()
            .map(|measure| Places {
                prediction: place(measure.prediction.as_ref()),
                reference: place(measure.reference.as_ref().filter(|_| measure.metric.wants_reference())),
                weight: place(measure.weight.as_ref()),
            })
            .collect();
        Scoring {
            stage,
            params: params_value(params),
            price: model.and_then(|model| stage.price(model)),
            model: model.unwrap_or("_"),
            row_reads: stage.row_reads(),
            prompts,
            places,
            tallies: tallies(stage),
            slices: by.iter().map(|_| BTreeMap::new()).collect(),
            by,
            reasons: vec![BTreeMap::new(); stage.measures.len()],
            unread: vec![BTreeMap::new(); stage.measures.len()],
            cautions: vec![BTreeMap::new(); stage.measures.len()],
            all: 0,
            valid: 0,
        }
    }

    /// Returns how many rows it likes at once.
    pub fn batch(&self) -> usize {
        self.stage.measures.iter().map(|measure| measure.metric.batch()).max().unwrap_or(1)
    }

    /// Scores rows and adds them to the tallies; returns the scores of their samples.
    pub fn add(&mut self, batch: &[Joined]) -> Result<Vec<Scores>, StageError> {
        let mut records = Vec::new();
        for (scored, joined) in self.score(batch)?.into_iter().zip(batch) {
            self.all += joined.completions.len() as u64;
            let is_ok = |completion: &&Completion| completion.status.is_answered();
            self.valid += joined.completions.iter().filter(is_ok).count() as u64;
            self.sum(&joined.row, &scored.columns)?;
            records.extend(scored.records);
        }
        Ok(records)
    }

    /// Scores rows, and adds them to nothing yet.
    pub fn score(&mut self, batch: &[Joined]) -> Result<Vec<ScoredRow>, StageError> {
        // By row, then by sample: what each template makes of it; none where the completion failed.
        let rendered: Vec<Vec<Option<Vec<Extracted>>>> = batch
            .par_iter()
            .with_min_len(16)
            .map(|joined| joined.completions.iter().map(|completion| self.render(joined, completion)).collect())
            .collect::<Result<_, StageError>>()?;
        let mut by_measure = Vec::with_capacity(self.stage.measures.len());
        for index in 0..self.stage.measures.len() {
            by_measure.push(self.score_all(index, batch, &rendered)?.into_iter());
        }
        let mut rows = Vec::with_capacity(batch.len());
        for joined in batch {
            let mut columns: Vec<Vec<Option<Value>>> = vec![Vec::new(); self.stage.measures.len()];
            let mut records = Vec::with_capacity(joined.completions.len());
            for completion in &joined.completions {
                let is_ok = completion.status.is_answered() && completion.text.is_some();
                let mut map = Map::new();
                for (index, measure) in self.stage.measures.iter().enumerate() {
                    let score = if is_ok { by_measure[index].next().flatten() } else { None };
                    map.insert(measure.name.clone(), score.clone().unwrap_or_default());
                    columns[index].push(score);
                }
                map.sort_keys();
                records.push(Scores { id: completion.id.clone(), sample: completion.sample, scores: map });
            }
            rows.push(ScoredRow { row: joined.row.clone(), records, columns });
        }
        Ok(rows)
    }

    /// Adds a row that was scored to the tallies.
    pub fn take(&mut self, scored: &ScoredRow) -> Result<(), StageError> {
        self.sum(&scored.row, &scored.columns)
    }

    /// Adds the stored scores of a row to the tallies, where there are neither slices nor clusters.
    pub fn keep(&mut self, records: &[Scores]) {
        if records.is_empty() {
            return;
        }
        for (tally, measure) in self.tallies.iter_mut().zip(&self.stage.measures) {
            let scores = records.iter().map(|record| record.scores.get(&measure.name));
            let scores: Vec<Option<&Value>> = scores.map(|score| score.filter(|score| !score.is_null())).collect();
            tally.add(&RowScores { scores: &scores, cluster: None });
        }
    }

    /// Adds a row to the tallies.
    fn sum(&mut self, row: &Row, columns: &[Vec<Option<Value>>]) -> Result<(), StageError> {
        let cluster = self.stage.cluster.as_ref().map(|(column, _)| {
            let value = row.columns.get(column).filter(|value| !value.is_null());
            // A row that belongs to nothing stands for itself.
            value.map_or_else(|| Digest::of(row.id.as_bytes()), |value| Digest::of(&canonical(value))).seed()
        });
        let columns: Vec<Vec<Option<&Value>>> =
            columns.iter().map(|column| column.iter().map(Option::as_ref).collect()).collect();
        let add = |tallies: &mut Vec<Box<dyn Tally>>| {
            for (tally, scores) in tallies.iter_mut().zip(&columns) {
                tally.add(&RowScores { scores, cluster });
            }
        };
        add(&mut self.tallies);
        for (column, slices) in self.by.iter().zip(&mut self.slices) {
            let value = match (*column, row.columns.get(*column)) {
                (LEAKAGE, None) => "clean".to_owned(),
                (LEAKAGE, Some(_)) => "leaked".to_owned(),
                (_, value) => slice_of(value),
            };
            if !slices.contains_key(&value) && slices.len() == MAX_SLICES {
                return Err(StageError::failed(format!(
                    "`by: {column}`: the column has more than {MAX_SLICES} values; derive a coarser one in the dataset"
                )));
            }
            add(slices.entry(value).or_insert_with(|| tallies(self.stage)));
        }
        Ok(())
    }

    /// Sums up; returns the summary, and what there is to say for people.
    pub fn finish(self) -> (Summary, Vec<String>) {
        let mut summary = Summary::default();
        let mut notes = sum_up(self.stage, self.tallies, &mut summary);
        for (column, slices) in self.by.iter().zip(self.slices) {
            let values = summary.slices.entry((*column).to_owned()).or_default();
            for (value, tallies) in slices {
                let mut slice = Summary::default();
                sum_up(self.stage, tallies, &mut slice);
                values.insert(value, slice.values);
            }
        }
        summary.values.insert("coverage".to_owned(), coverage(self.valid, self.all));
        let told = self.reasons.into_iter().zip(self.unread).zip(self.cautions);
        for (measure, ((reasons, unread), cautions)) in self.stage.measures.iter().zip(told) {
            summary.signatures.insert(measure.name.clone(), measure.entry.signature(&measure.settings));
            let mut reasons: Vec<(String, u64)> = reasons.into_iter().collect();
            reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            for (reason, count) in reasons.into_iter().take(MAX_REASONS) {
                notes.push(format!("{}: {count} without a score: {reason}", measure.name));
            }
            for (reason, count) in unread {
                notes.push(format!("{}: {count} of {} predictions cannot be read: {reason}", measure.name, self.valid));
            }
            for (caution, count) in cautions {
                let share = count as f64 / self.valid.max(1) as f64;
                if share > CAUTION {
                    notes.push(format!("{}: of {:.0} % {caution}", measure.name, 100.0 * share));
                }
            }
        }
        (summary, notes)
    }

    /// Renders every template for one completion.
    fn render(&self, joined: &Joined, completion: &Completion) -> Result<Option<Vec<Extracted>>, StageError> {
        if completion.text.is_none() || !completion.status.is_answered() {
            return Ok(None);
        }
        if self.prompts.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let variables = Variables::new(&self.params)
            .with("model", self.model)
            .with("sample", completion.sample)
            .with_said(completion)
            .with_row(&joined.row, &self.row_reads)
            .value();
        let render = |prompt: &Arc<Prompt>| {
            let value = prompt.template.extract(&variables).map_err(|error| {
                StageError::failed(format!("row {}: `{}` failed: {error}", completion.id, prompt.label))
            })?;
            Ok(value.map(|value| if value.is_none() { Value::Null } else { to_json(&value) }))
        };
        self.prompts.iter().map(render).collect::<Result<_, _>>().map(Some)
    }

    /// Scores all completions of a batch by one metric; failed ones have no score, and none here.
    fn score_all(
        &mut self,
        index: usize,
        batch: &[Joined],
        rendered: &[Vec<Option<Vec<Extracted>>>],
    ) -> Result<Vec<Option<Value>>, StageError> {
        let (measure, places) = (&self.stage.measures[index], &self.places[index]);
        // Where a completion is scored as it is.
        let plain: Vec<Value> = if places.prediction.is_none() {
            let texts =
                batch.iter().zip(rendered).flat_map(|(joined, rendered)| joined.completions.iter().zip(rendered));
            texts
                .filter(|(_, rendered)| rendered.is_some())
                .map(|(completion, _)| Value::from(completion.text.as_deref().unwrap_or_default()))
                .collect()
        } else {
            Vec::new()
        };
        let knows_null = measure.metric.knows_null();
        // For a text that is scored as it is, null in the reference can only mean that there is none.
        let null_is_reference = knows_null && measure.has_structure();
        let mut scored = Vec::new();
        for (joined, rendered) in batch.iter().zip(rendered) {
            for (sample, (completion, values)) in joined.completions.iter().zip(rendered).enumerate() {
                let Some(values) = values else { continue };
                let prediction = match places.prediction {
                    None => Some(&plain[scored.len()]),
                    Some(place) => match &values[place] {
                        Ok(value) => Some(value).filter(|value| knows_null || !value.is_null()),
                        Err(why) => {
                            *self.unread[index].entry(why.to_string()).or_default() += 1;
                            None
                        }
                    },
                };
                let reference = places.reference.and_then(|place| values[place].as_ref().ok());
                scored.push(Scored {
                    prediction,
                    reference: reference.filter(|value| null_is_reference || !value.is_null()),
                    weight: places.weight.and_then(|place| values[place].as_ref().ok()),
                    finish_reason: completion.finish_reason.as_deref(),
                    meta: joined.meta.get(sample),
                    price: self.price,
                    id: &completion.id,
                    sample: completion.sample,
                });
            }
        }
        let scores: Vec<Score> = measure
            .metric
            .score_all(&scored)
            .map_err(|message| StageError::failed(format!("metric {}: {message}", measure.name)))?;
        for caution in scored.iter().filter_map(|scored| measure.metric.caution(scored)) {
            *self.cautions[index].entry(caution).or_default() += 1;
        }
        let mut found = Vec::with_capacity(scores.len());
        for (score, scored) in scores.into_iter().zip(&scored) {
            let is_without_reference = scored.reference.is_none() && measure.metric.needs_reference();
            let score = match score {
                Ok(None) if is_without_reference => Err("the row has no reference".to_owned()),
                Ok(None) if scored.prediction.is_none() => Err("there is no prediction".to_owned()),
                score => score,
            };
            let mut score = score.unwrap_or_else(|reason| {
                *self.reasons[index].entry(reason).or_default() += 1;
                None
            });
            if let Some(score) = &mut score {
                score.sort_all_objects();
            }
            found.push(score);
        }
        Ok(found)
    }
}

pub(super) fn tallies(stage: &MetricStage) -> Vec<Box<dyn Tally>> {
    let seed = |measure: &Measure| seed_of(&measure.name, &measure.signature());
    stage.measures.iter().map(|measure| measure.metric.tally(seed(measure))).collect()
}

/// Writes what the tallies say into a summary; returns their notes.
pub(super) fn sum_up(stage: &MetricStage, tallies: Vec<Box<dyn Tally>>, summary: &mut Summary) -> Vec<String> {
    let mut notes = Vec::new();
    for (measure, mut tally) in stage.measures.iter().zip(tallies) {
        let mut parts = TallySummary::default();
        tally.finish(&mut parts);
        notes.extend(parts.notes.drain(..).map(|note| format!("{}: {note}", measure.name)));
        parts.into_summary(&measure.name, summary);
    }
    notes
}

/// Returns the slice that a row belongs to.
fn slice_of(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "(none)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => String::from_utf8_lossy(&canonical(other)).into_owned(),
    }
}
