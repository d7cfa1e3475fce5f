//! Reasoning apart from answers: models think aloud between tags, and the answer is what follows.
//!
//! ```text
//! <think>Lyon? Paris?</think>Lyon      reasoning `Lyon? Paris?`, answer `Lyon`
//! Lyon? Paris?</think>Lyon             the same: the opening tag stood in the prompt
//! <think>Lyon? Paris?                  reasoning that never ended: the answer is empty
//! ```
//!
//! A tag that is only spoken of is no tag: in backticks or quotes, inside a JSON object, or an opening tag within a line
//! that nothing closes.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::objects::objects;

/// Tags around reasoning that open models write: DeepSeek, Qwen, Magistral, Seed, Kimi, OpenThinker, Command A,
/// gpt-oss.
const KNOWN: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
];

static DEFAULT: LazyLock<ReasoningTags> = LazyLock::new(|| {
    let known = KNOWN.iter().map(|(open, close)| ((*open).to_owned(), (*close).to_owned()));
    ReasoningTags::new(known.collect())
});

/// The tags between which a model thinks.
#[derive(Debug)]
pub struct ReasoningTags {
    /// By pair: how the opening and the closing tag are compared.
    pairs: Vec<(String, String)>,
    pattern: Option<Regex>,
}

/// A reply, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Said<'a> {
    /// What is meant for the reader; the whole text if there is no reasoning in it.
    pub answer: Cow<'a, str>,
    /// What was thought, without its tags; none if there is none.
    pub reasoning: Option<String>,
    /// The reasoning never ended.
    pub is_open: bool,
    /// The beginning of the reasoning was not marked, only its end.
    pub is_unopened: bool,
    /// How many blocks of reasoning ended.
    pub ended: usize,
}

/// A tag where it stands.
struct Tag {
    pair: usize,
    is_open: bool,
    start: usize,
    end: usize,
}

/// Returns a tag in the form in which tags are compared: without case and white space.
fn normal(tag: &str) -> String {
    tag.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase()
}

impl ReasoningTags {
    /// Returns tags of one's own, as pairs of an opening and a closing one; without any, all text is answer.
    pub fn new(pairs: Vec<(String, String)>) -> ReasoningTags {
        let spaced = |tag: &str| match tag.trim().strip_suffix('>') {
            Some(start) => format!(r"{}\s*>", regex::escape(start)),
            None => regex::escape(tag.trim()),
        };
        let all: Vec<String> = pairs.iter().flat_map(|(open, close)| [spaced(open), spaced(close)]).collect();
        let pattern = (!all.is_empty())
            .then(|| Regex::new(&format!("(?i){}", all.join("|"))).expect("escaped text is a pattern"));
        ReasoningTags { pairs: pairs.iter().map(|(open, close)| (normal(open), normal(close))).collect(), pattern }
    }

    /// Returns the tags that models are known to write.
    pub fn known() -> &'static ReasoningTags {
        &DEFAULT
    }

    fn tags(&self, text: &str) -> Vec<Tag> {
        let Some(pattern) = &self.pattern else { return Vec::new() };
        let tag = |found: regex::Match<'_>| {
            let written = normal(found.as_str());
            self.pairs.iter().enumerate().find_map(|(pair, (open, close))| {
                let is_open = *open == written;
                let tag = Tag { pair, is_open, start: found.start(), end: found.end() };
                (is_open || *close == written).then_some(tag)
            })
        };
        pattern.find_iter(text).filter_map(tag).collect()
    }

    /// Takes a reply apart. It costs one search through the text if there is no tag in it.
    pub fn split<'a>(&self, text: &'a str) -> Said<'a> {
        let whole = Said { answer: text.into(), reasoning: None, is_open: false, is_unopened: false, ended: 0 };
        let tags = self.tags(text);
        if tags.is_empty() {
            return whole;
        }
        let within: Vec<(usize, usize)> = objects(text).0.into_iter().map(|object| range_in(text, object)).collect();
        let is_spoken_of = |tag: &Tag| {
            is_quoted(text, tag.start, tag.end) || within.iter().any(|(start, end)| (*start..*end).contains(&tag.start))
        };
        let (mut answer, mut thoughts) = (String::new(), Vec::new());
        // Where the text begins that is taken for neither yet; the open block, if one is; how many blocks opened in it.
        let (mut at, mut open, mut nested) = (0, None::<(usize, usize)>, 0_usize);
        let (mut has_opened, mut is_unopened) = (false, false);
        for (index, tag) in tags.iter().enumerate() {
            match open {
                None if tag.is_open => {
                    let is_closed = || tags[index..].iter().any(|later| later.pair == tag.pair && !later.is_open);
                    let before = &text[at..tag.start];
                    let begins_line = before.rsplit('\n').next().is_none_or(|line| line.trim().is_empty());
                    if !is_spoken_of(tag) && (begins_line || is_closed()) {
                        answer.push_str(&text[at..tag.start]);
                        (open, has_opened, nested) = (Some((tag.pair, tag.end)), true, 0);
                    }
                }
                // The end of reasoning whose beginning is not marked, or of a block around a block.
                None if (!has_opened || nested > 0) && !is_spoken_of(tag) => {
                    is_unopened |= !has_opened;
                    nested = nested.saturating_sub(1);
                    answer.push_str(&text[at..tag.start]);
                    thoughts.push(std::mem::take(&mut answer));
                    at = tag.end;
                }
                None => {}
                Some((pair, start)) if pair == tag.pair && !tag.is_open => {
                    thoughts.push(text[start..tag.start].to_owned());
                    (at, open) = (tag.end, None);
                }
                Some((pair, _)) => nested += usize::from(pair == tag.pair),
            }
        }
        if thoughts.is_empty() && open.is_none() {
            return whole;
        }
        let ended = thoughts.len();
        match open {
            Some((_, start)) => thoughts.push(text[start..].to_owned()),
            None => answer.push_str(&text[at..]),
        }
        let thoughts: Vec<&str> = thoughts.iter().map(|thought| thought.trim()).filter(|t| !t.is_empty()).collect();
        Said {
            answer: answer.trim().to_owned().into(),
            reasoning: (!thoughts.is_empty()).then(|| thoughts.join("\n\n")),
            is_open: open.is_some(),
            is_unopened,
            ended,
        }
    }
}

