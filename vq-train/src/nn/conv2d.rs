//! Convolution: y[oy, ox, :] = b + sum over ky, kx of x[oy s + ky - pad, ox s + kx - pad, :] W[ky, kx].
//!
//! With X the windows of x as rows, Y = X W + b. From there the backward pass is dW = X' dY, db = the
//! column sums of dY, and dX = dY W', added back to where each window was read.

use super::maps::{Channels, Factors, WeightSteps, Windows};
use super::params::Pack;
use super::{Init, ParamTable, Role, Scalar, Tape, Weights};
use ndarray::Array4;
use std::ops::Range;

/// What a convolution is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSpec {
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step between windows; the map shrinks by exactly this factor.
    pub stride: usize,
    /// Rows and columns of zeros above and to the left.
    pub before: usize,
    /// Rows and columns of zeros below and to the right.
    pub after: usize,
    /// ReLU on the output, fused.
    pub relu: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvSpec {
    /// Padding that divides a map's size by exactly `stride`: `kernel - stride` in all, the odd one
    /// below and to the right, as TensorFlow's SAME and VQ-GAN's downsampling have it.
    pub fn same_padding(kernel: usize, stride: usize) -> (usize, usize) {
        let total = kernel.saturating_sub(stride);
        (total / 2, total - total / 2)
    }

    fn channels(&self) -> Channels {
        Channels {
            large: self.cin,
            small: self.cout,
        }
    }

    fn steps(&self) -> WeightSteps {
        WeightSteps {
            ky: self.kernel * self.cin * self.cout,
            kx: self.cin * self.cout,
            large: self.cout,
            small: 1,
        }
    }
}

/// A convolution with its place in the parameter vector.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// Sizes.
    pub spec: ConvSpec,
    /// W as `[kernel, kernel, cin, cout]`.
    pub weight: Range<usize>,
    /// b as `[cout]`; empty without bias.
    pub bias: Range<usize>,
    /// Whether backward computes the input's gradient; the first layer of an encoder needs none.
    pub input_grad: bool,
    /// The packed weights of the forward pass.
    forward: Range<usize>,
    /// Those of the backward pass.
    backward: Range<usize>,
}

impl Conv2d {
    /// Enters the parameters `NAME.weight` and `NAME.bias`.
    pub fn new(spec: ConvSpec, name: &str, init: Option<Init>, table: &mut ParamTable) -> Self {
        let ConvSpec {
            cin, cout, kernel, ..
        } = spec;
        let init = init.unwrap_or(Init::he((kernel * kernel * cin) as f64, spec.relu));
        let weight = table.add(
            format!("{name}.weight"),
            &[kernel, kernel, cin, cout],
            init,
            Role::Weight,
        );
        let bias = match spec.bias {
            true => table.add(format!("{name}.bias"), &[cout], Init::Zero, Role::Bias),
            false => weight.end..weight.end,
        };
        let channels = spec.channels();
        let forward = table.add_panels(Windows::gather_panels(kernel, spec.stride, channels));
        let spread = Windows::spread_panels(kernel, spec.stride, spec.before, channels);
        Conv2d {
            spec,
            weight,
            bias,
            input_grad: true,
            forward,
            backward: table.add_panels(spread),
        }
    }

    fn windows(&self, h: usize, w: usize) -> Windows {
        let ConvSpec {
            kernel,
            stride,
            before,
            after,
            ..
        } = self.spec;
        let out = |n: usize| (n + before + after - kernel) / stride + 1;
        Windows {
            h,
            w,
            kernel,
            stride,
            before,
            oh: out(h),
            ow: out(w),
        }
    }

    /// `[n, h, w, cin]` to `[n, h / stride, w / stride, cout]`.
    pub fn forward<T: Scalar>(
        &self,
        p: &Weights<'_, T>,
        x: Array4<T>,
        tape: &mut Tape<T>,
    ) -> Array4<T> {
        let (n, h, w, _) = x.dim();
        let win = self.windows(h, w);
        let mut y = tape.map((n, win.oh, win.ow, self.spec.cout));
        let factors = Factors {
            panels: &p.panels[self.forward.clone()],
            bias: &p.values[self.bias.clone()],
            relu: self.spec.relu,
        };
        win.gather(
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

    /// dy `[n, h / stride, w / stride, cout]` to dx `[n, h, w, cin]`.
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
        add_columns(flat(&dy), &mut grads[self.bias.clone()]);
        let dw = &mut grads[self.weight.clone()];
        win.add_weight_grad(channels, flat(&x), flat(&dy), self.spec.steps(), dw, tape);
        // The input's gradient takes the input's place.
        if self.input_grad {
            let factors = Factors {
                panels: &p.panels[self.backward.clone()],
                bias: &[],
                relu: false,
            };
            win.spread(channels, flat(&dy), factors, flat_mut(&mut x), tape);
        }
        tape.recycle(dy);
        x
    }
}

impl<T: Scalar> Pack<T> for Conv2d {
    fn panels(&self) -> Range<usize> {
        self.forward.start..self.backward.end
    }

    fn pack(&self, values: &[T], panels: &mut [T]) {
        self.pack_weight(&values[self.weight.clone()], panels);
    }
}

impl Conv2d {
    /// Packs W, wherever it lies.
    pub(super) fn pack_weight<T: Scalar>(&self, weight: &[T], panels: &mut [T]) {
        let ConvSpec {
            kernel,
            stride,
            before,
            ..
        } = self.spec;
        let (channels, steps) = (self.spec.channels(), self.spec.steps());
        let (forward, backward) = panels.split_at_mut(self.forward.len());
        Windows::pack_gather((kernel, stride), channels, steps, weight, forward);
        if self.input_grad {
            let size = (kernel, stride, before);
            Windows::pack_spread(size, channels, steps, weight, backward);
        }
    }
}

/// A map's values, one behind the other.
pub(super) fn flat<T: Scalar>(x: &Array4<T>) -> &[T] {
    x.as_slice().expect("maps are contiguous")
}

/// As [`flat`], to be written.
pub(super) fn flat_mut<T: Scalar>(x: &mut Array4<T>) -> &mut [T] {
    x.as_slice_mut().expect("maps are contiguous")
}

/// The values of each picture of a batch.
pub(super) fn pictures<T: Scalar>(x: &Array4<T>) -> std::slice::ChunksExact<'_, T> {
    let (_, h, w, c) = x.dim();
    flat(x).chunks_exact(h * w * c)
}

/// As [`pictures`], to be written.
pub(super) fn pictures_mut<T: Scalar>(x: &mut Array4<T>) -> std::slice::ChunksExactMut<'_, T> {
    let (_, h, w, c) = x.dim();
    flat_mut(x).chunks_exact_mut(h * w * c)
}

/// Adds the column sums of dY to the bias gradient (if there is one).
pub(super) fn add_columns<T: Scalar>(dy: &[T], db: &mut [T]) {
    if !db.is_empty() {
        for row in dy.chunks_exact(db.len()) {
            for (a, &b) in db.iter_mut().zip(row) {
                *a += b;
            }
        }
    }
}
