//! What a held-out dataset should not contain: the same row twice (`dedupe`), and rows of the training data
//! (`leakage`).
//!
//! Rows are examined in the order of their ids, so that the order of a file decides nothing.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::sample::group;
use super::source;
use crate::dataset::format_of;
use crate::digest::Digest;
use crate::metric::MeanTally;
use crate::problem::{Place, Problem};
use crate::score::{Estimate, Summary};
use crate::spec::{Node, OneOrMany, Share, Whole, Workspace};
use crate::stage::Scope;
use crate::stage::prompt::Prompt;
use crate::stage::{DigestFile, StageError};
use crate::store::Fingerprint;
use crate::template::{row_variables, to_json};
use crate::text::{Distinct, Fingerprinted, Leak, LeakIndex, LeakLevel, LeakLimits, comparison_tokens};

/// The column that says of a leaked row how it was recognised; clean rows do not have it.
pub(in crate::stage) const LEAKAGE: &str = "leakage";
/// How many rows a note names.
const SHOWN: usize = 5;
/// How many rows a table lists.
const LISTED: usize = 100;

/// Which rows count as the same.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "dedupe")]
#[serde(deny_unknown_fields)]
pub(super) struct Dedupe {
    /// Column, or columns, that are compared.
    pub by: OneOrMany<String, 1>,
    /// Texts whose shingles of five words have this Jaccard similarity are the same: 0.7 finds
    /// near-duplicates. Without it they are the same if they differ in nothing but case, punctuation and
    /// white space.
    pub near: Option<Share>,
}

impl From<OneOrMany<String, 1>> for Dedupe {
    fn from(by: OneOrMany<String, 1>) -> Dedupe {
        Dedupe { by, near: None }
    }
}

/// Training data that the rows must not stand in.
#[derive(Clone, Deserialize, JsonSchema)]
#[schemars(rename = "leakage")]
#[serde(deny_unknown_fields)]
pub(super) struct Leakage {
    /// File, or glob, or a list of them: the training data.
    pub against: OneOrMany<String, 1>,
    /// Column that is compared: what the model gets to see.
    pub column: String,
    /// What it is compared with in the training data, where that is called otherwise: a column, or a
    /// template over `row`: `"{{ row.messages[0].content }}"`.
    pub against_column: Option<String>,
    /// Column with the answer. Where training has the same text with another answer, that is counted as
    /// a conflict.
    pub label: Option<String>,
    /// Jaccard similarity of shingles of five words from which a row is known; 0.7 unless said.
    pub jaccard: Option<Share>,
    /// Share of a row's shingles in one training text from which it is known; 0.8 unless said.
    pub containment: Option<Share>,
    /// Words of the longest common run from which a row is known; 13 unless said.
    pub run: Option<Whole>,
    /// What to do with such rows: report them, so that metrics are summed up with and without them, or
    /// drop them.
    #[serde(default)]
    pub action: LeakAction,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "action")]
#[serde(rename_all = "lowercase")]
pub(super) enum LeakAction {
    /// They stay, marked in the column `leakage`.
    #[default]
    Report,
    /// They are left out.
    Drop,
}

/// Finds duplicates and leaked rows.
pub(super) struct Quality {
    pub dedupe: Option<Dedupe>,
    pub leakage: Option<(Leakage, Option<Prompt>)>,
}

/// A row that is examined.
pub(super) struct Candidate {
    pub id: String,
    /// The number of its record, then its columns as canonical JSON.
    pub line: Vec<u8>,
}

impl Candidate {
    /// Parses the columns of the row.
    pub fn columns(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.line[8..]).expect("a line is canonical JSON")
    }
}

/// Returns the texts of several columns joined to one.
pub(super) fn text_of(columns: &Map<String, Value>, by: &[String]) -> String {
    let texts = by.iter().filter_map(|name| columns.get(name)).map(|value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    });
    texts.collect::<Vec<_>>().join("\n")
}

