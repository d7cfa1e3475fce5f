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
    pub fn new(kin: Vec<Kin>, span: f64, seed: u64) -> Panel {
        let judges = kin.len();
        Panel {
            counts: vec![[0; 2]; judges],
            cells: BTreeMap::new(),
            without: vec![(0.0, 0); judges],
            kin,
            preference: MeanTally::new(seed),
            stability: MeanTally::within(seed, 0.0, 1.0),
            rows: 0,
            split: 0,
            listed: Vec::new(),
            span,
        }
    }

    /// Adds the votes on one row.
    pub fn add(&mut self, judgement: &Judgement, method: &dyn Method) {
        if judgement.votes.is_empty() {
            return;
        }
        for vote in &judgement.votes {
            let counts = &mut self.counts[vote.judge as usize];
            counts[0] += u64::from(vote.status.is_valid());
            counts[1] += 1;
        }
        let judges = self.counts.len();
        let of = |judge: usize| -> Vec<&Vote> {
            judgement.votes.iter().filter(|vote| vote.judge as usize == judge).collect()
        };
        let modal: Vec<f64> = (0..judges).filter_map(|judge| modal_share(&of(judge))).collect();
        if let Some(stability) = mean(&modal) {
            self.stability.add_value(Some(stability));
        }
        if judges < 2 {
            return;
        }
        self.rows += 1;
        let worth = |judge: usize| {
            let worths: Vec<f64> = of(judge).iter().filter_map(|vote| method.worth(&Said::of_vote(vote))).collect();
            mean(&worths)
        };
        let worths: Vec<Option<f64>> = (0..judges).map(worth).collect();
        let mut range = spread(&worths);
        let scored = judgement.votes.iter().find_map(|vote| vote.scores.as_ref());
        let by_criterion: Vec<(&String, Vec<Option<f64>>)> = scored
            .into_iter()
            .flat_map(|scores| scores.keys())
            .map(|criterion| {
                let score = |vote: &&Vote| vote.scores.as_ref()?.get(criterion)?.as_f64();
                let said = |judge: usize| mean(&of(judge).iter().filter_map(score).collect::<Vec<_>>());
                (criterion, (0..judges).map(said).collect())
            })
            .collect();
        for (_, scores) in &by_criterion {
            range = range.max(spread(scores) / self.span);
        }
        let verdict = |judge: usize| {
            // A half win counts as a win, a half loss as a loss.
            fn side(vote: &Vote) -> Option<&str> {
                match vote.outcome() {
                    Some(outcome) => Some(outcome.side().word()),
                    None => vote.verdict.as_deref(),
                }
            }
            majority(of(judge).into_iter().filter_map(side)).map(str::to_owned)
        };
        let verdicts: Vec<Option<String>> = (0..judges).map(verdict).collect();
        let is_split = verdicts.iter().flatten().any(|verdict| verdicts.iter().flatten().any(|other| other != verdict));
        if is_split || range >= FAR {
            self.split += 1;
            {
                let scores: serde_json::Map<String, Value> =
                    by_criterion.iter().map(|(criterion, scores)| ((*criterion).clone(), json!(scores))).collect();
                let said = if is_split || scores.is_empty() { json!(verdicts) } else { Value::Object(scores) };
                let range = if is_split { range.max(1.0) } else { range };
                self.listed.push((range, json!({ "row": judgement.id, "said": said })));
                // The rows with the widest disagreement stay; of equally wide ones the first.
                self.listed.sort_by(|a, b| b.0.total_cmp(&a.0));
                self.listed.truncate(LISTED);
            }
        }
        if by_criterion.is_empty() {
            self.cross("", &verdicts);
        }
        for (criterion, scores) in &by_criterion {
            // Written with a sign and leading zeros, so that texts sort as the numbers do.
            let rounded =
                scores.iter().map(|score| score.map(|score| format!("{:+012}", score.round()))).collect::<Vec<_>>();
            self.cross(criterion, &rounded);
        }
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
        // How much more kin judges give their kin than the judges that are kin of neither model.
        let of_kin = |wanted: Kin| -> Vec<f64> {
            worths.iter().zip(&self.kin).filter(|(_, kin)| **kin == wanted).filter_map(|(worth, _)| *worth).collect()
        };
        if let Some(rest) = mean(&of_kin(Kin::None)) {
            let own = of_kin(Kin::Own).into_iter().map(|worth| worth - rest);
            let other = of_kin(Kin::Other).into_iter().map(|worth| rest - worth);
            if let Some(more) = mean(&own.chain(other).collect::<Vec<_>>()) {
                self.preference.add_value(Some(more));
            }
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
