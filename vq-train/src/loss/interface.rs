//! What a training step asks of a loss: its value over a batch, and its gradient by the reconstructions.

use crate::nn::Scalar;
use ndarray::{Array4, ArrayView4};

/// A loss of a batch, and its gradient by the reconstructions.
#[derive(Debug)]
pub struct LossAndGradient<T> {
    /// The loss, a mean over the whole batch.
    pub loss: f64,
    /// dloss/dy, chunk by chunk, each of the shape of the chunk `[n, h, w, c]` of reconstructions y.
    pub gradient: Vec<Array4<T>>,
}

/// All losses of a batch: total = fixed + l adversarial.
#[derive(Debug)]
pub struct Losses<T> {
    /// The weighted sum of the losses whose weights are fixed.
    pub fixed: LossAndGradient<T>,
    /// The sum of squared errors of all samples.
    pub squares: f64,
    /// The adversarial loss, where it is part of the total.
    pub adversarial: Option<AdversarialTerm<T>>,
}

/// An adversarial loss and its weight l.
///
/// Either l = weight; or l is adapted to the gradients by the decoder's last weights W,
/// l = weight min(|dW fixed| / (|dW adversarial| + 1e-4), 1e4) (Esser et al. 2021, equation 7).
#[derive(Debug)]
pub struct AdversarialTerm<T> {
    /// The unweighted loss.
    pub value: LossAndGradient<T>,
    /// The configured weight.
    pub weight: f64,
}

/// A loss of reconstructions.
pub trait Loss<T: Scalar> {
    /// Whether the weight of an adversarial term is adapted to gradients.
    fn adapts_weight(&self) -> bool {
        false
    }

    /// The losses of reconstructions `y` of pictures `x`, both as chunks `[n, h, w, c]` of one batch. The arrays of
    /// `y` may be used for the gradient.
    fn losses(&mut self, x: &[ArrayView4<'_, T>], y: Vec<Array4<T>>) -> Losses<T>;

    /// Takes back the arrays of an adversarial term's gradient, for use in the next step.
    fn recycle(&mut self, _gradient: Vec<Array4<T>>) {}
}
