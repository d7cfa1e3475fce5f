//! `compare`: which of two responses is better, against a baseline.
//!
//! `order: both` asks twice with the places swapped; `order: random` asks once, placed by a digest of
//! the row, so that neither the clock nor the order of rows decides. The names of the models are
//! never shown.

use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::method::{Candidates, Method, Question, Reading, Tally, missing};
use super::verdict::{Verdict, read_pair};
use crate::digest::Digest;
use crate::metric::MeanTally;
use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus};
use crate::score::{Estimate, Summary, Unit};
use crate::spec::{Node, decode};
use crate::stats::{Z95, wilson};

/// Rows from which the win rate's interval is a bootstrap; Wilson below, and at 0 and 1.
const BOOTSTRAP_FROM: u64 = 30;
/// Characters of a judge's reply that are kept as its reason.
const MAX_REASON: usize = 2_000;

/// Compares with a baseline.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "compare")]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The model compared with.
    baseline: String,
    /// Which candidate is shown first.
    #[serde(default)]
    order: Order,
    /// What two orders that disagree mean.
    #[serde(default)]
    tie_rule: TieRule,
    /// 3: A, B or tie; 2: A or B.
    #[serde(default = "three")]
    verdicts: u8,
    /// Seed of `order: random`.
    #[serde(default)]
    seed: u64,
}

fn three() -> u8 {
    3
}

/// Which candidate is shown first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "order")]
#[serde(rename_all = "lowercase")]
enum Order {
    /// Each row twice, swapped.
    #[default]
    Both,
    /// Each row once, placed by its digest.
    Random,
}

/// What two orders that disagree mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "tie_rule")]
#[serde(rename_all = "lowercase")]
enum TieRule {
    /// A tie (Zheng et al. 2023).
    #[default]
    Mtbench,
    /// The mean of the two.
    Average,
    /// The row leaves; it is counted as missing.
    Drop,
}

struct Compare {
    baseline: String,
    order: Order,
    tie_rule: TieRule,
    allow_tie: bool,
    seed: u64,
}

