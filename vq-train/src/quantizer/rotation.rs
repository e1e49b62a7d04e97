//! How a decoder's gradient gets past the choice of a code.
//!
//! Straight through (Bengio 2013): the code stands for the vector plus a constant, the gradient passes
//! unchanged. Rotation trick (Fifty et al. 2024): the code stands for the vector rotated and scaled by
//! constants, so that angles between gradient and vector are kept. With unit vectors e^ of the input e
//! and q^ of its code q, r = (e^ + q^) / |e^ + q^| and s = |q| / |e|:
//!
//! ```text
//! code     = s [e - 2 r (r'e) + 2 q^ (e^'e)] = q
//! gradient = s [g - 2 r (r'g) + 2 e^ (q^'g)]
//! ```

use super::quantize::TASK;
use crate::nn::Scalar;
use crate::nn::lanes::dot;
use rayon::prelude::*;

/// Below this length, and this near to opposite, there is no rotation to speak of: straight through.
const LEAST: f64 = 1e-6;

/// Turns the gradients `g` `[P, dim]` of codes `q` into those of the vectors `e`.
pub(super) fn rotate_back<T: Scalar>(e: &[T], q: &[T], dim: usize, g: &mut [T]) {
    let tasks = e.par_chunks(TASK * dim).zip(q.par_chunks(TASK * dim));
    tasks
        .zip(g.par_chunks_mut(TASK * dim))
        .for_each(|((e, q), g)| {
            let vectors = e.chunks_exact(dim).zip(q.chunks_exact(dim));
            for ((e, q), g) in vectors.zip(g.chunks_exact_mut(dim)) {
                rotate_one(e, q, g);
            }
        });
}

/// With h = e^ + q^: r (r'g) = h (h'g) / (h'h) and h'h = 2 + 2 e^'q^.
fn rotate_one<T: Scalar>(e: &[T], q: &[T], g: &mut [T]) {
    let two = T::of(2.0);
    let (e_len, q_len) = (dot(e, e).sqrt(), dot(q, q).sqrt());
    let least = T::of(LEAST);
    if e_len < least || q_len < least {
        return;
    }
    let h_h = two + two * dot(e, q) / (e_len * q_len);
    if h_h < least {
        return;
    }
    let (e_g, q_g) = (dot(e, g) / e_len, dot(q, g) / q_len);
    let along_h = two * (e_g + q_g) / h_h;
    let (of_e, of_q) = ((two * q_g - along_h) / e_len, -along_h / q_len);
    let s = q_len / e_len;
    for ((g, &e), &q) in g.iter_mut().zip(e).zip(q) {
        *g = s * (*g + of_e * e + of_q * q);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The map that takes e to q, as the formula at the head of this file writes it.
    fn forward(e0: &[f64], q0: &[f64], x: &[f64]) -> Vec<f64> {
        let unit = |v: &[f64]| -> Vec<f64> {
            let length = dot(v, v).sqrt();
            v.iter().map(|x| x / length).collect()
        };
        let (e, q) = (unit(e0), unit(q0));
        let r = unit(&e.iter().zip(&q).map(|(a, b)| a + b).collect::<Vec<_>>());
        let s = (dot(q0, q0) / dot(e0, e0)).sqrt();
        (0..x.len())
            .map(|i| s * (x[i] - 2.0 * r[i] * dot(&r, x) + 2.0 * q[i] * dot(&e, x)))
            .collect()
    }

    #[test]
    fn the_gradient_is_the_transpose_of_a_map_that_takes_vectors_to_codes() {
        let (e, q) = ([0.5, -1.0, 2.0], [1.5, 0.3, 0.9]);
        let there = forward(&e, &q, &e);
        for (a, b) in there.iter().zip(&q) {
            assert!((a - b).abs() < 1e-12);
        }
        let (x, g) = ([0.7, 0.2, -0.4], [1.0, -2.0, 0.6]);
        let mut back = g;
        rotate_back(&e, &q, 3, &mut back);
        let (left, right) = (dot(&g, &forward(&e, &q, &x)), dot(&back, &x));
        assert!((left - right).abs() < 1e-12, "{left} {right}");
    }

    #[test]
    fn where_nothing_can_be_rotated_the_gradient_passes() {
        for (e, q) in [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [-1.0, -2.0])] {
            let mut g = [3.0, 4.0];
            rotate_back(&e, &q, 2, &mut g);
            assert_eq!(g, [3.0, 4.0]);
        }
    }
}
