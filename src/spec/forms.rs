//! Settings that have a short form: one value for a list of one, text for a map.
//!
//! The sort of the value (text, list, map) tells which form it is, and that form alone reports what is wrong inside. So
//! a mistake keeps its place, which serde's untagged enums ("matches no variant") would lose.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::values::{Scalar, Whole};
use crate::process::Program;

/// One value or a list of values; a list has at least `MIN`.
#[derive(Clone, Debug, PartialEq)]
pub enum OneOrMany<T = String, const MIN: usize = 0> {
    One(T),
    Many(Vec<T>),
}

impl<T, const MIN: usize> OneOrMany<T, MIN> {
    /// Returns the values as a list, also a single one.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> OneOrMany<T> {
        OneOrMany::Many(Vec::new())
    }
}

impl<T, const MIN: usize> Deref for OneOrMany<T, MIN> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

impl<T: Serialize, const MIN: usize> Serialize for OneOrMany<T, MIN> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            OneOrMany::One(one) => one.serialize(serializer),
            OneOrMany::Many(many) => many.serialize(serializer),
        }
    }
}

impl<'de, T: Short, const MIN: usize> Deserialize<'de> for OneOrMany<T, MIN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T, MIN>, D::Error> {
        let read = deserializer.deserialize_any(Forms::<T, Vec<T>, Never, false>::new())?;
        match read {
            Form::Plain(one) => Ok(OneOrMany::One(one)),
            Form::List(many) if many.len() < MIN => {
                Err(D::Error::invalid_value(Unexpected::Seq, &"a list that is not empty"))
            }
            Form::List(many) => Ok(OneOrMany::Many(many)),
            Form::Map(never) => match never {},
        }
    }
}

impl<T: Short, const MIN: usize> JsonSchema for OneOrMany<T, MIN> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}_{MIN}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        let mut list = json_schema!({ "type": "array", "items": one });
        if MIN > 0 {
            list.insert("minItems".to_owned(), MIN.into());
        }
        json_schema!({ "anyOf": [one, list] })
    }
}

/// One value is a line for the shell; a list is a program with its arguments.
impl<T: Into<String>, const MIN: usize> From<OneOrMany<T, MIN>> for Program {
    fn from(command: OneOrMany<T, MIN>) -> Program {
        match command {
            OneOrMany::One(line) => Program::Shell(line.into()),
            OneOrMany::Many(words) => Program::Direct(words.into_iter().map(Into::into).collect()),
        }
    }
}

/// A short form, or the map that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum ShortOr<S, T> {
    Short(S),
    Full(T),
}

impl<S, T: From<S>> ShortOr<S, T> {
    /// Returns the map that a short form stands for.
    pub fn into_full(self) -> T {
        match self {
            ShortOr::Short(short) => short.into(),
            ShortOr::Full(full) => full,
        }
    }
}

impl<'de, S: Short, T: DeserializeOwned> Deserialize<'de> for ShortOr<S, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ShortOr<S, T>, D::Error> {
        Ok(match deserializer.deserialize_any(Forms::<S, S, T, true>::new())? {
            Form::Plain(short) | Form::List(short) => ShortOr::Short(short),
            Form::Map(full) => ShortOr::Full(full),
        })
    }
}

impl<S: Short, T: JsonSchema> JsonSchema for ShortOr<S, T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_{}", S::schema_name(), T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (short, full) = (generator.subschema_for::<S>().to_value(), generator.subschema_for::<T>().to_value());
        let mut forms = match short.get("anyOf") {
            Some(Value::Array(forms)) => forms.clone(),
            _ => vec![short],
        };
        forms.push(full);
        json_schema!({ "anyOf": forms })
    }
}

/// Text, or a list of something else.
#[derive(Clone, Debug, PartialEq)]
pub enum TextOrList<T> {
    Text(String),
    List(Vec<T>),
}

impl<'de, T: DeserializeOwned + JsonSchema> Deserialize<'de> for TextOrList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextOrList<T>, D::Error> {
        match deserializer.deserialize_any(Forms::<String, Vec<T>, Never, false>::new())? {
            Form::Plain(text) => Ok(TextOrList::Text(text)),
            Form::List(list) => Ok(TextOrList::List(list)),
            Form::Map(never) => match never {},
        }
    }
}

impl<T: JsonSchema> JsonSchema for TextOrList<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("text_or_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<String>(), generator.subschema_for::<Vec<T>>()] })
    }
}

/// The sorts of values that a short form may have.
#[derive(Clone, Copy, PartialEq)]
pub enum Sort {
    Text,
    Number,
    Boolean,
    List,
}

/// A type that can be the short form of another.
pub trait Short: DeserializeOwned + JsonSchema {
    const SORTS: &'static [Sort];
    /// What it is called in messages.
    const WORDS: &'static str;
}

impl Short for String {
    const SORTS: &'static [Sort] = &[Sort::Text];
    const WORDS: &'static str = "text";
}

impl Short for bool {
    const SORTS: &'static [Sort] = &[Sort::Boolean];
    const WORDS: &'static str = "true or false";
}

impl Short for f64 {
    const SORTS: &'static [Sort] = &[Sort::Number];
    const WORDS: &'static str = "a number";
}

impl<const MIN: u64, const MAX: u64> Short for Whole<MIN, MAX> {
    const SORTS: &'static [Sort] = &[Sort::Number];
    const WORDS: &'static str = "a whole number";
}

