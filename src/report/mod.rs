//! Reports: problems, events and summaries as people and programs read them.
//!
//! Everything here returns text; `cli` prints it. Data go to standard output, talk to standard error. A run is first
//! arranged ([`View`]), then rendered: what is shown and how it looks are decided apart.
//!
//! | file | holds |
//! |---|---|
//! | `problems` | problems with their excerpts |
//! | `progress` | a line per node |
//! | `view/` | what a run says: columns, lines, slices, gates, notes |
//! | `text/` | the view at a width |
//! | `forecast` `why` `graph` | what a plan says, why, and its picture |
//! | `export` | rows as JSON lines, CSV, Parquet |
//! | `rows` `scores` | the rows of a node; the scores of a file |
//! | `sheet` | rows for people to label |

mod export;
mod forecast;
mod graph;
mod problems;
mod progress;
mod rows;
mod scores;
mod sheet;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod why;

#[cfg(feature = "parquet")]
pub use export::Parquet;
pub use export::{ColumnKind, Columns, Csv, JsonLines, RowWriter};
pub use forecast::{forecast, forecast_since, forecast_since_json};
pub use graph::{graph_dot, graph_json, graph_mermaid, graph_text};
pub use problems::{problems, problems_json};
pub use progress::{line, progress};
pub use rows::row;
pub use scores::{scores, scores_json};
pub use sheet::{sheet, sheet_answers};
pub use text::{closing, report, summary};
pub use view::{Column, Line, View};
pub use why::why;

/// Returns a count with its word: `1 call`, `2 calls`.
fn counted(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// What a word means to whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Good,
    Doubtful,
    Bad,
    Dim,
}

/// Colours a text; where colours are not wanted `cli` takes them out again.
fn toned(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Good => anstyle::AnsiColor::Green.on_default(),
        Tone::Doubtful => anstyle::AnsiColor::Yellow.on_default(),
        Tone::Bad => anstyle::AnsiColor::Red.on_default().bold(),
        Tone::Dim => anstyle::Style::new().dimmed(),
    };
    format!("{style}{text}{style:#}")
}

/// Takes out control characters: neither hostile input nor model output may drive the terminal.
fn printable(text: &str) -> String {
    let is_bidi = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_hidden = |c: char| c.is_control() && c != '\n' && c != '\t' || is_bidi(c);
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect()
}
