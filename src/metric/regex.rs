//! `regex`: the share of predictions that match a regular expression, anywhere in them.
//!
//! `pattern` is in the syntax of the `regex` crate with look-around and backreferences (`fancy-regex`);
//! `full: true` wants the whole prediction to match, `ignore_case: true` does without regard to case. A
//! prediction on which matching takes too many steps has no score.

use fancy_regex::{Regex, RegexBuilder};
use std::path::Path;

use serde_json::{Map, Value};

use super::{Entry, MeanTally, Metric, MetricError, SHARE, Score, Scored, Setting, Takes, Tally, flag, text};

pub(super) const ENTRY: Entry = Entry {
    name: "regex",
    about: "Share of predictions that match a regular expression, anywhere in them.",
    settings: &[
        Setting {
            name: "pattern",
            takes: Takes::Text,
            example: "pattern: '^(yes|no)\\b'",
            default: "",
            about: "Regular expression, with look-around and backreferences.",
        },
        Setting {
            name: "full",
            takes: Takes::Flag,
            example: "full: true",
            default: "false",
            about: "The whole prediction must match.",
        },
        Setting {
            name: "ignore_case",
            takes: Takes::Flag,
            example: "ignore_case: true",
            default: "false",
            about: "Does without regard to case.",
        },
    ],
    build,
    ..SHARE
};

struct Pattern {
    regex: Regex,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    let Some(pattern) = settings.get("pattern").and_then(Value::as_str) else {
        return Err(ENTRY.error("pattern", "it needs a `pattern`"));
    };
    let compile = |pattern: &str| {
        let built = RegexBuilder::new(pattern).case_insensitive(flag(settings, "ignore_case")).build();
        built.map_err(|error| ENTRY.error("pattern", format!("`pattern` is no regular expression: {error}")))
    };
    // The user's own first, so that an error shows nothing that they did not write.
    let mut regex = compile(pattern)?;
    if flag(settings, "full") {
        // A comment at the end (verbose mode) would swallow the rest, so there a line break ends it.
        regex = compile(&format!("\\A(?:{pattern})\\z")).or_else(|_| compile(&format!("\\A(?:{pattern}\n)\\z")))?;
    }
    Ok(Box::new(Pattern { regex }))
}

impl Metric for Pattern {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let is_match = match scored.prediction {
            None => false,
            Some(prediction) => match self.regex.is_match(&text(prediction)) {
                Ok(is_match) => is_match,
                Err(_) => return Err("matching takes too many steps".to_owned()),
            },
        };
        Ok(Some(Value::from(u8::from(is_match))))
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share(seed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn score(settings: Value, prediction: &str) -> Option<u64> {
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).map_err(|error| error.message).unwrap();
        let prediction = Value::from(prediction);
        let scored = Scored { prediction: Some(&prediction), reference: None, ..Scored::default() };
        metric.score(&scored).ok()?.map(|score| score.as_u64().unwrap())
    }

    #[test]
    fn patterns_match_somewhere_or_in_full() {
        assert_eq!(score(json!({"pattern": "b+"}), "abc"), Some(1));
        assert_eq!(score(json!({"pattern": "b+", "full": true}), "abc"), Some(0));
        assert_eq!(score(json!({"pattern": "a|abc", "full": true}), "abc"), Some(1), "the longer branch counts too");
        assert_eq!(score(json!({"pattern": "(?x) a b c # all", "full": true}), "abc"), Some(1));
        assert_eq!(score(json!({"pattern": "a", "full": true}), "a\n"), Some(0));
        assert_eq!(score(json!({"pattern": "ä", "ignore_case": true}), "Ä"), Some(1));
        assert_eq!(score(json!({"pattern": "foo(?!bar)"}), "foobar"), Some(0), "look-around");
        assert_eq!(score(json!({"pattern": "(\\w)\\1"}), "hello"), Some(1), "backreference");
    }

    #[test]
    fn a_runaway_match_has_no_score_and_a_broken_pattern_is_refused() {
        assert_eq!(score(json!({"pattern": "^(a|aa)+(?=b)$"}), &"a".repeat(5_000)), None);
        for settings in [json!({}), json!({"pattern": "("}), json!({"pattern": 1}), json!({"pattern": "a", "full": 1})]
        {
            assert!(ENTRY.make(settings.as_object().unwrap(), Path::new(".")).is_err(), "{settings}");
        }
    }
}
