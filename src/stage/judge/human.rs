//! `human`: how far the judge agrees with people, and what its numbers are once that is taken into account.
//!
//! Of several raters the majority counts; of scores the mean. The judge's verdict on a row's first sample is
//! held against it.
//!
//! | agreement | verdict |
//! |---|---|
//! | its 95 % interval lies at 0.80 or above | CALIBRATED |
//! | 0.80 or more on 20 labels or more | PROVISIONAL |
//! | anything else | NOT CALIBRATED |
//!
//! From 20 labels on, estimates are corrected: means over all rows by what people say beyond the judge on labelled
//! ones (prediction-powered, Angelopoulos et al. 2023), pass rates by the judge's hits and misses (Rogan & Gladen 1978, interval of Lee et
//! al. 2025, arXiv 2511.21140).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::labels::{Label, LabelKind, Labels, Sides};
use super::method::{Method, Said, majority};
use crate::digest::Digest;
use crate::row::Judgement;
use crate::score::{Estimate, Summary};
use crate::stats::{
    HumanScore, Interval, JudgedPasses, Weighting, Z95, agreement, clustered_mean, corrected_mean, correlation,
    cross_table, estimate, resampled_sums, rogan_gladen, sums_interval, weighted_kappa, wilson,
};

/// From which agreement on a judge may stand for people.
const WANTED: f64 = 0.80;
/// Labels from which a point estimate counts for anything.
const FEW: u64 = 20;
/// Disagreements that are listed.
const LISTED: usize = 20;
/// Share of one label from which kappa says little.
const SKEWED: f64 = 0.8;
/// Specificity and sensitivity below whose sum a correction is noise.
const SKILL: f64 = 1.1;
const ALPHA: f64 = 0.05;
/// Resamples of kappa, and the cells up to which there are any: categories², for each criterion.
const RESAMPLES: usize = 2_000;
const MOST_CELLS: usize = 2_000;
const SEED: u64 = 0;

/// Holds a judge's verdicts against labels.
pub(super) struct Calibration {
    labels: Labels,
    kind: LabelKind,
    /// Of the node, as people call it.
    name: String,
    /// Judge's and people's words.
    words: Vec<(String, String)>,
    /// What judge and people say is worth, 0 to 1, row by row.
    worths: Vec<HumanScore>,
    /// By criterion: people's and the judge's scores.
    scores: BTreeMap<String, Vec<(f64, f64)>>,
    /// By criterion, whether each of these is of what a model says now.
    counted: BTreeMap<String, Vec<bool>>,
    /// The same as whole numbers, by row, with the place of their criterion: labels of one row go together.
    rounded: BTreeMap<String, Vec<(usize, i64, i64)>>,
    /// By row: labels that the judge agrees with, and all of them.
    agreed: BTreeMap<String, (f64, f64)>,
    /// What the judge says of rows now: by criterion, or under "".
    all: BTreeMap<String, Vec<f64>>,
    /// Pairs of raters that agree, and all of them.
    raters: (u64, u64),
    disagreements: Vec<(f64, Value)>,
    unjudged: u64,
    seen: BTreeSet<String>,
    expected: BTreeSet<String>,
    /// What the judge said of labelled texts, by row and digest.
    golden: Vec<(String, Option<f64>)>,
}

/// A judgement with what it is about.
pub(super) struct Labelled<'a> {
    pub judgement: &'a Judgement,
    pub sides: Sides<'a>,
    /// Of the texts that were judged.
    pub texts: Option<Digest>,
    /// The texts are what the models say now.
    pub is_current: bool,
}

