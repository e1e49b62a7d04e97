//! Where the codes of a codebook come from, and how they learn.

use super::quantize::Moved;
use crate::nn::Scalar;
use rand_chacha::ChaCha8Rng;
use std::borrow::Cow;

/// A table of K codes of D numbers, made from parameters.
pub trait Learn<T: Scalar> {
    /// The codes, `[K, D]`.
    fn codes<'p>(&self, p: &'p [T]) -> Cow<'p, [T]>;

    /// Whether the codes learn by gradients: then the codebook term is part of what is minimised.
    fn by_gradient(&self) -> bool;

    /// Adds what a gradient of the codes `[K, D]` means for the parameters to `grads`.
    fn pull(&self, p: &[T], dcodes: &[T], grads: &mut [T]);

    /// How many vectors [`Learn::place`] should be shown; none where it does nothing.
    fn wanted(&self) -> usize;

    /// Places the codes among the vectors `z` `[P, D]`.
    fn place(&self, p: &mut [T], z: &[T], draws: &mut ChaCha8Rng);

    /// Learns without gradients from vectors `z` that have chosen `codes`.
    fn update(&self, p: &mut [T], z: &[T], codes: &[u16], draws: &mut ChaCha8Rng) -> Moved;
}

/// Codes chosen less often than `share` of the mean of the running counts, and a vector out of `z`
/// for each to start again at. `start(code, mean count, vector)` does so.
pub(super) fn restart<T: Scalar>(
    counts: &[T],
    share: f64,
    z: &[T],
    dim: usize,
    draws: &mut ChaCha8Rng,
    mut start: impl FnMut(usize, T, &[T]),
) -> usize {
    use rand::RngExt;
    let mean = total(counts) / T::of(counts.len() as f64);
    let least = mean * T::of(share);
    let dead = (0..counts.len()).filter(|&k| counts[k] < least);
    dead.map(|k| {
        let at = draws.random_range(0..z.len() / dim) * dim;
        start(k, mean, &z[at..at + dim]);
    })
    .count()
}

/// N <- g N + (1 - g) n.
pub(super) fn follow<T: Scalar>(counts: &mut [T], decay: f64, batch: impl Iterator<Item = usize>) {
    let (g, h) = (T::of(decay), T::of(1.0 - decay));
    for (n, b) in counts.iter_mut().zip(batch) {
        *n = g * *n + h * T::of(b as f64);
    }
}

pub(super) fn total<T: Scalar>(counts: &[T]) -> T {
    counts.iter().fold(T::zero(), |a, &b| a + b)
}
