//! The nearest code of each vector, whatever the codes learn by.
//!
//! Forward: code = nearest of the table, value = its entry. Backward: the decoder's gradient passes to
//! the vector (see [`super::rotation`]), and the quantiser's own terms are added. With u the vector, q its
//! code's entry, sg what counts as constant and N the number of values:
//!
//! ```text
//! loss = commitment / N sum (u - sg q)^2      the vectors stay near their codes
//!      + 1 / N sum (q - sg u)^2               only where codes learn by gradients
//!      + entropy regulariser, if asked for
//! ```
//!
//! With `cosine`, u is the vector over its length, and so are the codes. The tables that deploy are then
//! unit codes: all of one length, so that the nearest of them to a vector of any length is the one at the
//! least angle, and the core's search needs to know nothing of it.

use super::ema::Ema;
use super::entropy::{Batch, Entropy};
use super::gradient::Gradient;
use super::learn::Learn;
use super::members::Members;
use super::nearest::nearest;
use super::quantize::{Moved, Quantize, Quantized, Stage, TASK, Table};
use super::rotation::rotate_back;
use super::simvq::SimVq;
use super::sphere::{unit, unit_back};
use crate::nn::Scalar;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::borrow::Cow;

/// How the codes of a codebook learn.
#[derive(Debug, Clone)]
pub enum Learning {
    /// Moving averages.
    Ema(Ema),
    /// Gradients of the codebook term.
    Gradient(Gradient),
    /// One learnt matrix for all codes.
    SimVq(SimVq),
}

/// A table of codes, of which each vector takes the nearest.
#[derive(Debug, Clone)]
pub struct Codebook {
    /// K.
    pub codes: usize,
    /// D.
    pub dim: usize,
    /// How the codes learn.
    pub learning: Learning,
    /// The codebook's own loss terms, and how gradients pass the choice of a code.
    pub terms: Terms,
}

/// A codebook's own terms, and how gradients pass it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Weight of the commitment term.
    pub commitment: f64,
    /// All own terms are weighted by this: 1 / G for each of G groups of channels.
    pub share: f64,
    /// Compares angles instead of distances.
    pub cosine: bool,
    /// The rotation trick instead of straight-through gradients.
    pub rotation: bool,
    /// The entropy regulariser.
    pub entropy: Option<Entropy>,
}

impl Codebook {
    fn learn<T: Scalar>(&self) -> &dyn Learn<T> {
        match &self.learning {
            Learning::Ema(learn) => learn,
            Learning::Gradient(learn) => learn,
            Learning::SimVq(learn) => learn,
        }
    }

    /// The codes as vectors are compared with them, `[K, D]`.
    fn table<'p, T: Scalar>(&self, p: &'p [T]) -> Cow<'p, [T]> {
        let codes = self.learn().codes(p);
        if self.terms.cosine {
            unit(&codes, self.dim).into()
        } else {
            codes
        }
    }

    /// The vectors as they are compared with codes, u.
    fn compared<'z, T: Scalar>(&self, z: &'z [T]) -> Cow<'z, [T]> {
        if self.terms.cosine {
            unit(z, self.dim).into()
        } else {
            z.into()
        }
    }

    /// Adds the own terms' gradients to those of u, and to those of the parameters.
    fn add_terms<T: Scalar>(
        &self,
        p: &[T],
        u: &[T],
        out: &Quantized<T>,
        du: &mut [T],
        grads: &mut [T],
    ) {
        let per_value = 2.0 * self.terms.share / u.len() as f64;
        pull_together(u, &out.values, T::of(self.terms.commitment * per_value), du);
        let learn = self.learn();
        let mut de = Vec::new();
        if learn.by_gradient() {
            de = self.codebook_term(u, out, T::of(per_value));
        }
        if let Some(entropy) = &self.terms.entropy {
            let batch = Batch {
                table: &self.table(p),
                vectors: u,
                dim: self.dim,
            };
            let de = learn.by_gradient().then_some(&mut de[..]);
            entropy.backward(batch, &out.soft, self.terms.share, du, de);
        }
        if learn.by_gradient() {
            if self.terms.cosine {
                unit_back(&learn.codes(p), self.dim, &mut de);
            }
            learn.pull(p, &de, grads);
        }
    }

    /// factor times the sum over each code's vectors of q - u, `[K, D]`.
    fn codebook_term<T: Scalar>(&self, u: &[T], out: &Quantized<T>, factor: T) -> Vec<T> {
        let mut de = vec![T::zero(); self.codes * self.dim];
        let members = Members::new(&out.codes, self.codes);
        // The values are the codes' entries, which need not be made again.
        members.for_each(self.dim, &mut de, |i, de| {
            let (q, u) = (&out.values[i..], &u[i..]);
            for ((d, &q), &u) in de.iter_mut().zip(q).zip(u) {
                *d += (q - u) * factor;
            }
        });
        de
    }
}

