//! `compare`: which of two completions is better, against a baseline or for all pairs of models.
//!
//! `order: both` asks twice with the places swapped; `order: random` asks once, placed by a digest of
//! the row, so that neither the clock nor the order of rows decides. The names of the models are
//! never shown.
//!
//! | file | holds |
//! |---|---|
//! | `settings` | the settings of a comparison |
//! | `tally` | outcomes against a baseline, summed up; those of all pairs in `pairs`, beside this folder |

mod settings;
mod tally;

use minijinja::Value as TemplateValue;
use serde_json::{Map, Value, json};

pub(crate) use settings::{Settings, parse};

use super::pairs::PairsTally;
use super::{Candidates, Method, Opponent, Question, ReadReply, Said, Tally, Told, Votes, majority, missing};
use crate::digest::Digest;
use crate::label::Sheet;
use crate::outcome::Outcome;
use crate::row::{Judgement, ShownOrder, VerdictStatus};
use crate::score::{Direction, Rank, Reading, Unit};
use crate::stage::judge::people::labels::LabelKind;
use crate::stage::judge::read::read_pair;
use settings::{Compare, Order, TieRule, VerdictStyle};
use tally::CompareTally;

/// How many characters of a judge's reply are kept as its reason.
const MAX_REASON: usize = 2_000;

impl Compare {
    fn allow_tie(&self) -> bool {
        self.verdicts > 2
    }

    /// Returns for each question whether the node's model stands first.
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

impl Method for Compare {
    fn default_prompt(&self) -> &'static str {
        "judge/pairwise.j2"
    }

