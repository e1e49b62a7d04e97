//! The list of operators: pure description, one struct each.
//!
//! Values of a graph are numbered: 0 is the graph's input, i the output of operator i - 1.
//! What an operator makes of a map's shape, and how it runs, is in `ops`.

use super::tensor::{Dtype, Quant};
use crate::error::Fault;
use serde::{Deserialize, Serialize};

/// The most operators in one graph.
pub const MAX_OPS: usize = 128;

/// The largest side of a convolution's kernel.
pub const MAX_KERNEL: usize = 8;

/// The most values that an operator reads.
pub const MAX_INPUTS: usize = 3;

/// Numbers of an [`Activation`]'s lookup table: one for each number that a byte can store.
pub const CURVE_LEN: usize = 256;

/// Operators of a network in the order in which they can run, each one postcard message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph<'a> {
    /// Number of operators.
    pub count: u16,
    /// The operators' messages, one behind the other.
    #[serde(borrow)]
    pub ops: &'a [u8],
}

/// One operator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Convolution of any kernel, stride and padding.
    Conv2d(Conv2d),
    /// Convolution that doubles the map: four 2x2 phases.
    UpConv(UpConv),
    /// Sum of two values.
    Add(Add),
    /// max(x, 0).
    Relu(Relu),
    /// Channels to pixels.
    DepthToSpace(DepthToSpace),
    /// Pixels to channels.
    SpaceToDepth(SpaceToDepth),
    /// A curve, number by number.
    Activation(Activation),
    /// Normalisation of groups of channels over the whole map; in the float types only.
    GroupNorm(GroupNorm),
    /// Weighted means over the whole map; in the float types only.
    Attention(Attention),
}

/// y\[h, w, co\] = bias\[co\] + sum over kh, kw, ci of
/// x\[h * stride - top + kh, w * stride - left + kw, ci\] * weights\[co, kh, kw, ci\].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Conv2d {
    /// The value to convolve.
    pub input: u16,
    /// Channels of the output.
    pub out_channels: u16,
    /// Sides of the kernel.
    pub kernel: Kernel,
    /// Step of the kernel, both ways.
    pub stride: u8,
    /// Rows and columns of zeros (real 0) around the input.
    pub pad: Pad,
    /// Whether negative results become 0.
    pub relu: bool,
    /// Quantisation of the output.
    pub out: Quant,
    /// Offset in the blob of the weights \[out_channels\]\[kernel h\]\[kernel w\]\[in_channels\].
    pub weights: u32,
    /// Offset in the blob of the [`super::Params`] of `out_channels` channels.
    pub params: u32,
}

/// Convolution that doubles the map, as four 2x2 convolutions, one for each phase (py, px):
/// y\[2 h + py, 2 w + px, co\] = bias + sum over kh, kw in 0..2 and ci of
/// x\[h - 1 + py + kh, w - 1 + px + kw, ci\] * weights\[2 py + px, co, kh, kw, ci\].
///
/// Nearest upsampling followed by a 3x3 convolution is of this form, and so is a transposed 4x4
/// convolution of stride 2 and padding 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpConv {
    /// The value to convolve.
    pub input: u16,
    /// Channels of the output.
    pub out_channels: u16,
    /// Whether negative results become 0.
    pub relu: bool,
    /// Quantisation of the output.
    pub out: Quant,
    /// Offset in the blob of the weights \[4\]\[out_channels\]\[2\]\[2\]\[in_channels\].
    pub weights: u32,
    /// Offset in the blob of the [`super::Params`] of 4 * `out_channels` channels, phase by phase.
    pub params: u32,
}

/// Sum of two values of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// The one summand.
    pub input: u16,
    /// The other summand.
    pub skip: u16,
    /// Whether negative results become 0.
    pub relu: bool,
    /// Quantisation of the output.
    pub out: Quant,
    /// How the integer type brings both to the output's scale; [`Rescale::NONE`] in the float types.
    pub rescale: Rescale,
}

