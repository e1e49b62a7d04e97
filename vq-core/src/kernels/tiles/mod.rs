//! Convolution in tiles: sums that all stay in registers while they grow.
//!
//! A tile is S splats by V vectors: `sums[s][v] += splats[s] * vectors[v]`, where a vector has other numbers in each lane,
//! and a splat the same ones. Two orders of the loops are made of the same tiles:
//!
//! * [`channels`]: vectors of weights of as many output channels as there are lanes; splats of the activations of points.
//! * [`points`]: vectors of activations of as many output points; splats of the weights of channels.
//!
//! What an instruction set does its own way is [`Tiles`]; how rows of an element type become its numbers, and its sums
//! become elements again, [`TilesOf`]. Tiles know nothing of the elements, so that half and single precision share them.

#![allow(unsafe_code)]

mod channels;
mod elements;
mod float;
pub(super) mod integer;
mod points;
mod sums;
mod tile;

use super::row::Filter;
use super::table::{ConvolveRow, Kernels};
use crate::element::Element;

pub(super) use channels::{conv_row, conv_workspace, pack, packed_len};
pub(super) use elements::{Head, TilesOf, elements};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use tile::{Place, Walk, tile};
pub(super) use tile::{Run, Strides, Tiles, VECTORS, accumulate};

/// The table of a backend whose instructions every processor has for which the program is compiled.
pub(super) const fn everywhere<T: TilesOf<E>, E: Element>(rest: Kernels<E>) -> Kernels<E> {
    kernels::<T, E>(
        pack::<T, E>,
        // SAFETY: every processor has the instructions.
        |row, workspace, out| unsafe { conv_row::<T, E>(row, workspace, out) },
        rest,
    )
}

/// The table of a backend whose functions are compiled for its instructions, which not every processor has.
pub(super) const fn kernels<T: TilesOf<E>, E: Element>(
    pack: fn(&Filter<'_, E>, &mut [E]),
    conv_row: ConvolveRow<E>,
    rest: Kernels<E>,
) -> Kernels<E> {
    Kernels {
        lanes: T::LANES,
        conv_workspace: conv_workspace::<T, E>,
        packed_len: packed_len::<T, E>,
        pack,
        conv_row,
        ..rest
    }
}
