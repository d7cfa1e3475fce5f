//! Which texts of a held-out dataset also stand in training data: which, where, and how much of them.
//!
//! The few held-out texts are indexed; the many training texts are compared with the index, one after the other.

use std::collections::{HashMap, HashSet};

use super::{SHINGLE, Shingles, comparison_tokens, longest_common_run};

/// How a text was recognised in training data, the surest way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeakLevel {
    /// Equal except for case, punctuation and white space.
    Exact,
    /// Similar as sets of shingles.
    Near,
    /// Most of the text stands in one training text.
    Contained,
    /// A long run of its words stands in one training text.
    Run,
}

impl LeakLevel {
    /// Returns the word that stands for it in rows and summaries.
    pub fn name(self) -> &'static str {
        match self {
            LeakLevel::Exact => "exact",
            LeakLevel::Near => "near",
            LeakLevel::Contained => "contained",
            LeakLevel::Run => "run",
        }
    }
}

/// From which similarity on a text counts as leaked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakLimits {
    /// Jaccard similarity of the sets of shingles of five tokens, 0 to 1.
    pub jaccard: f64,
    /// The share of the held-out text's shingles that stand in one training text, 0 to 1.
    pub containment: f64,
    /// How many tokens the longest common run has; for held-out texts with fewer than 16 tokens, 8.
    pub run: usize,
}

impl Default for LeakLimits {
    fn default() -> LeakLimits {
        LeakLimits { jaccard: 0.7, containment: 0.8, run: 13 }
    }
}

/// Texts with fewer tokens are short.
const SHORT: usize = 16;
/// The tokens of a common run that is enough for a short text.
const SHORT_RUN: usize = 8;

/// How one held-out text leaked.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    pub level: LeakLevel,
    /// The similarity, the share, or the tokens of the run, as the level says.
    pub score: f64,
    /// The number of the training text, as the caller gave it.
    pub place: u64,
}

struct Text {
    tokens: Vec<String>,
    shingles: Shingles,
    leak: Option<Leak>,
}

/// An index over the held-out texts.
pub struct LeakIndex {
    limits: LeakLimits,
    texts: Vec<Text>,
    /// The held-out texts that have a shingle, by the digest of the shingle.
    shingles: HashMap<u64, Vec<u32>>,
    /// The held-out texts that have a run of 8 tokens, by the digest of the run.
    runs: HashMap<u64, Vec<u32>>,
}

impl LeakIndex {
    /// Indexes the held-out texts.
    pub fn new(texts: &[String], limits: LeakLimits) -> LeakIndex {
        let mut index = LeakIndex { limits, texts: Vec::new(), shingles: HashMap::new(), runs: HashMap::new() };
        for (number, text) in texts.iter().enumerate() {
            let tokens = comparison_tokens(text);
            let shingles = Shingles::of_tokens(&tokens, SHINGLE);
            for digest in shingles.digests() {
                index.shingles.entry(*digest).or_default().push(number as u32);
            }
            if tokens.len() >= SHORT_RUN {
                for digest in Shingles::of_tokens(&tokens, SHORT_RUN).digests() {
                    index.runs.entry(*digest).or_default().push(number as u32);
                }
            }
            index.texts.push(Text { tokens, shingles, leak: None });
        }
        index
    }

    /// Compares a training text with all held-out texts; returns those that are equal to it.
    pub fn compare(&mut self, training: &str, place: u64) -> Vec<usize> {
        let tokens = comparison_tokens(training);
        let shingles = Shingles::of_tokens(&tokens, SHINGLE);
        let mut shared: HashMap<u32, usize> = HashMap::new();
        for digest in shingles.digests() {
            for text in self.shingles.get(digest).into_iter().flatten() {
                *shared.entry(*text).or_default() += 1;
            }
        }
        let mut candidates: HashSet<u32> = HashSet::new();
        if tokens.len() >= SHORT_RUN {
            for digest in Shingles::of_tokens(&tokens, SHORT_RUN).digests() {
                candidates.extend(self.runs.get(digest).into_iter().flatten());
            }
        }
        let mut equal = Vec::new();
        for (number, both) in shared {
            let text = &mut self.texts[number as usize];
            let (own, all) = (text.shingles.digests().len(), shingles.digests().len());
            let jaccard = both as f64 / (own + all - both) as f64;
            let containment = both as f64 / own as f64;
            let found = if text.tokens == tokens {
                equal.push(number as usize);
                Some((LeakLevel::Exact, 1.0))
            } else if jaccard >= self.limits.jaccard {
                Some((LeakLevel::Near, jaccard))
            } else if containment >= self.limits.containment {
                Some((LeakLevel::Contained, containment))
            } else {
                None
            };
            if let Some((level, score)) = found {
                text.note(Leak { level, score, place });
            }
        }
        for number in candidates {
            let text = &mut self.texts[number as usize];
            if text.leak.as_ref().is_some_and(|leak| leak.level < LeakLevel::Run) {
                continue;
            }
            let wanted = if text.tokens.len() < SHORT { SHORT_RUN.min(self.limits.run) } else { self.limits.run };
            let run = longest_common_run(&text.tokens, &tokens);
            if run >= wanted {
                text.note(Leak { level: LeakLevel::Run, score: run as f64, place });
            }
        }
        equal.sort_unstable();
        equal
    }

    /// Returns for each held-out text how it leaked, if it did; in the order of the texts.
    pub fn finish(self) -> Vec<Option<Leak>> {
        self.texts.into_iter().map(|text| text.leak).collect()
    }
}

impl Text {
    /// Keeps the surest leak; of equally sure ones that with the higher score, then the earlier.
    fn note(&mut self, leak: Leak) {
        let rank = |leak: &Leak| (leak.level, -leak.score, leak.place as f64);
        if self.leak.as_ref().is_none_or(|known| rank(&leak) < rank(known)) {
            self.leak = Some(leak);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_and_the_surest_kept() {
        let held_out = [
            "How do I reset my password if I no longer have access to my old phone number?",
            "The parcel that I ordered three weeks ago has still not arrived at my door.",
            "Why was I charged twice for the very same order on the fourth of May this year?",
            "An entirely new question that nobody has ever asked of anyone anywhere before.",
            "机器学习模型需要在测试集上评估。",
            "yes",
        ]
        .map(str::to_owned);
        let mut index = LeakIndex::new(&held_out, LeakLimits::default());
        for (place, text) in [
            "how do i reset my PASSWORD -- if i no longer have access to my old phone number",
            "The parcel that I ordered three weeks ago has still not arrived at my house.",
            "A mail came in. Why was I charged twice for the very same order on the fourth of May this year? It went on \
             for pages and pages about other things that have nothing to do with it whatsoever, sadly enough.",
            "机器学习模型需要在测试集上评估",
            "Yes!",
        ]
        .into_iter()
        .enumerate()
        {
            index.compare(text, place as u64);
        }
        let found: Vec<Option<(&str, u64)>> =
            index.finish().into_iter().map(|leak| leak.map(|leak| (leak.level.name(), leak.place))).collect();
        assert_eq!(
            found,
            [
                Some(("exact", 0)),
                Some(("near", 1)),
                Some(("contained", 2)),
                None,
                Some(("exact", 3)),
                Some(("exact", 4))
            ]
        );
    }
}
