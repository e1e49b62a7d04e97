//! Vector quantisation: from vectors to codes, and how the codes learn.
//!
//! A quantiser is a description, like a layer; what it keeps (codes, running statistics) lies in the flat
//! vector of parameters. It sees all vectors of a batch at once. Whatever it is in training, it deploys as
//! one or more plain tables of codes (see [`Quantize::tables`]).
//!
//! ```text
//! codebook   the nearest code of each vector; its codes learn by
//!              ema        moving averages          (option cosine: at the least angle)
//!              gradient   the codebook term        (option rotation: the rotation trick)
//!              simvq      one matrix for all       (option entropy: the entropy regulariser)
//! grouped    codebooks side by side, each for its own channels
//! coarse     any of the above for the means of squares of vectors
//! residual   codebooks, or groups of them, coarse or not, one behind the other
//! fsq        each channel rounded to a few levels
//! gumbel     codes drawn by logits
//! ```

mod nearest;
mod kmeans;
mod members;
mod learn;
mod ema;
mod gradient;
mod simvq;
mod rotation;
mod sphere;
mod entropy;
mod codebook;
mod grouped;
mod coarse;
mod squares;
mod residual;
mod fsq;
mod gumbel;
mod build;
mod usage;
#[cfg(test)]
mod gradcheck;
#[cfg(test)]
mod tests;

pub use coarse::Coarse;
pub use codebook::{Codebook, Learning, Terms};
pub use ema::{Ema, Following};
pub use entropy::Entropy;
pub use fsq::Fsq;
pub use gradient::Gradient;
pub use grouped::Grouped;
pub use gumbel::{Gumbel, GumbelSettings};
pub use kmeans::kmeans;
pub use learn::Learn;
pub use nearest::nearest;
pub use residual::Residual;
pub use simvq::SimVq;
pub use squares::SquareOrder;
pub use usage::{histogram, perplexity, usage};

use crate::nn::Scalar;
use members::Members;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Vectors of a parallel task, where each is looked at by itself.
const TASK: usize = 512;
const KMEANS_ITERATIONS: usize = 12;
/// Vectors per code by which k-means places the codes.
const KMEANS_VECTORS: usize = 40;

/// What a quantiser makes of a batch's vectors `[P, D]`.
#[derive(Debug, Clone, Default)]
pub struct Quantized<T> {
    /// Stage by stage, each `[P / (side * side)]`.
    pub codes: Vec<u16>,
    /// What the decoder gets, `[P, D]`.
    pub values: Vec<T>,
    /// The quantiser's own terms of what is minimised, weighted.
    pub loss: f64,
    /// Mean of (vector - value)^2, as the two are compared; 0 for quantisers that do not compare them.
    pub commitment: f64,
    /// Probabilities that the backward pass needs: their mean over the batch `[K]` with the entropy
    /// regulariser, those of each vector `[P, K]` with Gumbel noise.
    soft: Vec<T>,
    /// What each stage or group saw, and made of it.
    parts: Vec<Part<T>>,
}

/// A stage's or a group's share of a pass.
#[derive(Debug, Clone)]
struct Part<T> {
    /// Its vectors.
    input: Vec<T>,
    out: Quantized<T>,
}

/// What a stage's codes are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// K.
    pub codes: usize,
    /// A code stands for a square of so many vectors each way.
    pub side: usize,
}

impl Stage {
    /// Of this many vectors the number of codes.
    pub fn of(&self, vectors: usize) -> usize {
        vectors / (self.side * self.side)
    }
}

/// A stage's codes as a plain table, for deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// K.
    pub codes: usize,
    /// A code stands for a square of so many vectors each way.
    pub side: usize,
    /// `[K, D]`; the decoder's input is the sum of one entry of each stage.
    pub values: Vec<f32>,
}

/// What a deployed model computes between its encoder and the search for the nearest entries, and between
/// their sum and its decoder; most quantisers need neither.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bridge {
    /// From the encoder's latent to what is looked for.
    pub encoder: Vec<Step>,
    /// From the sum of entries to the decoder's latent.
    pub decoder: Vec<Step>,
    /// Eight bits are too coarse for it: entries hold numbers that only cancel.
    pub precise: bool,
}