pub(super) fn parse(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Box<dyn Method>> {
    match decode::<Settings>(node, &format!("{what}: `compare`")) {
        Ok(settings) => {
            if !matches!(settings.verdicts, 2 | 3) {
                let place = node.get("verdicts").map_or(&node.place, |node| &node.place);
                problems.push(
                    Problem::error("wrong-value", format!("{what}: `verdicts` is 2 (A, B) or 3 (A, B, tie)")).at(place),
                );
                return None;
            }
            Some(Box::new(Compare {
                baseline: settings.baseline,
                order: settings.order,
                tie_rule: settings.tie_rule,
                allow_tie: settings.verdicts == 3,
                seed: settings.seed,
            }))
        }
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

impl Compare {
    /// Returns for each order whether the node's model stands first.
    fn orders(&self, id: &str) -> Vec<bool> {
        match self.order {
            Order::Both => vec![false, true],
            Order::Random => {
                let digest = Digest::of_json("etalon.order", &json!([self.seed, id]));
                vec![digest.seed().is_multiple_of(2)]
            }
        }
    }
}

/// What a verdict means for the node's model, as win, tie or loss.
fn outcome(label: &str, is_first: bool) -> &'static str {
    match (label.trim_end_matches('+'), is_first) {
        ("A", true) | ("B", false) => "win",
        ("A", false) | ("B", true) => "loss",
        _ => "tie",
    }
}

fn points(outcome: &str) -> f64 {
    match outcome {
        "win" => 1.0,
        "loss" => 0.0,
        _ => 0.5,
    }
}

impl Method for Compare {
    fn default_prompt(&self) -> &'static str {
        "judge/pairwise.j2"
    }

    fn variables(&self) -> &'static [&'static str] {
        &["row", "params", "a", "b", "prompt", "reference", "tag", "ties"]
    }

    fn baseline(&self) -> Option<&str> {
        Some(&self.baseline)
    }

    fn settings(&self) -> Map<String, Value> {
        let mut settings = Map::new();
        let order = if self.order == Order::Both { "both" } else { "random" };
        settings.insert("compare.order".to_owned(), order.into());
        if self.order == Order::Random && self.seed != 0 {
            settings.insert("compare.seed".to_owned(), self.seed.into());
        }
        if self.tie_rule != TieRule::Mtbench {
            settings.insert("compare.tie_rule".to_owned(), format!("{:?}", self.tie_rule).to_lowercase().into());
        }
        if !self.allow_tie {
            settings.insert("compare.verdicts".to_owned(), 2.into());
        }
        settings
    }

    fn without_asking(&self, candidates: &Candidates<'_>) -> Option<Judgement> {
        let baseline = candidates.baseline.unwrap_or_default();
        let verdict = match (candidates.completion.trim().is_empty(), baseline.trim().is_empty()) {
            (false, false) => return None,
            (true, true) => "tie",
            (true, false) => "loss",
            (false, true) => "win",
        };
        let mut judgement = missing(candidates, VerdictStatus::Ok, Some("empty_output".to_owned()));
        judgement.verdict = Some(verdict.to_owned());
        Some(judgement)
    }

    fn questions(&self, candidates: &Candidates<'_>) -> Vec<Question> {
        let baseline = candidates.baseline.unwrap_or_default();
        self.orders(candidates.id)
            .into_iter()
            .map(|is_first| {
                let (a, b) =
                    if is_first { (candidates.completion, baseline) } else { (baseline, candidates.completion) };
                Question {
                    variables: vec![
                        ("a", TemplateValue::from(a)),
                        ("b", TemplateValue::from(b)),
                        ("ties", TemplateValue::from(self.allow_tie)),
                    ],
                }
            })
            .collect()
    }

    fn calls_per_row(&self) -> u64 {
        if self.order == Order::Both { 2 } else { 1 }
    }

    fn read(&self, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> Reading {
        let reading = read_pair(text, self.allow_tie, finish_reason, tag);
        let error = match reading.status {
            VerdictStatus::Ambiguous => "its last line names two verdicts",
            VerdictStatus::InvalidLabel => "a tie is not allowed here",
            VerdictStatus::Truncated => "it was cut off",
            VerdictStatus::Empty => "it was empty",
            _ => "it names no verdict",
        };
        Reading {
            status: reading.status,
            said: reading.verdict.map(Verdict::label).map_or(Value::Null, Value::from),
            reason: Some(text.trim().chars().take(MAX_REASON).collect()),
            error: error.to_owned(),
        }
    }

    fn contract(&self, tag: Option<&str>) -> String {
        let tie = if self.allow_tie { ", or TIE" } else { "" };
        match tag {
            Some(tag) => format!(
                "one line: `VERDICT-{tag}: A` or `VERDICT-{tag}: B`{}",
                if self.allow_tie { format!(" or `VERDICT-{tag}: TIE`") } else { String::new() }
            ),
            None => format!("the verdict in double brackets: [[A]] or [[B]]{}", tie.replace("TIE", "[[TIE]]")),
        }
    }

    fn judgement(&self, candidates: &Candidates<'_>, readings: &[Reading]) -> Judgement {
        let orders = self.orders(candidates.id);
        let said: Vec<Option<&'static str>> = readings
            .iter()
            .zip(&orders)
            .map(|(reading, is_first)| {
                let label = reading.said.as_str().filter(|_| reading.status.is_valid())?;
                Some(outcome(label, *is_first))
            })
            .collect();
        let failed = readings.iter().find(|reading| !reading.status.is_valid());
        let status = match failed {
            Some(reading) => reading.status,
            None if readings.iter().any(|reading| reading.status == VerdictStatus::Repaired) => VerdictStatus::Repaired,
            None => VerdictStatus::Ok,
        };
        let reason = failed
            .map(|reading| reading.error.clone())
            .or_else(|| readings.first().and_then(|reading| reading.reason.clone()));
        let mut judgement = missing(candidates, status, reason);
        judgement.orders = said.iter().map(|said| said.map(str::to_owned)).collect();
        judgement.verdict = match said.as_slice() {
            [Some(only)] => Some((*only).to_owned()),
            [Some(first), Some(second)] if first == second => Some((*first).to_owned()),
            [Some(first), Some(second)] => match self.tie_rule {
                TieRule::Mtbench => Some("tie".to_owned()),
                // The mean of a win and a loss is a tie; half a tie away from it lies between.
                TieRule::Average => Some(match points(first) + points(second) {
                    sum if sum > 1.0 => "half_win".to_owned(),
                    sum if sum < 1.0 => "half_loss".to_owned(),
                    _ => "tie".to_owned(),
                }),
                TieRule::Drop => None,
            },
            _ => None,
        };
        judgement
    }

    fn tally(&self, seed: u64) -> Box<dyn Tally> {
        Box::new(CompareTally { points: MeanTally::new(seed), ..CompareTally::default() })
    }

    fn values(&self) -> Vec<(String, Unit)> {
        let mut values = vec![("win_rate".to_owned(), Unit::Rate), ("decisive_win_rate".to_owned(), Unit::Rate)];
        if self.order == Order::Both {
            values.push(("position_consistency".to_owned(), Unit::Rate));
        }
        values.extend(["wins", "losses", "ties"].map(|name| (name.to_owned(), Unit::Count)));
        values
    }
}

struct CompareTally {
    points: MeanTally,
    wins: f64,
    losses: f64,
    ties: f64,
    n: u64,
    missing: u64,
    /// Rows whose two orders agree, rows with two valid orders.
    consistent: f64,
    swapped: u64,
}

impl Default for CompareTally {
    fn default() -> CompareTally {
        CompareTally {
            points: MeanTally::new(0),
            wins: 0.0,
            losses: 0.0,
            ties: 0.0,
            n: 0,
            missing: 0,
            consistent: 0.0,
            swapped: 0,
        }
    }
}

impl Tally for CompareTally {
    fn add(&mut self, judgements: &[Judgement]) {
        // Samples of a row are averaged first: n counts rows.
        let pairs: Vec<bool> = judgements
            .iter()
            .filter_map(|judgement| match judgement.orders.as_slice() {
                [Some(first), Some(second)] => Some(first == second),
                _ => None,
            })
            .collect();
        if !pairs.is_empty() {
            self.swapped += 1;
            self.consistent += pairs.iter().filter(|same| **same).count() as f64 / pairs.len() as f64;
        }
        let verdicts: Vec<f64> = judgements
            .iter()
            .filter_map(|judgement| {
                Some(match judgement.verdict.as_deref()? {
                    "half_win" => 0.75,
                    "half_loss" => 0.25,
                    other => points(other),
                })
            })
            .collect();
        if verdicts.is_empty() {
            self.missing += 1;
            self.points.add_value(None);
            return;
        }
        self.n += 1;
        let share = |is_meant: &dyn Fn(f64) -> bool| {
            verdicts.iter().filter(|points| is_meant(**points)).count() as f64 / verdicts.len() as f64
        };
        self.wins += share(&|points| points > 0.5);
        self.losses += share(&|points| points < 0.5);
        self.ties += share(&|points| points == 0.5);
        self.points.add_value(Some(verdicts.iter().sum::<f64>() / verdicts.len() as f64));
    }

    fn finish(&mut self, summary: &mut Summary) {
        let (n, missing) = (self.n, self.missing);
        let proportion = |successes: f64, of: f64, n: u64| {
            let interval = wilson(successes, of, Z95);
            Estimate {
                value: (of > 0.0).then(|| successes / of),
                low: interval.map(|interval| interval.low),
                high: interval.map(|interval| interval.high),
                n,
                missing,
            }
        };
        let mean = self.points.estimate();
        let rate = mean.value.unwrap_or(0.0);
        let win_rate = if n >= BOOTSTRAP_FROM && rate > 0.0 && rate < 1.0 && mean.low != mean.high {
            mean
        } else {
            proportion(rate * n as f64, n as f64, n)
        };
        summary.values.insert("win_rate".to_owned(), win_rate);
        let decided = self.wins + self.losses;
        summary.values.insert("decisive_win_rate".to_owned(), proportion(self.wins, decided, decided.round() as u64));
        if self.swapped > 0 {
            let consistency = Estimate {
                missing: n + missing - self.swapped,
                ..proportion(self.consistent, self.swapped as f64, self.swapped)
            };
            summary.values.insert("position_consistency".to_owned(), consistency);
        }
        for (name, value) in [("wins", self.wins), ("losses", self.losses), ("ties", self.ties)] {
            summary.values.insert(name.to_owned(), Estimate { value: Some(value), low: None, high: None, n, missing });
        }
    }
}
