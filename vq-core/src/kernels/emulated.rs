//! Kernels of other processors in plain loops: what the tests run where a processor lacks the instruction set.

#![allow(unsafe_code)]

use super::nearest::{self, Lanes, plain_lanes};
use super::table::{EMULATED, Kernels, NearestCodes};
use super::tiles::integer::Head;
use super::tiles::{self, Head as _, Tiles, TilesOf, VECTORS};
use super::{add_i32, scalar};
use crate::element::Output;
use core::{array, slice};

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
        conv_workspace: tiles::conv_workspace::<T, i8>,
        packed_len: tiles::packed_len::<T, i8>,
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
    tiles::everywhere::<T, i8>(Kernels {
        // SAFETY: plain loops need no instructions.
        nearest: NearestCodes::integers::<T>(|entries, packed, vectors, codes| unsafe {
            nearest::integers::<T>(entries, packed, vectors, codes);
        }),
        ..sizes
    })
}

/// Integer vectors of `L` channels that add `T` products at once.
#[derive(Debug)]
struct Portable<const L: usize, const T: usize>;

// SAFETY: vectors and splats are read as the arrays that they are; sums are an array.
unsafe impl<const L: usize, const T: usize> Tiles for Portable<L, T> {
    type Number = i16;
    type Head = Head<L>;
    type Vector = [[i16; T]; L];
    type Splat = [i16; T];
    type Sums = [i32; L];
    const LANES: usize = L;
    const TAPS: usize = T;
    const SPLATS: [usize; VECTORS] = [3, 2, 0, 0];

    unsafe fn start(head: &Head<L>) -> [i32; L] {
        head.start
    }
    unsafe fn vector(from: *const i16) -> [[i16; T]; L] {
        // SAFETY: the caller guarantees that L * T numbers are readable.
        unsafe { from.cast::<[[i16; T]; L]>().read_unaligned() }
    }
    unsafe fn splat(from: *const i16) -> [i16; T] {
        // SAFETY: the caller guarantees that T numbers are readable.
        unsafe { from.cast::<[i16; T]>().read_unaligned() }
    }
    unsafe fn multiply_add(sums: [i32; L], vector: [[i16; T]; L], splat: [i16; T]) -> [i32; L] {
        array::from_fn(|lane| {
            let pairs = splat.iter().zip(&vector[lane]);
            pairs.fold(sums[lane], |sum, (&x, &weight)| {
                sum.wrapping_add(i32::from(x) * i32::from(weight))
            })
        })
    }
}

// SAFETY: sums are an array of integers, and no more than `count` elements are written.
unsafe impl<const L: usize, const T: usize> TilesOf<i8> for Portable<L, T> {
    type Scale = Head<L>;
    const AS_IT_IS: bool = false;

    fn activation(x: i8) -> i16 {
        x.into()
    }
    fn weight(weight: i8) -> i16 {
        weight.into()
    }
    unsafe fn scale(head: &Head<L>) -> Head<L> {
        *head
    }
    unsafe fn finish(sums: [i32; L], head: Head<L>, output: Output, out: *mut i8, count: usize) {
        // SAFETY: the caller guarantees that so many elements are writable.
        head.finish(&sums, output, unsafe {
            slice::from_raw_parts_mut(out, count)
        });
    }
}

// SAFETY: singles are an array.
unsafe impl<const L: usize, const T: usize> Lanes for Portable<L, T> {
    plain_lanes!(L);
}
