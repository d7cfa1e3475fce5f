//! Metrics: numbers computed from completions, without a model.
//!
//! A [`Metric`] scores one completion, then a [`Tally`] sums scores up over rows. Samples of one row
//! are averaged within the row first: `n` counts rows (ids), never samples.
//!
//! **Adding a metric:** one file with an `ENTRY`, one line in [`METRICS`], an example in a
//! pipeline and its tests.

mod classification;
mod contains;
mod exact_match;
mod json_schema;
mod json_valid;
mod latency;
mod length;
mod numeric;
mod regex;
mod tally;

use std::path::Path;

use serde_json::{Map, Value};

pub use tally::{MeanTally, ProportionTally, SpreadTally};

use crate::digest::Digest;
use crate::score::{Estimate, Summary, Unit};

/// What a metric sees of one completion.
pub struct Scored<'a> {
    /// The completion, or what `prediction` makes of it; none: a completion is there and no
    /// prediction could be read from it.
    pub prediction: Option<&'a Value>,
    /// None: the stage has no reference.
    pub reference: Option<&'a Value>,
    /// Seconds, for metrics that read the meta artifact.
    pub latency: Option<f64>,
}

/// A metric with its settings.
pub trait Metric: Send + Sync {
    /// Scores one completion that is there. None: no score can be had (it counts as missing).
    fn score(&self, scored: &Scored<'_>) -> Result<Option<Value>, String>;

    /// Returns an empty tally; `seed` is that of its bootstrap.
    fn tally(&self, seed: u64) -> Box<dyn Tally>;

    fn needs_reference(&self) -> bool {
        false
    }

    /// Returns whether its settings give it a part that metrics of its name may have.
    fn has_part(&self, _part: &str) -> bool {
        true
    }

    /// Returns the settings that name files, each with the files read for it, by their names within
    /// the workspace, and the digests of what was read.
    fn files(&self) -> Vec<(&'static str, Vec<(String, Digest)>)> {
        Vec::new()
    }

    /// Returns true if it reads latency and usage, which are no part of the rows.
    fn needs_meta(&self) -> bool {
        false
    }
}

/// Sums up the scores of a metric.
pub trait Tally: Send {
    /// Adds one row: a score per sample, none where it is missing.
    fn add(&mut self, scores: &[Option<&Value>]);

    /// Returns the estimates by part (the empty part is the metric's own value), and its tables.
    fn finish(&mut self, summary: &mut TallySummary);
}

/// What a tally says: parts of one metric.
#[derive(Default)]
pub struct TallySummary {
    pub parts: Vec<(String, Estimate)>,
    pub tables: Vec<(String, Value)>,
}

impl TallySummary {
    /// Writes the parts under the metric's name into a node's summary.
    pub fn into_summary(self, name: &str, summary: &mut Summary) {
        let full = |part: &str| {
            if part.is_empty() { name.to_owned() } else { format!("{name}.{part}") }
        };
        summary.values.extend(self.parts.into_iter().map(|(part, estimate)| (full(&part), estimate)));
        summary.tables.extend(self.tables.into_iter().map(|(part, table)| (full(&part), table)));
    }
}

/// Builds a metric from settings that are what its table says; files that they name start at the
/// directory.
pub type Build = fn(&Map<String, Value>, &Path) -> Result<Box<dyn Metric>, MetricError>;

/// What is wrong with a metric's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricError {
    /// The setting at fault; none: the settings as a whole.
    pub field: Option<String>,
    pub message: String,
    pub help: Option<String>,
}

/// A metric there is.
pub struct Entry {
    pub name: &'static str,
    /// What it measures, for its page and for editors.
    pub about: &'static str,
    pub settings: &'static [Setting],
    /// Its parts, for people: a name (or how names are formed) and what it is.
    pub parts: &'static [(&'static str, &'static str)],
    pub build: Build,
    /// The parts that a gate may name, without the part that is the metric itself.
    pub has_part: fn(&str) -> bool,
    /// Whether the bare name is a value too.
    pub has_value: bool,
    /// How a part reads; the empty part is the metric itself.
    pub unit: fn(&str) -> Unit,
}

/// A setting of a metric.
pub struct Setting {
    pub name: &'static str,
    pub takes: Takes,
    /// How it is written.
    pub example: &'static str,
    pub about: &'static str,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    Flag,
    /// 0 or more.
    Number,
    /// A whole number, 0 or more.
    Whole,
    Text,
    /// One text or a list of them.
    Texts,
    List,
    Choice(&'static [&'static str]),
    Any,
}

/// The metrics there are.
pub const METRICS: &[Entry] = &[
    exact_match::ENTRY,
    contains::ENTRY,
    regex::ENTRY,
    json_valid::ENTRY,
    json_schema::ENTRY,
    numeric::ENTRY,
    classification::ENTRY,
    latency::ENTRY,
    length::ENTRY,
];

/// Returns the metric of a name.
pub fn find(name: &str) -> Option<&'static Entry> {
    METRICS.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// Builds the metric, once its settings are what the table says.
    pub fn make(&self, settings: &Map<String, Value>, root: &Path) -> Result<Box<dyn Metric>, MetricError> {
        for (name, value) in settings {
            let Some(setting) = self.settings.iter().find(|setting| setting.name == name) else {
                let known = self.settings.iter().map(|setting| setting.name);
                return Err(MetricError {
                    field: Some(name.clone()),
                    message: format!("there is no setting `{name}`"),
                    help: crate::problem::suggest(name, "settings there are", known)
                        .or_else(|| Some("it has no settings".to_owned())),
                });
            };
            if !setting.takes.holds(value) {
                return Err(self.error(name, format!("`{name}` is {}", setting.takes.words())));
            }
        }
        (self.build)(settings, root)
    }

    /// Returns what is wrong with a setting, with an example of a right one.
    fn error(&self, name: &str, message: impl Into<String>) -> MetricError {
        let setting = self.settings.iter().find(|setting| setting.name == name);
        let help = setting.map(|setting| setting.example.to_owned());
        MetricError { field: Some(name.to_owned()), message: message.into(), help }
    }
}

impl Takes {
    fn holds(self, value: &Value) -> bool {
        match self {
            Takes::Flag => value.is_boolean(),
            Takes::Number => value.as_f64().is_some_and(|number| number >= 0.0 && number.is_finite()),
            Takes::Whole => value.as_u64().is_some(),
            Takes::Text => value.is_string(),
            Takes::List => value.is_array(),
            Takes::Choice(choices) => value.as_str().is_some_and(|text| choices.contains(&text)),
            Takes::Texts | Takes::Any => true,
        }
    }

    /// Returns what is taken, in words.
    pub fn words(self) -> String {
        match self {
            Takes::Flag => "true or false".to_owned(),
            Takes::Number => "a number, 0 or more".to_owned(),
            Takes::Whole => "a whole number, 0 or more".to_owned(),
            Takes::Text => "text".to_owned(),
            Takes::Texts => "text, or a list of texts".to_owned(),
            Takes::List => "a list".to_owned(),
            Takes::Choice([first @ .., last]) => format!("{} or {last}", first.join(", ")),
            Takes::Choice([]) | Takes::Any => "anything".to_owned(),
        }
    }
}

/// Returns a setting that is true or false; false where it is not given.
fn flag(settings: &Map<String, Value>, name: &str) -> bool {
    settings.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// Returns the choice of a setting, where it is given.
fn choice<'a>(settings: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    settings.get(name)?.as_str()
}

/// Returns text for comparing: text as it is, anything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => String::from_utf8_lossy(&crate::digest::canonical(other)).into_owned(),
    }
}