impl Calibration {
    pub fn new(labels: Labels, kind: LabelKind, name: &str, sides: &[Sides<'_>]) -> Calibration {
        let expected = sides.iter().flat_map(|sides| labels.rows(*sides)).map(str::to_owned).collect();
        Calibration {
            labels,
            kind,
            name: name.to_owned(),
            words: Vec::new(),
            worths: Vec::new(),
            scores: BTreeMap::new(),
            counted: BTreeMap::new(),
            rounded: BTreeMap::new(),
            agreed: BTreeMap::new(),
            all: BTreeMap::new(),
            raters: (0, 0),
            disagreements: Vec::new(),
            unjudged: 0,
            seen: BTreeSet::new(),
            expected,
            golden: Vec::new(),
        }
    }

    pub fn add(&mut self, labelled: &Labelled<'_>, method: &dyn Method) {
        let judgement = labelled.judgement;
        if judgement.sample != 0 {
            return;
        }
        let is_meant = |label: &Label| match &label.texts {
            Some(texts) => labelled.texts == Some(texts.digest()),
            None => labelled.is_current,
        };
        let own: Vec<Label> = self.labels.about(&judgement.id, labelled.sides).into_iter().filter(is_meant).collect();
        let worth = method.worth(&Said::of(judgement)).filter(|_| judgement.status.is_valid());
        if !own.is_empty() {
            self.seen.insert(judgement.id.clone());
            let texts = labelled.texts.map_or_else(String::new, |texts| texts.short());
            self.golden.push((format!("{} {texts}", judgement.id), worth));
        }
        match self.kind.clone() {
            LabelKind::Words(words) => {
                self.note_current(labelled, "", worth);
                self.add_word(labelled, &own, &words, worth, method);
            }
            LabelKind::Scores { criteria, .. } => {
                for criterion in &criteria {
                    let of: Vec<&Label> = own.iter().filter(|label| label.criterion == *criterion).collect();
                    let score = judgement.scores.as_ref().and_then(|scores| scores.get(criterion)?.as_f64());
                    self.note_current(labelled, criterion, score);
                    self.add_score(labelled, criterion, &of, score);
                }
            }
        }
    }

    fn note_current(&mut self, labelled: &Labelled<'_>, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|_| labelled.is_current) {
            self.all.entry(name.to_owned()).or_default().push(value);
        }
    }

    fn count_raters(&mut self, own: &[&Label], agree: impl Fn(&Label, &Label) -> bool) {
        // Labels without a name may be of one person.
        let are_two = |a: &Label, b: &Label| a.rater != b.rater && !a.rater.is_empty() && !b.rater.is_empty();
        for (a, b) in pairs(own.len()).filter(|(a, b)| are_two(own[*a], own[*b])) {
            self.raters.1 += 1;
            self.raters.0 += u64::from(agree(own[a], own[b]));
        }
    }

    fn add_word(
        &mut self,
        labelled: &Labelled<'_>,
        own: &[Label],
        known: &[String],
        worth: Option<f64>,
        method: &dyn Method,
    ) {
        let judgement = labelled.judgement;
        if own.is_empty() {
            return;
        }
        self.count_raters(&own.iter().collect::<Vec<_>>(), |a, b| a.word == b.word);
        // Torn people say nothing of which is better.
        let torn = known.iter().any(|word| word == "tie").then_some("tie");
        let Some(human) = majority(own.iter().map(|label| label.word.as_str())).or(torn) else {
            return;
        };
        let Some(verdict) = judgement.verdict.as_deref() else {
            self.unjudged += 1;
            return;
        };
        let said = match verdict {
            "half_win" => "win",
            "half_loss" => "loss",
            other => other,
        };
        let of_people = method.worth(&Said { scores: None, verdict: Some(human) });
        if let (Some(worth), Some(of_people)) = (worth, of_people) {
            self.worths.push(HumanScore { judge: worth, human: of_people, is_counted: labelled.is_current });
        }
        if said != human {
            let far = worth.zip(of_people).map_or(1.0, |(a, b)| (a - b).abs());
            let row = json!({
                "row": judgement.id, "judge": said, "people": human,
                "reason": judgement.reason, "reason_of_people": reasons(own.iter()),
            });
            self.disagreements.push((far, row));
        }
        self.count_agreed(&judgement.id, said == human);
        self.words.push((said.to_owned(), human.to_owned()));
    }

    fn add_score(&mut self, labelled: &Labelled<'_>, criterion: &str, own: &[&Label], score: Option<f64>) {
        let judgement = labelled.judgement;
        let said: Vec<f64> = own.iter().filter_map(|label| label.score).collect();
        if said.is_empty() {
            return;
        }
        self.count_raters(own, |a, b| a.score == b.score);
        let human = said.iter().sum::<f64>() / said.len() as f64;
        let Some(score) = score else {
            self.unjudged += 1;
            return;
        };
        if score.round() != human.round() {
            let row = json!({
                "row": judgement.id, "criterion": criterion, "judge": score, "people": human,
                "reason": judgement.reason, "reason_of_people": reasons(own.iter().copied()),
            });
            self.disagreements.push(((score - human).abs(), row));
        }
        self.count_agreed(&judgement.id, score.round() == human.round());
        let place = match &self.kind {
            LabelKind::Scores { criteria, .. } => criteria.iter().position(|known| known == criterion).unwrap_or(0),
            LabelKind::Words(_) => 0,
        };
        let rounded = (place, human.round() as i64, score.round() as i64);
        self.rounded.entry(judgement.id.clone()).or_default().push(rounded);
        self.scores.entry(criterion.to_owned()).or_default().push((human, score));
        self.counted.entry(criterion.to_owned()).or_default().push(labelled.is_current);
    }

    fn count_agreed(&mut self, row: &str, is_same: bool) {
        let counts = self.agreed.entry(row.to_owned()).or_default();
        *counts = (counts.0 + f64::from(u8::from(is_same)), counts.1 + 1.0);
    }

