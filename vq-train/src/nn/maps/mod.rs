//! Geometry that convolutions and transposed ones share: windows on a padded map, one way and back.
//!
//! A large map `[h, w, c]` is seen through a grid of windows, `stride` apart; the small map has one
//! position per window. A convolution's forward pass goes from large to small ([`Windows::gather`]),
//! its backward pass from small to large ([`Windows::spread`]); in a transposed convolution it is the
//! other way round.
//!
//! Kernels of 2x2 or 3x3 strides take fewer multiplications in Winograd's form, all pictures of a chunk at
//! once; the others are correlated picture by picture, where they lie.

mod padded;
mod windows;
mod gather;
mod spread;
mod weight_grad;
mod direction;

pub(super) use direction::Direction;
pub(super) use windows::{Channels, Kernel, WeightSteps, Windows};
