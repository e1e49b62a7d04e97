//! SimVQ (Zhu et al. 2024): the codes are C W with a fixed table C and a learnt matrix W.
//!
//! C is N(0, 1 / sqrt D) and stays; W `[D, D]` moves all codes together, so that none of even many
//! codes is left behind. Deploys as the plain table C W.

use super::learn::Learn;
use super::quantize::Moved;
use crate::nn::{Init, ParamTable, Right, Role, Scalar, add_transposed_product};
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;
use std::ops::Range;

/// Vectors by which W starts, a multiple of D.
const VECTORS: usize = 64;
/// Added to the latents' second moments, as a share of their mean: W is never singular.
const RIDGE: f64 = 1e-3;

/// Where the table and the matrix lie.
#[derive(Debug, Clone)]
pub struct SimVq {
    /// D.
    pub dim: usize,
    /// C, `[K, D]`.
    pub fixed: Range<usize>,
    /// W, `[D, D]`: code = c W.
    pub weight: Range<usize>,
}

impl SimVq {
    /// Enters `NAME.fixed` and `NAME.weight`.
    pub fn new(codes: usize, dim: usize, name: &str, table: &mut ParamTable) -> SimVq {
        let normal = Init::Normal(1.0 / (dim as f64).sqrt());
        let fixed = table.add(format!("{name}.fixed"), &[codes, dim], normal, Role::State);
        let weight = table.add(format!("{name}.weight"), &[dim, dim], normal, Role::Bias);
        SimVq { dim, fixed, weight }
    }
}

impl<T: Scalar> Learn<T> for SimVq {
    fn codes<'p>(&self, p: &'p [T]) -> Cow<'p, [T]> {
        let fixed = &p[self.fixed.clone()];
        let mut codes = vec![T::zero(); fixed.len()];
        Right::new(&p[self.weight.clone()], self.dim).multiply(fixed, &[], &mut codes);
        codes.into()
    }

    fn by_gradient(&self) -> bool {
        true
    }

    /// dW = C' dcodes.
    fn pull(&self, p: &[T], dcodes: &[T], grads: &mut [T]) {
        let fixed = &p[self.fixed.clone()];
        add_transposed_product(fixed, dcodes, self.dim, &mut grads[self.weight.clone()]);
    }

    fn wanted(&self) -> usize {
        VECTORS * self.dim
    }

    /// W = sqrt(D) L' for the latents' second moments L L': the second moments of C are I / D, so those
    /// of C W start as the latents' are.
    fn place(&self, p: &mut [T], z: &[T], _draws: &mut ChaCha8Rng) {
        let dim = self.dim;
        let mut moments = vec![T::zero(); dim * dim];
        add_transposed_product(z, z, dim, &mut moments);
        let vectors = (z.len() / dim) as f64;
        let mut moments: Vec<f64> = moments.iter().map(|m| m.wide() / vectors).collect();
        let trace: f64 = (0..dim).map(|i| moments[i * (dim + 1)]).sum();
        let ridge = RIDGE * trace / dim as f64 + f64::MIN_POSITIVE;
        (0..dim).for_each(|i| moments[i * (dim + 1)] += ridge);
        let root = cholesky(moments, dim);
        let weight = &mut p[self.weight.clone()];
        for (i, w) in weight.iter_mut().enumerate() {
            let (row, column) = (i / dim, i % dim);
            *w = T::of((dim as f64).sqrt() * root[column * dim + row]);
        }
    }

    fn update(&self, _p: &mut [T], _z: &[T], _codes: &[u16], _draws: &mut ChaCha8Rng) -> Moved {
        Moved::default()
    }
}

/// The lower triangle L of a positive definite matrix L L', both `[n, n]`.
fn cholesky(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    for j in 0..n {
        for i in 0..n {
            if i < j {
                a[i * n + j] = 0.0;
                continue;
            }
            let dot: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            let left = a[i * n + j] - dot;
            a[i * n + j] = if i == j {
                left.sqrt()
            } else {
                left / a[j * n + j]
            };
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::normal;
    use rand::SeedableRng;

    #[test]
    fn codes_start_spread_as_the_vectors_are() {
        let mut draws = ChaCha8Rng::seed_from_u64(4);
        let mut table = ParamTable::default();
        let sim = SimVq::new(4096, 2, "quantizer", &mut table);
        let mut p: Vec<f64> = table.init(&mut draws);
        let z: Vec<f64> = (0..2000)
            .flat_map(|_| {
                let (a, b) = (normal(&mut draws), normal(&mut draws));
                [3.0 * a, a + 0.5 * b]
            })
            .collect();
        sim.place(&mut p, &z, &mut draws);
        let codes = sim.codes(&p);
        let moment = |v: &[f64], i: usize, j: usize| {
            let products = v.chunks_exact(2).map(|v| v[i] * v[j]);
            products.sum::<f64>() / (v.len() / 2) as f64
        };
        for (i, j) in [(0, 0), (0, 1), (1, 1)] {
            let (of_codes, of_vectors) = (moment(&codes, i, j), moment(&z, i, j));
            assert!(
                (of_codes / of_vectors - 1.0).abs() < 0.1,
                "{of_codes} {of_vectors}"
            );
        }
    }
}
