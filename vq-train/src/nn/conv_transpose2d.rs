//! Transposed convolution: the backward pass of a convolution, run forward.
//!
//! Each input position adds a window of `kernel x kernel` outputs, `stride` apart. With Y the windows
//! of y as rows: Y = X W, then the windows are added up and the border is cut away. Backward: with dY
//! gathered from dy, dX = dY W', dW = X' dY.

use super::conv2d::{add_bias, add_columns, matrix, matrix_mut};
use super::im2col::Windows;
use super::relu::{Mask, mask_in_place};
use super::{Cache, Init, ParamTable, Scalar, Tape};
use ndarray::{Array4, ArrayView3, linalg::general_mat_mul};
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
        ConvTranspose2d { spec, weight, bias }
    }

    /// Windows on the output map, one for each input position.
    fn windows(&self, h: usize, w: usize) -> Windows {
        let ConvTransposeSpec {
            cout,
            kernel,
            stride,
            ..
        } = self.spec;
        let before = (kernel - stride) / 2;
        Windows {
            h: h * stride,
            w: w * stride,
            c: cout,
            kernel,
            stride,
            before,
            oh: h,
            ow: w,
        }
    }

    /// `[n, h, w, cin]` to `[n, h * stride, w * stride, cout]`.
    pub fn forward<T: Scalar>(&self, p: &[T], x: Array4<T>, tape: &mut Tape<T>) -> Array4<T> {
        let (n, h, w, cin) = x.dim();
        let win = self.windows(h, w);
        let weight = matrix(&p[self.weight.clone()], cin, win.len());
        let mut y = Array4::zeros((n, win.h, win.w, win.c));
        let mut padded = vec![T::zero(); win.padded_len()];
        let rows = win.block_rows();
        let mut cols = vec![T::zero(); rows * w * win.len()];
        for (xi, mut yi) in x.outer_iter().zip(y.outer_iter_mut()) {
            padded.fill(T::zero());
            let xi = xi.to_slice().expect("maps are contiguous");
            for (b, xb) in xi.chunks(rows * w * cin).enumerate() {
                let positions = xb.len() / cin;
                let cols = &mut cols[..positions * win.len()];
                let mut out = matrix_mut(cols, positions, win.len());
                general_mat_mul(
                    T::one(),
                    &matrix(xb, positions, cin),
                    &weight,
                    T::zero(),
                    &mut out,
                );
                win.scatter_add(cols, b * rows, &mut padded);
            }
            win.unpad_add(&padded, yi.view_mut());
            let yi = yi.as_slice_mut().expect("maps are contiguous");
            add_bias(yi, &p[self.bias.clone()], self.spec.relu);
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
        p: &[T],
        tape: &mut Tape<T>,
        mut dy: Array4<T>,
        grads: &mut [T],
    ) -> Array4<T> {
        let x = tape.pop_input();
        if self.spec.relu {
            mask_in_place(&tape.pop_mask(), &mut dy);
        }
        let (_, h, w, cin) = x.dim();
        let win = self.windows(h, w);
        let weight = matrix(&p[self.weight.clone()], cin, win.len());
        let mut dx = Array4::zeros(x.dim());
        let mut padded = vec![T::zero(); win.padded_len()];
        let rows = win.block_rows();
        let mut cols = vec![T::zero(); rows * w * win.len()];
        for ((xi, mut dxi), dyi) in x.outer_iter().zip(dx.outer_iter_mut()).zip(dy.outer_iter()) {
            let xi = xi.to_slice().expect("maps are contiguous");
            let dxi = dxi.as_slice_mut().expect("maps are contiguous");
            let dyi: ArrayView3<'_, T> = dyi;
            win.pad(dyi, &mut padded);
            let dys = dyi.to_slice().expect("maps are contiguous");
            add_columns(
                &matrix(dys, win.h * win.w, win.c),
                &mut grads[self.bias.clone()],
            );
            let blocks = xi
                .chunks(rows * w * cin)
                .zip(dxi.chunks_mut(rows * w * cin));
            for (b, (xb, dxb)) in blocks.enumerate() {
                let positions = xb.len() / cin;
                let cols = &mut cols[..positions * win.len()];
                win.gather(&padded, b * rows, cols);
                let cols = matrix(cols, positions, win.len());
                let mut dw = matrix_mut(&mut grads[self.weight.clone()], cin, win.len());
                let xb = matrix(xb, positions, cin);
                general_mat_mul(T::one(), &xb.t(), &cols, T::one(), &mut dw);
                let mut dxb = matrix_mut(dxb, positions, cin);
                general_mat_mul(T::one(), &cols, &weight.t(), T::zero(), &mut dxb);
            }
        }
        dx
    }
}
