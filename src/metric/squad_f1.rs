//! `squad_f1`: the overlap of words with the reference, as SQuAD counts it; of several references the
//! best.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    Entry, MeanTally, Metric, MetricError, PartsTally, SHARE, Score, Scored, Setting, Takes, Tally, choice, pair,
};
use crate::text::{Squad, answer_normal, east_asian_apart, squad_f1, squad_normal};

pub(super) const ENTRY: Entry = Entry {
    name: "squad_f1",
    about: "F1 over the words that prediction and reference share, without case, punctuation and articles.",
    source: "evaluate-v1.1.py and evaluate-v2.0.py (Rajpurkar et al. 2016, 2018)",
    score: "`{ f1, exact }`",
    settings: &[
        Setting {
            name: "version",
            takes: Takes::Choice(&["v1", "v2"]),
            example: "version: v1",
            default: "v2",
            about: "The script that is followed. In v2 two sides without a word are equal, in v1 they are not.",
        },
        Setting {
            name: "squad_compat",
            takes: Takes::Flag,
            example: "squad_compat: false",
            default: "true",
            about: "With false, an answer that is an article and nothing else keeps it: \"A\" is not \"The\".",
        },
        Setting {
            name: "tokens",
            takes: Takes::Choice(&["words", "characters"]),
            example: "tokens: characters",
            default: "words",
            about: "With characters, each Chinese or Japanese character is a word of its own.",
        },
    ],
    parts: &[("exact", "share that is equal but for case, punctuation and articles")],
    build,
    ..SHARE
};

struct SquadF1 {
    version: Squad,
    is_compatible: bool,
    cuts_characters: bool,
}

fn build(settings: &Map<String, Value>, _root: &Path) -> Result<Box<dyn Metric>, MetricError> {
    Ok(Box::new(SquadF1 {
        version: if choice(settings, "version") == Some("v1") { Squad::V1 } else { Squad::V2 },
        is_compatible: settings.get("squad_compat").and_then(Value::as_bool).unwrap_or(true),
        cuts_characters: choice(settings, "tokens") == Some("characters"),
    }))
}

impl SquadF1 {
    fn normal(&self, text: &str) -> String {
        let normal = if self.is_compatible { squad_normal(text) } else { answer_normal(text) };
        if self.cuts_characters { east_asian_apart(&normal) } else { normal }
    }
}

impl Metric for SquadF1 {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let Some((prediction, references)) = pair(scored) else {
            return Ok(None);
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

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(PartsTally::new(vec![
            ("", "f1", Box::new(MeanTally::within(seed, 0.0, 1.0))),
            ("exact", "exact", Box::new(MeanTally::share(seed))),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }
}
