//! What a diagnosis looks at: the candidate's answers beside those of the baseline and the ceiling, and their scores.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::execute::{Session, each_row, rows_of_run};
use crate::record::{Run, RunScores, ValueScores};
use crate::row::Status;
use crate::score::{Direction, Estimate, Reading};
use crate::spec::{Role, RowsRole};
use crate::stage::{Makes, StageError};
use crate::stats::{Curve, curve, logged};

/// The column that `leakage` writes.
const LEAKAGE: &str = "leakage";

/// Everything that a diagnosis looks at.
#[derive(Default)]
pub struct Evidence {
    pub run: Option<Run>,
    pub candidate: String,
    pub baseline: Option<String>,
    pub ceiling: Option<String>,
    /// The answers of each inference stage, by model.
    pub answers: Vec<Answers>,
    pub scores: RunScores,
    /// Of the stages that looked for leakage: the ids of their rows, and whether each was found in training data.
    pub leakage: Vec<(String, BTreeMap<String, bool>)>,
    /// What the logs of training show, by stage.
    pub curves: Vec<(String, Curve)>,
}

/// What one model answered in one stage.
pub struct Answers {
    pub stage: String,
    pub model: String,
    pub rows: RowsRole,
    /// By row; of several samples the first.
    pub said: BTreeMap<String, Said>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Said {
    pub text: String,
    pub status: Status,
    pub finish_reason: Option<String>,
}

/// A value of a run with its place.
#[derive(Clone, Debug)]
pub struct Figure {
    pub stage: String,
    pub value: String,
    pub reading: Reading,
    pub estimate: Estimate,
}

impl Figure {
    /// Returns the name of the value, without the model.
    pub fn name(&self) -> String {
        format!("{}.{}", self.stage, self.value)
    }

    /// Returns the last part of the value's name.
    pub fn last(&self) -> &str {
        self.value.rsplit('.').next().unwrap_or(&self.value)
    }
}

impl Evidence {
    /// Returns the evidence about one of a run's models that its documents have.
    pub fn of_run(run: &Run, scores: RunScores, candidate: &str) -> Evidence {
        let of_role = |role| {
            run.models
                .iter()
                .find(|(name, model)| model.role == Some(role) && *name != candidate)
                .map(|(name, _)| name.clone())
        };
        Evidence {
            candidate: candidate.to_owned(),
            baseline: of_role(Role::Baseline),
            ceiling: of_role(Role::Ceiling),
            run: Some(run.clone()),
            scores,
            ..Evidence::default()
        }
    }

