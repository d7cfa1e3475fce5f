//! Panels: how many valid votes each judge gave, how far the judges agree, what the number would be without each of
//! them, and whether a judge prefers the models of its own family.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lineage::Kin;
use crate::metric::MeanTally;
use crate::row::{Judgement, Vote};
use crate::score::Summary;
use crate::stage::judge::method::{Method, Said, Votes, majority, missing_of};
use crate::stats::agreement;

/// Scores that lie this far apart, on 0 to 1, disagree: 2 points on a scale of 1 to 5.
const FAR: f64 = 0.5;
/// How many rows are listed for people to look at.
const LISTED: usize = 20;
/// Below this kappa, judges hardly measure the same.
const POOR: f64 = 0.2;

/// How often two judges said each pair of things about the same row.
type Cells = BTreeMap<(String, String), f64>;

/// What the judges of a panel said, summed up.
pub(crate) struct Panel {
    /// For each judge: how many votes were valid, and how many there were.
    counts: Vec<[u64; 2]>,
    /// For each two judges and each criterion: how often they said what together.
    cells: BTreeMap<(usize, usize, String), Cells>,
    /// For the panel without each judge: the sum of what rows are worth, and how many rows.
    without: Vec<(f64, u64)>,
    kin: Vec<Kin>,
    preference: MeanTally,
    /// For judges that are asked several times: the share of the verdict that each gives most often.
    stability: MeanTally,
    rows: u64,
    split: u64,
    listed: Vec<(f64, Value)>,
    /// The distance from the lowest score of the scale to the highest.
    span: f64,
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns the share of the votes that say what the judge says most often; none for fewer than two readable votes.
fn modal_share(votes: &[&Vote]) -> Option<f64> {
    let said: Vec<String> = votes
        .iter()
        .filter(|vote| vote.status.is_valid())
        .map(|vote| json!([vote.verdict, vote.scores]).to_string())
        .collect();
    let most = said.iter().map(|one| said.iter().filter(|other| *other == one).count()).max()?;
    (said.len() > 1).then(|| most as f64 / said.len() as f64)
}

/// Returns the distance between the lowest and the highest value.
fn spread(values: &[Option<f64>]) -> f64 {
    let there = || values.iter().flatten().copied();
    (there().fold(f64::MIN, f64::max) - there().fold(f64::MAX, f64::min)).max(0.0)
}

/// Returns how many rows a table of two judges holds, and their kappa.
fn kappa_of(cells: &Cells) -> (f64, Option<f64>) {
    let mut categories: Vec<&String> = cells.keys().flat_map(|(a, b)| [a, b]).collect();
    categories.sort();
    categories.dedup();
    let count = |a: &String, b: &String| cells.get(&(a.clone(), b.clone())).copied().unwrap_or(0.0);
    let table: Vec<Vec<f64>> = categories.iter().map(|a| categories.iter().map(|b| count(a, b)).collect()).collect();
    (cells.values().sum(), agreement(&table).and_then(|found| found.kappa))
}

/// What was said of one completion or pair, judge by judge.
struct ByJudge<'a> {
    votes: Vec<Vec<&'a Vote>>,
    /// On 0 to 1.
    worths: Vec<Option<f64>>,
    /// By criterion, where there are any.
    by_criterion: Vec<(&'a String, Vec<Option<f64>>)>,
    /// What each says most often; of comparisons the side.
    verdicts: Vec<Option<String>>,
}

impl<'a> ByJudge<'a> {
    fn of(judgement: &'a Judgement, judges: usize, method: &dyn Method) -> ByJudge<'a> {
        let of = |judge: usize| judgement.votes.iter().filter(|vote| vote.judge as usize == judge).collect();
        let votes: Vec<Vec<&Vote>> = (0..judges).map(of).collect();
        let mean_of = |votes: &[&'a Vote], value: &dyn Fn(&Vote) -> Option<f64>| {
            mean(&votes.iter().filter_map(|vote| value(vote)).collect::<Vec<_>>())
        };
        let worths = votes.iter().map(|votes| mean_of(votes, &|vote| method.worth(&Said::of_vote(vote)))).collect();
        let scored = judgement.votes.iter().find_map(|vote| vote.scores.as_ref());
        let criteria = scored.into_iter().flat_map(|scores| scores.keys());
        let by_criterion = criteria.map(|criterion| {
            let score = |vote: &Vote| vote.scores.as_ref()?.get(criterion)?.as_f64();
            (criterion, votes.iter().map(|votes| mean_of(votes, &score)).collect())
        });
        // A judge that leans to a side is on it.
        fn side(vote: &Vote) -> Option<&str> {
            match vote.outcome() {
                Some(outcome) => Some(outcome.side().word()),
                None => vote.verdict.as_deref(),
            }
        }
        let verdict = |votes: &Vec<&'a Vote>| majority(votes.iter().copied().filter_map(side)).map(str::to_owned);
        ByJudge { worths, by_criterion: by_criterion.collect(), verdicts: votes.iter().map(verdict).collect(), votes }
    }
}

impl Panel {
    /// Counts what each two judges said about the same row.
    fn cross(&mut self, criterion: &str, said: &[Option<String>]) {
        for a in 0..said.len() {
            for b in a + 1..said.len() {
                if let (Some(first), Some(second)) = (&said[a], &said[b]) {
                    let cells = self.cells.entry((a, b, criterion.to_owned())).or_default();
                    *cells.entry((first.clone(), second.clone())).or_default() += 1.0;
                }
            }
        }
    }

