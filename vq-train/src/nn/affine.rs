//! What linear layers, convolutions and transposed convolutions share: y = x * W + b, then ReLU if asked for, where
//! the product * is linear in x and in W.
//!
//! Backward: db is the sum of dy over all positions; dW and dx are the two adjoints of the product, at dy. With
//! the fused ReLU, dy is first set to zero where y is not positive.

use super::layer::{Axes, Layer, Learnt, Matrix};
use super::map::{Dim4, flat};
use super::panels::Factors;
use super::params::{Init, ParamTable, Role, place};
use super::relu;
use super::scalar::Scalar;
use super::tape::{Cache, Tape};
use super::weights::{Pack, Weights};
use ndarray::Array4;
use std::fmt::Debug;
use std::ops::Range;

/// A product of a map and weights, and both of its adjoints.
pub trait Affine: Debug + Clone + Send + Sync {
    /// The layer, as configurations and messages name it.
    const KIND: &'static str;
    /// The axes of W.
    const AXES: Axes;

    /// Where its parameters lie.
    fn params(&self) -> &AffineParams;

    /// Where its parameters lie, to be changed.
    fn params_mut(&mut self) -> &mut AffineParams;

    /// The shape of y for one of x.
    fn output(&self, x: Dim4) -> Dim4;

    /// y = x * W + b, rectified if asked for.
    fn multiply<T: Scalar>(
        &self,
        x: &Array4<T>,
        factors: Factors<'_, T>,
        y: &mut Array4<T>,
        tape: &mut Tape<T>,
    );

    /// dW += the product's adjoint at x and dy.
    fn add_weight_grad<T: Scalar>(
        &self,
        x: &Array4<T>,
        dy: &Array4<T>,
        dw: &mut [T],
        tape: &mut Tape<T>,
    );

    /// dx = the product's adjoint at W and dy.
    fn multiply_back<T: Scalar>(
        &self,
        dy: &Array4<T>,
        factors: Factors<'_, T>,
        dx: &mut Array4<T>,
        tape: &mut Tape<T>,
    );

    /// Packs W for [`Affine::multiply`].
    fn pack_forward<T: Scalar>(&self, weight: &[T], panels: &mut [T]);

    /// Packs W for [`Affine::multiply_back`].
    fn pack_backward<T: Scalar>(&self, weight: &[T], panels: &mut [T]);
}

/// Where the parameters of an affine layer lie, and what is fused into it.
#[derive(Debug, Clone)]
pub struct AffineParams {
    /// W.
    pub weight: Range<usize>,
    /// b as `[out_channels]`; empty without bias.
    pub bias: Range<usize>,
    /// Length of W's last axis.
    pub(super) out_channels: usize,
    /// ReLU on the output.
    pub relu: bool,
    /// Whether backward computes the input's gradient.
    input_grad: bool,
    /// W packed for the forward pass.
    forward: Range<usize>,
    /// W packed for the backward pass.
    backward: Range<usize>,
}

/// The parameters that an affine layer enters into the table.
pub(super) struct Entries<'a> {
    /// Of W; the last axis is that of the output channels.
    pub(super) shape: &'a [usize],
    pub(super) init: Init,
    pub(super) bias: bool,
    pub(super) relu: bool,
    /// Length of W packed for the forward pass.
    pub(super) forward: usize,
    /// Length of W packed for the backward pass.
    pub(super) backward: usize,
}

impl Entries<'_> {
    /// Enters `NAME.weight` and, with a bias, `NAME.bias`.
    pub(super) fn enter(self, name: &str, table: &mut ParamTable) -> AffineParams {
        let weight = format!("{name}.weight");
        let weight = table.add(weight, self.shape, self.init, Role::Weight);
        let out_channels = self.shape.last().copied().unwrap_or(0);
        let bias = if self.bias {
            let name = format!("{name}.bias");
            table.add(name, &[out_channels], Init::Zero, Role::Bias)
        } else {
            weight.end..weight.end
        };
        AffineParams {
            weight,
            bias,
            out_channels,
            relu: self.relu,
            input_grad: true,
            forward: table.add_panels(self.forward),
            backward: table.add_panels(self.backward),
        }
    }
}

impl AffineParams {
    /// The place of both packings among all panels.
    pub(super) fn panels(&self) -> Range<usize> {
        self.forward.start..self.backward.end
    }
}

/// Packs W, wherever it lies, into a layer's own panels.
pub(super) fn pack_weight<T: Scalar>(layer: &impl Affine, weight: &[T], panels: &mut [T]) {
    let params = layer.params();
    let (forward, backward) = panels.split_at_mut(params.forward.len());
    layer.pack_forward(weight, forward);
    if params.input_grad {
        layer.pack_backward(weight, backward);
    }
}

impl<A: Affine, T: Scalar> Pack<T> for A {
    fn panels(&self) -> Range<usize> {
        self.params().panels()
    }

    fn pack(&self, values: &[T], panels: &mut [T]) {
        pack_weight(self, &values[self.params().weight.clone()], panels);
    }
}

impl<A: Affine> Layer for A {
    fn kind(&self) -> &'static str {
        A::KIND
    }

    fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let params = self.params();
        let mut y = tape.map(self.output(x.dim()));
        let factors = Factors {
            panels: &p.panels[params.forward.clone()],
            bias: &p.values[params.bias.clone()],
            relu: params.relu,
        };
        self.multiply(&x, factors, &mut y, tape);
        if params.relu {
            relu::keep_mask(&y, tape);
        }
        tape.push(Cache::Map(x));
        y
    }

    fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let params = self.params();
        let mut x = tape.pop_map();
        if params.relu {
            relu::mask_gradient(tape, &mut dy);
        }
        add_columns(flat(&dy), place(grads, &params.bias));
        let dw = place(grads, &params.weight);
        if !dw.is_empty() {
            self.add_weight_grad(&x, &dy, dw, tape);
        }
        // The input's gradient takes the input's place.
        if params.input_grad {
            let factors = Factors::plain(&p.panels[params.backward.clone()]);
            self.multiply_back(&dy, factors, &mut x, tape);
        }
        tape.recycle(dy);
        x
    }

    fn learnt(&self) -> Learnt {
        Learnt::Matrix(Matrix {
            place: self.params().weight.clone(),
            axes: A::AXES,
        })
    }

    fn packed<'l, T: Scalar>(&'l self, found: &mut Vec<&'l dyn Pack<T>>) {
        found.push(self);
    }

    fn skip_input_grad(&mut self) {
        self.params_mut().input_grad = false;
    }
}

/// Adds the column sums of dY `[positions, out_channels]` to the bias gradient (if there is one).
fn add_columns<T: Scalar>(dy: &[T], db: &mut [T]) {
    if !db.is_empty() {
        for row in dy.chunks_exact(db.len()) {
            for (a, &b) in db.iter_mut().zip(row) {
                *a += b;
            }
        }
    }
}
