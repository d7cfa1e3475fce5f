//! The settings of an inference stage, and what can be wrong with them.

use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::problem::{Place, Problem, suggest};
use crate::spec::{NodeValue, ShortOr, StageSpec, TextOrList, decode};
use crate::stage::conversation::{Asked, Conversation, MessagesSetting, Until};
use crate::stage::prompt::{CountOrShare, MaxFailures, Prompt, max_failures, merge_options};
use crate::stage::{Scope, Stage};
use crate::text::ReasoningTags;

const VARIABLES: &[&str] = &["row", "params", "model", "sample", "inputs"];

/// At most so many completions are asked for per row.
const MOST_SAMPLES: u32 = 10_000;

/// A completion per row, model and sample.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::stage) struct Settings {
    /// The dataset stage whose rows are asked, or an inference stage: its completions are then there as
    /// `inputs.<stage>.completion`.
    input: String,
    /// The model to ask; short for a list of one.
    model: Option<String>,
    /// The models to ask. Each becomes a node of its own, and so does everything behind it.
    models: Option<Vec<String>>,
    /// System turn: a template over `row`, `params`, `model`, `sample` (and `inputs`), or the name of one that
    /// ends in .j2.
    system: Option<String>,
    /// User turn: a template over the same, or the name of one.
    prompt: Option<String>,
    /// The whole conversation, instead of `system` and `prompt`: its turns; or a template of the conversation that each
    /// row has of its own, `"{{ row.messages }}"`, as OpenAI or ShareGPT write it. `system` may stand before that.
    messages: Option<MessagesSetting>,
    /// Where a row's own conversation is cut: `last_user` cuts off what follows the last turn of the user. What the
    /// assistant says there is the reference of metrics that have no other.
    until: Option<Until>,
    /// Tools that the model may call, as OpenAI describes them: a list, or a template of it, `"{{ row.tools }}"`.
    tools: Option<TextOrList<Map<String, Value>>>,
    /// Which tool it must call: auto, none, required, or a map that names one; or a template of that.
    tool_choice: Option<ShortOr<String, Map<String, Value>>>,
    /// Completions that the dataset already has: `"{{ row[model ~ '_output'] }}"`. A prompt beside them is sent to
    /// nobody; it is what judges and people are shown as asked.
    completions: Option<String>,
    /// Sent with every call, over those of the model: temperature, max_tokens, and whatever else the
    /// server takes. `null` removes one of the model's.
    #[serde(default)]
    options: Map<String, Value>,
    /// Sent as the option of that name.
    response_format: Option<Value>,
    /// Completions per row; the first carries no added seed.
    #[serde(default = "one")]
    samples: u32,
    /// Calls that may fail: a count (`3`) or a share (`5%`, unless said). Beyond it the node fails.
    #[schemars(with = "Option<CountOrShare>")]
    max_failures: Option<Value>,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

fn one() -> u32 {
    1
}

/// An inference stage, checked.
pub(crate) struct Inference {
    pub input: String,
    pub input_place: Place,
    pub models: Vec<String>,
    pub source: Source,
    /// For completions that the dataset has: the conversation that is shown as if it had been asked.
    pub shown: Option<Conversation>,
    /// The options that are sent, the stage's merged over the model's, by model.
    pub options: IndexMap<String, Map<String, Value>>,
    /// Options that each row has of its own, by name.
    pub row_options: Vec<(&'static str, Prompt)>,
    /// The tags between which each model thinks.
    pub tags: IndexMap<String, ModelTags>,
    pub samples: u32,
    pub max_failures: MaxFailures,
}

/// The tags between which a model thinks.
#[derive(Clone)]
pub(in crate::stage) struct ModelTags {
    /// As the model's settings have them; none for the known ones.
    pub written: Option<IndexMap<String, String>>,
    own: Option<Arc<ReasoningTags>>,
}

impl ModelTags {
    /// Returns the tags of a model of the spec.
    pub fn of(scope: &Scope<'_>, model: &str) -> ModelTags {
        let written = scope.models.get(model).and_then(|model| model.reasoning_tags.clone());
        let own = written.as_ref().map(|tags| Arc::new(ReasoningTags::new(tags.clone().into_iter().collect())));
        ModelTags { written, own }
    }

    /// Returns the tags that the model's settings have.
    pub fn own(&self) -> Option<&ReasoningTags> {
        self.own.as_deref()
    }

