//! `judge`: a model that grades completions.
//!
//! ```text
//! row × sample → questions → render (twice, where the prompt reads `tag`) → ask → read
//!                                      ↑ a new turn that quotes the error ──┘ unreadable
//!             → judgement → tally
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the stage as it is written |
//! | `rubric` `compare` `classify` | the methods; `pairs` sums up all pairs |
//! | `verdict` | what a reply says |
//! | `work` | asking: prompts, retries, votes |
//! | `produce` | rows, labelled texts and canaries through the work, into rows and a summary |
//! | `bias` `panel` `canary` `lineage` | what is known to sway judges, measured |
//! | `labels` `human` | people's labels, and the judge held against them |
//! | `contrast` | shares of the ceiling; drift |
//!
//! The tag is the first eight hex digits of the digest of the request without it: the same on every
//! run, unknown to a candidate. Raw replies are in the completion log, so that reading them anew
//! costs nothing. **Invariant:** what cannot be read is missing, never a score.
//!
//! **Adding a judge method:** one file with a `parse` function, one line in [`METHODS`], its
//! template, an example and its tests.

mod bias;
mod canary;
mod classify;
mod compare;
mod contrast;
mod human;
mod labels;
mod lineage;
mod method;
mod pairs;
mod panel;
mod produce;
mod rubric;
mod settings;
mod truncate;
pub mod verdict;
mod work;

pub(super) use settings::{Settings, parse};

use std::sync::Arc;

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use labels::{LabelKind, Labels, Sides};
use lineage::Lineage;
use method::{Method, Parse};
use panel::Kin;
use truncate::Truncate;
use verdict::Scale;

use super::prompt::{Conversation, MaxFailures, Prompt, add_completions, add_model};
use super::{
    BASELINE, COMPLETIONS, CONTESTANTS, Contrast, Drift, Facts, Input, Job, Produced, Sheet, Stage, StageError,
};
use crate::problem::{Place, Problem, suggest};
use crate::score::{Estimate, Unit};
use crate::store::{Fingerprint, Manifest, Store};

/// Bumped with the rules of reading verdicts, too.
const REVISION: u32 = 3;
const REFERENCE_VARIABLES: &[&str] = &["row", "params"];

/// The methods there are, by the field that holds their settings.
const METHODS: &[(&str, Parse)] =
    &[("rubric", rubric::parse), ("compare", compare::parse), ("classify", classify::parse)];

/// Rows that canaries are made of where nothing else is said.
const CANARY_ROWS: u64 = 5;

/// Values that there are where people have labelled, too.
const HUMAN_VALUES: &[&str] = &["agreement", "kappa"];

/// The parts that judges play, by their place in the panel.
const PARTS: &[&str] =
    &["judge", "judge.2", "judge.3", "judge.4", "judge.5", "judge.6", "judge.7", "judge.8", "judge.9"];

struct Judge {
    input: String,
    input_place: Place,
    place: Place,
    baseline_place: Place,
    samples_place: Place,
    human_place: Place,
    lineage: Lineage,
    /// Names of the models that the spec has.
    model_names: Vec<String>,
    canaries: u64,
    truncate: Option<Truncate>,
    /// The judges, with their places and the options that are sent to them.
    judges: Vec<Grader>,
    samples: u32,
    /// The file of people's labels, and what it says.
    human: Option<(String, Labels)>,
    conversation: Conversation,
    reference: Option<Prompt>,
    method: Box<dyn Method>,
    retries: u32,
    allow_self: bool,
    max_failures: MaxFailures,
}

/// Returns the pairs of so many models.
fn pairs_of(models: usize) -> impl Iterator<Item = [u32; 2]> {
    let n = models as u32;
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| [i, j]))
}

/// A judge of the panel.
struct Grader {
    model: String,
    place: Place,
    options: Arc<Map<String, Value>>,
}

