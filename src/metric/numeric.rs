//! `numeric`: the share of predictions whose number equals that of the reference.
//!
//! `tolerance` is the largest difference that counts as equal, `relative` the largest difference as a share of the
//! reference; one of both is enough, and both are 0 by default. `extract: whole` (the default) takes the whole text as
//! the number, `first` and `last` take one inside it (`The answer is 1,234.`). Thousands separators, a currency sign
//! beside the number and a `%` behind it are ignored; digits of other scripts count. Numbers are compared as decimals, so
//! that no digit is lost beyond 2^53. A prediction without a number is wrong. The part `error` is the
//! mean absolute difference where both have a number.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::value::decimal;
use super::{Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, share, text};
use crate::score::Unit;
use crate::spec::Amount;

pub(super) const ENTRY: Entry = Entry {
    name: "numeric",
    about: "Share of predictions whose number is that of the reference.",
    parts: &[("error", "mean absolute difference, where both are numbers")],
    score: "`{ equal, error }`",
    unit: |part| if part == "error" { Unit::Amount } else { Unit::Fraction },
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Largest difference that counts as equal; 0 unless said.
    #[schemars(example = 0.01)]
    tolerance: Amount,
    /// Largest difference in units of the reference; 0 unless said.
    #[schemars(example = 0.05)]
    relative: Amount,
    /// Which number: the whole text (unless said), or the first or last one in it.
    #[schemars(example = Extract::Last)]
    extract: Extract,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Extract {
    Whole,
    First,
    Last,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { tolerance: Amount(0.0), relative: Amount(0.0), extract: Extract::Whole }
    }
}

/// How far rounding may move a difference, as a share of the larger number.
const ROUNDING: f64 = 1e-14;

struct Numeric {
    tolerance: f64,
    relative: f64,
    extract: Extract,
}

static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    // Numbers with thousands separators come first. A sign counts only if no digit or letter stands before it (`3-5`,
    // `2024-01-05`).
    Regex::new(
        r"(?:(?:^|[^\w.])[-+])?[$€£¥]?(?:\d{1,3}(?:,\d{3})+\b(?:\.\d+)?|\d{1,3}(?:['’]\d{3})+\b(?:\.\d+)?|\d{1,3}(?: \d{3})+\b(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?%?",
    )
    .expect("a valid pattern")
});

/// Returns a text in which digits, signs and spaces of other scripts are the plain ones: `１２`, `٣`, `−3`, `1 234`.
fn plain(text: &str) -> String {
    const ZEROS: [char; 5] = ['０', '٠', '۰', '०', '০'];
    let plain = |c: char| match c {
        '−' | '－' | '﹣' => '-',
        '＋' => '+',
        '．' => '.',
        '，' => ',',
        '％' => '%',
        '\u{a0}' | '\u{2009}' | '\u{202f}' | '\u{2007}' => ' ',
        _ => {
            let of = |zero: char| (c as u32).checked_sub(zero as u32).filter(|digit| *digit < 10);
            ZEROS.into_iter().find_map(of).and_then(|digit| char::from_digit(digit, 10)).unwrap_or(c)
        }
    };
    text.chars().map(plain).collect()
}

/// A number as it was written.
struct Amounted {
    /// Sign, digits and exponent: equal for equal numbers, whatever their size.
    exact: Option<(bool, String, i64)>,
    value: f64,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(Numeric { tolerance: self.tolerance.0, relative: self.relative.0, extract: self.extract }))
    }
}

impl Amounted {
    fn of(text: &str) -> Option<Amounted> {
        let value = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        // Leading zeros and a bare point are no decimal of JSON, and a number to people.
        let (sign, digits) = text.strip_prefix(['-', '+']).map_or(("", text), |rest| (&text[..1], rest));
        let digits = digits.trim_end_matches('.');
        let bare = digits.trim_start_matches('0');
        let zero = if bare.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
        Some(Amounted { exact: decimal(&format!("{sign}{zero}{bare}")), value })
    }