/// Returns where a part of a text stands in it.
fn range_in(text: &str, part: &str) -> (usize, usize) {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    (start, start + part.len())
}

/// Returns true if quotes or backticks stand on both sides.
fn is_quoted(text: &str, start: usize, end: usize) -> bool {
    let is_mark = |c: char| "`\"'“”‘’«»„".contains(c);
    text[..start].ends_with(is_mark) && text[end..].starts_with(is_mark)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> (String, Option<String>, bool) {
        let said = ReasoningTags::known().split(text);
        (said.answer.into_owned(), said.reasoning, said.is_open)
    }

    #[test]
    fn the_answer_follows_the_reasoning() {
        for (text, answer, reasoning, is_open) in [
            ("Lyon", "Lyon", None, false),
            ("<think>Lyon? Paris?</think>Lyon", "Lyon", Some("Lyon? Paris?"), false),
            ("<think>\nhm\n</think>\n\nLyon\n", "Lyon", Some("hm"), false),
            ("Lyon? Paris?</think>Lyon", "Lyon", Some("Lyon? Paris?"), false),
            ("<think>Lyon? Paris?", "", Some("Lyon? Paris?"), true),
            ("Well.\n<think>Paris?", "Well.", Some("Paris?"), true),
            ("<think></think>Lyon", "Lyon", None, false),
            ("a</think><think>b", "", Some("a\n\nb"), true),
            ("<think>a", "", Some("a"), true),
            ("<think>a</think>", "", Some("a"), false),
            ("<THINK >a</Think>b", "b", Some("a"), false),
            ("Sure. <think>Paris?</think> Lyon", "Sure.  Lyon", Some("Paris?"), false),
            ("<think>a<think>b</think>c</think>d", "d", Some("a<think>b\n\nc"), false),
            ("<think>they say <think>; no</think>d", "d", Some("they say <think>; no"), false),
            ("[THINK]a[/THINK]b", "b", Some("a"), false),
            ("<thinking>a</thinking>\n<think>b</think>c", "c", Some("a\n\nb"), false),
            (
                "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b",
                "b",
                Some("a<|end|><|start|>assistant"),
                false,
            ),
            // Spoken of.
            ("Write `<think>` first", "Write `<think>` first", None, false),
            ("Write <think> first", "Write <think> first", None, false),
            ("It ends with \"</think>\".", "It ends with \"</think>\".", None, false),
            (r#"{"reason": "it wrote </think> here"}"#, r#"{"reason": "it wrote </think> here"}"#, None, false),
            ("<think>a</think>Lyon. The </think> ends it.", "Lyon. The </think> ends it.", Some("a"), false),
            ("<b>bold</b> <thinker>x</thinker>", "<b>bold</b> <thinker>x</thinker>", None, false),
        ] {
            assert_eq!(split(text), (answer.to_owned(), reasoning.map(str::to_owned), is_open), "{text}");
        }
    }

    #[test]
    fn tags_of_ones_own_stand_for_the_known_ones() {
        let tags = ReasoningTags::new(vec![("<<".to_owned(), ">>".to_owned())]);
        assert_eq!(tags.split("<<a>>b").answer, "b");
        assert_eq!(tags.split("<think>a</think>b").answer, "<think>a</think>b");
        assert_eq!(ReasoningTags::new(Vec::new()).split("<think>a</think>b").answer, "<think>a</think>b");
    }

    proptest! {
        #[test]
        fn no_text_is_lost_or_invented(
            parts in prop::collection::vec(prop_oneof!["[a-z\n ]{0,5}", Just("<think>".to_owned()), Just("</think>".to_owned())], 0..12)
        ) {
            let text = parts.concat();
            let said = ReasoningTags::known().split(&text);
            let letters = |text: &str| text.replace("<think>", "").replace("</think>", "").chars().filter(char::is_ascii_lowercase).count();
            let thought = said.reasoning.as_deref().unwrap_or_default();
            prop_assert_eq!(letters(&said.answer) + letters(thought), letters(&text), "{}", text);
        }
    }
}
