//! BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) on the CPU, by candle.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{D, DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::softmax_last_dim;
use rayon::prelude::*;
use tokenizers::{Tokenizer, TruncationParams};

use super::bias::AddBias;
use super::{Config, ModelFolder};

/// How many tokens are encoded in one batch, unless a single text has more. Batches run in parallel.
const BATCH: usize = 1_024;

/// A model in memory.
pub struct Encoder {
    config: Config,
    tokenizer: Tokenizer,
    words: Tensor,
    positions: Tensor,
    kind: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    pools_first: bool,
    sentence_tokens: usize,
}

/// The tokens of a text and their vectors, each of length 1, one per row.
#[derive(Clone)]
pub struct TokenVectors {
    /// The numbers of the tokens in the model's vocabulary.
    pub ids: Vec<u32>,
    /// For each token: whether it belongs to the text, or was added around it by the model.
    pub is_text: Vec<bool>,
    pub vectors: Tensor,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention: Linear,
    attention_norm: Norm,
    inner: Linear,
    outer: Linear,
    norm: Norm,
}

struct Linear {
    /// The weights, transposed.
    weight: Tensor,
    bias: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

type Result<T> = candle_core::Result<T>;

/// The tokens of a text, and for each whether it belongs to the text itself.
type Tokens = (Vec<u32>, Vec<bool>);

impl Linear {
    fn load(weights: &VarBuilder<'_>, rows: usize, columns: usize) -> Result<Linear> {
        let weight = weights.get((rows, columns), "weight")?.t()?.contiguous()?;
        Ok(Linear { weight, bias: weights.get(rows, "bias")? })
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)?.apply_op2_no_bwd(&self.bias, &AddBias { activates: false })
    }

    /// Applies the layer and then the activation.
    fn activated(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)?.apply_op2_no_bwd(&self.bias, &AddBias { activates: true })
    }
}

impl Norm {
    fn load(weights: &VarBuilder<'_>, size: usize, epsilon: f64) -> Result<Norm> {
        // Old checkpoints use other names for these.
        let get = |name: &str, old: &str| weights.get(size, name).or_else(|_| weights.get(size, old));
        Ok(Norm { weight: get("weight", "gamma")?, bias: get("bias", "beta")?, epsilon })
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm(x, &self.weight, &self.bias, self.epsilon as f32)
    }
}

impl Layer {
    fn load(weights: &VarBuilder<'_>, config: &Config) -> Result<Layer> {
        let size = config.hidden_size;
        let square = |name: &str| Linear::load(&weights.pp(name), size, size);
        let inner_weight = weights.pp("intermediate.dense");
        let inner_size = inner_weight.get_unchecked("bias")?.dim(0)?;
        Ok(Layer {
            query: square("attention.self.query")?,
            key: square("attention.self.key")?,
            value: square("attention.self.value")?,
            attention: square("attention.output.dense")?,
            attention_norm: Norm::load(&weights.pp("attention.output.LayerNorm"), size, config.layer_norm_eps)?,
            inner: Linear::load(&inner_weight, inner_size, size)?,
            outer: Linear::load(&weights.pp("output.dense"), size, inner_size)?,
            norm: Norm::load(&weights.pp("output.LayerNorm"), size, config.layer_norm_eps)?,
        })
    }

    /// Applies the layer to the tokens of several texts, one text behind the other; `lengths` are the numbers of their
    /// tokens.
    fn apply(&self, x: &Tensor, lengths: &[usize], heads: usize) -> Result<Tensor> {
        let size = x.dim(D::Minus1)?;
        let width = size / heads;
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|linear| linear.apply(x));
        let (query, key, value) = (query?.affine(1.0 / (width as f64).sqrt(), 0.0)?, key?, value?);
        let mut attended = Vec::with_capacity(lengths.len());
        let mut start = 0;
        for length in lengths {
            // From (tokens, size) to (heads, tokens, width).
            let split = |tensor: &Tensor| -> Result<Tensor> {
                tensor.narrow(0, start, *length)?.reshape((*length, heads, width))?.transpose(0, 1)?.contiguous()
            };
            let (query, key, value) = (split(&query)?, split(&key)?, split(&value)?);
            let weights = softmax_last_dim(&query.matmul(&key.t()?)?)?;
            attended.push(weights.matmul(&value)?.transpose(0, 1)?.reshape((*length, size))?);
            start += length;
        }
        let attended = self.attention.apply(&Tensor::cat(&attended, 0)?)?;
        let x = self.attention_norm.apply(&(attended + x)?)?;
        let inner = self.inner.activated(&x)?;
        self.norm.apply(&(self.outer.apply(&inner)? + &x)?)
    }
}

