//! One tile, of whatever instruction set and size.
//!
//! ```text
//! sums[s][v] = start of its head, for each s, v
//! for each run, for each step of it: sums[s][v] += splats[s] * vectors[v], for each s, v
//! ```

#![expect(
    clippy::needless_range_loop,
    reason = "hundreds of bodies are made of these loops, and iterators would take as long to compile as all else in them"
)]

use super::{Head, Tiles, TilesOf, VECTORS};
use crate::element::{Element, Output};
use core::mem::MaybeUninit;
use core::{array, iter, slice};

/// Most sums of a tile.
const MOST: usize = 24;

/// Most splats of a tile.
const SPLATS: usize = 12;

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

/// A tile of one size.
type OfSize<T> =
    unsafe fn(&Walk<'_, <T as Tiles>::Number>, Place<<T as Tiles>::Head>, *mut <T as Tiles>::Sums);

/// The tile of so many splats and vectors, as [`Tiles::SPLATS`] allows them.
fn of_size<T: Tiles, const TURNED: bool>(splats: usize, vectors: usize) -> OfSize<T> {
    macro_rules! tiles {
        ($($vectors:literal: $($splats:literal)*;)*) => {
            match (vectors, splats) {
                // Constant guards: what they exclude is not compiled.
                $($(($vectors, $splats) if const { $splats <= T::SPLATS[$vectors - 1] } => {
                    const { assert!($splats * $vectors <= MOST) }
                    T::tile::<TURNED, $splats, $vectors>
                })*)*
                _ => unreachable!("no tile of {splats} splats and {vectors} vectors"),
            }
        };
    }
    tiles! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12;
        2: 1 2 3 4 5 6 7 8 9 10 11 12;
        3: 1 2 3 4 5 6 7 8;
        4: 1 2 3 4 5 6;
    }
}

/// A tile's sums in memory, \[splats\]\[vectors\].
pub(super) struct Sums<T: Tiles>([MaybeUninit<T::Sums>; MOST]);

/// The sums that have a head in common, and where their results go.
pub(super) struct Finish<E> {
    /// The first of them.
    pub(super) first: usize,
    /// From one of them to the next.
    pub(super) step: usize,
    pub(super) count: usize,
    /// Where the first one's results go.
    pub(super) out: *mut E,
    /// Elements from a sum's results to the next one's.
    pub(super) out_step: usize,
    /// How many results of a sum are wanted, at most LANES.
    pub(super) lanes: usize,
}

impl<T: Tiles> Sums<T> {
    /// Room for the sums of any tile.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MOST])
    }

    /// Computes the first `splats` * `vectors` sums.
    ///
    /// # Safety
    /// What [`tile()`] wants of a tile of so many splats and vectors, but for room for its sums.
    #[inline(always)]
    pub(super) unsafe fn compute<const TURNED: bool>(
        &mut self,
        walk: &Walk<'_, T::Number>,
        place: Place<T::Head>,
        splats: usize,
        vectors: usize,
    ) {
        // SAFETY: there is room for the sums of every size; the rest is guaranteed by the caller.
        unsafe { of_size::<T, TURNED>(splats, vectors)(walk, place, self.0.as_mut_ptr().cast()) }
    }

    /// Stores sums of a head as elements.
    ///
    /// # Safety
    /// The processor has the instruction set. The sums have been [computed](Self::compute); and `lanes` elements are
    /// writable at each one's place.
    #[inline(always)]
    pub(super) unsafe fn finish<E: Element>(
        &self,
        head: &T::Head,
        output: Output,
        finish: &Finish<E>,
    ) where
        T: TilesOf<E>,
    {
        if !head.is_quick() {
            // SAFETY: the same is guaranteed by the caller.
            return unsafe { self.finish_slowly(head, output, finish) };
        }
        // SAFETY: as the caller guarantees, the sums have been computed, the places are writable, and the processor has
        // the instructions; the head is quick. Two loops, so that the usual one stores whole vectors without asking.
        unsafe {
            let scale = T::scale(head);
            let mut sums = self.0.as_ptr().add(finish.first).cast::<T::Sums>();
            let mut out = finish.out;
            if finish.lanes == T::LANES {
                for _ in 0..finish.count {
                    T::finish(sums.read(), scale, output, out, T::LANES);
                    (sums, out) = (
                        sums.wrapping_add(finish.step),
                        out.wrapping_add(finish.out_step),
                    );
                }
            } else {
                for _ in 0..finish.count {
                    T::finish(sums.read(), scale, output, out, finish.lanes);
                    (sums, out) = (
                        sums.wrapping_add(finish.step),
                        out.wrapping_add(finish.out_step),
                    );
                }
            }
        }
    }

    /// [`Self::finish`], one by one.
    ///
    /// # Safety
    /// As there.
    #[cold]
    #[inline(never)]
    unsafe fn finish_slowly<E: Element>(&self, head: &T::Head, output: Output, finish: &Finish<E>)
    where
        T: TilesOf<E>,
    {
        const { assert!(size_of::<T::Sums>() == T::LANES * size_of::<E::Sum>()) }
        for i in 0..finish.count {
            let sums = &raw const self.0[finish.first + i * finish.step];
            // SAFETY: as the caller guarantees, the sums have been computed, and in memory they are an array of LANES;
            // the results' places are writable.
            unsafe {
                let sums = slice::from_raw_parts(sums.cast::<E::Sum>(), T::LANES);
                let out = finish.out.add(i * finish.out_step);
                let out = slice::from_raw_parts_mut(out, finish.lanes);
                head.finish(sums, output, out);
            }
        }
    }
}

/// Splits a number into as few parts of at most `most` as there can be, none of them small. Without a division, which
/// would take longer than a tile.
#[inline(always)]
pub(super) fn parts(whole: usize, most: usize) -> impl Iterator<Item = usize> {
    let mut left = whole;
    iter::from_fn(move || {
        let own = match left {
            0 => return None,
            _ if left <= most => left,
            _ if left < 2 * most => left.div_ceil(2),
            _ => most,
        };
        left -= own;
        Some(own)
    })
}

/// Most vectors of a tile.
pub(super) const fn most_vectors<T: Tiles>() -> usize {
    let mut most = 0;
    while most < VECTORS && T::SPLATS[most] > 0 {
        most += 1;
    }
    most
}
