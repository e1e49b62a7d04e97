//! Codes that learn by gradients (van den Oord 2017, equation 3): the codebook term
//! mean (q - sg z)^2 pulls each code to the vectors that chose it, with the optimiser's steps.
//!
//! Running counts are kept for one purpose: a code that hardly any vector chooses is restarted at a vector
//! of the batch, and the optimiser forgets what it knew of that code.

use super::ema::Following;
use super::kmeans::{ITERATIONS, VECTORS_PER_CODE, kmeans};
use super::learn::{Learn, follow, restart};
use super::members::Members;
use super::quantize::Moved;
use crate::nn::{Init, ParamTable, Role, Scalar};
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;
use std::ops::Range;

/// Where codes and their running counts lie.
#[derive(Debug, Clone)]
pub struct Gradient {
    /// Sizes, and when codes are restarted.
    pub settings: Following,
    /// The codes, `[K, D]`. They learn without decay, which would draw them to 0, away from the vectors.
    pub codebook: Range<usize>,
    /// Running counts, `[K]`.
    pub counts: Range<usize>,
}

impl Gradient {
    /// Enters `NAME.codebook` and `NAME.counts`.
    pub fn new(settings: Following, name: &str, table: &mut ParamTable) -> Gradient {
        let Following { codes, dim, .. } = settings;
        let start = Init::Normal(1.0 / (dim as f64).sqrt());
        let codebook = table.add(format!("{name}.codebook"), &[codes, dim], start, Role::Bias);
        let counts = table.add(format!("{name}.counts"), &[codes], Init::Zero, Role::State);
        Gradient {
            settings,
            codebook,
            counts,
        }
    }
}

impl<T: Scalar> Learn<T> for Gradient {
    fn codes<'p>(&self, p: &'p [T]) -> Cow<'p, [T]> {
        p[self.codebook.clone()].into()
    }

    fn by_gradient(&self) -> bool {
        true
    }

    fn pull(&self, _p: &[T], dcodes: &[T], grads: &mut [T]) {
        let grads = grads[self.codebook.clone()].iter_mut();
        grads.zip(dcodes).for_each(|(g, &d)| *g += d);
    }

    fn wanted(&self) -> usize {
        VECTORS_PER_CODE * self.settings.codes
    }

    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        let Following { codes, dim, .. } = self.settings;
        let placed = kmeans(z, dim, codes, ITERATIONS, draws);
        p[self.codebook.clone()].copy_from_slice(&placed);
        p[self.counts.clone()].fill(T::one());
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
        let counts = p[self.counts.clone()].to_vec();
        let mut rows = Vec::new();
        let moved = restart(&counts, share, z, dim, draws, |k, mean, vector| {
            let row = self.codebook.start + k * dim;
            p[row..row + dim].copy_from_slice(vector);
            p[self.counts.start + k] = mean;
            rows.push(row..row + dim);
        });
        Moved { codes: moved, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nearest::nearest;
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_dead_code_restarts_at_a_vector_and_its_row_is_named() {
        let mut table = ParamTable::default();
        let settings = Following {
            codes: 2,
            dim: 1,
            decay: 0.5,
            restart: 0.1,
        };
        table.add("before".into(), &[3], Init::Zero, Role::Bias);
        let gradient = Gradient::new(settings, "quantizer", &mut table);
        let mut p = vec![0.0; table.len()];
        p[gradient.codebook.clone()].copy_from_slice(&[0.0, 100.0]);
        p[gradient.counts.clone()].fill(1.0);
        let z = [1.0, 2.0, 1.0, 2.0];
        let mut draws = ChaCha8Rng::seed_from_u64(0);
        for _ in 0..8 {
            let codes = nearest(&p[gradient.codebook.clone()], 1, &z);
            let moved = gradient.update(&mut p, &z, &codes, &mut draws);
            if moved.codes > 0 {
                assert_eq!(moved.rows, vec![4..5]);
                assert!(z.contains(&p[4]), "{}", p[4]);
                assert_eq!(p[3], 0.0, "the living code stays");
                let counts = &p[gradient.counts.clone()];
                assert!(counts[1] > 1.0 && counts[1] < counts[0]);
                return;
            }
        }
        panic!("a code that nothing chooses was never restarted");
    }
}
