//! k-means, to place the first codes where the encoder's vectors are.
//!
//! Seeds by k-means++ (Arthur and Vassilvitskii 2007), then Lloyd's iterations. An emptied cluster
//! keeps its place: the quantiser's restarts will move it.

use super::nearest::nearest;
use crate::nn::Scalar;
use rand::{Rng, RngExt};
use rayon::prelude::*;

/// Lloyd's iterations that place a codebook.
pub(super) const ITERATIONS: usize = 12;
/// Vectors per code that a codebook is placed by.
pub(super) const VECTORS_PER_CODE: usize = 40;

/// `k` centres of the vectors `z` `[P, dim]`, as `[k, dim]`. `z` must hold at least one vector.
pub fn kmeans<T: Scalar>(
    z: &[T],
    dim: usize,
    k: usize,
    iterations: usize,
    rng: &mut impl Rng,
) -> Vec<T> {
    let mut centres = seeds(z, dim, k, rng);
    for _ in 0..iterations {
        centres = lloyd(z, dim, centres, k);
    }
    centres
}

/// k-means++: each next seed is drawn with probability proportional to its squared distance.
fn seeds<T: Scalar>(z: &[T], dim: usize, k: usize, rng: &mut impl Rng) -> Vec<T> {
    let vectors: Vec<&[T]> = z.chunks_exact(dim).collect();
    let mut centres = vectors[rng.random_range(0..vectors.len())].to_vec();
    let mut nearest = vec![f64::INFINITY; vectors.len()];
    while centres.len() < k * dim {
        let last = &centres[centres.len() - dim..];
        nearest
            .par_iter_mut()
            .zip(&vectors)
            .for_each(|(d, v)| *d = d.min(distance(v, last)));
        let mut left = rng.random::<f64>() * nearest.iter().sum::<f64>();
        let chosen = nearest.iter().position(|&d| {
            left -= d;
            left < 0.0
        });
        centres.extend_from_slice(vectors[chosen.unwrap_or(vectors.len() - 1)]);
    }
    centres
}

fn distance<T: Scalar>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (a - b).wide().powi(2)).sum()
}

/// Every centre moves to the mean of the vectors nearest to it.
fn lloyd<T: Scalar>(z: &[T], dim: usize, mut centres: Vec<T>, k: usize) -> Vec<T> {
    let codes = nearest(&centres, dim, z);
    let mut sums = vec![0.0; k * dim];
    let mut counts = vec![0u64; k];
    for (v, &c) in z.chunks_exact(dim).zip(&codes) {
        let c = usize::from(c);
        counts[c] += 1;
        for (s, &x) in sums[c * dim..].iter_mut().zip(v) {
            *s += x.wide();
        }
    }
    for (c, &n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        for i in c * dim..(c + 1) * dim {
            centres[i] = T::of(sums[i] / n as f64);
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn finds_separated_clusters() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let true_centres = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [-10.0, 5.0]];
        let z: Vec<f64> = (0..400)
            .flat_map(|i| true_centres[i % 4])
            .map(|c| c + 0.1 * crate::nn::normal(&mut rng))
            .collect();
        let found = kmeans(&z, 2, 4, 5, &mut rng);
        for t in true_centres {
            let near = found
                .chunks_exact(2)
                .map(|f| distance(f, &t))
                .fold(f64::MAX, f64::min);
            assert!(near < 0.01, "no centre near {t:?}");
        }
    }
}
