//! Agreement between raters beyond chance: Cohen, Gwet, Fleiss, Randolph, Krippendorff.

use super::Z95;
use super::distribution::student_quantile;
use super::interval::Interval;

/// How much disagreements between ordered categories count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// Every disagreement counts the same.
    None,
    /// By the distance of the categories.
    Linear,
    /// By the square of the distance.
    Quadratic,
}

/// How two raters agree over the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// Share of rows with the same label.
    pub agreement: f64,
    /// Cohen's kappa (1960). None if both raters put every row into the same single category: 0/0.
    pub kappa: Option<f64>,
    /// Asymptotic standard error of kappa (Fleiss, Cohen & Everitt 1969).
    pub kappa_se: Option<f64>,
    /// The standard error of kappa if the true agreement is no better than chance.
    pub kappa_se_null: Option<f64>,
    /// Normal 95 % interval of kappa.
    pub kappa_interval: Option<Interval>,
    pub kappa_linear: Option<f64>,
    pub kappa_quadratic: Option<f64>,
    /// The largest kappa that the raters' shares of categories allow.
    pub max_kappa: Option<f64>,
    /// Gwet's AC1 (2008): does not collapse where one category holds nearly all rows.
    pub gwet_ac1: Option<f64>,
}

/// Returns the agreement of two raters from their table: `counts[i][j]` rows were put into category i by the first
/// rater and into category j by the second (scikit-learn `cohen_kappa_score`, statsmodels `cohens_kappa`).
///
/// Ordered categories stand in their order. None for an empty table.
pub fn agreement(counts: &[Vec<f64>]) -> Option<Agreement> {
    let q = counts.len();
    let n: f64 = counts.iter().flatten().sum();
    if n <= 0.0 {
        return None;
    }
    let share = |i: usize, j: usize| counts[i][j] / n;
    let rows: Vec<f64> = counts.iter().map(|row| row.iter().sum::<f64>() / n).collect();
    let columns: Vec<f64> = (0..q).map(|j| counts.iter().map(|row| row[j]).sum::<f64>() / n).collect();
    let observed: f64 = (0..q).map(|i| share(i, i)).sum();
    let expected: f64 = (0..q).map(|i| rows[i] * columns[i]).sum();
    let beyond = 1.0 - expected;
    let is_defined = beyond > 1e-15;
    let kappa = is_defined.then(|| (observed - expected) / beyond);
    let kappa_se = kappa.map(|kappa| {
        let mut sum = -(kappa - expected * (1.0 - kappa)).powi(2);
        for i in 0..q {
            for j in 0..q {
                sum += share(i, j)
                    * if i == j {
                        (1.0 - (rows[i] + columns[i]) * (1.0 - kappa)).powi(2)
                    } else {
                        (columns[i] + rows[j]).powi(2) * (1.0 - kappa).powi(2)
                    };
            }
        }
        // A variance of exactly 0 may come out as a tiny number of either sign.
        let variance = if sum < 1e-14 { 0.0 } else { sum };
        (variance / n).sqrt() / beyond
    });
    let kappa_se_null = is_defined.then(|| {
        let overlap: f64 = (0..q).map(|i| rows[i] * columns[i] * (rows[i] + columns[i])).sum();
        ((expected + expected * expected - overlap).max(0.0) / n).sqrt() / beyond
    });
    let kappa_interval =
        kappa.zip(kappa_se).map(|(kappa, se)| Interval { low: kappa - Z95 * se, high: kappa + Z95 * se });
    let most: f64 = (0..q).map(|i| rows[i].min(columns[i])).sum();
    let gwet_ac1 = (q > 1).then(|| {
        let chance = (0..q).map(|k| (rows[k] + columns[k]) / 2.0).map(|p| p * (1.0 - p)).sum::<f64>() / (q - 1) as f64;
        (observed - chance) / (1.0 - chance)
    });
    Some(Agreement {
        agreement: observed,
        kappa,
        kappa_se,
        kappa_se_null,
        kappa_interval,
        kappa_linear: weighted_kappa(counts, Weighting::Linear),
        kappa_quadratic: weighted_kappa(counts, Weighting::Quadratic),
        max_kappa: is_defined.then(|| (most - expected) / beyond),
        gwet_ac1,
    })
}

/// Returns the 95 % interval of kappa: Fleiss, Cohen and Everitt's (1969) error with Student's quantile, after two
/// pseudo-rows that are spread evenly over the table. Without them, with 20 labels of which all but one agree, 45 % of the
/// intervals hold, since few labels show hardly any disagreement; with them 95 % or more from ten labels on.
///
/// None for an empty table and for one category.
pub fn kappa_interval(counts: &[Vec<f64>]) -> Option<Interval> {
    let q = counts.len() as f64;
    let raw = agreement(counts)?;
    let smooth: Vec<Vec<f64>> = counts.iter().map(|row| row.iter().map(|n| n + 2.0 / (q * q)).collect()).collect();
    let found = agreement(&smooth).filter(|_| counts.len() > 1)?;
    let n: f64 = smooth.iter().flatten().sum();
    let (kappa, half) = (found.kappa?, student_quantile(0.975, n - 1.0) * found.kappa_se?);
    let own = raw.kappa.unwrap_or(kappa);
    Some(Interval { low: (kappa - half).max(-1.0).min(own), high: (kappa + half).min(1.0).max(own) })
}

