//! Corrected numbers: a judge's numbers after its errors, as people's labels show them, are taken into account.
//!
//! They are given from 20 labels on. A mean over all rows is corrected by the mean difference between people and judge
//! on the labelled rows (prediction-powered inference, Angelopoulos et al. 2023); a pass rate by the judge's
//! sensitivity and specificity (Rogan & Gladen 1978, interval of Lee et al. 2025, arXiv 2511.21140).

use std::collections::BTreeSet;

use super::calibration::Calibration;
use super::labels::LabelKind;
use crate::score::{Estimate, Summary};
use crate::stage::judge::method::Method;
use crate::stats::{HumanScore, Interval, JudgedPasses, Z95, corrected_mean, estimate, rogan_gladen, wilson};

/// With fewer labels there is no corrected estimate.
const FEW: u64 = 20;

/// If sensitivity plus specificity is below this, a correction would be noise.
const SKILL: f64 = 1.1;

const ALPHA: f64 = 0.05;

/// What is corrected, and why the rest is not.
#[derive(Default)]
struct Corrected {
    said: Vec<(String, Estimate)>,
    why_not: BTreeSet<String>,
}

impl Corrected {
    /// Corrects a mean over all rows, on 0 to 1, and puts it on the scale from `low` to `high`.
    fn mean(&mut self, name: &str, all: &[f64], pairs: &[HumanScore], (low, high): (f64, f64)) {
        if (pairs.len() as u64) < FEW {
            self.why_not.insert(format!("{} labels are fewer than {FEW}", pairs.len()));
            return;
        }
        let Some(found) = corrected_mean(all, pairs, ALPHA) else {
            self.why_not.insert("fewer than two rows are judged".to_owned());
            return;
        };
        let place = |value: f64| low + (high - low) * value.clamp(0.0, 1.0);
        let n = all.len() as f64;
        // Where all rows are alike the error is 0, and yet other rows could have come out otherwise.
        let interval =
            if found.se > 0.0 { Some(found.interval) } else { wilson(found.corrected.clamp(0.0, 1.0) * n, n, Z95) };
        let interval = interval.map(|found| Interval { low: place(found.low), high: place(found.high) });
        let estimate = estimate(Some(place(found.corrected)), interval, all.len() as u64, 0);
        self.said.push((name.to_owned(), estimate));
    }
}

impl Calibration {
    /// Adds corrected estimates beside the raw ones.
    pub(super) fn correct(&self, method: &dyn Method, summary: &mut Summary, notes: &mut Vec<String>) {
        let mut corrected = Corrected::default();
        self.correct_means(method, &mut corrected);
        self.correct_shares(method, summary, &mut corrected);
        for (name, estimate) in corrected.said {
            if let (Some(value), Some(low), Some(high)) = (estimate.value, estimate.low, estimate.high) {
                let raw = summary.values.get(&name).and_then(|raw| raw.value);
                let raw = raw.map_or_else(String::new, |raw| format!(" (raw {raw:.3})"));
                notes.push(format!("corrected by people's labels: {name} {value:.3} [{low:.3}, {high:.3}]{raw}"));
            }
            summary.values.insert(format!("{name}.corrected"), estimate);
        }
        if !corrected.why_not.is_empty() {
            let why_not: Vec<String> = corrected.why_not.into_iter().collect();
            notes.push(format!("no corrected estimate: {}", why_not.join("; ")));
        }
    }

    /// Returns what the judge says of all rows now: by criterion, or under "".
    fn all_of(&self, name: &str) -> Vec<f64> {
        self.all.get(name).cloned().unwrap_or_default()
    }

