//! Codes for squares of latents, as of the upper levels of a hierarchy (Razavi, van den Oord and Vinyals
//! 2019): one code for side x side neighbours, the nearest to their mean.
//!
//! That is also the code of the least sum of squared distances to all of them. As the first stages of a
//! residual quantiser, coarse codes say what neighbours have in common, and the fine ones what is left.

use super::quantize::{Moved, Part, Quantize, QuantizeAny, Quantized, Stage, Table};
use crate::nn::Scalar;
use rand_chacha::ChaCha8Rng;

/// A quantiser of the means of squares. The latents of a square are neighbours, see [`super::SquareOrder`].
#[derive(Debug, Clone)]
pub struct Coarse<Q> {
    /// Latents of a square, each way.
    pub side: usize,
    /// D.
    pub dim: usize,
    /// The quantiser of the means.
    pub inner: Box<Q>,
}

impl<Q> Coarse<Q> {
    fn area(&self) -> usize {
        self.side * self.side
    }

    /// The sum of each square's vectors, `[P / area, D]`, times `factor`.
    fn sums<T: Scalar>(&self, vectors: &[T], factor: T) -> Vec<T> {
        let mut sums = vec![T::zero(); vectors.len() / self.area()];
        let squares = vectors.chunks_exact(self.area() * self.dim);
        for (sum, square) in sums.chunks_exact_mut(self.dim).zip(squares) {
            for vector in square.chunks_exact(self.dim) {
                sum.iter_mut().zip(vector).for_each(|(s, &v)| *s += v);
            }
            sum.iter_mut().for_each(|s| *s *= factor);
        }
        sums
    }

    fn means<T: Scalar>(&self, vectors: &[T]) -> Vec<T> {
        self.sums(vectors, self.share())
    }

    fn share<T: Scalar>(&self) -> T {
        T::of(1.0 / self.area() as f64)
    }

    /// Each vector of a square gets the square's, `[P, D]`.
    fn spread<T: Scalar>(&self, of_squares: &[T]) -> Vec<T> {
        let squares = of_squares.chunks_exact(self.dim);
        squares.flat_map(|v| v.repeat(self.area())).collect()
    }
}

impl<T: Scalar, Q: QuantizeAny + Send + Sync> Quantize<T> for Coarse<Q> {
    fn stages(&self) -> Vec<Stage> {
        let stages = self.inner.of::<T>().stages().into_iter();
        let wider = |stage: Stage| Stage {
            side: stage.side * self.side,
            ..stage
        };
        stages.map(wider).collect()
    }

    fn forward(&self, p: &[T], z: &[T], draws: Option<&mut ChaCha8Rng>) -> Quantized<T> {
        let input = self.means(z);
        let out = self.inner.of().forward(p, &input, draws);
        Quantized {
            codes: out.codes.clone(),
            values: self.spread(&out.values),
            loss: out.loss,
            commitment: out.commitment,
            soft: Vec::new(),
            parts: vec![Part { input, out }],
        }
    }

    fn through(&self, p: &[T], _z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        let part = &out.parts[0];
        let mut of_squares = self.sums(dz, T::one());
        let inner = self.inner.of();
        inner.through(p, &part.input, &part.out, &mut of_squares, grads);
        of_squares.iter_mut().for_each(|d| *d *= self.share());
        dz.copy_from_slice(&self.spread(&of_squares));
    }

    fn terms(&self, p: &[T], _z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        let part = &out.parts[0];
        let mut of_squares = vec![T::zero(); part.input.len()];
        let inner = self.inner.of();
        inner.terms(p, &part.input, &part.out, &mut of_squares, grads);
        let own = self.spread(&of_squares);
        for (d, &own) in dz.iter_mut().zip(&own) {
            *d += own * self.share();
        }
    }

    fn wanted(&self) -> usize {
        self.inner.of::<T>().wanted() * self.area()
    }

    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        self.inner.of().place(p, &self.means(z), draws);
    }

    fn update(&self, p: &mut [T], _z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> Moved {
        let part = &out.parts[0];
        self.inner.of().update(p, &part.input, &part.out, draws)
    }

    fn tables(&self, p: &[T]) -> Vec<Table> {
        let tables = self.inner.of().tables(p).into_iter();
        let wider = |table: Table| Table {
            side: table.side * self.side,
            ..table
        };
        tables.map(wider).collect()
    }
}
