//! The operators at work, one file each: what an operator makes of a map's shape, what it costs,
//! and which rows it reads and writes.

mod activation;
mod add;
mod conv2d;
mod depth_to_space;
mod relu;
mod space_to_depth;
mod upconv;

use crate::element::Element;
use crate::error::Fault;
use crate::format::{Dtype, Op, Pad, Params, Quant};
use crate::rows::{Rows, RowsMut};
use crate::shape::Map;

/// Where an operator's weights and parameters lie, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensors {
    /// Offset of the weights in the blob (bytes).
    pub weights: u32,
    /// Number of weights.
    pub weight_count: u64,
    /// Offset of the per-channel parameters in the blob (bytes).
    pub params: u32,
    /// Number of channels that have parameters.
    pub param_count: u64,
}

/// The most products that are summed into one number: with |bias| <= 2^30 an i32 holds the sum.
const MAX_TAPS: u64 = 65_535;

impl Op {
    /// What it makes of its inputs; `skip` is read only where [`Op::skip`] names one.
    pub(crate) fn output(&self, input: Map, skip: Map, dtype: Dtype) -> Result<Map, Fault> {
        match self {
            Self::Conv2d(op) => op.output(input, dtype),
            Self::UpConv(op) => op.output(input, dtype),
            Self::Add(op) => op.output(input, skip, dtype),
            Self::Relu(op) => op.output(input),
            Self::DepthToSpace(op) => op.output(input),
            Self::SpaceToDepth(op) => op.output(input),
            Self::Activation(op) => op.output(input, dtype),
        }
    }

    /// Its tensors, if it has any, when its input has `channels`.
    pub fn tensors(&self, channels: u16) -> Option<Tensors> {
        match self {
            Self::Conv2d(op) => Some(op.tensors(channels)),
            Self::UpConv(op) => Some(op.tensors(channels)),
            Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_) => None,
        }
    }

    /// Multiplications of weights for each code of the grid.
    pub(crate) fn macs_per_code(&self, input: Map, output: Map) -> u64 {
        match self {
            Self::Conv2d(op) => points(output) * op.tensors(input.channels).weight_count,
            Self::UpConv(op) => points(input) * op.tensors(input.channels).weight_count,
            Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_) => 0,
        }
    }
}

impl Op {
    /// The padding that it reads around its input.
    pub(crate) fn pad(&self) -> Pad {
        match self {
            Self::Conv2d(op) => op.pad,
            Self::UpConv(_) => upconv::PAD,
            Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_) => Pad::NONE,
        }
    }

    /// Rows of its output that come about together.
    pub(crate) fn rows_per_step(&self) -> i32 {
        match self {
            Self::UpConv(_) => 2,
            Self::DepthToSpace(op) => op.factor.into(),
            Self::Conv2d(_)
            | Self::Add(_)
            | Self::Relu(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_) => 1,
        }
    }

    /// The first and the last row of its inputs that the step reads which makes row y.
    pub(crate) fn window(&self, y: i32) -> (i32, i32) {
        match self {
            Self::Conv2d(op) => op.window(y),
            Self::UpConv(op) => op.window(y),
            Self::Add(_) | Self::Relu(_) | Self::Activation(_) => (y, y),
            Self::DepthToSpace(op) => op.window(y),
            Self::SpaceToDepth(op) => op.window(y),
        }
    }

    /// Makes the rows of one step.
    pub(crate) fn run<E: Element>(&self, step: Step<'_, E>) {
        match self {
            Self::Conv2d(op) => op.run(step),
            Self::UpConv(op) => op.run(step),
            Self::Add(op) => op.run(step),
            Self::Relu(op) => op.run(step),
            Self::DepthToSpace(op) => op.run(step),
            Self::SpaceToDepth(op) => op.run(step),
            Self::Activation(op) => op.run(step),
        }
    }
}

/// What an operator works on when it makes the rows of one step.
pub(crate) struct Step<'a, E> {
    /// The first of the rows to be made.
    pub(crate) y: i32,
    /// The value that it reads.
    pub(crate) input: Rows<'a, E>,
    /// The second value that it reads; the same as `input` where it reads one.
    pub(crate) skip: Rows<'a, E>,
    /// The value that it makes.
    pub(crate) output: RowsMut<'a, E>,
    /// The model's tensors.
    pub(crate) blob: &'a [u8],
}

impl Tensors {
    /// Weights and parameters in the blob; the model has proved that they are there.
    fn load<'a, E: Element>(&self, blob: &'a [u8]) -> (&'a [E::Stored], Params<'a>) {
        let bytes = |at: u32, len: u64| &blob[at as usize..][..len as usize];
        let weights = bytes(self.weights, self.weight_count * E::DTYPE.size() as u64);
        let params = bytes(self.params, Params::len(E::DTYPE, self.param_count));
        (
            E::stored(weights),
            Params::split(params, E::DTYPE, self.param_count as usize),
        )
    }
}

/// Points of a map for each code of the grid.
fn points(map: Map) -> u64 {
    u64::from(map.density).pow(2)
}

/// Checks the products of one sum.
fn taps(kernel_points: u64, channels: u16) -> Result<(), Fault> {
    if kernel_points * u64::from(channels) <= MAX_TAPS {
        Ok(())
    } else {
        Err(Fault::Channels)
    }
}

/// The map with other channels and quantisation, if those are allowed.
fn convolved(input: Map, channels: u16, quant: Quant, dtype: Dtype) -> Result<Map, Fault> {
    if channels == 0 {
        return Err(Fault::Channels);
    }
    if !quant.is_valid(dtype) {
        return Err(Fault::Quant);
    }
    Ok(Map {
        channels,
        quant,
        ..input
    })
}
