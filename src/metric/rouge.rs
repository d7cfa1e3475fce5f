//! `rouge1`, `rouge2`, `rouge3`, `rougeL`, `rougeLsum`: n-grams and subsequences that prediction and reference share.
//! Of several references, the one with the highest F1 counts.
//!
//! The value is F1, the parts are precision and recall. Only `[a-z0-9]` counts unless `tokenizer: unicode` is set,
//! which no other implementation has; a note warns about text in other scripts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, borrowed, pair, share, text,
};
use crate::text::{Rouge, RougeKind, latin_share};

const SOURCE: &str = "Lin 2004; equal to Google's rouge-score 0.1.2";
const SCORE: &str = "`{ f, precision, recall }`";
const PARTS: &[(&str, &str)] = &[("precision", "share of the prediction"), ("recall", "share of the reference")];

const fn base<T: Make>() -> Entry {
    Entry { source: SOURCE, score: SCORE, parts: PARTS, ..share::<T>() }
}

pub(super) const ENTRY_1: Entry =
    Entry { name: "rouge1", about: "F1 over the words that prediction and reference share.", ..base::<One>() };
pub(super) const ENTRY_2: Entry =
    Entry { name: "rouge2", about: "F1 over the pairs of words that prediction and reference share.", ..base::<Two>() };
pub(super) const ENTRY_3: Entry = Entry {
    name: "rouge3",
    about: "F1 over the runs of three words that prediction and reference share.",
    ..base::<Three>()
};
pub(super) const ENTRY_L: Entry =
    Entry { name: "rougeL", about: "F1 over the longest common subsequence of words.", ..base::<Longest>() };
pub(super) const ENTRY_LSUM: Entry = Entry {
    name: "rougeLsum",
    about: "F1 over the union of the longest common subsequences of lines.",
    ..base::<Lines>()
};

/// Declares a type of settings: those of all ROUGE metrics, and further ones.
macro_rules! settings {
    ($name:ident, $kind:expr, |$settings:ident| $splits:expr, { $($more:tt)* }) => {
        #[derive(Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        struct $name {
            /// Compares stems (Porter's, with NLTK's extensions), of words of more than three letters.
            #[schemars(example = true)]
            stemmer: bool,
            /// With unicode, letters of every script count, Chinese and Japanese characters one by one; values
            /// then compare with no other tool's.
            #[schemars(example = Tokenizer::Unicode)]
            tokenizer: Tokenizer,
            $($more)*
        }

        impl Make for $name {
            fn make(self, _written: &Written<'_>) -> Made {
                let $settings = &self;
                let splits_sentences = $splits;
                let rouge = Rouge { stems: self.stemmer, is_unicode: self.tokenizer == Tokenizer::Unicode };
                Ok(Box::new(RougeMetric { rouge, kind: $kind, splits_sentences }))
            }
        }
    };
}

settings!(One, RougeKind::Ngrams(1), |_settings| false, {});
settings!(Two, RougeKind::Ngrams(2), |_settings| false, {});
settings!(Three, RougeKind::Ngrams(3), |_settings| false, {});
settings!(Longest, RougeKind::Longest, |_settings| false, {});
settings!(Lines, RougeKind::Lines, |settings| settings.split == Split::Sentence, {
    /// What a line is: what line breaks set apart, or a sentence as well. Papers on summaries split
    /// sentences.
    #[schemars(example = Split::Sentence)]
    split: Split,
});

#[derive(Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Tokenizer {
    #[default]
    Ascii,
    Unicode,
}

#[derive(Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Split {
    #[default]
    Newline,
    Sentence,
}

struct RougeMetric {
    rouge: Rouge,
    kind: RougeKind,
    splits_sentences: bool,
}

/// Breaks the text behind each sentence: behind a mark and white space that no small letter follows.
fn sentences(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        out.push(c);
        let is_end = matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '।' | '؟');
        if is_end && characters.peek().is_some_and(|next| next.is_whitespace()) {
            while characters.peek().is_some_and(|next| next.is_whitespace()) {
                characters.next();
            }
            out.push(if characters.peek().is_some_and(|next| next.is_lowercase()) { ' ' } else { '\n' });
        }
    }
    out
}

impl Metric for RougeMetric {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some((mut prediction, mut references)) = pair(scored) else {
            return Ok(None);
        };
        if self.splits_sentences {
            prediction = sentences(&prediction).into();
            references.iter_mut().for_each(|reference| *reference = sentences(reference).into());
        }
        let overlap = self.rouge.best(&prediction, &borrowed(&references), &[self.kind])[0];
        Ok(Some(json!({ "f": overlap.f, "precision": overlap.precision, "recall": overlap.recall })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let mean = || Box::new(MeanTally::within(0.0, 1.0)) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![
            ("", "f", mean()),
            ("precision", "precision", mean()),
            ("recall", "recall", mean()),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn is_cautious(&self) -> bool {
        true
    }

    fn caution(&self, scored: &Scored<'_>) -> Option<&'static str> {
        let is_foreign = |value: &Value| latin_share(&text(value)).is_some_and(|share| share < 0.8);
        let is_unseen = !self.rouge.is_unicode && scored.prediction.into_iter().chain(scored.reference).any(is_foreign);
        is_unseen
            .then_some("the text is mostly outside of [a-z0-9], all that ROUGE sees: `tokenizer: unicode`, or `chrf`")
    }
}
