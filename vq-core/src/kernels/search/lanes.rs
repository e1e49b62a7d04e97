//! What the search does with a vector's sums, beside products. Registers lie in memory as arrays of their lanes.

use crate::kernels::tiles::Tiles;

/// Registers of LANES integers, [`Tiles::Sums`], and of as many singles. Whatever is computed is rounded as it would be
/// one by one.
///
/// # Safety
/// As [`Tiles`].
#[cfg_attr(
    not(vectors),
    expect(
        dead_code,
        reason = "without vectors of floats only integers are searched by lanes"
    )
)]
pub(in crate::kernels) trait Lanes: Tiles<Element = i8> {
    /// A register of singles.
    type Singles: Copy;
    /// Vectors that are searched for together: 12, 6, 4 or 1, as the registers have room for the sums of two blocks.
    const VECTORS: usize;

    /// The same in all lanes.
    unsafe fn words(x: i32) -> Self::Sums;
    /// a + b.
    unsafe fn add_words(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// a - b.
    unsafe fn subtract_words(a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// Takes over scores that are larger than those there are, and what belongs to them.
    unsafe fn keep_larger(best: &mut [Self::Sums; 2], own: [Self::Sums; 2]);

    /// The same in all lanes.
    unsafe fn singles(x: f32) -> Self::Singles;
    /// The same numbers, which are less than 2^24.
    unsafe fn singles_of(words: Self::Sums) -> Self::Singles;
    /// a + b.
    unsafe fn add(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// a - b.
    unsafe fn subtract(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// a * b.
    unsafe fn multiply(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// The larger of two numbers.
    unsafe fn larger(a: Self::Singles, b: Self::Singles) -> Self::Singles;
    /// Takes over distances that are less than those there are, and what belongs to them; not what is no number.
    unsafe fn keep_less(
        least: &mut Self::Singles,
        found: &mut Self::Sums,
        distances: Self::Singles,
        own: Self::Sums,
    );
    /// A bit for each lane whose number is at least so large, the first lane's the lowest.
    unsafe fn at_least(numbers: Self::Singles, least: Self::Singles) -> u32;
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