/// An operation on each latent vector by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// y = W x + b.
    Linear {
        /// `[outputs, inputs]`.
        weight: Vec<f32>,
        /// `[outputs]`.
        bias: Vec<f32>,
    },
    /// tanh of each number.
    Tanh,
}

impl Step {
    /// Each number by a factor of its own, plus a bias.
    fn diagonal(factors: &[f32], bias: Vec<f32>) -> Step {
        let n = factors.len();
        let mut weight = vec![0.0; n * n];
        for (i, &factor) in factors.iter().enumerate() {
            weight[i * (n + 1)] = factor;
        }
        Step::Linear { weight, bias }
    }
}

/// What [`Quantize::update`] has set anew.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moved {
    /// How many codes were restarted.
    pub codes: usize,
    /// Where those of them lie that learn by gradients: the optimiser must forget their past.
    pub rows: Vec<Range<usize>>,
}

impl Moved {
    /// Both.
    fn and(mut self, other: Moved) -> Moved {
        self.codes += other.codes;
        self.rows.extend(other.rows);
        self
    }
}

/// A way to quantise. `p` is the model's flat vector of parameters, `z` holds the batch's P vectors
/// `[P, D]`, in an order in which those that share a coarse code are neighbours (see [`SquareOrder`]).
pub trait Quantize<T: Scalar>: Send + Sync {
    /// Its stages, coarse first.
    fn stages(&self) -> Vec<Stage>;

    /// Chooses codes. Without `draws` the pass does not train, and nothing is random.
    fn forward(&self, p: &[T], z: &[T], draws: Option<&mut ChaCha8Rng>) -> Quantized<T>;

    /// The gradient with respect to z in the place of that with respect to the values, `dz`. Adds what that
    /// means for the parameters to `grads`.
    fn through(&self, p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]);

    /// Adds the gradients of the quantiser's own terms, [`Quantized::loss`], to `dz` and `grads`.
    fn terms(&self, p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]);

    /// The gradient of what is minimised with respect to z, in the place of that with respect to the
    /// values, `dz`. Adds the gradients of what the quantiser learns by them to `grads`.
    fn backward(&self, p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        self.through(p, z, out, dz, grads);
        self.terms(p, z, out, dz, grads);
    }

    /// How many vectors [`Quantize::place`] should be shown; 0 where it does nothing.
    fn wanted(&self) -> usize;

    /// Places the codes where the encoder's vectors are, before the first step that quantises.
    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng);

    /// What is learnt without gradients, after the optimiser's step: moving averages, and restarts of
    /// codes that are hardly ever chosen.
    fn update(&self, p: &mut [T], z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> Moved;

    /// The stages as plain tables.
    fn tables(&self, p: &[T]) -> Vec<Table>;

    /// What has to be computed around the tables.
    fn bridge(&self, _p: &[T]) -> Bridge {
        Bridge::default()
    }
}

/// Any of the quantisers. The match arms make the compiler list what a new one needs.
#[derive(Debug, Clone)]
pub enum Quantizer {
    /// The nearest code of each vector.
    Codebook(Codebook),
    /// Codebooks side by side.
    Grouped(Grouped),
    /// One code for a square of vectors.
    Coarse(Coarse),
    /// Stages one behind the other.
    Residual(Residual),
    /// Each channel rounded.
    Fsq(Fsq),
    /// Codes drawn by logits.
    Gumbel(Gumbel),
}

impl Quantizer {
    /// It, working in a float type.
    pub fn of<T: Scalar>(&self) -> &dyn Quantize<T> {
        match self {
            Quantizer::Codebook(q) => q,
            Quantizer::Grouped(q) => q,
            Quantizer::Coarse(q) => q,
            Quantizer::Residual(q) => q,
            Quantizer::Fsq(q) => q,
            Quantizer::Gumbel(q) => q,
        }
    }
}
