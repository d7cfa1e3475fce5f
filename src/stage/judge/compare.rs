//! `compare`: which of two responses is better, against a baseline or of all pairs of models.
//!
//! `order: both` asks twice with the places swapped; `order: random` asks once, placed by a digest of
//! the row, so that neither the clock nor the order of rows decides. The names of the models are
//! never shown.

use minijinja::Value as TemplateValue;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::bias::{Lengths, Positions, orders_of};
use super::labels::{LabelKind, PAIR};
use super::method::{
    Candidates, Gathered, Method, Question, Reading, Said, Tally, Votes, add_bounds, majority, missing,
};
use super::pairs::PairsTally;
use super::verdict::{Verdict, read_pair};
use crate::digest::Digest;
use crate::metric::MeanTally;
use crate::problem::Problem;
use crate::row::{Judgement, VerdictStatus};
use crate::score::{Estimate, Summary, Unit};
use crate::spec::{Node, decode};
use crate::stage::Sheet;
use crate::stats::{Z95, estimate, sign_test, wilson};

/// Rows from which the win rate's interval is a bootstrap; Wilson below, and at 0 and 1.
const BOOTSTRAP_FROM: u64 = 30;
/// Characters of a judge's reply that are kept as its reason.
const MAX_REASON: usize = 2_000;

/// Rows below which placing each once at random leaves too much to chance.
const FEW_RANDOM: u64 = 200;

/// Compares with a baseline, or each model with each.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "compare")]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The model compared with.
    baseline: Option<String>,
    /// Instead of `baseline`: each model is compared with each, and ranked.
    pairs: Option<PairsOf>,
    /// Which candidate is shown first.
    #[serde(default)]
    order: Order,
    /// What two orders that disagree mean.
    #[serde(default)]
    tie_rule: TieRule,
    /// 2: A or B; 3: A, B or tie; 5: also by how much (`A>>B`), of which `strong` is the share.
    #[serde(default = "three")]
    verdicts: u8,
    /// Seed of `order: random`.
    #[serde(default)]
    seed: u64,
    /// Rows of which the judge is also shown the same response twice: anything but a tie is made up.
    #[serde(default)]
    identity_pairs: u64,
    /// The judge first answers the request itself: better on hard questions, and it favours its own kind.
    #[serde(default)]
    answer_first: bool,
    /// How the built-in template has verdicts written.
    #[serde(default)]
    verdict_style: VerdictStyle,
}

/// Which pairs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "pairs")]
#[serde(rename_all = "lowercase")]
enum PairsOf {
    /// Each model with each.
    All,
}

/// How verdicts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(rename = "verdict_style")]
#[serde(rename_all = "lowercase")]
enum VerdictStyle {
    /// `VERDICT-<tag>: A`: what a candidate quotes cannot vote.
    #[default]
    Tag,
    /// `[[A]]`, as MT-Bench has it.
    Bracket,
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
    /// None: all pairs.
    baseline: Option<String>,
    identity_pairs: u64,
    answer_first: bool,
    verdict_style: VerdictStyle,
    order: Order,
    tie_rule: TieRule,
    verdicts: u8,
    seed: u64,
}

