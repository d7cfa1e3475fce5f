//! The weakest dimension: where a model falls short most of what it should reach, and how sure that is.
//!
//! What a model attains is put on a scale from 0 to 1. Its deficit is the share of the target that is missing. The target
//! is that of a gate; else what the ceiling attains; else the end of the scale. Rows are drawn anew 2,000 times, the same
//! rows for all dimensions, and the share of draws in which a dimension is the weakest is its probability.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::evidence::{Evidence, Figure};
use crate::score::{Direction, Estimate, Rank};
use crate::spec::RowsRole;
use crate::stats::{Z95, below};

const DRAWS: usize = 2_000;
/// How many parcels of rows are drawn at most.
const PARCELS: usize = 500;
/// Dimensions that may be the weakest are named from this probability on.
const POSSIBLE: f64 = 0.1;
/// Slices with fewer rows say little.
const SLICE: u64 = 8;
/// How many of the worst rows are named.
const WORST: usize = 10;
const SEED: u64 = 7;

/// Values that compare models, that sum up others, or that say how sure others are: no dimension of quality.
const NO_DIMENSIONS: &[&str] = &[
    "win_rate",
    "decisive_win_rate",
    "net",
    "elo",
    "beats",
    "mean",
    "overall",
    "pass_rate",
    "coverage",
    "agreement",
    "kappa",
    "worst",
    "best",
    "corrected",
    "of_ceiling",
];

/// A dimension of quality that falls short of its target.
#[derive(Clone, Debug, Serialize)]
pub struct Dimension {
    /// `stage.value`.
    pub name: String,
    pub value: Estimate,
    /// What is attained and what should be, from 0 to 1.
    pub attained: f64,
    pub target: f64,
    /// Where the target comes from: gate, ceiling, or scale.
    pub target_of: &'static str,
    /// The share of the target that is missing.
    pub deficit: f64,
    /// How probable it is that it is the weakest.
    pub probability: f64,
    /// The slice in which it is the weakest, if that is more than chance: column, value, estimate.
    pub slice: Option<(String, String, Estimate)>,
    /// The rows with the least of it.
    pub rows: Vec<String>,
}

struct Known<'a> {
    dimension: Dimension,
    /// By row, from 0 to 1; empty where rows do not have the value.
    rows: BTreeMap<&'a str, f64>,
    /// Half the width of the interval, from 0 to 1.
    half: f64,
}

