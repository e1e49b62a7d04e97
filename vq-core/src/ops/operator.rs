//! What all operators have in common: what a graph asks of one, and what it is handed when it runs.

use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::{ConvShape, Filter, HasKernels, Kernels};
use crate::map::Map;
use crate::rows::{Ring, Rows, RowsMut};
use crate::shape::Pad;
use crate::slices::Parts;
use crate::tensor::{Params, Quant};

/// The most values that an operator reads.
pub const MAX_INPUTS: usize = 3;

/// One thing for each value that an operator reads; where it reads fewer, that of the first stands in the places left.
pub(crate) type Inputs<T> = [T; MAX_INPUTS];

/// What a graph needs to know of an operator. Most leave most of it as it is.
pub(crate) trait Operator {
    /// What it is called in reports.
    const NAME: &'static str;

    /// What it is called in reports, where that depends on more than its kind.
    fn name(&self) -> &'static str {
        Self::NAME
    }

    /// Bytes of its fields in a file.
    fn fields_len(&self) -> usize;

    /// The values that it reads.
    fn inputs(&self) -> Inputs<u16>;

    /// What it makes of maps of these shapes.
    fn output(&self, inputs: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault>;

    /// Makes the rows of one step.
    fn run<E: HasKernels>(&self, step: Step<'_, E>);

    /// Whether it can make no row before it has seen all rows of a value, so that what it keeps grows
    /// with the picture's height.
    fn sees_whole_map(&self) -> bool {
        false
    }

    /// Its tensors, if it has any, when its input has `channels`.
    fn tensors(&self, channels: u16) -> Option<Tensors> {
        let _ = channels;
        None
    }

    /// Offset in the blob of its lookup table, if it has one in models of this element type.
    fn table(&self, dtype: Dtype) -> Option<u32> {
        let _ = dtype;
        None
    }

    /// Changes the offsets of its tensors in the blob, for who moves them there.
    fn relocate(&mut self, moved: impl Fn(u32) -> u32) {
        let _ = moved;
    }

    /// Multiplications for each code of the grid: by weights, and those that make and use statistics.
    fn macs_per_code(&self, input: Map, output: Map) -> u64 {
        let _ = (input, output);
        0
    }

    /// Multiplications for each pair of codes of the grid.
    fn macs_per_pair(&self, inputs: Inputs<Map>) -> u64 {
        let _ = inputs;
        0
    }

    /// Numbers in single precision that it keeps of a whole map of so many positions.
    fn singles(&self, positions: u64) -> u64 {
        let _ = positions;
        0
    }

    /// The padding that it reads around its input.
    fn pad(&self) -> Pad {
        Pad::NONE
    }

    /// Rows of its output that come about together.
    fn rows_per_step(&self) -> i32 {
        1
    }

    /// The rows of each input that the step reads which makes row y of a map of `height` rows.
    fn windows(&self, y: i32, height: i32) -> Inputs<RowRange> {
        let _ = height;
        [RowRange::one(y); MAX_INPUTS]
    }

    /// The columns of its first input that column x is made of.
    fn columns(&self, x: i32) -> RowRange {
        RowRange::one(x)
    }

    /// What it wants of kernels of so many lanes, if it is a convolution whose input has `channels` and so many columns.
    fn filters(&self, channels: u16, columns: u32, lanes: usize) -> Option<Filters> {
        let _ = (channels, columns, lanes);
        None
    }

    /// Shows its filters for kernels of so many lanes, in turn, when it reads this ring.
    fn each_filter<'a, E: HasKernels>(
        &self,
        lanes: usize,
        input: &Ring,
        blob: &'a [u8],
        show: impl FnMut(Filter<'a, E>),
    ) {
        let _ = (lanes, input, blob, show);
    }
}

/// Rows of a map, or columns, first to last; those outside of it are padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowRange {
    pub(crate) first: i32,
    pub(crate) last: i32,
}

impl RowRange {
    /// None of them.
    pub(crate) const NONE: Self = Self {
        first: i32::MAX,
        last: i32::MIN,
    };

    /// Row y alone.
    pub(crate) fn one(y: i32) -> Self {
        Self { first: y, last: y }
    }

    /// All rows of a map.
    pub(super) fn whole(height: i32) -> Self {
        let (first, last) = (0, height - 1);
        Self { first, last }
    }
}

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

/// What a convolution wants of the kernels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filters {
    /// Of each filter's rows.
    pub(crate) shape: ConvShape,
    /// How many there are.
    pub(crate) count: usize,
    /// Elements of workspace that the operator wants beside the kernels' own.
    pub(crate) workspace: usize,
}

/// What an operator works on when it makes the rows of one step.
pub(crate) struct Step<'a, E: HasKernels> {
    /// The first of the rows to be made.
    pub(crate) y: i32,
    /// Whether it is the first step of a picture.
    pub(crate) is_first: bool,
    /// The values that [`Operator::inputs`] names.
    pub(crate) inputs: Inputs<Rows<'a, E>>,
    /// Whether a ReLU is fused into the first of them.
    pub(crate) fused_relu: bool,
    /// The value that it makes.
    pub(crate) output: RowsMut<'a, E>,
    /// The row functions.
    pub(crate) kernels: &'static Kernels<E>,
    /// As many elements as [`Kernels::conv_workspace`] and [`Filters::workspace`] ask for.
    pub(crate) workspace: &'a mut [E],
    /// The operator's filters as the kernels want them.
    pub(crate) packed: &'a [E],
    /// The model's tensors.
    pub(crate) blob: &'a [u8],
}

impl Tensors {
    /// Weights and parameters in the blob; the model has proved that they are there.
    pub(crate) fn load<'a, E: HasKernels>(&self, blob: &'a [u8]) -> (&'a [E::Stored], Params<'a>) {
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
pub(super) fn points(map: Map) -> u64 {
    u64::from(map.density).pow(2)
}

/// Checks the products of one sum.
pub(super) fn check_taps(kernel_points: u64, channels: u16) -> Result<(), Fault> {
    if kernel_points * u64::from(channels) <= MAX_TAPS {
        Ok(())
    } else {
        Err(Fault::Channels)
    }
}

/// The map with other channels and quantisation, if those are allowed.
pub(super) fn convolved(
    input: Map,
    channels: u16,
    quant: Quant,
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
