//! How far the judge agrees with people, and what that allows to say.
//!
//! | agreement | verdict |
//! |---|---|
//! | its 95 % interval lies at 0.80 or above | CALIBRATED |
//! | 0.80 or more on 20 labels or more | PROVISIONAL |
//! | anything else | NOT CALIBRATED |

use serde_json::{Value, json};

use super::calibration::Calibration;
use super::labels::LabelKind;
use crate::score::Summary;
use crate::stage::judge::method::Method;
use crate::stage::judge::read::Scale;
use crate::stats::{
    Interval, Known, MeanSums, Weighting, Z95, agreement, correlation, cross_table, estimate, kappa_interval,
    resampled_sums, sums_interval, weighted_kappa, wilson,
};

/// From this agreement on, a judge may stand in for people.
const WANTED: f64 = 0.80;

/// How many disagreements are listed.
const LISTED: usize = 20;

/// From this share of one label on, kappa says little.
const SKEWED: f64 = 0.8;

/// How many resamples kappa gets, and how many cells (categories², for each criterion) its table may have for that.
const RESAMPLES: usize = 2_000;

const MOST_CELLS: usize = 2_000;

const SEED: u64 = 0;

/// With fewer labels a point estimate counts for nothing.
const FEW: u64 = 20;

impl Calibration {
    /// Writes how far the judge agrees with people, and the numbers that its errors correct.
    pub fn finish(&mut self, method: &dyn Method, summary: &mut Summary, notes: &mut Vec<String>) {
        let mut table = json!({});
        let (agreed, n) = match self.kind.clone() {
            LabelKind::Words(words) => self.agree_on_words(&words, &mut table, summary),
            LabelKind::Scores { scale, criteria } => self.agree_on_scores(scale, criteria.len(), &mut table, summary),
        };
        let value = (n > 0).then(|| agreed as f64 / n as f64);
        let interval = value.and_then(|value| self.agreement_interval(value));
        let rows = self.agreed.len() as u64;
        summary.values.insert("agreement".to_owned(), estimate(value, interval, rows, self.unjudged));
        let unseen = self.expected.difference(&self.seen).count();
        if unseen > 0 {
            notes.push(format!(
                "calibration: labels of {unseen} of {} rows are not used: these rows are not in this run",
                self.expected.len()
            ));
        }
        let (Some(value), Some(interval)) = (value, interval) else {
            notes.push(format!("calibration: no label is about {}", self.name));
            return;
        };
        let verdict = if interval.low >= WANTED {
            "CALIBRATED"
        } else if value >= WANTED && rows >= FEW {
            "PROVISIONAL"
        } else {
            "NOT CALIBRATED"
        };
        table["verdict"] = verdict.into();
        self.disagreements.sort_by(|a, b| b.0.total_cmp(&a.0));
        table["disagreements"] = self.disagreements.iter().take(LISTED).map(|(_, row)| row.clone()).collect();
        let needed = needed(value);
        table["labels_needed"] = json!(needed);
        let more = match needed {
            Some(needed) if interval.low < WANTED => format!("; {needed} labels at this rate would show 80 %"),
            _ => String::new(),
        };
        let people = self.raters_agree(&mut table);
        let of_rows = if rows < n { format!(" of {rows} rows") } else { String::new() };
        notes.push(format!(
            "{verdict}: the judge agrees with people on {agreed} of {n} labels{of_rows}, {:.0} % [{:.0}, {:.0}]{people}{more}",
            100.0 * value,
            100.0 * interval.low,
            100.0 * interval.high
        ));
        self.note_skew(&table, notes);
        summary.tables.insert("calibration".to_owned(), table);
        self.correct(method, summary, notes);
    }

    /// Writes how far people agree with each other; returns it in words.
    fn raters_agree(&self, table: &mut Value) -> String {
        let (same, pairs) = self.raters;
        let of_raters = wilson(same as f64, pairs as f64, Z95);
        table["raters"] = json!({
            "agreed": same, "pairs": pairs, "agreement": (pairs > 0).then(|| same as f64 / pairs as f64),
            "low": of_raters.map(|interval| interval.low), "high": of_raters.map(|interval| interval.high),
        });
        if pairs > 0 { format!("; people agree with each other on {same} of {pairs}") } else { String::new() }
    }

    /// Writes agreement on words; returns how many labels agree, of how many.
    fn agree_on_words(&self, words: &[String], table: &mut Value, summary: &mut Summary) -> (u64, u64) {
        let pairs = self.words.iter().map(|(judge, human)| (human.clone(), judge.clone()));
        let counts = cross_table(words, pairs);
        let found = agreement(&counts);
        let kappa = found.as_ref().and_then(|found| found.kappa);
        let interval = kappa_interval(&counts);
        self.add_kappa(kappa, interval, self.words.len(), summary);
        table["gwet_ac1"] = json!(found.as_ref().and_then(|found| found.gwet_ac1));
        table["max_kappa"] = json!(found.and_then(|found| found.max_kappa));
        table["labels"] = json!(words);
        table["counts"] = json!(counts);
        (self.words.iter().filter(|(a, b)| a == b).count() as u64, self.words.len() as u64)
    }

