//! The settings of a judge stage, and what can be wrong with them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask::{JSON_SCHEMA, Truncate};
use super::evidence::lineage::Lineage;
use super::method::{METHODS, Method, Parse, classify, compare, rubric};
use super::node::{Grader, Judge};
use super::people::labels::{Labels, Wanted};
use crate::problem::{Place, Problem};
use crate::spec::{StageSpec, TextOrList, decode};
use crate::stage::conversation::{Asked, Conversation, MessageSetting};
use crate::stage::inference::{ModelTags, check_model, check_options};
use crate::stage::prompt::{CountOrShare, Prompt, max_failures, merge_options};
use crate::stage::{MAX_JUDGES, Scope, Stage};

const REFERENCE_VARIABLES: &[&str] = &["row", "params"];
/// From how many rows `canaries: true` makes canaries.
const CANARY_ROWS: u64 = 5;

/// A model that grades completions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::stage) struct Settings {
    /// The inference stage whose completions are graded.
    input: String,
    /// The model that grades.
    model: Option<String>,
    /// Several models that grade, two to nine: what they say together counts.
    #[serde(default)]
    panel: Vec<String>,
    /// How often each judge is asked about each completion.
    #[serde(default = "one")]
    samples: u32,
    /// System turn: a template, or the name of one that ends in .j2.
    system: Option<String>,
    /// User turn: a template, or the name of one. Unless given, judge/rubric.j2, judge/pairwise.j2 or
    /// judge/classify.j2, which are built in.
    prompt: Option<String>,
    /// The whole conversation, instead of `system` and `prompt`.
    messages: Option<Vec<MessageSetting>>,
    /// What a good answer says, shown to the judge: `"{{ row.gold }}"`.
    reference: Option<String>,
    /// File of people's labels (JSON lines or CSV with `row`, `label` and, where needed, `model`, `pair`,
    /// `criterion`, `rater`; `completion` and `baseline` hold the texts that were labelled): the judge is held
    /// against them. `etalon labels` makes one.
    human: Option<String>,
    /// Rows of which the judge is also shown answers whose worth is known (nothing, a refusal, an order to give
    /// the best score, the answer to another prompt, the reference, the answer twice); `true` means 5.
    #[schemars(with = "Option<CanariesShape>")]
    canaries: Option<Value>,
    /// Cuts candidates that are longer, with a mark; both sides alike.
    truncate_candidates: Option<Truncate>,
    /// Grades each completion by criteria.
    #[serde(rename = "rubric")]
    #[schemars(with = "Option<rubric::Settings>")]
    _rubric: Option<Value>,
    /// Compares each completion with that of a baseline.
    #[serde(rename = "compare")]
    #[schemars(with = "Option<compare::Settings>")]
    _compare: Option<Value>,
    /// Lets the judge pick a label.
    #[serde(rename = "classify")]
    #[schemars(with = "Option<classify::Settings>")]
    _classify: Option<Value>,
    /// Sent with every call, over those of the model; `null` removes one.
    #[serde(default)]
    options: Map<String, Value>,
    /// Sent as the option of that name. `json_schema`, for a rubric, stands for the schema of its scores: servers
    /// that know it let the judge write nothing else.
    response_format: Option<Value>,
    /// How often an unreadable verdict is asked for again.
    #[serde(default = "one")]
    retries: u32,
    /// Lets a model grade its own completions.
    #[serde(default)]
    allow_self: bool,
    /// Calls that may fail: a count (`3`) or a share (`5%`, unless said).
    #[schemars(with = "Option<CountOrShare>")]
    max_failures: Option<Value>,
    /// For readers.
    #[serde(rename = "description")]
    _description: Option<String>,
}

/// The shape of `canaries`.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `parse` reads")]
enum CanariesShape {
    Wanted(bool),
    Rows(u64),
}

fn one() -> u32 {
    1
}

