//! Tiles in plain loops: what the tests run where a processor lacks the instruction set.

use super::integer::Head;
use super::{Head as _, Tiles, TilesOf, VECTORS};
use crate::element::Output;
use crate::kernels::nearest::{Lanes, plain_lanes};
use core::{array, slice};

/// Integer vectors of `L` channels that add `T` products at once.
#[derive(Debug)]
pub(super) struct Portable<const L: usize, const T: usize>;

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
