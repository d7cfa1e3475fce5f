//! A value over the runs of a pipeline, as text.

use comfy_table::presets;

use super::text::{cell, difference, listed, number};
use super::{counted, printable};
use crate::compare::{History, State, Trail};
use crate::score::Direction;

/// The bars of a sparkline, from the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Renders the history of a pipeline: what to do first, then each value, a line per run.
pub fn history(found: &History) -> String {
    let mut blocks = Vec::new();
    if !found.advice.is_empty() {
        blocks.push(found.advice.iter().map(|text| format!("→ {}", printable(text))).collect::<Vec<_>>().join("\n"));
    }
    if found.trails.is_empty() {
        blocks.push("the last run has no headline over held-out rows that could be followed".to_owned());
    }
    blocks.extend(found.trails.iter().map(trail));
    blocks.push(format!(
        "{} of {}, each compared with the best before it, at 95 %",
        counted(found.runs as u64, "run"),
        printable(&found.pipeline)
    ));
    blocks.join("\n\n")
}

fn trail(trail: &Trail) -> String {
    let unit = trail.reading.unit;
    let best = trail.best_point().map(|point| {
        let value = point.estimate.value.map_or_else(|| "–".to_owned(), |value| number(value, unit));
        format!("  best {} {value}", printable(point.of.name()))
    });
    let best = best.filter(|_| trail.reading.direction != Direction::Neither).unwrap_or_default();
    let mut table = comfy_table::Table::new();
    table.load_style(presets::NOTHING);
    for point in &trail.points {
        let change = point.change.as_ref();
        let gained = change.map_or_else(String::new, |change| difference(&change.difference, unit));
        let needed = change.and_then(|change| change.rows_needed).filter(|_| point.state == State::Unclear);
        let needed = needed.map_or_else(String::new, |rows| format!(" ({rows} rows would tell)"));
        table.add_row([
            format!("  {}", printable(point.of.name())),
            cell(&point.estimate, unit),
            gained,
            format!("{}{needed}", point.state.word()),
        ]);
    }
    let head = format!("{}  {}{best}", printable(&trail.name()), sparkline(trail));
    format!("{head}\n{}", listed(&mut table, &[0, 3]))
}

/// Returns a bar for each run, between the least and the greatest value.
fn sparkline(trail: &Trail) -> String {
    let values: Vec<f64> = trail.points.iter().filter_map(|point| point.estimate.value).collect();
    let (low, high) =
        values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let bar = |value: &f64| match high - low {
        span if span > 0.0 => BARS[((value - low) / span * 7.0).round() as usize],
        _ => BARS[3],
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Point;
    use crate::record::Run;
    use crate::score::{Estimate, Rank, Reading, Unit};

    #[test]
    fn a_trail_is_drawn() {
        let point = |run: &str, value: f64| Point {
            of: Run::new(run, "p").head(),
            estimate: Estimate { value: Some(value), low: None, high: None, n: 10, missing: 0 },
            change: None,
            state: State::First,
        };
        let trail = Trail {
            stage: "exact".to_owned(),
            model: "tuned".to_owned(),
            value: "exact_match".to_owned(),
            reading: Reading::of(Unit::Fraction, Rank::Headline),
            points: vec![point("a", 0.5), point("b", 0.7), point("c", 0.6)],
            best: Some(1),
        };
        assert_eq!(sparkline(&trail), "▁█▅");
        assert!(super::trail(&trail).starts_with("exact.tuned.exact_match  ▁█▅  best b 0.700\n"));
    }
}