    /// Adds what the cache has of the run: answers, and rows that tell of leakage or of training.
    ///
    /// # Errors
    ///
    /// An artifact is damaged or cannot be read.
    pub fn read(&mut self, session: &Session) -> Result<(), StageError> {
        let Some(run) = self.run.clone() else { return Ok(()) };
        for (index, node) in session.plan.nodes.iter().enumerate() {
            let Some(rows) = rows_of_run(session, index, &run) else { continue };
            match (node.stage.makes(), &node.model) {
                (Makes::Completions, Some(model)) if self.is_compared(model) => {
                    let mut said = BTreeMap::new();
                    each_row(session, index, &rows, |row| {
                        if let Some(completion) = row.completion.filter(|it| it.sample == 0 && it.status.is_answered())
                        {
                            said.insert(
                                row.row.id,
                                Said {
                                    text: completion.text.unwrap_or_default(),
                                    status: completion.status,
                                    finish_reason: completion.finish_reason,
                                },
                            );
                        }
                        true
                    })?;
                    let (stage, model) = (node.stage_name.clone(), model.clone());
                    self.answers.push(Answers { rows: run.rows_role(&stage), stage, model, said });
                }
                (Makes::Rows, _) => self.read_rows(session, index, &rows, &node.stage_name)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn is_compared(&self, model: &String) -> bool {
        *model == self.candidate || self.baseline.as_ref() == Some(model) || self.ceiling.as_ref() == Some(model)
    }

    /// Reads what rows of a dataset say of leakage, or of a training run.
    fn read_rows(
        &mut self,
        session: &Session,
        index: usize,
        rows: &crate::execute::Found,
        stage: &str,
    ) -> Result<(), StageError> {
        let is_looked_at = rows.manifest.summary.values.contains_key("leaked");
        let (mut leaked, mut log) = (BTreeMap::new(), Vec::new());
        each_row(session, index, rows, |row| {
            let columns = row.row.columns;
            let is_entry = is_log_entry(&columns);
            if is_looked_at {
                leaked.insert(row.row.id, columns.contains_key(LEAKAGE));
            } else if is_entry {
                log.push(columns);
            }
            is_looked_at || is_entry
        })?;
        if !leaked.is_empty() {
            self.leakage.push((stage.to_owned(), leaked));
        }
        if !log.is_empty() {
            let step = |entry: &Map<String, Value>| entry["step"].as_f64().unwrap_or_default();
            // Rows are sorted by id, and of one step the training loss is logged first.
            log.sort_by(|a, b| {
                step(a).total_cmp(&step(b)).then(a.contains_key("eval_loss").cmp(&b.contains_key("eval_loss")))
            });
            let log: Vec<Value> = log.into_iter().map(Value::Object).collect();
            self.curves.push((stage.to_owned(), curve(&logged(&log))));
        }
        Ok(())
    }

    /// Returns the answers of a model over rows of one kind.
    pub fn answers_of(&self, model: &str, rows: RowsRole) -> impl Iterator<Item = &Answers> {
        self.answers.iter().filter(move |answers| answers.model == model && answers.rows == rows)
    }

    /// Returns what another model answered in the same stage.
    pub fn beside(&self, answers: &Answers, model: Option<&String>) -> Option<&Answers> {
        let model = model?;
        self.answers.iter().find(|other| other.stage == answers.stage && other.model == *model)
    }

    /// Returns the values of a model over rows of one kind, as they stand in the run.
    pub fn figures(&self, model: &str, rows: RowsRole) -> Vec<Figure> {
        let Some(run) = &self.run else { return Vec::new() };
        let mut figures = Vec::new();
        for (stage, models) in &run.summary {
            let (Some(summary), Some(readings)) = (models.get(model), run.values.get(stage)) else { continue };
            if run.rows_role(stage) != rows {
                continue;
            }
            for (value, estimate) in &summary.values {
                if let Some(reading) = readings.get(value) {
                    figures.push(Figure {
                        stage: stage.clone(),
                        value: value.clone(),
                        reading: *reading,
                        estimate: *estimate,
                    });
                }
            }
        }
        figures
    }

    /// Returns one value of a model.
    pub fn figure(&self, stage: &str, model: Option<&String>, value: &str) -> Option<Estimate> {
        self.run.as_ref()?.summary.get(stage)?.get(model?)?.values.get(value).copied()
    }

    /// Returns the kind of a stage.
    pub fn kind(&self, stage: &str) -> &str {
        let stages = self.run.iter().flat_map(|run| &run.stages);
        stages.into_iter().find(|known| known.name == stage).map_or("", |known| &known.kind)
    }

    /// Returns a value row by row, by id.
    pub fn by_row(&self, stage: &str, model: Option<&String>, value: &str) -> Option<BTreeMap<&str, f64>> {
        let scores = self.row_scores(stage, model?, value)?;
        let ids = &self.scores.rows.get(&scores.rows)?.ids;
        Some(ids.iter().zip(&scores.scores).filter_map(|(id, score)| Some((id.as_str(), (*score)?))).collect())
    }

    fn row_scores(&self, stage: &str, model: &str, value: &str) -> Option<&ValueScores> {
        self.scores.values.get(stage)?.get(model)?.get(value)
    }

    /// Returns the least and the greatest that a value can be, where rows have it or its unit tells.
    pub fn range(&self, figure: &Figure, model: &str) -> Option<(f64, f64)> {
        let of_rows = self.row_scores(&figure.stage, model, &figure.value).and_then(|scores| scores.range);
        of_rows.or(figure.reading.range())
    }

    /// Returns what a value should reach: the right side of a gate on it, or what the ceiling has; with where that comes
    /// from.
    pub fn target(&self, figure: &Figure) -> Option<(f64, &'static str)> {
        let run = self.run.as_ref()?;
        let name = format!("{}.{}.{}", figure.stage, self.candidate, figure.value);
        let of_gate = run.gates.iter().find_map(|gate| {
            let (left, rest) = gate.gate.split_once(['>', '<'])?;
            let is_lower_bound = gate.gate[left.len()..].starts_with('>') && !rest.is_empty();
            gate.right.filter(|_| left.trim() == name && is_lower_bound)
        });
        let of_ceiling = || self.figure(&figure.stage, self.ceiling.as_ref(), &figure.value)?.value;
        of_gate.map(|target| (target, "gate")).or_else(|| Some((of_ceiling()?, "ceiling")))
    }

    /// Returns the ids of the rows where the candidate has the least of a value, the worst first.
    pub fn worst(&self, figure: &Figure, most: usize) -> Vec<String> {
        let Some(rows) = self.by_row(&figure.stage, Some(&self.candidate), &figure.value) else { return Vec::new() };
        let mut rows: Vec<(&str, f64)> = rows.into_iter().collect();
        let sign = if figure.reading.direction == Direction::Lower { -1.0 } else { 1.0 };
        rows.sort_by(|a, b| (sign * a.1).total_cmp(&(sign * b.1)));
        let top = rows.last().map(|row| row.1);
        rows.iter().filter(|row| Some(row.1) != top).take(most).map(|row| row.0.to_owned()).collect()
    }
}

/// Returns true for an entry of a trainer's log.
fn is_log_entry(columns: &Map<String, Value>) -> bool {
    columns.get("step").is_some_and(Value::is_number)
        && ["loss", "eval_loss", "train_loss"].iter().any(|name| columns.contains_key(*name))
}

/// Returns how two lists of rows that may show something compare: what both share, by outcome.
pub(super) fn outcomes(own: &BTreeMap<String, bool>, other: &BTreeMap<String, bool>) -> (u64, u64) {
    let both = own.iter().filter_map(|(id, own)| Some((*own, *other.get(id)?)));
    both.fold((0, 0), |(only_own, only_other), (own, other)| {
        (only_own + u64::from(own && !other), only_other + u64::from(other && !own))
    })
}
