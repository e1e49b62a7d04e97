//! What the search does with a vector's sums, beside products. Registers lie in memory as arrays of their lanes.

use crate::kernels::tiles::TilesOf;
use core::slice;

/// Registers of LANES integers, [`Tiles::Sums`](crate::kernels::tiles::Tiles::Sums), and of as many singles. Whatever is
/// computed is rounded as it would be one by one.
///
/// # Safety
/// Whoever implements it promises that `Singles` lies in memory as an array of LANES `f32`, so that every pattern of bits
/// is one.
///
/// No function reads or writes memory but the registers behind its references. Callers of all of them must guarantee that
/// the processor has the instruction set; there is no other condition.
#[cfg_attr(
    not(vectors),
    expect(
        dead_code,
        reason = "without vectors of floats only integers are searched by lanes"
    )
)]
pub(in crate::kernels) unsafe trait Lanes: TilesOf<i8> {
    /// A register of singles.
    type Singles: Copy;
    /// Vectors that are searched for together: 12, 6, 4 or 1, as the registers have room for the sums of two blocks.
    const VECTORS: usize;

    /// The number in all lanes.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn words(x: i32) -> Self::Sums;
    /// a + b.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn add_words(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// a - b.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn subtract_words(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// Takes over scores that are larger than those there are, and what belongs to them.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn keep_larger(best: &mut [Self::Sums; 2], own: [Self::Sums; 2]);

    /// The number in all lanes.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn singles(x: f32) -> Self::Singles;
    /// The same numbers, which are less than 2^24.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn singles_of(words: Self::Sums) -> Self::Singles;
    /// a + b.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn add(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// a - b.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn subtract(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// a * b.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn multiply(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// The larger of two numbers.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn larger(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// Takes over distances that are less than those there are, and what belongs to them; not what is no number.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn keep_less(
        least: &mut Self::Singles,
        found: &mut Self::Sums,
        distances: Self::Singles,
        own: Self::Sums,
    );
    /// A bit for each lane whose number is at least so large, the first lane's the lowest.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn at_least(numbers: Self::Singles, least: Self::Singles) -> u32;
}

/// The entry of the least of the lanes' measures, the first of equals, each found in one of the blocks.
///
/// # Safety
/// LANES measures are readable at `measures`, and LANES integers at `blocks`.
#[inline(always)]
pub(super) unsafe fn first_of<T: Lanes, M: Copy + PartialOrd>(
    measures: *const M,
    blocks: *const i32,
) -> u16 {
    // SAFETY: the caller guarantees that LANES of each are readable.
    let (measures, blocks) = unsafe {
        (
            slice::from_raw_parts(measures, T::LANES),
            slice::from_raw_parts(blocks, T::LANES),
        )
    };
    let mut best = (measures[0], blocks[0] as usize * T::LANES);
    for (lane, (&measure, &block)) in measures.iter().zip(blocks).enumerate() {
        let k = block as usize * T::LANES + lane;
        if measure < best.0 || (measure == best.0 && k < best.1) {
            best = (measure, k);
        }
    }
    best.1 as u16
}

/// Arrays as registers, for [`Lanes`] of L lanes in plain loops.
macro_rules! plain_lanes {
    ($lanes:ident) => {
        type Singles = [f32; $lanes];
        const VECTORS: usize = 1;

        unsafe fn words(x: i32) -> [i32; $lanes] {
            [x; $lanes]
        }
        unsafe fn add_words(a: [i32; $lanes], b: [i32; $lanes]) -> [i32; $lanes] {
            array::from_fn(|i| a[i].wrapping_add(b[i]))
        }
        unsafe fn subtract_words(a: [i32; $lanes], b: [i32; $lanes]) -> [i32; $lanes] {
            array::from_fn(|i| a[i].wrapping_sub(b[i]))
        }
        unsafe fn keep_larger(best: &mut [[i32; $lanes]; 2], own: [[i32; $lanes]; 2]) {
            for i in 0..$lanes {
                if own[0][i] > best[0][i] {
                    (best[0][i], best[1][i]) = (own[0][i], own[1][i]);
                }
            }
        }
        unsafe fn singles(x: f32) -> [f32; $lanes] {
            [x; $lanes]
        }
        unsafe fn singles_of(words: [i32; $lanes]) -> [f32; $lanes] {
            words.map(|word| word as f32)
        }
        unsafe fn add(a: [f32; $lanes], b: [f32; $lanes]) -> [f32; $lanes] {
            array::from_fn(|i| a[i] + b[i])
        }
        unsafe fn subtract(a: [f32; $lanes], b: [f32; $lanes]) -> [f32; $lanes] {
            array::from_fn(|i| a[i] - b[i])
        }
        unsafe fn multiply(a: [f32; $lanes], b: [f32; $lanes]) -> [f32; $lanes] {
            array::from_fn(|i| a[i] * b[i])
        }
        unsafe fn larger(a: [f32; $lanes], b: [f32; $lanes]) -> [f32; $lanes] {
            array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
        }
        unsafe fn keep_less(
            least: &mut [f32; $lanes],
            found: &mut [i32; $lanes],
            distances: [f32; $lanes],
            own: [i32; $lanes],
        ) {
            for i in 0..$lanes {
                if distances[i] < least[i] {
                    (least[i], found[i]) = (distances[i], own[i]);
                }
            }
        }
        unsafe fn at_least(numbers: [f32; $lanes], least: [f32; $lanes]) -> u32 {
            (0..$lanes).fold(0, |bits, i| bits | u32::from(numbers[i] >= least[i]) << i)
        }
    };
}
pub(in crate::kernels) use plain_lanes;
