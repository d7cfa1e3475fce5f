//! `strategy: diverse`: rows that cover the dataset, chosen by farthest-first traversal over the vectors of a text
//! column.
//!
//! Vectors count words and runs of three letters, or come from a sentence encoder (`model`). The farthest points are
//! mostly outliers, so the 2 % of the rows that are farthest from all others are left out. Of a large dataset a pool is
//! drawn first: the rows with the smallest seeded digests of their ids.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::quality::{Candidate, text_of};
use super::sample::{Sample, draw, group, quotas};
use crate::score::{Estimate, Summary};
use crate::stage::StageError;
use crate::stats::{Distance, farthest_first};
use crate::text::comparison_tokens;

/// Size of the pool from which rows are chosen. It is larger if the sample wants more than a quarter of it.
const POOL: usize = 4_000;
/// The share of the pool that is left out as outliers, in pools of at least this many rows.
const ODD: f64 = 0.02;
const ODD_FROM: usize = 50;
/// How many numbers a vector of counts has.
const WIDTH: usize = 512;

/// Computes the vectors of texts, one per text.
pub(super) type Vectors<'a> = &'a dyn Fn(&[String]) -> Result<Vec<Vec<f64>>, String>;

/// Chooses rows; returns them in the order of their ids.
pub(super) fn choose(
    sample: &Sample,
    size: usize,
    rows: Vec<Candidate>,
    vectors: Vectors<'_>,
    summary: &mut Summary,
    notes: &mut Vec<String>,
) -> Result<Vec<Candidate>, StageError> {
    let pool = POOL.max(4 * size);
    let mut rows = rows;
    if rows.len() > pool {
        notes.push(format!("`strategy: diverse` looks at {pool} of {} rows, drawn at random", rows.len()));
        rows.sort_by_cached_key(|row| draw(sample.seed, &row.id));
        rows.truncate(pool);
        rows.sort_by(|a, b| a.id.cmp(&b.id));
    }
    let mut strata: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    for row in rows {
        let stratum = group(&row.columns(), &sample.strata);
        strata.entry(stratum).or_default().push(row);
    }
    let counts: BTreeMap<String, u64> =
        strata.iter().map(|(stratum, rows)| (stratum.clone(), rows.len() as u64)).collect();
    let mut shares = quotas(&counts, size as u64);
    if shares.len() <= size {
        shares.values_mut().for_each(|share| *share = (*share).max(1));
    }
    let mut chosen = Vec::with_capacity(size);
    let mut radius = 0.0f64;
    let mut table = Vec::new();
    for (stratum, rows) in &mut strata {
        let wanted = shares.get(stratum.as_str()).copied().unwrap_or(0) as usize;
        let texts: Vec<String> = rows.iter().map(|row| text_of(&row.columns(), &sample.by)).collect();
        let points = vectors(&texts).map_err(StageError::Failed)?;
        let (order, covered) = cover(&points, wanted);
        radius = radius.max(covered);
        table.push(json!({ "stratum": stratum, "rows": rows.len(), "chosen": order.len() }));
        let mut own: Vec<Option<Candidate>> = std::mem::take(rows).into_iter().map(Some).collect();
        chosen.extend(order.into_iter().filter_map(|index| own[index].take()));
    }
    let n = chosen.len() as u64;
    let estimate = Estimate { value: Some(radius), low: None, high: None, n, missing: 0 };
    summary.values.insert("covering_radius".to_owned(), estimate);
    if !sample.strata.is_empty() {
        summary.tables.insert("strata".to_owned(), Value::Array(table));
    }
    Ok(chosen)
}

/// Returns which points to take, and how far the farthest point is from the nearest one taken (as 1 − the cosine).
fn cover(points: &[Vec<f64>], wanted: usize) -> (Vec<usize>, f64) {
    let odd = if points.len() < ODD_FROM { 0 } else { (ODD * points.len() as f64) as usize };
    let odd = odd.min(points.len().saturating_sub(wanted));
    let mut alone: Vec<(f64, usize)> = Vec::new();
    if odd > 0 {
        alone = (0..points.len())
            .into_par_iter()
            .map(|a| {
                let others = (0..points.len()).filter(|b| *b != a);
                let nearest = others.map(|b| Distance::Cosine.between(&points[a], &points[b]));
                (nearest.fold(f64::INFINITY, f64::min), a)
            })
            .collect();
        alone.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    }
    let passed: Vec<usize> = alone.iter().take(odd).map(|(_, index)| *index).collect();
    let kept: Vec<usize> = (0..points.len()).filter(|index| !passed.contains(index)).collect();
    let vectors: Vec<Vec<f64>> = kept.iter().map(|index| points[*index].clone()).collect();
    let covering = farthest_first(&vectors, wanted, Distance::Cosine);
    (covering.order.iter().map(|index| kept[*index]).collect(), covering.radius.last().copied().unwrap_or(0.0))
}

/// Counts words and runs of three letters, each hashed to one of 512 places. Counts enter by their logarithm, so that
/// frequent ones do not drown rare ones.
pub(super) fn counted(texts: &[String]) -> Vec<Vec<f64>> {
    let digest = |unit: &str| {
        unit.bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let vector = |text: &String| {
        let mut counts = vec![0.0; WIDTH];
        for token in comparison_tokens(text) {
            counts[(digest(&token) >> 32) as usize % WIDTH] += 1.0;
            let letters: Vec<char> = format!(" {token} ").chars().collect();
            for run in letters.windows(3) {
                let run: String = run.iter().collect();
                counts[(digest(&run) >> 32) as usize % WIDTH] += 0.5;
            }
        }
        counts.into_iter().map(|count: f64| (1.0 + count).ln()).collect()
    };
    texts.par_iter().with_min_len(16).map(vector).collect()
}
