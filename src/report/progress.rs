//! A line per node, as it ends.

use super::counted;
use crate::execute::{Event, NodeOutcome, NodeRun};

/// Renders an event as a line; none where it is not worth one.
pub fn line(event: &Event) -> Option<String> {
    match event {
        Event::Started { .. } => None,
        Event::NodeStarted { node, reason, .. } => Some(format!("{:<8}{node}  ({reason})", "running")),
        Event::NodeWaiting { node } => Some(format!("{:<8}{node}  (the same is being made already)", "waiting")),
        Event::NodeFinished(run) => Some(finished(run)),
    }
}

fn finished(run: &NodeRun) -> String {
    let outcome = match run.outcome {
        NodeOutcome::Cached => "cached",
        NodeOutcome::Ran => "ran",
        NodeOutcome::Failed => "failed",
        NodeOutcome::Skipped => "skipped",
    };
    let mut line = format!("{outcome:<8}{}", run.node);
    match run.outcome {
        NodeOutcome::Cached => line.push_str(&format!("  {}", counted(run.rows, "row"))),
        NodeOutcome::Ran => {
            line.push_str(&format!("  {}", counted(run.rows, "row")));
            if run.calls + run.reused > 0 {
                line.push_str(&format!(", {}, {} reused", counted(run.calls, "call"), run.reused));
            }
            if run.missing > 0 {
                line.push_str(&format!(", {} missing", run.missing));
            }
            if let Some(cost) = run.cost_usd {
                line.push_str(&format!(", ${cost:.4}"));
            }
            line.push_str(&format!(", {:.1} s", run.seconds));
        }
        NodeOutcome::Failed => {
            let error = run.error.as_deref().unwrap_or("no reason is known");
            line.push_str(&format!("  {error}"));
            if run.calls > 0 {
                line.push_str(&format!(" ({} kept)", counted(run.calls, "completion")));
            }
        }
        NodeOutcome::Skipped => line.push_str(&format!("  {}", run.reason)),
    }
    for note in &run.notes {
        line.push_str(&format!("\n        {note}"));
    }
    line
}
