//! Vectors on the unit sphere, where the nearest code is the one at the least angle.

use super::quantize::TASK;
use crate::nn::Scalar;
use crate::nn::lanes::dot;
use rayon::prelude::*;

/// Shorter vectors are divided by this instead of by their length.
const LEAST: f64 = 1e-12;

/// Every vector of `[P, dim]` over its length.
pub(super) fn unit<T: Scalar>(vectors: &[T], dim: usize) -> Vec<T> {
    let mut units = vectors.to_vec();
    units.par_chunks_mut(TASK * dim).for_each(|task| {
        for v in task.chunks_exact_mut(dim) {
            let inverse = T::one() / length(v);
            v.iter_mut().for_each(|x| *x *= inverse);
        }
    });
    units
}

/// Turns the gradients `g` of the units of `vectors` into those of the vectors:
/// with u = v / |v|, dv = (g - u (u'g)) / |v|.
pub(super) fn unit_back<T: Scalar>(vectors: &[T], dim: usize, g: &mut [T]) {
    let tasks = vectors.par_chunks(TASK * dim);
    tasks
        .zip(g.par_chunks_mut(TASK * dim))
        .for_each(|(vectors, g)| {
            for (v, g) in vectors.chunks_exact(dim).zip(g.chunks_exact_mut(dim)) {
                let inverse = T::one() / length(v);
                let along = dot(v, g) * inverse * inverse;
                for (g, &v) in g.iter_mut().zip(v) {
                    *g = (*g - v * along) * inverse;
                }
            }
        });
}

fn length<T: Scalar>(v: &[T]) -> T {
    dot(v, v).sqrt().max(T::of(LEAST))
}
