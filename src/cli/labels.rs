//! `etalon labels`: sheets for people to fill in, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::exit::{self, Exit};
use super::show::selected;
use super::{Format, Global, Sets, open, print, runtime, talk};
use crate::dataset::format_of;
use crate::digest::Digest;
use crate::execute::{self, Key, LabelLine, Stratum};
use crate::files;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::report;
use crate::stage::Sheet;

#[derive(Args)]
pub(super) struct LabelsArgs {
    #[command(subcommand)]
    command: LabelsCommand,
}

#[derive(Subcommand)]
enum LabelsCommand {
    /// Write a blind sheet of judged rows for people to label
    Export(ExportArgs),
    /// Read a sheet back into the labels of a stage
    Import(ImportArgs),
}

#[derive(Args)]
struct ExportArgs {
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

#[derive(Args)]
struct ImportArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    /// Judge stage
    stage: String,
    #[command(flatten)]
    sets: Sets,
    /// The filled-in sheet [default: labels/STAGE.sheet.csv]
    sheet: Option<PathBuf>,
    /// Who labelled, where the sheet does not say
    #[arg(long)]
    rater: Option<String>,
    /// Let labels take the place of others by the same rater about the same texts
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(global: &Global, arguments: &LabelsArgs) -> Result<u8, Exit> {
    match &arguments.command {
        LabelsCommand::Export(arguments) => export(global, arguments),
        LabelsCommand::Import(arguments) => import(global, arguments),
    }
}

/// What people are asked about a stage.
fn sheet_of(plan: &Plan, stage: &str) -> Result<(String, Sheet), Exit> {
    let name = stage.split('.').next().unwrap_or(stage).to_owned();
    let node = selected(plan, stage, None)?.first().map(|index| &plan.nodes[*index]);
    match node.and_then(|node| node.stage.sheet()) {
        Some(sheet) => Ok((name, sheet)),
        None => Err(Exit::usage(format!("{name} is no judge stage: there is nothing to hold labels against"), None)),
    }
}

/// Returns where the key of a sheet stands.
fn key_path(sheet: &Path) -> PathBuf {
    sheet.with_extension("key.jsonl")
}

/// Reads the keys of a folder: a sheet may have been renamed since.
fn read_all_keys(sheet: &Path, labels: &Path) -> Result<BTreeMap<String, Key>, Exit> {
    let mut keys = BTreeMap::new();
    let own = sheet.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for folder in [labels, own] {
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".key.jsonl")).collect();
        files.sort();
        for file in files {
            keys.extend(read_keys(&file)?);
        }
    }
    Ok(keys)
}

fn read_keys(path: &Path) -> Result<BTreeMap<String, Key>, Exit> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Exit::usage(format!("failed to read {}: {error}", path.display()), None)),
    };
    let mut keys = BTreeMap::new();
    for (line, number) in text.lines().filter(|line| !line.trim().is_empty()).zip(1..) {
        let key: Key = serde_json::from_str(line)
            .map_err(|error| Exit::usage(format!("{}:{number}: no key: {error}", path.display()), None))?;
        keys.insert(key.item.clone(), key);
    }
    Ok(keys)
}

/// Writes a file whole: what was there stays until the new one is complete.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Exit> {
    let failed = |error: std::io::Error| Exit::internal(&format!("failed to write {}: {error}", path.display()));
    files::write(path, bytes).map_err(failed)
}

