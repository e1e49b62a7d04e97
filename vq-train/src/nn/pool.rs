//! Average pooling, y[oy, ox, :] = mean of the window at (oy s - pad, ox s - pad), and its adjoint.
//!
//! Padding is not counted: a window at the border is the mean of what it has of the map. Backward
//! hands each position of a window its share of the output's gradient, dx += dy / count; unpooling is
//! just that as a forward pass, with average pooling for its backward pass.

use super::conv2d::{pictures, pictures_mut};
use super::tape::Dim4;
use super::{Cache, Scalar, Tape};
use ndarray::Array4;
use std::ops::Range;

/// Windows of a pooling layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSpec {
    /// Side of the square window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Rows and columns of padding above and to the left, fewer than `kernel`.
    pub before: usize,
    /// Rows and columns of padding below and to the right, fewer than `kernel`.
    pub after: usize,
}

impl PoolSpec {
    /// How many windows a side of `n` has.
    fn out(&self, n: usize) -> usize {
        (n + self.before + self.after - self.kernel) / self.stride + 1
    }

    /// The shape of the output for this input.
    pub(super) fn output(&self, (n, h, w, c): Dim4) -> Dim4 {
        (n, self.out(h), self.out(w), c)
    }

    /// What window `i` has of a side of `n`.
    fn span(&self, i: usize, n: usize) -> Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.before)..(start + self.kernel - self.before).min(n)
    }

    /// Calls `each` with every window on a map `[h, w]`: its place in the output, its rows and its columns.
    pub(super) fn windows(
        &self,
        (h, w): (usize, usize),
        mut each: impl FnMut(usize, Range<usize>, Range<usize>),
    ) {
        let (oh, ow) = (self.out(h), self.out(w));
        for oy in 0..oh {
            let rows = self.span(oy, h);
            for ox in 0..ow {
                each(oy * ow + ox, rows.clone(), self.span(ox, w));
            }
        }
    }

    /// Means of the windows of a picture.
    fn average<T: Scalar>(&self, (_, h, w, c): Dim4, x: &[T], y: &mut [T]) {
        self.windows((h, w), |out, rows, columns| {
            let share = T::one() / T::of((rows.len() * columns.len()) as f64);
            let y = &mut y[out * c..][..c];
            y.fill(T::zero());
            for row in rows {
                let window = &x[(row * w + columns.start) * c..(row * w + columns.end) * c];
                for x in window.chunks_exact(c) {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
                }
            }
            y.iter_mut().for_each(|y| *y *= share);
        });
    }

    /// The adjoint of [`PoolSpec::average`]; `dim` is that of the large map.
    fn share_out<T: Scalar>(&self, (_, h, w, c): Dim4, dy: &[T], dx: &mut [T]) {
        dx.fill(T::zero());
        self.windows((h, w), |out, rows, columns| {
            let share = T::one() / T::of((rows.len() * columns.len()) as f64);
            let dy = &dy[out * c..][..c];
            for row in rows {
                let window = &mut dx[(row * w + columns.start) * c..(row * w + columns.end) * c];
                for dx in window.chunks_exact_mut(c) {
                    dx.iter_mut()
                        .zip(dy)
                        .for_each(|(dx, &dy)| *dx += dy * share);
                }
            }
        });
    }

    fn average_all<T: Scalar>(&self, x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let mut y = tape.map(self.output(x.dim()));
        for (xi, yi) in pictures(&x).zip(pictures_mut(&mut y)) {
            self.average(x.dim(), xi, yi);
        }
        tape.recycle(x);
        y
    }

    fn share_out_all<T: Scalar>(&self, dim: Dim4, dy: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let mut dx = tape.map(dim);
        for (dxi, dyi) in pictures_mut(&mut dx).zip(pictures(&dy)) {
            self.share_out(dim, dyi, dxi);
        }
        tape.recycle(dy);
        dx
    }
}

/// The mean of each window.
#[derive(Debug, Clone, Copy)]
pub struct AveragePool(pub PoolSpec);

impl AveragePool {
    /// `[n, h, w, c]` to `[n, (h + before + after - kernel) / stride + 1, .., c]`, rounded down.
    pub fn forward<T: Scalar>(&self, x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        tape.push(|| Cache::Shape(x.dim()));
        self.0.average_all(x, tape)
    }

    /// The output's gradient to the input's.
    pub fn backward<T: Scalar>(&self, tape: &mut Tape<T>, dy: Array4<T>) -> Array4<T> {
        let dim = tape.pop_shape();
        self.0.share_out_all(dim, dy, tape)
    }
}

/// The adjoint of [`AveragePool`]: each value is shared out over its window, and windows add up.
///
/// The windows must be those of a pooling that divides a map by exactly its stride.
#[derive(Debug, Clone, Copy)]
pub struct AverageUnpool(pub PoolSpec);

impl AverageUnpool {
    /// `[n, h, w, c]` to `[n, h stride, w stride, c]`.
    pub fn forward<T: Scalar>(&self, x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let (n, h, w, c) = x.dim();
        let dim = (n, h * self.0.stride, w * self.0.stride, c);
        self.0.share_out_all(dim, x, tape)
    }

    /// The output's gradient to the input's.
    pub fn backward<T: Scalar>(&self, tape: &mut Tape<T>, dy: Array4<T>) -> Array4<T> {
        self.0.average_all(dy, tape)
    }
}