    fn is_same(&self, other: &Amounted) -> bool {
        match (&self.exact, &other.exact) {
            (Some(own), Some(other)) => own == other,
            _ => self.value == other.value,
        }
    }
}

/// Parses one number, with its currency sign, separators and percent sign.
fn parse(text: &str) -> Option<Amounted> {
    let text = plain(text);
    let text = text.trim().trim_end_matches('%').trim_end();
    let (sign, rest) = text.strip_prefix(['-', '+']).map_or(("", text), |rest| (&text[..1], rest));
    let rest = rest.trim_start().trim_start_matches(['$', '€', '£', '¥']).trim_start();
    // The sign may stand behind the currency sign, too.
    let (sign, digits) = match rest.strip_prefix(['-', '+']) {
        Some(digits) if sign.is_empty() => (&rest[..1], digits),
        _ => (sign, rest),
    };
    let digits = digits.trim_end_matches(['$', '€', '£', '¥']).trim_end();
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    if let Some(separator) = whole.chars().find(|c| [',', ' ', '\'', '’'].contains(c)) {
        let mut groups = whole.split(separator);
        let first = groups.next().unwrap_or_default();
        if !(1..=3).contains(&first.len()) || groups.any(|group| group.len() != 3) {
            return None;
        }
    }
    // Rust parses `inf` and `nan` as numbers; here they are not.
    let starts = digits.trim_end_matches('.').starts_with(|c: char| c.is_ascii_digit() || c == '.');
    // Separators stand between thousands, never behind the point.
    if digits[whole.len()..].contains([',', ' ', '\'', '’']) {
        return None;
    }
    let digits: String = digits.chars().filter(|c| ![',', ' ', '\'', '’'].contains(c)).collect();
    Amounted::of(format!("{sign}{digits}").trim_end_matches('.')).filter(|_| starts)
}

impl Numeric {
    fn number(&self, value: &Value, extract: Extract) -> Option<Amounted> {
        if let Value::Number(number) = value {
            return Amounted::of(number.as_str());
        }
        let text = plain(&text(value));
        // The match includes the character before a sign, which is not part of the number.
        let trimmed =
            |found: &str| parse(found.trim_start_matches(|c: char| !(c.is_ascii_digit() || "-+.$€£¥".contains(c))));
        let mut found = NUMBER.find_iter(&text).filter_map(|found| trimmed(found.as_str()));
        match extract {
            Extract::Whole => parse(&text),
            Extract::First => found.next(),
            Extract::Last => found.last(),
        }
    }
}

