//! vq-core: a picture codec of vector-quantised codes, `no_std` and without allocation.
//!
//! Data's path through the crate:
//!
//! ```text
//! .vqm bytes -> format -> Model (proved once) -> Plan (rings of rows) -> Decoder, Encoder
//! decode:  packets -> codes -> codebook -> ops, row by row -> rows of pixels
//! encode:  rows of pixels -> ops, row by row -> nearest codes -> packets
//! ```
//!
//! What is absent on purpose: allocation, panics on bad bytes, floating point on the `i8` path,
//! unsafe code. The caller owns all memory; sizes are asked for before the work starts.
//!
//! Features: none. MSRV: see `rust-version` in the workspace's `Cargo.toml`.
#![no_std]
#![deny(unsafe_code)]

pub mod bitstream;
pub mod conceal;
pub mod error;
pub mod format;
pub mod model;
mod ops;
pub mod shape;

pub use error::{Fault, FormatError};
pub use model::Model;
pub use shape::{Grid, Map, PictureSize};
