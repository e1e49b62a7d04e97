//! The operators at work, one file each: what an operator makes of a map's shape, what it costs,
//! and which rows it reads and writes.

mod activation;
mod add;
mod attention;
mod conv2d;
mod depth_to_space;
mod group_norm;
mod relu;
mod space_to_depth;
mod upconv;

use crate::element::Element;
use crate::error::Fault;
use crate::format::{Dtype, MAX_INPUTS, Op, Pad, Params, Quant};
use crate::kernels::{ConvShape, Filter, Kernels};
use crate::plan::Ring;
use crate::rows::{Rows, RowsMut};
use crate::shape::Map;
use crate::slices::Parts;

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
    /// What it makes of the values that [`Op::inputs`] names.
    pub(crate) fn output(&self, inputs: [Map; MAX_INPUTS], dtype: Dtype) -> Result<Map, Fault> {
        let [input, skip, _] = inputs;
        match self {
            Self::Conv2d(op) => op.output(input, dtype),
            Self::UpConv(op) => op.output(input, dtype),
            Self::Add(op) => op.output(input, skip, dtype),
            Self::Relu(op) => op.output(input),
            Self::DepthToSpace(op) => op.output(input),
            Self::SpaceToDepth(op) => op.output(input),
            Self::Activation(op) => op.output(input, dtype),
            Self::GroupNorm(op) => op.output(input, dtype),
            Self::Attention(op) => op.output(inputs, dtype),
        }
    }

    /// Its tensors, if it has any, when its input has `channels`.
    pub fn tensors(&self, channels: u16) -> Option<Tensors> {
        match self {
            Self::Conv2d(op) => Some(op.tensors(channels)),
            Self::UpConv(op) => Some(op.tensors(channels)),
            Self::GroupNorm(op) => Some(op.tensors(channels)),
            Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_)
            | Self::Attention(_) => None,
        }
    }

    /// Multiplications for each code of the grid: by weights, and those that make and use statistics.
    pub(crate) fn macs_per_code(&self, input: Map, output: Map) -> u64 {
        match self {
            Self::Conv2d(op) => points(output) * op.tensors(input.channels).weight_count,
            Self::UpConv(op) => points(input) * op.tensors(input.channels).weight_count,
            // A square and a product.
            Self::GroupNorm(_) => 2 * points(input) * u64::from(input.channels),
            Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_)
            | Self::Attention(_) => 0,
        }
    }

    /// Multiplications for each pair of codes of the grid.
    pub(crate) fn macs_per_pair(&self, [_, keys, values]: [Map; MAX_INPUTS]) -> u64 {
        match self {
            Self::Attention(op) => op.macs_per_pair(keys, values),
            Self::Conv2d(_)
            | Self::UpConv(_)
            | Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_)
            | Self::GroupNorm(_) => 0,
        }
    }

    /// Numbers in single precision that it keeps of a whole map of so many positions.
    pub(crate) fn singles(&self, positions: u64) -> u64 {
        match self {
            Self::GroupNorm(op) => op.singles(),
            Self::Attention(op) => op.singles(positions),
            Self::Conv2d(_)
            | Self::UpConv(_)
            | Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_) => 0,
        }
    }

    /// What it wants of kernels of so many lanes, if it is a convolution whose input has `channels` and so many columns.
    pub(crate) fn filters(&self, channels: u16, columns: u32, lanes: usize) -> Option<Filters> {
        match self {
            Self::Conv2d(op) => Some(Filters {
                shape: op.shape(channels, columns),
                count: 1,
                room: 0,
            }),
            Self::UpConv(op) => Some(op.filters(channels, columns, lanes)),
            Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_)
            | Self::GroupNorm(_)
            | Self::Attention(_) => None,
        }
    }

    /// Lays out its filters for the kernels, when it reads this ring.
    pub(crate) fn pack<E: Element>(
        &self,
        kernels: &Kernels<E>,
        input: &Ring,
        blob: &[u8],
        packed: &mut [E],
    ) {
        let mut rest = packed;
        let mut pack = |filter: Filter<'_, E>| {
            let len = (kernels.packed_len)(&filter.shape);
            let (own, behind) = core::mem::take(&mut rest).parted_mut(len);
            (kernels.pack)(&filter, own);
            rest = behind;
        };
        match self {
            Self::Conv2d(op) => pack(op.filter(input, blob)),
            Self::UpConv(op) => op.each_filter(kernels.lanes, input, blob, pack),
            Self::Add(_)
            | Self::Relu(_)
            | Self::DepthToSpace(_)
            | Self::SpaceToDepth(_)
            | Self::Activation(_)
            | Self::GroupNorm(_)
            | Self::Attention(_) => {}
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
            | Self::Activation(_)
            | Self::GroupNorm(_)
            | Self::Attention(_) => Pad::NONE,
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
            | Self::Activation(_)
            | Self::GroupNorm(_)
            | Self::Attention(_) => 1,
        }
    }

    /// The rows of each input that the step reads which makes row y of a map of `height` rows.
    pub(crate) fn windows(&self, y: i32, height: i32) -> [Window; MAX_INPUTS] {
        let (own, whole) = ((y, y), (0, height - 1));
        let rows = match self {
            Self::Conv2d(op) => [op.window(y); MAX_INPUTS],
            Self::UpConv(op) => [op.window(y); MAX_INPUTS],
            Self::Add(_) | Self::Relu(_) | Self::Activation(_) => [own; MAX_INPUTS],
            Self::DepthToSpace(op) => [op.window(y); MAX_INPUTS],
            Self::SpaceToDepth(op) => [op.window(y); MAX_INPUTS],
            Self::GroupNorm(_) => [whole; MAX_INPUTS],
            Self::Attention(_) => [own, whole, whole],
        };
        let inputs = self.inputs();
        core::array::from_fn(|i| Window {
            value: inputs[i].into(),
            first: rows[i].0,
            last: rows[i].1,
        })
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
            Self::GroupNorm(op) => op.run(step),
            Self::Attention(op) => op.run(step),
        }
    }
}

/// What a convolution wants of the kernels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filters {
    /// Of each filter's rows.
    pub(crate) shape: ConvShape,
    /// How many there are.
    pub(crate) count: usize,
    /// Elements of room that the operator wants beside the kernels' own.
    pub(crate) room: usize,
}

/// Rows of a value that a step reads, first to last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) value: usize,
    pub(crate) first: i32,
    pub(crate) last: i32,
}

/// What an operator works on when it makes the rows of one step.
pub(crate) struct Step<'a, E: Element> {
    /// The first of the rows to be made.
    pub(crate) y: i32,
    /// The values that [`Op::inputs`] names.
    pub(crate) inputs: [Rows<'a, E>; MAX_INPUTS],
    /// Whether the first of them counts as cut off at zero.
    pub(crate) cut: bool,
    /// The value that it makes.
    pub(crate) output: RowsMut<'a, E>,
    /// Who makes it.
    pub(crate) kernels: &'static Kernels<E>,
    /// What they asked for with [`Kernels::conv_room`].
    pub(crate) room: &'a mut [E],
    /// What [`Op::pack`] has filled.
    pub(crate) packed: &'a [E],
    /// The model's tensors.
    pub(crate) blob: &'a [u8],
}

impl Tensors {
    /// Weights and parameters in the blob; the model has proved that they are there.
    fn load<'a, E: Element>(&self, blob: &'a [u8]) -> (&'a [E::Stored], Params<'a>) {
        let bytes = |at: u32, len: u64| blob.part(at as usize, len as usize);
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
