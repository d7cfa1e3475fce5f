//! Secrets: names and values that are credentials, and keys kept out of what is shown and stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;

/// Words that make a name the name of a credential, wherever they stand in it.
const CREDENTIALS: &[&str] = &[
    "authorization",
    "apikey",
    "accesstoken",
    "authtoken",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "passwd",
    "password",
    "secret",
];
/// Words before `key` or `token` that make it a credential. `max_tokens`, `pad_token` and `Idempotency-Key` are none.
const KINDS: &[&str] =
    &["access", "api", "auth", "client", "hf", "id", "private", "refresh", "security", "session", "subscription", "x"];
/// How keys of the usual vendors begin.
const PREFIXES: &[&str] =
    &["sk-", "sk_", "hf_", "gsk_", "xai-", "AIza", "ghp_", "github_pat_", "pplx-", "nvapi-", "AKIA", "Bearer "];
/// A key shorter than this is a placeholder (`none`, `EMPTY`, `1`), and a word like any other.
const SHORTEST_KEY: usize = 8;
/// What stands in the place of a key.
const VEILED: &str = "[key]";

/// Returns true for the name of a header, an option or a parameter that carries a credential: `X-Auth-Token`,
/// `api_key`, `X-Goog-Api-Key`.
pub fn is_credential(name: &str) -> bool {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_kind = |before: &[&str]| before.last().is_none_or(|word| KINDS.contains(word));
    words.iter().any(|word| CREDENTIALS.contains(word))
        || match words.as_slice() {
            [before @ .., "key" | "token"] => is_kind(before),
            [.., "auth"] => true,
            _ => false,
        }
}

/// Returns true for a value that is a key, whatever its name.
pub fn is_key(value: &str) -> bool {
    PREFIXES.iter().any(|prefix| value.starts_with(prefix)) && is_unlike_words(value)
}

