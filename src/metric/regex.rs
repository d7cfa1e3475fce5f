//! `regex`: the share of predictions in which a regular expression matches anywhere.
//!
//! `pattern` has the syntax of the `regex` crate, with look-around and backreferences (`fancy-regex`). With `full:
//! true` the whole prediction must match; `ignore_case: true` ignores case. A prediction on which matching takes too
//! many steps has no score.

use fancy_regex::{Regex, RegexBuilder};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Entry, Made, Make, MeanTally, Metric, Score, Scored, Tally, Written, share, text};

pub(super) const ENTRY: Entry = Entry {
    name: "regex",
    about: "Share of predictions that match a regular expression, anywhere in them.",
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Regular expression, with look-around and backreferences.
    #[schemars(example = &r"^(yes|no)\b")]
    pattern: String,
    /// The whole prediction must match.
    #[serde(default)]
    #[schemars(example = true)]
    full: bool,
    /// Does without regard to case.
    #[serde(default)]
    #[schemars(example = true)]
    ignore_case: bool,
}

struct Pattern {
    regex: Regex,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        let pattern = &self.pattern;
        let compile = |pattern: &str| {
            let built = RegexBuilder::new(pattern).case_insensitive(self.ignore_case).build();
            built.map_err(|error| written.wrong("pattern", format!("`pattern` is no regular expression: {error}")))
        };
        // The user's own pattern is compiled first, so that an error shows only what the user wrote.
        let mut regex = compile(pattern)?;
        if self.full {
            // A comment at the end of the pattern (verbose mode) would swallow the rest, so a line break ends it there.
            let whole = compile(&format!("\\A(?:{pattern})\\z"));
            regex = whole.or_else(|_| compile(&format!("\\A(?:{pattern}\n)\\z")))?;
        }
        Ok(Box::new(Pattern { regex }))
    }
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

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(MeanTally::share())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn score(settings: Value, prediction: &str) -> Option<u64> {
        let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).unwrap();
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
