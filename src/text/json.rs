//! Whether a text is JSON, by the grammar of RFC 8259: numbers beyond the range of a double, lone surrogates and any
//! depth of nesting are JSON; NaN is not.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Which forms of JSON a text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonForm {
    /// The text is JSON as it stands.
    pub is_strict: bool,
    /// The text is one Markdown fence.
    pub is_fenced: bool,
    /// The text is JSON after its fence, if it has one, is removed.
    pub is_valid: bool,
    /// Some object in it has a key twice. None if it is not JSON, not even with bare NaN allowed.
    pub has_duplicate_keys: Option<bool>,
}

/// Reads a text.
pub fn json_form(text: &str) -> JsonForm {
    let inside = unfenced(text);
    let is_strict = is_json(text);
    JsonForm {
        is_strict,
        is_fenced: inside.is_some(),
        is_valid: is_strict || inside.is_some_and(is_json),
        has_duplicate_keys: duplicates(text).or_else(|| duplicates(inside?)),
    }
}

/// Returns the inside of a text that is one Markdown fence: three backticks, a language in letters,
/// digits, `_`, `+` and `-`, a line break, and three backticks at the end.
pub fn unfenced(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("```")?.strip_suffix("```")?;
    let (language, body) = inside.split_once('\n')?;
    let language = language.strip_suffix('\r').unwrap_or(language).trim_end_matches([' ', '\t']);
    let is_language = language.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-'));
    is_language.then(|| body.strip_suffix('\n').map_or(body, |body| body.strip_suffix('\r').unwrap_or(body)))
}

/// Puts quotes around bare NaN and infinities, which Python writes, except inside strings.
pub fn quoted_nan(text: &str) -> Cow<'_, str> {
    const BARE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut out = String::new();
    let mut kept = 0;
    let (mut in_text, mut is_escaped) = (false, false);
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'-' | b'I' | b'N' if !in_text => {
                if let Some(word) = BARE.iter().find(|word| bytes[at..].starts_with(word.as_bytes())) {
                    out.push_str(&text[kept..at]);
                    out.push_str(&format!("\"{word}\""));
                    at += word.len();
                    kept = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// Parses JSON; lone surrogates, which no text can hold, become U+FFFD.
pub fn read_json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().or_else(|| is_json(text).then(|| serde_json::from_str(&whole(text)).ok())?)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Replaces the escapes of lone surrogates.
fn whole(text: &str) -> String {
    static SURROGATES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\\\\|(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})")
            .expect("the pattern is tested")
    });
    let replace =
        |found: &Captures<'_>| if found.name("lone").is_some() { "\\ufffd".to_owned() } else { found[0].to_owned() };
    SURROGATES.replace_all(text, replace).into_owned()
}

/// Returns whether some key stands twice; none if the text is not JSON.
fn duplicates(text: &str) -> Option<bool> {
    serde_json::from_str::<Keys>(&whole(&quoted_nan(text))).ok().map(|keys| keys.0)
}

/// Whether a key stands twice anywhere below.
struct Keys(bool);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        deserializer.deserialize_any(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Keys, E> {
        Ok(Keys(false))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Keys, E> {
        Ok(Keys(false))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Keys, E> {
        Ok(Keys(false))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Keys, E> {
        Ok(Keys(false))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Keys, E> {
        Ok(Keys(false))
    }

    fn visit_unit<E: Error>(self) -> Result<Keys, E> {
        Ok(Keys(false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Keys, A::Error> {
        let mut has = false;
        while let Some(Keys(below)) = items.next_element()? {
            has |= below;
        }
        Ok(Keys(has))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
        let mut seen = HashSet::new();
        let mut has = false;
        while let Some((key, Keys(below))) = entries.next_entry::<String, Keys>()? {
            has |= below || !seen.insert(key);
        }
        Ok(Keys(has))
    }
}
