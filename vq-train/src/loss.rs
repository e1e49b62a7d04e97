//! Losses with their gradients. Means are over a whole batch, of which a call sees one chunk.

use crate::config::LossKind;
use crate::nn::Scalar;
use ndarray::{Array4, Zip};

/// One chunk's share of a batch's losses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    /// The reconstruction loss, already divided by the batch's number of values.
    pub loss: f64,
    /// The sum of squared errors.
    pub squares: f64,
}

/// Distance of a reconstruction `y` from `x`, and its gradient in y's place.
///
/// MSE: mean (y - x)^2 / scale; L1: mean |y - x| / scale. `values` is the whole batch's.
pub fn reconstruction<T: Scalar>(
    kind: LossKind,
    x: &Array4<T>,
    mut y: Array4<T>,
    values: usize,
    scale: f64,
) -> (Array4<T>, Sums) {
    let norm = 1.0 / (values as f64 * scale);
    let (mut squares, mut absolute) = (0.0, 0.0);
    Zip::from(&mut y).and(x).for_each(|y, &x| {
        let e = *y - x;
        squares += (e * e).wide();
        absolute += e.abs().wide();
        *y = match kind {
            LossKind::Mse => e * T::of(2.0 * norm),
            LossKind::L1 if e == T::zero() => T::zero(),
            LossKind::L1 => e.signum() * T::of(norm),
        };
    });
    let loss = match kind {
        LossKind::Mse => squares * norm,
        LossKind::L1 => absolute * norm,
    };
    (y, Sums { loss, squares })
}

/// Commitment: weight * mean (z - q)^2, with q held fixed. Adds its gradient to `dz`; returns this
/// chunk's share of the unweighted mean over the batch's `latents` values.
pub fn commitment<T: Scalar>(z: &[T], q: &[T], weight: f64, latents: usize, dz: &mut [T]) -> f64 {
    let factor = T::of(2.0 * weight / latents as f64);
    let mut sum = 0.0;
    for ((dz, &z), &q) in dz.iter_mut().zip(z).zip(q) {
        let e = z - q;
        sum += (e * e).wide();
        *dz += e * factor;
    }
    sum / latents as f64
}
