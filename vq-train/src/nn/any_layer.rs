//! All layers as one type, for chains of any of them.

use super::activation::Activation;
use super::attention::Attention;
use super::batch_norm::BatchNorm;
use super::chain;
use super::chunks::Worker;
use super::conv_transpose2d::ConvTranspose2d;
use super::conv2d::Conv2d;
use super::dropout::Dropout;
use super::group_norm::GroupNorm;
use super::layer::{Layer, Learnt, Matrix};
use super::linear::Linear;
use super::masked_conv2d::MaskedConv2d;
use super::max_pool::MaxPool;
use super::pool::AveragePool;
use super::relu::Relu;
use super::residual;
use super::scalar::Scalar;
use super::shuffle::{PixelShuffle, PixelUnshuffle};
use super::spectral_norm::SpectralNorm;
use super::tape::Tape;
use super::upsample::Upsample;
use super::weights::{Pack, Weights};
use ndarray::Array4;

/// A chain of any layers.
pub type Chain = chain::Chain<AnyLayer>;

/// A residual block around any layers.
pub type Residual = residual::Residual<AnyLayer>;

/// The variants of [`AnyLayer`], one line each, and their [`Layer`] by that of what they hold.
macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident($layer:ty),)*) => {
        /// Any of the layers.
        #[derive(Debug, Clone)]
        pub enum AnyLayer {
            $($(#[$doc])* $name($layer),)*
        }

        $(impl From<$layer> for AnyLayer {
            fn from(layer: $layer) -> AnyLayer {
                AnyLayer::$name(layer)
            }
        })*

        /// Evaluates an expression with the layer, of whatever type.
        macro_rules! with {
            ($any:expr, $l:ident => $result:expr) => {
                match $any { $(AnyLayer::$name($l) => $result,)* }
            };
        }
    };
}

layers! {
    /// Convolution of any kernel, stride and padding.
    Conv2d(Conv2d),
    /// Convolution with its weights divided by their largest singular value.
    SpectralConv2d(SpectralNorm<Conv2d>),
    /// Convolution that sees only what comes before.
    MaskedConv2d(MaskedConv2d),
    /// Transposed convolution that multiplies the map's size by its stride.
    ConvTranspose2d(ConvTranspose2d),
    /// Linear over the last dimension.
    Linear(Linear),
    /// Linear over the last dimension, with its weights divided by their largest singular value.
    SpectralLinear(SpectralNorm<Linear>),
    /// max(x, 0).
    Relu(Relu),
    /// SiLU, leaky ReLU, tanh or sigmoid.
    Activation(Activation),
    /// Nearest-neighbour upsampling.
    Upsample(Upsample),
    /// Channels to space.
    PixelShuffle(PixelShuffle),
    /// Space to channels.
    PixelUnshuffle(PixelUnshuffle),
    /// Means of windows.
    AveragePool(AveragePool),
    /// The largest of windows.
    MaxPool(MaxPool),
    /// Group normalisation, with SiLU if asked for.
    GroupNorm(GroupNorm),
    /// Batch normalisation.
    BatchNorm(BatchNorm),
    /// Drops values in training.
    Dropout(Dropout),
    /// x + f(x).
    Residual(Residual),
    /// Self-attention with its normalisation and skip connection.
    Attention(Box<Attention>),
}

impl Layer for AnyLayer {
    fn kind(&self) -> &'static str {
        with!(self, l => l.kind())
    }

    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        with!(self, l => l.forward(p, x, tape))
    }

    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        with!(self, l => l.backward(p, tape, dy, grads))
    }

    fn learnt(&self) -> Learnt {
        with!(self, l => l.learnt())
    }

    fn matrices(&self, found: &mut Vec<Matrix>) {
        with!(self, l => l.matrices(found))
    }

    fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        with!(self, l => l.packed(found))
    }

    fn skip_input_grad(&mut self) {
        with!(self, l => l.skip_input_grad())
    }

    fn spans_batch(&self) -> bool {
        with!(self, l => l.spans_batch())
    }

    fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        with!(self, l => l.forward_all(p, maps, workers))
    }

    fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        with!(self, l => l.backward_all(p, maps, workers))
    }
}