pub(in crate::stage) fn parse(spec: &StageSpec, scope: &Scope<'_>) -> Result<Arc<dyn Stage>, Vec<Problem>> {
    let what = format!("stage {}", spec.name);
    let settings: Settings = decode(&spec.settings, &what)?;
    let mut problems = Vec::new();
    let reader = Reader { spec, scope, what };
    let judges = reader.judges(&settings, &mut problems);
    if settings.samples == 0 {
        reader.complain("wrong-value", "`samples` is at least 1", "samples", None, &mut problems);
    }
    check_options(&spec.settings, &settings.options, &mut problems);
    let Some(method) = reader.method(&mut problems) else {
        return Err(problems);
    };
    let human = reader.human(&settings, &*method, &mut problems);
    if settings.messages.is_some() && (settings.prompt.is_some() || settings.system.is_some()) {
        let message = format!("{} has `messages` beside `system` or `prompt`", reader.what);
        problems.push(Problem::error("conflict", message).at(&reader.place("messages")));
    }
    let messages = settings.messages.clone().map(TextOrList::List);
    let asked = Asked { system: &settings.system, prompt: &settings.prompt, messages: &messages, until: None };
    let default = Some((method.default_prompt(), &spec.place));
    let conversation = Conversation::load(scope, &spec.settings, &asked, default, method.variables(), &mut problems);
    let reference = reader.reference(&settings, &mut problems);
    let canaries = reader.canaries(&settings, &*method, &mut problems);
    reader.check_limits(&settings, &mut problems);
    let max_failures = max_failures(&spec.settings, &settings.max_failures, &mut problems);
    let mut stage_options = settings.options;
    if let Some(format) = settings.response_format {
        stage_options.insert("response_format".to_owned(), format);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let judges = judges.into_iter().map(|(model, place)| {
        let own = scope.models.get(&model).map(|model| model.options.clone()).unwrap_or_default();
        Grader {
            options: Arc::new(merge_options(&own, &stage_options)),
            tags: ModelTags::of(scope, &model),
            model,
            place,
        }
    });
    Ok(Arc::new(Judge {
        input: settings.input,
        input_place: reader.place("input"),
        place: spec.place.clone(),
        compare_place: spec.settings.nearest(&["compare".to_owned(), "models".to_owned()]).place.clone(),
        baseline_place: spec.settings.nearest(&["compare".to_owned(), "baseline".to_owned()]).place.clone(),
        samples_place: reader.place("samples"),
        human_place: reader.place("human"),
        lineage: Lineage::new(scope.models),
        model_names: scope.models.keys().cloned().collect(),
        canaries,
        truncate: settings.truncate_candidates,
        judges: judges.collect(),
        samples: settings.samples,
        human,
        conversation,
        reference,
        method,
        retries: settings.retries,
        allow_self: settings.allow_self,
        max_failures,
    }))
}

/// Reads the parts of a judge stage; every mistake becomes a problem.
struct Reader<'a> {
    spec: &'a StageSpec,
    scope: &'a Scope<'a>,
    /// The stage, as messages call it.
    what: String,
}

