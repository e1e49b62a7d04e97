//! Losses with their gradients. Means are over a whole batch, of which a call sees one chunk.
//!
//! What compares sample by sample is here; what compares features is in [`Lpips`].

mod lpips;

pub use lpips::{Lpips, LpipsError};

use crate::config::LossKind;
use crate::nn::Scalar;
use ndarray::{Array4, ArrayView4, Zip};
use std::ops::Add;

/// One chunk's share of a batch's losses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    /// The reconstruction loss, already divided by the batch's number of values.
    pub loss: f64,
    /// The sum of squared errors.
    pub squares: f64,
}

impl Add for Sums {
    type Output = Sums;
    fn add(self, other: Sums) -> Sums {
        Sums {
            loss: self.loss + other.loss,
            squares: self.squares + other.squares,
        }
    }
}

/// Distance of a reconstruction `y` from `x`, and its gradient in y's place.
///
/// MSE: mean (y - x)^2 / scale; L1: mean |y - x| / scale. `values` is the whole batch's.
pub fn reconstruction<T: Scalar>(
    kind: LossKind,
    x: &ArrayView4<'_, T>,
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
