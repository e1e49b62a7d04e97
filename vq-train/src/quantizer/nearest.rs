//! The nearest code of each vector.

use crate::nn::Scalar;
use crate::nn::lanes::maximum;
use rayon::prelude::*;
use vq_core::{Backend, Table};

/// Vectors that are looked at together.
const CHUNK: usize = 96;

/// The nearest of the codes `[K, dim]` for each vector of `z` `[P, dim]`: the one of the least squared distance, ties to
/// the lowest index; 0 where no distance is finite.
pub fn nearest<T: Scalar>(codes: &[T], dim: usize, z: &[T]) -> Vec<u16> {
    let mut nearest = vec![0; z.len() / dim];
    match (T::singles(codes), T::singles(z)) {
        (Some(codes), Some(z)) => search(codes, dim, z, &mut nearest),
        _ => try_all(codes, dim, z, &mut nearest),
    }
    nearest
}

/// The search of deployed models.
fn search(codes: &[f32], dim: usize, z: &[f32], nearest: &mut [u16]) {
    let backend = Backend::best();
    let entries: Vec<[u8; 4]> = codes.iter().map(|number| number.to_le_bytes()).collect();
    let mut memory = vec![0.0; Table::<f32>::memory_len(codes.len() / dim, dim, backend)];
    let table = Table::new(&entries, dim, backend, &mut memory);
    let table = table.expect("as much memory as it asks for");
    nearest
        .par_chunks_mut(CHUNK)
        .zip(z.par_chunks(CHUNK * dim))
        .for_each(|(nearest, z)| table.nearest(z, nearest));
}

/// All distances, in the precision in which gradients are checked.
fn try_all<T: Scalar>(codes: &[T], dim: usize, z: &[T], nearest: &mut [u16]) {
    for (nearest, z) in nearest.iter_mut().zip(z.chunks_exact(dim)) {
        let mut least = T::infinity();
        for (k, code) in codes.chunks_exact(dim).enumerate() {
            let pairs = z.iter().zip(code);
            let distance = pairs.fold(T::zero(), |sum, (&z, &code)| sum + (z - code) * (z - code));
            if distance < least {
                (least, *nearest) = (distance, k as u16);
            }
        }
    }
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
