//! Metrics: numbers computed from completions, without a model.
//!
//! A [`Metric`] scores one completion; a [`Tally`] sums the scores up over rows. The samples of one row are averaged
//! first, so `n` counts rows (ids), never samples. If rows belong together (`cluster`), intervals resample clusters of
//! rows.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the types of settings: read, described, made into a metric |
//! | `value` | when two values are the same |
//! | `tally` | the common tallies: means, shares, spreads, sums over a corpus |
//! | all others | one metric each, or a family of them |
//!
//! **Adding a metric:** one file with an `ENTRY` and the type of its settings (`settings`), one line in
//! [`METRICS`], an example in a pipeline and its tests.

mod bertscore;
mod bleu;
mod chrf;
mod classification;
mod command;
mod contains;
mod cost;
mod csv_valid;
mod edit_distance;
mod embedding_similarity;
mod exact_match;
mod json_fields;
mod json_schema;
mod json_valid;
mod latency;
mod length;
mod numeric;
mod pass_at_k;
mod refusal;
mod regex;
mod repetition;
mod rouge;
mod settings;
mod squad_f1;
mod tally;
mod ter;
mod tokens;
mod tool_call;
mod truncation;
mod value;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use json_schema::{Schema, SchemaFailure};
pub use pass_at_k::pass_at_k;
pub(in crate::metric) use settings::Make;
pub use settings::{Made, MetricName, SettingsType, Written};
pub use tally::{MeanTally, PartsTally, SpreadTally, SumsTally};

use crate::digest::Digest;
use crate::process::Launch;
use crate::row::Meta;
pub use crate::score::Direction;
use crate::score::{Estimate, Summary, Unit};
use crate::spec::Price;

/// What a metric gets of one completion.
#[derive(Clone, Copy, Default)]
pub struct Scored<'a> {
    /// The completion, or what `prediction` makes of it. None: there is a completion, but no prediction could be read
    /// from it. Null is a value for metrics with [`Metric::knows_null`]; others get none in its place.
    pub prediction: Option<&'a Value>,
    /// The reference; none if the stage has none, or the row. Null is a value for metrics with [`Metric::knows_null`]
    /// if predictions can be null, too.
    pub reference: Option<&'a Value>,
    /// The value of `sample_weight` for the row, if the metric has that setting.
    pub weight: Option<&'a Value>,
    /// Why the completion ended, in OpenAI's words.
    pub finish_reason: Option<&'a str>,
    /// Latency and usage, for metrics with [`Metric::needs_meta`].
    pub meta: Option<&'a Meta>,
    /// The price of the model, for metrics with [`Metric::needs_price`].
    pub price: Option<Price>,
    pub id: &'a str,
    pub sample: u32,
}

/// A score, or none, or why it could not be computed. The last two count as missing.
pub type Score = Result<Option<Value>, String>;

