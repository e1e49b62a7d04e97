//! The entropy regulariser (MaskGIT's and MAGVIT-v2's codebooks): each vector should be sure of its code,
//! and all vectors together should use all codes.
//!
//! With p = softmax(-|u - e|^2 / t) over the codes e of a vector u, and p~ the mean of p over the batch:
//!
//! ```text
//! loss       = weight (mean H(p) - H(p~)),  H(p) = -sum p ln p
//! dloss / ds = weight / P * p [ln p~ - sum p ln p~ - (ln p + H(p))],  s = -|u - e|^2 / t
//! du = 2 / t * sum of ds e,  de = 2 / t * (sum of ds u - e sum of ds)
//! ```
//!
//! A vector's ds add up to 0, so that |u|^2 has no part in it, forward or backward.

use crate::nn::lanes::dot;
use crate::nn::softmax::log_softmax;
use crate::nn::{Right, Scalar, add_transposed_product};
use rayon::prelude::*;

/// A batch is cut into this many tasks at most, each with its own gradients of the codes.
const TASKS: usize = 16;
/// Vectors whose scores are looked at together.
const BLOCK: usize = 64;

/// How strongly, and how softly, codes are chosen in the regulariser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entropy {
    /// Weight of the regulariser in the loss.
    pub weight: f64,
    /// t, in units of a squared distance.
    pub temperature: f64,
}

/// The codes and vectors of a pass over a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a, T> {
    /// Codes, `[K, dim]`.
    pub(super) table: &'a [T],
    /// Vectors, `[P, dim]`.
    pub(super) vectors: &'a [T],
    pub(super) dim: usize,
}

impl<T: Scalar> Batch<'_, T> {
    fn codes(&self) -> usize {
        self.table.len() / self.dim
    }

    /// Numbers of a task; the same for any number of threads.
    fn task(&self) -> usize {
        let vectors = self.vectors.len() / self.dim;
        vectors.div_ceil(TASKS).next_multiple_of(BLOCK) * self.dim
    }
}

impl Entropy {
    /// The loss, and p~ `[K]`, which backward needs.
    pub(super) fn forward<T: Scalar>(&self, batch: Batch<'_, T>) -> (f64, Vec<T>) {
        let k = batch.codes();
        let scores = Scores::new(batch, self.temperature);
        let tasks = batch.vectors.par_chunks(batch.task());
        let parts: Vec<(f64, Vec<T>)> = tasks
            .map(|vectors| {
                let (mut entropy, mut sums) = (0.0, vec![T::zero(); k]);
                let mut rows = Rows::default();
                for block in vectors.chunks(BLOCK * batch.dim) {
                    scores.soft(block, &mut rows);
                    entropy += rows.entropies.iter().map(|h| h.wide()).sum::<f64>();
                    for p in rows.p.chunks_exact(k) {
                        sums.iter_mut().zip(p).for_each(|(s, &p)| *s += p);
                    }
                }
                (entropy, sums)
            })
            .collect();
        let vectors = (batch.vectors.len() / batch.dim) as f64;
        let (mut entropy, mut mean) = (0.0, vec![T::zero(); k]);
        for (h, sums) in parts {
            entropy += h / vectors;
            let inverse = T::of(1.0 / vectors);
            mean.iter_mut()
                .zip(sums)
                .for_each(|(m, s)| *m += s * inverse);
        }
        let of_mean: f64 = mean.iter().map(|&m| -(m * log(m)).wide()).sum();
        (self.weight * (entropy - of_mean), mean)
    }

    /// Adds the gradients of `share` times the loss to those of the vectors, `du`, and of the codes, `de`,
    /// where these learn by gradients.
    pub(super) fn backward<T: Scalar>(
        &self,
        batch: Batch<'_, T>,
        mean: &[T],
        share: f64,
        du: &mut [T],
        de: Option<&mut [T]>,
    ) {
        let scores = Scores::new(batch, self.temperature);
        let vectors = (batch.vectors.len() / batch.dim) as f64;
        let factor = T::of(share * self.weight / vectors * 2.0 / self.temperature);
        let log_mean: Vec<T> = mean.iter().map(|&m| log(m)).collect();
        let back = Back {
            batch,
            scores,
            factor,
            log_mean,
            table: Right::new(batch.table, batch.dim),
        };
        let (task, learns) = (batch.task(), de.is_some());
        let tasks = batch.vectors.par_chunks(task).zip(du.par_chunks_mut(task));
        let parts: Vec<_> = tasks.map(|(v, du)| back.task(v, du, learns)).collect();
        if let Some(de) = de {
            for part in parts {
                part.add_to(de, batch.table, batch.dim);
            }
        }
    }
}

