//! WebAssembly with vectors of 128 bits.

#![allow(unsafe_code)]

use super::Kernels;
use super::tiles::integer::Head;
use super::tiles::{self, Head as _, Tiles, VECTORS};
use crate::element::Output;
use core::arch::wasm32::*;
use core::slice;

/// Four channels, two products at once.
#[derive(Debug)]
struct Simd128;

/// For programs that are compiled with it.
pub(super) static SIMD128: Kernels<i8> = tiles::everywhere::<Simd128>(Kernels::SCALAR);

const LANES: usize = 4;

impl Tiles for Simd128 {
    type Element = i8;
    type Input = i16;
    type Weight = i16;
    type Head = Head<LANES>;
    type Weights = v128;
    type Inputs = v128;
    type Sums = v128;
    type Scale = *const Head<LANES>;
    const LANES: usize = LANES;
    const TAPS: usize = 2;
    // Sixteen registers, as most processors have below.
    const POINTS: [usize; VECTORS] = [8, 5, 4, 3];
    const AS_IT_IS: bool = false;

    #[inline(always)]
    fn input(x: i8) -> i16 {
        x.into()
    }
    fn weight(weight: i8) -> i16 {
        weight.into()
    }

    #[inline(always)]
    unsafe fn start(head: *const Head<LANES>) -> v128 {
        // SAFETY: as promised by the caller.
        unsafe { v128_load((&raw const (*head).start).cast()) }
    }
    #[inline(always)]
    unsafe fn weights(from: *const i16) -> v128 {
        // SAFETY: as promised by the caller.
        unsafe { v128_load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn inputs(from: *const i16) -> v128 {
        // SAFETY: as promised by the caller.
        unsafe { v128_load32_splat(from.cast()) }
    }
    #[inline(always)]
    unsafe fn multiply_add(sums: v128, inputs: v128, weights: v128) -> v128 {
        i32x4_add(sums, i32x4_dot_i16x8(inputs, weights))
    }
    #[inline(always)]
    unsafe fn scale(head: *const Head<LANES>) -> *const Head<LANES> {
        head
    }
    #[inline(always)]
    unsafe fn finish(
        sums: v128,
        head: *const Head<LANES>,
        output: Output,
        out: *mut i8,
        count: usize,
    ) {
        let mut own = [0; LANES];
        // SAFETY: as promised by the caller. There are no shifts by as many bits as each lane wants.
        unsafe {
            v128_store(own.as_mut_ptr().cast(), sums);
            (*head).finish(&own, output, slice::from_raw_parts_mut(out, count));
        }
    }
}
