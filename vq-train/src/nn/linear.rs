//! A linear layer over the last dimension of a map: Y = X W + b with the map's positions as rows of X.
//!
//! Backward: dW = X' dY, db = the column sums of dY, dX = dY W'.

use super::conv2d::{add_columns, flat, flat_mut};
use super::matrix::{Factor, add_transposed_product};
use super::params::{Pack, place};
use super::{Init, ParamTable, Role, Scalar, Tape, Weights};
use ndarray::Array4;
use std::ops::Range;

/// What a linear layer is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearSpec {
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// ReLU on the output, fused.
    pub relu: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

/// A linear layer with its place in the parameter vector.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Sizes.
    pub spec: LinearSpec,
    /// W as `[cin, cout]`.
    pub weight: Range<usize>,
    /// b as `[cout]`; empty without bias.
    pub bias: Range<usize>,
    /// W packed.
    forward: Range<usize>,
    /// W' packed.
    backward: Range<usize>,
}

impl Linear {
    /// Enters the parameters `NAME.weight` and `NAME.bias`.
    pub fn new(spec: LinearSpec, name: &str, init: Option<Init>, table: &mut ParamTable) -> Self {
        let LinearSpec { cin, cout, .. } = spec;
        let init = init.unwrap_or(Init::he(cin as f64, spec.relu));
        let weight = table.add(format!("{name}.weight"), &[cin, cout], init, Role::Weight);
        let bias = match spec.bias {
            true => table.add(format!("{name}.bias"), &[cout], Init::Zero, Role::Bias),
            false => weight.end..weight.end,
        };
        Linear {
            spec,
            weight,
            bias,
            forward: table.add_panels(Factor::<f32>::len(cin, cout)),
            backward: table.add_panels(Factor::<f32>::len(cout, cin)),
        }
    }

    /// `[n, h, w, cin]` to `[n, h, w, cout]`.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let LinearSpec {
            cin, cout, relu, ..
        } = self.spec;
        let (n, h, w, _) = x.dim();
        let mut y = tape.map((n, h, w, cout));
        let product = Factor::new(&p.panels[self.forward.clone()], cin, cout);
        let bias = &p.values[self.bias.clone()];
        product.multiply(flat(&x), bias, relu, flat_mut(&mut y));
        if relu {
            tape.push_mask(&y);
        }
        tape.push_input(x);
        y
    }

    /// dy `[n, h, w, cout]` to dx `[n, h, w, cin]`.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let LinearSpec {
            cin, cout, relu, ..
        } = self.spec;
        let x = tape.pop_input();
        if relu {
            tape.pop_mask_onto(&mut dy);
        }
        let dw = place(grads, &self.weight);
        if !dw.is_empty() {
            add_transposed_product(flat(&x), flat(&dy), cin, dw);
        }
        add_columns(flat(&dy), place(grads, &self.bias));
        // The input's gradient takes the input's place.
        let mut dx = x;
        let product = Factor::new(&p.panels[self.backward.clone()], cout, cin);
        product.multiply(flat(&dy), &[], false, flat_mut(&mut dx));
        tape.recycle(dy);
        dx
    }

    /// Packs W, wherever it lies.
    pub(super) fn pack_weight<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        let LinearSpec { cin, cout, .. } = self.spec;
        let (forward, backward) = panels.split_at_mut(self.forward.len());
        Factor::pack(weight, (cin, cout), forward);
        Factor::pack_transposed(weight, (cout, cin), backward);
    }
}

impl<T: Scalar> Pack<T> for Linear {
    fn panels(&self) -> Range<usize> {
        self.forward.start..self.backward.end
    }

    fn pack(&self, values: &[T], panels: &mut [T]) {
        self.pack_weight(&values[self.weight.clone()], panels);
    }
}