impl<T: Scalar> Quantize<T> for Codebook {
    fn stages(&self) -> Vec<Stage> {
        vec![Stage {
            codes: self.codes,
            side: 1,
        }]
    }

    fn forward(&self, p: &[T], z: &[T], draws: Option<&mut ChaCha8Rng>) -> Quantized<T> {
        let (table, u) = (self.table(p), self.compared(z));
        let codes = nearest(&table, self.dim, &u);
        let values = looked_up(&table, self.dim, &codes);
        let commitment = mean_square(&u, &values);
        let both = if Learn::<T>::by_gradient(self.learn()) {
            self.terms.commitment + 1.0
        } else {
            self.terms.commitment
        };
        let mut loss = self.terms.share * both * commitment;
        let mut soft = Vec::new();
        if let (Some(entropy), Some(_)) = (&self.terms.entropy, draws) {
            let (term, mean) = entropy.forward(Batch {
                table: &table,
                vectors: &u,
                dim: self.dim,
            });
            loss += self.terms.share * term;
            soft = mean;
        }
        Quantized {
            codes,
            values,
            loss,
            commitment,
            soft,
            parts: Vec::new(),
        }
    }

    fn through(&self, _p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], _grads: &mut [T]) {
        if self.terms.rotation {
            rotate_back(&self.compared(z), &out.values, self.dim, dz);
        }
        if self.terms.cosine {
            unit_back(z, self.dim, dz);
        }
    }

    fn terms(&self, p: &[T], z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        if !self.terms.cosine {
            return self.add_terms(p, z, out, dz, grads);
        }
        let mut du = vec![T::zero(); z.len()];
        self.add_terms(p, &self.compared(z), out, &mut du, grads);
        unit_back(z, self.dim, &mut du);
        dz.iter_mut().zip(&du).for_each(|(a, &b)| *a += b);
    }

    fn wanted(&self) -> usize {
        Learn::<T>::wanted(self.learn())
    }

    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        self.learn().place(p, &self.compared(z), draws);
    }

    fn update(&self, p: &mut [T], z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> Moved {
        let u = self.compared(z);
        self.learn().update(p, &u, &out.codes, draws)
    }

    fn tables(&self, p: &[T]) -> Vec<Table> {
        let values = self.table(p).iter().map(|v| v.wide() as f32).collect();
        vec![Table {
            codes: self.codes,
            side: 1,
            values,
        }]
    }
}

/// The entries of codes, `[P, dim]`.
pub(super) fn looked_up<T: Scalar>(table: &[T], dim: usize, codes: &[u16]) -> Vec<T> {
    let mut values = vec![T::zero(); codes.len() * dim];
    let tasks = values
        .par_chunks_mut(TASK * dim)
        .zip(codes.par_chunks(TASK));
    tasks.for_each(|(values, codes)| {
        for (value, &code) in values.chunks_exact_mut(dim).zip(codes) {
            value.copy_from_slice(&table[usize::from(code) * dim..][..dim]);
        }
    });
    values
}

/// Mean of (a - b)^2.
pub(super) fn mean_square<T: Scalar>(a: &[T], b: &[T]) -> f64 {
    let task = |(a, b): (&[T], &[T])| -> f64 {
        let squares = a.iter().zip(b).map(|(&a, &b)| ((a - b) * (a - b)).wide());
        squares.sum()
    };
    const VALUES: usize = 1 << 14;
    let tasks = a.par_chunks(VALUES).zip(b.par_chunks(VALUES));
    let sums: Vec<f64> = tasks.map(task).collect();
    sums.into_iter().sum::<f64>() / a.len() as f64
}

/// du += factor (u - q).
fn pull_together<T: Scalar>(u: &[T], q: &[T], factor: T, du: &mut [T]) {
    const VALUES: usize = 1 << 14;
    let tasks = u.par_chunks(VALUES).zip(q.par_chunks(VALUES));
    tasks
        .zip(du.par_chunks_mut(VALUES))
        .for_each(|((u, q), du)| {
            for ((du, &u), &q) in du.iter_mut().zip(u).zip(q) {
                *du += (u - q) * factor;
            }
        });
}
