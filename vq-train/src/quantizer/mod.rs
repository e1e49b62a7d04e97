//! Vector quantisation: from vectors to codes, and how the codes learn.
//!
//! A quantiser is a description, like a layer; what it keeps (codes, running statistics) lies in the flat
//! vector of parameters. It sees all vectors of a batch at once.

mod ema;
mod kmeans;
mod nearest;

pub use ema::{Ema, EmaSettings};
pub use kmeans::kmeans;
pub use nearest::nearest;

use crate::nn::Scalar;
use rand_chacha::ChaCha8Rng;

/// What a quantiser makes of a batch's vectors `[P, D]`.
#[derive(Debug, Clone)]
pub struct Quantized<T> {
    /// Stage by stage, `[stages, P]`.
    pub codes: Vec<u16>,
    /// What the decoder gets, `[P, D]`.
    pub values: Vec<T>,
    /// The quantiser's own terms of what is minimised, weighted.
    pub loss: f64,
    /// Mean of (z - values)^2.
    pub commitment: f64,
}

/// A stage's codes as a plain table, for deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// K.
    pub codes: usize,
    /// `[K, D]`; the decoder's input is the sum of one entry of each stage.
    pub values: Vec<f32>,
}

/// A way to quantise. `p` is the model's flat vector of parameters, `z` holds the batch's P vectors
/// `[P, D]`.
pub trait Quantize<T: Scalar>: Send + Sync {
    /// The number of codes of each stage.
    fn stages(&self) -> Vec<usize>;

    /// Chooses codes. Without `draws` the pass does not train, and nothing is random.
    fn forward(&self, p: &[T], z: &[T], draws: Option<&mut ChaCha8Rng>) -> Quantized<T>;

    /// The gradient of what is minimised with respect to z, in the place of that with respect to the
    /// values, `dz`. Adds the gradients of what the quantiser learns by them to `grads`.
    fn backward(&self, p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]);

    /// Places the codes where the encoder's vectors are, before the first step that quantises.
    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng);

    /// What is learnt without gradients, after the optimiser's step: moving averages, and restarts of
    /// codes that are hardly ever chosen. Returns how many codes were restarted.
    fn update(&self, p: &mut [T], z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> usize;

    /// The stages as plain tables.
    fn tables(&self, p: &[T]) -> Vec<Table>;
}

/// How often each code of all stages occurs, stage behind stage, `[sum of K]`.
pub fn histogram(codes: &[u16], stages: &[usize]) -> Vec<u64> {
    let per_stage = codes.len() / stages.len();
    let mut counts = Vec::new();
    for (stage, &k) in stages.iter().enumerate() {
        let first = counts.len();
        counts.resize(first + k, 0);
        for &code in &codes[stage * per_stage..(stage + 1) * per_stage] {
            counts[first + usize::from(code)] += 1;
        }
    }
    counts
}

/// exp of the entropy of a histogram: how many codes are in use, weighing each by its share.
///
/// 0 for an empty histogram.
pub fn perplexity(histogram: &[u64]) -> f64 {
    let total: u64 = histogram.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let share = |&n: &u64| n as f64 / total as f64;
    let entropy: f64 = histogram
        .iter()
        .map(share)
        .filter(|&p| p > 0.0)
        .map(|p| -p * p.ln())
        .sum();
    entropy.exp()
}

/// The share of codes that occur at all.
pub fn usage(histogram: &[u64]) -> f64 {
    histogram.iter().filter(|&&n| n > 0).count() as f64 / histogram.len().max(1) as f64
}
