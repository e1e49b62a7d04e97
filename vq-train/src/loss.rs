//! Losses with their gradients. Means are over a whole batch, of which a call sees one chunk.
//!
//! What compares sample by sample is here; what compares features or windows is in [`Lpips`] and
//! [`ms_ssim`].

mod lpips;
pub mod ms_ssim;
mod window;

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

/// Where a Charbonnier loss turns from squares to absolute values, in the network's units.
const CHARBONNIER: f64 = 1e-3;

/// Distance of a reconstruction `y` from `x`, and its gradient in y's place.
///
/// With e = y - x, MSE: mean e^2 / scale; L1: mean |e| / scale; Charbonnier: mean sqrt(e^2 + 1e-6) / scale.
/// `values` is the whole batch's.
pub fn reconstruction<T: Scalar>(
    kind: LossKind,
    x: &ArrayView4<'_, T>,
    mut y: Array4<T>,
    values: usize,
    scale: f64,
) -> (Array4<T>, Sums) {
    let norm = 1.0 / (values as f64 * scale);
    let (two, share) = (T::of(2.0), T::of(norm));
    let epsilon = T::of(CHARBONNIER * CHARBONNIER);
    let (mut squares, mut distance) = (0.0, 0.0);
    Zip::from(&mut y).and(x).for_each(|y, &x| {
        let e = *y - x;
        squares += (e * e).wide();
        let (d, slope) = match kind {
            LossKind::Mse => (e * e, two * e),
            LossKind::L1 if e == T::zero() => (e, e),
            LossKind::L1 => (e.abs(), e.signum()),
            LossKind::Charbonnier => {
                let root = (e * e + epsilon).sqrt();
                (root, e / root)
            }
        };
        distance += d.wide();
        *y = slope * share;
    });
    let loss = distance * norm;
    (y, Sums { loss, squares })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        let x = Array4::from_shape_fn((1, 2, 3, 2), |(_, i, j, k)| (i + 2 * j + k) as f64 / 7.0);
        // Errors from below Charbonnier's turn to far above it, of both signs; one is zero.
        let y = Array4::from_shape_fn(x.dim(), |at| {
            let i = (6 * at.1 + 2 * at.2 + at.3) as i32;
            x[at] + 1e-4 * f64::from(i - 5) * f64::from(i * i)
        });
        for kind in [LossKind::Mse, LossKind::L1, LossKind::Charbonnier] {
            let loss = |y: &Array4<f64>| reconstruction(kind, &x.view(), y.clone(), 12, 0.3);
            let (dy, sums) = loss(&y);
            let squares: f64 = (&y - &x).iter().map(|e| e * e).sum();
            assert!((sums.squares - squares).abs() < 1e-15);
            for (at, &analytic) in dy.indexed_iter() {
                let step = 1e-7;
                let [up, down] = [step, -step].map(|step| {
                    let mut y = y.clone();
                    y[at] += step;
                    loss(&y).1.loss
                });
                let numeric = (up - down) / (2.0 * step);
                assert!(
                    (analytic - numeric).abs() < 1e-7,
                    "{kind:?} {at:?}: {analytic} {numeric}"
                );
            }
        }
    }

    #[test]
    fn charbonnier_is_epsilon_at_zero_and_l1_far_away() {
        let x = Array4::from_elem((1, 1, 1, 2), 0.25);
        let at = |kind, e: f64| reconstruction(kind, &x.view(), &x + e, 2, 0.5).1.loss;
        assert!((at(LossKind::Charbonnier, 0.0) - 2e-3).abs() < 1e-12);
        let far = at(LossKind::Charbonnier, -3.0) - at(LossKind::L1, -3.0);
        assert!(far > 0.0 && far < 1e-6, "{far}");
    }
}
