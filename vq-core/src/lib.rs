//! vq-core: the `no_std` decoder and encoder.
#![no_std]

pub mod bitstream;
pub mod conceal;
