//! The window of structural similarity, 11x11 Gaussian weights, over maps, and its adjoint.
//!
//! The window is separable: columns are weighted first, a row of the result at a time, then rows. Both
//! are sums of eleven shifted slices.

use crate::nn::{Loop, Scalar};
use std::array;

/// Side of the window.
pub(super) const SIDE: usize = 11;

const SIGMA: f64 = 1.5;

/// The Gaussian's values at -5..5, sum 1; the window's weights are their products.
fn taps<T: Scalar>() -> [T; SIDE] {
    let gauss = |i: usize| {
        let distance = i as f64 - (SIDE / 2) as f64;
        (-distance * distance / (2.0 * SIGMA * SIGMA)).exp()
    };
    let sum: f64 = (0..SIDE).map(gauss).sum();
    array::from_fn(|i| T::of(gauss(i) / sum))
}

/// Rows, columns and channels of a map `[h, w, c]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) c: usize,
}

impl Extent {
    pub(super) fn len(self) -> usize {
        self.h * self.w * self.c
    }

    /// That of the weighted means of a map like this: whole windows alone.
    pub(super) fn windows(self) -> Extent {
        Extent {
            h: self.h + 1 - SIDE,
            w: self.w + 1 - SIDE,
            c: self.c,
        }
    }
}

/// Weighted means of all whole windows: x `[h, w, c]` to `[h - 10, w - 10, c]`.
pub(super) fn means<T: Scalar>(extent: Extent, x: &[T], out: &mut [T], row: &mut Vec<T>) {
    Pass {
        extent,
        padding: 0,
        x,
        out,
        row,
    }
    .run_wide();
}

/// The adjoint of [`means`]: dy `[h - 10, w - 10, c]` to dx `[h, w, c]`, where `extent` is dx's.
///
/// Since the window is symmetric, these are the means of dy with ten zeros on each side.
pub(super) fn spread<T: Scalar>(extent: Extent, dy: &[T], dx: &mut [T], row: &mut Vec<T>) {
    Pass {
        extent: extent.windows(),
        padding: SIDE - 1,
        x: dy,
        out: dx,
        row,
    }
    .run_wide();
}

/// Weighted means of a map with `padding` zeros on each side.
struct Pass<'a, T> {
    /// That of x, without padding.
    extent: Extent,
    padding: usize,
    x: &'a [T],
    out: &'a mut [T],
    /// Scratch: a row whose columns are weighted.
    row: &'a mut Vec<T>,
}

impl<T: Scalar> Loop for Pass<'_, T> {
    type Float = T;

    #[inline(always)]
    fn run(self) {
        let Extent { h, w, c } = self.extent;
        let (taps, border) = (taps(), self.padding * c);
        let width = (w + 2 * self.padding + 1 - SIDE) * c;
        self.row.clear();
        self.row.resize(w * c + 2 * border, T::zero());
        for (y, out) in self.out.chunks_exact_mut(width).enumerate() {
            // Rows outside of the map are zeros, and so add nothing.
            let reached = |k: usize| (y + k).checked_sub(self.padding).filter(|&y| y < h);
            let rows = array::from_fn(|k| reached(k).map(|y| &self.x[y * w * c..][..w * c]));
            weigh(&taps, rows, &mut self.row[border..border + w * c]);
            let row = &*self.row;
            weigh(&taps, array::from_fn(|k| Some(&row[k * c..][..width])), out);
        }
    }
}

const BLOCK: usize = 32;

/// out = sum of taps times rows, where there are rows of out's length.
#[inline(always)]
fn weigh<T: Scalar>(taps: &[T; SIDE], rows: [Option<&[T]>; SIDE], out: &mut [T]) {
    let pairs = || {
        taps.iter()
            .zip(&rows)
            .filter_map(|(&tap, row)| Some((tap, (*row)?)))
    };
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let done = blocks.len() * BLOCK;
    for (i, out) in blocks.iter_mut().enumerate() {
        let mut sums = [T::zero(); BLOCK];
        for (tap, row) in pairs() {
            let row = &row[i * BLOCK..][..BLOCK];
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, &v)| *sum += tap * v);
        }
        *out = sums;
    }
    for (i, out) in rest.iter_mut().enumerate() {
        *out = pairs().fold(T::zero(), |sum, (tap, row)| sum + tap * row[done + i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn drawn(len: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| normal(&mut rng)).collect()
    }

    #[test]
    fn means_agree_with_plain_sums_over_windows() {
        let taps = taps::<f64>();
        for (h, w, c) in [(11, 11, 1), (13, 27, 3), (12, 48, 1)] {
            let extent = Extent { h, w, c };
            let (x, out) = (drawn(extent.len(), 1), extent.windows());
            let mut y = vec![f64::NAN; out.len()];
            means(extent, &x, &mut y, &mut Vec::new());
            for (i, &y) in y.iter().enumerate() {
                let (row, column, channel) = (i / c / out.w, i / c % out.w, i % c);
                let tap = |k: usize| {
                    let (ky, kx) = (k / SIDE, k % SIDE);
                    taps[ky] * taps[kx] * x[((row + ky) * w + column + kx) * c + channel]
                };
                let plain: f64 = (0..SIDE * SIDE).map(tap).sum();
                assert!((y - plain).abs() < 1e-12, "{h} {w} {c}: {i}: {y} {plain}");
            }
        }
    }

    #[test]
    fn spread_is_the_adjoint_of_means() {
        // <means(x), d> = <x, spread(d)> for any x and d.
        for (h, w, c) in [(11, 11, 1), (13, 27, 3), (40, 12, 1)] {
            let extent = Extent { h, w, c };
            let (x, d) = (drawn(extent.len(), 2), drawn(extent.windows().len(), 3));
            let (mut y, mut dx) = (vec![0.0; d.len()], vec![f64::NAN; x.len()]);
            means(extent, &x, &mut y, &mut Vec::new());
            spread(extent, &d, &mut dx, &mut Vec::new());
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let (left, right) = (product(&y, &d), product(&x, &dx));
            assert!((left - right).abs() < 1e-10, "{left} {right}");
        }
    }
}