/// Returns the dimensions that may be the weakest, the largest deficit first. Empty if every target is met.
pub fn weakest(evidence: &Evidence) -> Vec<Dimension> {
    let figures = evidence.figures(&evidence.candidate, RowsRole::Heldout);
    let mut known: Vec<Known<'_>> = figures.iter().filter_map(|figure| known(evidence, figure)).collect();
    if known.iter().all(|known| known.dimension.deficit <= 0.0) {
        return Vec::new();
    }
    let ids: Vec<&str> = {
        let mut ids: Vec<&str> = known.iter().flat_map(|known| known.rows.keys().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    // Rows are drawn in parcels, which say as much as rows do as long as there are many: their sum and their number. Rows of a
    // cluster are drawn together.
    let clusters = figures.iter().find_map(|figure| evidence.clusters(figure)).unwrap_or_default();
    let unit = |place: usize| clusters.get(ids[place]).map_or(place, |cluster| *cluster as usize);
    let parcels = (0..ids.len()).map(unit).collect::<BTreeSet<usize>>().len().min(PARCELS);
    let columns: Vec<Vec<(f64, f64)>> = known
        .iter()
        .map(|known| {
            let mut sums = vec![(0.0, 0.0); parcels];
            for (place, value) in ids.iter().enumerate().filter_map(|(place, id)| Some((place, known.rows.get(id)?))) {
                let parcel = &mut sums[unit(place) % parcels];
                *parcel = (parcel.0 + value, parcel.1 + 1.0);
            }
            sums
        })
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut wins = vec![0.0; known.len()];
    for _ in 0..DRAWS {
        let drawn: Vec<usize> = (0..parcels).map(|_| below(&mut random, parcels)).collect();
        let deficit = |(known, column): (&Known<'_>, &Vec<(f64, f64)>), noise: f64| {
            let (sum, count) = drawn.iter().fold((0.0, 0.0), |(sum, count), parcel| {
                let (own, size) = column[*parcel];
                (sum + own, count + size)
            });
            let attained = match count > 0.0 {
                true => sum / count,
                false => known.dimension.attained + noise * known.half / Z95,
            };
            share_missing(attained, known.dimension.target)
        };
        let deficits: Vec<f64> = known
            .iter()
            .zip(&columns)
            .map(|pair| {
                // A sum of twelve uniform numbers is close to normal.
                let noise = (0..12).map(|_| below(&mut random, 1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0;
                deficit(pair, noise)
            })
            .collect();
        // Dimensions that fall short alike, such as two of the same rows, share the draw.
        let most = deficits.iter().copied().fold(f64::MIN, f64::max);
        let first: Vec<usize> = (0..deficits.len()).filter(|place| deficits[*place] >= most - 1e-9).collect();
        first.iter().for_each(|place| wins[*place] += 1.0 / first.len() as f64);
    }
    known.iter_mut().zip(&wins).for_each(|(known, wins)| known.dimension.probability = wins / DRAWS as f64);
    known.sort_by(|a, b| b.dimension.deficit.total_cmp(&a.dimension.deficit));
    let is_first = |place: usize, dimension: &Dimension| place == 0 || dimension.probability >= POSSIBLE;
    let dimensions = known.into_iter().map(|known| known.dimension).filter(|dimension| dimension.deficit > 0.0);
    dimensions.enumerate().filter(|(place, it)| is_first(*place, it)).map(|(_, dimension)| dimension).collect()
}

/// Returns how many dimensions of quality there are over held-out rows.
pub(super) fn count(evidence: &Evidence) -> usize {
    let figures = evidence.figures(&evidence.candidate, RowsRole::Heldout);
    figures.iter().filter_map(|figure| known(evidence, figure)).count()
}

fn share_missing(attained: f64, target: f64) -> f64 {
    if target > 0.0 { (target - attained).max(0.0) / target } else { 0.0 }
}

fn known<'a>(evidence: &'a Evidence, figure: &Figure) -> Option<Known<'a>> {
    let is_dimension = matches!(evidence.kind(&figure.stage), "metric" | "judge")
        && figure.reading.rank <= Rank::Detail
        && figure.reading.direction == Direction::Higher
        && !figure.value.split('.').any(|part| NO_DIMENSIONS.contains(&part));
    let value = figure.estimate.value.filter(|_| is_dimension)?;
    let (low, high) = evidence.range(figure)?;
    let scaled = |value: f64| (value - low) / (high - low);
    let (target, target_of) = match evidence.target(figure) {
        Some((target, of)) => (scaled(target), of),
        None => (1.0, "scale"),
    };
    let rows = evidence.by_row(figure, Some(&evidence.candidate)).unwrap_or_default();
    let half = figure.estimate.low.zip(figure.estimate.high).map_or(0.0, |(a, b)| (b - a) / 2.0 / (high - low));
    Some(Known {
        dimension: Dimension {
            name: figure.name(),
            value: figure.estimate,
            attained: scaled(value),
            target,
            target_of,
            deficit: share_missing(scaled(value), target),
            probability: 0.0,
            slice: slice(evidence, figure),
            rows: evidence.worst(figure, WORST),
        },
        rows: rows.into_iter().map(|(id, value)| (id, scaled(value))).collect(),
        half,
    })
}

/// Returns the slice with the least of a value, if its interval lies below the value of all rows.
fn slice(evidence: &Evidence, figure: &Figure) -> Option<(String, String, Estimate)> {
    let summary = evidence.run.as_ref()?.summary.get(&figure.stage)?.get(&evidence.candidate)?;
    let all = summary.slices.iter().flat_map(|(column, values)| {
        values.iter().filter_map(move |(value, estimates)| Some((column, value, *estimates.get(&figure.value)?)))
    });
    let is_below = |estimate: &Estimate| {
        estimate.n >= SLICE && estimate.high.zip(figure.estimate.value).is_some_and(|(high, own)| high < own)
    };
    let least = all
        .filter(|(.., estimate)| is_below(estimate))
        .min_by(|a, b| a.2.value.unwrap_or(f64::MAX).total_cmp(&b.2.value.unwrap_or(f64::MAX)))?;
    Some((least.0.clone(), least.1.clone(), least.2))
}
