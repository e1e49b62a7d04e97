//! y = x + f(x), then ReLU if asked for.

use super::{Chain, Layer, Relu, Scalar, Tape, Weights};
use ndarray::Array4;

/// A residual block around a chain that keeps the map's shape.
#[derive(Debug, Clone)]
pub struct Residual {
    /// f.
    pub inner: Chain,
    /// Whether a ReLU follows the sum.
    pub relu: bool,
}

impl Residual {
    /// `[n, h, w, c]` to the same shape.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let mut y = self.inner.forward(p, x.clone(), tape);
        y += &x;
        if self.relu { Relu.forward(y, tape) } else { y }
    }

    /// The gradient flows through f and around it: dx = dy + f'(dy).
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let dy = if self.relu {
            Relu.backward(tape, dy)
        } else {
            dy
        };
        let mut dx = self.inner.backward(p, tape, dy.clone(), grads);
        dx += &dy;
        dx
    }
}

impl From<Residual> for Layer {
    fn from(r: Residual) -> Layer {
        Layer::Residual(r)
    }
}
