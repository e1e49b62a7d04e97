//! Convolution: y[oy, ox, :] = b + sum over ky, kx of x[oy s + ky - pad, ox s + kx - pad, :] W[ky, kx].
//!
//! As matrices, with X the windows of x as rows: Y = X W + b. From there the backward pass is
//! dW = X' dY, db = the column sums of dY, dX = dY W', and dX is added back to where each window was
//! read. X is built a few rows at a time and never as a whole.

use super::im2col::Windows;
use super::relu::{Mask, mask_in_place};
use super::{Cache, Init, ParamTable, Scalar, Tape};
use ndarray::{Array4, ArrayView2, ArrayViewMut2, Axis, linalg::general_mat_mul};
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
            true,
        );
        let bias = match spec.bias {
            true => table.add(format!("{name}.bias"), &[cout], Init::Zero, false),
            false => weight.end..weight.end,
        };
        Conv2d {
            spec,
            weight,
            bias,
            input_grad: true,
        }
    }

    fn windows(&self, h: usize, w: usize) -> Windows {
        let ConvSpec {
            cin,
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
            c: cin,
            kernel,
            stride,
            before,
            oh: out(h),
            ow: out(w),
        }
    }

    /// `[n, h, w, cin]` to `[n, h / stride, w / stride, cout]`.
    pub fn forward<T: Scalar>(&self, p: &[T], x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let (n, h, w, _) = x.dim();
        let win = self.windows(h, w);
        let cout = self.spec.cout;
        let mut y = Array4::zeros((n, win.oh, win.ow, cout));
        let weight = matrix(&p[self.weight.clone()], win.len(), cout);
        let mut blocks = Blocks::new(&win);
        for (xi, mut yi) in x.outer_iter().zip(y.outer_iter_mut()) {
            blocks.load(&win, xi.to_slice().expect("maps are contiguous"));
            let yi = yi.as_slice_mut().expect("maps are contiguous");
            let rows = win.block_rows();
            for (b, yb) in yi.chunks_mut(rows * win.ow * cout).enumerate() {
                let positions = yb.len() / cout;
                let cols = blocks.windows(&win, b * rows, positions);
                let mut yb2 = matrix_mut(yb, positions, cout);
                general_mat_mul(T::one(), &cols, &weight, T::zero(), &mut yb2);
                add_bias(yb, &p[self.bias.clone()], self.spec.relu);
            }
        }
        if self.spec.relu {
            tape.push(|| Cache::Mask(Mask::of(&y)));
        }
        tape.push(|| Cache::Input(x));
        y
    }

    /// dy `[n, h / stride, w / stride, cout]` to dx `[n, h, w, cin]`.
    pub fn backward<T: Scalar>(
        &self,
        p: &[T],
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
        let cout = self.spec.cout;
        let weight = matrix(&p[self.weight.clone()], win.len(), cout);
        let mut dx = if self.input_grad {
            Array4::zeros(x.dim())
        } else {
            Array4::zeros((0, 0, 0, 0))
        };
        let mut blocks = Blocks::new(&win);
        let mut dcols = vec![
            T::zero();
            if self.input_grad {
                blocks.cols_len(&win)
            } else {
                0
            }
        ];
        let mut dpadded = vec![T::zero(); if self.input_grad { win.padded_len() } else { 0 }];
        for (i, (xi, dyi)) in x.outer_iter().zip(dy.outer_iter()).enumerate() {
            blocks.load(&win, xi.to_slice().expect("maps are contiguous"));
            let dyi = dyi.to_slice().expect("maps are contiguous");
            dpadded.fill(T::zero());
            let rows = win.block_rows();
            for (b, dyb) in dyi.chunks(rows * win.ow * cout).enumerate() {
                let positions = dyb.len() / cout;
                let dyb = matrix(dyb, positions, cout);
                let cols = blocks.windows(&win, b * rows, positions);
                let mut dw = matrix_mut(&mut grads[self.weight.clone()], win.len(), cout);
                general_mat_mul(T::one(), &cols.t(), &dyb, T::one(), &mut dw);
                add_columns(&dyb, &mut grads[self.bias.clone()]);
                if self.input_grad {
                    let dcols = &mut dcols[..positions * win.len()];
                    let mut dc = matrix_mut(dcols, positions, win.len());
                    general_mat_mul(T::one(), &dyb, &weight.t(), T::zero(), &mut dc);
                    win.scatter_add(dcols, b * rows, &mut dpadded);
                }
            }
            if self.input_grad {
                win.unpad_add(&dpadded, dx.index_axis_mut(Axis(0), i));
            }
        }
        dx
    }
}

/// The buffers through which one thread walks a map's windows, block by block.
struct Blocks<T> {
    padded: Vec<T>,
    cols: Vec<T>,
}

impl<T: Scalar> Blocks<T> {
    fn new(win: &Windows) -> Self {
        let cols = if win.is_identity() {
            0
        } else {
            win.block_rows() * win.ow * win.len()
        };
        Blocks {
            padded: vec![T::zero(); win.padded_len()],
            cols: vec![T::zero(); cols],
        }
    }

    fn cols_len(&self, win: &Windows) -> usize {
        win.block_rows() * win.ow * win.len()
    }

    fn load(&mut self, win: &Windows, x: &[T]) {
        let x =
            ndarray::ArrayView3::from_shape((win.h, win.w, win.c), x).expect("h * w * c values");
        win.pad(x, &mut self.padded);
    }

    /// The window matrix `[positions, windows.len()]` from row `oy0` of the window grid on.
    fn windows(&mut self, win: &Windows, oy0: usize, positions: usize) -> ArrayView2<'_, T> {
        let len = positions * win.len();
        if win.is_identity() {
            let at = oy0 * win.ow * win.c;
            return matrix(&self.padded[at..at + len], positions, win.len());
        }
        let cols = &mut self.cols[..len];
        win.gather(&self.padded, oy0, cols);
        matrix(cols, positions, win.len())
    }
}

/// A slice as a row-major matrix.
pub(super) fn matrix<T>(data: &[T], rows: usize, cols: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, cols), data).expect("rows * cols values")
}

/// A slice as a writable row-major matrix.
pub(super) fn matrix_mut<T>(data: &mut [T], rows: usize, cols: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((rows, cols), data).expect("rows * cols values")
}

/// Adds the bias (if there is one) to each position and applies ReLU, while the block is in cache.
pub(super) fn add_bias<T: Scalar>(y: &mut [T], bias: &[T], relu: bool) {
    if !bias.is_empty() {
        for position in y.chunks_exact_mut(bias.len()) {
            for (v, &b) in position.iter_mut().zip(bias) {
                *v += b;
            }
        }
    }
    if relu {
        for v in y {
            *v = if *v > T::zero() { *v } else { T::zero() };
        }
    }
}

/// Adds the column sums of dY to the bias gradient (if there is one).
pub(super) fn add_columns<T: Scalar>(dy: &ArrayView2<'_, T>, db: &mut [T]) {
    if !db.is_empty() {
        for row in dy.rows() {
            for (a, &b) in db.iter_mut().zip(row) {
                *a += b;
            }
        }
    }
}
