//! Max pooling, y[oy, ox, c] = max over the window of x[.., .., c].
//!
//! Each output keeps the position y w + x at which its picture has it. Backward adds the output's gradient there.

use super::layer::{Layer, Learnt};
use super::map::{Dim4, pictures, pictures_mut};
use super::pool::{PoolSpec, Window};
use super::scalar::Scalar;
use super::tape::{Cache, Tape};
use super::weights::Weights;
use ndarray::Array4;

/// The largest of each window and channel; NaN if one is in it.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool(pub PoolSpec);

impl Layer for MaxPool {
    fn kind(&self) -> &'static str {
        "maxpool"
    }

    /// `[n, h, w, c]` to `[n, (h + padding - kernel) / stride + 1, .., c]`, rounded down.
    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let (dim, out) = (x.dim(), self.0.output(x.dim()));
        let mut y = tape.map(out);
        let mut positions = tape.indices(y.len());
        let parts = positions.chunks_exact_mut(out.1 * out.2 * out.3);
        for ((xi, yi), positions) in pictures(&x).zip(pictures_mut(&mut y)).zip(parts) {
            self.pool_picture(dim, xi, yi, positions);
        }
        tape.recycle(x);
        tape.push(Cache::Indices(positions));
        tape.push(Cache::Shape(dim));
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
        let positions = tape.pop_indices();
        let (n, _, _, c) = dim;
        let mut dx = tape.zeros(dim);
        let parts = positions.chunks_exact(dy.len() / n);
        for ((dx, dy), positions) in pictures_mut(&mut dx).zip(pictures(&dy)).zip(parts) {
            let rows = dy.chunks_exact(c).zip(positions.chunks_exact(c));
            for (values, positions) in rows {
                for (c_, (&v, &position)) in values.iter().zip(positions).enumerate() {
                    dx[position as usize * c + c_] += v;
                }
            }
        }
        tape.recycle_indices(positions);
        tape.recycle(dy);
        dx
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}

impl MaxPool {
    fn pool_picture<T: Scalar>(&self, dim: Dim4, x: &[T], y: &mut [T], positions: &mut [u32]) {
        let (_, _, w, c) = dim;
        self.0.windows(dim, |window| {
            let Window {
                index,
                rows,
                columns,
            } = window;
            let (best, at) = (&mut y[index * c..][..c], &mut positions[index * c..][..c]);
            let first = rows.start * w + columns.start;
            best.copy_from_slice(&x[first * c..][..c]);
            at.fill(first as u32);
            for place in rows.flat_map(|row| columns.clone().map(move |column| row * w + column)) {
                let tap = &x[place * c..][..c];
                for ((best, at), &v) in best.iter_mut().zip(&mut *at).zip(tap) {
                    let better = v > *best || v.is_nan();
                    *best = if better { v } else { *best };
                    *at = if better { place as u32 } else { *at };
                }
            }
        });
    }
}