impl Short for Scalar {
    const SORTS: &'static [Sort] = &[Sort::Text, Sort::Number, Sort::Boolean];
    const WORDS: &'static str = "text";
}

impl<T: DeserializeOwned + JsonSchema> Short for Vec<T> {
    const SORTS: &'static [Sort] = &[Sort::List];
    const WORDS: &'static str = "a list";
}

impl<T: Short, const MIN: usize> Short for OneOrMany<T, MIN> {
    const SORTS: &'static [Sort] = if matches!(T::SORTS, [Sort::Text]) {
        &[Sort::Text, Sort::List]
    } else {
        &[Sort::Text, Sort::Number, Sort::Boolean, Sort::List]
    };
    const WORDS: &'static str = if matches!(T::SORTS, [Sort::Number]) { "a number, a list" } else { "text, a list" };
}

/// The form that a type does not have.
#[derive(Clone, Copy)]
enum Never {}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Never, D::Error> {
        Err(D::Error::custom("there is no such form"))
    }
}

/// A value, by the sort in which it was written.
enum Form<P, L, M> {
    Plain(P),
    List(L),
    Map(M),
}

/// Chooses the form by the sort of the value, so that the form itself reports what is wrong inside.
struct Forms<P, L, M, const MAP: bool>(PhantomData<(P, L, M)>);

impl<P: Short, L: Short, M: DeserializeOwned, const MAP: bool> Forms<P, L, M, MAP> {
    fn new() -> Self {
        Forms(PhantomData)
    }

    fn plain<'de, V: IntoDeserializer<'de, E>, E: Error>(
        self,
        sort: Sort,
        value: V,
        found: Unexpected<'_>,
    ) -> Result<Form<P, L, M>, E> {
        if P::SORTS.contains(&sort) {
            P::deserialize(value.into_deserializer()).map(Form::Plain)
        } else {
            Err(E::invalid_type(found, &self))
        }
    }
}

impl<'de, P: Short, L: Short, M: DeserializeOwned, const MAP: bool> Visitor<'de> for Forms<P, L, M, MAP> {
    type Value = Form<P, L, M>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match (MAP, P::WORDS == L::WORDS) {
            (true, _) => write!(out, "{} or a map", P::WORDS),
            (false, true) => out.write_str(P::WORDS),
            (false, false) => write!(out, "{} or {}", P::WORDS, L::WORDS),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Form<P, L, M>, E> {
        self.plain(Sort::Text, text, Unexpected::Str(text))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Form<P, L, M>, E> {
        self.plain(Sort::Boolean, flag, Unexpected::Bool(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Form<P, L, M>, E> {
        self.plain(Sort::Number, number, Unexpected::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Form<P, L, M>, E> {
        self.plain(Sort::Number, number, Unexpected::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Form<P, L, M>, E> {
        self.plain(Sort::Number, number, Unexpected::Float(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Form<P, L, M>, A::Error> {
        if L::SORTS.contains(&Sort::List) {
            L::deserialize(SeqAccessDeserializer::new(items)).map(Form::List)
        } else {
            Err(A::Error::invalid_type(Unexpected::Seq, &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Form<P, L, M>, A::Error> {
        let first: Option<String> = entries.next_key()?;
        if first.as_deref() == Some(NUMBER) {
            let digits: String = entries.next_value()?;
            return self.visit_f64(digits.parse().unwrap_or(f64::INFINITY));
        }
        if !MAP {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        M::deserialize(MapAccessDeserializer::new(Entries { first, rest: entries })).map(Form::Map)
    }

    fn visit_unit<E: Error>(self) -> Result<Form<P, L, M>, E> {
        Err(E::invalid_type(Unexpected::Unit, &self))
    }
}

/// The key of the map by which serde_json passes on a number that it would write in another way, such as `1.50`.
pub(super) const NUMBER: &str = "$serde_json::private::Number";

/// The entries of a map whose first key has been read already.
struct Entries<A> {
    first: Option<String>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.rest.next_value_seed(seed)
    }
}

/// Reads text or a list of texts.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    <OneOrMany>::deserialize(deserializer).map(OneOrMany::into_vec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Full {
        by: OneOrMany,
    }

    #[test]
    fn short_forms_and_maps_are_told_apart_by_their_sort() {
        type Setting = ShortOr<OneOrMany, Full>;
        let one = || OneOrMany::One("a".to_owned());
        assert_eq!(read::<Setting>(json!("a")), Ok(ShortOr::Short(one())));
        assert_eq!(read::<Setting>(json!(["a"])), Ok(ShortOr::Short(OneOrMany::Many(vec!["a".to_owned()]))));
        assert_eq!(read::<Setting>(json!({"by": "a"})), Ok(ShortOr::Full(Full { by: one() })));
        for (value, message) in [
            (json!(3), "expected text, a list or a map"),
            (json!(0.10), "expected text, a list or a map"),
            (json!(null), "expected text, a list or a map"),
            (json!([3]), "expected a string"),
            (json!({"by": 3}), "expected text or a list"),
            (json!({"bye": 3}), "unknown field `bye`, expected `by`"),
        ] {
            let said = read::<Setting>(value.clone()).unwrap_err();
            assert!(said.contains(message), "{value}: {said}");
        }
    }
}
