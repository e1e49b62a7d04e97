//! Grouped quantisation: the channels are cut into groups, each with a codebook of its own.
//!
//! G codebooks of K codes tell K^G latents apart. Deploys as one stage for each group, with zeros outside of
//! the group's channels.

use super::codebook::Codebook;
use super::quantize::{Moved, Part, Quantize, Quantized, Stage, Table};
use crate::nn::Scalar;
use rand_chacha::ChaCha8Rng;

/// Codebooks of equal width, side by side.
#[derive(Debug, Clone)]
pub struct Grouped {
    /// In the order of their channels.
    pub groups: Vec<Codebook>,
}

impl Grouped {
    /// Channels of a group.
    fn width(&self) -> usize {
        self.groups[0].dim
    }

    /// Channels of all groups.
    fn dim(&self) -> usize {
        self.width() * self.groups.len()
    }

    /// A group's channels of vectors `[P, D]`, as `[P, D / G]`.
    fn take<T: Scalar>(&self, z: &[T], group: usize) -> Vec<T> {
        let first = group * self.width();
        let vectors = z.chunks_exact(self.dim());
        let own = vectors.flat_map(|v| &v[first..first + self.width()]);
        own.copied().collect()
    }

    /// Puts a group's channels back into vectors `[P, D]`.
    fn put<T: Scalar>(&self, own: &[T], group: usize, z: &mut [T]) {
        let first = group * self.width();
        let vectors = z.chunks_exact_mut(self.dim());
        for (v, own) in vectors.zip(own.chunks_exact(self.width())) {
            v[first..first + self.width()].copy_from_slice(own);
        }
    }

    /// Lets every group change its channels of `dz`.
    fn change<T: Scalar>(
        &self,
        out: &Quantized<T>,
        dz: &mut [T],
        mut change: impl FnMut(&Codebook, &Part<T>, &mut [T]),
    ) {
        for (i, (group, part)) in self.groups.iter().zip(&out.parts).enumerate() {
            let mut own = self.take(dz, i);
            change(group, part, &mut own);
            self.put(&own, i, dz);
        }
    }
}

impl<T: Scalar> Quantize<T> for Grouped {
    fn stages(&self) -> Vec<Stage> {
        let groups = self.groups.iter();
        groups.flat_map(Quantize::<T>::stages).collect()
    }

    fn forward(&self, p: &[T], z: &[T], mut draws: Option<&mut ChaCha8Rng>) -> Quantized<T> {
        let mut values = vec![T::zero(); z.len()];
        let mut parts = Vec::with_capacity(self.groups.len());
        for (i, group) in self.groups.iter().enumerate() {
            let input = self.take(z, i);
            let out = group.forward(p, &input, draws.as_deref_mut());
            self.put(&out.values, i, &mut values);
            parts.push(Part { input, out });
        }
        let commitment: f64 = parts.iter().map(|part| part.out.commitment).sum();
        Quantized {
            codes: parts
                .iter()
                .flat_map(|part| &part.out.codes)
                .copied()
                .collect(),
            values,
            loss: parts.iter().map(|part| part.out.loss).sum(),
            commitment: commitment / parts.len() as f64,
            soft: Vec::new(),
            parts,
        }
    }

    fn through(&self, p: &[T], _z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        self.change(out, dz, |group, part, own| {
            group.through(p, &part.input, &part.out, own, grads);
        });
    }

    fn terms(&self, p: &[T], _z: &[T], out: &Quantized<T>, dz: &mut [T], grads: &mut [T]) {
        self.change(out, dz, |group, part, own| {
            group.terms(p, &part.input, &part.out, own, grads);
        });
    }

    fn wanted(&self) -> usize {
        let groups = self.groups.iter().map(Quantize::<T>::wanted);
        groups.max().unwrap_or(0)
    }

    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng) {
        for (i, group) in self.groups.iter().enumerate() {
            group.place(p, &self.take(z, i), draws);
        }
    }

    fn update(&self, p: &mut [T], _z: &[T], out: &Quantized<T>, draws: &mut ChaCha8Rng) -> Moved {
        let groups = self.groups.iter().zip(&out.parts);
        let moved = groups.map(|(group, part)| group.update(p, &part.input, &part.out, draws));
        moved.fold(Moved::default(), Moved::and)
    }

    fn tables(&self, p: &[T]) -> Vec<Table> {
        let groups = self.groups.iter().enumerate();
        let tables = groups.flat_map(|(i, group)| {
            let tables = group.tables(p).into_iter();
            tables.map(move |table| self.widened(&table, i))
        });
        tables.collect()
    }
}

impl Grouped {
    /// A group's table with zeros for the other groups' channels.
    fn widened(&self, table: &Table, group: usize) -> Table {
        let mut values = vec![0.0; table.codes * self.dim()];
        self.put(&table.values, group, &mut values);
        Table { values, ..*table }
    }
}
