//! Estimates that are corrected for a judge's errors, as far as rows labelled by people show those errors.

use super::distribution::z_of;
use super::interval::Interval;

/// A judge's pass rate, and how it judged the rows whose truth people know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgedPasses {
    /// How many of the `n` rows the judge passed.
    pub passes: f64,
    /// How many rows the judge judged.
    pub n: f64,
    /// How many rows people failed.
    pub true_fails: f64,
    /// How many of those rows the judge failed, too.
    pub true_fails_failed: f64,
    /// How many rows people passed.
    pub true_passes: f64,
    /// How many of those rows the judge passed, too.
    pub true_passes_passed: f64,
}

/// A corrected pass rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// The judge's own pass rate.
    pub raw: f64,
    /// The share of the rows failed by people that the judge failed; none without such rows.
    pub specificity: Option<f64>,
    /// The share of the rows passed by people that the judge passed; none without such rows.
    pub sensitivity: Option<f64>,
    /// Rogan & Gladen's (1978) estimate, cut to 0..=1. None if the judge is no better than a coin (specificity +
    /// sensitivity ≤ 1): such a judge says nothing about the truth.
    pub corrected: Option<f64>,
    pub interval: Option<Interval>,
}

/// Returns a pass rate corrected for the judge's errors, with the interval of Lee et al. (arXiv 2511.21140), which
/// includes the uncertainty of the rate, the specificity and the sensitivity.
///
/// None for n = 0.
pub fn rogan_gladen(judged: &JudgedPasses, alpha: f64) -> Option<Corrected> {
    if judged.n <= 0.0 {
        return None;
    }
    let ratio = |top: f64, bottom: f64| (bottom > 0.0).then(|| top / bottom);
    let raw = judged.passes / judged.n;
    let specificity = ratio(judged.true_fails_failed, judged.true_fails);
    let sensitivity = ratio(judged.true_passes_passed, judged.true_passes);
    let skill = specificity.zip(sensitivity).map(|(q0, q1)| q0 + q1 - 1.0).filter(|skill| *skill > 0.0);
    let corrected = skill.zip(specificity).map(|(skill, q0)| ((raw + q0 - 1.0) / skill).clamp(0.0, 1.0));
    let interval = corrected.and_then(|_| {
        let z = z_of(alpha);
        let p = (judged.passes + z * z / 2.0) / (judged.n + z * z);
        let (n, m0, m1) = (judged.n + z * z, judged.true_fails + 2.0, judged.true_passes + 2.0);
        let (q0, q1) = ((judged.true_fails_failed + 1.0) / m0, (judged.true_passes_passed + 1.0) / m1);
        let skill = q0 + q1 - 1.0;
        let theta = (p + q0 - 1.0) / skill;
        let (v0, v1) = (q0 * (1.0 - q0) / m0, q1 * (1.0 - q1) / m1);
        let shift = 2.0 * z * z * (theta * v1 - (1.0 - theta) * v0);
        let se = (p * (1.0 - p) / n + (1.0 - theta).powi(2) * v0 + theta.powi(2) * v1).sqrt() / skill;
        let end = |value: f64| value.clamp(0.0, 1.0);
        // With few rows, the smoothed rates may show no skill although the raw rates do; then there is no interval.
        (skill > 0.0).then(|| Interval { low: end(theta + shift - z * se), high: end(theta + shift + z * se) })
    });
    Some(Corrected { raw, specificity, sensitivity, corrected, interval })
}

/// A row with a score from people and one from the judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HumanScore {
    /// The judge's score.
    pub judge: f64,
    /// People's score, on the same scale.
    pub human: f64,
    /// Whether the row is among those over which the judge's mean is taken.
    pub is_counted: bool,
}

/// Returns the judge's mean over `all` rows plus the mean difference between people and judge on the labelled rows: the
/// difference estimator (Cochran 1977, 7.2).
///
/// If no labelled row is among `all`, this is the prediction-powered mean (Angelopoulos et al. 2023). If some are, the
/// standard error takes the overlap into account: if every row is labelled, it equals that of people's own mean.
///
/// None with fewer than two rows on either side.
pub fn corrected_mean(all: &[f64], labelled: &[HumanScore], alpha: f64) -> Option<PredictionPowered> {
    if all.len() < 2 || labelled.len() < 2 {
        return None;
    }
    let (n, m) = (all.len() as f64, labelled.len() as f64);
    let naive = mean_variance(all).0;
    let gaps: Vec<f64> = labelled.iter().map(|row| row.human - row.judge).collect();
    let gap = mean_variance(&gaps).0;
    let human = labelled.iter().map(|row| row.human).sum::<f64>() / m;
    // The squared influence of each row on the estimate, with n − 1 and m − 1 as in variances.
    let (of_n, of_m) = (n / (n - 1.0), m / (m - 1.0));
    let of_judge: f64 = of_n * all.iter().map(|judge| ((judge - naive) / n).powi(2)).sum::<f64>();
    let of_people: f64 = of_m * gaps.iter().map(|own| ((own - gap) / m).powi(2)).sum::<f64>();
    let both = labelled.iter().zip(&gaps).filter(|(row, _)| row.is_counted);
    let of_both: f64 = both.map(|(row, own)| 2.0 * (row.judge - naive) / n * (own - gap) / m).sum();
    let se = (of_judge + of_people + (of_n * of_m).sqrt() * of_both).max(0.0).sqrt();
    let (corrected, half) = (naive + gap, z_of(alpha) * se);
    let interval = Interval { low: corrected - half, high: corrected + half };
    Some(PredictionPowered { naive, human, corrected, se, interval })
}

/// A mean score, corrected by people's scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictionPowered {
    /// The mean of the judge alone.
    pub naive: f64,
    /// The mean of people alone.
    pub human: f64,
    /// The corrected mean.
    pub corrected: f64,
    pub se: f64,
    pub interval: Interval,
}

/// Returns mean and variance (n − 1) of at least two values.
pub(super) fn mean_variance(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_on_every_row_leave_peoples_own_mean_and_error() {
        let rows: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i % 3), f64::from(i % 4))).collect();
        let all: Vec<f64> = rows.iter().map(|row| row.0).collect();
        let people: Vec<f64> = rows.iter().map(|row| row.1).collect();
        let labelled: Vec<HumanScore> =
            rows.iter().map(|(judge, human)| HumanScore { judge: *judge, human: *human, is_counted: true }).collect();
        let found = corrected_mean(&all, &labelled, 0.05).unwrap();
        let (mean, variance) = mean_variance(&people);
        assert!((found.corrected - mean).abs() < 1e-12 && (found.human - mean).abs() < 1e-12);
        assert!((found.se - (variance / 50.0).sqrt()).abs() < 1e-12, "{} {}", found.se, (variance / 50.0).sqrt());
    }

    #[test]
    fn rates_without_skill_have_no_interval() {
        let judged = JudgedPasses {
            passes: 15.0,
            n: 100.0,
            true_fails: 1.0,
            true_fails_failed: 1.0,
            true_passes: 19.0,
            true_passes_passed: 3.0,
        };
        assert_eq!(rogan_gladen(&judged, 0.05).unwrap().interval, None);
    }
}