    /// Writes agreement on scores; returns how many labels agree when rounded, of how many.
    fn agree_on_scores(&self, scale: Scale, criteria: usize, table: &mut Value, summary: &mut Summary) -> (u64, u64) {
        let all: Vec<(f64, f64)> = self.scores.values().flatten().copied().collect();
        // A scale of hundreds has no categories.
        let is_short = scale.high - scale.low <= 100.0;
        let categories: Vec<i64> =
            if is_short { (scale.low.round() as i64..=scale.high.round() as i64).collect() } else { Vec::new() };
        let rounded = |pairs: &[(f64, f64)]| {
            let rounded: Vec<(i64, i64)> = pairs.iter().map(|(a, b)| (a.round() as i64, b.round() as i64)).collect();
            cross_table(&categories, rounded.into_iter())
        };
        let (kappa, interval) = self.mean_kappa(&categories, criteria);
        self.add_kappa(kappa, interval, self.rounded.len(), summary);
        let of_criterion = |(name, pairs): (&String, &Vec<(f64, f64)>)| {
            let (human, judge): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            let found = correlation(&human, &judge);
            let kappa = agreement(&rounded(pairs)).and_then(|found| found.kappa_quadratic);
            let row = json!({
                "n": pairs.len(), "spearman": found.as_ref().and_then(|found| found.spearman),
                "mean_absolute_error": found.as_ref().map(|found| found.mae),
                "bias": found.as_ref().map(|found| found.bias),
                "within_one": found.as_ref().map(|found| found.within_one), "kappa_quadratic": kappa,
            });
            (name.clone(), row)
        };
        table["criteria"] = Value::Object(self.scores.iter().map(of_criterion).collect());
        (all.iter().filter(|(a, b)| a.round() == b.round()).count() as u64, all.len() as u64)
    }

    /// Returns the interval of agreement: Wilson's where each row has one label, else over rows.
    fn agreement_interval(&self, rate: f64) -> Option<Interval> {
        let rows = self.agreed.len() as f64;
        let of_rows = wilson(rate * rows, rows, Z95);
        if self.agreed.values().all(|(_, all)| *all == 1.0) {
            return of_rows;
        }
        let mut sums = MeanSums::default();
        self.agreed.values().for_each(|(same, all)| sums.add(*same, *all));
        sums.interval(&Known { range: Some((0.0, 1.0)), is_all_or_nothing: false, is_clustered: true }).or(of_rows)
    }

    /// Returns quadratic kappa, averaged over the criteria for which it is defined, with an interval from resampled
    /// rows. It is not pooled over criteria, since differences between criteria would count as agreement.
    fn mean_kappa(&self, categories: &[i64], criteria: usize) -> (Option<f64>, Option<Interval>) {
        let k = categories.len();
        let width = k * k * criteria;
        let mean = |sums: &[f64]| {
            let of_criterion = |sums: &[f64]| {
                let counts: Vec<Vec<f64>> = sums.chunks(k).map(<[f64]>::to_vec).collect();
                weighted_kappa(&counts, Weighting::Quadratic)
            };
            let kappas: Vec<f64> = sums.chunks(k * k).filter_map(of_criterion).collect();
            (!kappas.is_empty()).then(|| kappas.iter().sum::<f64>() / kappas.len() as f64)
        };
        let of_row = |scores: &Vec<(usize, i64, i64)>| -> Vec<f64> {
            let of = |wanted: usize| {
                let own = scores.iter().filter(move |(place, ..)| *place == wanted);
                cross_table(categories, own.map(|(_, human, judge)| (*human, *judge))).concat()
            };
            (0..criteria).flat_map(of).collect()
        };
        if k == 0 || width > MOST_CELLS || self.rounded.is_empty() {
            return (None, None);
        }
        let units: Vec<f64> = self.rounded.values().flat_map(of_row).collect();
        let mut whole = vec![0.0; width];
        for unit in units.chunks(width) {
            whole.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
        }
        let interval = (self.rounded.len() > 1)
            .then(|| sums_interval(&resampled_sums(&units, width, RESAMPLES, SEED), width, self.rounded.len(), mean))
            .flatten();
        (mean(&whole), interval)
    }

    /// Notes that kappa says little: if nearly all labels are the same, it is low however good the judge is.
    fn note_skew(&self, table: &Value, notes: &mut Vec<String>) {
        let counts: Vec<Vec<f64>> =
            serde_json::from_value(table.get("counts").cloned().unwrap_or_default()).unwrap_or_default();
        let all: f64 = counts.iter().flatten().sum();
        let most = counts.iter().map(|row| row.iter().sum::<f64>()).fold(0.0, f64::max);
        if all > 0.0
            && most / all > SKEWED
            && let Some(ac1) = table["gwet_ac1"].as_f64()
        {
            notes.push(format!(
                "calibration: {:.0} % of people's labels are the same, so kappa says little; Gwet's AC1 is {ac1:.2}",
                100.0 * most / all
            ));
        }
    }

    fn add_kappa(&self, kappa: Option<f64>, interval: Option<Interval>, n: usize, summary: &mut Summary) {
        let estimate = estimate(kappa, interval, n as u64, self.unjudged);
        summary.values.insert("kappa".to_owned(), estimate);
    }
}

/// Returns how many labels it takes, at this rate of agreement, to show that the agreement is 80 % or more; none if no
/// number of labels shows it.
fn needed(rate: f64) -> Option<u64> {
    (rate > WANTED).then(|| {
        (1..=100_000)
            .find(|n| wilson((rate * *n as f64).floor(), *n as f64, Z95).is_some_and(|found| found.low >= WANTED))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_are_needed_are_those_of_the_tables() {
        // 20 of 20, 46 of 50 and 88 of 100 show 80 %.
        assert_eq!(needed(1.0), Some(16));
        assert!(needed(0.92).is_some_and(|n| n <= 50) && needed(0.88).is_some_and(|n| n <= 100));
        assert_eq!(needed(0.8), None);
    }
}