/// Returns true for a key that no answer holds by chance. Placeholders are words: `not-needed`, `sk-no-key-required`.
fn is_unlike_words(key: &str) -> bool {
    key.len() >= 16 && key.bytes().any(|b| b.is_ascii_digit()) && key.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Returns true for the name of an environment variable. Whoever writes the key itself there has written no name.
pub fn is_variable(name: &str) -> bool {
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.is_empty();
    let is_mixed = name.bytes().any(|b| b.is_ascii_lowercase()) && is_unlike_words(name);
    is_name && !is_mixed && !is_key(name)
}

/// Keeps a key out of texts, in every way that servers write it: as it is, escaped as in JSON, URLs and HTML, in base64.
pub struct Veil {
    pattern: Option<Regex>,
    is_real: bool,
}

impl Veil {
    /// Returns the veil of a key.
    pub fn new(key: &str) -> Veil {
        let pattern = (key.len() >= SHORTEST_KEY).then(|| {
            let plain: String = key.chars().map(written).collect();
            let coded = (0..3).map(|offset| coded(key.as_bytes(), offset));
            let all: Vec<String> = std::iter::once(plain).chain(coded).collect();
            Regex::new(&all.join("|")).ok()
        });
        Veil { pattern: pattern.flatten(), is_real: is_unlike_words(key) }
    }

    /// Removes the key from what etalon says.
    pub fn over(&self, text: String) -> String {
        match &self.pattern {
            Some(pattern) if pattern.is_match(&text) => pattern.replace_all(&text, VEILED).into_owned(),
            _ => text,
        }
    }

    /// Removes a real key from an answer that repeats it. A placeholder is a word, and answers are kept as they are.
    pub fn over_answer(&self, text: String) -> String {
        if self.is_real { self.over(text) } else { text }
    }
}

/// Returns a pattern of a character as it is, or escaped.
fn written(c: char) -> String {
    let code = u32::from(c);
    let plain = regex::escape(&c.to_string());
    format!(r"(?:\\*{plain}|\\+(?i:u{code:04x}|x{code:02x})|(?i:%(?:25)*{code:02x})|(?i:&#x0*{code:x};)|&#0*{code};)")
}

/// Returns a pattern of a key in base64, if it stands `offset` bytes behind a multiple of three. Characters in which
/// other bytes take part are left out.
fn coded(key: &[u8], offset: usize) -> String {
    let bytes: Vec<u8> = std::iter::repeat_n(0, offset).chain(key.iter().copied()).collect();
    let text = STANDARD.encode(&bytes);
    let inner = &text[[0, 2, 3][offset]..bytes.len() * 8 / 6];
    inner
        .chars()
        .map(|c| match c {
            '+' => r"(?:[+-]|\\+u002[bB]|%2[bB])".to_owned(),
            '/' => r"(?:\\*/|_|\\+u002[fF]|%2[fF])".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_credentials_are_told_from_others() {
        for name in [
            "Authorization",
            "X-Auth-Token",
            "X-Goog-Api-Key",
            "api_key",
            "apiKey",
            "Ocp-Apim-Subscription-Key",
            "Cookie",
            "key",
            "token",
            "access_token",
            "X-Api-Key",
            "Proxy-Authorization",
            "client_secret",
            "X-Auth",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in
            ["max_tokens", "pad_token", "Idempotency-Key", "X-Team", "stop_token_ids", "author", "keyword", "seed"]
        {
            assert!(!is_credential(name), "{name}");
        }
    }

    #[test]
    fn a_key_is_no_name_of_a_variable() {
        for name in ["OPENAI_API_KEY", "MY_KEY", "my_key", "_K2", "TEAM7_OPENAI_API_KEY_2025"] {
            assert!(is_variable(name), "{name}");
        }
        for name in ["sk-proj-1234", "hf_abcdefGHIJ0123456789", "9KEY", "", "AIzaSyD4n9x8f7g6h5j4k3", "a b"] {
            assert!(!is_variable(name), "{name}");
        }
        assert!(is_key("Bearer abc123abc123abc1") && !is_key("sk-local") && !is_key("bearer of news"));
    }

    #[test]
    fn a_key_is_veiled_however_it_is_written() {
        let key = "sk-Ab/9+x_=Zz12345678";
        let veil = Veil::new(key);
        let percent: String = key.bytes().map(|b| format!("%{b:02X}")).collect();
        let unicode: String = key.chars().map(|c| format!("\\u{:04X}", u32::from(c))).collect();
        let html: String = key.chars().map(|c| format!("&#{};", u32::from(c))).collect();
        for text in [
            key.to_owned(),
            key.replace('-', "\\u002d").replace('/', "\\/"),
            key.replace('-', "\\\\u002D").replace('/', "\\\\\\/"),
            key.replace('/', "%2f").replace('+', "%2B"),
            key.replace('/', "%252F"),
            percent,
            unicode,
            html,
            STANDARD.encode(key).trim_end_matches('=').to_owned(),
            STANDARD.encode(format!("Bearer {key}")),
            STANDARD.encode(format!("x:{key}")),
            STANDARD.encode(format!("xy:{key}")),
        ] {
            let shown = veil.over(format!("before {text} after"));
            assert!(
                shown.starts_with("before ") && shown.contains(VEILED) && shown.ends_with(" after"),
                "{text}: {shown}"
            );
            assert!(shown.len() < 40, "{text}: {shown}");
        }
    }

    #[test]
    fn placeholders_are_words() {
        assert_eq!(Veil::new("none").over("none of them".into()), "none of them");
        let veil = Veil::new("not-needed");
        assert_eq!(veil.over_answer("it is not-needed".into()), "it is not-needed");
        assert_eq!(veil.over("it is not-needed".into()), "it is [key]");
        assert_eq!(Veil::new("sk-12345").over("key sk-12345 is wrong".into()), "key [key] is wrong");
    }
}
