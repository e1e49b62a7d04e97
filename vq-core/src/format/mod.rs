//! The container's types, for reading and for writing. Nothing executes here.
//!
//! `FORMAT.md` beside the crate's sources is the normative description of the bytes.

pub mod container;
pub mod op;
pub mod tensor;

pub use container::{Codebook, Container, Entropy};
pub use op::{
    Activation, ActivationKind, Add, Attention, CURVE_LEN, Conv2d, DepthToSpace, Graph, GroupNorm,
    Kernel, MAX_INPUTS, MAX_KERNEL, MAX_OPS, Op, Pad, Relu, Rescale, SpaceToDepth, UpConv,
};
pub use tensor::{Dtype, Params, Quant};