    /// Starts an empty panel. `kin` tells for each judge which of two models it could favour; `span` is the length of
    /// the scale.
    pub fn new(kin: Vec<Kin>, span: f64) -> Panel {
        let judges = kin.len();
        Panel {
            counts: vec![[0; 2]; judges],
            cells: BTreeMap::new(),
            without: vec![(0.0, 0); judges],
            kin,
            preference: MeanTally::new(),
            stability: MeanTally::within(0.0, 1.0),
            rows: 0,
            split: 0,
            listed: Vec::new(),
            span,
        }
    }

    /// Adds what the judges said of one completion or pair.
    pub fn add(&mut self, judgement: &Judgement, method: &dyn Method) {
        if judgement.votes.is_empty() {
            return;
        }
        for vote in &judgement.votes {
            let counts = &mut self.counts[vote.judge as usize];
            counts[0] += u64::from(vote.status.is_valid());
            counts[1] += 1;
        }
        let said = ByJudge::of(judgement, self.counts.len(), method);
        let modal: Vec<f64> = said.votes.iter().filter_map(|votes| modal_share(votes)).collect();
        if let Some(stability) = mean(&modal) {
            self.stability.add_value(Some(stability));
        }
        if self.counts.len() < 2 {
            return;
        }
        self.rows += 1;
        self.list(judgement, &said);
        if said.by_criterion.is_empty() {
            self.cross("", &said.verdicts);
        }
        for (criterion, scores) in &said.by_criterion {
            // Signs and zeros keep numbers in their order.
            let rounded =
                scores.iter().map(|score| score.map(|score| format!("{:+012}", score.round()))).collect::<Vec<_>>();
            self.cross(criterion, &rounded);
        }
        self.add_without(judgement, method);
        self.add_preference(&said.worths);
    }

    /// Lists the row where judges disagree, the widest first.
    fn list(&mut self, judgement: &Judgement, said: &ByJudge<'_>) {
        let of_scores = said.by_criterion.iter().map(|(_, scores)| spread(scores) / self.span);
        let range = of_scores.fold(spread(&said.worths), f64::max);
        let verdicts = || said.verdicts.iter().flatten();
        let is_split = verdicts().any(|verdict| verdicts().any(|other| other != verdict));
        if !is_split && range < FAR {
            return;
        }
        self.split += 1;
        let scores: serde_json::Map<String, Value> =
            said.by_criterion.iter().map(|(criterion, scores)| ((*criterion).clone(), json!(scores))).collect();
        let shown = if is_split || scores.is_empty() { json!(said.verdicts) } else { Value::Object(scores) };
        let range = if is_split { range.max(1.0) } else { range };
        self.listed.push((range, json!({ "row": judgement.id, "said": shown })));
        // The widest stay, of equal ones the first.
        self.listed.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.listed.truncate(LISTED);
    }

    /// Adds what the row is worth without each of the judges.
    fn add_without(&mut self, judgement: &Judgement, method: &dyn Method) {
        let judges = self.counts.len();
        for judge in 0..judges {
            let votes: Vec<Vote> = judgement
                .votes
                .iter()
                .filter(|vote| vote.judge as usize != judge)
                .map(|vote| Vote { judge: vote.judge - u32::from(vote.judge as usize > judge), ..vote.clone() })
                .collect();
            let mut rest = missing_of(&judgement.id);
            method.combine(&Votes { judges: judges as u32 - 1, votes: &votes }, &mut rest);
            if let Some(worth) = method.worth(&Said::of(&rest)) {
                self.without[judge].0 += worth;
                self.without[judge].1 += 1;
            }
        }
    }

