//! Reports: problems, events and summaries as people and programs read them.
//!
//! Everything here returns text; `cli` prints it, data to standard output and talk to standard error. A run is first
//! arranged ([`View`]) and then rendered, so that what is shown and how it looks are decided in different places.
//!
//! | file | holds |
//! |---|---|
//! | `problems` | problems with excerpts of their source |
//! | `progress` | a line per node as it ends, and how far a running node is |
//! | `view/` | a run arranged for reading: columns, lines, slices, gates, notes |
//! | `text/` | the view as text of a given width |
//! | `forecast` `why` `graph` | what a run would do, why, and the graph of the pipeline |
//! | `export` | rows as JSON lines, CSV, Parquet |
//! | `rows` `scores` | the rows of a node; the scores of a file |
//! | `runs` `compare` `history` | runs in a list; two of them side by side; a value over all |
//! | `diagnosis` | what is wrong with a model |
//! | `markdown` `junit` | a run for a pull request and for CI |
//! | `store` | what the cache holds, what that cost, what can go |
//! | `sheet` | sheets for people who label rows |

mod compare;
mod diagnosis;
mod export;
mod forecast;
mod graph;
mod history;
mod junit;
mod markdown;
mod problems;
mod progress;
mod rows;
mod runs;
mod scores;
mod sheet;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod why;

pub use compare::{RowTexts, comparison, flips, since};
pub use diagnosis::diagnoses;
#[cfg(feature = "parquet")]
pub use export::Parquet;
pub use export::{ColumnKind, Columns, Csv, JsonLines, RowWriter};
pub use forecast::{forecast, forecast_since, forecast_since_json};
pub use graph::{graph_dot, graph_json, graph_mermaid, graph_text};
pub use history::history;
pub use junit::junit;
pub use markdown::{Flipped, markdown};
pub use problems::{problems, problems_json};
pub use progress::{line, progress};
pub use rows::row;
pub use runs::runs;
pub use scores::{scores, scores_json};
pub use sheet::{sheet, sheet_answers};
pub use store::{bytes, garbage, store};
pub use text::{closing, report, summary};
pub use view::{Column, Line, View};
pub use why::why;

/// Returns a count with its word: `1 call`, `2 calls`.
pub(crate) fn counted(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// What a word tells its reader, as a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Good,
    Doubtful,
    Bad,
    Dim,
}

/// Colours a text. If colours are not wanted, `cli` removes them again.
fn toned(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Good => anstyle::AnsiColor::Green.on_default(),
        Tone::Doubtful => anstyle::AnsiColor::Yellow.on_default(),
        Tone::Bad => anstyle::AnsiColor::Red.on_default().bold(),
        Tone::Dim => anstyle::Style::new().dimmed(),
    };
    format!("{style}{text}{style:#}")
}

/// Returns true for characters that control a terminal: C0, DEL, C1, and those that turn the direction of text.
pub fn is_control(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Replaces control characters: neither hostile input nor the output of a model may control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect()
}
