//! The nearest code of each vector, by one matrix product.
//!
//! |z - c|^2 = |z|^2 - 2 (z c - |c|^2 / 2): the nearest code has the largest bracket, a product with a
//! bias.

use crate::nn::lanes::maximum;
use crate::nn::{Right, Scalar};
use rayon::prelude::*;

/// Vectors whose scores are looked at together: with 512 codes, 128 KiB of them.
const CHUNK: usize = 64;

/// The nearest of the codes `[K, dim]` for each vector of `z` `[P, dim]`, ties to the lowest index.
pub fn nearest<T: Scalar>(codes: &[T], dim: usize, z: &[T]) -> Vec<u16> {
    let k = codes.len() / dim;
    let half = T::of(-0.5);
    let bias: Vec<T> = codes
        .chunks_exact(dim)
        .map(|c| half * c.iter().fold(T::zero(), |sum, &v| sum + v * v))
        .collect();
    let product = Right::transposed(codes, dim);
    let mut nearest = vec![0; z.len() / dim];
    nearest
        .par_chunks_mut(CHUNK)
        .zip(z.par_chunks(CHUNK * dim))
        .for_each_init(Vec::new, |scores, (nearest, z)| {
            scores.resize(nearest.len() * k, T::zero());
            product.multiply(z, &bias, scores);
            for (nearest, scores) in nearest.iter_mut().zip(scores.chunks_exact(k)) {
                *nearest = largest(scores) as u16;
            }
        });
    nearest
}

/// The first of the largest numbers; 0 where all are NaN.
pub(super) fn largest<T: Scalar>(scores: &[T]) -> usize {
    let largest = maximum(scores);
    scores.iter().position(|&s| s == largest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::normal;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn assigns_the_nearest_code_and_the_lowest_of_equals() {
        let codes = [0.0, 0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 3.0f64];
        assert_eq!(
            nearest(&codes, 2, &[0.9, 0.0, 1.1, 0.0, 0.0, 9.0]),
            [0, 1, 3]
        );
    }

    #[test]
    fn agrees_with_distances_computed_one_by_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (k, dim, count) in [(1, 1, 3), (37, 5, 150), (512, 8, 200)] {
            let mut numbers =
                |n: usize| -> Vec<f32> { (0..n).map(|_| normal(&mut rng) as f32).collect() };
            let (codes, z) = (numbers(k * dim), numbers(count * dim));
            for (v, code) in z.chunks_exact(dim).zip(nearest(&codes, dim, &z)) {
                let distance = |c: &[f32]| -> f64 {
                    let square = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).powi(2);
                    c.iter().zip(v).map(square).sum()
                };
                let least = codes
                    .chunks_exact(dim)
                    .map(distance)
                    .fold(f64::MAX, f64::min);
                let found = distance(&codes[usize::from(code) * dim..][..dim]);
                assert!(found <= least + 1e-5, "{found} {least}");
            }
        }
    }
}
