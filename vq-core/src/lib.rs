#![doc = include_str!("../README.md")]
//!
//! ## A decoder in fifteen lines
//!
//! ```
#![doc = include_str!("../examples/display.rs")]
//! ```
//!
//! ## How the crate is built
//!
//! The modules below stand in the order of data's way through them, each on top of those before it. What is absent on
//! purpose: allocation (without the feature `alloc`), panics on bad bytes, floating point on the `i8` path, and unsafe code
//! outside of the kernels; without the feature `encoder`, all that leads from pixels to codes. The caller owns all memory;
//! sizes are asked for before the work starts. MSRV: `rust-version` in the workspace's `Cargo.toml`.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

// Sizes and types.
mod dtype;
pub mod shape;
mod slices;
mod lengths;
// Codes on the wire, and what stands in for those that are missing.
pub mod bitstream;
pub mod conceal;
pub mod error;
mod typed;
// The arithmetic of one number, then of one row.
mod tensor;
mod curves;
#[path = "kernels/fused.rs"]
mod fused;
pub mod element;
mod target;
mod kernels;
// What a graph is made of.
mod map;
mod rows;
pub mod ops;
// What a model is.
pub mod format;
pub mod model;
pub mod codebook;
#[cfg(feature = "encoder")]
pub mod nearest;
// Where a running model keeps its rows, and a model at work.
pub mod plan;
pub mod run;
pub mod decode;
#[cfg(feature = "encoder")]
pub mod encode;
// The same whatever the element type: in somebody's memory, and with an allocator.
pub mod device;
#[cfg(feature = "alloc")]
pub mod codec;

// Kernels compared with the reference.
#[cfg(any(test, feature = "check-kernels"))]
pub mod check;

pub use codebook::Codebooks;
#[cfg(feature = "alloc")]
pub use codec::{Codec, Patch};
pub use decode::{Decoding, Embeddings};
#[cfg(feature = "encoder")]
pub use device::Encoder;
pub use device::{DecodedRows, Decoder, Memory, Needs, needs};
pub use element::Element;
#[cfg(feature = "encoder")]
pub use encode::{Encoding, Picture, PixelRows};
pub use error::{Error, Fault, FormatError, PlanError, RunError};
pub use half::f16;
pub use kernels::{Backend, HasKernels};
pub use map::Map;
pub use model::Model;
#[cfg(feature = "encoder")]
pub use nearest::{NearestCodes, Table};
pub use plan::{Direction, Plan, PlanMemory};
pub use run::{Engine, NoProbe, Probe, Source, Weights};
pub use shape::{Grid, PictureSize};
