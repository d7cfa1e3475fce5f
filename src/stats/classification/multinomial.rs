//! Draws from a multinomial distribution: a bootstrap sample of a table, without its rows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Draws `total` (rounded) rows over the cells, each with its weight's probability.
pub(super) fn multinomial(weights: &[f64], total: f64, random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut left = total.round().max(1.0) as u64;
    let mut weight_left = total;
    weights
        .iter()
        .map(|weight| {
            let p = if weight_left > 0.0 { (weight / weight_left).clamp(0.0, 1.0) } else { 0.0 };
            let drawn = binomial(left, p, random);
            left -= drawn;
            weight_left -= weight;
            drawn as f64
        })
        .collect()
}

/// Draws from a binomial: by counting up to 1,000 trials, by the normal approximation beyond, where
/// both tails hold enough trials.
fn binomial(n: u64, p: f64, random: &mut ChaCha8Rng) -> u64 {
    if p >= 1.0 {
        return n;
    }
    let mean = n as f64 * p;
    if n > 1_000 && mean > 30.0 && n as f64 - mean > 30.0 {
        let draw = (mean + (mean * (1.0 - p)).sqrt() * standard_normal(random)).round();
        return draw.clamp(0.0, n as f64) as u64;
    }
    // Skips from success to success (geometric gaps), so that rare cells cost little.
    if p <= 0.0 {
        return 0;
    }
    let log_miss = (1.0 - p).ln();
    let (mut position, mut successes) = (0.0, 0);
    loop {
        position += (unit(random).ln() / log_miss).floor() + 1.0;
        if position > n as f64 {
            return successes;
        }
        successes += 1;
    }
}

/// Returns a uniform number in (0, 1].
fn unit(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Returns a standard normal number (Box & Muller 1958).
fn standard_normal(random: &mut ChaCha8Rng) -> f64 {
    (-2.0 * unit(random).ln()).sqrt() * (std::f64::consts::TAU * unit(random)).cos()
}
