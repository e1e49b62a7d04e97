//! A codebook as kernels see it.

use crate::element::Arithmetic;
use crate::slices::Parts;

/// A codebook's entries, all of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entries<'a, E: Arithmetic> {
    /// \[K\]\[D\].
    pub(crate) numbers: &'a [E::Stored],
    /// D.
    pub(crate) dim: usize,
}

impl<'a, E: Arithmetic> Entries<'a, E> {
    /// K and D.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            count: self.numbers.len() / self.dim.max(1),
            dim: self.dim,
        }
    }

    /// One of them.
    #[inline(always)]
    pub(crate) fn entry(&self, k: usize) -> &'a [E::Stored] {
        self.numbers.part(k * self.dim, self.dim)
    }

    /// How far a vector is from one of them.
    #[inline(always)]
    pub(crate) fn distance(&self, k: usize, vector: &[E]) -> E::Distance {
        let pairs = vector.iter().zip(self.entry(k));
        pairs.fold(E::NO_DISTANCE, |sum, (&x, &number)| {
            x.distance(E::read(number), sum)
        })
    }
}

/// How many entries there are, and of how many numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// K.
    pub(crate) count: usize,
    /// D.
    pub(crate) dim: usize,
}
