//! Vectors for `etalon::encoder`, with real weights that `.ci/setup` installs.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use etalon::encoder::{Encoder, ModelFolder, Similarity, TokenVectors, TokenWeights, bertscore as compare, cosine};

use super::super::support::set_up;
use super::{Case, texts};

/// The first 3, 5 and 6 layers of the model.
static ENCODERS: LazyLock<[Encoder; 3]> = LazyLock::new(|| {
    set_up("weights");
    let model = ModelFolder::find("target/models/all-MiniLM-L6-v2", Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    [3, 5, 6].map(|layers| Encoder::load(&model, Some(layers)).unwrap())
});

fn listed(found: Similarity) -> Value {
    json!([found.precision, found.recall, found.f1])
}

fn vectors(encoder: &Encoder, text: &str) -> TokenVectors {
    encoder.token_vectors(&[text]).unwrap().remove(0)
}

pub fn bertscore(case: &Case) -> Value {
    let [third, fifth, sixth] = &*ENCODERS;
    if case.category == "idf_corpus" {
        let [candidates, references] = ["candidates", "references"].map(|name| texts(&case.input[name]));
        let all: Vec<&str> = references.iter().map(String::as_str).collect();
        let weights = TokenWeights::new(sixth.document_counts(&all).unwrap(), all.len() as u64);
        let pairs = candidates.iter().zip(&references);
        let scores: Vec<Value> = pairs
            .map(|(candidate, reference)| {
                listed(compare(&vectors(sixth, candidate), &vectors(sixth, reference), Some(&weights)).unwrap())
            })
            .collect();
        return json!({ "layer6_idf": scores });
    }
    let candidate = case.input["candidate"].as_str().unwrap();
    let references = texts(&case.input["references"]);
    let of = |encoder: &Encoder| {
        let own = vectors(encoder, candidate);
        let each = references.iter().map(|reference| compare(&own, &vectors(encoder, reference), None).unwrap());
        listed(
            each.reduce(|a, b| Similarity {
                precision: a.precision.max(b.precision),
                recall: a.recall.max(b.recall),
                f1: a.f1.max(b.f1),
            })
            .unwrap(),
        )
    };
    let ids = vectors(sixth, candidate).ids;
    json!({
        "layer6": of(sixth), "layer5": of(fifth), "layer3": of(third),
        "n_tokens_candidate": ids.len(), "candidate_ids": ids,
        "n_tokens_reference": vectors(sixth, &references[0]).ids.len(),
    })
}

pub fn sentence_embedding(case: &Case) -> Value {
    let encoder = &ENCODERS[2];
    let [a, b] = ["a", "b"].map(|side| case.input[side].as_str().unwrap());
    let found = encoder.sentence_vectors(&[a, b]).unwrap();
    json!({
        "cosine": cosine(&found[0], &found[1]), "a_first8": found[0][..8],
        "n_tokens_a": encoder.sentence_length(a).unwrap(), "n_tokens_b": encoder.sentence_length(b).unwrap(),
    })
}
