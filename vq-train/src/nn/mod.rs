//! Layers with hand-written backward passes, generic over f32 (training) and f64 (gradient checks).
//!
//! A layer is a description: sizes, and where its parameters lie in one flat vector that the model
//! owns. `forward` takes its input by value and leaves on the [`Tape`] what `backward` will need;
//! `backward` takes it off again, adds the parameters' gradients into a flat vector laid out like
//! the parameters (into none where that is empty: the weights are held fixed), and returns the gradient of
//! the input. One chunk of a batch runs on one thread;
//! the model runs the chunks in parallel. Maps are NHWC.

mod activation;
mod attention;
mod batch_norm;
mod conv2d;
mod conv_transpose2d;
#[allow(unsafe_code)] // raw reads of the maps, all checked before a product starts
mod correlation;
mod dropout;
mod embedding;
mod exponential;
#[cfg(test)]
mod gradcheck;
mod group_norm;
pub(crate) mod lanes;
mod linear;
mod maps;
mod masked_conv2d;
mod matrix;
mod max_pool;
#[allow(unsafe_code)] // as correlation
mod outer;
mod panels;
mod normalize;
mod params;
mod pool;
mod relu;
mod residual;
mod shuffle;
#[allow(unsafe_code)] // vector registers
mod simd;
pub(crate) mod softmax;
mod spectral_norm;
mod tape;
mod upsample;
#[allow(unsafe_code)] // as correlation
mod winograd;
mod workspace;

pub use activation::Activation;
pub use attention::Attention;
pub use batch_norm::{BatchNorm, BatchNormSpec, Statistics};
pub use conv_transpose2d::{ConvTranspose2d, ConvTransposeSpec};
pub use conv2d::{Conv2d, ConvSpec};
pub(crate) use conv2d::{flat, flat_mut};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use group_norm::{GroupNorm, GroupNormSpec};
pub use linear::{Linear, LinearSpec};
pub use masked_conv2d::{MaskedConv2d, RasterMask, Sight};
pub(crate) use matrix::{Right, add_transposed_product};
pub use max_pool::{MaxPool, MaxUnpool, Winners};
#[cfg(test)]
pub(crate) use params::normal;
pub use params::{FixedWeights, Init, ParamInfo, ParamTable, Role, Weights};
pub use pool::{AveragePool, AverageUnpool, PoolSpec};
pub use relu::{Mask, Relu};
pub use residual::Residual;
pub use shuffle::{PixelShuffle, PixelUnshuffle};
pub use spectral_norm::{Normed, SpectralNorm};
pub use tape::{Cache, Tape, Worker};
pub use upsample::Upsample;
pub use workspace::Workspace;

use ndarray::{Array4, NdFloat};
use params::Pack;
use rayon::prelude::*;
use simd::Simd;
use std::ops::Range;

pub(crate) use simd::Loop;

/// The float types that layers run on: f32 to train, f64 to check gradients.
pub trait Scalar: NdFloat + Default + Simd {
    /// Rounds a literal to this type.
    fn of(x: f64) -> Self;
    /// Widens to f64, for statistics.
    fn wide(self) -> f64;
    /// e^x, as fast as loops need it: f32 to 1e-7 of itself.
    fn fast_exp(self) -> Self;
    /// tanh, likewise to 4e-7.
    fn fast_tanh(self) -> Self;
    /// The numbers as they are, where they are f32.
    fn singles(numbers: &[Self]) -> Option<&[f32]>;
}

impl Scalar for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn fast_exp(self) -> f32 {
        exponential::exp(self)
    }
    #[inline(always)]
    fn fast_tanh(self) -> f32 {
        exponential::tanh(self)
    }
    fn singles(numbers: &[f32]) -> Option<&[f32]> {
        Some(numbers)
    }
}

impl Scalar for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    fn fast_exp(self) -> f64 {
        self.exp()
    }
    fn fast_tanh(self) -> f64 {
        self.tanh()
    }
    fn singles(_: &[f64]) -> Option<&[f32]> {
        None
    }
}

