//! The judge stage: which nodes it has, what they read, and how two of them compare.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::ask::Truncate;
use super::evidence::lineage::{Kin, Lineage};
use super::evidence::{contrast, drift};
use super::method::{Method, Opponent};
use super::people::labels::{LabelKind, Labels};
use super::read::Scale;
use crate::label::Sheet;
use crate::problem::{Place, Problem, suggest};
use crate::score::{Estimate, Reading, Unit};
use crate::stage::conversation::Conversation;
use crate::stage::inference::ModelTags;
use crate::stage::prompt::{MaxFailures, Prompt};
use crate::stage::{
    Callee, Contrast, Drift, Facts, Input, Job, Makes, Part, Produced, Reads, RowValues, Stage, StageError,
};
use crate::store::{Fingerprint, Manifest, Store};
use crate::template::ColumnUse;

/// A judge stage, checked.
pub(crate) struct Judge {
    pub input: String,
    pub input_place: Place,
    pub place: Place,
    pub baseline_place: Place,
    pub compare_place: Place,
    pub samples_place: Place,
    pub human_place: Place,
    pub lineage: Lineage,
    /// The names of all models in the spec.
    pub model_names: Vec<String>,
    /// From how many rows canaries are made.
    pub canaries: u64,
    pub truncate: Option<Truncate>,
    /// The judges, with their places in the spec and the options that are sent to them.
    pub judges: Vec<Grader>,
    /// How often each judge is asked about each completion.
    pub samples: u32,
    /// The name of the file of people's labels, and the labels in it.
    pub human: Option<(String, Labels)>,
    pub conversation: Conversation,
    pub reference: Option<Prompt>,
    pub method: Box<dyn Method>,
    /// How often an unreadable verdict is asked for again.
    pub retries: u32,
    pub allow_self: bool,
    pub max_failures: MaxFailures,
}

/// Returns all pairs of `models` models, as places from 0.
pub(crate) fn pairs_of(models: usize) -> impl Iterator<Item = [u32; 2]> {
    let n = models as u32;
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| [i, j]))
}

/// A judge of the panel.
pub(crate) struct Grader {
    pub model: String,
    pub place: Place,
    pub options: Arc<Map<String, Value>>,
    /// The tags between which it thinks.
    pub tags: ModelTags,
}

