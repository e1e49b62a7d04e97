//! The interface of all quantisers, and the values that pass it.

use crate::nn::Scalar;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Vectors of a parallel task, where each is quantised by itself.
pub(super) const TASK: usize = 512;

/// A batch's vectors `[P, D]`, quantised.
#[derive(Debug, Clone, Default)]
pub struct Quantized<T> {
    /// Stage by stage, each `[P / (side * side)]`.
    pub codes: Vec<u16>,
    /// The decoder's input, `[P, D]`.
    pub values: Vec<T>,
    /// The weighted sum of the quantiser's own loss terms.
    pub loss: f64,
    /// Mean of (vector - value)^2, as the two are compared; 0 for quantisers that do not compare them.
    pub commitment: f64,
    /// Probabilities that the backward pass needs: their mean over the batch `[K]` with the entropy
    /// regulariser, those of each vector `[P, K]` with Gumbel noise.
    pub(super) soft: Vec<T>,
    /// Each stage's or group's share of the pass.
    pub(super) parts: Vec<Part<T>>,
}

/// A stage's or a group's share of a pass.
#[derive(Debug, Clone)]
pub(super) struct Part<T> {
    /// Its vectors.
    pub(super) input: Vec<T>,
    pub(super) out: Quantized<T>,
}

/// Size of a stage's codebook, and of the squares that its codes stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// K.
    pub codes: usize,
    /// A code stands for a square of so many vectors each way.
    pub side: usize,
}

impl Stage {
    /// The number of codes of so many vectors.
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

/// The operations of a deployed model between its encoder and the search for the nearest entries, and between
/// their sum and its decoder; most quantisers need neither.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bridge {
    /// From the encoder's latent to the vector whose nearest entry is chosen.
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
    pub(super) fn diagonal(factors: &[f32], bias: Vec<f32>) -> Step {
        let n = factors.len();
        let mut weight = vec![0.0; n * n];
        for (i, &factor) in factors.iter().enumerate() {
            weight[i * (n + 1)] = factor;
        }
        Step::Linear { weight, bias }
    }
}

/// The codes that [`Quantize::update`] has restarted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moved {
    /// How many codes were restarted.
    pub codes: usize,
    /// Where those of them lie that learn by gradients: the optimiser must forget their past.
    pub rows: Vec<Range<usize>>,
}

impl Moved {
    /// The sum of two updates.
    pub(super) fn and(mut self, other: Moved) -> Moved {
        self.codes += other.codes;
        self.rows.extend(other.rows);
        self
    }
}

/// A way to quantise, working in one float type. `p` is the model's flat vector of parameters, `z` holds the batch's P vectors
/// `[P, D]`, in an order in which those that share a coarse code are neighbours (see [`SquareOrder`](super::SquareOrder)).
pub trait Quantize<T: Scalar>: Send + Sync {
    /// The stages, coarse first.
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

    /// Learns without gradients, after the optimiser's step: moving averages, and restarts of
    /// codes that are hardly ever chosen.
    fn update(&self, p: &mut [T], z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> Moved;

    /// The stages as plain tables.
    fn tables(&self, p: &[T]) -> Vec<Table>;

    /// The operations around the tables.
    fn bridge(&self, _p: &[T]) -> Bridge {
        Bridge::default()
    }
}

/// A quantiser that works in any float type.
pub trait QuantizeAny {
    /// The quantiser, working in a float type.
    fn of<T: Scalar>(&self) -> &dyn Quantize<T>;
}
