//! `etalon export`.
//!
//! | file | holds |
//! |---|---|
//! | `args` | what can be asked for |
//! | `choose` | `--rows`: which rows are meant by their scores |
//! | `plain` | rows that are meant, and rows as `show` prints them |
//! | `wide` | everything about a row side by side |
//! | `training` | examples to train with |

mod args;
mod choose;
mod plain;
mod training;
mod wide;

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde_json::json;

use super::exit::{self, Exit};
use super::filter::Filter;
use super::show::selected;
use super::{Format, Global, open, print, talk};
use crate::files::Draft;
use crate::report::{Columns, Csv, JsonLines, RowWriter};
pub(super) use args::ExportArgs;
use args::To;
use choose::Chosen;
use plain::{Documents, Plain, Rows};

pub(super) fn run(global: &Global, arguments: &ExportArgs) -> Result<u8, Exit> {
    if arguments.to == To::Parquet {
        if cfg!(not(feature = "parquet")) {
            let help = "build it with `cargo install --path . --features parquet`";
            return Err(Exit::usage("this etalon was built without Parquet", Some(help.to_owned())));
        }
        if arguments.output.is_none() {
            return Err(Exit::usage("Parquet is no text for a terminal", Some("--output rows.parquet".to_owned())));
        }
    }
    check(arguments)?;
    let (plan, _) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    let mut nodes = Vec::new();
    for stage in &arguments.stages {
        let of = selected(&plan, stage, arguments.model.as_deref().filter(|_| !arguments.wide))?;
        nodes.extend(of.into_iter().filter(|index| !nodes.contains(index)).collect::<Vec<_>>());
    }
    let is_training = matches!(arguments.to, To::Sft | To::Dpo);
    if is_training {
        nodes = training::nodes(&plan, nodes, arguments)?;
    }
    if let (true, Some(model)) = (arguments.wide, &arguments.model) {
        nodes.retain(|index| plan.nodes[*index].model.as_ref().is_none_or(|known| known == model));
    }
    if arguments.wide {
        wide::check(&plan, &nodes)?;
    }
    let session = open::reader(&plan)?;
    let found = open::rows(&session, nodes, &arguments.pipeline)?;
    let filter = arguments.filter.as_deref().map(|text| Filter::load(&plan.workspace.library, text)).transpose()?;
    let chosen = arguments.rows.map(|which| Chosen::find(&session, &found, which, arguments)).transpose()?;
    let rows = Rows { session: &session, found: &found, with_meta: arguments.meta, filter, chosen };
    let documents: Box<dyn Documents + '_> = match arguments.to {
        To::Sft | To::Dpo => Box::new(training::Training::new(rows, arguments)?),
        _ if arguments.wide => Box::new(wide::Wide(rows)),
        _ => Box::new(Plain(rows)),
    };
    write(global, arguments, &*documents)
}

/// Checks what belongs together.
fn check(arguments: &ExportArgs) -> Result<(), Exit> {
    let is_training = matches!(arguments.to, To::Sft | To::Dpo);
    let problem = match arguments {
        _ if arguments.stages.len() > 1 && !arguments.wide => {
            Some(("several stages stand side by side with --wide only", "add --wide, or export one after the other"))
        }
        _ if arguments.wide && is_training => Some(("--wide is for jsonl, csv and parquet", "leave --wide out")),
        _ if arguments.answer.is_some() && arguments.to != To::Sft => {
            Some(("--answer is for `--to sft`", "of preference pairs the answer to prefer is `--chosen`"))
        }
        _ if arguments.chosen.is_some() && arguments.to != To::Dpo => {
            Some(("--chosen is for `--to dpo`", "the answer to learn is `--answer`"))
        }
        _ if arguments.to == To::Sft && arguments.rows.is_some() && arguments.answer.is_none() => Some((
            "--rows chooses answers by what is wrong with them: they are none to learn",
            "say what to learn: --answer '{{ row.gold }}', or preference pairs with `--to dpo`",
        )),
        _ if arguments.match_length.is_some() && arguments.to != To::Dpo => {
            Some(("--match-length is for `--to dpo`", "leave it out"))
        }
        _ => None,
    };
    problem.map_or(Ok(()), |(message, help)| Err(Exit::usage(message, Some(help.to_owned()))))
}

/// Writes documents to standard output or to a file.
fn write(global: &Global, arguments: &ExportArgs, documents: &dyn Documents) -> Result<u8, Exit> {
    let mut columns = Columns::default();
    if matches!(arguments.to, To::Csv | To::Parquet) {
        documents.each(&mut |document| {
            columns.add(document);
            Ok(())
        })?;
    }
    let Some(path) = &arguments.output else {
        let out = BufWriter::new(io::stdout());
        all(documents, writer(arguments, out, columns)?)?;
        documents.tell();
        return Ok(exit::OK);
    };
    if path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
        return Err(Exit::usage(format!("there is no folder for {}", path.display()), None));
    }
    // The file is replaced when it is complete; until then a reader gets the old one.
    let failed = |error: io::Error| Exit::internal(&format!("failed to write {}: {error}", path.display()));
    let count = if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe or a device cannot be replaced, so it is written to directly.
        let file = File::options().write(true).open(path).map_err(failed)?;
        all(documents, writer(arguments, BufWriter::new(file), columns)?)?
    } else {
        let mut draft = Draft::beside(path).map_err(failed)?;
        let count = all(documents, writer(arguments, BufWriter::new(&mut draft), columns)?)?;
        draft.publish(path).map_err(failed)?;
        count
    };
    let what = if matches!(arguments.to, To::Sft | To::Dpo) { "examples" } else { "rows" };
    match global.format {
        Format::Text => talk(&format!("{count} {what} → {}", path.display())),
        Format::Json => print(&json!({ "etalon": 1, "rows": count, "file": path }).to_string()),
    }
    documents.tell();
    Ok(exit::OK)
}

/// Writes all documents; returns how many there are.
fn all(documents: &dyn Documents, mut writer: Box<dyn RowWriter + '_>) -> Result<u64, Exit> {
    let mut count = 0;
    documents.each(&mut |document| {
        count += 1;
        writer.write(document)
    })?;
    match writer.finish() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::internal(&format!("failed to write: {error}")))
        }
        _ => Ok(count),
    }
}

fn writer<'a, W: Write + Send + 'a>(
    arguments: &ExportArgs,
    out: W,
    columns: Columns,
) -> Result<Box<dyn RowWriter + 'a>, Exit> {
    let failed = |error: io::Error| Exit::internal(&format!("failed to write: {error}"));
    Ok(match arguments.to {
        To::Jsonl | To::Sft | To::Dpo => Box::new(JsonLines(out)),
        To::Csv => Box::new(Csv::new(out, columns, arguments.raw).map_err(failed)?),
        #[cfg(feature = "parquet")]
        To::Parquet => Box::new(crate::report::Parquet::new(out, columns).map_err(failed)?),
        #[cfg(not(feature = "parquet"))]
        To::Parquet => return Err(Exit::internal("this etalon was built without Parquet")),
    })
}
