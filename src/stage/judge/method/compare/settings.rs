//! The settings of a comparison.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::outcome::Outcome;
use crate::problem::Problem;
use crate::spec::{Node, decode};
use crate::stage::judge::method::{Method, Opponent};

/// Compares with a baseline, or each model with each.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "compare")]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// What is compared with: a model of the input, or a node of another inference stage over the same dataset
    /// (`answers_v1.tuned`).
    baseline: Option<String>,
    /// Instead of `baseline`: each model is compared with each, and ranked.
    pairs: Option<PairsOf>,
    /// The models that are compared; all those of the input unless said.
    #[schemars(length(min = 1))]
    models: Option<Vec<String>>,
    /// Which candidate is shown first.
    #[serde(default)]
    order: Order,
    /// What two orders that disagree mean.
    #[serde(default)]
    tie_rule: TieRule,
    /// 2: A or B; 3: A, B or tie; 5: also by how much (`A>>B`), of which `strong` is the share.
    #[serde(default = "three")]
    verdicts: u8,
    /// Seed of `order: random`.
    #[serde(default)]
    seed: u64,
    /// Rows of which the judge is also shown the same response twice: anything but a tie is made up.
    #[serde(default)]
    identity_pairs: u64,
    /// The judge first answers the request itself: better on hard questions, and it favours its own kind.
    #[serde(default)]
    answer_first: bool,
    /// How the built-in template has verdicts written.
    #[serde(default)]
    verdict_style: VerdictStyle,
}

/// Which pairs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "pairs")]
#[serde(rename_all = "lowercase")]
enum PairsOf {
    /// Each model with each.
    All,
}

/// How verdicts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "verdict_style")]
#[serde(rename_all = "lowercase")]
pub(crate) enum VerdictStyle {
    /// `VERDICT-<tag>: A`: what a candidate quotes cannot vote.
    #[default]
    Tag,
    /// `[[A]]`, as MT-Bench has it.
    Bracket,
}

fn three() -> u8 {
    3
}

/// Which candidate is shown first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "order")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// Each row twice, swapped.
    #[default]
    Both,
    /// Each row once, placed by its digest.
    Random,
}

/// What two orders that disagree mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "tie_rule")]
#[serde(rename_all = "lowercase")]
pub(crate) enum TieRule {
    /// A tie (Zheng et al. 2023).
    #[default]
    Mtbench,
    /// The mean of the two.
    Average,
    /// The row leaves; it is counted as missing.
    Drop,
}

impl TieRule {
    /// Returns what it is called in specs and keys.
    pub fn word(self) -> &'static str {
        match self {
            TieRule::Mtbench => "mtbench",
            TieRule::Average => "average",
            TieRule::Drop => "drop",
        }
    }

    /// Returns the outcome of two orders that lie on different sides; none if the row is dropped.
    pub fn of(self, first: Outcome, second: Outcome) -> Option<Outcome> {
        match self {
            TieRule::Mtbench => Some(Outcome::Tie),
            // A win and a loss make a tie; a tie and a win make a half win.
            TieRule::Average => Some(Outcome::nearest((first.points() + second.points()) / 2.0)),
            TieRule::Drop => None,
        }
    }
}

/// A comparison, checked.
pub(crate) struct Compare {
    /// None: all pairs.
    pub baseline: Option<Opponent>,
    /// The models that are compared; none: all.
    pub models: Option<Vec<String>>,
    pub identity_pairs: u64,
    pub answer_first: bool,
    pub verdict_style: VerdictStyle,
    pub order: Order,
    pub tie_rule: TieRule,
    pub verdicts: u8,
    pub seed: u64,
}

pub(crate) fn parse(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Box<dyn Method>> {
    match decode::<Settings>(node, &format!("{what}: `compare`")) {
        Ok(settings) => {
            if !matches!(settings.verdicts, 2 | 3 | 5) {
                let place = node.get("verdicts").map_or(&node.place, |node| &node.place);
                problems.push(
                    Problem::error(
                        "wrong-value",
                        format!("{what}: `verdicts` is 2 (A, B), 3 (A, B, tie) or 5 (A>>B to B>>A)"),
                    )
                    .at(place),
                );
                return None;
            }
            if settings.identity_pairs > 0 && settings.verdicts == 2 {
                let place = node.get("identity_pairs").map_or(&node.place, |node| &node.place);
                problems.push(
                    Problem::error(
                        "conflict",
                        format!("{what}: `identity_pairs` needs ties, and `verdicts: 2` has none"),
                    )
                    .at(place)
                    .help("verdicts: 3"),
                );
                return None;
            }
            if settings.baseline.is_some() == settings.pairs.is_some() {
                let message = format!("{what}: `compare` needs either `baseline` or `pairs: all`");
                problems.push(
                    Problem::error("missing-field", message)
                        .at(&node.place)
                        .help("compare: { baseline: base }, or { pairs: all } for a ranking"),
                );
                return None;
            }
            let is_too_few = |models: &Vec<String>| models.len() < if settings.pairs.is_some() { 2 } else { 1 };
            if settings.models.as_ref().is_some_and(is_too_few) {
                let message = format!("{what}: `models` of `compare` names too few models");
                problems.push(Problem::error("wrong-value", message).at(node.place_of("models")));
                return None;
            }
            Some(Box::new(Compare {
                baseline: settings.baseline.map(Opponent::of),
                models: settings.models,
                identity_pairs: settings.identity_pairs,
                answer_first: settings.answer_first,
                verdict_style: settings.verdict_style,
                order: settings.order,
                tie_rule: settings.tie_rule,
                verdicts: settings.verdicts,
                seed: settings.seed,
            }))
        }
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}
