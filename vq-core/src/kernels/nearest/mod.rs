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
use super::table::Nearest;
pub(crate) use super::table::NearestCodes;

pub(crate) use super::entries::Entries;
#[cfg(feature = "encoder")]
pub(crate) use super::entries::Shape;
#[cfg(vectors)]
pub(super) use float::floats;
pub(super) use lanes::{Lanes, plain_lanes};

impl NearestCodes<i8> {
    /// With a backend's tiles; `nearest` is [`integers`], compiled for the backend's instructions.
    pub(super) const fn integers<T: Lanes>(nearest: Nearest<i8>) -> Self {
        if !cfg!(feature = "encoder") {
            return Self::SCALAR;
        }
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
    if entries.dim > blocks::MOST {
        return scalar::nearest(entries, vectors, codes);
    }
    // SAFETY: the caller guarantees that the processor has the instruction set.
    unsafe { integer::nearest::<T>(entries, packed, vectors, codes) }
}