/// One layer of a chain. The match arms make the compiler list what a new layer needs.
#[derive(Debug, Clone)]
pub enum Layer {
    /// Convolution of any kernel, stride and padding.
    Conv2d(Conv2d),
    /// Transposed convolution that multiplies the map's size by its stride.
    ConvTranspose2d(ConvTranspose2d),
    /// Nearest-neighbour upsampling.
    Upsample(Upsample),
    /// max(x, 0).
    Relu(Relu),
    /// x + f(x).
    Residual(Residual),
    /// Channels to space.
    PixelShuffle(PixelShuffle),
    /// Space to channels.
    PixelUnshuffle(PixelUnshuffle),
    /// Means of windows.
    AveragePool(AveragePool),
    /// The adjoint of average pooling.
    AverageUnpool(AverageUnpool),
    /// The largest of windows.
    MaxPool(MaxPool),
    /// Layers between a max pooling and its unpooling.
    MaxUnpool(MaxUnpool),
    /// Linear over the last dimension.
    Linear(Linear),
    /// Whole numbers to vectors.
    Embedding(Embedding),
    /// Convolution that sees only what comes before.
    MaskedConv2d(MaskedConv2d),
    /// Convolution or linear layer, its weights divided by their largest singular value.
    SpectralNorm(SpectralNorm),
    /// Group normalisation, with SiLU if asked for.
    GroupNorm(GroupNorm),
    /// Batch normalisation.
    BatchNorm(BatchNorm),
    /// A curve, number by number.
    Activation(Activation),
    /// Drops values in training.
    Dropout(Dropout),
    /// Self-attention with its normalisation and skip.
    Attention(Box<Attention>),
}

