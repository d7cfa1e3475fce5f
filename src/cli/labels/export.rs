//! `etalon labels export`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::files::{key_path, read_keys, read_labels, write_whole};
use super::{Exit, Format, Global, Sets, open, print, runtime, selected, sheet_of, talk};
use crate::cli::exit;
use crate::digest::Digest;
use crate::execute::{self, Stratum};
use crate::label::LabelLine;
use crate::plan::Plan;
use crate::report;

#[derive(Args)]
pub(super) struct ExportArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    /// Judge stage or node: `duel`, `duel.tuned`
    stage: String,
    #[command(flatten)]
    sets: Sets,
    /// Rows of this model only
    #[arg(long)]
    model: Option<String>,
    /// How many rows
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    n: u64,
    /// Draw from each of these in proportion: what the judge said, and whether it is disputed
    #[arg(long, value_delimiter = ',', value_enum)]
    stratify: Vec<By>,
    /// Columns of the dataset to show, too
    #[arg(long, value_delimiter = ',', value_name = "COLUMN")]
    columns: Vec<String>,
    /// The sheet, .csv or .jsonl [default: labels/STAGE.sheet.csv]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Score,
    Disagreement,
}

pub(super) fn run(global: &Global, arguments: &ExportArgs) -> Result<u8, Exit> {
    let (plan, _) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    let (stage, sheet) = sheet_of(&plan, &arguments.stage)?;
    let path = arguments
        .output
        .clone()
        .unwrap_or_else(|| plan.workspace.root.join("labels").join(format!("{stage}.sheet.csv")));
    let is_csv = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => true,
        Some("jsonl") => false,
        _ => return Err(Exit::usage("a sheet is a .csv or .jsonl file", Some("--output labels/sheet.csv".to_owned()))),
    };
    let named = plan.nodes.iter().find(|node| node.stage_name == stage).and_then(|node| node.stage.file("human"));
    check_paths(&plan, &stage, &path, named.as_deref())?;
    let session = open::reader(&plan)?;
    let nodes = selected(&plan, &arguments.stage, arguments.model.as_deref())?;
    let found = open::rows(&session, nodes, &arguments.pipeline)?;
    let by: Vec<Stratum> = arguments
        .stratify
        .iter()
        .map(|by| match by {
            By::Score => Stratum::Score,
            By::Disagreement => Stratum::Disagreement,
        })
        .collect();
    let key_path = key_path(&path);
    // The lock keeps two exports at the same time from losing what the other one adds to the key.
    let lock_name = format!("labels-{}", Digest::of(key_path.to_string_lossy().as_bytes()));
    let waiting = |holder| talk(&format!("waiting for {holder}"));
    let _lock = runtime()?.block_on(session.store.lock(&lock_name, &AtomicBool::new(false), waiting))?;
    let mut keys = read_keys(&key_path)?;
    let mut known: BTreeSet<String> = keys.keys().cloned().collect();
    // An item that has a label already is not exported again.
    if let Some(name) = named {
        let labels = read_labels(&plan.workspace.path(&name), &name)?;
        known.extend(labels.labels().filter_map(LabelLine::item));
    }
    let items = execute::label_items(&session, &found, &by, arguments.n as usize, &known)?;
    if items.is_empty() {
        talk("there is no row left to label");
        return Ok(exit::STAGE);
    }
    if let Some(column) =
        arguments.columns.iter().find(|column| items.iter().all(|item| !item.row.contains_key(*column)))
    {
        return Err(Exit::usage(format!("--columns: no row has a column `{column}`"), None));
    }
    if arguments.columns.is_empty() && items.iter().all(|item| item.prompt.trim().is_empty()) {
        talk(
            "the sheet does not say what was asked: `--columns` shows columns of the dataset, a `prompt` beside `completions` shows it everywhere",
        );
    }
    let bytes = report::sheet(&items, &sheet, &arguments.columns, is_csv);
    keys.extend(items.iter().map(|item| (item.key.item.clone(), item.key.clone())));
    let lines: String = keys.values().map(|key| serde_json::to_string(key).expect("keys serialise") + "\n").collect();
    // The key is written first, since a sheet without its key is of no use.
    write_whole(&key_path, lines.as_bytes())?;
    write_whole(&path, &bytes)?;
    let root = &plan.workspace.root;
    let near = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let (count, key_path, path) = (items.len(), near(&key_path), near(&path));
    match global.format {
        Format::Text => talk(&format!(
            "{count} rows → {path}\nFill in {}. What stands for which model is in {}: do not look before you are done.\nThen: etalon labels import {} {stage} {path}",
            report::sheet_answers(&sheet),
            key_path,
            arguments.pipeline,
        )),
        Format::Json => print(&json!({ "etalon": 1, "rows": count, "sheet": path, "key": key_path }).to_string()),
    }
    Ok(exit::OK)
}

/// Refuses a sheet that would stand where labels are.
fn check_paths(plan: &Plan, stage: &str, path: &Path, named: Option<&str>) -> Result<(), Exit> {
    if let Some(named) = named.filter(|named| !named.ends_with(".jsonl")) {
        let help = format!("human: labels/{stage}.jsonl");
        return Err(Exit::usage(format!("{named}: labels are imported into JSON lines only"), Some(help)));
    }
    if named.is_some_and(|named| plan.workspace.path(named) == plan.workspace.path(&path.to_string_lossy())) {
        let message = format!("{} is where the labels of {stage} go", path.display());
        return Err(Exit::usage(message, Some("name another file for the sheet".to_owned())));
    }
    if path.exists() {
        let help =
            "read it first (`etalon labels import`), then move it away (its key may stay), or name another by --output";
        return Err(Exit::usage(
            format!("{} is there already, and may hold labels", path.display()),
            Some(help.to_owned()),
        ));
    }
    Ok(())
}
