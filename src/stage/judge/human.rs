//! `human`: what people said of the same completions, and how far the judge agrees with them.
//!
//! A file of labels has the columns `row` (the id), `label`, and, where they tell anything apart, `model`,
//! `criterion` (of a rubric) and `rater`. Of several raters the majority counts; of scores the mean. The
//! judge's verdict on a row's first sample is held against it.
//!
//! | agreement | verdict |
//! |---|---|
//! | its 95 % interval lies at 0.80 or above | CALIBRATED |
//! | 0.80 or more on 20 rows or more | PROVISIONAL |
//! | anything else | NOT CALIBRATED |

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::method::majority;
use super::verdict::Scale;
use crate::dataset::format_of;
use crate::problem::{Place, Problem, suggest};
use crate::row::Judgement;
use crate::score::{Estimate, Summary};
use crate::spec::Workspace;
use crate::stats::{Z95, agreement, correlation, cross_table, wilson};

/// From which agreement on a judge may stand for people.
const WANTED: f64 = 0.80;
/// Rows from which a point estimate counts for anything.
const FEW: u64 = 20;
/// Disagreements that are listed.
const LISTED: usize = 20;
/// Bad lines that are told.
const TOLD: usize = 10;

/// What labels may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LabelKind {
    /// One of several words.
    Words(Vec<String>),
    /// A score per criterion.
    Scores { scale: Scale, criteria: Vec<String> },
}

/// What one rater said.
#[derive(Clone, Debug, PartialEq)]
struct Label {
    rater: String,
    word: String,
    score: Option<f64>,
}

/// Labels of people, by row, criterion (empty where there are none) and model (empty: of any).
#[derive(Clone, Debug, Default)]
pub(super) struct Labels {
    by: BTreeMap<(String, String), Vec<(String, Label)>>,
}

impl Labels {
    /// Reads a file of the workspace; every bad line is a problem.
    pub fn read(
        workspace: &Workspace,
        name: &str,
        kind: &LabelKind,
        at: &Place,
        problems: &mut Vec<Problem>,
    ) -> Option<Labels> {
        let before = problems.len();
        let mut wrong = |message: String, help: Option<String>| {
            if problems.len() < before + TOLD {
                problems.push(Problem::error("wrong-label", message).at(at).maybe_help(help));
            }
        };
        let Some(format) = format_of(name) else {
            wrong(format!("{name} has no extension that tells what it is"), Some("labels/duel.jsonl".to_owned()));
            return None;
        };
        let records = match format.open(&workspace.path(name)) {
            Ok(records) => records,
            Err(error) => {
                wrong(format!("failed to read {name}: {error}"), None);
                return None;
            }
        };
        let mut labels = Labels::default();
        for record in records {
            let (line, columns) = match record.and_then(|record| Ok((record.line, record.columns()?))) {
                Ok(read) => read,
                Err(bad) => {
                    wrong(format!("{name}:{}: {}", bad.line, bad.message), None);
                    continue;
                }
            };
            let text = |column: &str| match columns.get(column) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.trim().to_owned(),
                Some(other) => other.to_string(),
            };
            let (row, word, criterion) = (text("row"), text("label"), text("criterion"));
            if row.is_empty() {
                let help = "each line has `row` (the id of the row) and `label`".to_owned();
                wrong(format!("{name}:{line}: there is no `row`"), Some(help));
                continue;
            }
            let label = match kind {
                LabelKind::Words(words) => {
                    let Some(known) = words.iter().find(|known| known.eq_ignore_ascii_case(&word)) else {
                        let help = suggest(&word, "labels there are", words.iter().map(String::as_str));
                        wrong(format!("{name}:{line}: there is no label `{word}`"), help);
                        continue;
                    };
                    Label { rater: text("rater"), word: known.clone(), score: None }
                }
                LabelKind::Scores { scale, criteria } => {
                    if !criteria.contains(&criterion) {
                        let help = suggest(&criterion, "criteria there are", criteria.iter().map(String::as_str));
                        wrong(format!("{name}:{line}: there is no criterion `{criterion}`"), help);
                        continue;
                    }
                    let score = word.parse().ok().filter(|score: &f64| (scale.low..=scale.high).contains(score));
                    if score.is_none() {
                        let message =
                            format!("{name}:{line}: `{word}` is no score from {} to {}", scale.low, scale.high);
                        wrong(message, None);
                        continue;
                    }
                    Label { rater: text("rater"), word, score }
                }
            };
            labels.by.entry((row, criterion)).or_default().push((text("model"), label));
        }
        (problems.len() == before).then_some(labels)
    }

    fn of(&self, row: &str, criterion: &str, model: &str) -> Vec<&Label> {
        let all = self.by.get(&(row.to_owned(), criterion.to_owned())).into_iter().flatten();
        all.filter(|(of, _)| of.is_empty() || of == model).map(|(_, label)| label).collect()
    }
}

/// Holds a judge's verdicts against labels.
pub(super) struct Calibration {
    labels: Labels,
    kind: LabelKind,
    model: String,
    /// Judge's and people's words.
    words: Vec<(String, String)>,
    /// By criterion: people's and the judge's scores.
    scores: BTreeMap<String, Vec<(f64, f64)>>,
    /// Pairs of raters that agree, and all of them.
    raters: (u64, u64),
    disagreements: Vec<(f64, Value)>,
    unjudged: u64,
}

impl Calibration {
    pub fn new(labels: Labels, kind: LabelKind, model: &str) -> Calibration {
        Calibration {
            labels,
            kind,
            model: model.to_owned(),
            words: Vec::new(),
            scores: BTreeMap::new(),
            raters: (0, 0),
            disagreements: Vec::new(),
            unjudged: 0,
        }
    }

