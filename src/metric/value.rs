//! When two values are the same, though they were written differently.
//!
//! Numbers and truth values are compared by what they are, also where one of the two is text: 3 is 3.0 and the text
//! `3`, `True` of a CSV file is true. Numbers are compared as decimals, so no digit is lost at any size. Two texts are
//! compared as texts. A signature names this rule `types:value`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Number, Value};

use super::text;
use crate::text::squad_normal;

/// The rule's name in signatures.
pub(super) const RULE: &str = "types:value";

/// How texts are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Strict,
    #[default]
    Trim,
    Casefold,
    Squad,
}

impl Mode {
    /// Returns a text in the form in which it is compared.
    pub fn normal(self, text: &str) -> String {
        match self {
            Mode::Strict => text.to_owned(),
            Mode::Trim => text.trim().to_owned(),
            Mode::Casefold => fold(text.trim()),
            Mode::Squad => squad_normal(text),
        }
    }
}

/// Returns a text without the difference of upper and lower case (Unicode's full case folding): `STRASSE` is `straße`.
pub(super) fn fold(text: &str) -> String {
    // A dotless i is a letter of its own, and no capital I. Case folding knows no final sigma.
    let fold = |c: char| match c {
        'ı' => "ı".to_owned(),
        c => c.to_uppercase().flat_map(char::to_lowercase).collect::<String>(),
    };
    text.chars().map(fold).collect()
}

/// How lists are compared: item by item; or as sets, where neither order nor repetition counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lists {
    #[default]
    Order,
    Set,
}

/// What an empty reference stands for: the text of no characters; or no value, as null in JSON, since CSV files know no
/// null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(inline, extend("type" = ["string", "null"], "enum" = ["text", "null", null]))]
#[serde(rename_all = "lowercase")]
pub(super) enum Empty {
    #[default]
    Text,
    Null,
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Empty, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Empty::Null),
            Value::String(word) if word == "null" => Ok(Empty::Null),
            Value::String(word) if word == "text" => Ok(Empty::Text),
            _ => Err(serde::de::Error::custom("`empty` is text or null")),
        }
    }
}

impl Empty {
    /// Returns the value for which a reference stands.
    pub fn of(self, reference: &Value) -> &Value {
        match reference {
            Value::String(text) if self == Empty::Null && text.trim().is_empty() => &Value::Null,
            other => other,
        }
    }
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Equality {
    pub mode: Mode,
    pub lists: Lists,
    /// Largest difference of numbers that counts as none.
    pub tolerance: f64,
}

impl Equality {
    /// Returns true if two values are the same.
    pub fn holds(&self, a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::String(a), Value::String(b)) => self.mode.normal(a) == self.mode.normal(b) || self.is_near(a, b),
            (Value::Number(a), Value::Number(b)) => is_same_number(a, b) || self.is_near(a.as_str(), b.as_str()),
            (Value::String(text), typed) | (typed, Value::String(text)) => match typed {
                Value::Number(number) => {
                    decimal(text.trim()).is_some_and(|it| Some(it) == decimal(number.as_str()))
                        || self.is_near(text, number.as_str())
                }
                Value::Bool(flag) => text.trim().eq_ignore_ascii_case(if *flag { "true" } else { "false" }),
                Value::Null => false,
                // A cell of a CSV file may hold a list as text.
                _ => serde_json::from_str::<Value>(text)
                    .is_ok_and(|parsed| !parsed.is_string() && self.holds(&parsed, typed)),
            },
            (Value::Array(a), Value::Array(b)) => match self.lists {
                Lists::Order => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.holds(a, b)),
                Lists::Set => {
                    let within = |a: &[Value], b: &[Value]| a.iter().all(|a| b.iter().any(|b| self.holds(a, b)));
                    within(a, b) && within(b, a)
                }
            },
            (Value::Object(a), Value::Object(b)) => {
                let same = |(name, value)| self.holds(value, b.get(name).unwrap_or(&Value::Null));
                a.iter().all(same) && b.iter().all(|(name, value)| value.is_null() || a.contains_key(name))
            }
            (a, b) => a == b,
        }
    }

    fn is_near(&self, a: &str, b: &str) -> bool {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        self.tolerance > 0.0
            && number(a).zip(number(b)).is_some_and(|(a, b)| (a - b).abs() <= self.tolerance * (1.0 + 1e-12))
    }
}