    /// Returns the interval of agreement: Wilson's where each row has one label, else over rows.
    fn agreement_interval(&self, rate: f64) -> Option<Interval> {
        let rows = self.agreed.len() as f64;
        let of_rows = wilson(rate * rows, rows, Z95);
        if self.agreed.values().all(|(_, all)| *all == 1.0) {
            return of_rows;
        }
        let sums: Vec<f64> = self.agreed.values().flat_map(|(same, all)| [*same, *all]).collect();
        // Where all rows are alike there is nothing to resample.
        clustered_mean(&sums, SEED).filter(|interval| interval.high > interval.low).or(of_rows)
    }

    /// Returns quadratic kappa, averaged over the criteria for which it is defined, with its interval by resampling
    /// rows. Pooled over criteria it would count that criteria differ as agreement.
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
            .then(|| sums_interval(&resampled_sums(&units, width, RESAMPLES, SEED), width, mean))
            .flatten()
            .filter(|interval| interval.high > interval.low);
        (mean(&whole), interval)
    }

    /// Returns what the judge said of labelled texts, for drift.
    pub fn golden(&self) -> impl Iterator<Item = (String, Option<f64>)> {
        self.golden.iter().cloned()
    }

    pub fn finish(&mut self, method: &dyn Method, summary: &mut Summary, notes: &mut Vec<String>) {
        let mut table = json!({});
        let (agreed, n) = match &self.kind {
            LabelKind::Words(words) => {
                let pairs = self.words.iter().map(|(judge, human)| (human.clone(), judge.clone()));
                let counts = cross_table(words, pairs);
                let found = agreement(&counts);
                let kappa = found.as_ref().and_then(|found| found.kappa);
                let interval = found.as_ref().and_then(|found| found.kappa_interval);
                self.add_kappa(kappa, interval, self.words.len(), summary);
                table["gwet_ac1"] = json!(found.as_ref().and_then(|found| found.gwet_ac1));
                table["max_kappa"] = json!(found.and_then(|found| found.max_kappa));
                table["labels"] = json!(words);
                table["counts"] = json!(counts);
                (self.words.iter().filter(|(a, b)| a == b).count() as u64, self.words.len() as u64)
            }
            LabelKind::Scores { scale, criteria } => {
                let all: Vec<(f64, f64)> = self.scores.values().flatten().copied().collect();
                // A scale of hundreds has no categories.
                let is_short = scale.high - scale.low <= 100.0;
                let categories: Vec<i64> = if is_short {
                    (scale.low.round() as i64..=scale.high.round() as i64).collect()
                } else {
                    Vec::new()
                };
                let rounded = |pairs: &[(f64, f64)]| {
                    let rounded: Vec<(i64, i64)> =
                        pairs.iter().map(|(a, b)| (a.round() as i64, b.round() as i64)).collect();
                    cross_table(&categories, rounded.into_iter())
                };
                let (kappa, interval) = self.mean_kappa(&categories, criteria.len());
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
        };
        let value = (n > 0).then(|| agreed as f64 / n as f64);
        let interval = value.and_then(|value| self.agreement_interval(value));
        let rows = self.agreed.len() as u64;
        let estimate = Estimate {
            value,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            n: rows,
            missing: self.unjudged,
        };
        summary.values.insert("agreement".to_owned(), estimate);
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
        let (same, pairs) = self.raters;
        table["verdict"] = verdict.into();
        let of_raters = wilson(same as f64, pairs as f64, Z95);
        table["raters"] = json!({
            "agreed": same, "pairs": pairs, "agreement": (pairs > 0).then(|| same as f64 / pairs as f64),
            "low": of_raters.map(|interval| interval.low), "high": of_raters.map(|interval| interval.high),
        });
        self.disagreements.sort_by(|a, b| b.0.total_cmp(&a.0));
        table["disagreements"] = self.disagreements.iter().take(LISTED).map(|(_, row)| row.clone()).collect();
        let needed = needed(value);
        table["labels_needed"] = json!(needed);
        let more = match needed {
            Some(needed) if interval.low < WANTED => format!("; {needed} labels at this rate would show 80 %"),
            _ => String::new(),
        };
        let people =
            if pairs > 0 { format!("; people agree with each other on {same} of {pairs}") } else { String::new() };
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

    /// Where nearly all labels are the same, kappa is low however good the judge.
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

    /// Adds estimates that count the judge's errors, beside the raw ones.
    fn correct(&self, method: &dyn Method, summary: &mut Summary, notes: &mut Vec<String>) {
        let mut said = Vec::new();
        let mut why_not = BTreeSet::new();
        let mut mean = |name: &str, all: &[f64], pairs: &[HumanScore], (low, high): (f64, f64)| {
            if (pairs.len() as u64) < FEW {
                why_not.insert(format!("{} labels are fewer than {FEW}", pairs.len()));
                return;
            }
            let Some(found) = corrected_mean(all, pairs, ALPHA) else {
                why_not.insert("fewer than two rows are judged".to_owned());
                return;
            };
            let place = |value: f64| low + (high - low) * value.clamp(0.0, 1.0);
            let n = all.len() as f64;
            // Where all rows are alike the error is 0, and yet other rows could have come out otherwise.
            let interval =
                if found.se > 0.0 { Some(found.interval) } else { wilson(found.corrected.clamp(0.0, 1.0) * n, n, Z95) };
            let interval = interval.map(|found| Interval { low: place(found.low), high: place(found.high) });
            let estimate = estimate(Some(place(found.corrected)), interval, all.len() as u64, 0);
            said.push((name.to_owned(), estimate));
        };
        let of = |map: &BTreeMap<String, Vec<f64>>, name: &str| map.get(name).cloned().unwrap_or_default();
        match &self.kind {
            LabelKind::Words(_) => {
                if let Some((name, range)) = method.headline() {
                    mean(name, &of(&self.all, ""), &self.worths, range);
                }
            }
            LabelKind::Scores { scale, criteria } => {
                let fraction = |score: f64| (score - scale.low) / (scale.high - scale.low);
                for criterion in criteria {
                    let counted = self.counted.get(criterion).into_iter().flatten();
                    let pairs: Vec<HumanScore> = self
                        .scores
                        .get(criterion)
                        .into_iter()
                        .flatten()
                        .zip(counted)
                        .map(|((human, judge), is_counted)| HumanScore {
                            judge: fraction(*judge),
                            human: fraction(*human),
                            is_counted: *is_counted,
                        })
                        .collect();
                    if pairs.is_empty() {
                        continue;
                    }
                    let all: Vec<f64> = of(&self.all, criterion).into_iter().map(fraction).collect();
                    mean(criterion, &all, &pairs, (scale.low, scale.high));
                }
            }
        }
        // Shares: what passes, or the first of two labels.
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
                corrected_share(&format!("share.{first}"), share, n, &pairs, &mut said, &mut why_not);
            }
        }
        for (criterion, pass_at) in method.pass_marks() {
            let pairs: Vec<(bool, bool)> = self
                .scores
                .get(&criterion)
                .into_iter()
                .flatten()
                .map(|(human, judge)| (*judge >= pass_at, *human >= pass_at))
                .collect();
            let all = of(&self.all, &criterion);
            if pairs.is_empty() || all.is_empty() {
                continue;
            }
            let share = all.iter().filter(|score| **score >= pass_at).count() as f64 / all.len() as f64;
            let name = format!("{criterion}.pass_rate");
            corrected_share(&name, share, all.len() as f64, &pairs, &mut said, &mut why_not);
        }
        for (name, estimate) in said {
            if let (Some(value), Some(low), Some(high)) = (estimate.value, estimate.low, estimate.high) {
                let raw = summary.values.get(&name).and_then(|raw| raw.value);
                let raw = raw.map_or_else(String::new, |raw| format!(" (raw {raw:.3})"));
                notes.push(format!("corrected by people's labels: {name} {value:.3} [{low:.3}, {high:.3}]{raw}"));
            }
            summary.values.insert(format!("{name}.corrected"), estimate);
        }
        if !why_not.is_empty() {
            let why_not: Vec<String> = why_not.into_iter().collect();
            notes.push(format!("no corrected estimate: {}", why_not.join("; ")));
        }
    }

    fn add_kappa(&self, kappa: Option<f64>, interval: Option<Interval>, n: usize, summary: &mut Summary) {
        let estimate = estimate(kappa, interval, n as u64, self.unjudged);
        summary.values.insert("kappa".to_owned(), estimate);
    }
}

/// Corrects a share by what people say of (judge, people) pairs.
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

fn reasons<'a>(labels: impl Iterator<Item = &'a Label>) -> Option<String> {
    let said: Vec<&str> = labels.map(|label| label.reason.as_str()).filter(|reason| !reason.is_empty()).collect();
    (!said.is_empty()).then(|| said.join("\n"))
}

/// Returns how many labels at a rate of agreement show that it is 80 % or more; none where no number of
/// them does.
fn needed(rate: f64) -> Option<u64> {
    (rate > WANTED).then(|| {
        (1..=100_000)
            .find(|n| wilson((rate * *n as f64).floor(), *n as f64, Z95).is_some_and(|found| found.low >= WANTED))
    })?
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |a| (a + 1..n).map(move |b| (a, b)))
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
