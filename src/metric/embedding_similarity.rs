//! `embedding_similarity`: the cosine of the sentence vectors of prediction and reference; of several references the
//! highest counts. Vectors are kept on disk, by the digest of their text.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, share};
use crate::encoder::{LOCAL_HELP, ModelFolder, SENTENCE_MODEL, WITHOUT_LOCAL};
use crate::score::Unit;

pub(super) const ENTRY: Entry = Entry {
    name: "embedding_similarity",
    about: "Cosine of the sentence vectors of prediction and reference; compare it with `.baseline`, that of unrelated texts.",
    source: "Reimers and Gurevych 2019; equal to sentence-transformers; needs the feature `local`",
    range: "−1 to 1",
    score: "`{ cosine, baseline }`",
    parts: &[("baseline", "cosine of predictions with references of other rows: what unrelated texts get")],
    unit: |_| Unit::Rate,
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Folder of the workspace with config.json, tokenizer.json and safetensors, or a name in the Hugging
    /// Face hub's cache; BERT, RoBERTa and kin. Its files enter the key.
    #[schemars(example = &"models/all-MiniLM-L6-v2", example = SENTENCE_MODEL)]
    model: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { model: SENTENCE_MODEL.to_owned() }
    }
}

struct EmbeddingSimilarity {
    model: ModelFolder,
    cache: Option<PathBuf>,
    #[cfg(feature = "local")]
    encoder: std::sync::OnceLock<Result<crate::encoder::SentenceEncoder, String>>,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        if !cfg!(feature = "local") {
            return Err(written.impossible(WITHOUT_LOCAL, LOCAL_HELP));
        }
        let model = ModelFolder::find(&self.model, written.root).map_err(|message| written.wrong("model", message))?;
        Ok(Box::new(EmbeddingSimilarity {
            model,
            cache: None,
            #[cfg(feature = "local")]
            encoder: std::sync::OnceLock::new(),
        }))
    }
}

#[cfg(feature = "local")]
type Pair<'a> = (std::borrow::Cow<'a, str>, Vec<std::borrow::Cow<'a, str>>);

#[cfg(feature = "local")]
impl EmbeddingSimilarity {
    fn score_texts(&self, scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        use std::collections::HashMap;

        use serde_json::json;

        use crate::encoder::{SentenceEncoder, cosine};

        let encoder = self.encoder.get_or_init(|| SentenceEncoder::load(&self.model, self.cache.as_deref()));
        let encoder = encoder.as_ref().map_err(Clone::clone)?;
        let pairs: Vec<Option<Pair<'_>>> = scored.iter().map(super::pair).collect();
        let mut texts: Vec<&str> = pairs
            .iter()
            .flatten()
            .flat_map(|(prediction, references)| std::iter::once(prediction).chain(references))
            .map(|text| &**text)
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let vectors: HashMap<&str, Vec<f32>> = texts.iter().copied().zip(encoder.vectors(&texts)?).collect();
        let firsts: Vec<&str> = pairs.iter().flatten().map(|(_, references)| &*references[0]).collect();
        let mut row = 0;
        let score = |pair: &Option<Pair<'_>>| {
            let Some((prediction, references)) = pair else {
                return Ok(None);
            };
            let to = |other: &str| cosine(&vectors[&**prediction], &vectors[other]);
            let best = references.iter().map(|reference| to(reference)).fold(f64::NEG_INFINITY, f64::max);
            row += 1;
            let other = firsts[row % firsts.len()];
            let baseline = (!references.iter().any(|own| *own == other)).then(|| to(other));
            Ok(Some(json!({ "cosine": best, "baseline": baseline })))
        };
        Ok(pairs.iter().map(score).collect())
    }
}

#[cfg(not(feature = "local"))]
impl EmbeddingSimilarity {
    fn score_texts(&self, _scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        Err(WITHOUT_LOCAL.to_owned())
    }
}

impl Metric for EmbeddingSimilarity {
    fn score(&self, scored: &Scored<'_>) -> Score {
        self.score_all(&[*scored]).and_then(|mut scores| scores.pop().unwrap_or(Ok(None)))
    }

    fn score_all(&self, scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        self.score_texts(scored)
    }

    /// The baseline is held against another row's reference.
    fn is_by_row(&self) -> bool {
        false
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let mean = || Box::new(MeanTally::within(-1.0, 1.0)) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![("", "cosine", mean()), ("baseline", "baseline", mean())]))
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn weights(&self) -> Vec<(String, PathBuf)> {
        self.model.files()
    }

    fn keep_in(&mut self, cache: &Path) {
        self.cache = Some(cache.to_owned());
    }
}
