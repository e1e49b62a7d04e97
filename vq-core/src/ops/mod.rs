//! The operators at work, one file each: what an operator makes of a map's shape, what it costs,
//! and which rows it reads and writes.

mod add;
mod conv2d;
mod depth_to_space;
mod relu;
mod space_to_depth;
mod upconv;

use crate::error::Fault;
use crate::format::{Dtype, Op};
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
        }
    }

    /// Its tensors, if it has any, when its input has `channels`.
    pub fn tensors(&self, channels: u16) -> Option<Tensors> {
        match self {
            Self::Conv2d(op) => Some(op.tensors(channels)),
            Self::UpConv(op) => Some(op.tensors(channels)),
            Self::Add(_) | Self::Relu(_) | Self::DepthToSpace(_) | Self::SpaceToDepth(_) => None,
        }
    }

    /// Multiplications of weights for each code of the grid.
    pub(crate) fn macs_per_code(&self, input: Map, output: Map) -> u64 {
        match self {
            Self::Conv2d(op) => points(output) * op.tensors(input.channels).weight_count,
            Self::UpConv(op) => points(input) * op.tensors(input.channels).weight_count,
            Self::Add(_) | Self::Relu(_) | Self::DepthToSpace(_) | Self::SpaceToDepth(_) => 0,
        }
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
fn convolved(
    input: Map,
    channels: u16,
    quant: crate::format::Quant,
    dtype: Dtype,
) -> Result<Map, Fault> {
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