impl Stage for Judge {
    fn kind(&self) -> &'static str {
        "judge"
    }

    fn makes(&self) -> Makes {
        Makes::Judgements
    }

    fn input(&self) -> Option<(&str, &Place)> {
        Some((&self.input, &self.input_place))
    }

    fn models(&self, reads: Option<&Reads<'_>>) -> Option<Vec<String>> {
        if self.method.is_all_pairs() {
            return None;
        }
        let is_judged = |model: &&String| self.own_baseline() != Some(model.as_str()) && self.is_meant(model);
        let of_input = reads.map_or(&[][..], |reads| &reads.input.models);
        Some(of_input.iter().filter(is_judged).cloned().collect())
    }

    fn also_reads(&self) -> Vec<(&str, &Place)> {
        self.foreign_baseline().map(|(stage, _)| (stage, &self.baseline_place)).into_iter().collect()
    }

    fn shows_prompt(&self) -> bool {
        self.conversation.reads("prompt") || self.conversation.reads("messages")
    }

    fn check_input(&self, reads: &Reads<'_>, problems: &mut Vec<Problem>) {
        for model in self.method.only_models().into_iter().flatten() {
            if !reads.input.models.contains(model) {
                let help = suggest(model, "its models", reads.input.models.iter().map(String::as_str));
                let message = format!("`{}` has no completions of `{model}`", reads.input.name);
                problems.push(Problem::error("unknown-model", message).at(&self.compare_place).maybe_help(help));
            }
        }
        self.check_reads(reads, problems);
    }

    fn warnings(&self) -> Vec<Problem> {
        self.find_warnings()
    }

    fn inputs(&self, model: Option<&str>, reads: &Reads<'_>) -> Vec<Input> {
        let input =
            |part, model: Option<&str>| Input { part, stage: self.input.clone(), model: model.map(str::to_owned) };
        if self.method.is_all_pairs() {
            let models = reads.input.models.iter().filter(|model| self.is_meant(model));
            return Part::contestants().zip(models).map(|(part, model)| input(part, Some(model))).collect();
        }
        let mut inputs = vec![input(Part::OWN, model)];
        inputs.extend(self.own_baseline().map(|baseline| input(Part::Baseline, Some(baseline))));
        inputs.extend(self.foreign_baseline().map(|(stage, model)| Input {
            part: Part::Baseline,
            stage: stage.to_owned(),
            model: Some(model.to_owned()),
        }));
        inputs
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(Callee, String)> {
        (0..).map(Callee::Judge).zip(self.judges.iter().map(|grader| grader.model.clone())).collect()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.conversation.prompts().chain(self.reference.as_ref()).flat_map(Prompt::columns).collect()
    }

    fn column_uses(&self) -> Vec<ColumnUse> {
        self.conversation.prompts().flat_map(|prompt| prompt.template.column_uses()).collect()
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        Ok(self.key_facts(facts))
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
        let kin = self.kin(Some(contrast.model), Some(contrast.other_model));
        kin.into_iter().map(Kin::word).collect()
    }

    fn contrast(&self, store: &Store, contrast: &Contrast<'_>) -> Result<IndexMap<String, Estimate>, StageError> {
        if contrast.is_ceiling {
            return contrast::of_ceiling(store, contrast.own, contrast.other, &*self.method, self.scale());
        }
        let kin = self.kin(Some(contrast.model), Some(contrast.other_model));
        contrast::self_preference(store, contrast.own, contrast.other, &*self.method, &kin)
    }

    fn range(&self, value: &str) -> Option<(f64, f64)> {
        let reading = self.reading_of(value)?;
        match (reading.unit, self.scale()) {
            // Shares of a ceiling have no greatest number, and chance-corrected agreement may be negative.
            _ if value.ends_with(".of_ceiling") => None,
            _ if value == "kappa" => Some((-1.0, 1.0)),
            (Unit::Scale, Some(scale)) => Some((scale.low, scale.high)),
            _ => reading.range(),
        }
    }

    fn row_values(&self, store: &Store, node: &Manifest, value: &str) -> Result<Option<RowValues>, StageError> {
        contrast::row_values(store, node, &*self.method, self.scale(), value)
    }

    fn drift(&self, store: &Store, before: &Manifest, now: &Manifest) -> Result<Option<Drift>, StageError> {
        if before.fingerprint.instrument == now.fingerprint.instrument {
            return Ok(None);
        }
        drift::drift(store, before, now, &*self.method, self.scale())
    }

    fn reading(&self, value: &str) -> Option<Reading> {
        self.reading_of(value)
    }

    fn file(&self, label: &str) -> Option<String> {
        self.human.as_ref().filter(|_| label == "human").map(|(name, _)| name.clone())
    }

    fn values(&self) -> Vec<(String, Reading)> {
        self.readings()
    }
}

impl Judge {
    /// Returns true if a model of the input is judged at all.
    pub fn is_meant(&self, model: &str) -> bool {
        self.method.only_models().is_none_or(|models| models.iter().any(|meant| meant == model))
    }

    /// Returns the baseline if it is a model of the stage's own input.
    pub fn own_baseline(&self) -> Option<&str> {
        let baseline = self.method.baseline()?;
        baseline.stage.as_ref().is_none_or(|stage| *stage == self.input).then_some(baseline.model.as_str())
    }

    /// Returns the stage and the model of the baseline if another stage makes it.
    pub fn foreign_baseline(&self) -> Option<(&str, &str)> {
        let Opponent { stage, model, .. } = self.method.baseline()?;
        stage.as_deref().filter(|stage| *stage != self.input).map(|stage| (stage, model.as_str()))
    }

    /// Returns the model of the baseline, whichever stage makes it.
    pub fn baseline_model(&self) -> Option<&str> {
        self.method.baseline().map(|baseline| baseline.model.as_str())
    }

    /// Returns for each judge whether it is kin of `model`, or of `other`, with which that model is compared.
    pub fn kin(&self, model: Option<&str>, other: Option<&str>) -> Vec<Kin> {
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

    /// Returns true for a value that can be corrected by people's labels.
    pub fn is_correctable(&self, value: &str) -> bool {
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

    /// Returns true if the method turns a verdict on a single completion into a number.
    pub fn has_worths(&self) -> bool {
        self.method.headline().is_some() && !self.method.is_pair()
    }

    /// Returns the scale of a rubric; none for other methods.
    pub fn scale(&self) -> Option<Scale> {
        match self.method.labels() {
            LabelKind::Scores { scale, .. } => Some(scale),
            LabelKind::Words(_) => None,
        }
    }
}
