//! An embedding: a table of vectors, read by index. y[i, :] = E[index[i], :].
//!
//! Backward adds each output's gradient to the row that was read, dE[index[i], :] += dy[i, :]. Indices
//! have no gradient.

use super::conv2d::{flat, flat_mut};
use super::params::place;
use super::{Init, ParamTable, Role, Scalar, Tape, Weights};
use ndarray::Array4;
use std::ops::Range;

/// A table of vectors with its place in the parameter vector.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// How many vectors.
    pub count: usize,
    /// Length of each.
    pub dim: usize,
    /// E as `[count, dim]`.
    pub weight: Range<usize>,
}

impl Embedding {
    /// Enters the parameter `NAME.weight`, drawn from N(0, 1).
    pub fn new(count: usize, dim: usize, name: &str, table: &mut ParamTable) -> Self {
        let init = Init::Normal(1.0);
        let shape = [count, dim];
        Embedding {
            count,
            dim,
            weight: table.add(format!("{name}.weight"), &shape, init, Role::Weight),
        }
    }

    /// The vectors of `indices`, one behind the other, into `out` `[indices, dim]`.
    ///
    /// # Panics
    /// An index is not below `count`.
    pub fn read<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        indices: impl IntoIterator<Item = usize>,
        out: &mut [T],
    ) {
        let weight = &p.values[self.weight.clone()];
        for (out, index) in out.chunks_exact_mut(self.dim).zip(indices) {
            out.copy_from_slice(&weight[self.row(index)]);
        }
    }

    /// Adds the gradients `dy` `[indices, dim]` of what was read to those of the table.
    ///
    /// # Panics
    /// An index is not below `count`.
    pub fn add_grad<T: Scalar>(
        &self,
        indices: impl IntoIterator<Item = usize>,
        dy: &[T],
        grads: &mut [T],
    ) {
        let grad = place(grads, &self.weight);
        if grad.is_empty() {
            return;
        }
        for (dy, index) in dy.chunks_exact(self.dim).zip(indices) {
            let row = &mut grad[self.row(index)];
            row.iter_mut().zip(dy).for_each(|(g, &d)| *g += d);
        }
    }

    fn row(&self, index: usize) -> Range<usize> {
        let Embedding { count, dim, .. } = *self;
        assert!(index < count, "index {index} in an embedding of {count}");
        index * dim..(index + 1) * dim
    }

    /// Whole numbers `[n, h, w, c]` to `[n, h, w, c dim]`: the vectors of a position, one behind the
    /// other.
    ///
    /// # Panics
    /// A number is no index of the table.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let (n, h, w, c) = x.dim();
        let mut y = tape.map((n, h, w, c * self.dim));
        self.read(p, indices(&x), flat_mut(&mut y));
        tape.push_input(x);
        y
    }

    /// dy `[n, h, w, c dim]` to zeros `[n, h, w, c]`.
    pub fn backward<T: Scalar>(
        &self,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let mut x = tape.pop_input();
        self.add_grad(indices(&x), flat(&dy), grads);
        tape.recycle(dy);
        x.fill(T::zero());
        x
    }
}

/// A map's values as indices; what is none becomes one that no table has.
fn indices<T: Scalar>(x: &Array4<T>) -> impl Iterator<Item = usize> {
    let index = |v: &T| v.to_usize().filter(|&i| T::of(i as f64) == *v);
    flat(x).iter().map(move |v| index(v).unwrap_or(usize::MAX))
}
