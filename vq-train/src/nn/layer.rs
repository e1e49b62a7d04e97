//! What a layer is.
//!
//! A new layer is a file that implements [`Layer`], a line in [`AnyLayer`](super::AnyLayer) and, to be named by
//! configurations, one in [`LayerConfig`](crate::config::LayerConfig).

use super::chunks::{Worker, on_each};
use super::scalar::Scalar;
use super::tape::Tape;
use super::weights::{Pack, Weights};
use ndarray::Array4;
use std::fmt::Debug;
use std::ops::Range;

/// A differentiable function of a map, with its place in the parameter vector.
///
/// Required are the two passes, a name, and what the layer learns. The other methods are for layers that read
/// packed weights, that have layers inside of them, or whose results depend on the whole batch.
pub trait Layer: Debug + Clone + Send + Sync {
    /// The layer's kind, as configurations and messages name it.
    fn kind(&self) -> &'static str;

    /// `[n, h, w, c]` to the layer's output map. What backward needs goes onto the tape.
    fn forward<T: Scalar>(&self, p: &Weights<'_, T>, x: Array4<T>, tape: &mut Tape<T>)
    -> Array4<T>;

    /// The output's gradient to the input's; adds the parameters' gradients into `grads`, if it is not empty.
    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T>;

    /// What the layer learns.
    fn learnt(&self) -> Learnt;

    /// Adds the parameters, also of layers inside of this one, whose axes PyTorch keeps in another order.
    fn matrices(&self, found: &mut Vec<Matrix>) {
        if let Learnt::Matrix(matrix) = self.learnt() {
            found.push(matrix);
        }
    }

    /// Adds what reads packed weights: the layer itself, or layers inside of it.
    fn packed<'l, T: Scalar>(&'l self, _found: &mut Vec<&'l dyn Pack<T>>) {}

    /// Leaves out the gradient of the input from now on, if that saves time. Backward then returns any map of the
    /// input's shape.
    fn skip_input_grad(&mut self) {}

    /// Whether the result for one picture depends on the others of a batch, so that the chunks of a batch have to
    /// meet in this layer.
    fn spans_batch(&self) -> bool {
        false
    }

    /// [`Layer::forward`] on all chunks of a batch, one map and one worker each.
    fn forward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        on_each(maps, workers, |x, w| self.forward(p, x, &mut w.tape))
    }

    /// [`Layer::backward`] on all chunks of a batch, one map and one worker each.
    fn backward_all<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        maps: Vec<Array4<T>>,
        workers: &mut [Worker<T>],
    ) -> Vec<Array4<T>> {
        on_each(maps, workers, |dy, w| {
            self.backward(p, &mut w.tape, dy, &mut w.grads)
        })
    }
}

/// What a layer learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learnt {
    /// Nothing.
    Nothing,
    /// One matrix of weights, perhaps with a bias.
    Matrix(Matrix),
    /// Anything else: gains and biases, or what layers inside of it learn.
    Other,
}

/// A parameter that is a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Its place in the flat vector.
    pub place: Range<usize>,
    /// What its axes are.
    pub axes: Axes,
}

/// The order of a matrix's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// `[kernel, kernel, in_channels, out_channels]`.
    Conv,
    /// `[in_channels, kernel, kernel, out_channels]`.
    ConvTranspose,
    /// `[in_channels, out_channels]`.
    Linear,
}
