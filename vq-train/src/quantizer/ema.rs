//! The codebook that learns by exponential moving averages (van den Oord 2017, appendix A.1).
//!
//! Each code follows the mean of the vectors that chose it:
//! N <- g N + (1 - g) n, m <- g m + (1 - g) sum z, code = m / N~ with Laplace smoothing
//! N~ = (N + e) / (sum N + K e) * sum N. The gradient passes straight through the choice; the
//! commitment term pulls vectors to their codes. A code that hardly any vector chooses is restarted
//! at a vector of the batch, together with its N and m.

use crate::nn::Scalar;
use ndarray::{ArrayView2, linalg::general_mat_mul};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Laplace smoothing of the counts.
const SMOOTHING: f64 = 1e-5;

/// How the codebook learns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmaSettings {
    /// K.
    pub codes: usize,
    /// D.
    pub dim: usize,
    /// g, the share of the past that is kept at each step.
    pub decay: f64,
    /// A code chosen less often than this share of the mean is restarted; 0 never restarts.
    pub restart: f64,
}

/// The codebook with its running statistics. Everything here belongs into a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmaQuantizer<T> {
    /// The codes, `[K, D]`.
    pub codebook: Vec<T>,
    /// N: running counts, `[K]`.
    pub counts: Vec<T>,
    /// m: running sums, `[K, D]`.
    pub sums: Vec<T>,
}

/// What a chunk of vectors chose.
#[derive(Debug, Clone)]
pub struct Assignment<T> {
    /// One code for each vector.
    pub codes: Vec<u16>,
    /// The chosen codes' values, `[P, D]`.
    pub quantized: Vec<T>,
}

/// A batch's counts and sums, reduced over its chunks in order.
#[derive(Debug, Clone)]
pub struct BatchStats<T> {
    /// n, `[K]`.
    pub counts: Vec<u64>,
    /// sum z, `[K, D]`.
    pub sums: Vec<T>,
}

impl<T: Scalar> BatchStats<T> {
    /// Nothing seen.
    pub fn new(settings: &EmaSettings) -> Self {
        let EmaSettings { codes, dim, .. } = *settings;
        BatchStats {
            counts: vec![0; codes],
            sums: vec![T::zero(); codes * dim],
        }
    }

    /// Adds one chunk's vectors `[P, D]` to the codes that they chose.
    pub fn add(&mut self, codes: &[u16], z: &[T]) {
        let dim = self.sums.len() / self.counts.len();
        for (&k, v) in codes.iter().zip(z.chunks_exact(dim)) {
            let k = usize::from(k);
            self.counts[k] += 1;
            for (s, &x) in self.sums[k * dim..(k + 1) * dim].iter_mut().zip(v) {
                *s += x;
            }
        }
    }
}

impl<T: Scalar> EmaQuantizer<T> {
    /// Starts at the given codes `[K, D]`, each as if it had been chosen once.
    pub fn from_codebook(codebook: Vec<T>, codes: usize) -> Self {
        EmaQuantizer {
            counts: vec![T::one(); codes],
            sums: codebook.clone(),
            codebook,
        }
    }

