//! The layers that a configuration can name.

use super::error::{ConfigError, field_error};
use crate::nn::{
    Activation, AnyLayer, AttentionConfig, AveragePool, BatchNormConfig, BuildError, Builder,
    Configured, ConvConfig, Dropout, GroupNormConfig, LinearConfig, MaxPool, PixelShuffle,
    PixelUnshuffle, PoolConfig, Relu, ResidualConfig, TransposedConfig, Upsample,
};
use serde::{Deserialize, Serialize};

/// One layer of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerConfig {
    /// `{ conv = { out = 64, kernel = 3, stride = 1, relu = true } }`
    Conv(ConvConfig),
    /// `{ transposed = { out = 64, kernel = 4, stride = 2, relu = true } }`
    Transposed(TransposedConfig),
    /// `{ upsample = 2 }`: nearest neighbour.
    Upsample(Upsample),
    /// `"relu"`
    Relu,
    /// `{ residual = { layers = [..], repeat = 2, relu = true } }`
    Residual(ResidualConfig<LayerConfig>),
    /// `{ shuffle = 2 }`: channels to space.
    Shuffle(PixelShuffle),
    /// `{ unshuffle = 2 }`: space to channels.
    Unshuffle(PixelUnshuffle),
    /// `{ averagepool = { kernel = 2, stride = 2 } }`: the mean of each window.
    AveragePool(PoolConfig),
    /// `{ maxpool = { kernel = 2, stride = 2 } }`: the largest of each window.
    MaxPool(PoolConfig),
    /// `{ linear = { out = 64, relu = true } }`: the same matrix at every position.
    Linear(LinearConfig),
    /// `{ groupnorm = { groups = 32, silu = true } }`: group normalisation.
    GroupNorm(GroupNormConfig),
    /// `{ batchnorm = {} }`: batch normalisation.
    BatchNorm(BatchNormConfig),
    /// `"silu"`: x sigmoid(x), also called swish; behind a groupnorm its `silu = true` is faster.
    Silu,
    /// `{ leaky = 0.2 }`: ReLU that keeps this share of what is below 0.
    Leaky(f64),
    /// `"tanh"`
    Tanh,
    /// `"sigmoid"`
    Sigmoid,
    /// `{ dropout = 0.1 }`: drops this share of the values in training.
    Dropout(Dropout),
    /// `{ attention = { heads = 1 } }`: groupnorm and self-attention over all positions, around which the
    /// input is added.
    Attention(AttentionConfig),
    /// `{ resblock = { out = 64, dropout = 0.0 } }`: VQ-GAN's residual block, short for a residual of
    /// groupnorm with SiLU, conv 3x3, groupnorm with SiLU, dropout, conv 3x3, with shortcut.
    ResBlock(ResBlockConfig),
}

/// What each entry of the list builds.
impl Configured<AnyLayer> for LayerConfig {
    fn build(&self, builder: &mut Builder<'_, AnyLayer>) -> Result<(), BuildError> {
        match self {
            Self::Conv(conv) => conv.build(builder),
            Self::Transposed(conv) => conv.build(builder),
            Self::Upsample(layer) => layer.build(builder),
            Self::Relu => Relu.build(builder),
            Self::Residual(block) => block.build(builder),
            Self::Shuffle(layer) => layer.build(builder),
            Self::Unshuffle(layer) => layer.build(builder),
            Self::AveragePool(windows) => windows.build(builder, AveragePool),
            Self::MaxPool(windows) => windows.build(builder, MaxPool),
            Self::Linear(linear) => linear.build(builder),
            Self::GroupNorm(norm) => norm.build(builder),
            Self::BatchNorm(norm) => norm.build(builder),
            Self::Silu => Activation::Silu.build(builder),
            &Self::Leaky(slope) => Activation::LeakyRelu { slope }.build(builder),
            Self::Tanh => Activation::Tanh.build(builder),
            Self::Sigmoid => Activation::Sigmoid.build(builder),
            Self::Dropout(layer) => layer.build(builder),
            Self::Attention(block) => block.build(builder),
            Self::ResBlock(block) => block.spelled_out().build(builder),
        }
    }
}

/// VQ-GAN's residual block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResBlockConfig {
    /// Channels out.
    pub out: usize,
    /// The share of values that are dropped in front of the second convolution.
    #[serde(default)]
    pub dropout: f64,
}

impl ResBlockConfig {
    /// The residual that it is short for.
    pub fn spelled_out(&self) -> ResidualConfig<LayerConfig> {
        let norm = || {
            LayerConfig::GroupNorm(GroupNormConfig {
                silu: true,
                ..GroupNormConfig::default()
            })
        };
        let conv = || LayerConfig::Conv(ConvConfig::plain(self.out, 3));
        let mut layers = vec![norm(), conv(), norm()];
        if self.dropout != 0.0 {
            layers.push(LayerConfig::Dropout(Dropout { rate: self.dropout }));
        }
        layers.push(conv());
        ResidualConfig {
            layers,
            repeat: 1,
            relu: false,
            shortcut: true,
        }
    }
}

impl From<BuildError> for ConfigError {
    fn from(error: BuildError) -> ConfigError {
        field_error(error.path, error.reason)
    }
}
