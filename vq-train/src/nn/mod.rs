//! Layers with hand-written backward passes, generic over f32 (training) and f64 (gradient checks).
//!
//! A layer is a description: sizes, and where its parameters lie in one flat vector that the model
//! owns. `forward` takes its input by value and leaves on the [`Tape`] what `backward` will need;
//! `backward` takes it off again, adds the parameters' gradients into a flat vector laid out like
//! the parameters (into none where that is empty: the weights are held fixed), and returns the gradient of
//! the input. One chunk of a batch runs on one thread; the model runs the chunks in parallel. Maps are NHWC.
//!
//! The modules stand in the order in which they build on each other; what a layer is stands in `layer.rs`.

// Numbers, and loops over them in vector registers.
#[allow(unsafe_code)] // vector registers
mod simd;
mod exponential;
#[allow(unsafe_code)] // calls of matrixmultiply, whose matrices are checked before
mod gemm;
mod scalar;
pub(crate) mod lanes;
pub(crate) mod softmax;

// Matrix products, of matrices and of maps where they lie.
mod panels;
#[allow(unsafe_code)] // raw reads of the maps, all checked before a product starts
mod correlation;
#[allow(unsafe_code)] // raw reads of the maps, all checked before a product starts
mod outer;
mod matrix;

// What a pass runs with.
mod map;
mod tape;
mod chunks;
mod workspace;
mod params;
mod weights;

// Windows on maps.
#[allow(unsafe_code)] // raw reads of the maps, all checked before a product starts
mod winograd;
mod maps;

// What a layer is, and how a configuration's list becomes a list of layers.
mod layer;
mod builder;

// The layers.
mod relu;
mod activation;
mod dropout;
mod upsample;
mod shuffle;
mod padding;
mod pool;
mod max_pool;
mod affine;
mod spectral_norm;
mod linear;
mod convolution;
mod conv_transpose2d;
mod conv2d;
mod masked_conv2d;
mod conv_config;
mod normalize;
mod group_norm;
mod batch_norm;
mod attention;

// Layers of layers.
mod chain;
mod residual;
mod any_layer;
#[cfg(test)]
mod gradcheck;

pub use activation::Activation;
pub use affine::{Affine, AffineParams};
pub use any_layer::{AnyLayer, Chain, Residual};
pub use attention::{Attention, AttentionConfig};
pub use batch_norm::{BatchNorm, BatchNormConfig, BatchNormSpec};
pub(crate) use builder::MAX_PARAMS;
pub use builder::{BuildError, Builder, Configured, Shape};
pub use chunks::Worker;
pub(crate) use chunks::{add, copies, depths, on_each, recycle, repeat};
pub use conv_config::{ConvConfig, MaskConfig};
pub use conv_transpose2d::{ConvTranspose2d, ConvTransposeSpec, TransposedConfig};
pub use conv2d::{Conv2d, ConvSpec};
pub use convolution::Convolution;
pub use dropout::Dropout;
pub use group_norm::{GroupNorm, GroupNormConfig, GroupNormSpec};
pub use layer::{Axes, Layer, Learnt, Matrix};
pub use linear::{Linear, LinearConfig, LinearSpec};
pub(crate) use map::{flat, flat_mut};
pub use masked_conv2d::{MaskedConv2d, RasterMask, Sight};
pub(crate) use matrix::{Right, add_transposed_product};
pub use max_pool::MaxPool;
pub use padding::{Pad, Padding};
pub use panels::Factors;
#[cfg(test)]
pub(crate) use params::normal;
pub use params::{Init, ParamInfo, ParamTable, Role};
pub use pool::{AveragePool, PoolConfig, PoolSpec};
pub use relu::Relu;
pub use residual::ResidualConfig;
pub use scalar::Scalar;
pub use shuffle::{PixelShuffle, PixelUnshuffle};
pub(crate) use simd::Loop;
pub use spectral_norm::SpectralNorm;
pub use tape::{Cache, Tape};
pub use upsample::Upsample;
pub use weights::{FixedWeights, Pack, Weights};
pub use workspace::Workspace;