impl Encoder {
    /// Loads a model with its first `layers` layers, or all layers if none is given.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or does not hold what a model needs.
    pub fn load(model: &ModelFolder, layers: Option<usize>) -> std::result::Result<Encoder, String> {
        let said = |error: &dyn std::fmt::Display| format!("failed to load {}: {error}", model.path.display());
        let mut tokenizer = Tokenizer::from_file(model.path.join("tokenizer.json")).map_err(|error| said(&error))?;
        // The padding and truncation in tokenizer.json were meant for another use of the model.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| said(&error))?;
        let paths: Vec<PathBuf> = model.weights();
        Encoder::build(model, tokenizer, &paths, layers).map_err(|error| said(&error))
    }

    fn build(model: &ModelFolder, tokenizer: Tokenizer, paths: &[PathBuf], layers: Option<usize>) -> Result<Encoder> {
        let mut tensors = HashMap::new();
        for path in paths {
            tensors.extend(candle_core::safetensors::load(path, &Device::Cpu)?);
        }
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        // In checkpoints of a model with a head, all names begin with the model's name.
        const WORDS: &str = "embeddings.word_embeddings.weight";
        let prefixed = ["bert", "roberta"].map(|prefix| weights.pp(prefix));
        let weights = std::iter::once(weights)
            .chain(prefixed)
            .find(|weights| weights.contains_tensor(WORDS))
            .ok_or_else(|| candle_core::Error::Msg(format!("there is no {WORDS}")))?;
        let (config, embeddings) = (model.config.clone(), weights.pp("embeddings"));
        if config.hidden_act != "gelu" {
            return Err(candle_core::Error::Msg(format!("the activation `{}` is not computed", config.hidden_act)));
        }
        let table = |name: &str| embeddings.pp(name).get_unchecked("weight");
        let count = layers.unwrap_or(config.num_hidden_layers).min(config.num_hidden_layers);
        let layers = (0..count).map(|index| Layer::load(&weights.pp(format!("encoder.layer.{index}")), &config));
        Ok(Encoder {
            words: table("word_embeddings")?,
            positions: table("position_embeddings")?,
            kind: table("token_type_embeddings")?.i(0)?,
            norm: Norm::load(&embeddings.pp("LayerNorm"), config.hidden_size, config.layer_norm_eps)?,
            layers: layers.collect::<Result<_>>()?,
            pools_first: model.pools_first(),
            sentence_tokens: model.sentence_tokens(),
            config,
            tokenizer,
        })
    }

    /// Returns how many numbers each vector has.
    pub fn dimensions(&self) -> usize {
        self.config.hidden_size
    }

    /// Returns the vectors of the tokens of each text, after the last loaded layer.
    ///
    /// # Errors
    ///
    /// A text cannot be cut into tokens, or the computation fails.
    pub fn token_vectors(&self, texts: &[&str]) -> std::result::Result<Vec<TokenVectors>, String> {
        let tokens = self.tokenize(texts, self.config.max_tokens())?;
        self.encode(&tokens, |hidden, (ids, is_text)| {
            let norms = hidden.sqr()?.sum_keepdim(1)?.sqrt()?;
            Ok(TokenVectors { ids: ids.clone(), is_text: is_text.clone(), vectors: hidden.broadcast_div(&norms)? })
        })
    }

