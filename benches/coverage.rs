//! How often the intervals that etalon shows hold: `cargo bench --bench coverage`.
//!
//! Each cell draws 1,000 data sets from a world whose truth is known, and counts how many intervals hold it. Beside the share
//! stands the mean width, and that of Student's interval (of the percentile bootstrap for tables of labels it would be
//! narrower still) where it holds in at least 93 % of the cases: nothing is narrower and holds.
//! `docs/statistics.md` has the table.

use etalon::stats::{
    Confusion, Interval, Known, MeanSums, kappa_interval, mean_interval, quantile_interval, share_interval,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const TRIALS: usize = 1_000;

struct Random(ChaCha8Rng);

impl Random {
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    fn pick(&mut self, values: &[(f64, f64)]) -> f64 {
        let mut left = self.unit();
        for (value, share) in values {
            left -= share;
            if left < 0.0 {
                return *value;
            }
        }
        values[values.len() - 1].0
    }
}

/// What a cell found.
#[derive(Default)]
struct Cell {
    held: usize,
    open: usize,
    width: f64,
    closed: usize,
}

impl Cell {
    fn add(&mut self, interval: Option<Interval>, truth: f64) {
        let Some(Interval { low, high }) = interval else {
            // No interval is none that fails.
            self.held += 1;
            self.open += 1;
            return;
        };
        self.held += usize::from(low <= truth + 1e-12 && truth - 1e-12 <= high);
        if low.is_finite() && high.is_finite() {
            self.width += high - low;
            self.closed += 1;
        } else {
            self.open += 1;
        }
    }

    fn line(&self, name: &str, n: usize, worst: &mut f64) {
        let share = self.held as f64 / TRIALS as f64;
        *worst = worst.min(share);
        let width = if self.closed > 0 { format!("{:.3}", self.width / self.closed as f64) } else { "–".to_owned() };
        println!("| {name} | {n} | {:.1} | {width} | {:.0} |", 100.0 * share, 100.0 * self.open as f64 / TRIALS as f64);
    }
}

fn within(low: f64, high: f64, values: &[f64]) -> Known {
    Known {
        range: Some((low, high)),
        is_all_or_nothing: values.iter().all(|value| *value == low || *value == high),
        is_clustered: false,
    }
}

type Draw = fn(&mut Random) -> f64;

/// Ceilings, floors and middles: the share of rows at each score of a scale from 0 to 1.
const CEILING: &[(f64, f64)] = &[(1.0, 0.80), (0.75, 0.13), (0.5, 0.04), (0.25, 0.01), (0.0, 0.02)];
const TOP: &[(f64, f64)] = &[(1.0, 0.95), (0.75, 0.04), (0.5, 0.01)];
const MIDDLE: &[(f64, f64)] = &[(0.0, 0.1), (0.25, 0.2), (0.5, 0.4), (0.75, 0.2), (1.0, 0.1)];
const TIES: &[(f64, f64)] = &[(1.0, 0.15), (0.5, 0.8), (0.0, 0.05)];

fn mean(values: &[(f64, f64)]) -> f64 {
    values.iter().map(|(value, share)| value * share).sum()
}

fn means(random: &mut Random, worst: &mut f64) {
    let squad: Draw = |random| match random.unit() {
        u if u < 0.4 => 1.0,
        u if u < 0.65 => 0.0,
        _ => 0.2 + 0.7 * random.unit(),
    };
    let five: Draw = |random| (0..5).filter(|_| random.unit() < 0.9).count() as f64 / 5.0;
    let cells: [(&str, f64, Draw); 9] = [
        ("share .5", 0.5, |random| f64::from(u8::from(random.unit() < 0.5))),
        ("share .9", 0.9, |random| f64::from(u8::from(random.unit() < 0.9))),
        ("share .98", 0.98, |random| f64::from(u8::from(random.unit() < 0.98))),
        ("squad_f1", 0.4 + 0.35 * 0.55, squad),
        ("rubric near its ceiling", mean(CEILING), |random| random.pick(CEILING)),
        ("rubric at its ceiling", mean(TOP), |random| random.pick(TOP)),
        ("rubric in the middle", mean(MIDDLE), |random| random.pick(MIDDLE)),
        ("win rate, 80 % ties", mean(TIES), |random| random.pick(TIES)),
        ("pass@1 of 5 samples", 0.9, five),
    ];
    for (name, truth, draw) in cells {
        for n in [5, 10, 20, 50, 200, 1_000] {
            let mut cell = Cell::default();
            for _ in 0..TRIALS {
                let values: Vec<f64> = (0..n).map(|_| draw(random)).collect();
                cell.add(mean_interval(&values, &[], &within(0.0, 1.0, &values)), truth);
            }
            cell.line(name, n, worst);
        }
    }
}

fn clusters_and_weights(random: &mut Random, worst: &mut f64) {
    for groups in [2, 3, 5, 10, 20, 50] {
        let mut cell = Cell::default();
        for _ in 0..TRIALS {
            let (mut values, mut clusters) = (Vec::new(), Vec::new());
            for group in 0..groups {
                let rate = (0.7 + 0.2 * random.normal()).clamp(0.0, 1.0);
                for _ in 0..8 {
                    values.push(f64::from(u8::from(random.unit() < rate)));
                    clusters.push(group as u64);
                }
            }
            cell.add(mean_interval(&values, &clusters, &within(0.0, 1.0, &values)), CLUSTERED_TRUTH);
        }
        cell.line("clusters of 8 rows", groups, worst);
    }
    for (name, light, heavy) in [("weights 10", 10.0, 10.0), ("weights 0.1", 0.1, 0.1), ("weights 1 and 10", 1.0, 10.0)]
    {
        for n in [20, 50, 200] {
            let mut cell = Cell::default();
            for _ in 0..TRIALS {
                let mut sums = MeanSums::default();
                for row in 0..n {
                    let weight = if row % 4 == 0 { heavy } else { light };
                    sums.add(weight * f64::from(u8::from(random.unit() < 0.8)), weight);
                }
                let known = Known { range: Some((0.0, 1.0)), is_all_or_nothing: true, is_clustered: false };
                cell.add(sums.interval(&known), 0.8);
            }
            cell.line(name, n, worst);
        }
    }
}

/// The mean of a normal rate around 0.7 with deviation 0.2 that is cut at 0 and 1.
const CLUSTERED_TRUTH: f64 = 0.6944;

fn unbounded(random: &mut Random, worst: &mut f64) {
    let cells: [(&str, f64, Draw); 3] = [
        ("mean, normal", 10.0, |random| 10.0 + 3.0 * random.normal()),
        ("mean, lognormal σ ½", 0.125_f64.exp(), |random| (0.5 * random.normal()).exp()),
        ("mean, lognormal σ 1", 0.5_f64.exp(), |random| random.normal().exp()),
    ];
    for (name, truth, draw) in cells {
        for n in [5, 10, 20, 50, 200, 1_000] {
            let mut cell = Cell::default();
            for _ in 0..TRIALS {
                let values: Vec<f64> = (0..n).map(|_| draw(random)).collect();
                cell.add(mean_interval(&values, &[], &Known::default()), truth);
            }
            cell.line(name, n, worst);
        }
    }
    for (name, q, truth) in [("median, lognormal σ 1", 0.5, 1.0), ("p95, lognormal σ 1", 0.95, 1.644_854_f64.exp())] {
        for n in [5, 10, 20, 40, 60, 200, 1_000] {
            let mut cell = Cell::default();
            for _ in 0..TRIALS {
                let mut values: Vec<f64> = (0..n).map(|_| exact_normal(random).exp()).collect();
                values.sort_unstable_by(f64::total_cmp);
                cell.add(quantile_interval(&values, q, n as u64), truth);
            }
            cell.line(name, n, worst);
        }
    }
}

/// A normal number whose tails are right, too (Box & Muller 1958).
fn exact_normal(random: &mut Random) -> f64 {
    let (a, b) = (1.0 - random.unit(), random.unit());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// How common each label is, and how often it is found; else the next one is said.
type World = (&'static str, &'static [f64], &'static [f64]);

const WORLDS: &[World] = &[
    ("80/15/5", &[0.8, 0.15, 0.05], &[0.9, 0.7, 0.6]),
    ("97/3", &[0.97, 0.03], &[0.97, 0.6]),
    ("50/50", &[0.5, 0.5], &[0.85, 0.85]),
    ("40/30/20/10", &[0.4, 0.3, 0.2, 0.1], &[0.95, 0.95, 0.9, 0.9]),
];

fn labels(random: &mut Random, worst: &mut f64) {
    for (world, common, found) in WORLDS {
        let names: Vec<String> = (0..common.len()).map(|label| label.to_string()).collect();
        let mut truth = Confusion::default();
        for gold in 0..names.len() {
            truth.add(&names[gold], Some(&names[gold]), common[gold] * found[gold]);
            truth.add(&names[gold], Some(&names[(gold + 1) % names.len()]), common[gold] * (1.0 - found[gold]));
        }
        let truth = truth.report(&names, 0.0).expect("it has rows");
        for n in [5, 10, 20, 50, 200, 1_000] {
            let (mut f1, mut mcc, mut weighted) = (Cell::default(), Cell::default(), Cell::default());
            for _ in 0..TRIALS {
                let mut table = Confusion::default();
                for _ in 0..n {
                    let shares: Vec<(f64, f64)> =
                        common.iter().enumerate().map(|(label, share)| (label as f64, *share)).collect();
                    let gold = random.pick(&shares) as usize;
                    let said = if random.unit() < found[gold] { gold } else { (gold + 1) % names.len() };
                    table.add(&names[gold], Some(&names[said]), 1.0);
                }
                let intervals = table.intervals(&names, 0.0, n as f64, None).expect("it has rows");
                f1.add(intervals.macro_avg[0], truth.macro_avg.f1);
                weighted.add(intervals.weighted_avg[0], truth.weighted_avg.f1);
                mcc.add(intervals.mcc, truth.mcc);
            }
            f1.line(&format!("f1_macro, labels {world}"), n, worst);
            weighted.line(&format!("f1_weighted, labels {world}"), n, worst);
            mcc.line(&format!("mcc, labels {world}"), n, worst);
        }
    }
}

fn kappas(random: &mut Random, worst: &mut f64) {
    for agreement in [0.97, 0.95, 0.8] {
        for n in [10, 20, 50, 200] {
            let mut cell = Cell::default();
            for _ in 0..TRIALS {
                let mut counts = vec![vec![0.0; 2]; 2];
                for _ in 0..n {
                    let gold = usize::from(random.unit() < 0.5);
                    let said = if random.unit() < agreement { gold } else { 1 - gold };
                    counts[gold][said] += 1.0;
                }
                cell.add(kappa_interval(&counts), 2.0 * agreement - 1.0);
            }
            cell.line(&format!("kappa, agreement {agreement}"), n, worst);
        }
    }
}

/// Two models that do not differ: how often a comparison says that they do.
fn nothing(random: &mut Random) {
    println!("\n| no difference | rows | better, worse % |");
    println!("|---|---|---|");
    for (name, differ) in [("5 % of rows differ", 0.05), ("20 %", 0.2), ("50 %", 0.5)] {
        for n in [20, 50, 200, 1_000] {
            let mut found = [0usize; 2];
            for _ in 0..2_000 {
                let mut draw = || match random.unit() {
                    u if u < differ / 2.0 => 1.0,
                    u if u < differ => -1.0,
                    _ => 0.0,
                };
                let values: Vec<f64> = (0..n).map(|_| draw()).collect();
                let known = Known { range: Some((-1.0, 1.0)), is_all_or_nothing: true, is_clustered: false };
                let interval = mean_interval(&values, &[], &known).expect("there are rows");
                found[0] += usize::from(interval.low > 0.0);
                found[1] += usize::from(interval.high < 0.0);
            }
            println!("| {name} | {n} | {:.1}, {:.1} |", found[0] as f64 / 20.0, found[1] as f64 / 20.0);
        }
    }
}

fn main() {
    let mut random = Random(ChaCha8Rng::seed_from_u64(18));
    let mut worst: f64 = 1.0;
    println!("| quantity | n | holds % | mean width | open % |");
    println!("|---|---|---|---|---|");
    means(&mut random, &mut worst);
    clusters_and_weights(&mut random, &mut worst);
    unbounded(&mut random, &mut worst);
    labels(&mut random, &mut worst);
    kappas(&mut random, &mut worst);
    nothing(&mut random);
    println!("\nworst: {:.1} %", 100.0 * worst);
    assert!(share_interval(0.0, 0.0).is_none());
}
