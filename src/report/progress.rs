//! A line per node as it ends, and how far a running node is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::text::money;
use super::{Tone, counted, toned};
use crate::execute::Event;
use crate::record::{NodeOutcome, NodeRun};
use crate::stage::Progress;

/// Renders an event as a line; none for an event that needs no line. With `is_verbose`, there are also lines for nodes
/// that begin and nodes that are cached.
pub fn line(event: &Event, is_verbose: bool) -> Option<String> {
    match event {
        Event::Started { .. } => None,
        Event::NodeStarted { node, reason, .. } => is_verbose.then(|| format!("{:<8}{node}  ({reason})", "running")),
        Event::NodeWaiting { node, why } => Some(format!("{:<8}{node}  ({why})", "waiting")),
        Event::NodeFinished(run) => {
            let is_quiet = run.outcome == NodeOutcome::Cached && run.notes.is_empty();
            (is_verbose || !is_quiet).then(|| finished(run, is_verbose))
        }
    }
}

fn finished(run: &NodeRun, is_verbose: bool) -> String {
    let (outcome, tone) = match run.outcome {
        NodeOutcome::Cached => ("cached", Tone::Dim),
        NodeOutcome::Ran => ("ran", Tone::Good),
        NodeOutcome::Failed => ("failed", Tone::Bad),
        NodeOutcome::Skipped => ("skipped", Tone::Doubtful),
    };
    let mut line = format!("{}{}", toned(tone, &format!("{outcome:<8}")), run.node);
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
                line.push_str(&format!(", {}", money(cost)));
            }
            line.push_str(&format!(", {:.1} s", run.seconds));
            if !is_verbose {
                line.push_str(&format!("  ({})", run.reason));
            }
        }
        NodeOutcome::Failed => {
            let error = run.error.as_deref().unwrap_or("no reason is known");
            line.push_str(&format!("  {error}"));
            if run.bill.kept > 0 {
                line.push_str(&format!(" ({} kept)", counted(run.bill.kept, "completion")));
            }
        }
        NodeOutcome::Skipped => {
            line.push_str(&format!("  {}", run.reason));
            if run.bill.kept > 0 {
                line.push_str(&format!(" ({} kept)", counted(run.bill.kept, "completion")));
            }
        }
    }
    if let (Some(key), true) = (&run.key, is_verbose) {
        line.push_str(&format!("  key {}", key.short()));
    }
    for note in &run.notes {
        line.push_str(&format!("\n        {note}"));
    }
    line
}

/// Returns how far a running node is: `210 calls/s, 40 reused, 1 failed, 12 s left`.
pub fn progress(progress: &Progress, rate: f64, elapsed: Duration) -> String {
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (done, failed, total) = (load(&progress.done), load(&progress.failed), load(&progress.total));
    let mut parts = Vec::new();
    if progress.calls() > 0 {
        let digits = if rate < 10.0 { 1 } else { 0 };
        parts.push(format!("{rate:.digits$} calls/s"));
    }
    if progress.reused() > 0 {
        parts.push(format!("{} reused", progress.reused()));
    }
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if done > 0 && total > done {
        let left = elapsed.as_secs_f64() / done as f64 * (total - done) as f64;
        parts.push(format!("{} left", time(left)));
    }
    parts.join(", ")
}

/// Returns a duration in the unit that people would use.
fn time(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}
