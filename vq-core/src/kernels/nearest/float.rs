//! Which of two ways single precision goes; half precision is widened to it.

use super::blocks::MOST;
use super::direct::FILTERED;
use super::{Lanes, direct, filter};
use crate::element::Real;
use crate::kernels::entries::{Entries, Shape};
use crate::kernels::scalar;
use crate::kernels::table::{Nearest, NearestCodes};

impl<R: Real> NearestCodes<R> {
    /// The search in single precision; `nearest` is [`floats`].
    pub(in crate::kernels) const fn floats<T: Lanes>(nearest: Nearest<R>) -> Self {
        if !cfg!(feature = "encoder") {
            return Self::SCALAR;
        }
        Self {
            packed_len: |shape| match Way::of(shape) {
                Way::Direct => direct::packed_len::<T, R>(shape),
                Way::Filter => filter::packed_len::<T, R>(shape),
                Way::Plain => 0,
            },
            pack: |entries, packed| match Way::of(entries.shape()) {
                Way::Direct => direct::pack::<T, R>(entries, packed),
                Way::Filter => filter::pack::<T, R>(entries, packed),
                Way::Plain => {}
            },
            nearest,
        }
    }
}

/// See [`NearestCodes::nearest`].
///
/// # Safety
/// The processor has T's instruction set.
#[inline(always)]
pub(in crate::kernels) unsafe fn floats<T: Lanes, R: Real>(
    entries: Entries<'_, R>,
    packed: &[R],
    vectors: &[R],
    codes: &mut [u16],
) {
    // SAFETY: the caller guarantees that the processor has the instruction set.
    unsafe {
        match Way::of(entries.shape()) {
            Way::Direct => direct::nearest::<T, R>(entries, packed, vectors, codes),
            Way::Filter => filter::nearest::<T, R>(entries, packed, vectors, codes),
            Way::Plain => scalar::nearest(entries, vectors, codes),
        }
    }
}

/// How single precision searches.
enum Way {
    Direct,
    Filter,
    Plain,
}

impl Way {
    fn of(shape: Shape) -> Self {
        match shape.dim {
            ..FILTERED => Self::Direct,
            FILTERED..=MOST => Self::Filter,
            _ => Self::Plain,
        }
    }
}
