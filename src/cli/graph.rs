//! `etalon graph`.

use clap::{Args, ValueEnum};

use super::exit::{self, Exit};
use super::{Format, Global, Sets, open, print};
use crate::report;

#[derive(Args)]
pub(super) struct GraphArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    #[command(flatten)]
    sets: Sets,
    /// How to draw it
    #[arg(long = "as", value_enum, default_value_t = Drawing::Tree)]
    drawing: Drawing,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Drawing {
    /// For the terminal
    Tree,
    /// For Markdown pages
    Mermaid,
    /// For Graphviz
    Dot,
}

pub(super) fn run(global: &Global, arguments: &GraphArgs) -> Result<u8, Exit> {
    let (plan, _) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    let text = match (global.format, arguments.drawing) {
        (Format::Json, _) => report::graph_json(&plan).to_string(),
        (Format::Text, Drawing::Tree) => report::graph_text(&plan),
        (Format::Text, Drawing::Mermaid) => report::graph_mermaid(&plan),
        (Format::Text, Drawing::Dot) => report::graph_dot(&plan),
    };
    print(text.trim_end());
    Ok(exit::OK)
}
