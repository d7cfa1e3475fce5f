//! What a plan says: which nodes are cached, which will run, why, and what they will buy.

use serde::Serialize;
use serde_json::{Value, json};

use super::counted;
use crate::execute::{Forecast, State};
use crate::record::Run;

/// Renders a forecast.
pub fn forecast(forecasts: &[Forecast]) -> String {
    let width = width(forecasts);
    let mut out = String::new();
    for forecast in forecasts {
        let state = match forecast.state {
            State::Hit => "hit",
            State::Run => "run",
            State::Maybe => "maybe",
        };
        out.push_str(&format!("{state:<6}{}", line(forecast, width)));
    }
    out.push_str(&total(forecasts));
    out
}

/// What has become of a node since a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Since {
    /// Its key is the same.
    Same,
    Changed,
    /// It has no key yet, since it depends on a node that will run.
    Maybe,
    New,
}

fn since(run: &Run, forecast: &Forecast) -> Since {
    let is_known = run.nodes.iter().any(|node| node.node == forecast.node);
    match (run.key(&forecast.node), forecast.key) {
        _ if !is_known => Since::New,
        (_, None) => Since::Maybe,
        (Some(then), Some(now)) if then == now => Since::Same,
        _ => Since::Changed,
    }
}

/// Returns the nodes of a run that do not exist any more.
fn gone<'a>(run: &'a Run, forecasts: &[Forecast]) -> Vec<&'a str> {
    let is_gone = |name: &&str| !forecasts.iter().any(|forecast| forecast.node == *name);
    run.nodes.iter().map(|node| node.node.as_str()).filter(is_gone).collect()
}

/// Renders what has changed since a run, and what the changes will buy.
pub fn forecast_since(run: &Run, forecasts: &[Forecast]) -> String {
    let label = run.label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
    let mut out = format!("since run {}{label}\n\n", run.run);
    let width = width(forecasts);
    let mut same = 0;
    for forecast in forecasts {
        let word = match since(run, forecast) {
            Since::Same if forecast.state == State::Hit => {
                same += 1;
                continue;
            }
            // The key is the same, but this cache does not have the result.
            Since::Same => "same",
            Since::Changed => "changed",
            Since::Maybe => "maybe",
            Since::New => "new",
        };
        out.push_str(&format!("{word:<8}{}", line(forecast, width)));
    }
    for name in gone(run, forecasts) {
        out.push_str(&format!("{:<8}{name}\n", "gone"));
    }
    out.push_str(&format!("{:<8}{}\n", "same", counted(same, "node")));
    out.push_str(&total(forecasts));
    out
}

/// Returns what has changed since a run, as JSON.
pub fn forecast_since_json(run: &Run, forecasts: &[Forecast]) -> Value {
    let mut nodes: Vec<Value> = forecasts
        .iter()
        .map(|forecast| json!({ "node": forecast.node, "state": since(run, forecast), "reason": forecast.reason }))
        .collect();
    nodes.extend(gone(run, forecasts).into_iter().map(|name| json!({ "node": name, "state": "gone" })));
    json!({ "run": run.run, "label": run.label, "nodes": nodes })
}

fn width(forecasts: &[Forecast]) -> usize {
    forecasts.iter().map(|forecast| forecast.node.chars().count()).max().unwrap_or(0)
}

/// Renders a node: its name, how many calls and dollars it takes, and why.
fn line(forecast: &Forecast, width: usize) -> String {
    let rows = if forecast.is_unknown { "rows not known".to_owned() } else { counted(forecast.rows, "row") };
    let mut facts = vec![rows];
    if forecast.calls + forecast.reused > 0 {
        let at_most = if forecast.state == State::Maybe && forecast.calls > 0 { "at most " } else { "" };
        facts.push(format!("{at_most}{}", counted(forecast.calls, "call")));
        facts.push(format!("{} reused", forecast.reused));
    }
    facts.extend(about(forecast.cost_usd, forecast.cost_low, forecast.cost_high));
    let why = forecast.error.as_deref().unwrap_or(&forecast.reason);
    format!("{:<width$}  {:<34}  {why}\n", forecast.node, facts.join(", "))
}

/// Renders the calls and dollars of all nodes together.
fn total(forecasts: &[Forecast]) -> String {
    let mut out = String::new();
    let calls: u64 = forecasts.iter().map(|forecast| forecast.calls).sum();
    let reused: u64 = forecasts.iter().map(|forecast| forecast.reused).sum();
    let cost: f64 = forecasts.iter().filter_map(|forecast| forecast.cost_usd).sum();
    let is_bound = forecasts.iter().any(|forecast| forecast.state == State::Maybe && forecast.calls > 0);
    let at_most = if is_bound { "at most " } else { "" };
    out.push_str(&format!("\n{at_most}{}, {reused} reused", counted(calls, "call")));
    let unpriced: u64 =
        forecasts.iter().filter(|forecast| forecast.cost_usd.is_none()).map(|forecast| forecast.calls).sum();
    let sum = |of: fn(&Forecast) -> Option<f64>| forecasts.iter().filter_map(of).reduce(|a, b| a + b);
    if let Some(about) = about(Some(cost), sum(|forecast| forecast.cost_low), sum(|forecast| forecast.cost_high)) {
        out.push_str(&format!(", {about}"));
        if unpriced > 0 {
            out.push_str(&format!(" without the {unpriced} whose price is not known"));
        }
    }
    out.push('\n');
    // The first one is the node whose program prints rows: nodes stand in the order in which they run.
    if let Some(first) = forecasts.iter().find(|forecast| forecast.is_unknown && forecast.error.is_none()) {
        out.push_str(&format!(
            "calls behind {0} are not known: a program prints its rows, and a plan starts none; `run --only {0}` does\n",
            first.node
        ));
    }
    out
}

/// Renders what calls cost: `about $0.1200 (0.1000 to 0.1500)`.
fn about(cost: Option<f64>, low: Option<f64>, high: Option<f64>) -> Option<String> {
    let cost = cost.filter(|cost| *cost > 0.0)?;
    let range = low.zip(high).map_or_else(String::new, |(low, high)| format!(" ({low:.4} to {high:.4})"));
    Some(format!("about ${cost:.4}{range}"))
}
