//! Average pooling, y[oy, ox, :] = mean of the window at (oy s - pad, ox s - pad).
//!
//! Padding is not counted: a window at the border is the mean of what it has of the map. Backward
//! hands each position of a window its share of the output's gradient, dx += dy / count.

use super::builder::{BuildError, Builder};
use super::layer::{Layer, Learnt};
use super::map::{Dim4, pictures, pictures_mut};
use super::padding::{Pad, Padding};
use super::scalar::Scalar;
use super::tape::{Cache, Tape};
use super::weights::Weights;
use ndarray::Array4;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Windows of a pooling layer, in a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolConfig {
    /// Side of the window.
    #[serde(default = "two")]
    pub kernel: usize,
    /// The map shrinks by this factor.
    #[serde(default = "two")]
    pub stride: usize,
    /// Padding before and after, which no mean and no maximum counts; without it as for convolutions.
    pub pad: Option<Pad>,
}

fn two() -> usize {
    2
}

impl PoolConfig {
    /// Adds the layer that pools by these windows, which divide a map by exactly their stride.
    pub(crate) fn build<L, P: Into<L>>(
        &self,
        builder: &mut Builder<'_, L>,
        pool: impl FnOnce(PoolSpec) -> P,
    ) -> Result<(), BuildError> {
        builder.window(self.kernel, self.stride)?;
        let spec = PoolSpec {
            kernel: self.kernel,
            stride: self.stride,
            pad: builder.padding(self.kernel, self.stride, self.pad)?,
        };
        builder.push(pool(spec));
        builder.shrink(self.stride);
        Ok(())
    }
}

/// Windows of a pooling layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSpec {
    /// Side of the square window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Padding, on each side narrower than `kernel`.
    pub pad: Padding,
}

/// One of the windows on a map: what it has of the map.
pub(super) struct Window {
    /// Its place among the windows.
    pub(super) index: usize,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl PoolSpec {
    /// How many windows a side of `n` has.
    fn out(&self, n: usize) -> usize {
        (n + self.pad.total() - self.kernel) / self.stride + 1
    }

    /// The shape of the output for this input.
    pub(super) fn output(&self, (n, h, w, c): Dim4) -> Dim4 {
        (n, self.out(h), self.out(w), c)
    }

    /// What window `i` has of a side of `n`.
    fn span(&self, i: usize, n: usize) -> Range<usize> {
        let start = i * self.stride;
        let before = self.pad.top_left;
        start.saturating_sub(before)..(start + self.kernel - before).min(n)
    }

    /// Calls `each` with every window on maps of this shape, row by row.
    pub(super) fn windows(&self, (_, h, w, _): Dim4, mut each: impl FnMut(Window)) {
        let (oh, ow) = (self.out(h), self.out(w));
        for oy in 0..oh {
            let rows = self.span(oy, h);
            for ox in 0..ow {
                each(Window {
                    index: oy * ow + ox,
                    rows: rows.clone(),
                    columns: self.span(ox, w),
                });
            }
        }
    }
}

impl Window {
    /// 1 over how many positions of the map it has.
    fn share<T: Scalar>(&self) -> T {
        T::one() / T::of((self.rows.len() * self.columns.len()) as f64)
    }

    /// Where each of its rows lies in a picture `[h, w, c]`.
    fn runs(&self, (_, _, w, c): Dim4) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.columns;
        let rows = self.rows.clone();
        rows.map(move |row| (row * w + start) * c..(row * w + end) * c)
    }
}

/// The mean of each window.
#[derive(Debug, Clone, Copy)]
pub struct AveragePool(pub PoolSpec);

impl Layer for AveragePool {
    fn kind(&self) -> &'static str {
        "averagepool"
    }

    /// `[n, h, w, c]` to `[n, (h + padding - kernel) / stride + 1, .., c]`, rounded down.
    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let (dim, c) = (x.dim(), x.dim().3);
        let mut y = tape.map(self.0.output(dim));
        for (x, y) in pictures(&x).zip(pictures_mut(&mut y)) {
            self.0.windows(dim, |window| {
                let share = window.share();
                let y = &mut y[window.index * c..][..c];
                y.fill(T::zero());
                for x in window.runs(dim).flat_map(|run| x[run].chunks_exact(c)) {
                    y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
                }
                y.iter_mut().for_each(|y| *y *= share);
            });
        }
        tape.push(Cache::Shape(dim));
        tape.recycle(x);
        y
    }

    fn backward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        _: &mut [T],
    ) -> Array4<T> {
        let dim = tape.pop_shape();
        let c = dim.3;
        let mut dx = tape.zeros(dim);
        for (dx, dy) in pictures_mut(&mut dx).zip(pictures(&dy)) {
            self.0.windows(dim, |window| {
                let share: T = window.share();
                let dy = &dy[window.index * c..][..c];
                for run in window.runs(dim) {
                    for dx in dx[run].chunks_exact_mut(c) {
                        let both = dx.iter_mut().zip(dy);
                        both.for_each(|(dx, &dy)| *dx += dy * share);
                    }
                }
            });
        }
        tape.recycle(dy);
        dx
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}
