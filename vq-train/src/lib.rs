//! The host side of `vq`: pictures in, trained models and measurements out.
//!
//! The modules stand in the order in which data passes them.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod picture;

pub mod metrics;
