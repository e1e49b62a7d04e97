//! Transposed convolution: the backward pass of a convolution, run forward.
//!
//! Each input position adds a window of `kernel x kernel` outputs, `stride` apart; the border is cut
//! away. With Y the windows of y as rows, Y = X W; backward dX = dY W' and dW = X' dY.

use super::conv2d::add_columns;
use super::maps::{Channels, WeightSteps, Windows};
use super::relu::{Mask, mask_in_place};
use super::{Cache, Init, ParamTable, Scalar, Tape, Weights};
use ndarray::Array4;
use std::ops::Range;

/// What a transposed convolution is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTransposeSpec {
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Side of the square kernel, at least the stride. Of the `kernel - stride` rows and columns of
    /// output that are cut away, the odd one is below and to the right.
    pub kernel: usize,
    /// The map grows by exactly this factor.
    pub stride: usize,
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
    fn before(&self) -> usize {
        (self.kernel - self.stride) / 2
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
        } = spec;
        let fan_in = (cin * kernel * kernel) as f64 / (stride * stride) as f64;
        let shape = [cin, kernel, kernel, cout];
        let weight = table.add(
            format!("{name}.weight"),
            &shape,
            Init::he(fan_in, relu),
            true,
        );
        let bias = table.add(format!("{name}.bias"), &[cout], Init::Zero, false);
        let channels = spec.channels();
        let spread = Windows::spread_panels(kernel, stride, spec.before(), channels);
        let forward = table.add_panels(spread);
        let backward = table.add_panels(Windows::gather_panels(kernel, channels));
        ConvTranspose2d {
            spec,
            weight,
            bias,
            forward,
            backward,
        }
    }

    pub(super) fn pack<T: Scalar>(&self, values: &[T], panels: &mut [T]) {
        let ConvTransposeSpec { kernel, stride, .. } = self.spec;
        let (channels, steps) = (self.spec.channels(), self.spec.steps());
        let weight = &values[self.weight.clone()];
        let size = (kernel, stride, self.spec.before());
        Windows::pack_spread(
            size,
            channels,
            steps,
            weight,
            &mut panels[self.forward.clone()],
        );
        let backward = &mut panels[self.backward.clone()];
        Windows::pack_gather(kernel, channels, steps, weight, backward);
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
        let (n, h, w, cin) = x.dim();
        let win = self.windows(h, w);
        let mut y = Array4::zeros((n, win.h, win.w, self.spec.cout));
        let (panels, bias) = (
            &p.panels[self.forward.clone()],
            &p.values[self.bias.clone()],
        );
        for (xi, mut yi) in x.outer_iter().zip(y.outer_iter_mut()) {
            let padded = win.pad_small(xi.to_slice().expect("maps are contiguous"), cin);
            let yi = yi.as_slice_mut().expect("maps are contiguous");
            win.spread(&padded, panels, bias, self.spec.relu, yi);
        }
        if self.spec.relu {
            tape.push(|| Cache::Mask(Mask::of(&y)));
        }
        tape.push(|| Cache::Input(x));
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
        let x = tape.pop_input();
        if self.spec.relu {
            mask_in_place(&tape.pop_mask(), &mut dy);
        }
        let (_, h, w, _) = x.dim();
        let win = self.windows(h, w);
        let panels = &p.panels[self.backward.clone()];
        let mut dx = Array4::zeros(x.dim());
        for ((xi, mut dxi), dyi) in x.outer_iter().zip(dx.outer_iter_mut()).zip(dy.outer_iter()) {
            let xi = xi.to_slice().expect("maps are contiguous");
            let dxi = dxi.as_slice_mut().expect("maps are contiguous");
            let dyi = dyi.to_slice().expect("maps are contiguous");
            let padded = win.pad_large(dyi, self.spec.cout);
            let dw = &mut grads[self.weight.clone()];
            win.add_weight_grad(&padded, xi, self.spec.steps(), dw);
            add_columns(dyi, &mut grads[self.bias.clone()]);
            win.gather(&padded, panels, &[], false, dxi);
        }
        dx
    }
}