    /// The nearest code of each vector of `z` `[P, D]`, ties to the lowest index.
    pub fn assign(&self, z: &[T]) -> Assignment<T> {
        let k = self.counts.len();
        let dim = self.codebook.len() / k;
        let table = ArrayView2::from_shape((k, dim), &self.codebook).expect("K * D values");
        let vectors = ArrayView2::from_shape((z.len() / dim, dim), z).expect("P * D values");
        let half_norms: Vec<T> = table
            .rows()
            .into_iter()
            .map(|c| T::of(0.5) * c.dot(&c))
            .collect();
        // |z - c|^2 = |z|^2 - 2 (z.c - |c|^2 / 2): the nearest code has the largest bracket.
        let mut scores = ndarray::Array2::zeros((vectors.nrows(), k));
        general_mat_mul(T::one(), &vectors, &table.t(), T::zero(), &mut scores);
        let nearest = |scores: ndarray::ArrayView1<'_, T>| {
            let mut best = (0, T::neg_infinity());
            for (i, (&s, &h)) in scores.iter().zip(&half_norms).enumerate() {
                if s - h > best.1 {
                    best = (i, s - h);
                }
            }
            best.0 as u16
        };
        let codes: Vec<u16> = scores.rows().into_iter().map(nearest).collect();
        let value = |&c: &u16| &self.codebook[usize::from(c) * dim..][..dim];
        let quantized = codes.iter().flat_map(value).copied().collect();
        Assignment { codes, quantized }
    }

    /// One step of the moving averages, then restarts. Returns how many codes were restarted.
    ///
    /// `z` holds the batch's vectors `[P, D]`, from which restarted codes are drawn.
    pub fn update(
        &mut self,
        settings: &EmaSettings,
        batch: &BatchStats<T>,
        z: &[T],
        rng: &mut impl Rng,
    ) -> usize {
        let (g, h) = (T::of(settings.decay), T::of(1.0 - settings.decay));
        for (n, &b) in self.counts.iter_mut().zip(&batch.counts) {
            *n = g * *n + h * T::of(b as f64);
        }
        for (m, &s) in self.sums.iter_mut().zip(&batch.sums) {
            *m = g * *m + h * s;
        }
        let restarted = self.restart(settings, z, rng);
        self.place_codes(settings);
        restarted
    }

    fn restart(&mut self, settings: &EmaSettings, z: &[T], rng: &mut impl Rng) -> usize {
        let dim = settings.dim;
        let total: T = self.counts.iter().fold(T::zero(), |a, &b| a + b);
        let mean = total / T::of(settings.codes as f64);
        let least = mean * T::of(settings.restart);
        let dead: Vec<usize> = (0..settings.codes)
            .filter(|&k| self.counts[k] < least)
            .collect();
        for &k in &dead {
            let at = rng.random_range(0..z.len() / dim) * dim;
            self.counts[k] = mean;
            for (m, &v) in self.sums[k * dim..(k + 1) * dim]
                .iter_mut()
                .zip(&z[at..at + dim])
            {
                *m = v * mean;
            }
        }
        dead.len()
    }

    fn place_codes(&mut self, settings: &EmaSettings) {
        let total: T = self.counts.iter().fold(T::zero(), |a, &b| a + b);
        let e = T::of(SMOOTHING);
        let scale = total / (total + T::of(settings.codes as f64) * e);
        let rows = self.codebook.chunks_exact_mut(settings.dim);
        let sums = self.sums.chunks_exact(settings.dim);
        for ((code, m), &n) in rows.zip(sums).zip(&self.counts) {
            let smoothed = (n + e) * scale;
            for (c, &m) in code.iter_mut().zip(m) {
                *c = m / smoothed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn assigns_the_nearest_code_and_the_lowest_of_equals() {
        let q = EmaQuantizer::from_codebook(vec![0.0, 0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 3.0f64], 4);
        let a = q.assign(&[0.9, 0.0, 1.1, 0.0, 0.0, 9.0]);
        assert_eq!(a.codes, [0, 1, 3]);
        assert_eq!(a.quantized, [0.0, 0.0, 2.0, 0.0, 0.0, 3.0]);
    }

    #[test]
    fn moving_average_follows_the_formula() {
        let settings = EmaSettings {
            codes: 2,
            dim: 1,
            decay: 0.9,
            restart: 0.0,
        };
        let mut q = EmaQuantizer::from_codebook(vec![1.0f64, -1.0], 2);
        let z = [2.0, 4.0, -3.0];
        let mut batch = BatchStats::new(&settings);
        batch.add(&q.assign(&z).codes, &z);
        q.update(&settings, &batch, &z, &mut ChaCha8Rng::seed_from_u64(0));
        let (n0, n1): (f64, f64) = (0.9 + 0.1 * 2.0, 0.9 + 0.1);
        let scale = (n0 + n1) / (n0 + n1 + 2e-5);
        assert!((q.codebook[0] - (0.9 + 0.6) / ((n0 + 1e-5) * scale)).abs() < 1e-12);
        assert!((q.codebook[1] - (-0.9 - 0.3) / ((n1 + 1e-5) * scale)).abs() < 1e-12);
    }

    #[test]
    fn dead_code_restarts_at_a_vector_of_the_batch_with_its_statistics() {
        let settings = EmaSettings {
            codes: 2,
            dim: 1,
            decay: 0.5,
            restart: 0.1,
        };
        let mut q = EmaQuantizer::from_codebook(vec![0.0f64, 100.0], 2);
        let z = [1.0, 1.0, 1.0, 1.0];
        for _ in 0..8 {
            let mut batch = BatchStats::new(&settings);
            batch.add(&q.assign(&z).codes, &z);
            if q.update(&settings, &batch, &z, &mut ChaCha8Rng::seed_from_u64(0)) > 0 {
                assert!((q.codebook[1] - 1.0).abs() < 1e-4, "{}", q.codebook[1]);
                assert!(q.counts[1] > 1.0);
                assert!((q.sums[1] - q.counts[1]).abs() < 1e-9);
                return;
            }
        }
        panic!("a code that nothing chooses was never restarted");
    }
}
