//! Transposed convolution: the backward pass of a convolution, run forward.
//!
//! Each input position adds a window of `kernel x kernel` outputs, `stride` apart; the border is cut
//! away. With Y the windows of y as rows, Y = X W; backward dX = dY W' and dW = X' dY.

use super::conv2d::{add_columns, flat, flat_mut};
use super::maps::{Channels, Factors, WeightSteps, Windows};
use super::params::{Pack, place};
use super::{Init, ParamTable, Role, Scalar, Tape, Weights};
use ndarray::Array4;
use std::ops::Range;

/// What a transposed convolution is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTransposeSpec {
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Side of the square kernel, at least the stride.
    pub kernel: usize,
    /// The map grows by exactly this factor.
    pub stride: usize,
    /// Of the `kernel - stride` rows and columns of output that are cut away, those above and to the left,
    /// as PyTorch's `padding` counts them; without, half of them, the odd one being below and to the right.
    pub pad: Option<usize>,
    /// ReLU on the output, fused.
    pub relu: bool,
}

/// A transposed convolution with its place in the parameter vector.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    /// Sizes.
    pub spec: ConvTransposeSpec,
    /// W as `[cin, kernel, kernel, cout]`.
    pub weight: Range<usize>,
    /// b as `[cout]`.
    pub bias: Range<usize>,
    /// The packed weights of the forward pass.
    forward: Range<usize>,
    /// Those of the backward pass.
    backward: Range<usize>,
}

impl ConvTransposeSpec {
    /// Rows and columns that are cut away above and to the left.
    pub(crate) fn before(&self) -> usize {
        self.pad.unwrap_or((self.kernel - self.stride) / 2)
    }

    fn channels(&self) -> Channels {
        Channels {
            large: self.cout,
            small: self.cin,
        }
    }

    fn steps(&self) -> WeightSteps {
        WeightSteps {
            ky: self.kernel * self.cout,
            kx: self.cout,
            large: 1,
            small: self.kernel * self.kernel * self.cout,
        }
    }
}

impl ConvTranspose2d {
    /// Enters the parameters `NAME.weight` and `NAME.bias`.
    pub fn new(spec: ConvTransposeSpec, name: &str, table: &mut ParamTable) -> Self {
        let ConvTransposeSpec {
            cin,
            cout,
            kernel,
            stride,
            relu,
            ..
        } = spec;
        let fan_in = (cin * kernel * kernel) as f64 / (stride * stride) as f64;
        let shape = [cin, kernel, kernel, cout];
        let weight = table.add(
            format!("{name}.weight"),
            &shape,
            Init::he(fan_in, relu),
            Role::Weight,
        );
        let bias = table.add(format!("{name}.bias"), &[cout], Init::Zero, Role::Bias);
        let channels = spec.channels();
        let spread = Windows::spread_panels(kernel, stride, spec.before(), channels);
        let forward = table.add_panels(spread);
        let backward = table.add_panels(Windows::gather_panels(kernel, stride, channels));
        ConvTranspose2d {
            spec,
            weight,
            bias,
            forward,
            backward,
        }
    }

    /// Windows on the output map, one for each input position.
    fn windows(&self, h: usize, w: usize) -> Windows {
        let ConvTransposeSpec { kernel, stride, .. } = self.spec;
        Windows {
            h: h * stride,
            w: w * stride,
            kernel,
            stride,
            before: self.spec.before(),
            oh: h,
            ow: w,
        }
    }

    /// `[n, h, w, cin]` to `[n, h * stride, w * stride, cout]`.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let (n, h, w, _) = x.dim();
        let win = self.windows(h, w);
        let mut y = tape.map((n, win.h, win.w, self.spec.cout));
        let factors = Factors {
            panels: &p.panels[self.forward.clone()],
            bias: &p.values[self.bias.clone()],
            relu: self.spec.relu,
        };
        win.spread(
            self.spec.channels(),
            flat(&x),
            factors,
            flat_mut(&mut y),
            tape,
        );
        if self.spec.relu {
            tape.push_mask(&y);
        }
        tape.push_input(x);
        y
    }

    /// dy `[n, h * stride, w * stride, cout]` to dx `[n, h, w, cin]`.
    pub fn backward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let mut x = tape.pop_input();
        if self.spec.relu {
            tape.pop_mask_onto(&mut dy);
        }
        let (_, h, w, _) = x.dim();
        let (win, channels) = (self.windows(h, w), self.spec.channels());
        add_columns(flat(&dy), place(grads, &self.bias));
        let dw = place(grads, &self.weight);
        if !dw.is_empty() {
            win.add_weight_grad(channels, flat(&dy), flat(&x), self.spec.steps(), dw, tape);
        }
        // The input's gradient takes the input's place.
        let factors = Factors {
            panels: &p.panels[self.backward.clone()],
            bias: &[],
            relu: false,
        };
        win.gather(channels, flat(&dy), factors, flat_mut(&mut x), tape);
        tape.recycle(dy);
        x
    }
}

impl<T: Scalar> Pack<T> for ConvTranspose2d {
    fn panels(&self) -> Range<usize> {
        self.forward.start..self.backward.end
    }

    fn pack(&self, values: &[T], panels: &mut [T]) {
        let ConvTransposeSpec { kernel, stride, .. } = self.spec;
        let (channels, steps) = (self.spec.channels(), self.spec.steps());
        let weight = &values[self.weight.clone()];
        let size = (kernel, stride, self.spec.before());
        let (forward, backward) = panels.split_at_mut(self.forward.len());
        Windows::pack_spread(size, channels, steps, weight, forward);
        Windows::pack_gather((kernel, stride), channels, steps, weight, backward);
    }
}