    fn variables(&self) -> &'static [&'static str] {
        &[
            "row",
            "params",
            "a",
            "b",
            "prompt",
            "messages",
            "reference",
            "tag",
            "ties",
            "verdicts",
            "answer_first",
            "verdict_style",
        ]
    }

    fn only_models(&self) -> Option<&[String]> {
        self.models.as_deref()
    }

    fn baseline(&self) -> Option<&Opponent> {
        self.baseline.as_ref()
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
        said.outcome().map(Outcome::points)
    }

    fn headline(&self) -> Option<(&'static str, (f64, f64))> {
        self.baseline.as_ref().map(|_| ("win_rate", (0.0, 1.0)))
    }

    fn sheet(&self) -> Sheet {
        Sheet::Pair
    }

    fn labels(&self) -> LabelKind {
        LabelKind::Words(Outcome::SIDES.map(|side| side.word().to_owned()).to_vec())
    }

    fn settings(&self) -> Map<String, Value> {
        let mut settings = Map::new();
        let order = if self.order == Order::Both { "both" } else { "random" };
        settings.insert("compare.order".to_owned(), order.into());
        if self.order == Order::Random && self.seed != 0 {
            settings.insert("compare.seed".to_owned(), self.seed.into());
        }
        if self.tie_rule != TieRule::Mtbench {
            settings.insert("compare.tie_rule".to_owned(), self.tie_rule.word().into());
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
            (true, true) => Outcome::Tie,
            (true, false) => Outcome::Loss,
            (false, true) => Outcome::Win,
        };
        let mut judgement = missing(candidates, VerdictStatus::Ok, Some("empty_output".to_owned()));
        judgement.verdict = Some(verdict.word().to_owned());
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

    fn read(&self, _question: &Question, text: &str, finish_reason: Option<&str>, tag: Option<&str>) -> ReadReply {
        let reading = read_pair(text, self.allow_tie(), finish_reason, tag);
        let error = match reading.status {
            VerdictStatus::Ambiguous => "its last line names two verdicts",
            VerdictStatus::InvalidLabel => "a tie is not allowed here",
            VerdictStatus::Truncated => "it was cut off",
            VerdictStatus::Empty => "it was empty",
            _ => "it names no verdict",
        };
        ReadReply {
            status: reading.status,
            told: reading.verdict.map_or(Told::Nothing, Told::Choice),
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

    fn judgement(&self, candidates: &Candidates<'_>, readings: &[ReadReply]) -> Judgement {
        let said: Vec<Option<Outcome>> = readings
            .iter()
            .zip(self.orders(candidates))
            .map(|(reading, is_first)| match reading.told {
                Told::Choice(choice) if reading.status.is_valid() => Some(choice.outcome(is_first)),
                _ => None,
            })
            .collect();
        let failed = readings.iter().find(|reading| !reading.status.is_valid());
        let is_repaired = readings.iter().any(|reading| reading.status == VerdictStatus::Repaired);
        let mut status = match failed {
            Some(reading) => reading.status,
            None if is_repaired => VerdictStatus::Repaired,
            None => VerdictStatus::Ok,
        };
        let first_reason = || readings.first().and_then(|reading| reading.reason.clone());
        let mut reason = failed.map(|reading| reading.error.clone()).or_else(first_reason);
        let verdict = match said.as_slice() {
            [Some(only)] => Some(only.side()),
            [Some(first), Some(second)] if first.side() == second.side() => Some(first.side()),
            [Some(first), Some(second)] => self.tie_rule.of(*first, *second),
            _ => None,
        };
        if failed.is_none() && verdict.is_none() && !readings.is_empty() {
            status = VerdictStatus::Ambiguous;
            reason = Some("the two orders disagree".to_owned());
        }
        let mut judgement = missing(candidates, status, reason);
        judgement.verdict = verdict.map(|verdict| verdict.word().to_owned());
        judgement.orders = said;
        let shown = readings.iter().zip(self.orders(candidates));
        judgement.shown = shown.map(|(reading, first)| ShownOrder { first, reason: reading.reason.clone() }).collect();
        judgement
    }

    fn combine(&self, votes: &Votes<'_>, into: &mut Judgement) {
        // Votes of one judge are averaged; between judges, the majority decides.
        let said: Vec<Outcome> = votes.by_judge(|own| {
            let points: Vec<f64> = own.iter().filter_map(|vote| vote.outcome()).map(Outcome::points).collect();
            (!points.is_empty()).then(|| Outcome::nearest(points.iter().sum::<f64>() / points.len() as f64))
        });
        if !votes.is_enough(said.len()) {
            into.reason = Some(format!("{} of {} judges have a verdict", said.len(), votes.judges));
            return;
        }
        into.status = VerdictStatus::Ok;
        // A half win votes for the win, a half loss for the loss.
        let outcome = match (votes.judges, majority(said.iter().map(|said| said.side().word()))) {
            (1, _) => said[0],
            (_, most) => most.and_then(Outcome::of_word).unwrap_or(Outcome::Tie),
        };
        into.verdict = Some(outcome.word().to_owned());
    }

    fn tally(&self, seed: u64, contestants: &[String]) -> Box<dyn Tally> {
        if self.is_all_pairs() {
            return Box::new(PairsTally::new(contestants, seed));
        }
        Box::new(CompareTally::new(seed, self.verdicts == 5, self.order == Order::Random))
    }

    fn values(&self) -> Vec<(String, Reading)> {
        let rate = |rank| Reading::of(Unit::Rate, rank);
        let (headline, detail, diagnostic) = (rate(Rank::Headline), rate(Rank::Detail), rate(Rank::Diagnostic));
        let neither = Direction::Neither;
        let (elo, count) = (Reading::of(Unit::Amount, Rank::Headline), Reading::of(Unit::Count, Rank::Detail));
        let (is_baseline, is_both) = (!self.is_all_pairs(), self.order == Order::Both);
        let values = [
            ("win_rate", headline, true),
            ("win_rate.worst", detail, is_baseline),
            ("win_rate.best", detail, is_baseline),
            ("decisive_win_rate", detail, is_baseline),
            ("net", detail, is_baseline),
            ("sign_p", Reading::of(Unit::PValue, Rank::Detail), is_baseline),
            ("elo", elo.toward(Direction::Higher), !is_baseline),
            ("position_consistency", diagnostic, is_both),
            ("primacy", diagnostic.toward(neither), is_both),
            ("strong", detail.toward(neither), is_baseline && self.verdicts == 5),
            ("longer_wins", diagnostic.toward(neither), true),
            ("length_controlled_win_rate", diagnostic, is_baseline),
            ("wins", count, is_baseline),
            ("losses", count, is_baseline),
            ("ties", count, is_baseline),
        ];
        values.iter().filter(|(.., is_there)| *is_there).map(|(name, of, _)| ((*name).to_owned(), *of)).collect()
    }
}
