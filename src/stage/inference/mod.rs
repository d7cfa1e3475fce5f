//! `inference`: a completion per row, model and sample.
//!
//! It reads a dataset, or another inference stage whose completions its prompts then show (a chain). It stores
//! the answers, with what was thought before them; the stages that read them parse them.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the settings of the stage, checked |
//! | `shape` | what becomes of a reply, and what is unusual among many |
//! | `work` | rows sent through a model, in order |
//! | `kept` | completions of unchanged rows, copied from an earlier result |
//! | `writer` | writes completions into artifacts |

mod kept;
mod settings;
mod shape;
mod work;
mod writer;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub(super) use settings::{ModelTags, Settings, check_model, check_options, parse};
pub(super) use shape::given;
pub(super) use writer::sample_id;

use self::settings::{Inference, Source};
use super::conversation::Conversation;
use super::prompt::{Prompt, Variables, add_completions, add_model, params_value, said_columns};
use super::{Callee, Facts, Input, Job, Makes, Part, Produced, Reads, Shown, Stage, StageError};
use crate::problem::{Place, Problem, suggest};
use crate::provider::Message;
use crate::score::Reading;
use crate::store::Fingerprint;
use crate::template::{Attrs, ColumnUse, Usage};

const REVISION: u32 = 3;

/// The template variable that holds the completion of the inference stage that it reads.
const INPUTS: &str = "inputs";

impl Inference {
    /// Returns the conversation that was asked; for completions that the dataset has, the one that is only shown.
    fn conversation(&self) -> Option<&Conversation> {
        match &self.source {
            Source::Ask(conversation) => Some(conversation),
            Source::Given(_) => self.shown.as_ref(),
        }
    }

    /// Returns the templates on which completions depend.
    fn prompts(&self) -> Vec<&Prompt> {
        match &self.source {
            Source::Ask(conversation) => conversation.prompts().collect(),
            Source::Given(prompt) => vec![prompt],
        }
    }

    /// Returns the templates on which completions depend, and those that are only shown.
    fn all_prompts(&self) -> Vec<&Prompt> {
        let of_row = self.row_options.iter().map(|(_, prompt)| prompt);
        self.shown.iter().flat_map(Conversation::prompts).chain(self.prompts()).chain(of_row).collect()
    }

    fn row_reads(&self) -> Attrs {
        let mut reads = match &self.source {
            Source::Ask(conversation) => conversation.row.clone(),
            Source::Given(prompt) => prompt.template.reads.of("row"),
        };
        self.row_options.iter().for_each(|(_, prompt)| reads.merge(&prompt.template.reads.of("row")));
        reads
    }

    fn reads(&self, variable: &str) -> bool {
        self.all_prompts().iter().any(|prompt| prompt.template.reads.reads(variable))
    }

    /// Returns the upstream model whose completions a model reads in a chain: the model of the same name, or the only
    /// one.
    fn draft_model<'a>(&self, model: &str, reads: &'a Reads<'_>) -> Option<&'a str> {
        match reads.input.models.as_slice() {
            [one] => Some(one),
            several => several.iter().find(|known| *known == model).map(String::as_str),
        }
    }

    fn is_chain(&self, reads: &Reads<'_>) -> bool {
        reads.input.stage.makes() == Makes::Completions
    }

    /// Finds names below `inputs` that are not the stage that it reads.
    fn check_names(&self, reads: &Reads<'_>, problems: &mut Vec<Problem>) {
        let input = reads.input.name;
        for prompt in self.all_prompts() {
            let place = |name: &str| prompt.template.reads.place_of(&prompt.template, INPUTS, name);
            match prompt.template.reads.of(INPUTS) {
                Attrs::Some(names) if self.is_chain(reads) => {
                    for name in names.iter().filter(|name| *name != input) {
                        let help = suggest(name, "stages it reads", [input]);
                        problems.push(
                            Problem::error("unknown-stage", format!("`inputs.{name}`: it reads no stage `{name}`"))
                                .at(&place(name).unwrap_or_else(|| prompt.place.clone()))
                                .maybe_help(help),
                        );
                    }
                }
                Attrs::Some(names) if names.is_empty() => {}
                _ if self.is_chain(reads) => {}
                _ => {
                    let message = format!("`inputs` holds what an inference stage said, and `{input}` is a dataset");
                    let help = format!("columns of {input} are there as `row`; `input:` may name an inference stage");
                    problems.push(Problem::error("unknown-stage", message).at(&prompt.place).help(help));
                }
            }
        }
    }
}