impl Layer {
    /// `[n, h, w, c]` to the layer's output map.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        match self {
            Layer::Conv2d(l) => l.forward(p, x, tape),
            Layer::ConvTranspose2d(l) => l.forward(p, x, tape),
            Layer::Upsample(l) => l.forward(x, tape),
            Layer::Relu(l) => l.forward(x, tape),
            Layer::Residual(l) => l.forward(p, x, tape),
            Layer::PixelShuffle(l) => l.forward(x, tape),
            Layer::PixelUnshuffle(l) => l.forward(x, tape),
            Layer::AveragePool(l) => l.forward(x, tape),
            Layer::AverageUnpool(l) => l.forward(x, tape),
            Layer::MaxPool(l) => l.forward(x, tape),
            Layer::MaxUnpool(l) => l.forward(p, x, tape),
            Layer::Linear(l) => l.forward(p, x, tape),
            Layer::Embedding(l) => l.forward(p, x, tape),
            Layer::MaskedConv2d(l) => l.forward(p, x, tape),
            Layer::SpectralNorm(l) => l.forward(p, x, tape),
            Layer::GroupNorm(l) => l.forward(p, x, tape),
            Layer::BatchNorm(l) => l.forward(p, x, tape),
            Layer::Activation(l) => l.forward(x, tape),
            Layer::Dropout(l) => l.forward(x, tape),
            Layer::Attention(l) => l.forward(p, x, tape),
        }
    }

    /// The output's gradient to the input's; adds the parameters' gradients into `grads`, if it is not empty.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        match self {
            Layer::Conv2d(l) => l.backward(p, tape, dy, grads),
            Layer::ConvTranspose2d(l) => l.backward(p, tape, dy, grads),
            Layer::Upsample(l) => l.backward(tape, dy),
            Layer::Relu(l) => l.backward(tape, dy),
            Layer::Residual(l) => l.backward(p, tape, dy, grads),
            Layer::PixelShuffle(l) => l.backward(tape, dy),
            Layer::PixelUnshuffle(l) => l.backward(tape, dy),
            Layer::AveragePool(l) => l.backward(tape, dy),
            Layer::AverageUnpool(l) => l.backward(tape, dy),
            Layer::MaxPool(l) => l.backward(tape, dy),
            Layer::MaxUnpool(l) => l.backward(p, tape, dy, grads),
            Layer::Linear(l) => l.backward(p, tape, dy, grads),
            Layer::Embedding(l) => l.backward(tape, dy, grads),
            Layer::MaskedConv2d(l) => l.backward(p, tape, dy, grads),
            Layer::SpectralNorm(l) => l.backward(p, tape, dy, grads),
            Layer::GroupNorm(l) => l.backward(p, tape, dy, grads),
            Layer::BatchNorm(l) => l.backward(p, tape, dy, grads),
            Layer::Activation(l) => l.backward(tape, dy),
            Layer::Dropout(l) => l.backward(tape, dy),
            Layer::Attention(l) => l.backward(p, tape, dy, grads),
        }
    }

    /// The layers inside of it and itself, in the order in which they were entered, that read packed weights.
    fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        match self {
            Layer::Conv2d(l) => found.push(l),
            Layer::ConvTranspose2d(l) => found.push(l),
            Layer::Linear(l) => found.push(l),
            Layer::MaskedConv2d(l) => found.push(l),
            Layer::SpectralNorm(l) => found.push(l),
            Layer::MaxUnpool(l) => l.inner.layers.iter().for_each(|l| l.packed(found)),
            Layer::Residual(l) => {
                l.inner.layers.iter().for_each(|l| l.packed(found));
                found.extend(l.shortcut.iter().map(|conv| conv as &dyn Pack<T>));
            }
            Layer::Attention(l) => {
                let convs = l.projections.iter().chain([&l.out]);
                found.extend(convs.map(|conv| conv as &dyn Pack<T>));
            }
            Layer::Upsample(_)
            | Layer::Relu(_)
            | Layer::PixelShuffle(_)
            | Layer::PixelUnshuffle(_)
            | Layer::AveragePool(_)
            | Layer::AverageUnpool(_)
            | Layer::MaxPool(_)
            | Layer::Embedding(_)
            | Layer::GroupNorm(_)
            | Layer::BatchNorm(_)
            | Layer::Activation(_)
            | Layer::Dropout(_) => {}
        }
    }

    /// Its weights, where they are one matrix.
    pub(crate) fn weight(&self) -> Option<&Range<usize>> {
        match self {
            Layer::Conv2d(l) => Some(&l.weight),
            Layer::ConvTranspose2d(l) => Some(&l.weight),
            Layer::Linear(l) => Some(&l.weight),
            Layer::MaskedConv2d(l) => Some(&l.conv.weight),
            Layer::SpectralNorm(l) => Some(l.inner.weight()),
            Layer::Residual(_)
            | Layer::MaxUnpool(_)
            | Layer::Embedding(_)
            | Layer::GroupNorm(_)
            | Layer::BatchNorm(_)
            | Layer::Attention(_)
            | Layer::Upsample(_)
            | Layer::Relu(_)
            | Layer::PixelShuffle(_)
            | Layer::PixelUnshuffle(_)
            | Layer::AveragePool(_)
            | Layer::AverageUnpool(_)
            | Layer::MaxPool(_)
            | Layer::Activation(_)
            | Layer::Dropout(_) => None,
        }
    }

    /// Whether it has parameters, or layers inside of it that may have some.
    pub(crate) fn may_learn(&self) -> bool {
        match self {
            Layer::Conv2d(_)
            | Layer::ConvTranspose2d(_)
            | Layer::Residual(_)
            | Layer::MaxUnpool(_)
            | Layer::Linear(_)
            | Layer::Embedding(_)
            | Layer::MaskedConv2d(_)
            | Layer::SpectralNorm(_)
            | Layer::GroupNorm(_)
            | Layer::BatchNorm(_)
            | Layer::Attention(_) => true,
            Layer::Upsample(_)
            | Layer::Relu(_)
            | Layer::PixelShuffle(_)
            | Layer::PixelUnshuffle(_)
            | Layer::AveragePool(_)
            | Layer::AverageUnpool(_)
            | Layer::MaxPool(_)
            | Layer::Activation(_)
            | Layer::Dropout(_) => false,
        }
    }

    /// Whether its result for one picture depends on the others of a batch, so that all chunks have to
    /// wait for each other.
    fn spans_batch(&self) -> bool {
        match self {
            Layer::Residual(l) => l.inner.layers.iter().any(Layer::spans_batch),
            Layer::MaxUnpool(l) => l.inner.layers.iter().any(Layer::spans_batch),
            Layer::BatchNorm(_) => true,
            Layer::Conv2d(_)
            | Layer::ConvTranspose2d(_)
            | Layer::Upsample(_)
            | Layer::Relu(_)
            | Layer::PixelShuffle(_)
            | Layer::PixelUnshuffle(_)
            | Layer::AveragePool(_)
            | Layer::AverageUnpool(_)
            | Layer::MaxPool(_)
            | Layer::Linear(_)
            | Layer::Embedding(_)
            | Layer::MaskedConv2d(_)
            | Layer::SpectralNorm(_)
            | Layer::GroupNorm(_)
            | Layer::Activation(_)
            | Layer::Dropout(_)
            | Layer::Attention(_) => false,
        }
    }

    /// As [`Layer::forward`], on all chunks of a batch; for layers that span it.
    fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        match self {
            Layer::Residual(l) => l.forward_all(p, maps, workers),
            Layer::MaxUnpool(l) => l.forward_all(p, maps, workers),
            Layer::BatchNorm(l) => l.forward_all(p, maps, workers),
            _ => on_each(maps, workers, |x, w| self.forward(p, x, &mut w.tape)),
        }
    }

    /// As [`Layer::backward`], on all chunks of a batch; for layers that span it.
    fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        match self {
            Layer::Residual(l) => l.backward_all(p, maps, workers),
            Layer::MaxUnpool(l) => l.backward_all(p, maps, workers),
            Layer::BatchNorm(l) => l.backward_all(p, maps, workers),
            _ => on_each(maps, workers, |dy, w| {
                self.backward(p, &mut w.tape, dy, &mut w.grads)
            }),
        }
    }

    /// The layer's kind, as it is named in configurations and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Layer::Conv2d(_) | Layer::MaskedConv2d(_) => "conv",
            Layer::SpectralNorm(l) => l.inner.kind(),
            Layer::ConvTranspose2d(_) => "transposed",
            Layer::Upsample(_) => "upsample",
            Layer::Relu(_) => "relu",
            Layer::Residual(_) => "residual",
            Layer::PixelShuffle(_) => "shuffle",
            Layer::PixelUnshuffle(_) => "unshuffle",
            Layer::AveragePool(_) => "averagepool",
            Layer::AverageUnpool(_) => "averageunpool",
            Layer::MaxPool(_) => "maxpool",
            Layer::MaxUnpool(_) => "maxunpool",
            Layer::Linear(_) => "linear",
            Layer::Embedding(_) => "embedding",
            Layer::GroupNorm(_) => "groupnorm",
            Layer::BatchNorm(_) => "batchnorm",
            Layer::Activation(l) => l.kind(),
            Layer::Dropout(_) => "dropout",
            Layer::Attention(_) => "attention",
        }
    }
}

