//! Numbers as text: as many digits as the unit deserves, the interval, and what is missing.

use crate::score::{Estimate, Unit};

/// Renders a number; one that rounds to zero has no sign.
pub(in crate::report) fn number(value: f64, unit: Unit) -> String {
    let text = plain(value, unit, 0);
    let is_zero = text.starts_with('-') && !text.contains(|c: char| ('1'..='9').contains(&c));
    if is_zero { text[1..].to_owned() } else { text }
}

/// Renders a difference with its interval, each with its sign, and with so many digits that none of them rounds to zero
/// that is not zero: an interval that leaves 0 out shows that it does.
pub(in crate::report) fn difference(difference: &Estimate, unit: Unit) -> String {
    let Some(value) = difference.value else { return "–".to_owned() };
    let all = [Some(value), difference.low, difference.high];
    let is_hidden = |more: usize| {
        let is_zero = |value: f64| !plain(value, unit, more).contains(|c: char| ('1'..='9').contains(&c));
        all.into_iter().flatten().any(|value| value.abs() > ROUNDING && is_zero(value))
    };
    let more = (0..MOST_DIGITS).find(|more| !is_hidden(*more)).unwrap_or(MOST_DIGITS);
    let signed = |value: f64| {
        let value = if value.abs() > ROUNDING { value } else { 0.0 };
        let text = plain(value, unit, more);
        if value < 0.0 { text } else { format!("+{text}") }
    };
    let end =
        |end: Option<f64>| end.map_or_else(|| "?".to_owned(), |end| signed(end).trim_end_matches(" s").to_owned());
    format!("{} [{}, {}]", signed(value).replace(' ', "\u{a0}"), end(difference.low), end(difference.high))
}

/// Renders a number above 0 with so many digits that it does not round to zero.
pub(in crate::report) fn size(value: f64, unit: Unit) -> String {
    let is_zero = |more: &usize| !plain(value, unit, *more).contains(|c: char| ('1'..='9').contains(&c));
    let more = (0..MOST_DIGITS).find(|more| !is_zero(more)).unwrap_or(0);
    plain(value, unit, more)
}

/// Differences below this come from rounding in sums.
const ROUNDING: f64 = 1e-12;
/// How many digits a difference has at most beyond those that its unit has.
const MOST_DIGITS: usize = 6;

/// Renders a number with so many digits more than its unit has.
fn plain(value: f64, unit: Unit, more: usize) -> String {
    let decimals = |usual: usize| usual + more;
    match unit {
        Unit::Scale | Unit::Points => format!("{value:.*}", decimals(2)),
        Unit::Amount => format!("{value:.*}", decimals(1)),
        Unit::Seconds => format!("{value:.*} s", decimals(3)),
        Unit::Dollars if value < 0.0 => format!("-${:.*}", decimals(6), -value),
        Unit::Dollars => format!("${value:.*}", decimals(6)),
        Unit::Count => format!("{value:.*}", decimals(0)),
        Unit::PValue if value < 0.0005 => "< 0.001".to_owned(),
        Unit::PValue | Unit::Fraction | Unit::Rate => format!("{value:.*}", decimals(3)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_keeps_its_sign() {
        let of = |value: f64, low: f64, high: f64, unit| {
            difference(&Estimate { value: Some(value), low: Some(low), high: Some(high), n: 9, missing: 0 }, unit)
        };
        assert_eq!(of(0.25, 0.1, 0.4, Unit::Fraction), "+0.250 [+0.100, +0.400]");
        assert_eq!(of(-0.0004, -0.0007, -0.00002, Unit::Seconds), "-0.00040\u{a0}s [-0.00070, -0.00002]");
        assert_eq!(of(0.5, 0.04, 1.0, Unit::Amount), "+0.50 [+0.04, +1.00]");
        assert_eq!(of(0.0, -0.2, 0.2, Unit::Fraction), "+0.000 [-0.200, +0.200]");
        assert_eq!(of(-1e-17, -1e-17, 0.0, Unit::Fraction), "+0.000 [+0.000, +0.000]");
        assert_eq!((size(0.00004, Unit::Seconds).as_str(), size(0.2, Unit::Fraction).as_str()), ("0.00004 s", "0.200"));
        assert_eq!(of(-0.001, -0.002, 0.001, Unit::Dollars), "-$0.001000 [-$0.002000, +$0.001000]");
    }
}
