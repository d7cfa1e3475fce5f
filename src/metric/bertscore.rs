//! `bertscore`: how similar the tokens of prediction and reference are, as an encoder sees them, and how similar those
//! of unrelated texts are.
//!
//! Even unrelated texts have scores far above 0, which differ by model. `baseline` shows this: it is the mean F1 of
//! each prediction with the reference of another row.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Entry, Made, Make, MeanTally, Metric, PartsTally, Score, Scored, Tally, Written, share};
use crate::encoder::{LOCAL_HELP, ModelFolder, WITHOUT_LOCAL};
use crate::score::Unit;
use crate::spec::Whole;

pub(super) const ENTRY: Entry = Entry {
    name: "bertscore",
    about: "F1 of the similarities of tokens to an encoder; compare it with `.baseline`, that of unrelated texts.",
    source: "Zhang et al. 2020 (arXiv 1904.09675); equal to bert-score 0.3.13 with a batch of one; needs the feature `local`",
    range: "−1 to 1",
    score: "`{ f1, precision, recall, baseline }`",
    parts: &[
        ("precision", "of the tokens of the prediction"),
        ("recall", "of the tokens of the reference"),
        ("baseline", "F1 of predictions with references of other rows: what unrelated texts get"),
    ],
    unit: |_| Unit::Rate,
    ..share::<Settings>()
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Folder of the workspace with config.json, tokenizer.json and safetensors, or a name in the Hugging
    /// Face hub's cache; BERT, RoBERTa and kin. Its files enter the key.
    #[schemars(example = &"models/roberta-large", example = &"FacebookAI/roberta-large")]
    model: String,
    /// The layer whose vectors are compared; as bert-score has it for the models that it knows, else the
    /// last.
    #[schemars(example = 9)]
    layer: Option<Whole<1>>,
    /// Weighs tokens by how rare they are among the references; all rows are then held in memory.
    #[schemars(example = true)]
    idf: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { model: "roberta-large".to_owned(), layer: None, idf: false }
    }
}

/// The layers whose vectors agree best with people's judgement, by model, as in bert-score.
const LAYERS: &[(&str, usize)] = &[
    ("bert-base-uncased", 9),
    ("bert-large-uncased", 18),
    ("bert-base-cased", 9),
    ("bert-large-cased", 12),
    ("bert-base-multilingual-cased", 9),
    ("roberta-base", 10),
    ("roberta-large", 17),
    ("roberta-large-mnli", 19),
    ("xlm-roberta-base", 9),
    ("xlm-roberta-large", 17),
];

struct BertScore {
    model: ModelFolder,
    #[cfg_attr(not(feature = "local"), expect(dead_code, reason = "it is read where vectors are computed"))]
    layer: usize,
    has_weights: bool,
    #[cfg(feature = "local")]
    encoder: std::sync::OnceLock<Result<crate::encoder::Encoder, String>>,
}

impl Make for Settings {
    fn make(self, written: &Written<'_>) -> Made {
        if !cfg!(feature = "local") {
            return Err(written.impossible(WITHOUT_LOCAL, LOCAL_HELP));
        }
        let name = &self.model;
        let model = ModelFolder::find(name, written.root).map_err(|message| written.wrong("model", message))?;
        let layers = model.config.num_hidden_layers;
        let short = name.rsplit('/').next().unwrap_or(name).split('@').next().unwrap_or(name);
        let known = LAYERS.iter().find(|(known, _)| *known == short).map_or(layers, |(_, layer)| *layer);
        let layer = self.layer.map_or(known.min(layers), Whole::size);
        if !(1..=layers).contains(&layer) {
            return Err(written.wrong("layer", format!("{name} has the layers 1 to {layers}")));
        }
        Ok(Box::new(BertScore {
            model,
            layer,
            has_weights: self.idf,
            #[cfg(feature = "local")]
            encoder: std::sync::OnceLock::new(),
        }))
    }
}

#[cfg(feature = "local")]
type Pair<'a> = (std::borrow::Cow<'a, str>, Vec<std::borrow::Cow<'a, str>>);

#[cfg(feature = "local")]
impl BertScore {
    fn score_texts(&self, scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        use std::collections::HashMap;

        use serde_json::json;

        use crate::encoder::{Encoder, Similarity, TokenVectors, TokenWeights, bertscore};

        let encoder = self.encoder.get_or_init(|| Encoder::load(&self.model, Some(self.layer)));
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
        let vectors: HashMap<&str, TokenVectors> = texts.iter().copied().zip(encoder.token_vectors(&texts)?).collect();
        let firsts: Vec<&str> = pairs.iter().flatten().map(|(_, references)| &*references[0]).collect();
        let weights = if self.has_weights {
            Some(TokenWeights::new(encoder.document_counts(&firsts)?, firsts.len() as u64))
        } else {
            None
        };
        let compare = |a: &str, b: &str| bertscore(&vectors[a], &vectors[b], weights.as_ref());
        let mut scores = Vec::with_capacity(pairs.len());
        let mut row = 0;
        for pair in &pairs {
            let Some((prediction, references)) = pair else {
                scores.push(Ok(None));
                continue;
            };
            let mut best: Option<Similarity> = None;
            for reference in references {
                let found = compare(prediction, reference)?;
                best = Some(best.map_or(found, |best| Similarity {
                    precision: best.precision.max(found.precision),
                    recall: best.recall.max(found.recall),
                    f1: best.f1.max(found.f1),
                }));
            }
            row += 1;
            let other = firsts[row % firsts.len()];
            let baseline =
                (!references.iter().any(|own| *own == other)).then(|| compare(prediction, other)).transpose()?;
            let best = best.unwrap_or_default();
            if best.precision.is_nan() || best.recall.is_nan() {
                scores.push(Err("no token of it has a weight: `idf` needs several different references".to_owned()));
                continue;
            }
            scores.push(Ok(Some(json!({
                "f1": best.f1, "precision": best.precision, "recall": best.recall,
                "baseline": baseline.map(|baseline| baseline.f1),
            }))));
        }
        Ok(scores)
    }
}

#[cfg(not(feature = "local"))]
impl BertScore {
    fn score_texts(&self, _scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        Err(WITHOUT_LOCAL.to_owned())
    }
}

impl Metric for BertScore {
    fn score(&self, scored: &Scored<'_>) -> Score {
        self.score_all(&[*scored]).and_then(|mut scores| scores.pop().unwrap_or(Ok(None)))
    }

    fn score_all(&self, scored: &[Scored<'_>]) -> Result<Vec<Score>, String> {
        self.score_texts(scored)
    }

    fn batch(&self) -> usize {
        if self.has_weights { usize::MAX } else { 128 }
    }

    /// The baseline is held against another row's reference, and weights come from all references.
    fn is_by_row(&self) -> bool {
        false
    }

    fn tally(&self, _seed: u64) -> Box<dyn Tally> {
        let mean = || Box::new(MeanTally::within(-1.0, 1.0)) as Box<dyn Tally>;
        Box::new(PartsTally::new(vec![
            ("", "f1", mean()),
            ("precision", "precision", mean()),
            ("recall", "recall", mean()),
            ("baseline", "baseline", mean()),
        ]))
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn weights(&self) -> Vec<(String, PathBuf)> {
        self.model.files()
    }
}
