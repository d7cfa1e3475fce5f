//! The settings of a rubric.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::score::RESERVED;
use crate::spec::{Key, Node, decode};
use crate::stage::judge::method::Method;
use crate::stage::judge::read::{Scale, normal_key};

/// Names of summary values of a rubric that a criterion must not have, beside those of every stage.
const OWN_VALUES: &[&str] = &[
    "mean",
    "overall",
    "halo",
    "agreement",
    "kappa",
    "canaries",
    "self_preference",
    "stability",
    "length_correlation",
];

/// Grades by criteria.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "rubric")]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Lowest and highest score.
    #[serde(default = "one_to_five")]
    scale: (f64, f64),
    /// Scores need not be whole.
    #[serde(default)]
    fractional: bool,
    /// Whether one call grades all criteria, or each has a call of its own.
    #[serde(default)]
    calls: Calls,
    /// Shows the criteria in another order for each row (by its digest), so that none is always asked first.
    #[serde(default)]
    shuffle_criteria: bool,
    /// Criteria by name: a question, or a question with weight, pass mark and anchors.
    #[schemars(with = "IndexMap<String, CriterionShape>")]
    criteria: Map<String, Value>,
}

/// The shape of a criterion.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what is read by hand")]
enum CriterionShape {
    /// What the judge is asked.
    Ask(String),
    Full(CriterionSettings),
}

fn one_to_five() -> (f64, f64) {
    (1.0, 5.0)
}

/// A criterion.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "criterion")]
#[serde(deny_unknown_fields)]
struct CriterionSettings {
    /// What the judge is asked.
    ask: String,
    /// Weight in `mean` and `overall`; 1 unless said.
    weight: Option<f64>,
    /// Score from which a completion passes: adds `<criterion>.pass_rate`.
    pass_at: Option<f64>,
    /// What scores mean: `{ 1: wrong, 5: right and complete }`.
    anchors: Option<Map<String, Value>>,
}

/// A criterion, checked.
pub(crate) struct Criterion {
    pub name: String,
    pub ask: String,
    pub weight: f64,
    /// The score from which a completion passes, in units of the scale.
    pub pass_at: Option<f64>,
    pub anchors: Map<String, Value>,
}

/// How criteria are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "calls")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Calls {
    /// All at once: cheap, and scores of one criterion colour those of others.
    #[default]
    Joint,
    /// One by one: as many calls as there are criteria.
    PerCriterion,
}

/// A rubric, checked.
pub(crate) struct Rubric {
    pub calls: Calls,
    pub shuffle_criteria: bool,
    pub scale: Scale,
    pub criteria: Vec<Criterion>,
    pub names: Vec<String>,
}

pub(crate) fn parse(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Box<dyn Method>> {
    let before = problems.len();
    let settings: Settings = match decode(node, &format!("{what}: `rubric`")) {
        Ok(settings) => settings,
        Err(found) => {
            problems.extend(found);
            return None;
        }
    };
    let (low, high) = settings.scale;
    let scale_place = node.get("scale").map_or(&node.place, |node| &node.place);
    if !(low < high && low.is_finite() && high.is_finite()) {
        problems.push(
            Problem::error("wrong-value", format!("{what}: `scale` goes from its lowest to its highest score"))
                .at(scale_place)
                .help("scale: [1, 5]"),
        );
    }
    let criteria_node = node.get("criteria").unwrap_or(node);
    if settings.criteria.is_empty() {
        problems.push(
            Problem::error("missing-field", format!("{what}: a rubric needs criteria"))
                .at(&criteria_node.place)
                .help("criteria: { accuracy: Is the information correct? }"),
        );
    }
    let mut criteria = Vec::new();
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (key, node) in criteria_node.entries() {
        if let Some(other) = names.insert(normal_key(&key.text), &key.text) {
            problems.push(
                Problem::error("bad-name", format!("{what}: the criteria `{other}` and `{}` read alike", key.text))
                    .at(&key.place)
                    .help("replies are read without case, spaces, `_` and `-`: give one of them another name"),
            );
        }
        criteria.extend(criterion(key, node, (low, high), what, problems));
    }
    if problems.len() > before {
        return None;
    }
    let names = criteria.iter().map(|criterion| criterion.name.clone()).collect();
    Some(Box::new(Rubric {
        calls: settings.calls,
        shuffle_criteria: settings.shuffle_criteria,
        scale: Scale { low, high, fractional: settings.fractional },
        criteria,
        names,
    }))
}

/// Reads a criterion; none where it cannot be read.
fn criterion(
    key: &Key,
    node: &Node,
    (low, high): (f64, f64),
    what: &str,
    problems: &mut Vec<Problem>,
) -> Option<Criterion> {
    if key.text.contains('.') {
        problems.push(
            Problem::error("bad-name", format!("{what}: a criterion cannot be called `{}`", key.text))
                .at(&key.place)
                .help("a name has no dot: gates put what they want of a value behind one"),
        );
    }
    // Replies are read tolerantly: what reads alike there must not mean two things.
    let normal = normal_key(&key.text);
    let is_of_reply = ["tag", "reason"].contains(&normal.as_str());
    if [OWN_VALUES, &RESERVED].concat().contains(&key.text.as_str()) || is_of_reply {
        problems.push(
            Problem::error("bad-name", format!("{what}: a criterion cannot be called `{}`", key.text))
                .at(&key.place)
                .help("that name means something else in the summary or the reply"),
        );
    }
    let settings = match node.as_text() {
        Some(ask) => CriterionSettings { ask: ask.to_owned(), ..CriterionSettings::default() },
        None => match decode::<CriterionSettings>(node, &format!("{what}: criterion {}", key.text)) {
            Ok(settings) => settings,
            Err(found) => {
                problems.extend(found);
                return None;
            }
        },
    };
    if settings.weight.is_some_and(|weight| !(weight > 0.0 && weight.is_finite())) {
        problems.push(
            Problem::error("wrong-value", format!("{what}: `weight` of {} must be above 0", key.text)).at(&node.place),
        );
    }
    if settings.pass_at.is_some_and(|pass| pass < low || pass > high) {
        problems.push(
            Problem::error("wrong-value", format!("{what}: `pass_at` of {} lies outside the scale", key.text))
                .at(&node.place),
        );
    }
    Some(Criterion {
        name: key.text.clone(),
        ask: settings.ask,
        weight: settings.weight.unwrap_or(1.0),
        pass_at: settings.pass_at,
        anchors: in_order(settings.anchors.unwrap_or_default()),
    })
}

/// Returns anchors from the lowest score to the highest: how they stand in the spec must not reach the prompt.
fn in_order(anchors: Map<String, Value>) -> Map<String, Value> {
    let mut anchors: Vec<(String, Value)> = anchors.into_iter().collect();
    let score = |key: &str| key.trim().parse::<f64>().unwrap_or(f64::INFINITY);
    anchors.sort_by(|(a, _), (b, _)| score(a).total_cmp(&score(b)).then_with(|| a.cmp(b)));
    anchors.into_iter().collect()
}
