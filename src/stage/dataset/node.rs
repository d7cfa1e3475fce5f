//! The dataset stage: its nodes, what they read, what they say.

use super::quality::Quality;
use super::sample::{Sample, Strategy};
use super::shape::{OnBadRow, Shape};
use super::source::Source;
use crate::dataset::BadRow;
use crate::encoder::ModelFolder;
use crate::problem::Place;
use crate::process::Launch;
use crate::score::{Direction, Rank, Reading, Unit};
use crate::spec::{RowsRole, Workspace};
use crate::stage::prompt::Prompt;
use crate::stage::{Callee, DigestFile, Facts, Input, Job, Makes, Produced, Reads, Scanned, Stage, StageError};
use crate::store::Fingerprint;
use crate::template::ColumnUse;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;

const REVISION: u32 = 1;

/// Bad rows shown.
pub(super) const MAX_BAD_ROWS: usize = 20;

pub(super) struct Dataset {
    pub source: Source,
    pub shape: Shape,
    pub quality: Option<Quality>,
    pub sample: Option<Sample>,
    /// The encoder of a diverse sample.
    pub encoder: Option<ModelFolder>,
    pub on_bad_row: OnBadRow,
    pub role: RowsRole,
    /// Where the columns that the shape reads by name stand.
    pub places: Vec<(String, Place)>,
}

/// Bad rows seen so far, for people.
#[derive(Default)]
pub(super) struct BadRows {
    pub count: u64,
    pub shown: Vec<String>,
    /// Nobody has looked behind the last of them.
    pub is_cut: bool,
}

impl BadRows {
    pub fn add(&mut self, place: &dyn Fn(u64) -> String, bad: &BadRow) {
        self.count += 1;
        if self.shown.len() < MAX_BAD_ROWS {
            self.shown.push(format!("{}: {}", place(bad.line), bad.message));
        }
    }

    pub fn text(&self, what: &str) -> String {
        if let ([only], "", 1) = (self.shown.as_slice(), what, self.count) {
            return only.clone();
        }
        let counted = if self.count == 1 { "a bad row".to_owned() } else { format!("{} bad rows", self.count) };
        let more = if self.count > self.shown.len() as u64 { "\n  …" } else { "" };
        let counted = if self.is_cut { format!("more than {MAX_BAD_ROWS} bad rows") } else { counted };
        format!("{counted}{what}:\n  {}{more}", self.shown.join("\n  "))
    }
}

impl Stage for Dataset {
    fn kind(&self) -> &'static str {
        "dataset"
    }

    fn makes(&self) -> Makes {
        Makes::Rows
    }

    fn rows_role(&self) -> Option<RowsRole> {
        Some(self.role)
    }

    fn input(&self) -> Option<(&str, &Place)> {
        None
    }

    fn models(&self, _reads: Option<&Reads<'_>>) -> Option<Vec<String>> {
        None
    }

    fn inputs(&self, _model: Option<&str>, _reads: &Reads<'_>) -> Vec<Input> {
        Vec::new()
    }

    fn callees(&self, _model: Option<&str>) -> Vec<(Callee, String)> {
        Vec::new()
    }

    fn columns(&self) -> Vec<(String, Place)> {
        self.places.clone()
    }

    fn column_uses(&self) -> Vec<ColumnUse> {
        self.shape.column_uses()
    }

    fn scan(
        &self,
        workspace: &Workspace,
        wanted: &mut BTreeSet<String>,
        watched: &BTreeSet<String>,
    ) -> Result<Scanned, StageError> {
        self.look(workspace, wanted, watched)
    }

    fn prepare<'a>(&'a self, workspace: &'a Workspace, is_offline: bool) -> BoxFuture<'a, Result<(), StageError>> {
        Box::pin(self.source.prepare(workspace, is_offline))
    }

    fn launches(&self, workspace: &Workspace, digest_file: &DigestFile<'_>) -> Result<Vec<Launch>, StageError> {
        Ok(self.source.launch(workspace, digest_file)?.into_iter().collect())
    }

    fn fingerprint(&self, facts: &Facts<'_>) -> Result<Fingerprint, StageError> {
        let mut fingerprint = Fingerprint::new("dataset", REVISION);
        self.source.add_to(&mut fingerprint, facts.workspace, facts.digest_file)?;
        self.shape.add_to(&mut fingerprint);
        if self.on_bad_row == OnBadRow::Skip {
            fingerprint.setting("on_bad_row", "skip");
        }
        if let Some(quality) = &self.quality {
            quality.add_to(&mut fingerprint, facts.workspace, facts.digest_file)?;
        }
        if let Some(sample) = &self.sample {
            sample.add_to(&mut fingerprint);
        }
        for (name, path) in self.encoder.iter().flat_map(ModelFolder::files) {
            let digest = (facts.digest_file)(&path)
                .map_err(|error| StageError::failed(format!("failed to read {}: {error}", path.display())))?;
            fingerprint.files.insert(format!("sample.model.{name}"), digest);
        }
        if let Some(limit) = facts.limit {
            fingerprint.setting("limit", limit);
        }
        Ok(fingerprint)
    }

    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Result<Produced, StageError>> {
        Box::pin(async move {
            tokio::task::spawn_blocking(move || self.write(&job))
                .await
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        })
    }

    fn values(&self) -> Vec<(String, Reading)> {
        let of_quality = self.quality.as_ref().map(Quality::values).unwrap_or_default();
        let is_diverse = self.sample.as_ref().is_some_and(|sample| sample.strategy == Strategy::Diverse);
        let few_is_better = Reading::of(Unit::Rate, Rank::Detail).toward(Direction::Lower);
        let mut values: Vec<(String, Reading)> = of_quality
            .into_iter()
            .chain(is_diverse.then_some("covering_radius"))
            .map(|name| (name.to_owned(), few_is_better))
            .collect();
        values.push(("coverage".to_owned(), Reading::COVERAGE));
        values
    }

    fn sources(&self) -> Vec<(String, String)> {
        let of_quality = self.quality.iter().flat_map(Quality::sources);
        self.shape.prompts().flat_map(Prompt::sources).chain(of_quality).collect()
    }

    fn file(&self, label: &str) -> Option<String> {
        self.quality.as_ref().and_then(|quality| quality.file(label)).or_else(|| self.source.file(label))
    }
}
