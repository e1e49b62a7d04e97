//! y = x + f(x), then ReLU if asked for.

use super::{Chain, Layer, Relu, Scalar, Tape, Weights, Worker};
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
        let skip = tape.copy(&x);
        let y = self.inner.forward(p, x, tape);
        self.join(y, skip, tape)
    }

    /// The gradient flows through f and around it: dx = dy + f'(dy).
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let (dy, around) = self.part(dy, tape);
        let dx = self.inner.backward(p, tape, dy, grads);
        sum(dx, around, tape)
    }

    pub(super) fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let copies = maps.iter().zip(workers.iter_mut());
        let skips: Vec<_> = copies.map(|(x, w)| w.tape.copy(x)).collect();
        let maps = self.inner.forward_all(p, maps, workers);
        let joined = maps.into_iter().zip(skips).zip(workers);
        joined
            .map(|((y, skip), w)| self.join(y, skip, &mut w.tape))
            .collect()
    }

    pub(super) fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let parted = maps.into_iter().zip(workers.iter_mut());
        let (maps, around): (Vec<_>, Vec<_>) =
            parted.map(|(dy, w)| self.part(dy, &mut w.tape)).unzip();
        let maps = self.inner.backward_all(p, maps, workers);
        let sums = maps.into_iter().zip(around).zip(workers);
        sums.map(|((dx, around), w)| sum(dx, around, &mut w.tape))
            .collect()
    }

    fn join<T: Scalar>(&self, y: Array4<T>, skip: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let y = sum(y, skip, tape);
        if self.relu { Relu.forward(y, tape) } else { y }
    }

    /// The output's gradient, for the branch and for the way around it.
    fn part<T: Scalar>(&self, dy: Array4<T>, tape: &mut Tape<T>) -> (Array4<T>, Array4<T>) {
        let dy = if self.relu {
            Relu.backward(tape, dy)
        } else {
            dy
        };
        let around = tape.copy(&dy);
        (dy, around)
    }
}

fn sum<T: Scalar>(mut y: Array4<T>, other: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
    y += &other;
    tape.recycle(other);
    y
}

impl From<Residual> for Layer {
    fn from(r: Residual) -> Layer {
        Layer::Residual(r)
    }
}
