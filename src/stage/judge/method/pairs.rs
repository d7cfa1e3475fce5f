//! Comparisons of all pairs of models, summed up: win rates, and a ranking by Bradley–Terry strengths.
//!
//! Intervals are percentile bootstraps that resample rows, never single verdicts, because the verdicts on one row are
//! not independent. A tie counts half a win for each side (Bradley & Terry 1952).

use serde_json::{Value, json};

use super::{Gathered, Tally, points_of};
use crate::score::Summary;
use crate::stage::judge::evidence::length::longer_wins;
use crate::stage::judge::evidence::position::Positions;
use crate::stats::{Interval, Z95, bradley_terry, estimate, resampled_sums, share_interval, sums_interval};

/// How many resamples a ranking gets; each needs a fit.
const RESAMPLES: usize = 1_000;
/// Up to so many rows a ranking is resampled; beyond, its errors are those of the fit.
const RESAMPLED: usize = 5_000;
/// Elo points per unit of strength: odds of ten to one are 400 points.
const ELO: f64 = 400.0 / std::f64::consts::LN_10;

/// Sums up comparisons of all pairs. A game is one row in which two models are compared.
pub(crate) struct PairsTally {
    models: Vec<String>,
    seed: u64,
    rows: u64,
    /// The points of model `i` against model `j`, at `i * models + j`.
    sums: Vec<f64>,
    /// The same for each of the first rows, one after the other; resampling draws from these.
    games: Vec<f64>,
    /// How many rows have a verdict on each pair, at the same places.
    played: Vec<u64>,
    /// How many rows have a verdict on each model, against any other.
    played_any: Vec<u64>,
    positions: Positions,
    /// How often the longer completion won, and how often one of different length won or lost.
    longer: (u64, u64),
}

impl PairsTally {
    /// Starts an empty tally; `seed` is the seed of its bootstrap.
    pub fn new(models: &[String], seed: u64) -> PairsTally {
        let n = models.len();
        PairsTally {
            models: models.to_vec(),
            seed,
            rows: 0,
            sums: vec![0.0; n * n],
            games: Vec::new(),
            played: vec![0; n * n],
            played_any: vec![0; n],
            positions: Positions::default(),
            longer: (0, 0),
        }
    }
}

fn matrix(sums: &[f64], n: usize) -> Vec<Vec<f64>> {
    sums.chunks(n).map(<[f64]>::to_vec).collect()
}

/// Returns the share of a model's games that it wins, 0 to 1; none if it played none.
fn win_rate(sums: &[f64], n: usize, model: usize) -> Option<f64> {
    let won: f64 = (0..n).map(|other| sums[model * n + other]).sum();
    let lost: f64 = (0..n).map(|other| sums[other * n + model]).sum();
    (won + lost > 0.0).then(|| won / (won + lost))
}

impl PairsTally {
    /// Ranks the models by Bradley–Terry strengths; returns them with their points, and whether some never lost.
    fn rank(
        &self,
        resamples: &[f64],
        has_games: bool,
        summary: &mut Summary,
        notes: &mut Vec<String>,
    ) -> (Vec<(f64, Value)>, bool) {
        let n = self.models.len();
        let (width, sums, rows) = (n * n, &self.sums, self.rows);
        // Two models are ranked by their win rate.
        let ranking = bradley_terry(&matrix(sums, n)).filter(|_| n > 2 && has_games);
        let mut shown = Vec::new();
        if let Some(ranking) = &ranking {
            // All models' points of each resample, so that a fit serves them all.
            let fits: Vec<f64> = resamples
                .chunks(width.max(1))
                .filter_map(|sums| bradley_terry(&matrix(sums, n)))
                .flat_map(|fit| fit.elo())
                .collect();
            let elo = ranking.elo();
            for (i, model) in self.models.iter().enumerate() {
                let of_fit = ranking.errors.as_ref().map(|errors| {
                    let half = Z95 * errors[i] * ELO;
                    Interval { low: elo[i] - half, high: elo[i] + half }
                });
                let resampled =
                    (!fits.is_empty()).then(|| sums_interval(&fits, n, rows as usize, |fit| Some(fit[i]))).flatten();
                let interval = resampled.or(of_fit);
                let played = self.played_any[i];
                let estimate = estimate(Some(elo[i]), interval, played, rows - played);
                summary.values.insert(format!("{model}.elo"), estimate);
                shown.push((
                    elo[i],
                    json!({
                        "model": model, "strength": ranking.strengths[i], "elo": elo[i],
                        "low": estimate.low, "high": estimate.high, "win_rate": win_rate(sums, n, i),
                    }),
                ));
            }
            if ranking.is_separated {
                notes.push(
                    "ranking: separated; some model never lost to the others, so that only a bound on its strength is known (ridge estimate)".to_owned(),
                );
            }
        }
        (shown, ranking.is_some_and(|ranking| ranking.is_separated))
    }
}

