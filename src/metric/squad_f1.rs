//! `squad_f1`: the overlap of words with the reference, as SQuAD counts it. Of several references the best counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, pair, share, shown};
use crate::text::{Squad, answer_normal, east_asian_apart, squad_f1, squad_normal};

pub(super) const ENTRY: Entry = Entry {
    name: "squad_f1",
    about: "F1 over the words that prediction and reference share, without case, punctuation and articles.",
    source: "evaluate-v1.1.py and evaluate-v2.0.py (Rajpurkar et al. 2016, 2018)",
    score: "`{ f1, exact }`",
    parts: &[("exact", "share that is equal but for case, punctuation and articles")],
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The script that is followed. In v2 two sides without a word are equal, in v1 they are not.
    #[schemars(example = Version::V1)]
    version: Version,
    /// With false, an answer that is an article and nothing else keeps it: "A" is not "The".
    #[schemars(example = false)]
    squad_compat: bool,
    /// With characters, each Chinese or Japanese character is a word of its own.
    #[schemars(example = Tokens::Characters)]
    tokens: Tokens,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Version {
    V1,
    #[default]
    V2,
}

#[derive(Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Tokens {
    #[default]
    Words,
    Characters,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { version: Version::default(), squad_compat: true, tokens: Tokens::default() }
    }
}

struct SquadF1 {
    version: Squad,
    is_compatible: bool,
    cuts_characters: bool,
}

impl Make for Settings {
    fn make(self, _written: &Written<'_>) -> Made {
        let version = match self.version {
            Version::V1 => Squad::V1,
            Version::V2 => Squad::V2,
        };
        let cuts_characters = self.tokens == Tokens::Characters;
        Ok(Box::new(SquadF1 { version, is_compatible: self.squad_compat, cuts_characters }))
    }
}

impl SquadF1 {
    fn normal(&self, text: &str) -> String {
        let normal = if self.is_compatible { squad_normal(text) } else { answer_normal(text) };
        if self.cuts_characters { east_asian_apart(&normal) } else { normal }
    }
}

impl Metric for SquadF1 {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let has_no_answer = scored.reference.and_then(Value::as_array).is_some_and(Vec::is_empty);
        let (prediction, references) = match pair(scored) {
            Some(pair) => pair,
            // SQuAD 2 has questions without an answer: what is right is to say nothing.
            None if has_no_answer && self.version == Squad::V2 => {
                (scored.prediction.map(shown).unwrap_or_default(), vec!["".into()])
            }
            None => return Ok(None),
        };
        if scored.prediction.is_none() {
            return Ok(Some(json!({ "f1": 0.0, "exact": 0 })));
        }
        let prediction = self.normal(&prediction);
        let (mut f1, mut exact) = (0.0f64, false);
        for reference in references {
            let reference = self.normal(&reference);
            f1 = f1.max(squad_f1(&prediction, &reference, self.version));
            exact |= prediction == reference;
        }
        Ok(Some(json!({ "f1": f1, "exact": u8::from(exact) })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(PartsTally::new(vec![
            ("", "f1", Box::new(MeanTally::within(0.0, 1.0))),
            ("exact", "exact", Box::new(MeanTally::share())),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_question_without_an_answer_wants_none() {
        let score = |settings: Value, said: &str| {
            let metric = ENTRY.make(settings.as_object().unwrap(), Path::new(".")).unwrap();
            let (prediction, reference) = (json!(said), json!([]));
            metric
                .score(&Scored { prediction: Some(&prediction), reference: Some(&reference), ..Scored::default() })
                .unwrap()
        };
        assert_eq!(score(json!({}), "").unwrap()["f1"], 1.0);
        assert_eq!(score(json!({}), "Paris").unwrap()["f1"], 0.0);
        assert_eq!(score(json!({ "version": "v1" }), ""), None);
    }
}