pub(super) fn parse(node: &Node, what: &str, problems: &mut Vec<Problem>) -> Option<Box<dyn Method>> {
    match decode::<Settings>(node, &format!("{what}: `compare`")) {
        Ok(settings) => {
            if !matches!(settings.verdicts, 2 | 3 | 5) {
                let place = node.get("verdicts").map_or(&node.place, |node| &node.place);
                problems.push(
                    Problem::error(
                        "wrong-value",
                        format!("{what}: `verdicts` is 2 (A, B), 3 (A, B, tie) or 5 (A>>B to B>>A)"),
                    )
                    .at(place),
                );
                return None;
            }
            if settings.identity_pairs > 0 && settings.verdicts == 2 {
                let place = node.get("identity_pairs").map_or(&node.place, |node| &node.place);
                problems.push(
                    Problem::error(
                        "conflict",
                        format!("{what}: `identity_pairs` needs ties, and `verdicts: 2` has none"),
                    )
                    .at(place)
                    .help("verdicts: 3"),
                );
                return None;
            }
            if settings.baseline.is_some() == settings.pairs.is_some() {
                let message = format!("{what}: `compare` needs either `baseline` or `pairs: all`");
                problems.push(
                    Problem::error("missing-field", message)
                        .at(&node.place)
                        .help("compare: { baseline: base }, or { pairs: all } for a ranking"),
                );
                return None;
            }
            Some(Box::new(Compare {
                baseline: settings.baseline,
                identity_pairs: settings.identity_pairs,
                answer_first: settings.answer_first,
                verdict_style: settings.verdict_style,
                order: settings.order,
                tie_rule: settings.tie_rule,
                verdicts: settings.verdicts,
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
    fn allow_tie(&self) -> bool {
        self.verdicts > 2
    }

    /// Returns for each order whether the node's model stands first.
    fn orders(&self, candidates: &Candidates<'_>) -> Vec<bool> {
        match self.order {
            Order::Both => vec![false, true],
            Order::Random => {
                let row = match candidates.pair {
                    Some(pair) => json!([self.seed, candidates.id, pair]),
                    None => json!([self.seed, candidates.id]),
                };
                let digest = Digest::of_json("etalon.order", &row);
                vec![digest.seed().is_multiple_of(2)]
            }
        }
    }
}

/// What a verdict means for the node's model: win, tie or loss, with `+` behind where it is by far.
fn outcome(label: &str, is_first: bool) -> &'static str {
    match (label, is_first) {
        ("A", true) | ("B", false) => "win",
        ("A+", true) | ("B+", false) => "win+",
        ("A", false) | ("B", true) => "loss",
        ("A+", false) | ("B+", true) => "loss+",
        _ => "tie",
    }
}

/// What an outcome or a verdict counts for the node's model, 0 to 1.
fn points(outcome: &str) -> f64 {
    match outcome.trim_end_matches('+') {
        "win" => 1.0,
        "loss" => 0.0,
        "half_win" => 0.75,
        "half_loss" => 0.25,
        _ => 0.5,
    }
}

/// The verdict that comes nearest to a mean of points.
fn verdict_of(points: f64) -> &'static str {
    match points {
        points if points >= 0.875 => "win",
        points if points > 0.5 => "half_win",
        points if points <= 0.125 => "loss",
        points if points < 0.5 => "half_loss",
        _ => "tie",
    }
}

/// A verdict without how nearly it is one.
pub(super) fn whole(verdict: &str) -> &str {
    verdict.strip_prefix("half_").unwrap_or(verdict)
}

/// Returns what a judgement counts, 0 to 1: of one judge that was asked several times the mean, not the nearest
/// word.
pub(super) fn points_of(judgement: &Judgement) -> Option<f64> {
    let verdict = judgement.verdict.as_deref()?;
    let is_one_judge = judgement.votes.iter().all(|vote| vote.judge == 0);
    let said: Vec<f64> = judgement.votes.iter().filter_map(|vote| vote.verdict.as_deref()).map(points).collect();
    if !is_one_judge || said.is_empty() {
        return Some(points(verdict));
    }
    Some(said.iter().sum::<f64>() / said.len() as f64)
}

/// An outcome without how strongly.
pub(super) fn side(outcome: &str) -> &str {
    outcome.trim_end_matches('+')
}

impl Method for Compare {
    fn default_prompt(&self) -> &'static str {
        "judge/pairwise.j2"
    }

    fn variables(&self) -> &'static [&'static str] {
        &["row", "params", "a", "b", "prompt", "reference", "tag", "ties", "verdicts", "answer_first", "verdict_style"]
    }

    fn baseline(&self) -> Option<&str> {
        self.baseline.as_deref()
    }

    fn is_all_pairs(&self) -> bool {
        self.baseline.is_none()
    }

    fn identity_pairs(&self) -> u64 {
        self.identity_pairs
    }

    fn binds_tag(&self) -> bool {
        self.verdict_style == VerdictStyle::Tag
    }

    fn worth(&self, said: &Said<'_>) -> Option<f64> {
        said.verdict.map(points)
    }

    fn headline(&self) -> Option<(&'static str, (f64, f64))> {
        self.baseline.as_ref().map(|_| ("win_rate", (0.0, 1.0)))
    }

    fn sheet(&self) -> Sheet {
        Sheet::Pair
    }

    fn labels(&self) -> LabelKind {
        LabelKind::Words(PAIR.map(str::to_owned).to_vec())
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
        if self.is_all_pairs() {
            settings.insert("compare.pairs".to_owned(), "all".into());
        }
        if self.answer_first {
            settings.insert("compare.answer_first".to_owned(), true.into());
        }
        if self.verdict_style == VerdictStyle::Bracket {
            settings.insert("compare.verdict_style".to_owned(), "bracket".into());
        }
        if self.verdicts != 3 {
            settings.insert("compare.verdicts".to_owned(), self.verdicts.into());
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
        self.orders(candidates)
            .into_iter()
            .enumerate()
            .map(|(number, is_first)| {
                let (a, b) =
                    if is_first { (candidates.completion, baseline) } else { (baseline, candidates.completion) };
                Question {
                    number,
                    variables: vec![
                        ("a", TemplateValue::from(a)),
                        ("b", TemplateValue::from(b)),
                        ("ties", TemplateValue::from(self.allow_tie())),
                        ("verdicts", TemplateValue::from(self.verdicts)),
                        ("answer_first", TemplateValue::from(self.answer_first)),
                        ("verdict_style", TemplateValue::from(if self.binds_tag() { "tag" } else { "bracket" })),
                    ],
                }
            })
            .collect()
    }

    fn calls_per_row(&self) -> u64 {
        if self.order == Order::Both { 2 } else { 1 }
    }

    fn read(&self, _question: &Question, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> Reading {
        let reading = read_pair(text, self.allow_tie(), finish_reason, tag);
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

    fn contract(&self, _question: &Question, tag: Option<&str>) -> String {
        let tie = if self.allow_tie() { ", or TIE" } else { "" };
        if self.verdicts == 5 {
            let labels = ["A>>B", "A>B", "A=B", "B>A", "B>>A"];
            let written = labels.map(|label| match tag {
                Some(tag) => format!("`VERDICT-{tag}: {label}`"),
                None => format!("[[{label}]]"),
            });
            return format!("one of the lines {}", written.join(", "));
        }
        match tag {
            Some(tag) => format!(
                "one line: `VERDICT-{tag}: A` or `VERDICT-{tag}: B`{}",
                if self.allow_tie() { format!(" or `VERDICT-{tag}: TIE`") } else { String::new() }
            ),
            None => format!("the verdict in double brackets: [[A]] or [[B]]{}", tie.replace("TIE", "[[TIE]]")),
        }
    }

    fn judgement(&self, candidates: &Candidates<'_>, readings: &[Reading]) -> Judgement {
        let orders = self.orders(candidates);
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
        let disagrees = matches!(said.as_slice(), [Some(a), Some(b)] if side(a) != side(b));
        let (status, reason) = if failed.is_none() && disagrees && self.tie_rule == TieRule::Drop {
            (VerdictStatus::Ambiguous, Some("the two orders disagree".to_owned()))
        } else {
            (status, reason)
        };
        let mut judgement = missing(candidates, status, reason);
        judgement.orders = said.iter().map(|said| said.map(str::to_owned)).collect();
        judgement.verdict = match said.as_slice() {
            [Some(only)] => Some(side(only).to_owned()),
            [Some(first), Some(second)] if side(first) == side(second) => Some(side(first).to_owned()),
            [Some(first), Some(second)] => match self.tie_rule {
                TieRule::Mtbench => Some("tie".to_owned()),
                // The mean of a win and a loss is a tie; half a tie away from it lies between.
                TieRule::Average => Some(verdict_of((points(first) + points(second)) / 2.0).to_owned()),
                TieRule::Drop => None,
            },
            _ => None,
        };
        judgement
    }

    fn combine(&self, votes: &Votes<'_>, into: &mut Judgement) {
        // A judge that was asked several times says what it says on average; the panel, what most say.
        let said: Vec<&str> = votes.by_judge(|own| {
            let points: Vec<f64> = own.iter().filter_map(|vote| vote.verdict.as_deref()).map(points).collect();
            (!points.is_empty()).then(|| verdict_of(points.iter().sum::<f64>() / points.len() as f64))
        });
        if !votes.is_enough(said.len()) {
            into.reason = Some(format!("{} of {} judges have a verdict", said.len(), votes.judges));
            return;
        }
        into.status = VerdictStatus::Ok;
        // A judge that leans to a side votes for it.
        into.verdict = Some(match (votes.judges, majority(said.iter().copied().map(whole))) {
            (1, _) => said[0].to_owned(),
            (_, most) => most.unwrap_or("tie").to_owned(),
        });
    }

    fn tally(&self, seed: u64, contestants: &[String]) -> Box<dyn Tally> {
        if self.is_all_pairs() {
            return Box::new(PairsTally::new(contestants, seed));
        }
        Box::new(CompareTally {
            seed,
            counts_strong: self.verdicts == 5,
            is_random: self.order == Order::Random,
            points: MeanTally::new(seed),
            ..CompareTally::default()
        })
    }

    fn values(&self) -> Vec<(String, Unit)> {
        let rates = |names: &[&str]| -> Vec<(String, Unit)> {
            names.iter().map(|name| ((*name).to_owned(), Unit::Rate)).collect()
        };
        let positions = if self.order == Order::Both { &["position_consistency", "primacy"][..] } else { &[] };
        if self.is_all_pairs() {
            let mut values = rates(&["win_rate"]);
            values.push(("elo".to_owned(), Unit::Amount));
            values.extend(rates(positions));
            values.extend(rates(&["longer_wins"]));
            return values;
        }
        let mut values = rates(&["win_rate", "win_rate.worst", "win_rate.best", "decisive_win_rate", "net"]);
        values.push(("sign_p".to_owned(), Unit::PValue));
        values.extend(rates(positions));
        if self.verdicts == 5 {
            values.extend(rates(&["strong"]));
        }
        values.extend(rates(&["longer_wins", "length_controlled_win_rate"]));
        values.extend(["wins", "losses", "ties"].map(|name| (name.to_owned(), Unit::Count)));
        values
    }
}

#[derive(Default)]
struct CompareTally {
    seed: u64,
    points: MeanTally,
    wins: f64,
    losses: f64,
    ties: f64,
    n: u64,
    missing: u64,
    is_random: bool,
    counts_strong: bool,
    /// Share of verdicts "by far", summed over rows, and the rows.
    strong: f64,
    asked: u64,
    positions: Positions,
    lengths: Lengths,
}

impl Tally for CompareTally {
    fn add(&mut self, row: &[Gathered<'_>]) {
        let judgements: Vec<&Judgement> = row.iter().map(|gathered| gathered.judgement).collect();
        self.positions.add_row(judgements.iter().copied());
        let outcomes: Vec<&String> =
            judgements.iter().flat_map(|judgement| orders_of(judgement)).flatten().flatten().collect();
        if !outcomes.is_empty() {
            self.asked += 1;
            let strong = outcomes.iter().filter(|outcome| outcome.ends_with('+')).count();
            self.strong += strong as f64 / outcomes.len() as f64;
        }
        // Samples of a row are averaged first: n counts rows.
        let verdicts: Vec<f64> = judgements.iter().filter_map(|judgement| points_of(judgement)).collect();
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
        let mean = verdicts.iter().sum::<f64>() / verdicts.len() as f64;
        self.points.add_value(Some(mean));
        let length =
            |of: &dyn Fn(&Gathered<'_>) -> usize| row.iter().map(of).sum::<usize>() as f64 / row.len().max(1) as f64;
        self.lengths.add(mean, length(&|gathered| gathered.length), length(&|gathered| gathered.baseline_length));
    }

    fn finish(&mut self, summary: &mut Summary, notes: &mut Vec<String>) {
        let (n, missing) = (self.n, self.missing);
        let proportion = |successes: f64, of: f64, n: u64| {
            let interval = wilson(successes, of, Z95);
            estimate((of > 0.0).then(|| successes / of), interval, n, missing)
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
        add_bounds("win_rate", (0.0, 1.0), summary, notes);
        let net = |rate: Option<f64>| rate.map(|rate| 2.0 * rate - 1.0);
        let Estimate { value, low, high, .. } = summary.values["win_rate"];
        let net = Estimate { value: net(value), low: net(low), high: net(high), n, missing };
        summary.values.insert("net".to_owned(), net);
        // Ties say nothing of the sign.
        let (wins, losses) = (self.wins.round() as u64, self.losses.round() as u64);
        let sign_p = (n > 0).then(|| sign_test(wins, wins + losses));
        summary
            .values
            .insert("sign_p".to_owned(), Estimate { value: sign_p, low: None, high: None, n: wins + losses, missing });
        if self.is_random && n < FEW_RANDOM && n > 0 {
            notes.push(format!(
                "position: {n} rows were each placed once at random; below {FEW_RANDOM} chance decides too much: `order: both`"
            ));
        }
        if self.asked > 0 && self.counts_strong {
            let share = proportion(self.strong, self.asked as f64, self.asked);
            summary.values.insert("strong".to_owned(), share);
        }
        self.positions.finish(n + missing, summary, notes);
        self.lengths.finish(self.seed, summary, notes);
        for (name, value) in [("wins", self.wins), ("losses", self.losses), ("ties", self.ties)] {
            summary.values.insert(name.to_owned(), Estimate { value: Some(value), low: None, high: None, n, missing });
        }
    }
}

#[cfg(test)]
mod tests {

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::stage::judge::method::missing_of;

    /// Sums up `n` rows, won with probability `win` and tied with `tie`; returns the win rate.
    fn trial(n: u64, win: f64, tie: f64, seed: u64) -> Estimate {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut tally = CompareTally { seed, points: MeanTally::new(seed), ..CompareTally::default() };
        for row in 0..n {
            let drawn = random.next_u64() as f64 / u64::MAX as f64;
            let verdict = if drawn < win {
                "win"
            } else if drawn < win + tie {
                "tie"
            } else {
                "loss"
            };
            let mut judgement = missing_of(&row.to_string());
            judgement.status = VerdictStatus::Ok;
            judgement.verdict = Some(verdict.to_owned());
            tally.add(&[Gathered { judgement: &judgement, length: 1, baseline_length: 1 }]);
        }
        let mut summary = Summary::default();
        tally.finish(&mut summary, &mut Vec::new());
        summary.values["win_rate"]
    }

    #[test]
    fn intervals_of_win_rates_cover_the_truth() {
        for (n, win, tie) in [(25, 0.7, 0.1), (50, 0.6, 0.2), (80, 0.5, 0.0)] {
            let trials: u64 = 2_000;
            let covered = (0..trials)
                .filter(|seed| {
                    let found = trial(n, win, tie, *seed);
                    let truth = win + tie / 2.0;
                    found.low.is_some_and(|low| low <= truth) && found.high.is_some_and(|high| high >= truth)
                })
                .count();
            let share = covered as f64 / trials as f64;
            assert!((0.93..=0.97).contains(&share), "{share} of {trials} intervals over {n} rows");
        }
    }
}