/// max(x, 0); the quantisation stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relu {
    /// The value to cut.
    pub input: u16,
}

/// y\[h f + fy, w f + fx, c\] = x\[h, w, c f f + fy f + fx\] (PyTorch's `pixel_shuffle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepthToSpace {
    /// The value to spread.
    pub input: u16,
    /// f, the growth each way.
    pub factor: u8,
}

/// y\[h, w, c f f + fy f + fx\] = x\[h f + fy, w f + fx, c\] (PyTorch's `pixel_unshuffle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceToDepth {
    /// The value to gather.
    pub input: u16,
    /// f, the shrinkage each way.
    pub factor: u8,
}

/// y = f(x), number by number, with f the curve that `kind` names.
///
/// The integer type looks y up, so its table may hold any function: `kind` is only what people call it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// The value to bend.
    pub input: u16,
    /// The curve.
    pub kind: ActivationKind,
    /// Quantisation of the output.
    pub out: Quant,
    /// Offset in the blob of the integer type's [`CURVE_LEN`] numbers, y for x = -128 first;
    /// 0 in the float types.
    pub table: u32,
}

/// The curves of an [`Activation`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum ActivationKind {
    /// tanh(x).
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// x / (1 + exp(-x)), also called swish.
    Silu,
    /// x, and `slope` times x below 0.
    LeakyRelu {
        /// Finite.
        slope: f32,
    },
}

/// Group normalisation (Wu and He 2018), over all positions and the channels of a group:
/// y\[h, w, c\] = gain\[c\] * (x\[h, w, c\] - mean) / sqrt(variance + eps) + bias\[c\].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupNorm {
    /// The value to normalise.
    pub input: u16,
    /// Groups of neighbouring channels; not zero, and divides the channels.
    pub groups: u16,
    /// Added to the variance: positive, and not subnormal.
    pub eps: f32,
    /// Whether SiLU follows.
    pub silu: bool,
    /// Offset in the blob of gain f32\[c\] and bias f32\[c\], one behind the other.
    pub params: u32,
}

/// Attention (Vaswani et al. 2017) of every position to all. Each head has its own run of channels; with
/// its queries q, keys k and values v, position p of the output is
/// y\[p\] = sum over r of v\[r\] * softmax over r (sum over c of q\[p, c\] * k\[r, c\]).
///
/// Scores are not divided by anything: that is for the weights that make the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// The value of the queries.
    pub queries: u16,
    /// The value of the keys, of as many channels.
    pub keys: u16,
    /// The value of the values, of any number of channels.
    pub values: u16,
    /// Not zero, and divides the channels.
    pub heads: u16,
}

/// Sides of a convolution's kernel, 1 ..= [`MAX_KERNEL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Rows.
    pub height: u8,
    /// Columns.
    pub width: u8,
}

/// Padding around a map. Top and bottom add up to kernel height - stride or more, but to less than
/// the kernel's height; left and right likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pad {
    /// Rows above the first.
    pub top: u8,
    /// Columns before the first.
    pub left: u8,
    /// Rows below the last.
    pub bottom: u8,
    /// Columns behind the last.
    pub right: u8,
}

/// Factors of an integer addition:
/// (a - zero_a) * input + (b - zero_b) * skip, shifted right by `shift` with rounding to nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescale {
    /// Factor of the input, not negative.
    pub input: i32,
    /// Factor of the skip, not negative.
    pub skip: i32,
    /// 1 ..= 62.
    pub shift: u8,
}

impl Pad {
    /// No padding.
    pub const NONE: Self = Self {
        top: 0,
        left: 0,
        bottom: 0,
        right: 0,
    };
}

impl Rescale {
    /// What the float types write.
    pub const NONE: Self = Self {
        input: 0,
        skip: 0,
        shift: 0,
    };
}

