//! Points that cover a cloud: farthest-first traversal (Gonzalez 1985), a 2-approximation of the
//! k-centre problem.

/// How far apart points are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distance {
    Euclidean,
    /// 1 − the cosine; 1 for a vector of length 0.
    Cosine,
}

/// Points in the order in which they were chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Covering {
    /// The chosen points, as indices, in the order in which they were chosen.
    pub order: Vec<usize>,
    /// After each choice: the distance of the farthest point from its nearest chosen point.
    pub radius: Vec<f64>,
}

/// Distances that differ by less are equal; then the earlier point wins.
const TIE: f64 = 1e-12;

/// Up to so many points the true medoid is searched; beyond that, the point nearest to the mean is taken.
const MEDOID: usize = 5_000;

/// Chooses `k` points: first the medoid, then again and again the point that is farthest from those chosen.
///
/// All vectors have the same length. Time is O(k · n · d), and O(n² · d) for the medoid up to 5,000
/// points.
pub fn farthest_first(vectors: &[Vec<f64>], k: usize, distance: Distance) -> Covering {
    use rayon::prelude::*;

    let lengths: Vec<f64> = vectors.iter().map(|vector| dot(vector, vector).sqrt()).collect();
    let between = |a: usize, b: usize| match distance {
        Distance::Euclidean => distance.between(&vectors[a], &vectors[b]),
        Distance::Cosine if lengths[a] == 0.0 || lengths[b] == 0.0 => 1.0,
        Distance::Cosine => 1.0 - dot(&vectors[a], &vectors[b]) / (lengths[a] * lengths[b]),
    };
    let n = vectors.len();
    let mut covering = Covering { order: Vec::new(), radius: Vec::new() };
    if n == 0 || k == 0 {
        return covering;
    }
    let first = if n <= MEDOID {
        let totals: Vec<f64> =
            (0..n).into_par_iter().map(|a| (0..n).map(|b| if a == b { 0.0 } else { between(a, b) }).sum()).collect();
        (0..n).fold(0, |best, i| if totals[i] < totals[best] - TIE { i } else { best })
    } else {
        let mut mean = vec![0.0; vectors[0].len()];
        for (vector, length) in vectors.iter().zip(&lengths) {
            let scale = if distance == Distance::Cosine && *length > 0.0 { 1.0 / length } else { 1.0 };
            mean.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value * scale / n as f64);
        }
        let closeness = |i: usize| match distance {
            Distance::Euclidean => -vectors[i].iter().zip(&mean).map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
            Distance::Cosine => dot(&vectors[i], &mean) / lengths[i].max(f64::MIN_POSITIVE),
        };
        (0..n).fold(0, |best, i| if closeness(i) > closeness(best) + TIE { i } else { best })
    };
    let mut nearest = vec![f64::INFINITY; n];
    let mut next = first;
    while covering.order.len() < k.min(n) {
        covering.order.push(next);
        nearest.par_iter_mut().enumerate().with_min_len(256).for_each(|(i, nearest)| {
            *nearest = if i == next { 0.0 } else { nearest.min(between(i, next)) };
        });
        // A point that is chosen already is never taken while another is left.
        let mut farthest = None;
        for (i, distance) in nearest.iter().enumerate() {
            let is_farther = farthest.is_none_or(|best: usize| *distance > nearest[best] + TIE);
            if is_farther && !(*distance == 0.0 && covering.order.contains(&i)) {
                farthest = Some(i);
            }
        }
        covering.radius.push(farthest.map_or(0.0, |i| nearest[i]));
        next = match farthest {
            Some(next) => next,
            None => break,
        };
    }
    covering
}

/// Returns how far apart the two nearest points are; 0 for fewer than two.
pub fn least_distance(vectors: &[Vec<f64>], distance: Distance) -> f64 {
    let pairs = (0..vectors.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let least = pairs.map(|(a, b)| distance.between(&vectors[a], &vectors[b])).fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 0.0 }
}

impl Distance {
    /// Returns the distance of two vectors.
    pub fn between(self, a: &[f64], b: &[f64]) -> f64 {
        match self {
            Distance::Euclidean => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
            Distance::Cosine => {
                let lengths = (dot(a, a) * dot(b, b)).sqrt();
                if lengths == 0.0 { 1.0 } else { 1.0 - dot(a, b) / lengths }
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