/// A metric with its settings.
pub trait Metric: Send + Sync {
    /// Scores one completion, which is not a failed one.
    fn score(&self, scored: &Scored<'_>) -> Score;

    /// Scores several completions, in order; for metrics that are faster on many at once.
    ///
    /// # Errors
    ///
    /// Something that the metric needs does not work, such as its program. The stage fails.
    fn score_all(&self, scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        use rayon::prelude::*;
        Ok(scored.par_iter().with_min_len(8).map(|scored| self.score(scored)).collect())
    }

    /// Returns how many completions the metric wants at once.
    fn batch(&self) -> usize {
        256
    }

    /// Returns true if a score depends on its own row alone. Other scores are all made anew where one row changed.
    fn is_by_row(&self) -> bool {
        true
    }

    /// Returns an empty tally; `seed` is the seed of its bootstrap.
    fn tally(&self, seed: u64) -> Box<dyn Tally>;

    fn needs_reference(&self) -> bool {
        false
    }

    /// Returns true if null is a prediction and a reference like any other, and no sign that something is missing.
    fn knows_null(&self) -> bool {
        false
    }

    /// Returns the template of the prediction for a stage that gives none; without it, completions are scored.
    fn own_prediction(&self) -> Option<&str> {
        None
    }

    /// Returns the template of the reference for a stage that gives none.
    fn own_reference(&self) -> Option<&str> {
        None
    }

    /// Returns true if it reads the reference of a stage that has one.
    fn wants_reference(&self) -> bool {
        self.needs_reference()
    }

    /// Returns true if the metric, with these settings, has a part that some metrics of its name have.
    fn has_part(&self, _part: &str) -> bool {
        true
    }

    /// Returns the settings that name files. Each comes with the files that were read for it, by their names within the
    /// workspace, and with the digest of what was read.
    fn files(&self) -> Vec<(&'static str, Vec<(String, Digest)>)> {
        Vec::new()
    }

    /// Returns why it cannot be told which files it runs, where only its settings could tell and do not.
    fn unseen(&self) -> Option<String> {
        None
    }

    /// Returns the program that it starts, as the user consents to it.
    fn launch(&self) -> Option<Launch> {
        None
    }

    /// Returns the weights that it reads, by their names within the model; the stage digests them.
    fn weights(&self) -> Vec<(String, PathBuf)> {
        Vec::new()
    }

    /// Tells it the directory where it may keep what is costly to compute again.
    fn keep_in(&mut self, _cache: &Path) {}

    /// Returns true if it reads latency or usage, which stand in an artifact of their own.
    fn needs_meta(&self) -> bool {
        false
    }

    /// Returns true if its scores depend on what the model costs today.
    fn needs_price(&self) -> bool {
        false
    }

    fn needs_finish_reason(&self) -> bool {
        false
    }

    /// Returns true if it may find a score doubtful.
    fn is_cautious(&self) -> bool {
        false
    }

    /// Returns what makes a completion's score doubtful, if anything does; said of the stage where it
    /// holds of more than a fifth of the completions.
    fn caution(&self, _scored: &Scored<'_>) -> Option<&'static str> {
        None
    }
}

/// The scores of one row.
#[derive(Clone, Copy)]
pub struct RowScores<'a> {
    /// One score per sample; none for a missing one.
    pub scores: &'a [Option<&'a Value>],
    /// The cluster to which the row belongs, if rows are not independent of each other.
    pub cluster: Option<u64>,
}

impl RowScores<'_> {
    /// Returns the mean over the samples that have a score.
    pub fn mean(&self) -> Option<f64> {
        let values: Vec<f64> = self.scores.iter().flatten().filter_map(|score| score.as_f64()).collect();
        if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
    }

    /// Returns one field of each sample's score, for scores that are maps.
    pub fn field(&self, name: &str) -> Vec<Option<&Value>> {
        self.scores.iter().map(|score| score.and_then(|score| score.get(name)).filter(|v| !v.is_null())).collect()
    }
}

/// Sums up the scores of a metric.
pub trait Tally: Send + Sync {
    /// Adds one row.
    fn add(&mut self, row: &RowScores<'_>);

    /// Adds the estimates by part (the empty part is the metric's own value), the tables and the notes.
    fn finish(&mut self, summary: &mut TallySummary);
}

/// What a tally found: the parts of one metric.
#[derive(Default)]
pub struct TallySummary {
    pub parts: Vec<(String, Estimate)>,
    pub tables: Vec<(String, Value)>,
    /// Remarks about the metric, for people.
    pub notes: Vec<String>,
}

impl TallySummary {
    /// Writes the parts into a node's summary, under the metric's name.
    pub fn into_summary(self, name: &str, summary: &mut Summary) {
        let full = |part: &str| {
            if part.is_empty() { name.to_owned() } else { format!("{name}.{part}") }
        };
        summary.values.extend(self.parts.into_iter().map(|(part, estimate)| (full(&part), estimate)));
        summary.tables.extend(self.tables.into_iter().map(|(part, table)| (full(&part), table)));
    }
}

/// A metric, as the table of all metrics describes it.
pub struct Entry {
    pub name: &'static str,
    /// What it measures, for the reference and for editors.
    pub about: &'static str,
    /// The paper, or the implementation whose values it equals.
    pub source: &'static str,
    /// Which values it can take, in words.
    pub range: &'static str,
    pub direction: Direction,
    /// How the score of one completion is stored, in words.
    pub score: &'static str,
    /// The type of its settings.
    pub settings: SettingsType,
    /// Its parts: each a name (or how the names are formed), and what it is.
    pub parts: &'static [(&'static str, &'static str)],
    /// Returns true for a part that is not in that list, such as the F1 of one label.
    pub more_parts: fn(&str) -> bool,
    /// The part that tables show; the empty one is the metric's own value.
    pub main: &'static str,
    /// The rule by which values of different types are compared, as signatures name it; empty if there is none.
    pub equality: &'static str,
    /// Settings that cannot change a score, and so do not enter the key.
    pub indifferent: &'static [&'static str],
    /// Returns the unit of a part; the empty part is the metric's own value.
    pub unit: fn(&str) -> Unit,
}