impl Stage for Judge {
    fn kind(&self) -> &'static str {
        "judge"
    }

    fn input(&self) -> Option<(&str, &Place)> {
        Some((&self.input, &self.input_place))
    }

    fn models(&self, of_input: &[String]) -> Option<Vec<String>> {
        if self.method.is_all_pairs() {
            return None;
        }
        let baseline = self.method.baseline();
        Some(of_input.iter().filter(|model| Some(model.as_str()) != baseline).cloned().collect())
    }

    fn check_input(&self, input: &dyn Stage, of_input: &[String], problems: &mut Vec<Problem>) {
        if self.conversation.reads("prompt") && !input.has_prompt() {
            let message = format!(
                "the judge's template shows `prompt`, and `{}` has none: it takes its completions from the dataset",
                self.input
            );
            let place = self
                .conversation
                .prompts()
                .find(|prompt| prompt.template.reads.reads("prompt"))
                .map_or(&self.place, |prompt| &prompt.place);
            let help = format!(
                "say in `{}` what was asked, beside its `completions`: `prompt: \"{{{{ row.question }}}}\"`",
                self.input
            );
            problems.push(Problem::error("no-prompt", message).at(place).help(help));
        }
        if let Some(baseline) = self.method.baseline() {
            if !of_input.iter().any(|model| model == baseline) {
                let help = suggest(baseline, &format!("models of {}", self.input), of_input.iter().map(String::as_str));
                problems.push(
                    Problem::error(
                        "unknown-model",
                        format!("`{}` has no model `{baseline}` to compare with", self.input),
                    )
                    .at(&self.baseline_place)
                    .maybe_help(help),
                );
            } else if of_input.len() < 2 {
                problems.push(
                    Problem::error(
                        "missing-model",
                        format!("`{}` has only the baseline: there is nothing to compare it with", self.input),
                    )
                    .at(&self.place),
                );
            }
        }
        let limits = 2..=CONTESTANTS.len();
        if self.method.is_all_pairs() && !limits.contains(&of_input.len()) {
            let message =
                format!("all pairs need 2 to {} models, and `{}` has {}", limits.end(), self.input, of_input.len());
            problems.push(Problem::error("missing-model", message).at(&self.place));
        }
        for grader in &self.judges {
            for model in of_input {
                for relation in self.lineage.relation(&grader.model, model) {
                    let problem = match relation.code {
                        "J-SELF" if self.allow_self => continue,
                        code @ "J-SELF" => Problem::error(code, relation.message),
                        code => Problem::warning(code, relation.message),
                    };
                    problems.push(problem.at(&grader.place).help(relation.help));
                }
            }
        }
    }

    fn warnings(&self) -> Vec<Problem> {
        let is_cold = |grader: &&Grader| grader.options.get("temperature").and_then(Value::as_f64) == Some(0.0);
        let mut problems = Vec::new();
        if let Some(grader) = self.judges.iter().find(is_cold).filter(|_| self.samples > 1) {
            let message = format!(
                "`{}` is asked {} times at temperature 0: it says nearly the same each time, and each is paid",
                grader.model, self.samples
            );
            problems.push(
                Problem::warning("cold-samples", message)
                    .at(&self.samples_place)
                    .help("a temperature above 0, or `samples: 1`"),
            );
        }
        if let Some((name, _)) = self.human.as_ref().filter(|(_, labels)| labels.is_missing) {
            let help =
                "`etalon labels export` writes a sheet of judged rows to fill in, `etalon labels import` reads it";
            problems.push(
                Problem::warning("no-labels", format!("there is no {name} yet: the judge is not held against people"))
                    .at(&self.human_place)
                    .help(help),
            );
        }
        if let Some((name, labels)) = &self.human {
            let is_known = |model: &&str| self.model_names.iter().any(|known| known == model);
            let unknown: Vec<&str> = labels.models().into_iter().filter(|model| !is_known(model)).collect();
            if !unknown.is_empty() {
                let message = format!("{name} names models that there are not: {}", unknown.join(", "));
                let help = suggest(unknown[0], "models there are", self.model_names.iter().map(String::as_str));
                problems.push(Problem::warning("unknown-model", message).at(&self.human_place).maybe_help(help));
            }
        }
        problems
    }

    fn inputs(&self, model: Option<&str>, of_input: &[String]) -> Vec<Input> {
        let input =
            |part, model: Option<&str>| Input { part, stage: self.input.clone(), model: model.map(str::to_owned) };
        if self.method.is_all_pairs() {
            return CONTESTANTS.iter().zip(of_input).map(|(part, model)| input(part, Some(model))).collect();
        }
        let mut inputs = vec![input(COMPLETIONS, model)];
        inputs.extend(self.method.baseline().map(|baseline| input(BASELINE, Some(baseline))));
        inputs
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(&'static str, String)> {
        PARTS.iter().copied().zip(self.judges.iter().map(|grader| grader.model.clone())).collect()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.conversation.prompts().chain(self.reference.as_ref()).flat_map(Prompt::columns).collect()
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("judge", REVISION);
        for (name, value) in self.method.settings() {
            fingerprint.setting(&name, value);
        }
        if self.retries != 1 {
            fingerprint.setting("retries", self.retries);
        }
        if let Some(truncate) = &self.truncate {
            fingerprint.setting("truncate_candidates", serde_json::to_value(truncate).expect("settings serialise"));
        }
        if self.samples != 1 {
            fingerprint.setting("samples", self.samples);
        }
        self.conversation.add_to(&mut fingerprint, facts);
        if let Some(reference) = &self.reference {
            reference.add_to(&mut fingerprint, facts, "");
        }
        for (part, grader) in PARTS.iter().zip(&self.judges) {
            add_model(&mut fingerprint, part, facts, &grader.model, &grader.options);
        }
        // What was measured by another instrument is another number.
        let instrument = Fingerprint { inputs: Default::default(), ..fingerprint.clone() };
        fingerprint.instrument = Some(instrument.key());
        if self.canaries > 0 {
            fingerprint.setting("canaries", self.canaries);
        }
        if self.method.identity_pairs() > 0 {
            fingerprint.setting("identity_pairs", self.method.identity_pairs());
        }
        let kin = self.kin(facts.model, self.method.baseline());
        if self.method.is_pair() && kin.len() > 1 && kin.iter().any(|kin| *kin != Kin::None) {
            fingerprint.setting("kin", kin.iter().map(|kin| format!("{kin:?}").to_lowercase()).collect::<Vec<_>>());
        }
        if self.method.is_all_pairs() {
            let models = CONTESTANTS.iter().filter_map(|part| facts.input_models.get(part));
            fingerprint.setting("contestants", models.cloned().collect::<Vec<_>>());
        }
        if self.conversation.reads("prompt")
            && let Some(upstream) = facts.upstream
        {
            upstream.add_prompt(&mut fingerprint, facts);
        }
        if let Some((_, labels)) = self.human.as_ref().filter(|(_, labels)| !labels.is_missing) {
            // Only what is said of these models counts.
            let models: Vec<&str> = match facts.model {
                Some(model) => vec![model],
                None => {
                    CONTESTANTS.iter().filter_map(|part| facts.input_models.get(part)).map(String::as_str).collect()
                }
            };
            let sides: Vec<Sides<'_>> = if self.method.is_all_pairs() {
                pairs_of(models.len())
                    .map(|[i, j]| Sides { model: models[i as usize], against: Some(models[j as usize]) })
                    .collect()
            } else {
                vec![Sides { model: models.first().copied().unwrap_or_default(), against: self.method.baseline() }]
            };
            fingerprint.files.insert("human".to_owned(), labels.digest(&sides));
        }
        let columns: &[&str] =
            if self.conversation.reads("finish_reason") { &["text", "finish_reason"] } else { &["text"] };
        for part in [BASELINE].iter().chain(CONTESTANTS) {
            add_completions(&mut fingerprint, part, facts.inputs.get(part), columns);
        }
        Ok(fingerprint)
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(self.produce(job))
    }

    fn sources(&self) -> Vec<(String, String)> {
        self.conversation.prompts().chain(&self.reference).flat_map(Prompt::sources).collect()
    }

    fn sheet(&self) -> Option<Sheet> {
        Some(self.method.sheet())
    }

    fn has_contrasts(&self) -> bool {
        self.has_worths()
    }

    fn contrast_facts(&self, contrast: &Contrast<'_>) -> Value {
        self.kin(Some(contrast.model), Some(contrast.other_model))
            .iter()
            .map(|kin| format!("{kin:?}").to_lowercase())
            .collect()
    }

    fn contrast(&self, store: &Store, contrast: &Contrast<'_>) -> Result<IndexMap<String, Estimate>, StageError> {
        if contrast.is_ceiling {
            return contrast::of_ceiling(store, contrast.own, contrast.other, &*self.method, self.scale());
        }
        let kin = self.kin(Some(contrast.model), Some(contrast.other_model));
        contrast::self_preference(store, contrast.own, contrast.other, &*self.method, &kin)
    }

    fn drift(&self, store: &Store, before: &Manifest, now: &Manifest) -> Result<Option<Drift>, StageError> {
        if before.fingerprint.instrument == now.fingerprint.instrument {
            return Ok(None);
        }
        contrast::drift(store, before, now, &*self.method, self.scale())
    }

    fn unit(&self, value: &str) -> Option<Unit> {
        let known =
            |value: &str| self.method.values().into_iter().find(|(name, _)| name == value).map(|(_, unit)| unit);
        match value {
            "coverage" => return Some(Unit::Rate),
            "canaries" => return (self.canaries > 0).then_some(Unit::Rate),
            "identity_ties" => return (self.method.identity_pairs() > 0).then_some(Unit::Rate),
            "self_preference" => return (self.judges.len() > 1).then_some(Unit::Rate),
            "stability" => return (self.samples > 1).then_some(Unit::Rate),
            "length_correlation" => return self.has_worths().then_some(Unit::Rate),
            _ => {}
        }
        if self.human.is_some() {
            if HUMAN_VALUES.contains(&value) {
                return Some(Unit::Rate);
            }
            if let Some(raw) = value.strip_suffix(".corrected").filter(|raw| self.is_correctable(raw)) {
                return known(raw);
            }
        }
        if let Some(raw) =
            value.strip_suffix(".of_ceiling").filter(|_| self.has_contrasts() && self.lineage.has_ceiling())
        {
            return known(raw).map(|_| Unit::Rate);
        }
        if self.method.is_all_pairs()
            && let Some((model, own)) = value.split_once('.')
            && self.model_names.iter().any(|name| name == model)
        {
            let is_other = |own: &str| {
                own.strip_prefix("beats.").is_some_and(|other| self.model_names.iter().any(|name| name == other))
            };
            return match own {
                "win_rate" | "elo" => known(own),
                _ if is_other(own) => Some(Unit::Rate),
                _ => None,
            };
        }
        known(value)
    }

    fn file(&self, label: &str) -> Option<String> {
        self.human.as_ref().filter(|_| label == "human").map(|(name, _)| name.clone())
    }

    fn values(&self) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for (name, _) in self.method.values() {
            values.push(name.clone());
            if self.is_correctable(&name) {
                values.push(format!("{name}.corrected"));
            }
        }
        if self.method.is_all_pairs() {
            values.extend(self.model_names.iter().map(|name| format!("beats.{name}")));
        }
        values.extend(HUMAN_VALUES.iter().filter(|_| self.human.is_some()).map(|name| (*name).to_owned()));
        for (name, is_there) in [
            ("length_correlation", self.has_worths()),
            ("stability", self.samples > 1),
            ("self_preference", self.judges.len() > 1),
            ("canaries", self.canaries > 0),
            ("identity_ties", self.method.identity_pairs() > 0),
            ("coverage", true),
        ] {
            values.extend(is_there.then(|| name.to_owned()));
        }
        values
    }
}

