//! `etalon score`: metrics over a file of predictions, without a pipeline.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::exit::{self, Exit};
use super::{Format, Global, Signals, print, runtime, talk};
use crate::dataset;
use crate::problem::suggest;
use crate::process;
use crate::report;
use crate::spec::{Workspace, value_of};
use crate::stage::{ScoreError, ScoreFile, score_file};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon score predictions.csv --metric exact_match\n  etalon score out.jsonl --prediction answer --reference gold --metric rougeL --by topic"
)]
pub(super) struct ScoreArgs {
    /// File of predictions and references: .jsonl, .json, .csv, .tsv, plain or with .gz or .zst behind
    file: PathBuf,
    /// A metric, with settings behind a colon: `exact_match`, `numeric:tolerance=0.1,extract=last`
    #[arg(long = "metric", value_name = "NAME[:K=V,…]", required = true, value_parser = parse_metric)]
    metrics: Vec<(String, Map<String, Value>)>,
    /// Column with the predictions, or a template: "{{ row.output | json('label') }}" [default: prediction, completion, output, response, …]
    #[arg(long, value_name = "COLUMN")]
    prediction: Option<String>,
    /// Column with the references, or a template [default: reference, gold, target, label, answer, …]
    #[arg(long, value_name = "COLUMN")]
    reference: Option<String>,
    /// Sum up by the values of a column as well
    #[arg(long, value_name = "COLUMN")]
    by: Vec<String>,
    /// Column whose rows belong together, such as a conversation: intervals resample its values
    #[arg(long, value_name = "COLUMN")]
    cluster: Option<String>,
    /// Leave rows out that cannot be read, and count them
    #[arg(long)]
    skip_bad_rows: bool,
    /// What the file is, where its extension does not tell
    #[arg(long, value_name = "FORMAT")]
    input_format: Option<String>,
    /// Print the scores of every row, one JSON object per line, instead of the summary
    #[arg(long)]
    rows: bool,
}

/// Parses `name:k=v,k=v`. A comma that is not followed by `k=` belongs to the value before it.
fn parse_metric(text: &str) -> Result<(String, Map<String, Value>), String> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    let mut settings: Vec<(String, String)> = Vec::new();
    for piece in rest.split(',').filter(|piece| !piece.is_empty() || !rest.is_empty()) {
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        match (piece.split_once('='), settings.last_mut()) {
            (Some((key, value)), _) if is_name(key.trim()) => {
                settings.push((key.trim().to_owned(), value.to_owned()));
            }
            (_, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
            }
            (_, None) => return Err(format!("`{piece}` is not of the form setting=value")),
        }
    }
    let typed = |text: String| value_of(&text).filter(|value| !value.is_null()).unwrap_or(Value::String(text));
    let settings = settings.into_iter().map(|(key, value)| (key, typed(value))).collect();
    Ok((name.trim().to_owned(), settings))
}

pub(super) fn run(global: &Global, arguments: &ScoreArgs) -> Result<u8, Exit> {
    let workspace = Workspace::open(global.workspace.as_deref())?;
    if !arguments.file.is_file() {
        return Err(Exit::usage(format!("there is no file {}", arguments.file.display()), None));
    }
    let format = match &arguments.input_format {
        None => None,
        Some(name) => Some(dataset::find(name).ok_or_else(|| {
            let help = suggest(name, "formats there are", dataset::FORMATS.iter().map(|format| format.name));
            Exit::usage(format!("there is no format {name}"), help)
        })?),
    };
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words = format!("etalon {}", words.join(" "));
    let file = ScoreFile {
        path: &arguments.file,
        format,
        metrics: arguments.metrics.clone(),
        prediction: arguments.prediction.as_deref(),
        reference: arguments.reference.as_deref(),
        by: arguments.by.clone(),
        cluster: arguments.cluster.as_deref(),
        skips_bad_rows: arguments.skip_bad_rows,
        words: &words,
    };
    let runtime = runtime()?;
    // The terminal's Ctrl-C does not reach the program of a metric, so it is ended here.
    runtime.spawn(async {
        Signals::new().next().await;
        process::end_all();
        std::process::exit(i32::from(exit::INTERRUPTED));
    });
    let scored = score_file(&workspace, &file, |scores| {
        if arguments.rows {
            print(&json!({ "line": scores.id.parse::<u64>().ok(), "scores": scores.scores }).to_string());
        }
        super::is_read()
    });
    let scored = match scored {
        Ok(scored) => scored,
        Err(ScoreError::Problems(problems)) => return Err(Exit::problems(problems)),
        Err(ScoreError::Stage(error)) => return Err(error.into()),
    };
    for note in &scored.notes {
        talk(&format!("warning: {note}"));
    }
    match global.format {
        _ if arguments.rows => {}
        Format::Text => print(&report::scores(&scored)),
        Format::Json => print(&report::scores_json(&scored).to_string()),
    }
    Ok(exit::OK)
}