    /// Returns a vector of length 1 for each text: the mean over its tokens, or the vector of the first token.
    ///
    /// # Errors
    ///
    /// A text cannot be cut into tokens, or the computation fails.
    pub fn sentence_vectors(&self, texts: &[&str]) -> std::result::Result<Vec<Vec<f32>>, String> {
        let tokens = self.tokenize(texts, self.sentence_tokens)?;
        self.encode(&tokens, |hidden, _| {
            let pooled = if self.pools_first { hidden.i(0)? } else { hidden.mean(0)? };
            let mut vector: Vec<f32> = pooled.to_vec1()?;
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|value| *value /= length.max(f32::MIN_POSITIVE));
            Ok(vector)
        })
    }

    /// Returns how many tokens of a text enter its sentence vector.
    ///
    /// # Errors
    ///
    /// The text cannot be cut into tokens.
    pub fn sentence_length(&self, text: &str) -> std::result::Result<usize, String> {
        Ok(self.tokenize(&[text], self.sentence_tokens)?[0].0.len())
    }

    /// Returns for each token how many texts contain it.
    ///
    /// # Errors
    ///
    /// A text cannot be cut into tokens.
    pub fn document_counts(&self, texts: &[&str]) -> std::result::Result<HashMap<u32, u64>, String> {
        let mut counts = HashMap::new();
        for (mut ids, _) in self.tokenize(texts, self.config.max_tokens())? {
            ids.sort_unstable();
            ids.dedup();
            ids.into_iter().for_each(|id| *counts.entry(id).or_default() += 1);
        }
        Ok(counts)
    }

    fn tokenize(&self, texts: &[&str], most: usize) -> std::result::Result<Vec<Tokens>, String> {
        let mut tokenizer = self.tokenizer.clone();
        tokenizer
            .with_truncation(Some(TruncationParams { max_length: most, ..TruncationParams::default() }))
            .map_err(|error| error.to_string())?;
        let encoded = tokenizer.encode_batch(texts.to_vec(), true).map_err(|error| error.to_string())?;
        let tokens = encoded.iter().map(|encoding| {
            let is_text = encoding.get_special_tokens_mask().iter().map(|mask| *mask == 0).collect();
            (encoding.get_ids().to_vec(), is_text)
        });
        Ok(tokens.collect())
    }

    /// Encodes texts, and calls a function on the vectors of each.
    fn encode<T: Send>(
        &self,
        tokens: &[Tokens],
        each: impl Fn(&Tensor, &Tokens) -> Result<T> + Sync,
    ) -> std::result::Result<Vec<T>, String> {
        let mut batches = Vec::new();
        let mut start = 0;
        while start < tokens.len() {
            let mut end = start;
            let mut size = 0;
            while end < tokens.len() && (end == start || size + tokens[end].0.len() <= BATCH) {
                size += tokens[end].0.len();
                end += 1;
            }
            batches.push(&tokens[start..end]);
            start = end;
        }
        let encode = |batch: &[Tokens]| -> Result<Vec<T>> {
            let hidden = self.forward(batch)?;
            let mut at = 0;
            let of_text = |one: &Tokens| {
                let own = hidden.narrow(0, at, one.0.len())?;
                at += one.0.len();
                each(&own, one)
            };
            batch.iter().map(of_text).collect()
        };
        let made: Vec<Vec<T>> =
            batches.into_par_iter().map(encode).collect::<Result<_>>().map_err(|error| error.to_string())?;
        Ok(made.into_iter().flatten().collect())
    }

    fn forward(&self, batch: &[Tokens]) -> Result<Tensor> {
        let first = if self.config.is_roberta() { self.config.pad_token_id as u32 + 1 } else { 0 };
        let ids: Vec<u32> = batch.iter().flat_map(|(ids, _)| ids.iter().copied()).collect();
        let positions: Vec<u32> = batch.iter().flat_map(|(ids, _)| (first..).take(ids.len())).collect();
        let lengths: Vec<usize> = batch.iter().map(|(ids, _)| ids.len()).collect();
        let look_up = |table: &Tensor, rows: Vec<u32>| table.index_select(&Tensor::new(rows, &Device::Cpu)?, 0);
        let embedded = (look_up(&self.words, ids)? + look_up(&self.positions, positions)?)?;
        let mut hidden = self.norm.apply(&embedded.broadcast_add(&self.kind)?)?;
        for layer in &self.layers {
            hidden = layer.apply(&hidden, &lengths, self.config.num_attention_heads)?;
        }
        Ok(hidden)
    }
}
