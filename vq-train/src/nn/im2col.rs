//! Windows of a map as rows of a matrix, and back: what turns convolutions into matrix products.
//!
//! The map is padded once, so that every window is `kh` contiguous runs of `kw * c` values.

use super::Scalar;
use ndarray::{ArrayView3, ArrayViewMut3};

/// Geometry that a convolution and its transpose share: the map that is read through windows
/// (`h`, `w`, `c`), and the grid of windows on it (`oh`, `ow`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) c: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) before: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
}

/// About this many values of a window matrix are built at a time, so that they stay in L2.
const BLOCK: usize = 96 * 1024;

impl Windows {
    /// Values in one window.
    pub(super) fn len(&self) -> usize {
        self.kernel * self.kernel * self.c
    }

    /// Whether the window matrix is the map itself.
    pub(super) fn is_identity(&self) -> bool {
        self.kernel == 1 && self.stride == 1
    }

    fn padded_w(&self) -> usize {
        ((self.ow - 1) * self.stride + self.kernel).max(self.before + self.w)
    }

    fn padded_h(&self) -> usize {
        ((self.oh - 1) * self.stride + self.kernel).max(self.before + self.h)
    }

    /// Length of the padded map.
    pub(super) fn padded_len(&self) -> usize {
        self.padded_h() * self.padded_w() * self.c
    }

    /// Rows of windows that one block holds.
    pub(super) fn block_rows(&self) -> usize {
        (BLOCK / (self.ow * self.len()).max(1)).clamp(1, self.oh)
    }

    /// Copies a map `[h, w, c]` into the middle of a padded one; the border must be zero already.
    pub(super) fn pad<T: Scalar>(&self, x: ArrayView3<'_, T>, padded: &mut [T]) {
        let run = self.w * self.c;
        let x = x.to_slice().expect("maps are contiguous");
        for (y, row) in x.chunks_exact(run).enumerate() {
            let at = self.row_start(y);
            padded[at..at + run].copy_from_slice(row);
        }
    }

    /// Adds the middle of a padded map to a map `[h, w, c]`.
    pub(super) fn unpad_add<T: Scalar>(&self, padded: &[T], mut x: ArrayViewMut3<'_, T>) {
        let run = self.w * self.c;
        let x = x.as_slice_mut().expect("maps are contiguous");
        for (y, row) in x.chunks_exact_mut(run).enumerate() {
            let at = self.row_start(y);
            for (a, &b) in row.iter_mut().zip(&padded[at..at + run]) {
                *a += b;
            }
        }
    }

    fn row_start(&self, y: usize) -> usize {
        ((y + self.before) * self.padded_w() + self.before) * self.c
    }

    /// Windows of rows `oy0..` of the window grid, one per row of `cols`, as many as fit.
    pub(super) fn gather<T: Scalar>(&self, padded: &[T], oy0: usize, cols: &mut [T]) {
        let run = self.kernel * self.c;
        for (i, window) in cols.chunks_exact_mut(self.len()).enumerate() {
            let at = self.window_start(oy0 + i / self.ow, i % self.ow);
            for (ky, dst) in window.chunks_exact_mut(run).enumerate() {
                let src = at + ky * self.padded_w() * self.c;
                dst.copy_from_slice(&padded[src..src + run]);
            }
        }
    }

    /// The transpose of [`Windows::gather`]: adds windows back to where they were read.
    pub(super) fn scatter_add<T: Scalar>(&self, cols: &[T], oy0: usize, padded: &mut [T]) {
        let run = self.kernel * self.c;
        for (i, window) in cols.chunks_exact(self.len()).enumerate() {
            let at = self.window_start(oy0 + i / self.ow, i % self.ow);
            for (ky, src) in window.chunks_exact(run).enumerate() {
                let dst = at + ky * self.padded_w() * self.c;
                for (a, &b) in padded[dst..dst + run].iter_mut().zip(src) {
                    *a += b;
                }
            }
        }
    }

    fn window_start(&self, oy: usize, ox: usize) -> usize {
        (oy * self.stride * self.padded_w() + ox * self.stride) * self.c
    }
}
