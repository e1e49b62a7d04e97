//! vq-train: trains models of vector-quantised codes, exports them for `vq-core`, and measures them.
//!
//! Data's path through the crate:
//!
//! ```text
//! train:     configuration -> networks; pictures -> batches -> encoder -> quantiser -> decoder -> losses
//!            -> gradients -> optimiser -> checkpoint
//! export:    checkpoint -> layers folded and lowered -> .vqm bytes
//! evaluate:  pictures -> packets -> pictures -> figures and sheets
//! flash:     .vqm bytes -> firmware -> a microcontroller, or QEMU
//! ```
//!
//! The modules stand from bottom to top: each uses only modules above it in this file.
//!
//! Features: none. MSRV: see `rust-version` in the workspace's `Cargo.toml`.
#![deny(unsafe_code)]

// Files and pictures.
pub mod atomic;
pub mod claim;
pub mod input;
pub mod picture;
pub mod tensorboard;

// Layers.
pub mod nn;

// What is to be trained, and on what.
pub mod config;
pub mod random;
pub mod data;

// The networks, and what they learn by.
pub mod quantizer;
pub mod optim;
pub mod loss;
pub mod model;
pub mod gan;

// How people judge and compare pictures.
pub mod metrics;
pub mod sheet;

// Training.
pub mod health;
pub mod checkpoint;
pub mod train;
pub mod run;
pub mod interchange;

// From a trained model to figures.
pub mod codec;
pub mod packets;
pub mod link;
pub mod strip;
pub mod export;
pub mod rivals;
pub mod refine;
pub mod evaluate;

// A trained model on a microcontroller.
pub mod flash;