impl Quality {
    /// Reads the settings; none if neither `dedupe` nor `leakage` is set.
    pub fn parse(
        scope: &Scope<'_>,
        (dedupe, leakage): (Option<Dedupe>, Option<Leakage>),
        settings: &Node,
        problems: &mut Vec<Problem>,
    ) -> Option<Quality> {
        let place = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            settings.nearest(&path).place.clone()
        };
        let leakage = leakage.map(|leakage| {
            let at = place(&["leakage", "against"]);
            for pattern in leakage.against.iter() {
                let names = source::files(scope.workspace, pattern);
                for name in &names {
                    if let Some(refused) = scope.workspace.refusal(name) {
                        problems.push(refused.at(&at));
                    } else if !scope.workspace.path(name).is_file() {
                        problems.push(super::settings::missing_file(scope, name).at(&at));
                    } else if format_of(name).is_none() {
                        problems.push(super::settings::without_format(name).at(&at));
                    }
                }
                if names.is_empty() {
                    problems.push(Problem::error("missing-file", format!("no file matches {pattern}")).at(&at));
                }
            }
            let template = leakage.against_column.as_ref().filter(|text| text.contains("{{")).and_then(|text| {
                let at = place(&["leakage", "against_column"]);
                Prompt::load_value(scope, "leakage.against_column", text, &at, &["row"])
                    .map_err(|found| problems.extend(found))
                    .ok()
            });
            (leakage, template)
        });
        (dedupe.is_some() || leakage.is_some()).then_some(Quality { dedupe, leakage })
    }

    /// Returns the columns that the settings read, with their places.
    pub fn columns(&self, settings: &Node) -> Vec<(String, Place)> {
        let place = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            settings.nearest(&path).place.clone()
        };
        let mut columns = Vec::new();
        if let Some(dedupe) = &self.dedupe {
            columns.extend(dedupe.by.iter().map(|column| (column.clone(), place(&["dedupe", "by"]))));
        }
        if let Some((leakage, _)) = &self.leakage {
            columns.push((leakage.column.clone(), place(&["leakage", "column"])));
            columns.extend(leakage.label.clone().map(|label| (label, place(&["leakage", "label"]))));
        }
        columns
    }

    /// Adds to a key everything that decides which rows stay.
    pub fn add_to(
        &self,
        fingerprint: &mut Fingerprint,
        workspace: &Workspace,
        digest_file: &DigestFile<'_>,
    ) -> Result<(), StageError> {
        if let Some(dedupe) = &self.dedupe {
            fingerprint.setting("dedupe.by", dedupe.by.to_vec());
            if let Some(near) = dedupe.near {
                fingerprint.setting("dedupe.near", near.0);
            }
        }
        let Some((leakage, template)) = &self.leakage else {
            return Ok(());
        };
        for (index, name) in self.training(workspace).into_iter().enumerate() {
            let digest = digest_file(&workspace.path(&name))
                .map_err(|error| StageError::failed(format!("failed to read {name}: {error}")))?;
            fingerprint.files.insert(format!("leakage.against.{index}"), digest);
        }
        fingerprint.setting("leakage.column", leakage.column.as_str());
        for (name, value) in [("against_column", &leakage.against_column), ("label", &leakage.label)] {
            if let Some(value) = value {
                fingerprint.setting(&format!("leakage.{name}"), value.as_str());
            }
        }
        if let Some(template) = template {
            template.add_closure(fingerprint, "");
        }
        let limits = leakage.limits();
        fingerprint
            .setting("leakage.limits", vec![json!(limits.jaccard), json!(limits.containment), json!(limits.run)]);
        if leakage.action == LeakAction::Drop {
            fingerprint.setting("leakage.action", "drop");
        }
        Ok(())
    }

    /// Returns the path of a file that the fingerprint names by a label.
    pub fn file(&self, workspace_names: &str) -> Option<String> {
        let (leakage, _) = self.leakage.as_ref()?;
        workspace_names.strip_prefix("leakage.against.").map(|_| leakage.against.join(", "))
    }

    /// Returns the texts of its templates, by their names in the fingerprint.
    pub fn sources(&self) -> Vec<(String, String)> {
        let template = self.leakage.as_ref().and_then(|(_, template)| template.as_ref());
        template.map(Prompt::sources).into_iter().flatten().collect()
    }

    /// Returns the names of the summary values that it adds: shares of the rows.
    pub fn values(&self) -> Vec<&'static str> {
        let dedupe = self.dedupe.as_ref().map(|_| "duplicates");
        dedupe.into_iter().chain(self.leakage.as_ref().map(|_| "leaked")).collect()
    }

    fn training(&self, workspace: &Workspace) -> Vec<String> {
        let patterns = self.leakage.iter().flat_map(|(leakage, _)| leakage.against.iter());
        patterns.flat_map(|pattern| source::files(workspace, pattern)).collect()
    }

    /// Examines all rows, which come in the order of their ids; returns those that stay.
    pub fn refine(
        &self,
        workspace: &Workspace,
        mut rows: Vec<Candidate>,
        summary: &mut Summary,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Candidate>, StageError> {
        if let Some(dedupe) = &self.dedupe {
            rows = distinct(dedupe, rows, summary, notes);
        }
        if let Some((leakage, template)) = &self.leakage {
            rows = self.leaks(leakage, template.as_ref(), workspace, rows, summary, notes)?;
        }
        Ok(rows)
    }

    fn leaks(
        &self,
        leakage: &Leakage,
        template: Option<&Prompt>,
        workspace: &Workspace,
        rows: Vec<Candidate>,
        summary: &mut Summary,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Candidate>, StageError> {
        let columns: Vec<Map<String, Value>> = rows.iter().map(Candidate::columns).collect();
        if columns.iter().any(|columns| columns.contains_key(LEAKAGE)) {
            return Err(StageError::failed(format!(
                "the rows have a column `{LEAKAGE}`, which `leakage` writes; rename it: `rename: {{ {LEAKAGE}: … }}`"
            )));
        }
        let column = [leakage.column.clone()];
        let texts: Vec<String> = columns.iter().map(|columns| text_of(columns, &column)).collect();
        let mut index = LeakIndex::new(&texts, leakage.limits());
        let mut conflicts = vec![false; rows.len()];
        let names = self.training(workspace);
        let mut unread = 0u64;
        for (file, name) in names.iter().enumerate() {
            let failed = |error: &dyn std::fmt::Display| StageError::failed(format!("failed to read {name}: {error}"));
            let format = format_of(name).ok_or_else(|| StageError::failed(format!("{name}: unknown format")))?;
            for record in format.open(&workspace.path(name)).map_err(|error| failed(&error))? {
                let record = match record {
                    Ok(record) => record,
                    Err(bad) if bad.is_end => return Err(failed(&format!("line {}: {}", bad.line, bad.message))),
                    Err(_) => {
                        unread += 1;
                        continue;
                    }
                };
                let line = record.line;
                let Ok(training) = record.columns() else {
                    unread += 1;
                    continue;
                };
                let text = training_text(leakage, template, &training);
                let Some(text) = text else {
                    unread += 1;
                    continue;
                };
                let equal = index.compare(&text, source::number_of(file as u64, line));
                if let Some(label) = &leakage.label {
                    for row in equal {
                        let theirs = training.get(label);
                        conflicts[row] |= theirs.is_some() && theirs != columns[row].get(label);
                    }
                }
            }
        }
        if unread > 0 {
            notes.push(format!("leakage: {unread} rows of {} have no text to compare", leakage.against.join(", ")));
        }
        let leaks = index.finish();
        describe(leakage, &rows, &leaks, &conflicts, &names, summary, notes);
        let mut kept = Vec::with_capacity(rows.len());
        for ((mut row, mut columns), leak) in rows.into_iter().zip(columns).zip(leaks) {
            match leak {
                None => kept.push(row),
                Some(_) if leakage.action == LeakAction::Drop => {}
                Some(leak) => {
                    columns.insert(LEAKAGE.to_owned(), leak.level.name().into());
                    row.line.truncate(8);
                    crate::digest::canonical_map_into(&columns, &mut row.line);
                    kept.push(row);
                }
            }
        }
        Ok(kept)
    }
}

/// Returns the text of a row of training; none where it has none.
fn training_text(leakage: &Leakage, template: Option<&Prompt>, training: &Map<String, Value>) -> Option<String> {
    match (template, &leakage.against_column) {
        (Some(prompt), _) => {
            let variables = row_variables(training, &prompt.template.reads.of("row"));
            match prompt.template.evaluate(&variables).map(|value| to_json(&value)) {
                Ok(Value::String(text)) => Some(text),
                Ok(Value::Null) | Err(_) => None,
                Ok(other) => Some(other.to_string()),
            }
        }
        (None, other) => {
            let column = other.as_ref().unwrap_or(&leakage.column);
            training.contains_key(column).then(|| text_of(training, std::slice::from_ref(column)))
        }
    }
}

impl Leakage {
    fn limits(&self) -> LeakLimits {
        let usual = LeakLimits::default();
        LeakLimits {
            jaccard: self.jaccard.map_or(usual.jaccard, |share| share.0),
            containment: self.containment.map_or(usual.containment, |share| share.0),
            run: self.run.map_or(usual.run, Whole::size).max(1),
        }
    }
}

fn share(part: usize, all: usize) -> Estimate {
    let mut tally = MeanTally::share();
    (0..all).for_each(|index| tally.add_value(Some(f64::from(u8::from(index < part)))));
    tally.estimate()
}

/// Writes into the summary and the notes which rows leaked.
fn describe(
    leakage: &Leakage,
    rows: &[Candidate],
    leaks: &[Option<Leak>],
    conflicts: &[bool],
    names: &[String],
    summary: &mut Summary,
    notes: &mut Vec<String>,
) {
    let leaked: Vec<(&Candidate, &Leak)> =
        rows.iter().zip(leaks).filter_map(|(row, leak)| Some((row, leak.as_ref()?))).collect();
    summary.values.insert("leaked".to_owned(), share(leaked.len(), rows.len()));
    if leaked.is_empty() {
        return;
    }
    let counts: Vec<String> = [LeakLevel::Exact, LeakLevel::Near, LeakLevel::Contained, LeakLevel::Run]
        .into_iter()
        .map(|level| (level, leaked.iter().filter(|(_, leak)| leak.level == level).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(level, count)| format!("{count} {}", level.name()))
        .collect();
    let place = |leak: &Leak| source::place(names, leak.place);
    let shown: Vec<String> =
        leaked.iter().take(SHOWN).map(|(row, leak)| format!("{} ({})", row.id, place(leak))).collect();
    let more = if leaked.len() > SHOWN { ", …" } else { "" };
    let what = if leakage.action == LeakAction::Drop { "left out" } else { "marked in the column `leakage`" };
    notes.push(format!(
        "leakage: {} of {} rows ({:.1} %) stand in {}, {what}: {}; {}{more}",
        leaked.len(),
        rows.len(),
        100.0 * leaked.len() as f64 / rows.len() as f64,
        leakage.against.join(", "),
        counts.join(", "),
        shown.join(", ")
    ));
    let conflicting = conflicts.iter().filter(|conflict| **conflict).count();
    if conflicting > 0 {
        notes.push(format!(
            "leakage: {conflicting} of them have another `{}` in training",
            leakage.label.as_deref().unwrap_or_default()
        ));
    }
    let listed: Vec<Value> = leaked
        .iter()
        .take(LISTED)
        .map(|(row, leak)| json!({ "id": row.id, "level": leak.level.name(), "score": leak.score, "training": place(leak) }))
        .collect();
    summary.tables.insert("leakage".to_owned(), Value::Array(listed));
}

/// Returns the rows that equal no row before them.
fn distinct(dedupe: &Dedupe, rows: Vec<Candidate>, summary: &mut Summary, notes: &mut Vec<String>) -> Vec<Candidate> {
    use rayon::prelude::*;

    let all = rows.len();
    let text = |row: &Candidate| text_of(&row.columns(), &dedupe.by);
    // For each row: the kept row that it equals, and how similar the two are; none for a new row.
    let same: Vec<Option<(usize, f64)>> = match dedupe.near.map(|near| near.0) {
        Some(near) => {
            let mut distinct = Distinct::new(near);
            let mut same = Vec::with_capacity(all);
            for batch in rows.chunks(4_096) {
                let prints: Vec<Fingerprinted> =
                    batch.par_iter().with_min_len(16).map(|row| Fingerprinted::new(&text(row))).collect();
                same.extend(prints.into_iter().map(|print| distinct.add(print)));
            }
            same
        }
        None => {
            let digests: Vec<Digest> = rows
                .par_iter()
                .with_min_len(64)
                .map(|row| {
                    let columns = row.columns();
                    let tokens = comparison_tokens(&text_of(&columns, &dedupe.by)).join(" ");
                    // Texts without any word are compared as they stand.
                    let plain = if tokens.is_empty() { group(&columns, &dedupe.by) } else { tokens };
                    Digest::of(plain.as_bytes())
                })
                .collect();
            let mut seen = std::collections::HashMap::new();
            digests
                .into_iter()
                .map(|digest| {
                    let next = seen.len();
                    match seen.entry(digest) {
                        std::collections::hash_map::Entry::Occupied(entry) => Some((*entry.get(), 1.0)),
                        std::collections::hash_map::Entry::Vacant(entry) => {
                            entry.insert(next);
                            None
                        }
                    }
                })
                .collect()
        }
    };
    let mut kept: Vec<Candidate> = Vec::with_capacity(all);
    let mut dropped: Vec<(String, usize, f64)> = Vec::new();
    for (row, same) in rows.into_iter().zip(same) {
        match same {
            None => kept.push(row),
            Some((first, similarity)) => dropped.push((row.id, first, similarity)),
        }
    }
    summary.values.insert("duplicates".to_owned(), share(dropped.len(), all));
    if !dropped.is_empty() {
        let shown: Vec<String> =
            dropped.iter().take(SHOWN).map(|(id, first, _)| format!("{id} (as {})", kept[*first].id)).collect();
        let more = if dropped.len() > SHOWN { ", …" } else { "" };
        notes.push(format!("`dedupe` leaves out {} of {all} rows: {}{more}", dropped.len(), shown.join(", ")));
        let listed: Vec<Value> = dropped
            .iter()
            .take(LISTED)
            .map(|(id, first, similarity)| json!({ "id": id, "as": kept[*first].id, "similarity": similarity }))
            .collect();
        summary.tables.insert("duplicates".to_owned(), Value::Array(listed));
    }
    kept
}
