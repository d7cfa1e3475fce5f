//! Sums up the scores of criteria.

use super::settings::Criterion;
use crate::metric::MeanTally;
use crate::row::Judgement;
use crate::score::Summary;
use crate::stage::judge::evidence::Halo;
use crate::stage::judge::method::{Gathered, Tally, add_bounds};
use crate::stage::judge::read::Scale;
use crate::stats::share_interval;

/// Sums up the scores of a rubric.
pub(crate) struct RubricTally {
    scale: Scale,
    /// The scores of each criterion, in order.
    criteria: Vec<MeanTally>,
    /// For each criterion: how many rows passed, and how many were judged.
    passes: Vec<(u64, u64)>,
    /// For each criterion: its name, weight and pass mark.
    marks: Vec<(String, f64, Option<f64>)>,
    mean: MeanTally,
    overall: MeanTally,
    halo: Halo,
}

impl RubricTally {
    /// Starts an empty tally.
    pub fn new(scale: Scale, criteria: &[Criterion]) -> RubricTally {
        let mean = || MeanTally::within(scale.low, scale.high);
        let mark = |criterion: &Criterion| (criterion.name.clone(), criterion.weight, criterion.pass_at);
        RubricTally {
            scale,
            criteria: criteria.iter().map(|_| mean()).collect(),
            passes: vec![(0, 0); criteria.len()],
            marks: criteria.iter().map(mark).collect(),
            mean: mean(),
            overall: MeanTally::within(0.0, 1.0),
            halo: Halo::new(criteria.iter().map(|criterion| criterion.name.clone()).collect()),
        }
    }
}

impl Tally for RubricTally {
    fn add(&mut self, row: &[Gathered<'_>]) {
        let judgements: Vec<&Judgement> = row.iter().map(|gathered| gathered.judgement).collect();
        let score = |judgement: &Judgement, name: &str| judgement.scores.as_ref()?.get(name)?.as_f64();
        let average = |values: Vec<f64>| {
            if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
        };
        for (index, (name, _, pass_at)) in self.marks.iter().enumerate() {
            let value = average(judgements.iter().filter_map(|judgement| score(judgement, name)).collect());
            self.criteria[index].add_value(value);
            if let (Some(value), Some(pass_at)) = (value, pass_at) {
                self.passes[index].1 += 1;
                self.passes[index].0 += u64::from(value >= *pass_at);
            }
        }
        // If a criterion is missing, the whole is missing: the others are not re-weighted.
        let weights: f64 = self.marks.iter().map(|(_, weight, _)| weight).sum();
        let means: Vec<f64> = judgements
            .iter()
            .filter_map(|judgement| {
                let sum: Option<f64> =
                    self.marks.iter().map(|(name, weight, _)| Some(weight * score(judgement, name)?)).sum();
                Some(sum? / weights)
            })
            .collect();
        let of_row = |(name, _, _): &(String, f64, Option<f64>)| {
            average(judgements.iter().filter_map(|judgement| score(judgement, name)).collect())
        };
        if let Some(scores) = self.marks.iter().map(of_row).collect() {
            self.halo.add(scores);
        }
        let mean = average(means);
        self.mean.add_value(mean);
        self.overall.add_value(mean.map(|mean| (mean - self.scale.low) / (self.scale.high - self.scale.low)));
    }

    fn finish(&mut self, summary: &mut Summary, notes: &mut Vec<String>) {
        summary.values.insert("mean".to_owned(), self.mean.estimate());
        summary.values.insert("overall".to_owned(), self.overall.estimate());
        add_bounds("overall", (0.0, 1.0), summary, notes);
        for (index, (name, _, pass_at)) in self.marks.iter().enumerate() {
            let estimate = self.criteria[index].estimate();
            summary.values.insert(name.clone(), estimate);
            if pass_at.is_some() {
                let (passed, judged) = self.passes[index];
                let interval = share_interval(passed as f64, judged as f64);
                let rate = crate::score::Estimate {
                    value: (judged > 0).then(|| passed as f64 / judged as f64),
                    low: interval.map(|interval| interval.low),
                    high: interval.map(|interval| interval.high),
                    ..estimate
                };
                summary.values.insert(format!("{name}.pass_rate"), rate);
            }
        }
        self.halo.finish(summary, notes);
    }
}
