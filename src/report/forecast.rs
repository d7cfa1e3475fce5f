//! What a plan says: which nodes are cached, which will run, why, and what they will buy.

use super::counted;
use crate::execute::{Forecast, State};

/// Renders a forecast.
pub fn forecast(forecasts: &[Forecast]) -> String {
    let width = forecasts.iter().map(|forecast| forecast.node.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for forecast in forecasts {
        let state = match forecast.state {
            State::Hit => "hit",
            State::Run => "run",
            State::Maybe => "maybe",
        };
        let mut facts = vec![counted(forecast.rows, "row")];
        if forecast.calls + forecast.reused > 0 {
            let at_most = if forecast.state == State::Maybe && forecast.calls > 0 { "at most " } else { "" };
            facts.push(format!("{at_most}{}", counted(forecast.calls, "call")));
            facts.push(format!("{} reused", forecast.reused));
        }
        if let Some(cost) = forecast.cost_usd.filter(|cost| *cost > 0.0) {
            facts.push(format!("about ${cost:.4}"));
        }
        let why = forecast.error.as_deref().unwrap_or(&forecast.reason);
        out.push_str(&format!("{state:<6}{:<width$}  {:<34}  {why}\n", forecast.node, facts.join(", ")));
    }
    let calls: u64 = forecasts.iter().map(|forecast| forecast.calls).sum();
    let reused: u64 = forecasts.iter().map(|forecast| forecast.reused).sum();
    let cost: f64 = forecasts.iter().filter_map(|forecast| forecast.cost_usd).sum();
    let is_bound = forecasts.iter().any(|forecast| forecast.state == State::Maybe && forecast.calls > 0);
    let at_most = if is_bound { "at most " } else { "" };
    out.push_str(&format!("\n{at_most}{}, {reused} reused", counted(calls, "call")));
    let unpriced: u64 =
        forecasts.iter().filter(|forecast| forecast.cost_usd.is_none()).map(|forecast| forecast.calls).sum();
    if cost > 0.0 && unpriced > 0 {
        out.push_str(&format!(", about ${cost:.4} without the {unpriced} whose price is not known"));
    } else if cost > 0.0 {
        out.push_str(&format!(", about ${cost:.4}"));
    }
    out.push('\n');
    out
}