/// ln of a probability that may have been rounded to 0.
fn log<T: Scalar>(p: T) -> T {
    p.max(T::min_positive_value()).ln()
}

/// s up to a constant of each vector: 2 / t * u e - |e|^2 / t.
struct Scores<T> {
    dim: usize,
    product: Right<T>,
    bias: Vec<T>,
}

/// Probabilities and entropies of a block of vectors.
#[derive(Default)]
struct Rows<T> {
    /// ln p, `[BLOCK, K]`.
    log_p: Vec<T>,
    /// `[BLOCK, K]`.
    p: Vec<T>,
    /// H(p), `[BLOCK]`.
    entropies: Vec<T>,
}

impl<T: Scalar> Scores<T> {
    fn new(batch: Batch<'_, T>, temperature: f64) -> Self {
        let twice = T::of(2.0 / temperature);
        let scaled: Vec<T> = batch.table.iter().map(|&e| e * twice).collect();
        let inverse = T::of(-1.0 / temperature);
        let codes = batch.table.chunks_exact(batch.dim);
        let bias = codes.map(|e| inverse * e.iter().fold(T::zero(), |s, &x| s + x * x));
        Scores {
            dim: batch.dim,
            product: Right::transposed(&scaled, batch.dim),
            bias: bias.collect(),
        }
    }

    fn soft(&self, vectors: &[T], rows: &mut Rows<T>) {
        let k = self.bias.len();
        let len = vectors.len() / self.dim * k;
        rows.log_p.resize(len, T::zero());
        rows.p.resize(len, T::zero());
        self.product.multiply(vectors, &self.bias, &mut rows.log_p);
        rows.entropies.resize(len / k, T::zero());
        log_softmax(&mut rows.log_p, &mut rows.p, &mut rows.entropies);
    }
}

struct Back<'a, T> {
    batch: Batch<'a, T>,
    scores: Scores<T>,
    /// weight / P * 2 / t.
    factor: T,
    log_mean: Vec<T>,
    table: Right<T>,
}

/// A task's part of the codes' gradients.
struct Codes<T> {
    /// sum of ds u, `[K, dim]`.
    products: Vec<T>,
    /// sum of ds, `[K]`.
    sums: Vec<T>,
}

impl<T: Scalar> Back<'_, T> {
    fn task(&self, vectors: &[T], du: &mut [T], learns: bool) -> Codes<T> {
        let (k, dim) = (self.log_mean.len(), self.batch.dim);
        let len = if learns { k } else { 0 };
        let mut codes = Codes {
            products: vec![T::zero(); len * dim],
            sums: vec![T::zero(); len],
        };
        let (mut rows, mut product) = (Rows::default(), Vec::new());
        let blocks = vectors.chunks(BLOCK * dim);
        for (u, du) in blocks.zip(du.chunks_mut(BLOCK * dim)) {
            self.scores.soft(u, &mut rows);
            self.scores_back(&mut rows);
            product.resize(u.len(), T::zero());
            self.table.multiply(&rows.p, &[], &mut product);
            du.iter_mut().zip(&product).for_each(|(d, &x)| *d += x);
            if learns {
                add_transposed_product(&rows.p, u, k, &mut codes.products);
                for ds in rows.p.chunks_exact(k) {
                    codes.sums.iter_mut().zip(ds).for_each(|(s, &d)| *s += d);
                }
            }
        }
        codes
    }

    /// ds in the place of p.
    fn scores_back(&self, rows: &mut Rows<T>) {
        let k = self.log_mean.len();
        let p = rows.p.chunks_exact_mut(k).zip(rows.log_p.chunks_exact(k));
        for ((p, log_p), &entropy) in p.zip(&rows.entropies) {
            let both = dot(p, &self.log_mean) + entropy;
            for ((p, &log_p), &log_mean) in p.iter_mut().zip(log_p).zip(&self.log_mean) {
                *p *= self.factor * (log_mean - log_p - both);
            }
        }
    }
}

impl<T: Scalar> Codes<T> {
    fn add_to(&self, de: &mut [T], table: &[T], dim: usize) {
        let rows = de.chunks_exact_mut(dim).zip(table.chunks_exact(dim));
        let parts = self.products.chunks_exact(dim).zip(&self.sums);
        for ((de, e), (products, &sum)) in rows.zip(parts) {
            for ((de, &e), &product) in de.iter_mut().zip(e).zip(products) {
                *de += product - e * sum;
            }
        }
    }
}
