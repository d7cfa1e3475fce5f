//! What the templates of metrics take out of a completion and its row, for people.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::measure::{Measure, MetricStage};
use crate::row::{Completion, Row};
use crate::stage::prompt::{Prompt, Variables, params_value};
use crate::template::{Attrs, to_json};

impl MetricStage {
    /// Returns `prediction` and `reference`, where some metric has templates of them: once if all metrics score the
    /// same, else for each metric by its name under `extracted`. What cannot be read says why.
    pub fn taken_out(
        &self,
        row: &Row,
        completion: &Completion,
        model: Option<&str>,
        params: &IndexMap<String, Value>,
    ) -> Map<String, Value> {
        if !completion.status.is_answered() {
            return Map::new();
        }
        let variables = Variables::new(&params_value(params))
            .with("model", model.unwrap_or("_"))
            .with("sample", completion.sample)
            .with_said(completion)
            .with_row(row, &Attrs::All)
            .value();
        let shown = |prompt: &Prompt| match prompt.template.extract(&variables) {
            Ok(Ok(value)) => to_json(&value),
            Ok(Err(why)) => format!("(none: {why})").into(),
            Err(error) => format!("(failed: {error})").into(),
        };
        let of = |measure: &Measure| -> Map<String, Value> {
            let reference = measure.reference.as_ref().filter(|_| measure.metric.wants_reference());
            [("prediction", measure.prediction.as_ref()), ("reference", reference)]
                .into_iter()
                .filter_map(|(name, prompt)| Some((name.to_owned(), shown(prompt?))))
                .collect()
        };
        let by_metric: IndexMap<&str, Map<String, Value>> =
            self.measures.iter().map(|measure| (measure.name.as_str(), of(measure))).collect();
        let mut told = by_metric.values().filter(|taken| !taken.is_empty());
        match told.next() {
            None => Map::new(),
            Some(first) if told.all(|other| other == first) => first.clone(),
            Some(_) => Map::from_iter([("extracted".to_owned(), json!(by_metric))]),
        }
    }
}
