//! `etalon labels import`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde_json::{Value, json};

use super::files::{key_path, read_all_keys, read_labels, write_whole};
use super::{Exit, Format, Global, Sets, open, print, runtime, sheet_of, talk};
use crate::cli::exit;
use crate::dataset::format_of;
use crate::digest::Digest;
use crate::label::{Key, LabelLine, Merged, Sheet, labels_of};
use crate::problem::Problem;
use crate::report;

#[derive(Args)]
pub(super) struct ImportArgs {
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

pub(super) fn run(global: &Global, arguments: &ImportArgs) -> Result<u8, Exit> {
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
    // The lock keeps two imports at the same time from losing what the other one adds.
    let store = open::store(&plan)?;
    let lock_name = format!("labels-{}", Digest::of(target_name.as_bytes()));
    let waiting = |holder| talk(&format!("waiting for {holder}"));
    let _lock = runtime()?.block_on(store.lock(&lock_name, &AtomicBool::new(false), waiting))?;
    let mut known = read_labels(&target, &target_name)?;
    let (mut added, mut same, mut replaced, mut problems) = (0, 0, 0, Vec::new());
    for (number, line) in lines {
        let (row, said) = (line.row.clone(), line.label.clone());
        match known.add(line, arguments.replace) {
            Merged::Added => added += 1,
            Merged::Same => same += 1,
            Merged::Replaced => replaced += 1,
            Merged::Conflict(place) => {
                let was = known.at(place).map(|label| label.label.clone()).unwrap_or_default();
                let message =
                    format!("{}:{number}: row {} is labelled {was} already, not {said}", path.display(), json!(row));
                let help = "--replace if this is the better one, --rater NAME if someone else says it";
                problems.push(Problem::error("conflict", message).help(help));
            }
        }
    }
    if !problems.is_empty() {
        return Err(Exit::problems(problems));
    }
    if added + same + replaced == 0 {
        let message = format!("{}: nothing is filled in, {blank} rows are blank", path.display());
        return Err(Exit::usage(message, Some("`label` is the column for what people say".to_owned())));
    }
    if added + replaced > 0 {
        write_whole(&target, known.text().as_bytes())?;
    }
    let counts = Counts { added, replaced, same, blank };
    tell(global, &counts, &target_name, named.is_none().then_some(stage.as_str()), &arguments.pipeline);
    Ok(exit::OK)
}

/// How many labels of a sheet were added, replaced or left out.
struct Counts {
    added: u64,
    replaced: u64,
    same: u64,
    blank: u64,
}

/// Prints what was imported. `unnamed` is the stage, if its spec does not name the file of labels yet.
fn tell(global: &Global, counts: &Counts, target: &str, unnamed: Option<&str>, pipeline: &str) {
    let Counts { added, replaced, same, blank } = counts;
    if global.format == Format::Json {
        let document =
            json!({ "etalon": 1, "file": target, "added": added, "replaced": replaced, "same": same, "blank": blank });
        print(&document.to_string());
        return;
    }
    let mut said = format!("{added} labels → {target}");
    for (count, what) in [(replaced, "replaced"), (same, "were there"), (blank, "rows are blank")] {
        if *count > 0 {
            said.push_str(&format!(", {count} {what}"));
        }
    }
    match unnamed {
        Some(stage) => said.push_str(&format!("\nHold the judge against them: `human: {target}` in the stage {stage}")),
        None => said.push_str(&format!("\nThen: etalon run {pipeline}")),
    }
    talk(&said);
}

/// Reads a filled-in sheet: its labels with their lines, and how many rows are blank. All mistakes are reported
/// together.
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
        if !answers.keys().any(|name| sheet.is_answer(name)) {
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
        match labels_of(key, sheet, &answers) {
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
