//! Scoring a file of predictions without a pipeline, with the same functions that a stage uses.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::measure::MetricStage;
use super::scoring::Scoring;
use super::settings::stage_of;
use crate::dataset::{BadRow, Format, Record, format_of};
use crate::digest::canonical;
use crate::problem::{Place, Problem, Source, suggest};
use crate::row::{Completion, Row, Scores, Status};
use crate::score::{Summary, Unit};
use crate::spec::{Node, NodeValue, StageSpec, Workspace};
use crate::stage::inference::given;
use crate::stage::join::Joined;
use crate::stage::prompt::Prompt;
use crate::stage::{Scope, Stage, StageError};
use crate::template::{row_variables, to_json};

/// Column names that are taken for predictions if the user names none; the first that the file has.
const PREDICTIONS: &[&str] = &["prediction", "predictions", "pred", "completion", "output", "response", "generated"];
/// Column names that are taken for references if the user names none.
const REFERENCES: &[&str] = &["reference", "references", "gold", "target", "label", "answer", "expected"];
/// How many bad rows a message shows.
const MAX_SHOWN: usize = 20;

/// A file to be scored, and how.
pub struct ScoreFile<'a> {
    pub path: &'a Path,
    pub format: Option<&'static Format>,
    /// The metrics: their names and settings.
    pub metrics: Vec<(String, Map<String, Value>)>,
    /// A column, or a template over `row`; none: the first column whose name is taken for predictions.
    pub prediction: Option<&'a str>,
    pub reference: Option<&'a str>,
    pub by: Vec<String>,
    /// The column whose rows belong together; intervals resample its values.
    pub cluster: Option<&'a str>,
    pub skips_bad_rows: bool,
    /// The words of the command line, quoted in messages.
    pub words: &'a str,
}

/// The scores of a file, summed up.
pub struct FileScores {
    pub rows: u64,
    pub summary: Summary,
    pub notes: Vec<String>,
    stage: Box<MetricStage>,
}

impl FileScores {
    /// Returns the unit of a value of the summary.
    pub fn unit(&self, value: &str) -> Option<Unit> {
        self.stage.unit(value)
    }
}

/// Why a file could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    #[error("the command line is wrong")]
    Problems(Vec<Problem>),
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// Scores a file. `each` is called with the scores of every row.
///
/// # Errors
///
/// The command line is wrong, the file cannot be read, or a metric fails.
pub fn score_file(
    workspace: &Workspace,
    file: &ScoreFile<'_>,
    mut each: impl FnMut(Scores) -> bool,
) -> Result<FileScores, ScoreError> {
    let failed = |message: String| ScoreError::Stage(StageError::Failed(message));
    let name = file.path.display().to_string();
    let format = file
        .format
        .or_else(|| format_of(&name))
        .ok_or_else(|| failed(format!("{name} has no extension that tells what it is: name its --input-format")))?;
    let open = || format.open(file.path).map_err(|error| failed(format!("failed to read {name}: {error}")));
    // Only the columns of the first rows tell whether a name means a column.
    let mut columns = BTreeSet::new();
    for record in open()?.take(100).flatten() {
        columns.extend(record.columns().unwrap_or_default().keys().cloned());
    }
    let Loaded { stage, prediction } = load(workspace, file, &columns)?;
    let mut scoring = Scoring::new(&stage, &IndexMap::new(), None, false);
    let (size, mut batch) = (scoring.batch(), Vec::new());
    let (mut number, mut bad_count, mut shown) = (0u64, 0u64, Vec::new());
    for record in open()? {
        let joined = match record.and_then(|record| joined(record, &prediction)) {
            Ok(joined) => joined,
            Err(bad) => {
                bad_count += 1;
                if shown.len() < MAX_SHOWN {
                    shown.push(format!("{name}:{}: {}", bad.line, bad.message));
                }
                if bad.is_end || !file.skips_bad_rows && shown.len() == MAX_SHOWN {
                    return Err(failed(format!("bad rows:\n  {}", shown.join("\n  "))));
                }
                continue;
            }
        };
        number += 1;
        batch.push(joined);
        if batch.len() == size {
            scoring.add(&batch)?.into_iter().all(&mut each);
            batch.clear();
        }
    }
    scoring.add(&batch)?.into_iter().all(&mut each);
    let mut notes = Vec::new();
    if bad_count > 0 {
        if !file.skips_bad_rows {
            return Err(failed(format!("bad rows:\n  {}", shown.join("\n  "))));
        }
        notes.push(format!("{bad_count} bad rows skipped:\n  {}", shown.join("\n  ")));
    }
    if number == 0 {
        notes.push(format!("{name} has no rows"));
    }
    let (mut summary, said) = scoring.finish();
    notes.extend(said);
    if let Some(coverage) = summary.values.get_mut("coverage") {
        coverage.n += bad_count;
        coverage.missing += bad_count;
        coverage.value = (coverage.n > 0).then(|| (coverage.n - coverage.missing) as f64 / coverage.n as f64);
    }
    Ok(FileScores { rows: number, summary, notes, stage })
}

struct Loaded {
    stage: Box<MetricStage>,
    prediction: Prompt,
}

