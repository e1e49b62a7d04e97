//! Codes that learn by exponential moving averages (van den Oord 2017, appendix A.1).
//!
//! Each code follows the mean of the vectors that chose it:
//! N <- g N + (1 - g) n, m <- g m + (1 - g) sum z, code = m / N~ with Laplace smoothing
//! N~ = (N + e) / (sum N + K e) * sum N. A code that hardly any vector chooses is restarted at a
//! vector of the batch, together with its N and m.

use super::kmeans::{ITERATIONS, VECTORS_PER_CODE, kmeans};
use super::learn::{Learn, follow, restart, total};
use super::members::Members;
use super::quantize::Moved;
use crate::nn::{Init, ParamTable, Role, Scalar};
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;
use std::ops::Range;

/// Laplace smoothing of the counts.
const SMOOTHING: f64 = 1e-5;

/// How codes follow the vectors that choose them, in moving averages or by restarts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Following {
    /// K.
    pub codes: usize,
    /// D.
    pub dim: usize,
    /// g, the share of the past that is kept at each step.
    pub decay: f64,
    /// A code chosen less often than this share of the mean is restarted; 0 never restarts.
    pub restart: f64,
}

/// Where codes and their running statistics lie.
#[derive(Debug, Clone)]
pub struct Ema {
    /// How they learn.
    pub settings: Following,
    /// The codes, `[K, D]`.
    pub codebook: Range<usize>,
    /// N: running counts, `[K]`.
    pub counts: Range<usize>,
    /// m: running sums, `[K, D]`.
    pub sums: Range<usize>,
}

impl Ema {
    /// Enters `NAME.codebook`, `NAME.counts` and `NAME.sums`.
    pub fn new(settings: Following, name: &str, table: &mut ParamTable) -> Ema {
        let Following { codes, dim, .. } = settings;
        let mut add = |part: &str, shape: &[usize]| {
            table.add(format!("{name}.{part}"), shape, Init::Zero, Role::State)
        };
        Ema {
            settings,
            codebook: add("codebook", &[codes, dim]),
            counts: add("counts", &[codes]),
            sums: add("sums", &[codes, dim]),
        }
    }

    /// Starts at the given codes `[K, D]`, each as if it had been chosen once.
    pub fn set<T: Scalar>(&self, p: &mut [T], codes: &[T]) {
        p[self.codebook.clone()].copy_from_slice(codes);
        p[self.sums.clone()].copy_from_slice(codes);
        p[self.counts.clone()].fill(T::one());
    }

    /// code = m / N~.
    fn place_codes<T: Scalar>(&self, p: &mut [T]) {
        let Following { codes, dim, .. } = self.settings;
        let total = total(&p[self.counts.clone()]);
        let e = T::of(SMOOTHING);
        let scale = total / (total + T::of(codes as f64) * e);
        for k in 0..codes {
            let smoothed = (p[self.counts.start + k] + e) * scale;
            for i in k * dim..(k + 1) * dim {
                p[self.codebook.start + i] = p[self.sums.start + i] / smoothed;
            }
        }
    }
}

impl<T: Scalar> Learn<T> for Ema {
    fn codes<'p>(&self, p: &'p [T]) -> Cow<'p, [T]> {
        p[self.codebook.clone()].into()
    }

    fn by_gradient(&self) -> bool {
        false
    }

    fn pull(&self, _p: &[T], _dcodes: &[T], _grads: &mut [T]) {}

    fn wanted(&self) -> usize {
        VECTORS_PER_CODE * self.settings.codes
    }

    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        let Following { codes, dim, .. } = self.settings;
        self.set(p, &kmeans(z, dim, codes, ITERATIONS, draws));
    }

    fn update(&self, p: &mut [T], z: &[T], codes: &[u16], draws: &mut ChaCha8Rng) -> Moved {
        let Following {
            codes: k,
            dim,
            decay,
            restart: share,
        } = self.settings;
        let members = Members::new(codes, k);
        follow(&mut p[self.counts.clone()], decay, members.counts());
        let (g, h) = (T::of(decay), T::of(1.0 - decay));
        let mut sums = vec![T::zero(); k * dim];
        members.add_sums(z, dim, &mut sums);
        for (m, &s) in p[self.sums.clone()].iter_mut().zip(&sums) {
            *m = g * *m + h * s;
        }
        let counts = p[self.counts.clone()].to_vec();
        let moved = restart(&counts, share, z, dim, draws, |k, mean, vector| {
            p[self.counts.start + k] = mean;
            let sum = &mut p[self.sums.start + k * dim..][..dim];
            sum.iter_mut().zip(vector).for_each(|(m, &v)| *m = v * mean);
        });
        self.place_codes(p);
        Moved {
            codes: moved,
            rows: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nearest::nearest;
    use super::*;
    use rand::SeedableRng;

    fn case(codebook: &[f64], decay: f64, restart: f64) -> (Ema, Vec<f64>) {
        let mut table = ParamTable::default();
        let settings = Following {
            codes: codebook.len(),
            dim: 1,
            decay,
            restart,
        };
        let ema = Ema::new(settings, "quantizer", &mut table);
        let mut p = vec![0.0; table.len()];
        ema.set(&mut p, codebook);
        (ema, p)
    }

    fn step(ema: &Ema, p: &mut [f64], z: &[f64]) -> usize {
        let codes = nearest(&p[ema.codebook.clone()], 1, z);
        let mut draws = ChaCha8Rng::seed_from_u64(0);
        ema.update(p, z, &codes, &mut draws).codes
    }

    #[test]
    fn moving_average_follows_the_formula() {
        let (ema, mut p) = case(&[1.0, -1.0], 0.9, 0.0);
        step(&ema, &mut p, &[2.0, 4.0, -3.0]);
        let (n0, n1): (f64, f64) = (0.9 + 0.1 * 2.0, 0.9 + 0.1);
        let scale = (n0 + n1) / (n0 + n1 + 2e-5);
        let codebook = &p[ema.codebook.clone()];
        assert!((codebook[0] - (0.9 + 0.6) / ((n0 + 1e-5) * scale)).abs() < 1e-12);
        assert!((codebook[1] - (-0.9 - 0.3) / ((n1 + 1e-5) * scale)).abs() < 1e-12);
    }

    #[test]
    fn dead_code_restarts_at_a_vector_of_the_batch_with_its_statistics() {
        let (ema, mut p) = case(&[0.0, 100.0], 0.5, 0.1);
        for _ in 0..8 {
            if step(&ema, &mut p, &[1.0; 4]) > 0 {
                let (code, count, sum) = (
                    p[ema.codebook.start + 1],
                    p[ema.counts.start + 1],
                    p[ema.sums.start + 1],
                );
                assert!((code - 1.0).abs() < 1e-4, "{code}");
                assert!(count > 1.0);
                assert!((sum - count).abs() < 1e-9);
                return;
            }
        }
        panic!("a code that nothing chooses was never restarted");
    }
}
