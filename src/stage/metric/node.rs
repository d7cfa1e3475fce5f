//! The metric stage: its nodes, what they read, what they say.

use super::measure::{Measure, MetricStage, has_leakage};
use super::scoring::Scoring;
use crate::problem::{Place, Problem};
use crate::process::Launch;
use crate::row::{Completion, Row};
use crate::score::Reading;
use crate::spec::Workspace;
use crate::stage::dataset::LEAKAGE;
use crate::stage::inference::sample_id;
use crate::stage::join::{Join, Joined};
use crate::stage::prompt::{add_columns, add_completions, said_columns};
use crate::stage::{
    Callee, Contrast, DigestFile, Facts, Input, Job, Makes, Part, Produced, Reads, RowValues, Stage, StageError,
    Upstream,
};
use crate::store::{ArtifactWriter, Counts, Fingerprint, Manifest, Store};
use crate::template::{Attrs, ColumnUse, Usage};
use futures_util::future::BoxFuture;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const REVISION: u32 = 4;

impl MetricStage {
    fn produce(&self, job: &Job) -> Result<Produced, StageError> {
        let mut writer = job.store.write_artifact()?;
        let rows = job.inputs.get(&Part::Rows).map_or(0, |rows| rows.artifact.rows);
        job.progress.total.store(rows, Ordering::Relaxed);
        let has_leakage = has_leakage(job.inputs.get(&Part::Rows));
        let model = job.model.as_deref().map(|model| self.scored(model).1);
        let mut scoring = Scoring::new(self, &job.params, model, has_leakage);
        match self.kept(job)? {
            Some(kept) => kept.score(job, &mut scoring, &mut writer)?,
            None => self.score_all(job, &mut scoring, &mut writer)?,
        }
        let artifact = writer.finish()?;
        let (all, valid) = (scoring.all, scoring.valid);
        let (summary, notes) = scoring.finish();
        let counts = Counts { rows: all, missing: all - valid, ..Counts::default() };
        Ok(Produced { artifact, meta: None, counts, summary, notes })
    }

    /// Scores every row.
    fn score_all(&self, job: &Job, scoring: &mut Scoring<'_>, writer: &mut ArtifactWriter) -> Result<(), StageError> {
        let size = scoring.batch();
        let mut joins = Join::open(&job.store, &job.inputs, self.needs_meta())?;
        loop {
            let batch: Vec<Joined> = joins.by_ref().take(size).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                return Ok(());
            }
            let records = scoring.add(&batch);
            // A program that was ended is no failure.
            if job.stop.load(Ordering::Relaxed) {
                return Err(StageError::Interrupted);
            }
            for record in records? {
                writer.push(&sample_id(&record.id, record.sample), &record)?;
            }
            batch.iter().for_each(|_| job.progress.count(false));
        }
    }
}