/// Makes the metric stage that the command line describes.
fn load(workspace: &Workspace, file: &ScoreFile<'_>, columns: &BTreeSet<String>) -> Result<Loaded, ScoreError> {
    let source = Arc::new(Source { path: "command line".to_owned(), text: file.words.to_owned() });
    let place_of = |text: &str| {
        let start = file.words.find(text).unwrap_or(0);
        let end = if file.words.contains(text) { start + text.len() } else { file.words.len() };
        Place { source: source.clone(), range: start..end }
    };
    let whole = place_of(file.words);
    let mut problems = Vec::new();
    let is_empty = columns.is_empty();
    let mut template = |given: Option<&str>, usual: &[&str], flag: &str, is_needed: bool| -> Option<String> {
        let column = match given {
            Some(text) if text.contains("{{") => return Some(text.to_owned()),
            Some(column) if is_empty || columns.contains(column) => column,
            Some(column) => {
                let help = suggest(column, "its columns are", columns.iter().map(String::as_str));
                problems.push(
                    Problem::error("unknown-column", format!("{} has no column `{column}`", file.path.display()))
                        .at(&place_of(column))
                        .maybe_help(help),
                );
                return None;
            }
            None => match usual.iter().find(|name| columns.contains(**name)) {
                Some(column) => column,
                None if is_needed && !is_empty => {
                    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
                    problems.push(
                        Problem::error("missing-flag", format!("which column is it? {flag} names it"))
                            .at(&whole)
                            .help(format!("its columns are {}", names.join(", "))),
                    );
                    return None;
                }
                None => return None,
            },
        };
        Some(format!("{{{{ row[{}] }}}}", Value::from(column)))
    };
    let prediction = template(file.prediction, PREDICTIONS, "--prediction", true);
    let reference = template(file.reference, REFERENCES, "--reference", false);
    let named = file.by.iter().map(String::as_str).chain(file.cluster);
    for column in named.filter(|column| !is_empty && !columns.contains(*column)) {
        let help = suggest(column, "its columns are", columns.iter().map(String::as_str));
        problems.push(
            Problem::error("unknown-column", format!("{} has no column `{column}`", file.path.display()))
                .at(&place_of(column))
                .maybe_help(help),
        );
    }
    let spec = stage_spec(file, reference, &whole, &place_of);
    let (models, params, broken) = (IndexMap::new(), IndexMap::new(), BTreeSet::new());
    let stages = IndexMap::new();
    let scope = Scope { workspace, models: &models, params: &params, broken: &broken, stages: &stages };
    let stage = stage_of(&spec, &scope).map_err(|found| problems.extend(found)).ok();
    let text = prediction.unwrap_or_else(|| "{{ row.prediction }}".to_owned());
    let prediction = Prompt::load_value(&scope, "--prediction", &text, &whole, &["row"]);
    let prediction = prediction.map_err(|found| problems.extend(found)).ok();
    match (stage, prediction) {
        (Some(stage), Some(prediction)) if problems.is_empty() => Ok(Loaded { stage: Box::new(stage), prediction }),
        _ => Err(ScoreError::Problems(problems)),
    }
}

/// Writes the stage down as a pipeline would have it.
fn stage_spec(
    file: &ScoreFile<'_>,
    reference: Option<String>,
    whole: &Place,
    place_of: &dyn Fn(&str) -> Place,
) -> StageSpec {
    let entries = file.metrics.iter().map(|(name, settings)| {
        let place = place_of(name);
        let mut settings = settings.clone();
        // Nothing is kept of these scores, so it does not matter which files a program has.
        if name == "command" || settings.get("metric").is_some_and(|metric| metric == "command") {
            settings.entry("files").or_insert_with(|| json!([]));
        }
        let settings = Node::from_json(&Value::Object(settings), &place);
        (crate::spec::Key { text: name.clone(), place }, settings)
    });
    let metrics = Node { value: NodeValue::Map(entries.collect()), place: whole.clone() };
    let mut settings = Node::from_json(&json!({ "input": "rows", "by": file.by, "cluster": file.cluster }), whole);
    if let NodeValue::Map(entries) = &mut settings.value {
        entries.push((crate::spec::Key { text: "metrics".to_owned(), place: whole.clone() }, metrics));
        if let Some(reference) = reference {
            let node = Node::from_json(&Value::from(reference), whole);
            entries.push((crate::spec::Key { text: "reference".to_owned(), place: whole.clone() }, node));
        }
    }
    StageSpec {
        name: "score".to_owned(),
        kind: "metric".to_owned(),
        settings,
        place: whole.clone(),
        kind_place: whole.clone(),
    }
}

/// Takes a record for a row with its completion; a prediction that is null is missing.
fn joined(record: Record, prediction: &Prompt) -> Result<Joined, BadRow> {
    let line = record.line;
    let columns = record.columns()?;
    let variables = row_variables(&columns, &prediction.template.reads.of("row"));
    let value = prediction
        .template
        .evaluate(&variables)
        .map_err(|error| BadRow::new(line, format!("no prediction: {error}")))?;
    let text = match to_json(&value) {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(String::from_utf8_lossy(&canonical(&other)).into_owned()),
    };
    let id = line.to_string();
    let completion = match text {
        Some(text) => given(text, &id, 0),
        None => Completion::missing(&id, 0, Status::Failed),
    };
    Ok(Joined {
        row: Row { id, columns },
        completions: vec![completion],
        meta: Vec::new(),
        others: Vec::new(),
        drafts: Vec::new(),
    })
}
