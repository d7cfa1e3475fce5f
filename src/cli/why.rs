//! `etalon why`.

use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::exit::{self, Exit};
use super::show::selected;
use super::{Format, Global, Sets, open, print, runtime};
use crate::execute::{self, Options, Session};
use crate::report;
use crate::stage::Mode;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon why ab answers.tuned")]
pub(super) struct WhyArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    /// Stage or node: `quality`, `quality.tuned`
    node: String,
    #[command(flatten)]
    sets: Sets,
}

pub(super) fn run(global: &Global, arguments: &WhyArgs) -> Result<u8, Exit> {
    let (plan, _) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    let nodes = selected(&plan, &arguments.node, None)?;
    let store = open::scratch(&plan)?;
    let records = Arc::new(open::records(&plan));
    let options = Options { only: Some(arguments.node.clone()), records: Some(records.clone()), ..Options::default() };
    let runtime = runtime()?;
    let mut found = Vec::new();
    for node in nodes {
        // Each plan needs a session of its own, since a dry desk does not count a call twice.
        let session = Session::open(plan.clone(), store.clone(), options.clone(), Mode::Dry);
        let session = Arc::new(runtime.block_on(session)?);
        found.push(runtime.block_on(execute::why(session, node))?);
    }
    open::warn_unread(&records);
    match global.format {
        Format::Text => {
            let texts: Vec<String> = found.iter().map(report::why).collect();
            print(texts.join("\n\n").trim_end());
        }
        Format::Json => {
            let nodes = serde_json::to_value(&found).expect("differences serialise");
            print(&Value::from_iter([("etalon", Value::from(1)), ("nodes", nodes)]).to_string());
        }
    }
    Ok(exit::OK)
}