    pub fn add(&mut self, judgement: &Judgement) {
        if judgement.sample != 0 {
            return;
        }
        match self.kind.clone() {
            LabelKind::Words(_) => self.add_word(judgement),
            LabelKind::Scores { criteria, .. } => {
                criteria.iter().for_each(|criterion| self.add_score(judgement, criterion));
            }
        }
    }

    fn add_word(&mut self, judgement: &Judgement) {
        let own = self.labels.of(&judgement.id, "", &self.model);
        let words: Vec<String> = own.iter().map(|label| label.word.clone()).collect();
        if words.is_empty() {
            return;
        }
        let agree = |a: usize, b: usize| words[a] == words[b];
        let pairs: Vec<bool> =
            pairs(own.len()).filter(|(a, b)| own[*a].rater != own[*b].rater).map(|(a, b)| agree(a, b)).collect();
        self.raters.0 += pairs.iter().filter(|same| **same).count() as u64;
        self.raters.1 += pairs.len() as u64;
        // Torn people say nothing of which is better.
        let torn = matches!(&self.kind, LabelKind::Words(known) if known.iter().any(|word| word == "tie"));
        let Some(human) = majority(words.iter().map(String::as_str)).or(torn.then_some("tie")) else {
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
        if said != human {
            let row = json!({ "row": judgement.id, "judge": said, "people": human, "reason": judgement.reason });
            self.disagreements.push((1.0, row));
        }
        self.words.push((said.to_owned(), human.to_owned()));
    }

    fn add_score(&mut self, judgement: &Judgement, criterion: &str) {
        let own = self.labels.of(&judgement.id, criterion, &self.model);
        let said: Vec<f64> = own.iter().filter_map(|label| label.score).collect();
        if said.is_empty() {
            return;
        }
        for (a, b) in pairs(own.len()).filter(|(a, b)| own[*a].rater != own[*b].rater) {
            self.raters.1 += 1;
            self.raters.0 += u64::from(own[a].score == own[b].score);
        }
        let human = said.iter().sum::<f64>() / said.len() as f64;
        let Some(score) = judgement.scores.as_ref().and_then(|scores| scores.get(criterion)?.as_f64()) else {
            self.unjudged += 1;
            return;
        };
        if score.round() != human.round() {
            let row = json!({
                "row": judgement.id, "criterion": criterion, "judge": score, "people": human, "reason": judgement.reason,
            });
            self.disagreements.push(((score - human).abs(), row));
        }
        self.scores.entry(criterion.to_owned()).or_default().push((human, score));
    }

    pub fn finish(mut self, summary: &mut Summary, notes: &mut Vec<String>) {
        let mut table = json!({});
        let (agreed, n) = match &self.kind {
            LabelKind::Words(words) => {
                let pairs = self.words.iter().map(|(judge, human)| (human.clone(), judge.clone()));
                let counts = cross_table(words, pairs);
                self.kappa(&counts, false, summary, &mut table);
                table["labels"] = json!(words);
                table["counts"] = json!(counts);
                (self.words.iter().filter(|(a, b)| a == b).count() as u64, self.words.len() as u64)
            }
            LabelKind::Scores { scale, .. } => {
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
                self.kappa(&rounded(&all), true, summary, &mut table);
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
        let interval = wilson(agreed as f64, n as f64, Z95);
        let value = (n > 0).then(|| agreed as f64 / n as f64);
        let estimate = Estimate {
            value,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            n,
            missing: self.unjudged,
        };
        summary.values.insert("agreement".to_owned(), estimate);
        let (Some(value), Some(interval)) = (value, interval) else {
            notes.push(format!("calibration: no label is of a row that {} was judged on", self.model));
            return;
        };
        let verdict = if interval.low >= WANTED {
            "CALIBRATED"
        } else if value >= WANTED && n >= FEW {
            "PROVISIONAL"
        } else {
            "NOT CALIBRATED"
        };
        let (same, pairs) = self.raters;
        table["verdict"] = verdict.into();
        table["agreement_of_raters"] = json!((pairs > 0).then(|| same as f64 / pairs as f64));
        self.disagreements.sort_by(|a, b| b.0.total_cmp(&a.0));
        table["disagreements"] = self.disagreements.into_iter().take(LISTED).map(|(_, row)| row).collect();
        let needed = needed(value);
        let more = match needed {
            Some(needed) if interval.low < WANTED => format!("; {needed} labels at this rate would show 80 %"),
            _ => String::new(),
        };
        let people = if pairs > 0 {
            format!("; people agree with each other on {:.0} %", 100.0 * same as f64 / pairs as f64)
        } else {
            String::new()
        };
        notes.push(format!(
            "{verdict}: the judge agrees with people on {agreed} of {n} labels, {:.0} % [{:.0}, {:.0}]{people}{more}",
            100.0 * value,
            100.0 * interval.low,
            100.0 * interval.high
        ));
        summary.tables.insert("calibration".to_owned(), table);
    }

    fn kappa(&self, counts: &[Vec<f64>], is_ordinal: bool, summary: &mut Summary, table: &mut Value) {
        let found = agreement(counts);
        let n = counts.iter().flatten().sum::<f64>() as u64;
        let interval = found.as_ref().and_then(|found| found.kappa_interval).filter(|_| !is_ordinal);
        let kappa = found.as_ref().and_then(|found| if is_ordinal { found.kappa_quadratic } else { found.kappa });
        let estimate = Estimate {
            value: kappa,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            n,
            missing: self.unjudged,
        };
        summary.values.insert("kappa".to_owned(), estimate);
        table["gwet_ac1"] = json!(found.as_ref().and_then(|found| found.gwet_ac1));
        table["max_kappa"] = json!(found.and_then(|found| found.max_kappa));
    }
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
