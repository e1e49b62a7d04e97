//! Convolution, and its backward pass derived in full.
//!
//! # Forward
//! For one picture x `[h, w, cin]`, weights W `[k, k, cin, cout]`, bias b `[cout]`, stride s and p rows and
//! columns of zeros above and to the left (`before`),
//! ```text
//! y[i, j, o] = b[o] + sum over u, v, c of x[i s + u - p, j s + v - p, c] W[u, v, c, o]
//! ```
//! with 0 <= u, v < k, where x counts as zero outside of the map. Zeros below and to the right (`after`)
//! only decide how many rows i and columns j there are.
//!
//! # Backward, index by index
//! Given is dy, the loss's derivative by each y. The loss depends on W, b and x through y alone, so the
//! derivative by any of their values is the sum over all y[i, j, o] of dy[i, j, o] times the derivative of
//! y[i, j, o] by that value.
//!
//! b[o] is a term of y[i, j, o] for all i and j, with factor 1:
//! ```text
//! db[o] = sum over i, j of dy[i, j, o]
//! ```
//! W[u, v, c, o] is in each y[i, j, o] once, times the value that its tap reads there; on the padding
//! that is zero:
//! ```text
//! dW[u, v, c, o] = sum over i, j of x[i s + u - p, j s + v - p, c] dy[i, j, o]
//! ```
//! x[a, b, c] is in y[i, j, o] if a tap reads it there, i s + u - p = a and j s + v - p = b, and then times
//! W at this tap. For given i and j there is one such tap at most, u = a + p - i s and v = b + p - j s:
//! ```text
//! dx[a, b, c] = sum over i, j, o of dy[i, j, o] W[a + p - i s, b + p - j s, c, o]
//! ```
//! over those i and j for which both indices are taps, 0 to k - 1. Values of the padding have such a
//! derivative too, which nobody asks for.
//!
//! The stride lets only every s-th tap reach a given row: with a + p = m s + r and 0 <= r < s, these are
//! u = r + t s for t = 0, 1, .., and they come from i = m - t. The same goes for columns, with b + p =
//! m' s + r' and v = r' + t' s:
//! ```text
//! dx[a, b, c] = sum over t, t', o of dy[m - t, m' - t', o] W[r + t s, r' + t' s, c, o]
//! ```
//! where dy counts as zero outside of its grid. So all a, b of equal remainders r, r' are one correlation
//! of stride 1, of dy with the taps of these remainders in reverse order; s s of them make up dx, each value
//! of which is written once. With stride 1 there is one, of all taps, on dy with k - 1 - p zeros above.
//!
//! # Backward, as matrix products
//! Row (i, j) of X `[oh ow, k k cin]` is the window that y[i, j] sees, in W's order. With W as
//! `[k k cin, cout]` and 1 a column of ones, Y = X W + 1 b'. Small changes of X, W and b change Y by
//! ```text
//! DX W + X DW + 1 Db'        (D is a change)
//! ```
//! and the loss by the inner product of that with G, the gradient of Y. As <G, A B> = <A' G, B> =
//! <G B', A>, this is <G W', DX> + <X' G, DW> + <1' G, Db'>: what stands before each change is its gradient,
//! ```text
//! of W: X' G        of b: column sums of G        of X: G W'
//! ```
//! X is read from x by picking: each of its values is one of x, or zero. Picking is linear, and its
//! transpose adds every value of G W' to the place in x that it was picked from. That is dx as above, with
//! the sum over o in the product and the sum over i, j in the adding up.
//!
//! # What runs
//! Neither X nor G W' is ever in memory. Windows are read where they lie, dx is computed by remainders
//! of rows and columns, and both may go through Winograd's transform: see [`maps`](super::maps). With a
//! fused ReLU, dy is first set to zero where y is not positive. Over a batch, gradients of W and b add up.

use super::maps::{Channels, Factors, WeightSteps, Windows};
use super::params::{Pack, place};
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

    /// A 1x1 convolution with a bias.
    pub fn pointwise(cin: usize, cout: usize) -> ConvSpec {
        ConvSpec {
            cin,
            cout,
            kernel: 1,
            stride: 1,
            before: 0,
            after: 0,
            relu: false,
            bias: true,
        }
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
        add_columns(flat(&dy), place(grads, &self.bias));
        let dw = place(grads, &self.weight);
        if !dw.is_empty() {
            win.add_weight_grad(channels, flat(&x), flat(&dy), self.spec.steps(), dw, tape);
        }
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
pub(crate) fn flat<T: Scalar>(x: &Array4<T>) -> &[T] {
    x.as_slice().expect("maps are contiguous")
}

/// As [`flat`], to be written.
pub(crate) fn flat_mut<T: Scalar>(x: &mut Array4<T>) -> &mut [T] {
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