    /// Returns what takes a reply apart.
    pub fn tags(&self) -> &ReasoningTags {
        self.own.as_deref().unwrap_or_else(|| ReasoningTags::known())
    }
}

/// Where completions come from.
pub(crate) enum Source {
    Ask(Box<Conversation>),
    /// Completions that the dataset already has.
    Given(Box<Prompt>),
}

pub(in crate::stage) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    let what = format!("stage {}", spec.name);
    let settings: Settings = decode(&spec.settings, &what)?;
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place).clone();
    let mut problems = Vec::new();
    let models = models(&settings, spec, scope, &mut problems);
    check_options(&spec.settings, &settings.options, &mut problems);
    if !(1..=MOST_SAMPLES).contains(&settings.samples) {
        let message = format!("{what}: `samples` is a number from 1 to {MOST_SAMPLES}");
        problems.push(Problem::error("wrong-value", message).at(&place("samples")));
    }
    let asks = settings.prompt.is_some() || settings.system.is_some() || settings.messages.is_some();
    let asked = Asked {
        system: &settings.system,
        prompt: &settings.prompt,
        messages: &settings.messages,
        until: settings.until,
    };
    check_conversation(&asked, &what, &place, &mut problems);
    let row_options = row_options(&settings, spec, scope, &mut problems);
    let mut shown = None;
    if settings.completions.is_some() && asks {
        shown = Some(Conversation::load(scope, &spec.settings, &asked, None, VARIABLES, &mut problems));
    }
    let source = match &settings.completions {
        Some(text) => match Prompt::load_value(scope, "completions", text, &place("completions"), VARIABLES) {
            Ok(prompt) => Some(Source::Given(Box::new(prompt))),
            Err(found) => {
                problems.extend(found);
                None
            }
        },
        None => {
            if settings.prompt.is_none() && settings.messages.is_none() {
                problems.push(
                    Problem::error("missing-field", format!("{what} needs `prompt`, `messages` or `completions`"))
                        .at(&spec.place)
                        .help("prompt: \"{{ row.question }}\""),
                );
            }
            Some(Source::Ask(Box::new(Conversation::load(
                scope,
                &spec.settings,
                &asked,
                None,
                VARIABLES,
                &mut problems,
            ))))
        }
    };
    let max_failures = max_failures(&spec.settings, &settings.max_failures, &mut problems);
    let mut stage_options = settings.options;
    stage_options.extend(row_options.fixed);
    if let Some(format) = settings.response_format {
        stage_options.insert("response_format".to_owned(), format);
    }
    let options = models
        .iter()
        .filter_map(|name| Some((name.clone(), merge_options(&scope.models.get(name)?.options, &stage_options))))
        .collect();
    let tags = models.iter().map(|name| (name.clone(), ModelTags::of(scope, name))).collect();
    let (Some(source), true) = (source, problems.is_empty()) else {
        return Err(problems);
    };
    Ok(Arc::new(Inference {
        input: settings.input,
        input_place: place("input"),
        models,
        source,
        shown,
        options,
        tags,
        row_options: row_options.of_row,
        samples: settings.samples,
        max_failures,
    }))
}

/// Finds fields of a conversation that exclude each other.
fn check_conversation(asked: &Asked<'_>, what: &str, place: &dyn Fn(&str) -> Place, problems: &mut Vec<Problem>) {
    let has_turns = matches!(asked.messages, Some(TextOrList::List(_)));
    if asked.messages.is_some() && asked.prompt.is_some() || has_turns && asked.system.is_some() {
        let message = format!("{what} has `messages` beside `system` or `prompt`");
        problems.push(Problem::error("conflict", message).at(&place("messages")));
    }
    if asked.until.is_some() && !matches!(asked.messages, Some(TextOrList::Text(_))) {
        let message = format!("{what} has `until`, and no row has a conversation of its own to cut");
        let help = "messages: \"{{ row.messages }}\"";
        problems.push(Problem::error("conflict", message).at(&place("until")).help(help));
    }
}