fn export(global: &Global, arguments: &ExportArgs) -> Result<u8, Exit> {
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
    let node = plan.nodes.iter().find(|node| node.stage_name == stage);
    let named = node.and_then(|node| node.stage.file("human"));
    if let Some(named) = named.as_ref().filter(|named| !named.ends_with(".jsonl")) {
        let help = format!("human: labels/{stage}.jsonl");
        return Err(Exit::usage(format!("{named}: labels are imported into JSON lines only"), Some(help)));
    }
    if named.as_ref().is_some_and(|named| plan.workspace.path(named) == plan.workspace.path(&path.to_string_lossy())) {
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
    // Two who export at once must not lose what the other adds to the key.
    let lock_name = format!("labels-{}", Digest::of(key_path.to_string_lossy().as_bytes()));
    let _lock = runtime()?.block_on(session.store.lock(&lock_name, || {}))?;
    let mut keys = read_keys(&key_path)?;
    let mut known: BTreeSet<String> = keys.keys().cloned().collect();
    // What has a label needs no other.
    if let Some(name) = named {
        let labels = read_labels(&plan.workspace.path(&name), &name)?;
        known.extend(labels.iter().filter_map(execute::item_of));
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
    // The key first: a sheet without one is of no use.
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

fn import(global: &Global, arguments: &ImportArgs) -> Result<u8, Exit> {
    let (plan, _) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    let (stage, sheet) = sheet_of(&plan, &arguments.stage)?;
    let path = arguments
        .sheet
        .clone()
        .unwrap_or_else(|| plan.workspace.root.join("labels").join(format!("{stage}.sheet.csv")));
    let named = plan.nodes.iter().find(|node| node.stage_name == stage).and_then(|node| node.stage.file("human"));
    let target_name = named.clone().unwrap_or_else(|| format!("labels/{stage}.jsonl"));
    let target = plan.workspace.path(&target_name);
    if !target_name.ends_with(".jsonl") {
        let help = format!("write its lines as JSON into labels/{stage}.jsonl and say `human: labels/{stage}.jsonl`");
        return Err(Exit::usage(format!("{target_name}: labels are added to JSON lines only"), Some(help)));
    }
    let key_path = key_path(&path);
    let keys = read_all_keys(&path, &plan.workspace.root.join("labels"))?;
    if keys.is_empty() {
        return Err(Exit::usage(
            format!("{} is not there: it says which model each item is of", key_path.display()),
            Some("it was written beside the sheet by `etalon labels export`".to_owned()),
        ));
    }
    let (lines, blank) = read_sheet(&path, &keys, &sheet, arguments.rater.as_deref())?;
    // Two who import at once must not lose what the other adds.
    let store = open::store(&plan)?;
    let lock_name = format!("labels-{}", Digest::of(target_name.as_bytes()));
    let _lock = runtime()?.block_on(store.lock(&lock_name, || {}))?;
    let mut known = read_labels(&target, &target_name)?;
    let mut places: BTreeMap<String, usize> =
        known.iter().enumerate().map(|(place, line)| (execute::label_identity(line), place)).collect();
    let (mut added, mut same, mut replaced, mut problems) = (0, 0, 0, Vec::new());
    for (number, line) in lines {
        let identity = execute::label_identity(&line);
        match places.get(&identity) {
            None => {
                places.insert(identity, known.len());
                known.push(line);
                added += 1;
            }
            Some(place) if known[*place].get("label") == line.get("label") => same += 1,
            Some(place) if arguments.replace => {
                known[*place] = line;
                replaced += 1;
            }
            Some(place) => {
                let message = format!(
                    "{}:{number}: row {} is labelled {} already, not {}",
                    path.display(),
                    line["row"],
                    known[*place]["label"],
                    line["label"]
                );
                let help = "--replace if this is the better one, --rater NAME if someone else says it";
                problems.push(Problem::error("conflict", message).help(help));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Exit::problems(problems));
    }
    let text: String = known.iter().map(|line| serde_json::to_string(line).expect("labels serialise") + "\n").collect();
    if added + replaced > 0 {
        write_whole(&target, text.as_bytes())?;
    }
    match global.format {
        Format::Json => print(
            &json!({
                "etalon": 1, "file": target_name, "added": added, "replaced": replaced, "same": same, "blank": blank,
            })
            .to_string(),
        ),
        Format::Text => {
            if added + replaced + same == 0 {
                talk(&format!("nothing is filled in: {blank} rows are blank"));
                return Ok(exit::OK);
            }
            let mut said = format!("{added} labels → {target_name}");
            for (count, what) in [(replaced, "replaced"), (same, "were there"), (blank, "rows are blank")] {
                if count > 0 {
                    said.push_str(&format!(", {count} {what}"));
                }
            }
            if named.is_none() {
                said.push_str(&format!("\nHold the judge against them: `human: {target_name}` in the stage {stage}"));
            } else {
                said.push_str(&format!("\nThen: etalon run {}", arguments.pipeline));
            }
            talk(&said);
        }
    }
    Ok(exit::OK)
}

/// Reads the labels that there are; none where there is no file.
fn read_labels(path: &Path, name: &str) -> Result<Vec<LabelLine>, Exit> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Exit::usage(format!("failed to read {name}: {error}"), None)),
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines
        .map(|(line, number)| {
            serde_json::from_str(line).map_err(|error| Exit::usage(format!("{name}:{number}: {error}"), None))
        })
        .collect()
}

/// Reads a filled-in sheet: labels with their lines, and how many rows are blank. All mistakes come together.
fn read_sheet(
    path: &Path,
    keys: &BTreeMap<String, Key>,
    sheet: &Sheet,
    rater: Option<&str>,
) -> Result<(Vec<(u64, LabelLine)>, u64), Exit> {
    let shown = path.display().to_string();
    let failed = |message: String| Exit::usage(message, None);
    let format = format_of(&shown).ok_or_else(|| failed(format!("{shown} has no extension that tells what it is")))?;
    let records = format.open(path).map_err(|error| failed(format!("failed to read {shown}: {error}")))?;
    let (mut labels, mut problems, mut blank, mut read_any) = (Vec::new(), Vec::new(), 0, false);
    let is_answer = |name: &str| match sheet {
        Sheet::Scores { .. } => name.starts_with("score."),
        Sheet::Pair | Sheet::Words(_) => name == "label",
    };
    for record in records {
        let read = record.and_then(|record| Ok((record.line, record.columns()?)));
        let (line, columns) = match read {
            Ok(read) => read,
            Err(bad) => {
                problems.push(Problem::error("wrong-label", format!("{shown}:{}: {}", bad.line, bad.message)));
                continue;
            }
        };
        let mut answers: BTreeMap<String, String> = columns
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name, text),
                Value::Null => (name, String::new()),
                other => (name, other.to_string()),
            })
            .collect();
        read_any = true;
        if !answers.keys().any(|name| is_answer(name)) {
            let missing = report::sheet_answers(sheet);
            return Err(failed(format!("{shown}:{line}: there is no column to read: fill in {missing}")));
        }
        if let Some(rater) = rater {
            let own = answers.entry("rater".to_owned()).or_default();
            if own.trim().is_empty() {
                *own = rater.to_owned();
            }
        }
        let item = answers.get("item").map(|item| item.trim().to_owned()).unwrap_or_default();
        let Some(key) = keys.get(&item) else {
            let message = format!("{shown}:{line}: there is no item `{item}` in the key of this sheet");
            problems.push(Problem::error("wrong-label", message).help("leave the column `item` as it was exported"));
            continue;
        };
        match execute::labels_of(key, sheet, &answers) {
            Ok(lines) if lines.is_empty() => blank += 1,
            Ok(lines) => labels.extend(lines.into_iter().map(|label| (line, label))),
            Err(message) => problems.push(Problem::error("wrong-label", format!("{shown}:{line}: {message}"))),
        }
    }
    if problems.is_empty() && !read_any {
        return Err(failed(format!("{shown} holds no rows")));
    }
    if problems.is_empty() { Ok((labels, blank)) } else { Err(Exit::problems(problems)) }
}