/// Returns true for two numbers that are the same decimal, whatever their notation.
pub(super) fn is_same_number(a: &Number, b: &Number) -> bool {
    a == b || decimal(a.as_str()).is_some_and(|a| Some(a) == decimal(b.as_str()))
}

/// Returns sign, digits and exponent of a decimal number: equal for equal numbers, whatever their notation. None for
/// what is no number of JSON.
pub(super) fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match rest.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = !whole.is_empty()
        && (whole == "0" || !whole.starts_with('0'))
        && (digits.len() == whole.len() || !fraction.is_empty())
        && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_number {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let kept = significant.trim_end_matches('0');
    if kept.is_empty() {
        return Some((false, String::new(), 0));
    }
    let dropped = (significant.len() - kept.len()) as i64;
    let exponent = exponent.checked_sub(fraction.len() as i64)?.checked_add(dropped)?;
    Some((is_negative, kept.to_owned(), exponent))
}

/// Returns a number or a truth value as the text that stands for it in tables of labels; none for other values.
pub(super) fn typed_label(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => {
            let (is_negative, digits, exponent) = decimal(number.as_str())?;
            let is_whole = (0..20).contains(&exponent);
            let sign = if is_negative { "-" } else { "" };
            let whole = || format!("{sign}{digits}{}", "0".repeat(exponent as usize));
            Some(match digits.is_empty() {
                true => "0".to_owned(),
                false if is_whole => whole(),
                false => text(value),
            })
        }
        _ => None,
    }
}

/// Returns the typed value that a text stands for, as [`typed_label`] writes it; none for other texts.
pub(super) fn typed_text(text: &str) -> Option<String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        return Some(text.to_ascii_lowercase());
    }
    decimal(text)?;
    serde_json::from_str::<Value>(text.trim_start_matches('+')).ok().as_ref().and_then(typed_label)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_compared_by_what_they_are() {
        let is_same = |a: Value, b: Value| {
            let equality = Equality::default();
            let holds = equality.holds(&a, &b);
            assert_eq!(holds, equality.holds(&b, &a), "{a} and {b}");
            holds
        };
        for (a, b) in [
            (json!(3), json!(3.0)),
            (json!("3"), json!(3.0)),
            (json!(" 3.0 "), json!(3)),
            (json!("1e2"), json!(100)),
            (json!("True"), json!(true)),
            (json!("false"), json!(false)),
            (json!(null), json!(null)),
            (json!([1, "a"]), json!([1.0, " a"])),
            (json!("[1, 2]"), json!([1, 2])),
            (json!({"a": 1, "b": null}), json!({"a": 1.0})),
        ] {
            assert!(is_same(a.clone(), b.clone()), "{a} and {b}");
        }
        let big = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (a, b) in [
            (json!("3"), json!("3.0")),
            (json!("03"), json!(3)),
            (json!("yes"), json!(true)),
            (json!("1"), json!(true)),
            (json!(1), json!(true)),
            (json!(""), json!(null)),
            (json!("null"), json!(null)),
            (json!([1, 2]), json!([2, 1])),
            (json!({"a": 1}), json!({"a": 1, "b": 2})),
            (big("9007199254740992"), big("9007199254740993")),
            (big("0.1"), big("0.10000000000000001")),
        ] {
            assert!(!is_same(a.clone(), b.clone()), "{a} and {b}");
        }
        let sets = Equality { lists: Lists::Set, ..Equality::default() };
        assert!(sets.holds(&json!([1, 2, 2]), &json!(["2", 1])) && !sets.holds(&json!([1]), &json!([1, 2])));
        let near = Equality { tolerance: 0.1, ..Equality::default() };
        assert!(near.holds(&json!("1.1"), &json!(1)) && !near.holds(&json!(1.2), &json!(1)));
    }

    #[test]
    fn typed_labels_have_one_spelling() {
        for (value, label) in
            [(json!(3.0), "3"), (json!(1e2), "100"), (json!(-0.0), "0"), (json!(0.5), "0.5"), (json!(true), "true")]
        {
            assert_eq!(typed_label(&value).as_deref(), Some(label));
        }
        assert_eq!(typed_text("TRUE").as_deref(), Some("true"));
        assert_eq!(typed_text("3.0").as_deref(), Some("3"));
        assert_eq!((typed_text("1.2.3"), typed_text("x")), (None, None));
    }
}