impl Stage for MetricStage {
    fn kind(&self) -> &'static str {
        "metric"
    }

    fn makes(&self) -> Makes {
        Makes::Scores
    }

    fn input(&self) -> Option<(&str, &Place)> {
        self.inputs.first().map(|(input, place)| (input.as_str(), place))
    }

    fn also_reads(&self) -> Vec<(&str, &Place)> {
        self.inputs[1..].iter().map(|(input, place)| (input.as_str(), place)).collect()
    }

    fn models(&self, reads: Option<&Reads<'_>>) -> Option<Vec<String>> {
        let Some(reads) = reads else { return Some(Vec::new()) };
        if self.inputs.len() == 1 {
            return Some(reads.input.models.clone());
        }
        let of = |upstream: &Upstream<'_>| -> Vec<String> {
            upstream.models.iter().map(|model| format!("{}.{model}", upstream.name)).collect()
        };
        Some(std::iter::once(&reads.input).chain(&reads.others).flat_map(of).collect())
    }

    fn check_input(&self, reads: &Reads<'_>, problems: &mut Vec<Problem>) {
        for (index, (input, place)) in self.inputs.iter().enumerate() {
            if self.inputs[..index].iter().any(|(other, _)| other == input) {
                problems.push(Problem::error("conflict", format!("`input` names {input} twice")).at(place));
            }
        }
        for other in reads.others.iter().filter(|other| other.root != reads.input.root) {
            let place = self.inputs.iter().find(|(input, _)| input == other.name).map(|(_, place)| place);
            let message = format!(
                "`{}` answers the rows of {}, and `{}` those of {}",
                other.name, other.root, reads.input.name, reads.input.root
            );
            let problem =
                Problem::error("wrong-input", message).help("stages that stand side by side answer one dataset");
            problems.push(match place {
                Some(place) => problem.at(place),
                None => problem,
            });
        }
    }

    fn inputs(&self, model: Option<&str>, _reads: &Reads<'_>) -> Vec<Input> {
        let (stage, model) = self.scored(model.unwrap_or_default());
        vec![Input { part: Part::OWN, stage: stage.to_owned(), model: Some(model.to_owned()) }]
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(Callee, String)> {
        Vec::new()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.prompts().flat_map(|prompt| prompt.columns()).chain(self.slicing().cloned()).collect()
    }

    fn column_uses(&self) -> Vec<ColumnUse> {
        let uses = self.prompts().flat_map(|prompt| prompt.template.column_uses());
        uses.filter(|used| used.usage == Usage::Compared).collect()
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("metric", REVISION);
        for measure in &self.measures {
            let mut setting = measure.settings.clone();
            for (name, files) in measure.metric.files() {
                // The content of a file counts, not its name; a schema that stands here counts itself.
                if setting.get(name).is_some_and(Value::is_string) {
                    setting.shift_remove(name);
                }
                for (index, (_, digest)) in files.into_iter().enumerate() {
                    fingerprint.files.insert(format!("{}.{name}.{index}", measure.name), digest);
                }
            }
            for (name, path) in measure.metric.weights() {
                let digest = (facts.digest_file)(&path)
                    .map_err(|error| StageError::failed(format!("failed to read {}: {error}", path.display())))?;
                fingerprint.files.insert(format!("{}.model.{name}", measure.name), digest);
                // Where the weights lie does not count.
                setting.shift_remove("model");
            }
            setting.retain(|name, _| !measure.entry.indifferent.contains(&name.as_str()));
            if measure.entry.name != measure.name {
                setting.insert("metric".to_owned(), measure.entry.name.into());
            }
            for (field, prompt) in [
                ("prediction", &measure.prediction),
                ("reference", &measure.reference),
                ("sample_weight", &measure.weight),
            ] {
                if let Some(prompt) = prompt {
                    setting.insert(field.to_owned(), prompt.template.name_or(&prompt.label).into());
                }
            }
            fingerprint.setting(&format!("metrics.{}", measure.name), Value::Object(setting));
        }
        // The key says which model the templates read, and not which stage it answered in.
        let facts = &Facts { model: facts.model.map(|model| self.scored(model).1), ..*facts };
        for prompt in self.prompts() {
            prompt.add_to(&mut fingerprint, facts, "");
        }
        let rows = facts.inputs.get(&Part::Rows);
        if has_leakage(rows) {
            add_columns(&mut fingerprint, rows, &Attrs::Some([LEAKAGE.to_owned()].into()));
        }
        let columns = || self.slicing().map(|(column, _)| column.clone());
        if self.slicing().next().is_some() {
            add_columns(&mut fingerprint, facts.inputs.get(&Part::Rows), &Attrs::Some(columns().collect()));
        }
        if !self.by.is_empty() {
            fingerprint.setting("by", self.by.iter().map(|(column, _)| column.clone()).collect::<Vec<_>>());
        }
        if let Some((column, _)) = &self.cluster {
            fingerprint.setting("cluster", column.as_str());
        }
        let reads_reason = self.measures.iter().any(|measure| measure.metric.needs_finish_reason());
        let columns = said_columns(&|name| self.reads(name) || reads_reason && name == "finish_reason");
        add_completions(&mut fingerprint, Part::OWN, facts.inputs.get(&Part::OWN), &columns);
        if let Some(price) = facts.model.and_then(|model| self.price(model)) {
            fingerprint.setting("price", serde_json::to_value(price).expect("prices are JSON"));
        }
        if self.needs_meta()
            && let Some(completions) = facts.inputs.get(&Part::OWN)
        {
            let digest = completions.meta.as_ref().map(|meta| meta.digest);
            fingerprint.inputs.entry(Part::OWN.name().into_owned()).or_default().insert("meta".to_owned(), digest);
        }
        Ok(fingerprint)
    }

    fn launches(&self, _workspace: &Workspace, _digest_file: &DigestFile<'_>) -> Result<Vec<Launch>, StageError> {
        Ok(self.measures.iter().filter_map(|measure| measure.metric.launch()).collect())
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(async move {
            tokio::task::spawn_blocking(move || self.produce(&job))
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        })
    }

    fn sources(&self) -> Vec<(String, String)> {
        self.prompts().flat_map(|prompt| prompt.sources()).collect()
    }

    fn file(&self, label: &str) -> Option<String> {
        self.measures.iter().find_map(|measure| {
            let files = measure.metric.files();
            files.into_iter().find_map(|(name, files)| {
                let index = label.strip_prefix(&format!("{}.{name}.", measure.name))?;
                Some(files.get(index.parse::<usize>().ok()?)?.0.clone())
            })
        })
    }

    fn row_values(&self, store: &Store, node: &Manifest, value: &str) -> Result<Option<RowValues>, StageError> {
        MetricStage::row_values(self, store, node, value)
    }

    fn cluster(&self) -> Option<&str> {
        self.cluster.as_ref().map(|(column, _)| column.as_str())
    }

    fn shared_note(&self, store: &Store, contrast: &Contrast<'_>) -> Result<Option<String>, StageError> {
        MetricStage::shared_note(self, store, contrast)
    }

    fn extracted(
        &self,
        row: &Row,
        completion: &Completion,
        model: Option<&str>,
        params: &IndexMap<String, Value>,
    ) -> Map<String, Value> {
        self.taken_out(row, completion, model.map(|model| self.scored(model).1), params)
    }

    fn warnings(&self) -> Vec<Problem> {
        let mut places = Vec::new();
        let mut warnings: Vec<Problem> = self.prompts().filter_map(|prompt| prompt.constant_warning()).collect();
        // What the stage says for all its metrics is said once.
        warnings.retain(|warning| {
            let is_new = !places.contains(&warning.place);
            places.push(warning.place.clone());
            is_new
        });
        warnings
    }

    fn reading(&self, value: &str) -> Option<Reading> {
        if value == "coverage" {
            return Some(Reading::COVERAGE);
        }
        self.measures.iter().find_map(|measure| {
            let part = value.strip_prefix(measure.name.as_str())?;
            if part.is_empty() {
                return measure.entry.main.is_empty().then(|| measure.reading(""));
            }
            let has_part = |part: &&str| measure.entry.has_part(part) && measure.metric.has_part(part);
            Some(measure.reading(part.strip_prefix('.').filter(has_part)?))
        })
    }

    fn values(&self) -> Vec<(String, Reading)> {
        let of = |measure: &Measure| match measure.entry.main {
            "" => (measure.name.clone(), measure.reading("")),
            main => (format!("{}.{main}", measure.name), measure.reading(main)),
        };
        self.measures.iter().map(of).chain([("coverage".to_owned(), Reading::COVERAGE)]).collect()
    }
}
