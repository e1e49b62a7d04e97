//! The search for the nearest entries of a codebook, for some vectors at once.
//!
//! `integer` compares scores that are exact, `direct` squared distances in single precision, in the order of the
//! reference, and `filter` computes those of but a few entries: the ones that rough scores in integers leave over.

#![allow(unsafe_code)]

mod blocks;
#[cfg(vectors)]
mod direct;
#[cfg(vectors)]
mod filter;
#[cfg(vectors)]
mod float;
mod integer;
mod lanes;
#[cfg(vectors)]
mod rough;

use super::scalar;
use crate::element::{Arithmetic, Element};
use crate::slices::Parts;
use core::{fmt, slice};

#[cfg(vectors)]
pub(super) use float::floats;
pub(super) use lanes::{Lanes, plain_lanes};

/// A codebook's entries, all of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entries<'a, E: Arithmetic> {
    /// \[K\]\[D\].
    pub(crate) numbers: &'a [E::Stored],
    /// D.
    pub(crate) dim: usize,
}

impl<'a, E: Arithmetic> Entries<'a, E> {
    /// K and D.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            count: self.numbers.len() / self.dim.max(1),
            dim: self.dim,
        }
    }

    /// One of them.
    #[inline(always)]
    pub(crate) fn entry(&self, k: usize) -> &'a [E::Stored] {
        self.numbers.part(k * self.dim, self.dim)
    }

    /// How far a vector is from one of them.
    #[inline(always)]
    pub(crate) fn distance(&self, k: usize, vector: &[E]) -> E::Distance {
        let pairs = vector.iter().zip(self.entry(k));
        pairs.fold(E::NO_DISTANCE, |sum, (&x, &number)| {
            x.distance(E::read(number), sum)
        })
    }
}

/// How many entries there are, and of how many numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// K.
    pub(crate) count: usize,
    /// D.
    pub(crate) dim: usize,
}

/// How a backend searches.
#[derive(Clone, Copy)]
pub(crate) struct NearestCodes<E: Arithmetic> {
    /// Elements that [`Self::pack`] fills.
    pub(crate) packed_len: fn(Shape) -> usize,
    /// Lays out the entries as [`Self::nearest`] wants them; the elements start at a multiple of [`super::ALIGN`]
    /// bytes.
    pub(crate) pack: fn(Entries<'_, E>, &mut [E]),
    /// Index of the entry nearest to each of the vectors, the lowest of equals; 0 where no distance is finite.
    pub(crate) nearest: Nearest<E>,
}

/// The entries, packed too; the vectors and a place for each one's code.
pub(crate) type Nearest<E> = fn(Entries<'_, E>, &[E], &[E], &mut [u16]);

impl<E: Arithmetic> fmt::Debug for NearestCodes<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NearestCodes")
    }
}

impl<E: Element> NearestCodes<E> {
    /// The reference.
    pub(crate) const SCALAR: Self = Self {
        packed_len: |_| 0,
        pack: |_, _| {},
        nearest: |entries, _, vectors, codes| scalar::nearest(entries, vectors, codes),
    };
}

impl NearestCodes<i8> {
    /// With a backend's tiles; `nearest` is [`integers`], compiled for the backend's instructions.
    pub(super) const fn integers<T: Lanes>(nearest: Nearest<i8>) -> Self {
        Self {
            packed_len: integer::packed_len::<T>,
            pack: integer::pack::<T>,
            nearest,
        }
    }
}

/// See [`NearestCodes::nearest`].
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
pub(super) unsafe fn integers<T: Lanes>(
    entries: Entries<'_, i8>,
    packed: &[i8],
    vectors: &[i8],
    codes: &mut [u16],
) {
    if entries.dim > MOST {
        return scalar::nearest(entries, vectors, codes);
    }
    // SAFETY: the caller guarantees that the processor has the instruction set.
    unsafe { integer::nearest::<T>(entries, packed, vectors, codes) }
}

/// Most numbers of a vector that tiles have room for. Scores of so many are exact in single precision.
const MOST: usize = 1024;

/// The entry of the least of the lanes' measures, the first of equals, each found in one of the blocks.
///
/// # Safety
/// LANES measures are readable at `measures`, and LANES integers at `blocks`.
#[inline(always)]
unsafe fn first_of<T: Lanes, M: Copy + PartialOrd>(measures: *const M, blocks: *const i32) -> u16 {
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