impl Tally for PairsTally {
    fn add(&mut self, row: &[Gathered<'_>]) {
        let n = self.models.len();
        self.rows += 1;
        self.positions.add_row(row.iter().map(|one| one.judgement));
        let mut games = vec![0.0; n * n];
        let mut has_played = vec![false; n];
        for i in 0..n {
            for j in i + 1..n {
                let own: Vec<&Gathered<'_>> =
                    row.iter().filter(|one| one.judgement.pair == Some([i as u32, j as u32])).collect();
                let said: Vec<f64> = own.iter().filter_map(|one| points_of(one.judgement)).collect();
                if said.is_empty() {
                    continue;
                }
                // The samples of a pair are averaged first.
                let mean = said.iter().sum::<f64>() / said.len() as f64;
                games[i * n + j] = mean;
                games[j * n + i] = 1.0 - mean;
                self.played[i * n + j] += 1;
                self.played[j * n + i] += 1;
                (has_played[i], has_played[j]) = (true, true);
                let length = |of: fn(&Gathered<'_>) -> usize| own.iter().map(|one| of(one)).sum::<usize>();
                let (mine, theirs) = (length(|one| one.length), length(|one| one.baseline_length));
                if mean != 0.5 && mine != theirs {
                    self.longer.1 += 1;
                    self.longer.0 += u64::from((mean > 0.5) == (mine > theirs));
                }
            }
        }
        for (model, has_played) in has_played.into_iter().enumerate() {
            self.played_any[model] += u64::from(has_played);
        }
        self.sums.iter_mut().zip(&games).for_each(|(sum, game)| *sum += game);
        if self.rows <= RESAMPLED as u64 {
            self.games.extend(games);
        }
    }

    fn finish(&mut self, summary: &mut Summary, notes: &mut Vec<String>) {
        let n = self.models.len();
        let (width, sums, rows) = (n * n, &self.sums, self.rows);
        let pairs = rows * (n * n.saturating_sub(1) / 2) as u64;
        let missing = pairs - self.played.iter().sum::<u64>() / 2;
        if missing > 0 {
            notes.push(format!("coverage: {missing} of {pairs} pairs have no verdict"));
        }
        let resamples = if (2..=RESAMPLED as u64).contains(&rows) {
            resampled_sums(&self.games, width, RESAMPLES, self.seed)
        } else {
            Vec::new()
        };
        // `of` computes a share from sums over `played` rows.
        let share = |of: &dyn Fn(&[f64]) -> Option<f64>, played: u64| {
            let value = of(sums);
            let resampled = sums_interval(&resamples, width, rows as usize, of);
            // If every row came out alike, resampling shows no spread.
            let interval = resampled.or_else(|| share_interval(value? * played as f64, played as f64));
            estimate(value, interval.filter(|_| value.is_some()), played, rows - played)
        };
        for (i, model) in self.models.iter().enumerate() {
            let of = |sums: &[f64]| win_rate(sums, n, i);
            summary.values.insert(format!("{model}.win_rate"), share(&of, self.played_any[i]));
        }
        let (mut shown, is_separated) = self.rank(&resamples, missing < pairs, summary, notes);
        for i in 0..n {
            for j in (0..n).filter(|j| *j != i) {
                let of = |sums: &[f64]| {
                    let (won, lost) = (sums[i * n + j], sums[j * n + i]);
                    (won + lost > 0.0).then(|| won / (won + lost))
                };
                let name = format!("{}.beats.{}", self.models[i], self.models[j]);
                summary.values.insert(name, share(&of, self.played[i * n + j]));
            }
        }
        shown.sort_by(|a, b| b.0.total_cmp(&a.0));
        summary.tables.insert(
            "ranking".to_owned(),
            json!({
                "models": shown.into_iter().map(|(_, row)| row).collect::<Vec<_>>(),
                "contestants": self.models, "wins": matrix(sums, n),
                "separated": is_separated,
            }),
        );
        self.positions.finish(rows, summary, notes);
        if self.longer.1 > 0 {
            summary.values.insert("longer_wins".to_owned(), longer_wins(self.longer.0, self.longer.1));
        }
    }
}
