//! Tiles in plain loops: what the tests run where a processor lacks the instruction set.

use super::integer::Head;
use super::{Head as _, Tiles, VECTORS};
use crate::element::Output;
use crate::kernels::search::{Lanes, plain_lanes};
use core::{array, slice};

/// Integer vectors of `L` channels that add `T` products at once.
#[derive(Debug)]
pub(super) struct Plain<const L: usize, const T: usize>;

impl<const L: usize, const T: usize> Tiles for Plain<L, T> {
    type Element = i8;
    type Input = i16;
    type Weight = i16;
    type Head = Head<L>;
    type Weights = [[i16; T]; L];
    type Inputs = [i16; T];
    type Sums = [i32; L];
    type Scale = *const Head<L>;
    const LANES: usize = L;
    const TAPS: usize = T;
    const POINTS: [usize; VECTORS] = [3, 2, 0, 0];
    const AS_IT_IS: bool = false;

    fn input(x: i8) -> i16 {
        x.into()
    }
    fn weight(weight: i8) -> i16 {
        weight.into()
    }

    unsafe fn start(head: *const Head<L>) -> [i32; L] {
        // SAFETY: as promised by the caller.
        unsafe { (*head).start }
    }
    unsafe fn weights(from: *const i16) -> [[i16; T]; L] {
        // SAFETY: as promised by the caller.
        unsafe { *from.cast() }
    }
    unsafe fn inputs(from: *const i16) -> [i16; T] {
        // SAFETY: as promised by the caller.
        unsafe { *from.cast() }
    }
    unsafe fn multiply_add(sums: [i32; L], inputs: [i16; T], weights: [[i16; T]; L]) -> [i32; L] {
        array::from_fn(|lane| {
            let pairs = inputs.iter().zip(&weights[lane]);
            pairs.fold(sums[lane], |sum, (&x, &weight)| {
                sum.wrapping_add(i32::from(x) * i32::from(weight))
            })
        })
    }
    unsafe fn scale(head: *const Head<L>) -> *const Head<L> {
        head
    }
    unsafe fn finish(
        sums: [i32; L],
        head: *const Head<L>,
        output: Output,
        out: *mut i8,
        count: usize,
    ) {
        // SAFETY: as promised by the caller.
        unsafe { (*head).finish(&sums, output, slice::from_raw_parts_mut(out, count)) }
    }
}

impl<const L: usize, const T: usize> Lanes for Plain<L, T> {
    plain_lanes!(L);
}
