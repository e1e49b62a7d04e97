//! Convolution of any kernel, stride and padding.

use super::operator::{
    Filters, Inputs, Operator, RowRange, Step, Tensors, check_taps, convolved, points,
};
use crate::dtype::Dtype;
use crate::element::Output;
use crate::error::Fault;
use crate::kernels::{ConvRow, ConvShape, Filter, HasKernels};
use crate::lengths::{BYTE, KERNEL, PAD, QUANT, numbers};
use crate::map::Map;
use crate::rows::Ring;
use crate::shape::{Kernel, MAX_KERNEL, Pad};
use crate::slices::Parts;
use crate::tensor::Quant;
use serde::{Deserialize, Serialize};

/// y\[h, w, co\] = bias\[co\] + sum over kh, kw, ci of
/// x\[h * stride - top + kh, w * stride - left + kw, ci\] * weights\[co, kh, kw, ci\].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Conv2d {
    /// The value to convolve.
    pub input: u16,
    /// Channels of the output.
    pub out_channels: u16,
    /// Sides of the kernel.
    pub kernel: Kernel,
    /// Step of the kernel, both ways.
    pub stride: u8,
    /// Rows and columns of zeros (real 0) around the input.
    pub pad: Pad,
    /// Whether negative results become 0.
    pub relu: bool,
    /// Quantisation of the output.
    pub out: Quant,
    /// Offset in the blob of the weights \[out_channels\]\[kernel h\]\[kernel w\]\[in_channels\].
    pub weights: u32,
    /// Offset in the blob of the [`Params`](crate::format::Params) of `out_channels` channels.
    pub params: u32,
}

impl Operator for Conv2d {
    const NAME: &'static str = "conv2d";

    fn fields_len(&self) -> usize {
        let Self {
            input,
            out_channels,
            kernel: _,
            stride: _,
            pad: _,
            relu: _,
            out: _,
            weights,
            params,
        } = *self;
        KERNEL
            + PAD
            + 2 * BYTE
            + QUANT
            + numbers([input.into(), out_channels.into(), weights, params])
    }

    fn inputs(&self) -> Inputs<u16> {
        [self.input; 3]
    }

    fn output(&self, [input, ..]: Inputs<Map>, dtype: Dtype) -> Result<Map, Fault> {
        let (height, width, stride) = (self.kernel.height, self.kernel.width, self.stride);
        let sides = 1..=MAX_KERNEL as u8;
        if !sides.contains(&height)
            || !sides.contains(&width)
            || stride == 0
            || stride > height.min(width)
        {
            return Err(Fault::Kernel);
        }
        if !keeps_ratio(height, stride, self.pad.top, self.pad.bottom)
            || !keeps_ratio(width, stride, self.pad.left, self.pad.right)
        {
            return Err(Fault::Padding);
        }
        if !input.density.is_multiple_of(stride) {
            return Err(Fault::Density);
        }
        check_taps(self.kernel_points(), input.channels)?;
        let map = convolved(input, self.out_channels, self.out, dtype)?;
        Ok(Map {
            density: input.density / stride,
            ..map
        })
    }

    fn tensors(&self, channels: u16) -> Option<Tensors> {
        Some(self.own_tensors(channels))
    }

    fn relocate(&mut self, moved: impl Fn(u32) -> u32) {
        self.weights = moved(self.weights);
        self.params = moved(self.params);
    }

    fn macs_per_code(&self, input: Map, output: Map) -> u64 {
        points(output) * self.own_tensors(input.channels).weight_count
    }

    fn pad(&self) -> Pad {
        self.pad
    }

    fn windows(&self, y: i32, _: i32) -> Inputs<RowRange> {
        [self.window(y); 3]
    }

    fn columns(&self, x: i32) -> RowRange {
        let first = x * i32::from(self.stride) - i32::from(self.pad.left);
        RowRange {
            first,
            last: first + i32::from(self.kernel.width) - 1,
        }
    }

    fn filters(&self, channels: u16, columns: u32, _: usize) -> Option<Filters> {
        Some(Filters {
            shape: self.shape(channels, columns),
            count: 1,
            workspace: 0,
        })
    }

    fn each_filter<'a, E: HasKernels>(
        &self,
        _: usize,
        input: &Ring,
        blob: &'a [u8],
        mut show: impl FnMut(Filter<'a, E>),
    ) {
        show(self.filter(input, blob));
    }

    fn run<E: HasKernels>(&self, step: Step<'_, E>) {
        let Step {
            y,
            inputs: [input, ..],
            fused_relu,
            mut output,
            kernels,
            workspace,
            packed,
            blob,
            ..
        } = step;
        let first = self.window(y).first;
        let mut rows: [&[E]; MAX_KERNEL] = [&[]; MAX_KERNEL];
        let rows = rows.part_mut(0, self.kernel.height.into());
        for (row, y) in rows.iter_mut().zip(first..) {
            *row = input.row(y, self.pad.left);
        }
        let row = ConvRow {
            filter: self.filter(input.ring(), blob),
            packed,
            rows,
            left: input.missing(self.pad.left),
            zero: input.zero(),
            cut: fused_relu,
            out_step: self.out_channels.into(),
        };
        kernels.convolve(&row, workspace, output.row(y));
    }
}

impl Conv2d {
    fn own_tensors(&self, channels: u16) -> Tensors {
        Tensors {
            weights: self.weights,
            weight_count: u64::from(self.out_channels) * self.kernel_points() * u64::from(channels),
            params: self.params,
            param_count: u64::from(self.out_channels),
        }
    }

    /// The input's rows under the kernel, padding included.
    fn window(&self, y: i32) -> RowRange {
        let first = y * i32::from(self.stride) - i32::from(self.pad.top);
        RowRange {
            first,
            last: first + i32::from(self.kernel.height) - 1,
        }
    }

    /// Of a row, when the input has `channels` and so many columns.
    fn shape(&self, channels: u16, columns: u32) -> ConvShape {
        ConvShape {
            kernel: self.kernel,
            stride: self.stride,
            in_channels: channels,
            channels: self.out_channels.into(),
            width: columns / u32::from(self.stride).max(1),
            phases: false,
        }
    }

    /// Its numbers, when it reads this ring.
    fn filter<'a, E: HasKernels>(&self, input: &Ring, blob: &'a [u8]) -> Filter<'a, E> {
        let (weights, params) = self.own_tensors(input.map.channels).load::<E>(blob);
        Filter {
            shape: self.shape(input.map.channels, input.width),
            weights,
            params,
            output: Output {
                zero: self.out.zero,
                relu: self.relu,
            },
        }
    }

    fn kernel_points(&self) -> u64 {
        u64::from(self.kernel.height) * u64::from(self.kernel.width)
    }
}

/// Whether (n + before + after - kernel) / stride + 1 = n / stride for every multiple n of the stride.
fn keeps_ratio(kernel: u8, stride: u8, before: u8, after: u8) -> bool {
    let sum = u16::from(before) + u16::from(after);
    (u16::from(kernel - stride)..u16::from(kernel)).contains(&sum)
}
