//! y = x + f(x), then ReLU if asked for; where channels change, a convolution takes the way around too.

use super::{Chain, Conv2d, Layer, Relu, Scalar, Tape, Weights, Worker, on_each};
use ndarray::Array4;

/// A residual block around a chain that keeps the map's height and width.
#[derive(Debug, Clone)]
pub struct Residual {
    /// f.
    pub inner: Chain,
    /// 1x1 convolution of x, where f changes the number of channels.
    pub shortcut: Option<Conv2d>,
    /// Whether a ReLU follows the sum.
    pub relu: bool,
}

impl Residual {
    /// `[n, h, w, c]` to the same height and width.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let skip = self.around(p, &x, tape);
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
        self.meet(p, dx, around, tape, grads)
    }

    pub(super) fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let both = on_each(maps, workers, |x, w| {
            let skip = self.around(p, &x, &mut w.tape);
            (x, skip)
        });
        let (maps, skips): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        let maps = self.inner.forward_all(p, maps, workers);
        let both = maps.into_iter().zip(skips).collect();
        on_each(both, workers, |(y, skip), w| {
            self.join(y, skip, &mut w.tape)
        })
    }

    pub(super) fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        let both = on_each(maps, workers, |dy, w| self.part(dy, &mut w.tape));
        let (maps, around): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        let maps = self.inner.backward_all(p, maps, workers);
        let both = maps.into_iter().zip(around).collect();
        on_each(both, workers, |(dx, around), w| {
            self.meet(p, dx, around, &mut w.tape, &mut w.grads)
        })
    }

    /// What f's result is added to.
    fn around<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: &Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let skip = tape.copy(x);
        match &self.shortcut {
            Some(conv) => conv.forward(p, skip, tape),
            None => skip,
        }
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

    /// The input's gradient, from the branch's and from that of the way around it.
    fn meet<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        dx: Array4<T>,
        around: Array4<T>,
        tape: &mut Tape<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let around = match &self.shortcut {
            Some(conv) => conv.backward(p, tape, around, grads),
            None => around,
        };
        sum(dx, around, tape)
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
