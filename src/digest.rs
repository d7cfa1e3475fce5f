//! Digests, and the canonical JSON from which they are computed.
//!
//! Everything that etalon remembers is addressed by a SHA-256 digest. Structured values are
//! digested in *canonical JSON*: keys sorted by code point, no spaces, integers exact at any size,
//! floats in their shortest form with `.0` kept. This is not RFC 8785, which would change large
//! ids (9007199254740993 becomes …992) and turn 1.0 into 1.
//!
//! **Invariant:** two values have the same canonical bytes exactly if they are the same JSON value.

use std::fmt;
use std::hash::BuildHasherDefault;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest. Shown and stored as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }
}

impl Digest {
    /// Returns the digest of the bytes as they are.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// Returns the digest of a value's canonical JSON. The domain goes into the digest too: things of different domains
    /// have different digests even where their bytes agree.
    pub fn of_json(domain: &str, value: &Value) -> Digest {
        let mut hasher = Hasher::new(domain);
        hasher.update(&canonical(value));
        hasher.finish()
    }

    /// Returns the 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the first eight hex digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }

    /// Returns the first 32 hex digits, 128 bits: what nobody can find by trying.
    pub fn tag(&self) -> String {
        hex::encode(&self.0[..16])
    }

    /// Returns the first 16 hex digits: the id of a row whose data name none.
    pub fn id(&self) -> String {
        hex::encode(&self.0[..8])
    }

    /// Returns the first eight bytes as a number: a seed that looks random and is the same in every run.
    pub fn seed(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Digest, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The hasher of in-memory tables that are keyed by digests. It takes a digest's own first bits as the hash, since they
/// are as evenly spread as any hash of the digest would be.
pub type OwnBits = BuildHasherDefault<OwnBitsHasher>;

/// The hasher behind [`OwnBits`].
#[derive(Default)]
pub struct OwnBitsHasher(u64);

impl std::hash::Hasher for OwnBitsHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 ^= (key >> 64) as u64 ^ key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Computes a digest from pieces that arrive one by one.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts a digest in a domain; the empty domain is the plain SHA-256 of the bytes.
    pub fn new(domain: &str) -> Hasher {
        let mut sha = Sha256::new();
        if !domain.is_empty() {
            sha.update(domain.as_bytes());
            sha.update(b"\n");
        }
        Hasher(sha)
    }

    /// Adds bytes as they are, without their length.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds bytes with their length before them, so that neighbours cannot run together.
    pub fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// Returns the digest of everything that was added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Returns the canonical JSON bytes of a value.
///
/// ```
/// let value = serde_json::json!({ "b": 1, "a": [true, "x"] });
/// assert_eq!(etalon::digest::canonical(&value), br#"{"a":[true,"x"],"b":1}"#);
/// ```
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    canonical_into(value, &mut out);
    out
}

/// Appends the canonical JSON bytes of a value.
pub fn canonical_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => canonical_number(number, out),
        Value::String(text) => canonical_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical_into(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => canonical_map_into(map, out),
    }
}

/// Appends the canonical JSON bytes of an object.
pub fn canonical_map_into(map: &Map<String, Value>, out: &mut Vec<u8>) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
    out.push(b'{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        canonical_text(key, out);
        out.push(b':');
        canonical_into(value, out);
    }
    out.push(b'}');
}

/// Appends a JSON string.
pub fn canonical_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, text).expect("writing text to memory cannot fail");
}

fn canonical_number(number: &Number, out: &mut Vec<u8>) {
    let text = number.as_str();
    let is_integer = !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    if is_integer {
        out.extend_from_slice(if text == "-0" { b"0" } else { text.as_bytes() });
        return;
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(float) => out.extend_from_slice(float.as_str().as_bytes()),
        // A number that no double can hold keeps the digits as they were written: better unusual than changed.
        None => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(String::from_utf8(canonical(&value)).unwrap(), expected);
    }

    #[test]
    fn canonical_json_sorts_keys_and_keeps_numbers_exact() {
        check(r#"{ "b": 1, "a": {"d": null, "c": [true, 1.0]} }"#, r#"{"a":{"c":[true,1.0],"d":null},"b":1}"#);
        check("9007199254740993", "9007199254740993");
        check("123456789012345678901234567890", "123456789012345678901234567890");
        check("1.50", "1.5");
        check("1e2", "100.0");
        check("-0", "0");
        check("-0.0", "-0.0");
        check("1e400", "1e+400");
        check(r#""\u00e9\u0001""#, "\"é\\u0001\"");
    }

    #[test]
    fn a_domain_changes_the_digest() {
        let value = Value::from(1);
        assert_ne!(Digest::of_json("a", &value), Digest::of_json("b", &value));
        assert_eq!(Digest::of(b"").to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
