//! `etalon export`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::exit::{self, Exit};
use super::filter::Filter;
use super::show::selected;
use super::{Format, Global, Sets, open, print, talk};
use crate::execute::{self, Found, Session};
use crate::files::Draft;
use crate::report::{Columns, Csv, JsonLines, RowWriter};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon export ab answers --to jsonl > answers.jsonl\n  etalon export ab duel --to csv --output losses.csv --where 'verdict == \"loss\"'"
)]
pub(super) struct ExportArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    /// Stage or node: `answers`, `answers.tuned`
    stage: String,
    #[command(flatten)]
    sets: Sets,
    /// What to write
    #[arg(long, value_enum)]
    to: To,
    /// Where to write it; standard output unless given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Export this model's rows only
    #[arg(long)]
    model: Option<String>,
    /// Export rows for which an expression holds, as `show` has it: `verdict == "loss"`
    #[arg(long = "where", value_name = "EXPR")]
    filter: Option<String>,
    /// Write CSV cells as they are: without it, a text that a spreadsheet would run as a formula gets a `'` before it
    #[arg(long)]
    raw: bool,
    /// Add latency, usage and cost
    #[arg(long)]
    meta: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// One document per line, as `show --format json` prints them
    Jsonl,
    /// Flat columns; what is nested is JSON text
    Csv,
    /// Flat, typed columns; needs the feature of that name
    Parquet,
}

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
    let (plan, _) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    let nodes = selected(&plan, &arguments.stage, arguments.model.as_deref())?;
    let session = open::reader(&plan)?;
    let found = open::rows(&session, nodes, &arguments.pipeline)?;
    let filter = arguments.filter.as_deref().map(|text| Filter::load(&plan.workspace.library, text)).transpose()?;
    let rows = Rows { session: &session, found: &found, with_meta: arguments.meta, filter };
    let mut columns = Columns::default();
    if arguments.to != To::Jsonl {
        rows.each(|document| {
            columns.add(document);
            Ok(())
        })?;
    }
    let Some(path) = &arguments.output else {
        let out = BufWriter::new(io::stdout());
        rows.write(writer(arguments, out, columns)?)?;
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
        rows.write(writer(arguments, BufWriter::new(file), columns)?)?
    } else {
        let mut draft = Draft::beside(path).map_err(failed)?;
        let count = rows.write(writer(arguments, BufWriter::new(&mut draft), columns)?)?;
        draft.publish(path).map_err(failed)?;
        count
    };
    match global.format {
        Format::Text => talk(&format!("{count} rows → {}", path.display())),
        Format::Json => print(&json!({ "etalon": 1, "rows": count, "file": path }).to_string()),
    }
    Ok(exit::OK)
}

fn writer<'a, W: Write + Send + 'a>(
    arguments: &ExportArgs,
    out: W,
    columns: Columns,
) -> Result<Box<dyn RowWriter + 'a>, Exit> {
    let failed = |error: io::Error| Exit::internal(&format!("failed to write: {error}"));
    Ok(match arguments.to {
        To::Jsonl => Box::new(JsonLines(out)),
        To::Csv => Box::new(Csv::new(out, columns, arguments.raw).map_err(failed)?),
        #[cfg(feature = "parquet")]
        To::Parquet => Box::new(crate::report::Parquet::new(out, columns).map_err(failed)?),
        #[cfg(not(feature = "parquet"))]
        To::Parquet => return Err(Exit::internal("this etalon was built without Parquet")),
    })
}

/// The rows of the selected nodes.
struct Rows<'a> {
    session: &'a Session,
    found: &'a [(usize, Found)],
    with_meta: bool,
    filter: Option<Filter>,
}

impl Rows<'_> {
    fn each(
        &self,
        mut take: impl FnMut(&serde_json::Map<String, serde_json::Value>) -> io::Result<()>,
    ) -> Result<(), Exit> {
        for (index, found) in self.found {
            let (mut failure, mut problem) = (None, None);
            execute::each_row(self.session, *index, found, |row| {
                let document = row.document(self.with_meta);
                match self.filter.as_ref().map_or(Ok(true), |filter| filter.holds(&document)) {
                    Ok(true) => failure = take(&document).err(),
                    Ok(false) => {}
                    Err(error) => problem = Some(error),
                }
                failure.is_none() && problem.is_none()
            })?;
            if let Some(error) = problem {
                return Err(Exit::usage(format!("--where: {error}"), None));
            }
            // A reader that went away wants no more rows; that is no error.
            if let Some(error) = failure.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
                return Err(Exit::internal(&format!("failed to write: {error}")));
            }
        }
        Ok(())
    }

    fn write(&self, mut writer: Box<dyn RowWriter + '_>) -> Result<u64, Exit> {
        let mut count = 0;
        self.each(|document| {
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
}