/// Returns weighted kappa (Cohen 1968; scikit-learn `cohen_kappa_score(weights=…)`). None where the
/// raters leave no room for disagreement.
pub fn weighted_kappa(counts: &[Vec<f64>], weighting: Weighting) -> Option<f64> {
    let q = counts.len();
    let n: f64 = counts.iter().flatten().sum();
    let rows: Vec<f64> = counts.iter().map(|row| row.iter().sum()).collect();
    let columns: Vec<f64> = (0..q).map(|j| counts.iter().map(|row| row[j]).sum()).collect();
    let (mut observed, mut expected) = (0.0, 0.0);
    for i in 0..q {
        for j in 0..q {
            let distance = i.abs_diff(j) as f64;
            let weight = match weighting {
                Weighting::None => f64::from(i != j),
                Weighting::Linear => distance,
                Weighting::Quadratic => distance * distance,
            };
            observed += weight * counts[i][j];
            expected += weight * rows[i] * columns[j] / n;
        }
    }
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Returns the table of two raters' labels over the categories; its rows are the first rater's. Labels that are not
/// among the categories are left out.
pub fn cross_table<T: PartialEq>(categories: &[T], pairs: impl Iterator<Item = (T, T)>) -> Vec<Vec<f64>> {
    let mut counts = vec![vec![0.0; categories.len()]; categories.len()];
    let index = |label: &T| categories.iter().position(|category| category == label);
    for (first, second) in pairs {
        if let Some((i, j)) = index(&first).zip(index(&second)) {
            counts[i][j] += 1.0;
        }
    }
    counts
}

/// Returns Fleiss' kappa (1971) and Randolph's free-marginal kappa (2005) for rows that were all labelled by the same
/// number of raters: `counts[row][category]` raters chose the category (statsmodels `fleiss_kappa`).
///
/// None if there are no rows, fewer than two raters, or a different number of raters for some row. The first of the two
/// is none if all labels are of one category.
pub fn fleiss(counts: &[Vec<f64>]) -> Option<(Option<f64>, f64)> {
    let n = counts.len() as f64;
    let raters: f64 = counts.first()?.iter().sum();
    let q = counts[0].len();
    if raters < 2.0 || counts.iter().any(|row| row.len() != q || row.iter().sum::<f64>() != raters) {
        return None;
    }
    let shares: Vec<f64> = (0..q).map(|j| counts.iter().map(|row| row[j]).sum::<f64>() / (n * raters)).collect();
    let agreement = |row: &Vec<f64>| (row.iter().map(|c| c * c).sum::<f64>() - raters) / (raters * (raters - 1.0));
    let observed = counts.iter().map(agreement).sum::<f64>() / n;
    let by_shares: f64 = shares.iter().map(|p| p * p).sum();
    let beyond = |chance: f64| (1.0 - chance > 1e-15).then(|| (observed - chance) / (1.0 - chance));
    Some((beyond(by_shares), beyond(1.0 / q as f64).unwrap_or(observed)))
}

/// What kind of values raters give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Nominal,
    Ordinal,
    Interval,
    Ratio,
}

/// Returns Krippendorff's alpha (2011; the Python package `krippendorff`). `ratings[rater][row]` is none where a rater
/// gave no value; rows with fewer than two values are left out.
///
/// None if all values are equal, or if no row has two values: then there is nothing to disagree about.
pub fn krippendorff(ratings: &[Vec<Option<f64>>], level: Level) -> Option<f64> {
    let mut domain: Vec<f64> = ratings.iter().flatten().flatten().copied().collect();
    domain.sort_by(f64::total_cmp);
    domain.dedup();
    let q = domain.len();
    let rows = ratings.iter().map(Vec::len).max()?;
    let mut coincidences = vec![vec![0.0; q]; q];
    for row in 0..rows {
        let values = ratings.iter().filter_map(|rater| rater.get(row).copied().flatten());
        let mut counts = vec![0.0; q];
        for value in values {
            if let Some(index) = domain.iter().position(|known| *known == value) {
                counts[index] += 1.0;
            }
        }
        let raters: f64 = counts.iter().sum();
        if raters < 2.0 {
            continue;
        }
        for i in 0..q {
            for j in 0..q {
                coincidences[i][j] += counts[i] * (counts[j] - f64::from(i == j)) / (raters - 1.0);
            }
        }
    }
    let sums: Vec<f64> = coincidences.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = sums.iter().sum();
    let distance = |i: usize, j: usize| match level {
        Level::Nominal => f64::from(i != j),
        Level::Ordinal => {
            let (low, high) = (i.min(j), i.max(j));
            (sums[low..=high].iter().sum::<f64>() - (sums[low] + sums[high]) / 2.0).powi(2)
        }
        Level::Interval => (domain[i] - domain[j]).powi(2),
        Level::Ratio if domain[i] + domain[j] == 0.0 => 0.0,
        Level::Ratio => ((domain[i] - domain[j]) / (domain[i] + domain[j])).powi(2),
    };
    let (mut observed, mut expected) = (0.0, 0.0);
    for i in 0..q {
        for j in (0..q).filter(|j| *j != i) {
            observed += coincidences[i][j] * distance(i, j);
            expected += sums[i] * sums[j] * distance(i, j);
        }
    }
    (expected > 0.0).then(|| 1.0 - observed * (total - 1.0) / expected)
}