impl Stage for Inference {
    fn kind(&self) -> &'static str {
        "inference"
    }

    fn makes(&self) -> Makes {
        Makes::Completions
    }

    fn input(&self) -> Option<(&str, &Place)> {
        Some((&self.input, &self.input_place))
    }

    fn models(&self, _reads: Option<&Reads<'_>>) -> Option<Vec<String>> {
        Some(self.models.clone())
    }

    fn check_input(&self, reads: &Reads<'_>, problems: &mut Vec<Problem>) {
        self.check_names(reads, problems);
        if !self.is_chain(reads) {
            return;
        }
        let input = reads.input.name;
        if !self.reads(INPUTS) {
            let place = self.all_prompts().last().map_or(&self.input_place, |prompt| &prompt.place);
            problems.push(
                Problem::warning("unused-stage", format!("nothing here reads what {input} said"))
                    .at(place)
                    .help(format!("its completions are there as `{{{{ inputs.{input}.completion }}}}`")),
            );
        }
        for model in self.models.iter().filter(|model| self.draft_model(model, reads).is_none()) {
            let models = reads.input.models.join(", ");
            let message = format!("`{input}` has no completions of `{model}`: it has those of {models}");
            let help = "each model reads its own completions, or those of the only model there is".to_owned();
            problems.push(Problem::error("missing-model", message).at(&self.input_place).help(help));
        }
    }

    fn inputs(&self, model: Option<&str>, reads: &Reads<'_>) -> Vec<Input> {
        if !self.is_chain(reads) || !self.reads(INPUTS) {
            return Vec::new();
        }
        let draft = self.draft_model(model.unwrap_or_default(), reads);
        vec![Input { part: Part::Draft, stage: self.input.clone(), model: draft.map(str::to_owned) }]
    }

    fn callees(&self, model: Option<&str>) -> Vec<(Callee, String)> {
        match (&self.source, model) {
            (Source::Ask(_), Some(model)) => vec![(Callee::Model, model.to_owned())],
            _ => Vec::new(),
        }
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.all_prompts().into_iter().flat_map(Prompt::columns).collect()
    }

    fn column_uses(&self) -> Vec<ColumnUse> {
        // A value that is taken as it is prints nothing.
        let texts: Vec<&Prompt> = self.conversation().into_iter().flat_map(Conversation::texts).collect();
        let is_text = |prompt: &&Prompt| texts.iter().any(|text| std::ptr::eq(*text, *prompt));
        let (texts, values): (Vec<&Prompt>, Vec<&Prompt>) = self.all_prompts().into_iter().partition(is_text);
        let of_values = values.into_iter().flat_map(|prompt| prompt.template.column_uses());
        let of_values = of_values.filter(|used| used.usage == Usage::Compared);
        texts.into_iter().flat_map(|prompt| prompt.template.column_uses()).chain(of_values).collect()
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("inference", REVISION);
        match &self.source {
            Source::Ask(conversation) => {
                conversation.add_to(&mut fingerprint, facts);
                if let Some(name) = facts.model {
                    let options = self.options.get(name).cloned().unwrap_or_default();
                    add_model(&mut fingerprint, Callee::Model, facts, name, &options);
                }
                for (name, prompt) in &self.row_options {
                    prompt.add_to(&mut fingerprint, facts, "");
                    fingerprint.setting(name, prompt.template.name_or(&prompt.label));
                }
            }
            Source::Given(prompt) => prompt.add_to(&mut fingerprint, facts, ""),
        }
        if let Some(written) = facts.model.and_then(|model| self.tags.get(model)).and_then(|tags| tags.written.as_ref())
        {
            fingerprint.setting("reasoning_tags", serde_json::to_value(written).expect("texts are JSON"));
        }
        if self.samples != 1 {
            fingerprint.setting("samples", self.samples);
        }
        if let Some(rows) = facts.inputs.get(&Part::Rows) {
            let inputs = fingerprint.inputs.entry(Part::Rows.name().into_owned()).or_default();
            inputs.insert("ids".to_owned(), Some(rows.artifact.ids));
        }
        add_completions(&mut fingerprint, Part::Draft, facts.inputs.get(&Part::Draft), &said_columns(&|_| true));
        Ok(fingerprint)
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(self.produce(job))
    }

    fn values(&self) -> Vec<(String, Reading)> {
        [("coverage".to_owned(), Reading::COVERAGE)].into_iter().chain(shape::readings()).collect()
    }

    fn sources(&self) -> Vec<(String, String)> {
        self.all_prompts().into_iter().flat_map(Prompt::sources).collect()
    }

    fn warnings(&self) -> Vec<Problem> {
        match &self.source {
            Source::Ask(conversation) if conversation.row.is_empty() && !self.reads(INPUTS) => {
                let place = conversation.prompts().last().map_or(&self.input_place, |prompt| &prompt.place);
                let message = "the prompt reads no column: every row asks the same";
                vec![
                    Problem::warning("constant-prompt", message)
                        .at(place)
                        .help("columns stand below `row`: `{{ row.question }}`"),
                ]
            }
            Source::Ask(_) => Vec::new(),
            Source::Given(prompt) => prompt.constant_warning().into_iter().collect(),
        }
    }

    fn has_prompt(&self) -> bool {
        self.conversation().is_some()
    }

    fn asked(&self, shown: &Shown<'_>) -> Option<Vec<Message>> {
        let conversation = self.conversation()?;
        let mut variables = Variables::new(&params_value(shown.params))
            .with("model", shown.model.unwrap_or("_"))
            .with("sample", shown.sample)
            .with_row(shown.row, &conversation.row);
        if let Some(draft) = shown.draft {
            variables = variables.with_input(&self.input, draft);
        }
        conversation.render(&variables.value()).ok()
    }

    fn add_prompt(&self, fingerprint: &mut Fingerprint, facts: &Facts<'_>) {
        if let Some(conversation) = self.conversation() {
            conversation.add_as(fingerprint, facts, "input.");
            add_completions(fingerprint, Part::Draft, facts.inputs.get(&Part::Draft), &said_columns(&|_| true));
        }
    }
}
