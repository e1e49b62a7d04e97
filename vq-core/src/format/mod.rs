//! The types of a model file, for reading and for writing. Nothing executes here.
//!
//! `FORMAT.md` beside the crate's sources is the normative description of the bytes.

pub mod container;
mod graph;

pub use crate::curves::{ActivationKind, CURVE_LEN};
pub use crate::dtype::Dtype;
pub use crate::ops::{
    Activation, Add, Attention, Conv2d, DepthToSpace, GroupNorm, MAX_INPUTS, MAX_OPS, Op, Relu,
    SpaceToDepth, UpConv,
};
pub use crate::shape::{Kernel, MAX_KERNEL, Pad};
pub use crate::tensor::{Params, Quant, Rescale};
pub use container::{Codebook, Container, Entropy};
pub use graph::{Graph, Ops};
