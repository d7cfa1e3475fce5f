//! What a diagnosis looks at: the candidate's answers beside those of the baseline and the ceiling, and their scores.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::execute::{Session, each_row, rows_of_run};
use crate::record::{Run, RunScores, ValueScores};
use crate::row::Status;
use crate::score::{Direction, Estimate, Reading};
use crate::spec::{Role, RowsRole};
use crate::stage::{Makes, StageError};
use crate::stats::{Curve, Known, curve, logged, mean_interval};

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
    /// What stands before the model's name in its column: the stage that it answered in, where several stand side by
    /// side (`long.`).
    prefix: String,
    pub value: String,
    pub reading: Reading,
    pub estimate: Estimate,
}

impl Figure {
    /// Returns the name of the value, without the model.
    pub fn name(&self) -> String {
        format!("{}.{}{}", self.stage, self.prefix, self.value)
    }

    fn column(&self, model: &str) -> String {
        format!("{}{model}", self.prefix)
    }

    /// Returns the last part of the value's name.
    pub fn last(&self) -> &str {
        self.value.rsplit('.').next().unwrap_or(&self.value)
    }
}

/// How far one value lies above another, as a share of the range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// How many rows have both.
    pub n: usize,
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// Returns what stands before a model's name in a column; none if the column is that of another model.
pub(super) fn prefix_of<'a>(column: &'a str, model: &str) -> Option<&'a str> {
    column.strip_suffix(model).filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
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
        for (stage, models) in run.summary.iter().filter(|(stage, _)| run.rows_role(stage) == rows) {
            let Some(readings) = run.values.get(stage) else { continue };
            for (column, summary) in models {
                let Some(prefix) = prefix_of(column, model) else { continue };
                let known =
                    summary.values.iter().filter_map(|(value, estimate)| Some((value, estimate, readings.get(value)?)));
                figures.extend(known.map(|(value, estimate, reading)| Figure {
                    stage: stage.clone(),
                    prefix: prefix.to_owned(),
                    value: value.clone(),
                    reading: *reading,
                    estimate: *estimate,
                }));
            }
        }
        figures
    }

    /// Returns the same value of another model.
    pub fn of_model(&self, figure: &Figure, model: Option<&String>) -> Option<Estimate> {
        let column = figure.column(model?);
        self.run.as_ref()?.summary.get(&figure.stage)?.get(&column)?.values.get(&figure.value).copied()
    }

    /// Returns true if a value was computed from these answers.
    pub fn is_of(&self, figure: &Figure, answers: &Answers) -> bool {
        let stages = self.run.iter().flat_map(|run| &run.stages);
        let input = stages.into_iter().find(|known| known.name == figure.stage).and_then(|known| known.input.as_ref());
        match figure.prefix.strip_suffix('.') {
            Some(stage) => stage == answers.stage,
            None => input.is_none_or(|input| *input == answers.stage),
        }
    }

    /// Returns the kind of a stage.
    pub fn kind(&self, stage: &str) -> &str {
        let stages = self.run.iter().flat_map(|run| &run.stages);
        stages.into_iter().find(|known| known.name == stage).map_or("", |known| &known.kind)
    }

    /// Returns a value of a model row by row, by id.
    pub fn by_row(&self, figure: &Figure, model: Option<&String>) -> Option<BTreeMap<&str, f64>> {
        let scores = self.row_scores(figure, model?)?;
        let ids = &self.scores.rows.get(&scores.rows)?.ids;
        Some(ids.iter().zip(&scores.scores).filter_map(|(id, score)| Some((id.as_str(), (*score)?))).collect())
    }

    fn row_scores(&self, figure: &Figure, model: &str) -> Option<&ValueScores> {
        self.scores.values.get(&figure.stage)?.get(&figure.column(model))?.get(&figure.value)
    }

    /// Returns the cluster of each row of a value, by id; none where rows are independent.
    pub fn clusters(&self, figure: &Figure) -> Option<BTreeMap<&str, u32>> {
        let scores = self.row_scores(figure, &self.candidate)?;
        let rows = self.scores.rows.get(&scores.rows)?;
        let clusters = rows.clusters.get(scores.cluster.as_ref()?)?;
        Some(rows.ids.iter().map(String::as_str).zip(clusters.iter().copied()).collect())
    }

    /// Returns the least and the greatest that a value can be, where rows have it or its unit tells.
    pub fn range(&self, figure: &Figure) -> Option<(f64, f64)> {
        self.row_scores(figure, &self.candidate).and_then(|scores| scores.range).or(figure.reading.range())
    }

    /// Returns how far one value lies above another, row by row, as shares of their ranges: the mean and its 95 % interval.
    pub fn difference(&self, upper: (&Figure, &String), lower: (&Figure, &String)) -> Option<Difference> {
        let scaled = |(figure, model): (&Figure, &String)| {
            let (low, high) = self.range(figure)?;
            let rows = self.by_row(figure, Some(model))?.into_iter();
            Some(rows.map(|(id, value)| (id, (value - low) / (high - low))).collect::<BTreeMap<&str, f64>>())
        };
        let (above, below) = (scaled(upper)?, scaled(lower)?);
        let clusters = self.clusters(upper.0);
        let both: Vec<(&str, f64, f64)> = above.iter().filter_map(|(id, a)| Some((*id, *a, *below.get(id)?))).collect();
        let differences: Vec<f64> = both.iter().map(|(_, above, below)| above - below).collect();
        let clusters: Vec<u64> = match &clusters {
            Some(clusters) => {
                both.iter().map(|(id, ..)| clusters.get(id).copied().unwrap_or_default().into()).collect()
            }
            None => Vec::new(),
        };
        let is_end = |value: f64| value == 0.0 || value == 1.0;
        let known = Known {
            range: Some((-1.0, 1.0)),
            is_all_or_nothing: both.iter().all(|(_, above, below)| is_end(*above) && is_end(*below)),
            is_clustered: !clusters.is_empty(),
        };
        let interval = mean_interval(&differences, &clusters, &known)?;
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        Some(Difference { n: differences.len(), mean, low: interval.low, high: interval.high })
    }

    /// Returns what a value should reach: the right side of a gate on it, or what the ceiling has; with where that comes
    /// from.
    pub fn target(&self, figure: &Figure) -> Option<(f64, &'static str)> {
        let run = self.run.as_ref()?;
        let name = format!("{}.{}.{}", figure.stage, figure.column(&self.candidate), figure.value);
        let of_gate = run.gates.iter().find_map(|gate| {
            let (left, rest) = gate.gate.split_once(['>', '<'])?;
            let is_lower_bound = gate.gate[left.len()..].starts_with('>') && !rest.is_empty();
            gate.right.filter(|_| left.trim() == name && is_lower_bound)
        });
        let of_ceiling = || self.of_model(figure, self.ceiling.as_ref())?.value;
        of_gate.map(|target| (target, "gate")).or_else(|| Some((of_ceiling()?, "ceiling")))
    }

    /// Returns the ids of the rows where the candidate has the least of a value, the worst first.
    pub fn worst(&self, figure: &Figure, most: usize) -> Vec<String> {
        let Some(rows) = self.by_row(figure, Some(&self.candidate)) else { return Vec::new() };
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
