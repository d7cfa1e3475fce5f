//! Sums up the outcomes of comparisons with a baseline.

use crate::metric::MeanTally;
use crate::outcome::Outcome;
use crate::row::Judgement;
use crate::score::{Estimate, Summary};
use crate::stage::judge::evidence::length::Lengths;
use crate::stage::judge::evidence::position::{Positions, orders_of};
use crate::stage::judge::method::{Gathered, Tally, add_bounds, points_of};
use crate::stats::{estimate, share_interval, sign_test};

/// With fewer rows than this, `order: random` leaves too much to chance.
const FEW_RANDOM: u64 = 200;

/// Sums up comparisons with a baseline.
#[derive(Default)]
pub(crate) struct CompareTally {
    seed: u64,
    points: MeanTally,
    wins: f64,
    losses: f64,
    ties: f64,
    n: u64,
    missing: u64,
    is_random: bool,
    counts_strong: bool,
    /// The share of verdicts "by far", summed over rows; and the number of those rows.
    strong: f64,
    asked: u64,
    positions: Positions,
    lengths: Lengths,
}

impl CompareTally {
    /// Starts a tally. `counts_strong`: verdicts also say "by far". `is_random`: each row is asked in one order only.
    pub fn new(seed: u64, counts_strong: bool, is_random: bool) -> CompareTally {
        CompareTally { seed, counts_strong, is_random, points: MeanTally::share(), ..CompareTally::default() }
    }
}

impl Tally for CompareTally {
    fn add(&mut self, row: &[Gathered<'_>]) {
        let judgements: Vec<&Judgement> = row.iter().map(|gathered| gathered.judgement).collect();
        self.positions.add_row(judgements.iter().copied());
        let outcomes: Vec<&Outcome> =
            judgements.iter().flat_map(|judgement| orders_of(judgement)).flatten().flatten().collect();
        if !outcomes.is_empty() {
            self.asked += 1;
            let strong = outcomes.iter().filter(|outcome| outcome.is_strong()).count();
            self.strong += strong as f64 / outcomes.len() as f64;
        }
        // The samples of a row are averaged first, since n counts rows.
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
            let interval = share_interval(successes, of);
            estimate((of > 0.0).then(|| successes / of), interval, n, missing)
        };
        summary.values.insert("win_rate".to_owned(), self.points.estimate());
        let decided = self.wins + self.losses;
        summary.values.insert("decisive_win_rate".to_owned(), proportion(self.wins, decided, decided.round() as u64));
        add_bounds("win_rate", (0.0, 1.0), summary, notes);
        let net = |rate: Option<f64>| rate.map(|rate| 2.0 * rate - 1.0);
        let Estimate { value, low, high, .. } = summary.values["win_rate"];
        let net = Estimate { value: net(value), low: net(low), high: net(high), n, missing };
        summary.values.insert("net".to_owned(), net);
        // The sign test leaves ties out: they say nothing about the sign.
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
    use crate::row::VerdictStatus;
    use crate::stage::judge::method::missing_of;

    /// Sums up `n` random rows, each won with probability `win` and tied with `tie`; returns the win rate.
    fn trial(n: u64, win: f64, tie: f64, seed: u64) -> Estimate {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut tally = CompareTally::new(seed, false, false);
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
