//! Nearest-neighbour upsampling: each value becomes a square of copies; backward adds the square up.

use super::Scalar;
use ndarray::Array4;

/// `[n, h, w, c]` to `[n, h f, w f, c]`.
#[derive(Debug, Clone, Copy)]
pub struct Upsample {
    /// f.
    pub factor: usize,
}

impl Upsample {
    /// Copies.
    pub fn forward<T: Scalar>(&self, x: &Array4<T>) -> Array4<T> {
        let f = self.factor;
        let (n, h, w, c) = x.dim();
        Array4::from_shape_fn((n, h * f, w * f, c), |(n, y, x_, c)| {
            x[[n, y / f, x_ / f, c]]
        })
    }

    /// Sums.
    pub fn backward<T: Scalar>(&self, dy: &Array4<T>) -> Array4<T> {
        let f = self.factor;
        let (n, hf, wf, c) = dy.dim();
        let mut dx = Array4::zeros((n, hf / f, wf / f, c));
        for ((n, y, x, c), &v) in dy.indexed_iter() {
            dx[[n, y / f, x / f, c]] += v;
        }
        dx
    }
}