impl Judge {
    /// Returns whose side each judge could be on: a model's, or that of the one that it is held against.
    fn kin(&self, model: Option<&str>, other: Option<&str>) -> Vec<Kin> {
        let of = |judge: &Grader| {
            let is_kin = |other: Option<&str>| other.is_some_and(|other| self.lineage.is_kin(&judge.model, other));
            match (is_kin(model), is_kin(other)) {
                (true, false) => Kin::Own,
                (false, true) => Kin::Other,
                _ => Kin::None,
            }
        };
        self.judges.iter().map(of).collect()
    }

    /// Returns true for a value that labels correct.
    fn is_correctable(&self, value: &str) -> bool {
        let is_there = match self.method.labels() {
            LabelKind::Scores { criteria, .. } => {
                let raw = value.strip_suffix(".pass_rate").unwrap_or(value);
                criteria.iter().any(|criterion| criterion == raw)
            }
            LabelKind::Words(words) => {
                self.method.headline().is_some_and(|(name, _)| name == value)
                    || words.len() == 2 && value == format!("share.{}", words[0])
            }
        };
        self.human.is_some() && is_there
    }

    /// Returns true where what is said of one completion is a number.
    fn has_worths(&self) -> bool {
        self.method.headline().is_some() && !self.method.is_pair()
    }

    /// Returns the scale of a rubric.
    fn scale(&self) -> Option<Scale> {
        match self.method.labels() {
            LabelKind::Scores { scale, .. } => Some(scale),
            LabelKind::Words(_) => None,
        }
    }
}
