//! The operators, one file each: what an operator is in a file, what it makes of a map's shape, what it costs, which rows it
//! reads and writes, and how it makes them.
//!
//! A new one is a file with an `Operator`, a line in the list below, and an entry in FORMAT.md.

mod operator;
mod conv2d;
mod upconv;
mod add;
mod relu;
mod depth_to_space;
mod space_to_depth;
mod activation;
mod group_norm;
mod attention;

use crate::dtype::Dtype;
use crate::error::Fault;
use crate::kernels::{Filter, HasKernels, Kernels};
use crate::lengths::BYTE;
use crate::map::Map;
use crate::rows::Ring;
use crate::shape::Pad;
use crate::slices::Parts;
use operator::{Inputs, Operator};
use serde::{Deserialize, Serialize};

pub use activation::Activation;
pub use add::Add;
pub use attention::Attention;
pub use conv2d::Conv2d;
pub use depth_to_space::DepthToSpace;
pub use group_norm::GroupNorm;
pub(crate) use operator::{Filters, RowRange, Step};
pub use operator::{MAX_INPUTS, Tensors};
pub use relu::Relu;
pub use space_to_depth::SpaceToDepth;
pub use upconv::UpConv;

/// The most operators in one graph.
pub const MAX_OPS: usize = 128;

/// The list of operators, in the order of their numbers in a file, and the one place where they are told apart.
macro_rules! operators {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One operator.
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        pub enum Op {
            $($(#[$doc])* $name($name),)*
        }

        /// Asks whichever operator it is.
        macro_rules! ask {
            ($op:expr, $own:ident => $answer:expr) => {
                match $op {
                    $(Op::$name($own) => $answer,)*
                }
            };
        }
    };
}

operators! {
    /// Convolution of any kernel, stride and padding.
    Conv2d,
    /// Convolution that doubles the map: four 2x2 phases.
    UpConv,
    /// Sum of two values.
    Add,
    /// max(x, 0).
    Relu,
    /// Channels to pixels.
    DepthToSpace,
    /// Pixels to channels.
    SpaceToDepth,
    /// A curve, number by number.
    Activation,
    /// Normalisation of groups of channels over the whole map; in the float types only.
    GroupNorm,
    /// Weighted means over the whole map; in the float types only.
    Attention,
}

impl Op {
    /// The values that it reads; where it reads fewer than three, the first stands in the places left.
    pub fn inputs(&self) -> [u16; MAX_INPUTS] {
        ask!(self, op => op.inputs())
    }

    /// What it is called in reports.
    pub fn name(&self) -> &'static str {
        ask!(self, op => op.name())
    }

    /// Whether it can make no row before it has seen all rows of a value, so that what it keeps grows
    /// with the picture's height.
    pub fn sees_whole_map(&self) -> bool {
        ask!(self, op => op.sees_whole_map())
    }

    /// Its tensors, if it has any, when its input has `channels`.
    pub fn tensors(&self, channels: u16) -> Option<Tensors> {
        ask!(self, op => op.tensors(channels))
    }

    /// Offset in the blob of its lookup table of [`CURVE_LEN`](crate::format::CURVE_LEN) bytes, if it has one in models of
    /// this element type.
    pub fn table(&self, dtype: Dtype) -> Option<u32> {
        ask!(self, op => op.table(dtype))
    }

    /// Changes the offsets of its tensors in the blob, for who moves them there.
    pub fn relocate(&mut self, moved: impl Fn(u32) -> u32) {
        ask!(self, op => op.relocate(moved));
    }

    /// Bytes of its message in a file: which operator it is, and its fields.
    pub(crate) fn message_len(&self) -> usize {
        BYTE + ask!(self, op => op.fields_len())
    }

    pub(crate) fn output(&self, inputs: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault> {
        ask!(self, op => op.output(inputs, dtype))
    }

    pub(crate) fn macs_per_code(&self, input: Map, output: Map) -> u64 {
        ask!(self, op => op.macs_per_code(input, output))
    }

    pub(crate) fn macs_per_pair(&self, inputs: Inputs<Map>) -> u64 {
        ask!(self, op => op.macs_per_pair(inputs))
    }

    pub(crate) fn singles(&self, positions: u64) -> u64 {
        ask!(self, op => op.singles(positions))
    }

    pub(crate) fn pad(&self) -> Pad {
        ask!(self, op => op.pad())
    }

    pub(crate) fn rows_per_step(&self) -> i32 {
        ask!(self, op => op.rows_per_step())
    }

    pub(crate) fn windows(&self, y: i32, height: i32) -> Inputs<RowRange> {
        ask!(self, op => op.windows(y, height))
    }

    pub(crate) fn columns(&self, x: i32) -> RowRange {
        ask!(self, op => op.columns(x))
    }

    pub(crate) fn filters(&self, channels: u16, columns: u32, lanes: usize) -> Option<Filters> {
        ask!(self, op => op.filters(channels, columns, lanes))
    }

    pub(crate) fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        ask!(self, op => op.run(step))
    }

    /// Lays out its filters for the kernels, when it reads this ring.
    pub(crate) fn pack<E: HasKernels>(
        &self,
        kernels: &Kernels<E>,
        input: &Ring,
        blob: &[u8],
        packed: &mut [E],
    ) {
        let mut rest = packed;
        let pack = |filter: Filter<'_, E>| {
            let len = (kernels.packed_len)(&filter.shape);
            let (own, behind) = core::mem::take(&mut rest).parted_mut(len);
            (kernels.pack)(&filter, own);
            rest = behind;
        };
        ask!(self, op => op.each_filter(kernels.lanes, input, blob, pack));
    }
}
