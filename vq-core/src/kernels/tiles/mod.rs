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
mod float;
pub(super) mod integer;
mod points;
mod portable;
mod tile;

use super::nearest::{self, Lanes, NearestCodes};
use super::{ALIGN, ConvolveRow, EMULATED, Filter, Kernels, add_i32, scalar};
use crate::element::{Arithmetic, Element, Output};
use crate::tensor::Params;
use bytemuck::Pod;

pub(super) use channels::{conv_row, conv_workspace, pack, packed_len};
use portable::Portable;
pub(super) use tile::{Place, Run, Strides, Walk, accumulate, tile};

/// Most vectors of a tile.
pub(super) const VECTORS: usize = 4;

/// Simd128's tiles in plain loops.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) static SIMD128: Kernels<i8> = portable::<Portable<4, 2>>();

/// NEON's tiles in plain loops.
#[cfg(not(target_arch = "aarch64"))]
pub(super) static NEON: Kernels<i8> = portable::<Portable<8, 1>>();

/// NEON's tiles with dotprod in plain loops.
pub(super) static NEON_DOT: Kernels<i8> = portable::<Portable<8, 4>>();

/// AVX2's tiles in plain loops.
pub(super) static AVX2: Kernels<i8> = portable::<Portable<8, 2>>();

/// AVX-512's tiles in plain loops.
pub(super) static AVX512: Kernels<i8> = portable::<Portable<16, 4>>();

/// The table of an emulated backend; of one that only tells how much memory it wants, where emulations are not built.
const fn portable<T: Lanes>() -> Kernels<i8> {
    let sizes = Kernels {
        lanes: T::LANES,
        conv_workspace: conv_workspace::<T, i8>,
        packed_len: packed_len::<T, i8>,
        conv_row: scalar::any_conv_row,
        add_row: add_i32::add_row,
        nearest: NearestCodes {
            packed_len: NearestCodes::integers::<T>(NearestCodes::SCALAR.nearest).packed_len,
            ..NearestCodes::SCALAR
        },
        ..Kernels::SCALAR
    };
    if !EMULATED {
        return sizes;
    }
    everywhere::<T, i8>(Kernels {
        // SAFETY: plain loops need no instructions.
        nearest: NearestCodes::integers::<T>(|entries, packed, vectors, codes| unsafe {
            nearest::integers::<T>(entries, packed, vectors, codes);
        }),
        ..sizes
    })
}

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

/// An instruction set: how it loads registers of numbers and adds up their products.
///
/// # Safety
/// Whoever implements it promises that [`Self::vector`] and [`Self::splat`] read no more than their callers guarantee,
/// and that `Sums` lies in memory as an array of LANES sums, each an `i32` or an `f32`.
///
/// Callers of all unsafe functions, and of functions here that are generic over the instruction set, must guarantee that
/// the processor has it. What else they must guarantee stands at each function.
pub(super) unsafe trait Tiles: Sized {
    /// An activation or a weight as products take it.
    type Number: Pod;
    /// What packed filters say of LANES channels beside their weights.
    type Head: Pod;
    /// LANES * TAPS numbers: TAPS of them for each lane.
    type Vector: Copy;
    /// TAPS numbers, the same for each lane.
    type Splat: Copy;
    /// LANES sums.
    type Sums: Copy;
    /// Sums of a vector.
    const LANES: usize;
    /// Products that are added to a sum at once.
    const TAPS: usize;
    /// Most splats of a tile of 1, 2, .. vectors: as many as the registers hold sums of. 0 where there is no such tile.
    const SPLATS: [usize; VECTORS];
    /// What activations are larger by as numbers than as elements; of integers.
    const OFFSET: i32 = 0;
    /// Whether [`Self::multiply_add_turned`] is [`Self::multiply_add`], so that both orders share all tiles.
    const IS_SYMMETRIC: bool = true;

    /// What LANES sums start with.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn start(head: &Self::Head) -> Self::Sums;

    /// LANES * TAPS numbers.
    ///
    /// # Safety
    /// The processor has the instruction set. LANES * TAPS numbers are readable from `from`; no alignment is needed.
    unsafe fn vector(from: *const Self::Number) -> Self::Vector;