/// `tools` and `tool_choice`: as options that are the same for all rows, and those that each row has of its own.
#[derive(Default)]
struct RowOptions {
    fixed: Map<String, Value>,
    of_row: Vec<(&'static str, Prompt)>,
}

fn row_options(settings: &Settings, spec: &StageSpec, scope: &Scope<'_>, problems: &mut Vec<Problem>) -> RowOptions {
    let mut options = RowOptions::default();
    let mut template = |name: &'static str, text: &str| {
        let place = spec.settings.get(name).map_or(&spec.place, |node| &node.place);
        match Prompt::load_value(scope, name, text, place, VARIABLES) {
            Ok(prompt) => options.of_row.push((name, prompt)),
            Err(found) => problems.extend(found),
        }
    };
    match &settings.tools {
        Some(TextOrList::Text(text)) => template("tools", text),
        Some(TextOrList::List(tools)) => {
            let tools = tools.iter().cloned().map(Value::Object).collect();
            options.fixed.insert("tools".to_owned(), Value::Array(tools));
        }
        None => {}
    }
    match &settings.tool_choice {
        Some(ShortOr::Short(text)) if text.contains("{{") => template("tool_choice", text),
        Some(ShortOr::Short(word)) => _ = options.fixed.insert("tool_choice".to_owned(), word.as_str().into()),
        Some(ShortOr::Full(map)) => _ = options.fixed.insert("tool_choice".to_owned(), Value::Object(map.clone())),
        None => {}
    }
    options
}

/// Returns the models that are asked, each looked up.
fn models(settings: &Settings, spec: &StageSpec, scope: &Scope<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let what = format!("stage {}", spec.name);
    let place = |field: &str| spec.settings.get(field).map_or(&spec.place, |node| &node.place).clone();
    let models = match (&settings.model, &settings.models) {
        (Some(model), None) => vec![model.clone()],
        (None, Some(models)) => models.clone(),
        (Some(_), Some(_)) => {
            problems.push(
                Problem::error("conflict", format!("{what} has `model` and `models`; one is enough"))
                    .at(&place("model")),
            );
            Vec::new()
        }
        (None, None) => {
            let help = format!("models: [{}]", scope.models.keys().cloned().collect::<Vec<_>>().join(", "));
            problems.push(Problem::error("missing-field", format!("{what} needs `models`")).at(&spec.place).help(help));
            Vec::new()
        }
    };
    let mut seen = Vec::new();
    for (index, model) in models.iter().enumerate() {
        let at = spec.settings.nearest(&["models".to_owned(), index.to_string()]).place.clone();
        let at = if spec.settings.get("model").is_some() { place("model") } else { at };
        check_model(scope, model, &at, settings.completions.is_none(), problems);
        if seen.contains(&model) {
            problems.push(Problem::error("conflict", format!("{what} names the model `{model}` twice")).at(&at));
        }
        seen.push(model);
    }
    models
}

/// Finds a model that is not there, or that cannot be asked.
pub(crate) fn check_model(scope: &Scope<'_>, name: &str, place: &Place, is_asked: bool, problems: &mut Vec<Problem>) {
    match scope.models.get(name) {
        None if scope.broken.contains(name) => {}
        None => {
            let help = suggest(name, "models there are", scope.models.keys().map(String::as_str))
                .unwrap_or_else(|| "declare it under `models:`".to_owned());
            problems.push(Problem::error("unknown-model", format!("there is no model `{name}`")).at(place).help(help));
        }
        Some(model) if is_asked && model.provider.is_none() => problems.push(
            Problem::error("missing-field", format!("model `{name}` has no `provider`, so it cannot be asked"))
                .at(model.place.as_ref().unwrap_or(place))
                .help(
                    "provider: openai, with base_url and model; or give the stage `completions:` that the dataset has",
                ),
        ),
        Some(_) => {}
    }
}

/// Adds a problem for each option that would break how replies are read.
pub(crate) fn check_options(settings: &crate::spec::Node, options: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let place = |name: &str| settings.nearest(&["options".to_owned(), name.to_owned()]).place.clone();
    if options.get("stream").is_some_and(|stream| stream == &Value::Bool(true)) {
        problems.push(
            Problem::error("wrong-value", "`options.stream` cannot be used: answers are stored whole")
                .at(&place("stream")),
        );
    }
    if options.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        problems.push(
            Problem::error("wrong-value", "`options.n` would pay for completions that nobody reads")
                .at(&place("n"))
                .help("samples: 3 on the stage asks for three completions per row"),
        );
    }
    for name in ["messages", "model"] {
        if options.contains_key(name) {
            problems.push(Problem::error("wrong-value", format!("`{name}` is not an option")).at(&place(name)));
        }
    }
    if let Some(node) = settings.get("options")
        && !matches!(node.value, NodeValue::Map(_))
    {
        problems.push(Problem::error("wrong-type", "`options` is a map").at(&node.place));
    }
}