/// Layers one after another.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// In the order of the forward pass.
    pub layers: Vec<Layer>,
}

impl Chain {
    /// Runs every layer in order.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        self.layers
            .iter()
            .fold(x, |x, layer| layer.forward(p, x, tape))
    }

    /// Runs every layer's backward in reverse order.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let layers = self.layers.iter().rev();
        layers.fold(dy, |dy, layer| layer.backward(p, tape, dy, grads))
    }

    /// As [`Chain::forward`], on all chunks of a batch at the same time, one map and worker each.
    ///
    /// A chunk runs ahead to the next layer that spans the batch; there all wait.
    pub fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        mut maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        for layers in self.layers.chunk_by(Chain::together) {
            maps = match layers {
                [layer] if layer.spans_batch() => layer.forward_all(p, maps, workers),
                layers => on_each(maps, workers, |x, w| {
                    layers.iter().fold(x, |x, l| l.forward(p, x, &mut w.tape))
                }),
            };
        }
        maps
    }

    /// As [`Chain::backward`], on all chunks of a batch at the same time.
    pub fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        mut maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let tapes = workers.iter_mut().map(|w| &mut w.tape).enumerate();
        tapes.for_each(|(i, tape)| tape.lead(i == 0));
        let runs: Vec<_> = self.layers.chunk_by(Chain::together).collect();
        for layers in runs.into_iter().rev() {
            maps = match layers {
                [layer] if layer.spans_batch() => layer.backward_all(p, maps, workers),
                layers => on_each(maps, workers, |dy, w| {
                    let back = layers.iter().rev();
                    back.fold(dy, |dy, l| l.backward(p, &mut w.tape, dy, &mut w.grads))
                }),
            };
        }
        maps
    }

    /// Whether no chunk has to wait between two layers.
    fn together(a: &Layer, b: &Layer) -> bool {
        !a.spans_batch() && !b.spans_batch()
    }
}

/// Runs a task on every chunk of a batch in parallel.
pub(crate) fn on_each<T: Scalar, M: Send, R: Send>(
    maps: Vec<M>,
    workers: &mut [Worker<T>],
    task: impl Fn(M, &mut Worker<T>) -> R + Sync,
) -> Vec<R> {
    maps.into_par_iter()
        .zip(workers)
        .with_max_len(1)
        .map(|(map, worker)| task(map, worker))
        .collect()
}

/// A copy of each chunk's map.
pub(crate) fn copies<T: Scalar>(maps: &[Array4<T>], workers: &mut [Worker<T>]) -> Vec<Array4<T>> {
    let views = maps.iter().map(|map| map.view()).collect();
    on_each(views, workers, |map, w| w.tape.copy_of(&map))
}

/// Adds `factor` times the other maps.
pub(crate) fn add<T: Scalar>(maps: &mut [Array4<T>], others: &[Array4<T>], factor: T) {
    for (map, other) in maps.iter_mut().zip(others) {
        map.zip_mut_with(other, |a, &b| *a += factor * b);
    }
}

/// Gives each chunk's map back to the tape that it came from.
pub(crate) fn recycle<T: Scalar>(maps: Vec<Array4<T>>, workers: &mut [Worker<T>]) {
    let each = maps.into_iter().zip(workers);
    each.for_each(|(map, w)| w.tape.recycle(map));
}

/// How many caches each tape keeps.
pub(crate) fn depths<T: Scalar>(workers: &[Worker<T>]) -> Vec<usize> {
    workers.iter().map(|w| w.tape.depth()).collect()
}

/// As [`Tape::repeat`], on all tapes.
pub(crate) fn repeat<T: Scalar>(workers: &mut [Worker<T>], depths: &[usize]) {
    let tapes = workers.iter_mut().zip(depths);
    tapes.for_each(|(w, &depth)| w.tape.repeat(depth));
}
