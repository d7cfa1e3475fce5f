//! What a metric stage consists of: its metrics with their settings and templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::metric::{Entry, Metric};
use crate::problem::Place;
use crate::score::{Direction, Rank, Reading, Unit};
use crate::spec::Price;
use crate::stage::dataset::LEAKAGE;
use crate::stage::prompt::Prompt;
use crate::store::Manifest;
use crate::template::Attrs;

/// A metric stage.
pub(super) struct MetricStage {
    /// The inference stages that it scores, with their places; at least one.
    pub inputs: Vec<(String, Place)>,
    pub measures: Vec<Measure>,
    pub by: Vec<(String, Place)>,
    pub cluster: Option<(String, Place)>,
    /// The prices of models, by name.
    pub prices: BTreeMap<String, Price>,
}

/// One metric of the stage.
pub(super) struct Measure {
    /// As the user calls it.
    pub name: String,
    pub entry: &'static Entry,
    pub metric: Box<dyn Metric>,
    pub settings: Map<String, Value>,
    pub prediction: Option<Arc<Prompt>>,
    pub reference: Option<Arc<Prompt>>,
    /// What `sample_weight` says.
    pub weight: Option<Arc<Prompt>>,
}

impl Measure {
    pub fn prompts(&self) -> impl Iterator<Item = &Arc<Prompt>> {
        let reference = self.reference.as_ref().filter(|_| self.metric.wants_reference());
        [self.prediction.as_ref(), reference, self.weight.as_ref()].into_iter().flatten()
    }

    /// Returns true if predictions are read from a structure, and so may be null.
    pub fn has_structure(&self) -> bool {
        self.prediction.as_ref().is_some_and(|prompt| prompt.template.reads_structure())
    }

    /// Returns how its main value (`part` is then the name of that part, or empty) or another part of it is to be read.
    pub fn reading(&self, part: &str) -> Reading {
        let unit = (self.entry.unit)(part);
        let rank = if part == self.entry.main { Rank::Headline } else { Rank::Part };
        let direction = match part {
            "error" => Direction::Lower,
            _ if part.starts_with("distinct_") => Direction::Higher,
            _ if matches!(unit, Unit::Fraction | Unit::Points) => Direction::Higher,
            _ => self.entry.direction,
        };
        Reading::of(unit, rank).toward(direction)
    }

    /// What identifies it in the key and seeds its bootstrap.
    pub fn signature(&self) -> Value {
        let templates: Vec<Value> = self
            .prompts()
            .map(|prompt| serde_json::to_value(prompt.template.closure()).expect("digests are JSON"))
            .collect();
        serde_json::json!({ "metric": self.entry.name, "settings": self.settings, "templates": templates })
    }
}

impl MetricStage {
    pub fn prompts(&self) -> impl Iterator<Item = &Arc<Prompt>> {
        self.measures.iter().flat_map(Measure::prompts)
    }

    pub fn row_reads(&self) -> Attrs {
        let mut reads = Attrs::Some(self.slicing().map(|(column, _)| column.clone()).collect());
        for prompt in self.prompts() {
            reads.merge(&prompt.template.reads.of("row"));
        }
        reads
    }

    /// Returns the stage and the model whose completions a node scores. Where several stages are scored, the node's
    /// model names both.
    pub fn scored<'a>(&'a self, model: &'a str) -> (&'a str, &'a str) {
        let of = |(input, _): &'a (String, Place)| {
            Some((input.as_str(), model.strip_prefix(input.as_str())?.strip_prefix('.')?))
        };
        let several = (self.inputs.len() > 1).then(|| self.inputs.iter().find_map(of)).flatten();
        several.unwrap_or((&self.inputs[0].0, model))
    }

    /// Returns the columns by which rows are put together, with their places.
    pub fn slicing(&self) -> impl Iterator<Item = &(String, Place)> {
        self.by.iter().chain(&self.cluster)
    }

    pub fn needs_meta(&self) -> bool {
        self.measures.iter().any(|measure| measure.metric.needs_meta())
    }

    /// Returns what a model costs, if some metric asks.
    pub fn price(&self, model: &str) -> Option<Price> {
        self.measures
            .iter()
            .any(|measure| measure.metric.needs_price())
            .then(|| self.prices.get(model).copied())
            .flatten()
    }

    pub fn reads(&self, variable: &str) -> bool {
        self.prompts().any(|prompt| prompt.template.reads.reads(variable))
    }
}

/// Returns whether the dataset found rows of training among its own.
pub(super) fn has_leakage(rows: Option<&Manifest>) -> bool {
    let is_marked =
        |rows: &Manifest| rows.artifact.columns.contains_key(LEAKAGE) && rows.summary.values.contains_key("leaked");
    rows.is_some_and(is_marked)
}
