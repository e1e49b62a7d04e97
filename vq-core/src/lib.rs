//! vq-core: a picture codec of vector-quantised codes, `no_std` and without allocation.
//!
//! Data's path through the crate:
//!
//! ```text
//! .vqm bytes -> format -> Model (proved once) -> Plan (rings of rows) -> Engine (its memory) -> Decoder, Encoder
//! decode:  packets -> codes -> codebook -> ops, row by row -> rows of pixels
//! encode:  rows of pixels -> ops, row by row -> nearest codes -> packets
//! ```
//!
//! What is absent on purpose: allocation, panics on bad bytes, floating point on the `i8` path, and
//! unsafe code outside of the kernels. The caller owns all memory; sizes are asked for before the work starts.
//!
//! Features: `std`, `check-kernels` and `emulate`, see `Cargo.toml`. MSRV: see `rust-version` in the workspace's `Cargo.toml`.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

// What can go wrong, and how large things are.
pub mod error;
pub mod shape;
mod slices;
// What a model is.
pub mod format;
pub mod model;
// Codes on the wire.
pub mod bitstream;
pub mod conceal;
// Where a running model keeps its rows.
pub mod plan;
mod fuse;
mod place;
mod schedule;
mod rows;
// The arithmetic, from one number to one operator's rows.
pub mod backend;
mod curves;
pub mod element;
mod kernels;
mod ops;
mod target;
// A model at work.
pub mod run;

// Kernels compared with the reference.
#[cfg(any(test, feature = "check-kernels"))]
pub mod check;

pub mod codebook;
pub mod search;
pub mod decode;
pub mod encode;
#[cfg(feature = "std")]
pub mod threads;

pub use backend::Backend;
pub use codebook::{Codebooks, Embeddings};
pub use decode::Decoder;
pub use element::Element;
pub use encode::{Encoder, Picture, PixelRows};
pub use error::{Fault, FormatError, PlanError, RunError};
pub use half::f16;
pub use model::Model;
pub use plan::{Layout, Plan};
pub use run::{Engine, NoProbe, Probe, Source};
pub use search::{Search, Table};
pub use shape::{Grid, Map, PictureSize};
