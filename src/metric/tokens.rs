//! `tokens`: tokens of completions and prompts, as counted by the server.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Direction, Entry, Made, Make, Metric, PartsTally, Score, Scored, SpreadTally, Tally, Written, share};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "tokens",
    about: "Tokens of a completion, as the server counted them: the mean.",
    range: "0 and up",
    direction: Direction::Neither,
    score: "`{ completion, prompt }`",
    parts: &[
        ("p50", "median"),
        ("p95", "95th percentile"),
        ("prompt", "tokens of the prompt: the mean"),
        ("prompt.p50", "their median"),
        ("prompt.p95", "their 95th percentile"),
    ],
    unit: |_| Unit::Amount,
    ..share::<Tokens>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tokens {}

impl Make for Tokens {
    fn make(self, _written: &Written<'_>) -> Made {
        Ok(Box::new(self))
    }
}

impl Metric for Tokens {
    fn score(&self, scored: &Scored<'_>) -> Score {
        let usage = scored.meta.map(|meta| (meta.completion_tokens, meta.prompt_tokens));
        Ok(usage
            .filter(|usage| *usage != (None, None))
            .map(|(completion, prompt)| json!({ "completion": completion, "prompt": prompt })))
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        Box::new(PartsTally::new(vec![
            ("", "completion", Box::new(SpreadTally::new())),
            ("prompt", "prompt", Box::new(SpreadTally::new())),
        ]))
    }

    fn needs_meta(&self) -> bool {
        true
    }
}
