//! Types of single settings: each reads a value, says what is wrong with it, and describes itself in the schema.
//!
//! Each type holds the bounds of its values ([`Whole`], [`Amount`], [`Positive`], [`Share`]), so that what a setting
//! takes is said in one place.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::digest::canonical;

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Whole<const MIN: u64 = 0, const MAX: u64 = { u64::MAX }>(pub u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// Returns the number as a `usize`.
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = match (MIN, MAX) {
            (_, u64::MAX) => format!("a whole number, {MIN} or more"),
            _ => format!("a whole number, {MIN} to {MAX}"),
        };
        let number = number(deserializer, &words)?.as_u64().filter(|number| (MIN..=MAX).contains(number));
        number.map(Whole).ok_or_else(|| D::Error::invalid_value(Unexpected::Other("it"), &words.as_str()))
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Whole_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "integer", "minimum": MIN });
        if MAX != u64::MAX {
            schema.insert("maximum".to_owned(), MAX.into());
        }
        schema
    }
}

/// Defines a number within bounds: how it is called in messages, which values it takes, and its schema.
macro_rules! number_type {
    ($name:ident, $words:literal, $holds:expr, $schema:tt) => {
        #[doc = concat!("A setting that is ", $words, ".")]
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name(pub f64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                bounded(deserializer, $words, $holds).map($name)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

number_type!(Amount, "a number, 0 or more", |number| number >= 0.0, { "type": "number", "minimum": 0 });
number_type!(Positive, "a number above 0", |number| number > 0.0, { "type": "number", "exclusiveMinimum": 0 });
number_type!(Share, "a number above 0, at most 1", |number| number > 0.0 && number <= 1.0, {
    "type": "number",
    "exclusiveMinimum": 0,
    "maximum": 1
});

impl Serialize for Amount {
    /// Writes a whole number without `.0`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_whole = self.0.fract() == 0.0 && self.0 < 1e15;
        if is_whole { serializer.serialize_u64(self.0 as u64) } else { serializer.serialize_f64(self.0) }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D, words: &str) -> Result<serde_json::Number, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Number(number) => Ok(number),
        _ => Err(D::Error::invalid_type(Unexpected::Other("it"), &words)),
    }
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D, words: &str, holds: fn(f64) -> bool) -> Result<f64, D::Error> {
    let number = number(deserializer, words)?.as_f64().filter(|number| number.is_finite() && holds(*number));
    number.ok_or_else(|| D::Error::invalid_value(Unexpected::Other("it"), &words))
}

/// Text; a number, true or false stands for its own text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scalar(pub String);

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> String {
        scalar.0
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Scalar(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => {
                Ok(Scalar(String::from_utf8_lossy(&canonical(&value)).into_owned()))
            }
            _ => Err(D::Error::invalid_type(Unexpected::Other("it"), &"text")),
        }
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// A template that is rendered per row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template(pub String);

/// The `format` by which the schema marks text as a template.
pub const TEMPLATE: &str = "text/jinja2";

impl JsonSchema for Template {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "contentMediaType": TEMPLATE })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::super::forms::OneOrMany;
    use super::*;

    fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_keep_within_their_bounds() {
        assert_eq!(read::<Whole<1, 4>>(json!(4)), Ok(Whole(4)));
        assert!(read::<Whole<1, 4>>(json!(5)).unwrap_err().contains("expected a whole number, 1 to 4"));
        assert!(read::<Whole<1>>(json!(0)).unwrap_err().contains("expected a whole number, 1 or more"));
        assert!(read::<Whole>(json!(1.5)).is_err() && read::<Whole>(json!("1")).is_err());
        assert!(read::<Amount>(json!(-0.1)).is_err() && read::<Share>(json!(0)).is_err());
        assert_eq!((read(json!(1)), read(json!(0.5))), (Ok(Share(1.0)), Ok(Amount(0.5))));
        assert_eq!(json!([Amount(2.0), Amount(0.5)]), json!([2, 0.5]));
        assert_eq!(read::<OneOrMany<Scalar>>(json!([1.50, true])).unwrap().len(), 2);
        assert_eq!(read(json!(1.50)), Ok(Scalar("1.5".to_owned())));
    }
}
