//! Answers as SQuAD compares them (Rajpurkar et al. 2016, 2018), equal to the published scripts
//! `evaluate-v1.1.py` and `evaluate-v2.0.py`.

use std::collections::HashMap;

use super::characters::{is_word, split};

/// Which script is followed; the two differ if a side has no token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Squad {
    /// Without a common token the result is 0, even if both sides have no token.
    V1,
    /// Two sides without a token give 1.
    V2,
}

/// Returns an answer in lower case, without ASCII punctuation and English articles, with one space between words.
pub fn squad_normal(text: &str) -> String {
    normal(text, true)
}

/// Returns the same as [`squad_normal`], except that an answer which is nothing but an article is kept: "A" equals
/// neither "The" nor the empty answer.
pub fn answer_normal(text: &str) -> String {
    let bare = normal(text, true);
    if bare.is_empty() { normal(text, false) } else { bare }
}

fn normal(text: &str, drops_articles: bool) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let word = rest.len() - rest.trim_start_matches(is_word).len();
        let (run, behind) = rest.split_at(word);
        let is_article = drops_articles && matches!(run, "a" | "an" | "the");
        out.push_str(if is_article { " " } else { run });
        let other = behind.len() - behind.trim_start_matches(|c| !is_word(c)).len();
        out.push_str(&behind[..other]);
        rest = &behind[other..];
    }
    let words: Vec<&str> = split(&out).collect();
    words.join(" ")
}

/// Returns the F1 over the tokens of two normalised answers, 0..=1.
pub fn squad_f1(prediction: &str, reference: &str, version: Squad) -> f64 {
    let (prediction, reference): (Vec<&str>, Vec<&str>) = (split(prediction).collect(), split(reference).collect());
    if version == Squad::V2 && (prediction.is_empty() || reference.is_empty()) {
        return f64::from(u8::from(prediction.is_empty() && reference.is_empty()));
    }
    let mut left: HashMap<&str, u64> = HashMap::new();
    reference.iter().for_each(|token| *left.entry(token).or_default() += 1);
    let mut common = 0u64;
    for token in &prediction {
        if let Some(count @ 1..) = left.get_mut(token) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / prediction.len() as f64;
    let recall = common as f64 / reference.len() as f64;
    2.0 * precision * recall / (precision + recall)
}
