//! An instruction set, and one tile of it, of whatever size.
//!
//! ```text
//! sums[s][v] = start of its head, for each s, v
//! for each run, for each step of it: sums[s][v] += splats[s] * vectors[v], for each s, v
//! ```

#![expect(
    clippy::needless_range_loop,
    reason = "hundreds of bodies are made of these loops, and iterators would take as long to compile as all else in them"
)]

use bytemuck::Pod;
use core::array;

/// Most vectors of a tile.
pub(in crate::kernels) const VECTORS: usize = 4;

/// Most splats of a tile.
const SPLATS: usize = 12;

/// An instruction set: how it loads registers of numbers and adds up their products.
///
/// # Safety
/// Whoever implements it promises that [`Self::vector`] and [`Self::splat`] read no more than their callers guarantee,
/// and that `Sums` lies in memory as an array of LANES sums, each an `i32` or an `f32`.
///
/// Callers of all unsafe functions, and of functions here that are generic over the instruction set, must guarantee that
/// the processor has it. What else they must guarantee stands at each function.
pub(in crate::kernels) unsafe trait Tiles: Sized {
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

/// Where the operands of a run of products start: one vector and one splat for each step.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Run<N> {
    pub(in crate::kernels) vectors: *const N,
    pub(in crate::kernels) splats: *const N,
}

/// Numbers between operands. A splat's next step lies behind it.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Strides {
    /// From a vector to that of the next step.
    pub(in crate::kernels) step: usize,
    /// From a vector to the tile's next one.
    pub(in crate::kernels) vectors: usize,
    /// From the tile's first splat to each of them. As numbers in memory, since multiples of one stride would become a chain
    /// of additions in the inner loop.
    pub(in crate::kernels) splats: [usize; SPLATS],
}

impl Strides {
    /// Where splats lie that are so many numbers apart.
    #[inline(always)]
    pub(in crate::kernels) fn every(apart: usize) -> [usize; SPLATS] {
        array::from_fn(|s| s * apart)
    }
}

/// What all tiles of a row have in common.
#[derive(Debug)]
pub(in crate::kernels) struct Walk<'a, N> {
    pub(super) runs: &'a [Run<N>],
    /// Steps of a run.
    pub(super) steps: usize,
    pub(super) strides: Strides,
    /// Bytes from a vector's head to the next one's.
    pub(super) vector_heads: usize,
    /// Bytes from a splat's head to the next one's.
    pub(super) splat_heads: usize,
}

/// Where a tile lies.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Place<H> {
    /// What the first sums start with.
    pub(super) head: *const H,
    /// Numbers from where a run's vectors start to the tile's.
    pub(super) vectors: usize,
    /// Numbers from where a run's splats start to the tile's.
    pub(super) splats: usize,
}

/// Computes a tile's sums and stores them at `sums`, \[S\]\[V\].
///
/// # Safety
/// The processor has the instruction set. S * V sums are writable at `sums`. In all runs, the operands of all steps are
/// readable from the tile's place on, at the strides of `walk`; and heads are readable, and aligned, at
/// `place.head` and `splat_heads` and `vector_heads` bytes apart.
#[inline(always)]
pub(in crate::kernels) unsafe fn tile<
    T: Tiles,
    const TURNED: bool,
    const S: usize,
    const V: usize,
>(
    walk: &Walk<'_, T::Number>,
    place: Place<T::Head>,
    sums: *mut T::Sums,
) {
    // SAFETY: heads, operands and sums are where the caller guarantees.
    unsafe {
        // Loops over indices unroll, so that the sums stay in registers, and compile quickly; closures would be compiled
        // without the instructions.
        let mut own = [[T::start(&*place.head); V]; S];
        for s in 0..S {
            for v in 0..V {
                let head = place
                    .head
                    .byte_add(s * walk.splat_heads + v * walk.vector_heads);
                own[s][v] = T::start(&*head);
            }
        }
        for run in walk.runs {
            let run = Run {
                vectors: run.vectors.add(place.vectors),
                splats: run.splats.add(place.splats),
            };
            accumulate::<T, TURNED, S, V>(&mut own, run, &walk.strides, walk.steps);
        }
        for s in 0..S {
            for v in 0..V {
                sums.add(s * V + v).write(own[s][v]);
            }
        }
    }
}

/// Adds `steps` * TAPS products to each sum.
///
/// # Safety
/// The processor has the instruction set. The operands of all steps of all vectors and splats are readable from those of
/// the run on.
#[inline(always)]
pub(in crate::kernels) unsafe fn accumulate<
    T: Tiles,
    const TURNED: bool,
    const S: usize,
    const V: usize,
>(
    sums: &mut [[T::Sums; V]; S],
    run: Run<T::Number>,
    strides: &Strides,
    steps: usize,
) {
    let Run {
        mut vectors,
        mut splats,
    } = run;
    // SAFETY: the operands are readable, as the caller guarantees.
    unsafe {
        for _ in 0..steps {
            let mut own = [T::vector(vectors); V];
            for v in 1..V {
                own[v] = T::vector(vectors.add(v * strides.vectors));
            }
            for s in 0..S {
                let splat = T::splat(splats.add(strides.splats[s]));
                for v in 0..V {
                    sums[s][v] = if TURNED {
                        T::multiply_add_turned(sums[s][v], own[v], splat)
                    } else {
                        T::multiply_add(sums[s][v], own[v], splat)
                    };
                }
            }
            vectors = vectors.add(strides.step);
            splats = splats.add(T::TAPS);
        }
    }
}
