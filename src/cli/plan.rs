//! `etalon plan`.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::exit::{self, Exit};
use super::{Format, Global, Sets, open, print, runtime, talk};
use crate::execute::{self, Forecast, Options, Session};
use crate::report;
use crate::stage::Mode;

#[derive(Args)]
#[command(after_help = "Examples:\n  etalon plan ab\n  etalon plan ab --refresh quality\n  etalon plan ab --diff last")]
pub(super) struct PlanArgs {
    /// Pipeline file, or the name of one in pipelines/
    pipeline: String,
    #[command(flatten)]
    sets: Sets,
    /// Plan this stage or node, and what it needs
    #[arg(long, value_name = "STAGE")]
    only: Option<String>,
    /// Plan as if the completions of this stage or node were bought anew
    #[arg(long, value_name = "STAGE")]
    refresh: Vec<String>,
    /// Use the first N rows of every dataset, after sampling
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Compare with a run: its id, its label, `last` or `last~1`
    #[arg(long, value_name = "RUN")]
    diff: Option<String>,
}

pub(super) fn run(global: &Global, arguments: &PlanArgs) -> Result<u8, Exit> {
    let (plan, warnings) = open::plan(global, &arguments.pipeline, &arguments.sets.sets)?;
    open::warn(&warnings);
    let store = open::scratch(&plan)?;
    let records = open::records(&plan);
    let since = arguments.diff.as_deref().map(|name| open::run(&records, name)).transpose()?;
    let records = Arc::new(records.since(since.as_ref().map(|run| run.run.as_str())));
    let options = Options {
        only: arguments.only.clone(),
        refresh: arguments.refresh.clone(),
        limit: arguments.limit,
        records: Some(records.clone()),
        ..Options::default()
    };
    let runtime = runtime()?;
    let session = Arc::new(runtime.block_on(Session::open(plan, store, options, Mode::Dry))?);
    let forecasts = runtime.block_on(execute::forecast(session.clone()))?;
    open::warn_unread(&records);
    for message in missing_keys(&session, &forecasts) {
        talk(&format!("warning: {message}"));
    }
    let has_error = forecasts.iter().any(|forecast| forecast.error.is_some());
    match global.format {
        Format::Text => match &since {
            None => print(report::forecast(&forecasts).trim_end()),
            Some(run) => print(report::forecast_since(run, &forecasts).trim_end()),
        },
        Format::Json => {
            let sum = |of: fn(&execute::Forecast) -> u64| forecasts.iter().map(of).sum::<u64>();
            let dollars =
                |of: fn(&execute::Forecast) -> Option<f64>| forecasts.iter().filter_map(of).reduce(|a, b| a + b);
            let total = json!({
                "calls": sum(|forecast| forecast.calls),
                "reused": sum(|forecast| forecast.reused),
                "calls_low": sum(|forecast| forecast.calls_low),
                "calls_high": sum(|forecast| forecast.calls_high),
                "tokens": sum(|forecast| forecast.tokens),
                "cost_usd": dollars(|forecast| forecast.cost_usd),
                "cost_low": dollars(|forecast| forecast.cost_low),
                "cost_high": dollars(|forecast| forecast.cost_high),
            });
            let mut document = json!({ "etalon": 1, "nodes": forecasts, "total": total });
            if let Some(run) = &since {
                document["diff"] = report::forecast_since_json(run, &forecasts);
            }
            print(&document.to_string());
        }
    }
    Ok(if has_error { exit::STAGE } else { exit::OK })
}

/// Returns what to do about API keys that are missing and that the calls will need.
fn missing_keys(session: &Session, forecasts: &[Forecast]) -> BTreeSet<String> {
    let nodes = &session.plan.nodes;
    let will_call =
        |index: &usize| forecasts.iter().any(|forecast| forecast.node == nodes[*index].name && forecast.calls > 0);
    (0..nodes.len()).filter(will_call).flat_map(|index| session.missing_keys(index)).collect()
}