    fn correct_means(&self, method: &dyn Method, corrected: &mut Corrected) {
        let (scale, criteria) = match &self.kind {
            LabelKind::Words(_) => {
                if let Some((name, range)) = method.headline() {
                    corrected.mean(name, &self.all_of(""), &self.worths, range);
                }
                return;
            }
            LabelKind::Scores { scale, criteria } => (scale, criteria),
        };
        let fraction = |score: f64| (score - scale.low) / (scale.high - scale.low);
        for criterion in criteria {
            let counted = self.counted.get(criterion).into_iter().flatten();
            let scores = self.scores.get(criterion).into_iter().flatten().zip(counted);
            let pairs: Vec<HumanScore> = scores
                .map(|((human, judge), is_counted)| HumanScore {
                    judge: fraction(*judge),
                    human: fraction(*human),
                    is_counted: *is_counted,
                })
                .collect();
            if !pairs.is_empty() {
                let all: Vec<f64> = self.all_of(criterion).into_iter().map(fraction).collect();
                corrected.mean(criterion, &all, &pairs, (scale.low, scale.high));
            }
        }
    }

    /// Corrects shares: of what passes, or of the first of two labels.
    fn correct_shares(&self, method: &dyn Method, summary: &Summary, corrected: &mut Corrected) {
        let Corrected { said, why_not } = corrected;
        let two_words = match &self.kind {
            LabelKind::Words(words) if words.len() == 2 => Some(words[0].clone()),
            _ => None,
        };
        if let Some(first) = two_words {
            let n = self.all.get("").map_or(self.words.len(), Vec::len) as f64;
            let share = summary.values.get(&format!("share.{first}")).and_then(|estimate| estimate.value);
            let pairs: Vec<(bool, bool)> =
                self.words.iter().map(|(judge, human)| (*judge == first, *human == first)).collect();
            if let Some(share) = share {
                corrected_share(&format!("share.{first}"), share, n, &pairs, said, why_not);
            }
        }
        for (criterion, pass_at) in method.pass_marks() {
            let scores = self.scores.get(&criterion).into_iter().flatten();
            let pairs: Vec<(bool, bool)> =
                scores.map(|(human, judge)| (*judge >= pass_at, *human >= pass_at)).collect();
            let all = self.all_of(&criterion);
            if pairs.is_empty() || all.is_empty() {
                continue;
            }
            let share = all.iter().filter(|score| **score >= pass_at).count() as f64 / all.len() as f64;
            let name = format!("{criterion}.pass_rate");
            corrected_share(&name, share, all.len() as f64, &pairs, said, why_not);
        }
    }
}

/// Corrects a share, given what (judge, people) said about labelled rows.
fn corrected_share(
    name: &str,
    share: f64,
    n: f64,
    pairs: &[(bool, bool)],
    said: &mut Vec<(String, Estimate)>,
    why_not: &mut BTreeSet<String>,
) {
    if (pairs.len() as u64) < FEW {
        why_not.insert(format!("{} labels are fewer than {FEW}", pairs.len()));
        return;
    }
    let count = |judge: bool, human: bool| pairs.iter().filter(|pair| **pair == (judge, human)).count() as f64;
    let (true_fails, true_passes) = (count(false, false) + count(true, false), count(true, true) + count(false, true));
    let judged = JudgedPasses {
        passes: share * n,
        n,
        true_fails,
        true_fails_failed: count(false, false),
        true_passes,
        true_passes_passed: count(true, true),
    };
    let found = rogan_gladen(&judged, ALPHA);
    let skill = found.as_ref().and_then(|found| Some(found.specificity? + found.sensitivity?));
    match (found, skill) {
        (Some(found), Some(skill)) if skill > SKILL && found.interval.is_some() => {
            let estimate = Estimate {
                value: found.corrected,
                low: found.interval.map(|interval| interval.low),
                high: found.interval.map(|interval| interval.high),
                n: n as u64,
                missing: 0,
            };
            said.push((name.to_owned(), estimate));
        }
        (_, None) => {
            why_not.insert(format!("{name}: people's labels are all passes or all fails"));
        }
        _ => {
            why_not.insert(format!("{name}: the judge hardly tells passes from fails"));
        }
    }
}
