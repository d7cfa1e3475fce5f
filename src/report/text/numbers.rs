//! Numbers as text: as many digits as the unit deserves, the interval, and what is missing.

use crate::score::{Estimate, Unit};

/// Renders a number; one that rounds to zero has no sign.
pub(in crate::report) fn number(value: f64, unit: Unit) -> String {
    let text = plain(value, unit);
    let is_zero = text.starts_with('-') && !text.contains(|c: char| ('1'..='9').contains(&c));
    if is_zero { text[1..].to_owned() } else { text }
}

/// Renders a difference with its interval, each with its sign.
pub(in crate::report) fn difference(difference: &Estimate, unit: Unit) -> String {
    let Some(value) = difference.value else { return "–".to_owned() };
    let end = |end: Option<f64>| {
        end.map_or_else(|| "?".to_owned(), |end| signed(end, unit).trim_end_matches(" s").to_owned())
    };
    format!("{} [{}, {}]", signed(value, unit).replace(' ', "\u{a0}"), end(difference.low), end(difference.high))
}

/// Renders a number with its sign, also that of zero.
fn signed(value: f64, unit: Unit) -> String {
    let text = number(value, unit);
    if value >= 0.0 || !text.starts_with('-') { format!("+{text}") } else { text }
}

fn plain(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Scale => format!("{value:.2}"),
        Unit::Amount => format!("{value:.1}"),
        Unit::Seconds => format!("{value:.3} s"),
        Unit::Dollars => format!("${value:.6}"),
        Unit::Points => format!("{value:.2}"),
        Unit::Count => format!("{value:.0}"),
        Unit::PValue if value < 0.0005 => "< 0.001".to_owned(),
        Unit::PValue => format!("{value:.3}"),
        Unit::Fraction | Unit::Rate => format!("{value:.3}"),
    }
}

/// Renders an estimate in parts: the value, its interval, how many rows are missing.
pub(super) fn parts(estimate: &Estimate, unit: Unit) -> Vec<String> {
    let mut parts = vec![match estimate.value {
        Some(value) => number(value, unit),
        None => "no data".to_owned(),
    }];
    let short = |value: f64| number(value, unit).trim_end_matches(" s").to_owned();
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => parts.push(format!("[{}, {}]", short(low), short(high))),
        // An open end: these rows do not say how far the value may lie on that side.
        (Some(low), None) => parts.push(format!("[{}, ?]", short(low))),
        (None, Some(high)) => parts.push(format!("[?, {}]", short(high))),
        (None, None) => {}
    }
    if estimate.missing > 0 && (estimate.low.is_some() || estimate.high.is_some()) {
        parts.push(format!("{} missing", estimate.missing));
    }
    parts
}

/// Renders an estimate.
pub(in crate::report) fn cell(estimate: &Estimate, unit: Unit) -> String {
    parts(estimate, unit).join(" ")
}

/// Renders a share of the ceiling in parts: the percentage and its interval.
pub(super) fn share(share: &Estimate) -> Vec<String> {
    let Some(value) = share.value else { return Vec::new() };
    let mut parts = vec![format!("{:.0} %", 100.0 * value)];
    if let (Some(low), Some(high)) = (share.low, share.high) {
        parts.push(format!("[{:.0}, {:.0}]", 100.0 * low, 100.0 * high));
    }
    parts
}