/// Returns the entry of a plain share, 0 to 1. Most entries start from it and say only what differs.
const fn share<T: Make>() -> Entry {
    Entry {
        name: "",
        about: "",
        source: "",
        range: "0 to 1",
        direction: Direction::Higher,
        score: "0 or 1",
        settings: SettingsType::of::<T>(),
        parts: &[],
        more_parts: |_| false,
        main: "",
        equality: "",
        indifferent: &[],
        unit: |_| Unit::Fraction,
    }
}

/// All metrics.
pub const METRICS: &[Entry] = &[
    exact_match::ENTRY,
    squad_f1::ENTRY,
    contains::ENTRY,
    regex::ENTRY,
    numeric::ENTRY,
    classification::ENTRY,
    rouge::ENTRY_1,
    rouge::ENTRY_2,
    rouge::ENTRY_3,
    rouge::ENTRY_L,
    rouge::ENTRY_LSUM,
    bleu::ENTRY,
    chrf::ENTRY,
    chrf::ENTRY_WORDS,
    ter::ENTRY,
    edit_distance::ENTRY,
    bertscore::ENTRY,
    embedding_similarity::ENTRY,
    json_valid::ENTRY,
    json_schema::ENTRY,
    json_fields::ENTRY,
    tool_call::ENTRY,
    csv_valid::ENTRY,
    length::ENTRY,
    refusal::ENTRY,
    truncation::ENTRY,
    repetition::ENTRY,
    latency::ENTRY,
    tokens::ENTRY,
    cost::ENTRY,
    pass_at_k::ENTRY,
    command::ENTRY,
];

/// Returns the metric of a name.
pub fn find(name: &str) -> Option<&'static Entry> {
    METRICS.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// Returns true if gates may name this part.
    pub fn has_part(&self, part: &str) -> bool {
        self.parts.iter().any(|(name, _)| *name == part) || (self.more_parts)(part)
    }
}

/// Returns a value as text to compare: text as it is, anything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => String::from_utf8_lossy(&crate::digest::canonical(other)).into_owned(),
    }
}

/// Returns prediction and references as texts; none if there is no reference. A prediction that could not be read is
/// the empty text.
fn pair<'a>(scored: &Scored<'a>) -> Option<(Cow<'a, str>, Vec<Cow<'a, str>>)> {
    let references = match scored.reference? {
        Value::Null => return None,
        Value::Array(items) if items.is_empty() => return None,
        Value::Array(items) => items.iter().map(shown).collect(),
        other => vec![shown(other)],
    };
    Some((scored.prediction.map(shown).unwrap_or_default(), references))
}

/// Returns text as it is, anything else as JSON.
fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(text(other)),
    }
}

/// Returns borrowed texts.
fn borrowed<'a>(texts: &'a [Cow<'_, str>]) -> Vec<&'a str> {
    texts.iter().map(|text| &**text).collect()
}