    /// TAPS numbers, for all lanes.
    ///
    /// # Safety
    /// The processor has the instruction set. TAPS numbers are readable from `from`; no alignment is needed.
    unsafe fn splat(from: *const Self::Number) -> Self::Splat;

    /// Adds to each lane's sum the products of its TAPS weights and of the same activations.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn multiply_add(
        sums: Self::Sums,
        weights: Self::Vector,
        activations: Self::Splat,
    ) -> Self::Sums;

    /// Adds to each lane's sum the products of its TAPS activations and of the same weights.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn multiply_add_turned(
        sums: Self::Sums,
        activations: Self::Vector,
        weights: Self::Splat,
    ) -> Self::Sums {
        // SAFETY: the caller guarantees that the processor has the instruction set.
        unsafe { Self::multiply_add(sums, activations, weights) }
    }

    /// Makes columns of rows.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn transposed(rows: [[u32; 4]; 4]) -> [[u32; 4]; 4] {
        let mut columns = rows;
        for (i, row) in rows.iter().enumerate() {
            for (column, &word) in columns.iter_mut().zip(row) {
                column[i] = word;
            }
        }
        columns
    }

    /// [`tile()`], compiled for the instruction set.
    ///
    /// # Safety
    /// What [`tile()`] wants.
    unsafe fn tile<const TURNED: bool, const S: usize, const V: usize>(
        walk: &Walk<'_, Self::Number>,
        place: Place<Self::Head>,
        sums: *mut Self::Sums,
    ) {
        // SAFETY: the caller guarantees what `tile` wants.
        unsafe { tile::<Self, TURNED, S, V>(walk, place, sums) }
    }
}

/// How rows of an element type become numbers of the tiles, and how sums become elements.
///
/// # Safety
/// Whoever implements it promises that `Sums` lies in memory as an array of LANES sums of the element type, and that
/// [`Self::finish`] writes no more than its callers guarantee.
pub(super) unsafe trait TilesOf<E: Element>: Tiles<Head: Head<E>> {
    /// What LANES sums are finished with.
    type Scale: Copy;
    /// Whether rows of elements are rows of numbers as they are.
    const AS_IT_IS: bool;

    /// An activation as a number.
    fn activation(x: E) -> Self::Number;
    /// A weight as a number.
    fn weight(weight: E) -> Self::Number;

    /// What the sums are finished with.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn scale(head: &Self::Head) -> Self::Scale;

    /// Stores the first `count` sums as elements.
    ///
    /// # Safety
    /// The processor has the instruction set. `count` is at most LANES, and so many elements are writable at `out`. The
    /// head that `scale` was made of [is quick](Head::is_quick).
    unsafe fn finish(
        sums: Self::Sums,
        scale: Self::Scale,
        output: Output,
        out: *mut E,
        count: usize,
    );
}

/// What a block of packed weights starts with: what its sums start and end with, whatever multiplies.
pub(super) trait Head<E: Arithmetic>: Pod {
    /// A channel's part. `weights` are all of the channel, `offset` is what activations are larger by than elements.
    fn set(
        &mut self,
        lane: usize,
        params: &Params<'_>,
        channel: usize,
        weights: &[E::Stored],
        offset: i32,
    );
    /// Whether vectors can finish the sums.
    fn is_quick(&self) -> bool;
    /// Finishes sums one by one, in every case.
    fn finish(&self, sums: &[E::Sum], output: Output, out: &mut [E]);
}

/// Elements of a type in which `bytes` lie.
pub(super) const fn elements<E>(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<E>())
}

/// Elements that so many packed blocks take; of more than fits any memory, all there can be.
fn packed_elements<E>(block_bytes: usize, blocks: usize) -> usize {
    let bytes = block_bytes.saturating_mul(blocks);
    elements::<E>(bytes.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX))
}

/// A packed block: its head and its weights.
fn block_mut<T: Tiles>(block: &mut [u8]) -> (&mut T::Head, &mut [T::Number]) {
    let (head, weights) = block.split_at_mut(size_of::<T::Head>());
    (
        bytemuck::from_bytes_mut(head),
        bytemuck::cast_slice_mut(weights),
    )
}
