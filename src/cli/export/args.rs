//! The arguments of `etalon export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::Sets;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  etalon export ab answers --to jsonl > answers.jsonl\n  etalon export ab duel --to csv --output losses.csv --where 'verdict == \"loss\"'\n  etalon export ab answers exact quality --wide --to csv --output all.csv\n  etalon export train duel --to dpo --output pairs.jsonl --match-length"
)]
pub(in crate::cli) struct ExportArgs {
    /// Pipeline file, or the name of one in pipelines/
    pub(super) pipeline: String,
    /// Stage or node: `answers`, `answers.tuned`; with --wide as many as you like
    #[arg(required = true, value_name = "STAGE")]
    pub(super) stages: Vec<String>,
    #[command(flatten)]
    pub(super) sets: Sets,
    /// What to write
    #[arg(long, value_enum)]
    pub(super) to: To,
    /// Where to write it; standard output unless given
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Export this model's rows only
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Export rows for which an expression holds, as `show` has it: `verdict == "loss"`
    #[arg(long = "where", value_name = "EXPR")]
    pub(super) filter: Option<String>,
    /// Export rows by their score: below the middle of the scale, the tenth with the least, or worse than in --against
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(super) rows: Option<Which>,
    /// The value that --rows goes by; the stage's first headline unless said
    #[arg(long, value_name = "NAME", requires = "rows")]
    pub(super) value: Option<String>,
    /// With --rows broken: the run before
    #[arg(long, value_name = "RUN", default_value = "last~1")]
    pub(super) against: String,
    /// Write everything about a row side by side, in columns that begin with the node's name
    #[arg(long)]
    pub(super) wide: bool,
    /// With --to sft: the answer to learn, by template: "{{ row.gold }}"; the model's own unless said
    #[arg(long, value_name = "TEMPLATE")]
    pub(super) answer: Option<String>,
    /// With --to dpo: the answer to prefer, by template; of a comparison the preferred one, else the ceiling's
    #[arg(long, value_name = "TEMPLATE")]
    pub(super) chosen: Option<String>,
    /// With --to dpo: leave pairs out of which one answer has more than R times the characters of the other
    #[arg(long, value_name = "R", num_args = 0..=1, default_missing_value = "1.5", value_parser = ratio)]
    pub(super) match_length: Option<f64>,
    /// Train with rows that are held out, although nothing can be measured by them afterwards
    #[arg(long)]
    pub(super) from_heldout_anyway: bool,
    /// Write CSV cells as they are: without it, a text that a spreadsheet would run as a formula gets a `'` before it
    #[arg(long)]
    pub(super) raw: bool,
    /// Add latency, usage and cost
    #[arg(long)]
    pub(super) meta: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum To {
    /// One document per line, as `show --format json` prints them
    Jsonl,
    /// Flat columns; what is nested is JSON text
    Csv,
    /// Flat, typed columns; needs the feature of that name
    Parquet,
    /// Examples to fine-tune with, one a line: `messages`
    Sft,
    /// Preference pairs, one a line: `prompt`, `chosen`, `rejected`
    Dpo,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    /// Below the middle of the scale: wrong answers, lost comparisons
    Failed,
    /// Worse than in another run
    Broken,
    /// The tenth with the least, ten rows at least; none with the full score
    Weakest,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "a number of 1 or more, such as 1.5".to_owned())?;
    if ratio >= 1.0 && ratio.is_finite() { Ok(ratio) } else { Err("a number of 1 or more, such as 1.5".to_owned()) }
}
