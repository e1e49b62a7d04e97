//! Tiles of every size, and their sums in memory.

use super::elements::{Head as _, TilesOf};
#[cfg(doc)]
use super::tile::tile;
use super::tile::{Place, Tiles, VECTORS, Walk};
use crate::element::{Element, Output};
use core::mem::MaybeUninit;
use core::{iter, slice};

/// Most sums of a tile.
const MOST: usize = 24;

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