impl Op {
    /// The values that it reads; where it reads fewer than three, the first stands in the places left.
    pub const fn inputs(&self) -> [u16; MAX_INPUTS] {
        match *self {
            Self::Conv2d(Conv2d { input, .. })
            | Self::UpConv(UpConv { input, .. })
            | Self::Relu(Relu { input })
            | Self::DepthToSpace(DepthToSpace { input, .. })
            | Self::SpaceToDepth(SpaceToDepth { input, .. })
            | Self::Activation(Activation { input, .. })
            | Self::GroupNorm(GroupNorm { input, .. }) => [input; MAX_INPUTS],
            Self::Add(Add { input, skip, .. }) => [input, skip, input],
            Self::Attention(Attention {
                queries,
                keys,
                values,
                ..
            }) => [queries, keys, values],
        }
    }

    /// Whether it can make no row before it has seen all rows of a value, so that what it keeps grows
    /// with the picture's height.
    pub const fn sees_whole_map(&self) -> bool {
        match self {
            Self::GroupNorm(_) | Self::Attention(_) => true,
            Self::Conv2d(_)
            | Self::UpConv(_)
            | Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_) => false,
        }
    }

    /// Offset in the blob of its lookup table of [`CURVE_LEN`] bytes, if it has one in models of
    /// this element type.
    pub const fn table(&self, dtype: Dtype) -> Option<u32> {
        match (self, dtype) {
            (Self::Activation(op), Dtype::I8) => Some(op.table),
            _ => None,
        }
    }

    /// What it is called in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "conv2d",
            Self::UpConv(_) => "upconv",
            Self::Add(_) => "add",
            Self::Relu(_) => "relu",
            Self::DepthToSpace(_) => "depth_to_space",
            Self::SpaceToDepth(_) => "space_to_depth",
            Self::Activation(op) => op.kind.name(),
            Self::GroupNorm(_) => "group_norm",
            Self::Attention(_) => "attention",
        }
    }
}

impl ActivationKind {
    /// What it is called in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::LeakyRelu { .. } => "leaky_relu",
        }
    }
}

impl<'a> Graph<'a> {
    /// The operators, read one after the other; ends behind the first that is malformed.
    ///
    /// Yields as many items as `count` says, then one more error if bytes remain.
    pub fn ops(&self) -> Ops<'a> {
        Ops {
            left: self.count,
            bytes: self.ops,
        }
    }

    /// Bytes that [`Graph::encode`] needs for these operators.
    pub fn encoded_len(ops: &[Op]) -> usize {
        ops.iter()
            .map(|op| postcard::experimental::serialized_size(op).unwrap_or(0))
            .sum()
    }

    /// Writes the operators into `bytes`, which have at least [`Graph::encoded_len`].
    ///
    /// # Errors
    /// [`Fault::Count`] when there are more than [`MAX_OPS`], [`Fault::Message`] when `bytes` is too short.
    pub fn encode(ops: &[Op], bytes: &'a mut [u8]) -> Result<Self, Fault> {
        if ops.len() > MAX_OPS {
            return Err(Fault::Count);
        }
        let mut used = 0;
        for op in ops {
            used += postcard::to_slice(op, &mut bytes[used..])
                .map_err(|_| Fault::Message)?
                .len();
        }
        Ok(Self {
            count: ops.len() as u16,
            ops: &bytes[..used],
        })
    }
}

/// See [`Graph::ops`].
#[derive(Debug, Clone)]
pub struct Ops<'a> {
    left: u16,
    bytes: &'a [u8],
}

impl Iterator for Ops<'_> {
    type Item = Result<Op, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let rest = core::mem::take(&mut self.bytes);
            return (!rest.is_empty()).then_some(Err(Fault::Count));
        }
        self.left -= 1;
        match postcard::take_from_bytes(self.bytes) {
            Ok((op, rest)) => {
                self.bytes = rest;
                Some(Ok(op))
            }
            Err(_) => {
                *self = Self {
                    left: 0,
                    bytes: &[],
                };
                Some(Err(Fault::Message))
            }
        }
    }
}
