//! Maps `[n, h, w, c]` as the slices that loops run over.

use super::scalar::Scalar;
use ndarray::{Array4, Ix4};
use std::slice::{ChunksExact, ChunksExactMut};

/// `(n, h, w, c)`.
pub(super) type Dim4 = <Ix4 as ndarray::Dimension>::Pattern;

/// A map's values in memory order.
pub(crate) fn flat<T: Scalar>(x: &Array4<T>) -> &[T] {
    x.as_slice().expect("maps are contiguous")
}

/// A map's values in memory order, to be written.
pub(crate) fn flat_mut<T: Scalar>(x: &mut Array4<T>) -> &mut [T] {
    x.as_slice_mut().expect("maps are contiguous")
}

/// The values `[h, w, c]` of each picture of a batch.
pub(super) fn pictures<T: Scalar>(x: &Array4<T>) -> ChunksExact<'_, T> {
    let (_, h, w, c) = x.dim();
    flat(x).chunks_exact(h * w * c)
}

/// The values `[h, w, c]` of each picture of a batch, to be written.
pub(super) fn pictures_mut<T: Scalar>(x: &mut Array4<T>) -> ChunksExactMut<'_, T> {
    let (_, h, w, c) = x.dim();
    flat_mut(x).chunks_exact_mut(h * w * c)
}
