//! A network of the core's operators, still in floats.

use vq_core::format::{ActivationKind, Pad};

/// A network of the core's operators with float weights. Values are numbered as in the container.
#[derive(Debug, Clone, Default)]
pub struct FloatGraph {
    /// In the order in which they run.
    pub ops: Vec<FloatOp>,
}

/// One operator.
#[derive(Debug, Clone)]
pub enum FloatOp {
    /// Convolution.
    Conv(FloatConv),
    /// Convolution that doubles the map.
    UpConv(FloatUpConv),
    /// Sum of two values.
    Add {
        /// The branch.
        input: u16,
        /// What it is added to.
        skip: u16,
        /// ReLU on the sum.
        relu: bool,
    },
    /// max(x, 0).
    Relu {
        /// The value that it is applied to.
        input: u16,
    },
    /// Channels to space.
    DepthToSpace {
        /// The value whose channels become space.
        input: u16,
        /// Growth each way.
        factor: u8,
    },
    /// Space to channels.
    SpaceToDepth {
        /// The value whose pixels become channels.
        input: u16,
        /// Shrinkage each way.
        factor: u8,
    },
    /// An activation, number by number.
    Activation {
        /// The value that it is applied to.
        input: u16,
        /// The activation.
        kind: ActivationKind,
    },
    /// Group normalisation.
    GroupNorm(FloatNorm),
    /// Attention of every position to all, scores as they are.
    Attention {
        /// The value of the queries.
        queries: u16,
        /// The value of the keys.
        keys: u16,
        /// The value of the values.
        values: u16,
        /// Runs of channels that attend by themselves.
        heads: u16,
    },
}

impl FloatOp {
    /// Whether it reads a value.
    pub(super) fn reads(&self, value: u16) -> bool {
        match self {
            Self::Conv(conv) => conv.input == value,
            Self::UpConv(conv) => conv.input == value,
            &Self::Add { input, skip, .. } => input == value || skip == value,
            &Self::Relu { input }
            | &Self::DepthToSpace { input, .. }
            | &Self::SpaceToDepth { input, .. }
            | &Self::Activation { input, .. } => input == value,
            Self::GroupNorm(norm) => norm.input == value,
            &Self::Attention {
                queries,
                keys,
                values,
                ..
            } => [queries, keys, values].contains(&value),
        }
    }
}

/// A convolution.
#[derive(Debug, Clone)]
pub struct FloatConv {
    /// The value to convolve.
    pub input: u16,
    /// Channels out.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel: u8,
    /// Step.
    pub stride: u8,
    /// Zeros around the map.
    pub pad: Pad,
    /// ReLU on the output.
    pub relu: bool,
    /// `[out_channels][kernel][kernel][in_channels]`.
    pub weight: Vec<f32>,
    /// `[out_channels]`.
    pub bias: Vec<f32>,
}

/// A group normalisation.
#[derive(Debug, Clone)]
pub struct FloatNorm {
    /// The value to normalise.
    pub input: u16,
    /// Groups of channels.
    pub groups: u16,
    /// Added to the variance.
    pub eps: f32,
    /// SiLU on the output.
    pub silu: bool,
    /// `[c]`.
    pub gain: Vec<f32>,
    /// `[c]`.
    pub bias: Vec<f32>,
}

/// Four 2x2 convolutions.
#[derive(Debug, Clone)]
pub struct FloatUpConv {
    /// The value to convolve.
    pub input: u16,
    /// Channels out.
    pub out_channels: usize,
    /// ReLU on the output.
    pub relu: bool,
    /// `[4][out_channels][2][2][in_channels]`.
    pub weight: Vec<f32>,
    /// `[4][out_channels]`, the same for each phase.
    pub bias: Vec<f32>,
}

impl FloatConv {
    /// A linear step becomes part of the convolution before it: S (W x + b) + s = (S W) x + (S b + s).
    pub(super) fn compose(&mut self, step: &[f32], shift: &[f32]) {
        let taps = self.weight.len() / self.out_channels;
        let rows = step.chunks_exact(self.out_channels);
        let row = |row: &[f32]| -> Vec<f32> {
            let mut sum = vec![0.0; taps];
            for (&factor, weight) in row.iter().zip(self.weight.chunks_exact(taps)) {
                sum.iter_mut()
                    .zip(weight)
                    .for_each(|(s, w)| *s += factor * w);
            }
            sum
        };
        let weight = rows.clone().flat_map(row).collect();
        let moved = |(row, &shift): (&[f32], &f32)| {
            let products = row.iter().zip(&self.bias).map(|(s, b)| s * b);
            products.sum::<f32>() + shift
        };
        self.bias = rows.zip(shift).map(moved).collect();
        self.weight = weight;
        self.out_channels = shift.len();
    }
}
