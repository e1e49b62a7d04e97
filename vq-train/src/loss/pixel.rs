//! Losses that compare pictures sample by sample.

use super::interface::{Loss, LossAndGradient, Losses};
use crate::config::PixelLossKind;
use crate::nn::Scalar;
use ndarray::{Array4, ArrayView4, Zip};
use rayon::prelude::*;

/// Where a Charbonnier loss turns from squares to absolute values, in the network's units.
const CHARBONNIER: f64 = 1e-3;

/// MSE over the data's variance, or an absolute error over its standard deviation.
///
/// With e = y - x, MSE: mean e^2 / scale; L1: mean |e| / scale; Charbonnier: mean sqrt(e^2 + 1e-6) / scale.
#[derive(Debug, Clone, Copy)]
pub struct PixelLoss {
    /// Which error.
    pub kind: PixelLossKind,
    /// The variance or standard deviation that errors are divided by.
    pub scale: f64,
}

/// One chunk's share of a batch's losses.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// The loss, already divided by the batch's number of samples.
    loss: f64,
    /// The sum of squared errors.
    squares: f64,
}

impl PixelLoss {
    /// The loss for data of this variance.
    pub fn new(kind: PixelLossKind, variance: f64) -> PixelLoss {
        let scale = match kind {
            PixelLossKind::Mse => variance,
            PixelLossKind::L1 | PixelLossKind::Charbonnier => variance.sqrt(),
        };
        PixelLoss { kind, scale }
    }

    /// The loss of a chunk `y` of reconstructions of `x`, and its gradient in y's place; `samples` is the whole batch's
    /// number of samples.
    fn of_chunk<T: Scalar>(
        &self,
        x: &ArrayView4<'_, T>,
        mut y: Array4<T>,
        samples: usize,
    ) -> (Array4<T>, Sums) {
        let norm = 1.0 / (samples as f64 * self.scale);
        let (two, share) = (T::of(2.0), T::of(norm));
        let epsilon = T::of(CHARBONNIER * CHARBONNIER);
        let (mut squares, mut distance) = (0.0, 0.0);
        Zip::from(&mut y).and(x).for_each(|y, &x| {
            let e = *y - x;
            squares += (e * e).wide();
            let (d, slope) = match self.kind {
                PixelLossKind::Mse => (e * e, two * e),
                PixelLossKind::L1 if e == T::zero() => (e, e),
                PixelLossKind::L1 => (e.abs(), e.signum()),
                PixelLossKind::Charbonnier => {
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
}

impl<T: Scalar> Loss<T> for PixelLoss {
    fn losses(&mut self, x: &[ArrayView4<'_, T>], y: Vec<Array4<T>>) -> Losses<T> {
        let samples = x.iter().map(|x| x.len()).sum();
        let pairs = y.into_par_iter().zip(x).with_max_len(1);
        let chunks = pairs.map(|(y, x)| self.of_chunk(x, y, samples));
        let (gradient, sums): (Vec<_>, Vec<Sums>) = chunks.unzip();
        let loss = sums.iter().fold(0.0, |sum, chunk| sum + chunk.loss);
        Losses {
            fixed: LossAndGradient { loss, gradient },
            squares: sums.iter().fold(0.0, |sum, chunk| sum + chunk.squares),
            adversarial: None,
        }
    }
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
        for kind in [
            PixelLossKind::Mse,
            PixelLossKind::L1,
            PixelLossKind::Charbonnier,
        ] {
            let pixel = PixelLoss { kind, scale: 0.3 };
            let loss = |y: &Array4<f64>| pixel.of_chunk(&x.view(), y.clone(), 12);
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
        let at = |kind, e: f64| {
            let pixel = PixelLoss { kind, scale: 0.5 };
            pixel.of_chunk(&x.view(), &x + e, 2).1.loss
        };
        assert!((at(PixelLossKind::Charbonnier, 0.0) - 2e-3).abs() < 1e-12);
        let far = at(PixelLossKind::Charbonnier, -3.0) - at(PixelLossKind::L1, -3.0);
        assert!(far > 0.0 && far < 1e-6, "{far}");
    }
}
