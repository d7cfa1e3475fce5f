//! BERTScore (Zhang et al. 2020), equal to `bert-score` 0.3.13 with a batch of one.
//!
//! Every token is matched with the most similar token of the other text. Tokens that the model adds around a text have
//! no weight, but others may be matched with them.

use std::collections::HashMap;

use super::TokenVectors;

/// Precision, recall and F1, each −1..=1 and mostly far above 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Similarity {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// Weights of tokens: their inverse document frequencies in the references.
pub struct TokenWeights {
    counts: HashMap<u32, u64>,
    documents: u64,
}

impl TokenWeights {
    /// Returns the weights; `counts` holds how many of the documents contain each token.
    pub fn new(counts: HashMap<u32, u64>, documents: u64) -> TokenWeights {
        TokenWeights { counts, documents }
    }

    fn of(&self, token: u32) -> f64 {
        let count = self.counts.get(&token).copied().unwrap_or(0);
        ((self.documents + 1) as f64 / (count + 1) as f64).ln()
    }
}

/// Compares two texts. A text without a token of its own has similarity 0 to any other.
///
/// # Errors
///
/// The vectors come from different models.
pub fn bertscore(
    candidate: &TokenVectors,
    reference: &TokenVectors,
    weights: Option<&TokenWeights>,
) -> Result<Similarity, String> {
    if [candidate, reference].iter().any(|text| !text.is_text.contains(&true)) {
        return Ok(Similarity::default());
    }
    let similarities = || -> candle_core::Result<[Vec<f32>; 2]> {
        let all = candidate.vectors.matmul(&reference.vectors.t()?.contiguous()?)?;
        Ok([all.max(1)?.to_vec1()?, all.max(0)?.to_vec1()?])
    };
    let [of_candidate, of_reference] = similarities().map_err(|error| error.to_string())?;
    let mean = |text: &TokenVectors, best: &[f32]| {
        let (mut sum, mut total) = (0.0, 0.0);
        for ((id, is_text), best) in text.ids.iter().zip(&text.is_text).zip(best) {
            let weight = weights.map_or(f64::from(u8::from(*is_text)), |weights| weights.of(*id));
            sum += weight * f64::from(*best);
            total += weight;
        }
        sum / total
    };
    let (precision, recall) = (mean(candidate, &of_candidate), mean(reference, &of_reference));
    let f1 = 2.0 * precision * recall / (precision + recall);
    Ok(Similarity { precision, recall, f1: if f1.is_nan() { 0.0 } else { f1 } })
}
