//! The scores of a run row by row, as far as the cache still has its results.

use std::collections::BTreeMap;

use super::session::Session;
use crate::digest::{Digest, canonical};
use crate::record::{Run, RunScores, ScoredRows, VERSION, ValueScores};
use crate::row::Row;
use crate::score::Rank;
use crate::stage::{Part, RowValues, StageError, is_mean};
use crate::store::{ByRow, Lookup, Manifest};

/// How much of a row's digest is kept: two different rows have the same in one of four billion cases.
const DIGITS: usize = 8;

/// Returns the scores of a run, row by row, of every value that is a mean over rows. What the cache has no more, or the
/// pipeline no longer makes, is left out.
///
/// # Errors
///
/// A result in the cache is damaged.
pub fn run_scores(session: &Session, run: &Run) -> Result<RunScores, StageError> {
    let plan = &session.plan;
    let manifest = |index: usize| -> Option<Manifest> {
        match session.store.lookup(&run.key(&plan.nodes[index].name)?) {
            Lookup::Hit(manifest) => Some(*manifest),
            _ => None,
        }
    };
    let mut found = RunScores { etalon: VERSION, run: run.run.clone(), ..RunScores::default() };
    // By stage of rows: the place of each row.
    let mut places: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        let (Some(root), Some(own)) = (node.input(Part::Rows), manifest(index)) else { continue };
        let Some(summary) = run.summary.get(&node.stage_name).and_then(|stage| stage.get(node.column())) else {
            continue;
        };
        let readings = run.values.get(&node.stage_name);
        let rows = &plan.nodes[root].name;
        for (name, estimate) in &summary.values {
            let is_meant = readings.and_then(|readings| readings.get(name)).is_some_and(|it| it.rank <= Rank::Detail);
            let Some(value) = estimate.value.filter(|_| is_meant) else { continue };
            let Some(values) = node.stage.row_values(&session.store, &own, name)? else { continue };
            if !is_mean(&values, value) {
                continue;
            }
            if !places.contains_key(rows) {
                let Some(root) = manifest(root) else { continue };
                let (read, ids) = read_rows(session, &root)?;
                found.rows.insert(rows.clone(), read);
                places.insert(rows.clone(), ids);
            }
            let cluster = node.stage.cluster().map(str::to_owned);
            if let Some(column) = &cluster
                && let Some(root) = manifest(root)
                && !found.rows[rows].clusters.contains_key(column)
            {
                let clusters = clusters(session, &root, column)?;
                found.rows.entry(rows.clone()).or_default().clusters.insert(column.clone(), clusters);
            }
            let scores = ValueScores {
                rows: rows.clone(),
                range: node.stage.range(name),
                cluster,
                scores: placed(&values, &places[rows]),
            };
            let models = found.values.entry(node.stage_name.clone()).or_default();
            models.entry(node.column().to_owned()).or_default().insert(name.clone(), scores);
        }
    }
    Ok(found)
}

/// Puts values in the order of the rows.
fn placed(values: &RowValues, places: &BTreeMap<String, usize>) -> Vec<Option<f64>> {
    let mut scores = vec![None; places.len()];
    for (id, value) in values {
        if let Some(place) = places.get(id) {
            scores[*place] = Some(*value);
        }
    }
    scores
}

/// Reads the ids and digests of rows, and the place of each id.
fn read_rows(session: &Session, root: &Manifest) -> Result<(ScoredRows, BTreeMap<String, usize>), StageError> {
    let (mut rows, mut places) = (ScoredRows::default(), BTreeMap::new());
    let mut by_row = ByRow::<Row>::open(&session.store, &root.artifact)?;
    while let Some((id, row)) = by_row.next_row()? {
        let columns = row.first().map(|row| row.columns.clone()).unwrap_or_default();
        let digest = Digest::of(&canonical(&columns.into()));
        places.insert(id.clone(), rows.ids.len());
        rows.ids.push(id);
        rows.digests.push(digest.to_string()[..DIGITS].to_owned());
    }
    Ok((rows, places))
}

/// Returns the cluster of each row, numbered in the order in which they occur.
fn clusters(session: &Session, root: &Manifest, column: &str) -> Result<Vec<u32>, StageError> {
    let mut known: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut clusters = Vec::new();
    let mut by_row = ByRow::<Row>::open(&session.store, &root.artifact)?;
    while let Some((id, row)) = by_row.next_row()? {
        let value = row.first().and_then(|row| row.columns.get(column)).filter(|value| !value.is_null());
        // A row that belongs to nothing stands for itself.
        let key = value.map_or_else(|| format!("row {id}").into_bytes(), canonical);
        let next = known.len() as u32;
        clusters.push(*known.entry(key).or_insert(next));
    }
    Ok(clusters)
}