    /// Adds how much more judges give their own kin than those do that are kin of neither.
    fn add_preference(&mut self, worths: &[Option<f64>]) {
        let of_kin = |wanted: Kin| -> Vec<f64> {
            worths.iter().zip(&self.kin).filter(|(_, kin)| **kin == wanted).filter_map(|(worth, _)| *worth).collect()
        };
        let Some(rest) = mean(&of_kin(Kin::None)) else { return };
        let own = of_kin(Kin::Own).into_iter().map(|worth| worth - rest);
        let other = of_kin(Kin::Other).into_iter().map(|worth| rest - worth);
        if let Some(more) = mean(&own.chain(other).collect::<Vec<_>>()) {
            self.preference.add_value(Some(more));
        }
    }

    /// Writes what was found about each judge, in the order of the panel.
    pub fn finish(&mut self, judges: &[&str], method: &dyn Method, summary: &mut Summary, notes: &mut Vec<String>) {
        if self.counts.iter().all(|[_, all]| *all == 0) {
            return;
        }
        let rows = self
            .counts
            .iter()
            .zip(1..)
            .map(|([valid, all], judge)| json!({ "judge": judge, "valid": valid, "votes": all }));
        summary.tables.insert("votes".to_owned(), rows.collect());
        // A panel always gets this note, so that a judge without valid votes cannot go unnoticed.
        if judges.len() > 1 || self.counts.iter().any(|[valid, all]| valid < all) {
            let said = judges.iter().zip(&self.counts).map(|(judge, [valid, all])| format!("{judge} {valid}/{all}"));
            notes.push(format!("valid votes: {}", said.collect::<Vec<_>>().join(", ")));
        }
        let is_absent = |[valid, all]: &[u64; 2]| 2 * valid < *all;
        let absent = judges.iter().zip(&self.counts).filter(|(_, counts)| is_absent(counts));
        let absent: Vec<&str> = absent.map(|(judge, _)| *judge).collect();
        if judges.len() > 1 && !absent.is_empty() {
            notes.push(format!(
                "panel: {} can be read on fewer than half of the rows; what counts is the panel without",
                absent.join(", ")
            ));
        }
        let stability = self.stability.estimate();
        if stability.n > 0 {
            summary.values.insert("stability".to_owned(), stability);
        }
        if self.rows == 0 {
            return;
        }
        let mut kappas = Vec::new();
        for a in 0..judges.len() {
            for b in a + 1..judges.len() {
                // Kappa is computed per criterion: pooled, the differences between criteria would count as agreement.
                let of_pair = self.cells.iter().filter(|((first, second, _), _)| (*first, *second) == (a, b));
                let found: Vec<(f64, Option<f64>)> = of_pair.map(|(_, cells)| kappa_of(cells)).collect();
                let n = found.iter().map(|(n, _)| *n).fold(0.0, f64::max) as usize;
                let kappas_of: Vec<f64> = found.iter().filter_map(|(_, kappa)| *kappa).collect();
                let kappa = mean(&kappas_of);
                if n >= LISTED && kappa.is_some_and(|kappa| kappa < POOR) {
                    notes.push(format!(
                        "panel: {} and {} hardly agree (kappa {:.2} on {n}); look at the rows they differ on before counting both",
                        judges[a], judges[b], kappa.unwrap_or_default()
                    ));
                }
                kappas.push(json!({ "judges": [a + 1, b + 1], "n": n, "kappa": kappa }));
            }
        }
        let (low, high) = method.headline().map_or((0.0, 1.0), |(_, range)| range);
        let without: Vec<Value> = self
            .without
            .iter()
            .zip(1..)
            .map(|((sum, n), judge)| {
                json!({ "judge": judge, "value": (*n > 0).then(|| low + (high - low) * sum / *n as f64), "n": n })
            })
            .collect();
        summary.tables.insert(
            "panel".to_owned(),
            json!({
                "kappa": kappas, "without": without, "rows": self.rows, "split": self.split,
                "disagreements": self.listed.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(),
            }),
        );
        if self.kin.iter().any(|kin| *kin != Kin::None) {
            let estimate = self.preference.estimate();
            if estimate.low.is_some_and(|low| low > 0.0) {
                notes.push(format!(
                    "self-preference: judges give models of their own family {:.2} [{:.2}, {:.2}] of the scale more than the other judges do",
                    estimate.value.unwrap_or_default(),
                    estimate.low.unwrap_or_default(),
                    estimate.high.unwrap_or_default()
                ));
            }
            summary.values.insert("self_preference".to_owned(), estimate);
        }
    }
}