impl Reader<'_> {
    fn place(&self, field: &str) -> Place {
        self.spec.settings.get(field).map_or(&self.spec.place, |node| &node.place).clone()
    }

    fn complain(
        &self,
        code: &'static str,
        message: &str,
        field: &str,
        help: Option<&str>,
        problems: &mut Vec<Problem>,
    ) {
        let problem = Problem::error(code, format!("{}: {message}", self.what)).at(&self.place(field));
        problems.push(problem.maybe_help(help.map(str::to_owned)));
    }

    /// Returns the judges with their places.
    fn judges(&self, settings: &Settings, problems: &mut Vec<Problem>) -> Vec<(String, Place)> {
        let what = &self.what;
        let mut judges: Vec<(String, Place)> = Vec::new();
        match (&settings.model, settings.panel.as_slice()) {
            (Some(model), []) => judges.push((model.clone(), self.place("model"))),
            (None, panel @ [_, _, ..]) if panel.len() <= usize::from(MAX_JUDGES) => {
                let at =
                    |index: usize| self.spec.settings.nearest(&["panel".to_owned(), index.to_string()]).place.clone();
                judges.extend(panel.iter().enumerate().map(|(index, model)| (model.clone(), at(index))));
            }
            (None, []) => problems.push(
                Problem::error("missing-field", format!("{what} needs `model`, or `panel`"))
                    .at(&self.spec.place)
                    .help("model: grader, a model of `models:`"),
            ),
            (None, _) => {
                let message = format!("a `panel` has two to {MAX_JUDGES} judges");
                self.complain("wrong-value", &message, "panel", None, problems);
            }
            (Some(_), _) => problems.push(
                Problem::error("conflict", format!("{what} has `model` and `panel`; one is enough"))
                    .at(&self.place("panel")),
            ),
        }
        for (index, (model, at)) in judges.iter().enumerate() {
            check_model(self.scope, model, at, true, problems);
            if judges[..index].iter().any(|(known, _)| known == model) {
                let message = format!("{what}: `{model}` stands in the panel twice");
                let help = "`samples: 2` asks each judge twice";
                problems.push(Problem::error("conflict", message).at(at).help(help));
            }
        }
        judges
    }

    fn method(&self, problems: &mut Vec<Problem>) -> Option<Box<dyn Method>> {
        let (settings, what) = (&self.spec.settings, &self.what);
        let given: Vec<&(&str, Parse)> = METHODS.iter().filter(|(field, _)| settings.get(field).is_some()).collect();
        match given.as_slice() {
            [(field, parse)] => settings.get(field).and_then(|node| parse(node, what, problems)),
            [] => {
                let names: Vec<&str> = METHODS.iter().map(|(field, _)| *field).collect();
                problems.push(
                    Problem::error("missing-field", format!("{what} needs one of {}", names.join(", ")))
                        .at(&self.spec.place)
                        .help("rubric: { criteria: { accuracy: Is the information correct? } }"),
                );
                None
            }
            [_, (second, _), ..] => {
                problems.push(
                    Problem::error("conflict", format!("{what} has two methods; split it into two stages"))
                        .at(&self.place(second)),
                );
                None
            }
        }
    }

    fn human(&self, settings: &Settings, method: &dyn Method, problems: &mut Vec<Problem>) -> Option<(String, Labels)> {
        let wanted = Wanted { kind: method.labels(), is_pair: method.is_pair(), is_all_pairs: method.is_all_pairs() };
        let name = settings.human.as_ref()?;
        let labels = Labels::read(self.scope.workspace, name, &wanted, &self.place("human"), problems)?;
        Some((name.clone(), labels))
    }

    fn reference(&self, settings: &Settings, problems: &mut Vec<Problem>) -> Option<Prompt> {
        let text = settings.reference.as_ref()?;
        let loaded = Prompt::load_value(self.scope, "reference", text, &self.place("reference"), REFERENCE_VARIABLES);
        loaded.map_err(|found| problems.extend(found)).ok()
    }

    /// Returns of how many rows canaries are made.
    fn canaries(&self, settings: &Settings, method: &dyn Method, problems: &mut Vec<Problem>) -> u64 {
        let canaries = match &settings.canaries {
            None | Some(Value::Bool(false)) => 0,
            Some(Value::Bool(true)) => CANARY_ROWS,
            Some(other) => other.as_u64().unwrap_or_else(|| {
                let message = "`canaries` is a number of rows, or true";
                self.complain("wrong-type", message, "canaries", Some("canaries: 5"), problems);
                0
            }),
        };
        if canaries > 0 && method.headline().is_none() {
            let (message, help) = if method.is_all_pairs() {
                (
                    "`canaries` needs a `baseline`",
                    "put the canaries into a stage that compares with a baseline, by the same judge",
                )
            } else {
                ("`canaries` needs labels that carry scores", "labels: { correct: 1, partly: 0.5, wrong: 0 }")
            };
            self.complain("conflict", message, "canaries", Some(help), problems);
        }
        canaries
    }

    fn check_limits(&self, settings: &Settings, problems: &mut Vec<Problem>) {
        if settings.truncate_candidates.as_ref().is_some_and(|truncate| truncate.max_chars < 100) {
            let message = "`max_chars` of `truncate_candidates` is at least 100";
            self.complain("wrong-value", message, "truncate_candidates", None, problems);
        }
        let wants_schema = settings.response_format.as_ref().is_some_and(|format| format == JSON_SCHEMA);
        if wants_schema && self.spec.settings.get("rubric").is_none() {
            let message = "`response_format: json_schema` is for a rubric; the verdict here is a line";
            self.complain("conflict", message, "response_format", None, problems);
        }
    }
}