impl Metric for Numeric {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some(reference) = scored.reference.filter(|reference| !reference.is_null()) else {
            return Ok(None);
        };
        let Some(reference) = self.number(reference, Extract::Whole) else {
            return Err("the reference is no number".to_owned());
        };
        let Some(prediction) = scored.prediction.and_then(|prediction| self.number(prediction, self.extract)) else {
            return Ok(Some(json!({ "equal": 0, "error": null })));
        };
        let error = (prediction.value - reference.value).abs();
        // Decimals are no binary numbers: 1.1 lies within 0.1 of 1, as 0.9 does.
        let slack = ROUNDING * prediction.value.abs().max(reference.value.abs());
        let is_equal = prediction.is_same(&reference)
            || self.tolerance > 0.0 && error <= self.tolerance + slack
            || self.relative > 0.0 && error <= self.relative * reference.value.abs() + slack;
        Ok(Some(json!({ "equal": u8::from(is_equal), "error": error })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(PartsTally::new(vec![
            ("", "equal", Box::new(MeanTally::share())),
            ("error", "error", Box::new(MeanTally::new())),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn score(settings: Value, prediction: Value, reference: Value) -> Option<Value> {
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).unwrap();
        metric
            .score(&Scored { prediction: Some(&prediction), reference: Some(&reference), ..Scored::default() })
            .unwrap()
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, number) in [
            ("12", Some(12.0)),
            (" -3.50 ", Some(-3.5)),
            ("$1,234.5", Some(1234.5)),
            ("−7", Some(-7.0)),
            ("45%", Some(45.0)),
            ("1e3", Some(1000.0)),
            ("5.", Some(5.0)),
            (".5", Some(0.5)),
            ("１２", Some(12.0)),
            ("٣", Some(3.0)),
            ("1 234 567", Some(1234567.0)),
            ("1\u{202f}234,5", None),
            ("1'234.5", Some(1234.5)),
            ("-$7", Some(-7.0)),
            ("$-7", Some(-7.0)),
            ("12 €", Some(12.0)),
            ("007", Some(7.0)),
            ("1$2", None),
            ("1,234.5,6", None),
            ("1.5 6", None),
            ("$ 5", Some(5.0)),
            ("5 €", Some(5.0)),
            ("5 %", Some(5.0)),
            ("1 23", None),
            ("1,23", None),
            ("12 apples", None),
            ("inf", None),
            ("NaN", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(parse(text).map(|found| found.value), number, "{text}");
        }
    }

    #[test]
    fn a_tolerance_allows_a_difference() {
        assert_eq!(score(json!({}), json!("3.0"), json!(3)), Some(json!({ "equal": 1, "error": 0.0 })));
        assert_eq!(
            score(json!({"tolerance": 0.5}), json!("2.5"), json!("3")),
            Some(json!({ "equal": 1, "error": 0.5 }))
        );
        assert_eq!(
            score(json!({"relative": 0.1}), json!("110"), json!("100")),
            Some(json!({ "equal": 1, "error": 10.0 }))
        );
        for (prediction, reference) in [("1.1", "1"), ("0.9", "1"), ("1", "1.1"), ("100.3", "100.2"), ("-0.1", "0")] {
            let found = score(json!({"tolerance": 0.1}), json!(prediction), json!(reference)).unwrap();
            assert_eq!(found["equal"], 1, "{prediction} {reference}");
        }
        let found = score(json!({"tolerance": 0.1}), json!("1.1000001"), json!("1")).unwrap();
        assert_eq!(found["equal"], 0);
        assert_eq!(score(json!({}), json!("three"), json!("3")), Some(json!({ "equal": 0, "error": null })));
        let answer = json!("First 12, then 1,000.5. So the answer is $1,012.50.");
        assert_eq!(
            score(json!({"extract": "last"}), answer.clone(), json!(1012.5)),
            Some(json!({ "equal": 1, "error": 0.0 }))
        );
        assert_eq!(score(json!({"extract": "first"}), answer, json!("12")), Some(json!({ "equal": 1, "error": 0.0 })));
        for (text, first, last) in [
            ("The answer is 1,234", 1234.0, 1234.0),
            ("#### 12,345", 12345.0, 12345.0),
            ("$1,000 per year, 10,000 people", 1000.0, 10000.0),
            ("1,234,567 and -5", 1234567.0, -5.0),
            ("between 3-5", 3.0, 5.0),
            ("on 2024-01-05", 2024.0, 5.0),
            ("x=-2.5e3, y=.5", -2500.0, 0.5),
            ("costs -$7.", -7.0, -7.0),
            ("１２", 12.0, 12.0),
            ("in all 1 234 567", 1234567.0, 1234567.0),
            ("3 apples and 12 pears", 3.0, 12.0),
        ] {
            for (extract, expected) in [("first", first), ("last", last)] {
                let scored = score(json!({ "extract": extract }), json!(text), json!(expected));
                assert_eq!(scored, Some(json!({ "equal": 1, "error": 0.0 })), "{extract} of {text}");
            }
        }
        let big = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (odd, even) = (big("9007199254740993"), json!("9007199254740992"));
        assert_eq!(score(json!({}), even, odd.clone()).unwrap()["equal"], 0);
        assert_eq!(score(json!({}), json!("9,007,199,254,740,993.0"), odd).unwrap()["equal"], 1);
        for settings in [json!({"tolerance": -1}), json!({"tolerance": "a"}), json!({"extract": "middle"})] {
            assert!(ENTRY.make(settings.as_object().unwrap(), Path::new(".")).is_err(), "{settings}");
        }
    }
}
