//! The layers that a configuration can name.

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
    Upsample(usize),
    /// `"relu"`
    Relu,
    /// `{ residual = { layers = [..], repeat = 2, relu = true } }`
    Residual(ResidualConfig),
    /// `{ shuffle = 2 }`: channels to space.
    Shuffle(usize),
    /// `{ unshuffle = 2 }`: space to channels.
    Unshuffle(usize),
    /// `{ averagepool = { kernel = 2, stride = 2 } }`: the mean of each window.
    AveragePool(PoolConfig),
    /// `{ averageunpool = { kernel = 2, stride = 2 } }`: the adjoint of that, which grows the map.
    AverageUnpool(PoolConfig),
    /// `{ maxpool = { kernel = 2, stride = 2 } }`: the largest of each window.
    MaxPool(PoolConfig),
    /// `{ maxunpool = { factor = 2, layers = [..] } }`: max pooling, the layers, and unpooling to where
    /// the maxima were found; the layers keep channels and size.
    MaxUnpool(MaxUnpoolConfig),
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
    Dropout(f64),
    /// `{ attention = { heads = 1 } }`: groupnorm and self-attention over all positions, around which the
    /// input is added.
    Attention(AttentionConfig),
    /// `{ resblock = { out = 64, dropout = 0.0 } }`: VQ-GAN's residual block, short for a residual of
    /// groupnorm with SiLU, conv 3x3, groupnorm with SiLU, dropout, conv 3x3, with shortcut.
    ResBlock(ResBlockConfig),
}

/// A convolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvConfig {
    /// Channels out.
    pub out: usize,
    /// Side of the kernel.
    #[serde(default = "three")]
    pub kernel: usize,
    /// The map shrinks by this factor.
    #[serde(default = "one")]
    pub stride: usize,
    /// Rows and columns of zeros: `pad = 1` on every side as PyTorch's `padding`, `pad = [0, 1]` before
    /// (above, left) and after (below, right). Both sides together are `kernel - stride` to `kernel - 1`,
    /// so that the map shrinks by exactly `stride`. Without it they are `kernel - stride`, the odd one
    /// after.
    pub pad: Option<Pad>,
    /// ReLU on the output.
    #[serde(default)]
    pub relu: bool,
    /// Bias.
    #[serde(default = "yes")]
    pub bias: bool,
    /// `mask = "a"`: outputs see only what comes before them in raster order.
    pub mask: Option<MaskConfig>,
    /// With a mask: so many groups of channels follow each other at one position.
    #[serde(default = "one")]
    pub groups: usize,
    /// Weights divided by their largest singular value.
    #[serde(default)]
    pub spectral: bool,
}

impl ConvConfig {
    /// Stride 1, a bias, and nothing else.
    pub fn plain(out: usize, kernel: usize) -> ConvConfig {
        ConvConfig {
            out,
            kernel,
            stride: 1,
            pad: None,
            relu: false,
            bias: true,
            mask: None,
            groups: 1,
            spectral: false,
        }
    }
}

/// What an output of a masked convolution sees, in raster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskConfig {
    /// PixelCNN's A: positions before its own; of its own, groups of channels before its own.
    A,
    /// PixelCNN's B: as A, and its own group.
    B,
    /// Rows above its own.
    Rows,
}

/// A linear layer over the channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearConfig {
    /// Channels out.
    pub out: usize,
    /// ReLU on the output.
    #[serde(default)]
    pub relu: bool,
    /// Bias.
    #[serde(default = "yes")]
    pub bias: bool,
    /// Weights divided by their largest singular value.
    #[serde(default)]
    pub spectral: bool,
}

/// Rows and columns of zeros around a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pad {
    /// As many on every side.
    Even(usize),
    /// Before (above, left) and after (below, right).
    Sides([usize; 2]),
}

impl Pad {
    /// Before and after.
    pub fn sides(self) -> [usize; 2] {
        match self {
            Pad::Even(n) => [n, n],
            Pad::Sides(sides) => sides,
        }
    }
}

/// A transposed convolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransposedConfig {
    /// Channels out.
    pub out: usize,
    /// Side of the kernel.
    #[serde(default = "four")]
    pub kernel: usize,
    /// The map grows by this factor.
    #[serde(default = "two")]
    pub stride: usize,
    /// Rows and columns of output cut away above and to the left, as PyTorch's `padding`; of
    /// `kernel - stride` in all, those below and to the right are the rest. Without, half, rounded down.
    pub pad: Option<usize>,
    /// ReLU on the output.
    #[serde(default)]
    pub relu: bool,
}

/// Windows of a pooling layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Side of the window.
    #[serde(default = "two")]
    pub kernel: usize,
    /// The map shrinks by this factor, in unpooling it grows by it.
    #[serde(default = "two")]
    pub stride: usize,
    /// Padding before and after, which no mean and no maximum counts; without it as for convolutions.
    pub pad: Option<Pad>,
}

/// Layers between a max pooling and its unpooling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxUnpoolConfig {
    /// Side of the windows, and step between them.
    #[serde(default = "two")]
    pub factor: usize,
    /// What runs on the small map.
    pub layers: Vec<LayerConfig>,
}

/// Residual blocks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualConfig {
    /// The branch that is added to its input.
    pub layers: Vec<LayerConfig>,
    /// How many such blocks follow each other.
    #[serde(default = "one")]
    pub repeat: usize,
    /// ReLU after the sum.
    #[serde(default)]
    pub relu: bool,
    /// Whether the branch may change the number of channels: a 1x1 convolution then takes the input
    /// around it.
    #[serde(default)]
    pub shortcut: bool,
}

/// Group normalisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupNormConfig {
    /// Groups of channels; 32 without it, or as many as there are channels.
    pub groups: Option<usize>,
    /// Added to the variance.
    pub eps: f64,
    /// SiLU on the output.
    pub silu: bool,
}

impl Default for GroupNormConfig {
    fn default() -> Self {
        GroupNormConfig {
            groups: None,
            eps: 1e-6,
            silu: false,
        }
    }
}

/// Batch normalisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchNormConfig {
    /// Share of a batch in the running averages.
    pub momentum: f64,
    /// Added to the variance.
    pub eps: f64,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        BatchNormConfig {
            momentum: 0.1,
            eps: 1e-5,
        }
    }
}

/// Self-attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionConfig {
    /// Heads, each with its own share of the channels.
    #[serde(default = "one")]
    pub heads: usize,
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
    pub fn spelled_out(&self) -> ResidualConfig {
        let norm = || {
            LayerConfig::GroupNorm(GroupNormConfig {
                silu: true,
                ..GroupNormConfig::default()
            })
        };
        let conv = || LayerConfig::Conv(ConvConfig::plain(self.out, 3));
        let mut layers = vec![norm(), conv(), norm()];
        if self.dropout != 0.0 {
            layers.push(LayerConfig::Dropout(self.dropout));
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

fn one() -> usize {
    1
}
fn two() -> usize {
    2
}
fn three() -> usize {
    3
}
fn four() -> usize {
    4
}
fn yes() -> bool {
    true
}
