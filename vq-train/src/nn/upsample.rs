//! Nearest-neighbour upsampling: each value becomes a square of copies; backward adds the square up.

use super::builder::{BuildError, Builder, Configured};
use super::layer::{Layer, Learnt};
use super::map::{pictures, pictures_mut};
use super::scalar::Scalar;
use super::tape::Tape;
use super::weights::Weights;
use ndarray::Array4;
use serde::{Deserialize, Serialize};

/// `[n, h, w, c]` to `[n, h f, w f, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Upsample {
    /// f.
    pub factor: usize,
}

impl<L: From<Upsample>> Configured<L> for Upsample {
    fn build(&self, builder: &mut Builder<'_, L>) -> Result<(), BuildError> {
        builder.positive(&[("upsample", self.factor)])?;
        builder.push(*self);
        builder.grow(self.factor);
        Ok(())
    }
}

impl Layer for Upsample {
    fn kind(&self) -> &'static str {
        "upsample"
    }

    /// Each value becomes a square of copies.
    fn forward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let f = self.factor;
        let (n, h, w, c) = x.dim();
        let mut y = tape.map((n, h * f, w * f, c));
        for (xi, yi) in pictures(&x).zip(pictures_mut(&mut y)) {
            for (row, rows) in xi
                .chunks_exact(w * c)
                .zip(yi.chunks_exact_mut(f * f * w * c))
            {
                for wide in rows.chunks_exact_mut(f * w * c) {
                    for (pixel, copies) in row.chunks_exact(c).zip(wide.chunks_exact_mut(f * c)) {
                        let copies = copies.chunks_exact_mut(c);
                        copies.for_each(|copy| copy.copy_from_slice(pixel));
                    }
                }
            }
        }
        tape.recycle(x);
        y
    }

    /// Sums of the gradients of copies.
    fn backward<T: Scalar>(
        &self,
        _: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        _: &mut [T],
    ) -> Array4<T> {
        let f = self.factor;
        let (n, hf, wf, c) = dy.dim();
        let mut dx = tape.zeros((n, hf / f, wf / f, c));
        for (dyi, dxi) in pictures(&dy).zip(pictures_mut(&mut dx)) {
            for (rows, sums) in dyi
                .chunks_exact(f * wf * c)
                .zip(dxi.chunks_exact_mut(wf / f * c))
            {
                for wide in rows.chunks_exact(wf * c) {
                    for (copies, sum) in wide.chunks_exact(f * c).zip(sums.chunks_exact_mut(c)) {
                        for copy in copies.chunks_exact(c) {
                            sum.iter_mut().zip(copy).for_each(|(s, &v)| *s += v);
                        }
                    }
                }
            }
        }
        tape.recycle(dy);
        dx
    }

    fn learnt(&self) -> Learnt {
        Learnt::Nothing
    }
}
