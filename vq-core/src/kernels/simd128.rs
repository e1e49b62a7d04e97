//! WebAssembly with vectors of 128 bits.

#![allow(unsafe_code)]

use super::nearest::{self, Lanes, NearestCodes};
use super::tiles::integer::Head;
use super::tiles::{self, Head as _, Tiles, TilesOf, VECTORS};
use super::{Kernels, add_i32};
use crate::element::{Output, Real};
use core::arch::wasm32::*;
use core::slice;
use half::f16;

/// Four channels, two products at once.
#[derive(Debug)]
struct Simd128;

/// For programs that are compiled with it.
pub(super) static SIMD128: Kernels<i8> = tiles::everywhere::<Simd128, i8>(Kernels {
    // SAFETY: every processor has the instructions.
    nearest: NearestCodes::integers::<Simd128>(|entries, packed, vectors, codes| unsafe {
        nearest::integers::<Simd128>(entries, packed, vectors, codes);
    }),
    add_row: add_i32::add_row,
    ..Kernels::SCALAR
});

/// Single precision has kernels of its own for the search only: there is no fused multiply-add.
pub(super) static SINGLE: Kernels<f32> = floats();

/// Half precision, searched in single precision.
pub(super) static HALF: Kernels<f16> = floats();

const fn floats<R: Real>() -> Kernels<R> {
    Kernels {
        // SAFETY: every processor has the instructions.
        nearest: NearestCodes::floats::<Simd128>(|entries, packed, vectors, codes| unsafe {
            nearest::floats::<Simd128, R>(entries, packed, vectors, codes);
        }),
        ..Kernels::SCALAR_FLOAT
    }
}

const LANES: usize = 4;

// SAFETY: loads read what callers guarantee and no more; a register of sums lies in memory as four integers.
unsafe impl Tiles for Simd128 {
    type Number = i16;
    type Head = Head<LANES>;
    type Vector = v128;
    type Splat = v128;
    type Sums = v128;
    const LANES: usize = LANES;
    const TAPS: usize = 2;
    // Sixteen registers, as most processors have below.
    const SPLATS: [usize; VECTORS] = [8, 5, 4, 3];

    #[inline(always)]
    unsafe fn start(head: &Head<LANES>) -> v128 {
        // SAFETY: the field has four integers.
        unsafe { v128_load(head.start.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn vector(from: *const i16) -> v128 {
        // SAFETY: the caller guarantees that eight numbers are readable.
        unsafe { v128_load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const i16) -> v128 {
        // SAFETY: the caller guarantees that two numbers are readable.
        unsafe { v128_load32_splat(from.cast()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sums: v128, vector: v128, splat: v128) -> v128 {
        i32x4_add(sums, i32x4_dot_i16x8(splat, vector))
    }
}

// SAFETY: sums are integers, and no more than `count` elements are written.
unsafe impl TilesOf<i8> for Simd128 {
    type Scale = Head<LANES>;
    const AS_IT_IS: bool = false;

    #[inline(always)]
    fn activation(x: i8) -> i16 {
        x.into()
    }
    #[inline(always)]
    fn weight(weight: i8) -> i16 {
        weight.into()
    }
    #[inline(always)]
    unsafe fn scale(head: &Head<LANES>) -> Head<LANES> {
        *head
    }
    #[inline(always)]
    unsafe fn finish(sums: v128, head: Head<LANES>, output: Output, out: *mut i8, count: usize) {
        let mut own = [0; LANES];
        // There are no shifts by as many bits as each lane wants.
        // SAFETY: the array has room for all sums; the caller guarantees that `count` elements are writable.
        unsafe {
            v128_store(own.as_mut_ptr().cast(), sums);
            head.finish(&own, output, slice::from_raw_parts_mut(out, count));
        }
    }
}

// SAFETY: a register of singles lies in memory as four of them.
unsafe impl Lanes for Simd128 {
    type Singles = v128;
    const VECTORS: usize = 4;

    #[inline(always)]
    unsafe fn words(x: i32) -> v128 {
        i32x4_splat(x)
    }
    #[inline(always)]
    unsafe fn add_words(a: v128, b: v128) -> v128 {
        i32x4_add(a, b)
    }
    #[inline(always)]
    unsafe fn subtract_words(a: v128, b: v128) -> v128 {
        i32x4_sub(a, b)
    }
    #[inline(always)]
    unsafe fn keep_larger(best: &mut [v128; 2], own: [v128; 2]) {
        let larger = i32x4_gt(own[0], best[0]);
        best[0] = i32x4_max(own[0], best[0]);
        best[1] = v128_bitselect(own[1], best[1], larger);
    }
    #[inline(always)]
    unsafe fn singles(x: f32) -> v128 {
        f32x4_splat(x)
    }
    #[inline(always)]
    unsafe fn singles_of(words: v128) -> v128 {
        f32x4_convert_i32x4(words)
    }
    #[inline(always)]
    unsafe fn add(a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }
    #[inline(always)]
    unsafe fn subtract(a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }
    #[inline(always)]
    unsafe fn multiply(a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }
    #[inline(always)]
    unsafe fn larger(a: v128, b: v128) -> v128 {
        f32x4_pmax(a, b)
    }
    #[inline(always)]
    unsafe fn keep_less(least: &mut v128, found: &mut v128, distances: v128, own: v128) {
        let less = f32x4_lt(distances, *least);
        *least = v128_bitselect(distances, *least, less);
        *found = v128_bitselect(own, *found, less);
    }
    #[inline(always)]
    unsafe fn at_least(numbers: v128, least: v128) -> u32 {
        u32::from(i32x4_bitmask(f32x4_ge(numbers, least)))
    }
}
