//! The codebook that learns by exponential moving averages (van den Oord 2017, appendix A.1).
//!
//! Each code follows the mean of the vectors that chose it:
//! N <- g N + (1 - g) n, m <- g m + (1 - g) sum z, code = m / N~ with Laplace smoothing
//! N~ = (N + e) / (sum N + K e) * sum N. The gradient passes straight through the choice; the
//! commitment term pulls vectors to their codes. A code that hardly any vector chooses is restarted
//! at a vector of the batch, together with its N and m.

use super::{Quantize, Quantized, Table, kmeans, nearest};
use crate::nn::{Init, ParamTable, Role, Scalar};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Laplace smoothing of the counts.
const SMOOTHING: f64 = 1e-5;
const KMEANS_ITERATIONS: usize = 12;

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
    /// Weight of the commitment term.
    pub commitment: f64,
}

/// The quantiser, and where its codebook and running statistics lie.
#[derive(Debug, Clone)]
pub struct Ema {
    /// How it learns.
    pub settings: EmaSettings,
    /// The codes, `[K, D]`.
    pub codebook: Range<usize>,
    /// N: running counts, `[K]`.
    pub counts: Range<usize>,
    /// m: running sums, `[K, D]`.
    pub sums: Range<usize>,
}

impl Ema {
    /// Enters `quantizer.codebook`, `quantizer.counts` and `quantizer.sums`.
    pub fn new(settings: EmaSettings, table: &mut ParamTable) -> Ema {
        let EmaSettings { codes, dim, .. } = settings;
        let mut add = |name: &str, shape: &[usize]| {
            table.add(format!("quantizer.{name}"), shape, Init::Zero, Role::State)
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

    fn restart<T: Scalar>(&self, p: &mut [T], z: &[T], draws: &mut impl Rng) -> usize {
        let EmaSettings { codes, dim, .. } = self.settings;
        let mean = total(&p[self.counts.clone()]) / T::of(codes as f64);
        let least = mean * T::of(self.settings.restart);
        let counts = &p[self.counts.clone()];
        let dead: Vec<usize> = (0..codes).filter(|&k| counts[k] < least).collect();
        for &k in &dead {
            let at = draws.random_range(0..z.len() / dim) * dim;
            p[self.counts.start + k] = mean;
            let sum = &mut p[self.sums.clone()][k * dim..(k + 1) * dim];
            for (m, &v) in sum.iter_mut().zip(&z[at..at + dim]) {
                *m = v * mean;
            }
        }
        dead.len()
    }

    /// code = m / N~.
    fn place_codes<T: Scalar>(&self, p: &mut [T]) {
        let EmaSettings { codes, dim, .. } = self.settings;
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

fn total<T: Scalar>(counts: &[T]) -> T {
    counts.iter().fold(T::zero(), |a, &b| a + b)
}

impl<T: Scalar> Quantize<T> for Ema {
    fn stages(&self) -> Vec<usize> {
        vec![self.settings.codes]
    }

    fn forward(&self, p: &[T], z: &[T], _draws: Option<&mut ChaCha8Rng>) -> Quantized<T> {
        let EmaSettings {
            dim, commitment, ..
        } = self.settings;
        let codebook = &p[self.codebook.clone()];
        let codes = nearest(codebook, dim, z);
        let value = |&c: &u16| &codebook[usize::from(c) * dim..][..dim];
        let values: Vec<T> = codes.iter().flat_map(value).copied().collect();
        let mean = mean_square(z, &values);
        Quantized {
            codes,
            values,
            loss: commitment * mean,
            commitment: mean,
        }
    }

    fn backward(&self, _p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], _grads: &mut [T]) {
        let factor = T::of(2.0 * self.settings.commitment / z.len() as f64);
        for ((dz, &z), &q) in dz.iter_mut().zip(z).zip(&out.values) {
            *dz += (z - q) * factor;
        }
    }

    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        let EmaSettings { codes, dim, .. } = self.settings;
        self.set(p, &kmeans(z, dim, codes, KMEANS_ITERATIONS, draws));
    }

    fn update(&self, p: &mut [T], z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> usize {
        let EmaSettings {
            codes, dim, decay, ..
        } = self.settings;
        let (g, h) = (T::of(decay), T::of(1.0 - decay));
        let mut counts = vec![0u32; codes];
        let mut sums = vec![T::zero(); codes * dim];
        for (&k, v) in out.codes.iter().zip(z.chunks_exact(dim)) {
            let k = usize::from(k);
            counts[k] += 1;
            let sum = sums[k * dim..(k + 1) * dim].iter_mut();
            sum.zip(v).for_each(|(s, &x)| *s += x);
        }
        for (n, &b) in p[self.counts.clone()].iter_mut().zip(&counts) {
            *n = g * *n + h * T::of(f64::from(b));
        }
        for (m, &s) in p[self.sums.clone()].iter_mut().zip(&sums) {
            *m = g * *m + h * s;
        }
        let restarted = self.restart(p, z, draws);
        self.place_codes(p);
        restarted
    }

    fn tables(&self, p: &[T]) -> Vec<Table> {
        let values = p[self.codebook.clone()].iter().map(|v| v.wide() as f32);
        vec![Table {
            codes: self.settings.codes,
            values: values.collect(),
        }]
    }
}

/// Mean of (z - q)^2.
fn mean_square<T: Scalar>(z: &[T], q: &[T]) -> f64 {
    let squares = z.iter().zip(q).map(|(&z, &q)| ((z - q) * (z - q)).wide());
    squares.sum::<f64>() / z.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn case(codebook: &[f64], decay: f64, restart: f64) -> (Ema, Vec<f64>) {
        let mut table = ParamTable::default();
        let settings = EmaSettings {
            codes: codebook.len(),
            dim: 1,
            decay,
            restart,
            commitment: 0.25,
        };
        let ema = Ema::new(settings, &mut table);
        let mut p = vec![0.0; table.len()];
        ema.set(&mut p, codebook);
        (ema, p)
    }

    #[test]
    fn moving_average_follows_the_formula() {
        let (ema, mut p) = case(&[1.0, -1.0], 0.9, 0.0);
        let z = [2.0, 4.0, -3.0];
        let out = ema.forward(&p, &z, None);
        ema.update(&mut p, &z, &out, &mut ChaCha8Rng::seed_from_u64(0));
        let (n0, n1): (f64, f64) = (0.9 + 0.1 * 2.0, 0.9 + 0.1);
        let scale = (n0 + n1) / (n0 + n1 + 2e-5);
        let codebook = &p[ema.codebook.clone()];
        assert!((codebook[0] - (0.9 + 0.6) / ((n0 + 1e-5) * scale)).abs() < 1e-12);
        assert!((codebook[1] - (-0.9 - 0.3) / ((n1 + 1e-5) * scale)).abs() < 1e-12);
    }

    #[test]
    fn dead_code_restarts_at_a_vector_of_the_batch_with_its_statistics() {
        let (ema, mut p) = case(&[0.0, 100.0], 0.5, 0.1);
        let z = [1.0, 1.0, 1.0, 1.0];
        for _ in 0..8 {
            let out = ema.forward(&p, &z, None);
            if ema.update(&mut p, &z, &out, &mut ChaCha8Rng::seed_from_u64(0)) > 0 {
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
